"""Checks names, messages, comments and docs against the vocabulary in words.toml.

A pattern is matched against one kind of text:
  identifier  a Rust identifier as lower-case words: MAX_BYTES is `max bytes`; names of five or more words, which are
              sentences about behaviour, count as comments
  comment     a comment of Rust, shell, Python or TOML
  doc         a doc comment, Markdown outside of code, a description in a JSON schema
  string      a string literal of Rust outside of tests, text of the report page
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tomllib

TOKEN = re.compile(
    r"""(?P<doc>///(?!/)[^\n]*|//![^\n]*|/\*\*.*?\*/)
      | (?P<comment>//[^\n]*|/\*.*?\*/)
      | (?P<raw>b?r(?P<hashes>\#*)".*?"(?P=hashes))
      | (?P<string>b?"(?:\\.|[^"\\])*")
      | (?P<char>b?'(?:\\(?:x[0-9a-f]{2}|u\{[0-9a-fA-F]+\}|.)|[^'\\\n])')
      | (?P<lifetime>'[A-Za-z_]\w*)
      | (?P<identifier>[A-Za-z_]\w*)""",
    re.S | re.X,
)
# Texts of others, generated files, and the vocabulary itself.
SKIPPED = re.compile(r"/fixtures/|/snapshots/|^LICENSE|\.lock$|\.stderr$|\.snap$|/(cases|errors)\.toml$|/generated\.rs$|^tests/style/")
MAX_WIDTH = 110
SENTENCE_WORDS = 5


def words(name):
    """`MAX_BYTES` and `MaxBytes` as `max bytes`."""
    return " ".join(part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name))


def is_test(path):
    return bool(re.search(r"/tests/|tests\.rs$|simulation|/outages\.rs$", path))


def rust(path, source):
    tests = re.search(r"^\s*mod tests \{", source, re.M)
    tests_begin = source.count("\n", 0, tests.start()) + 1 if tests else float("inf")
    line, position, in_code, last_doc = 1, 0, False, 0
    for token in TOKEN.finditer(source):
        line += source.count("\n", position, token.start())
        position = token.start()
        kind, text = token.lastgroup, token.group()
        if token.group("raw") is not None or kind == "string":
            if not is_test(path) and line < tests_begin and " " in text:
                yield line, "string", text
        elif kind == "doc":
            in_code = in_code and line == last_doc + 1
            last_doc = line + text.count("\n")
            if text.lstrip("/! ").startswith("```"):
                in_code = not in_code
            elif not in_code:
                yield line, "doc", text
        elif kind == "comment":
            yield line, "comment", text
        elif kind == "identifier":
            name = words(text)
            is_sentence = name.count(" ") >= SENTENCE_WORDS - 1
            yield (line, "comment", "// " + name) if is_sentence else (line, "identifier", name)


def markdown(source):
    in_code = False
    for line, text in enumerate(source.split("\n"), 1):
        if text.lstrip().startswith("```"):
            in_code = not in_code
        elif not in_code:
            yield line, "doc", text


def lines(source, pattern, kind):
    for line, text in enumerate(source.split("\n"), 1):
        for found in re.finditer(pattern, text):
            yield line, kind, found.group().strip()


def texts(path, source):
    name = pathlib.PurePath(path).name
    if path.endswith(".rs"):
        return rust(path, source)
    if path.endswith(".md"):
        return markdown(source)
    if path.endswith(".schema.json"):
        return lines(source, r'"description": "[^"]*"', "doc")
    if path.endswith((".sh", ".py", ".toml", ".yaml", ".yml")) or name in ("justfile", "run"):
        return lines(source, r"(?:^|\s)#(?![!\[])\s.*", "comment")
    if name == "page.html":
        return lines(source, r".*[a-z] [a-z].*", "string")
    if name == "page.js":
        return lines(source, r"'[^']*'|`[^`]*`|//.*", "string")
    return ()


class Rule:
    def __init__(self, table):
        self.pattern, self.write = re.compile(table["pattern"]), table["write"]
        self.kinds = table["where"]
        self.paths = [phrase for phrase in table.get("allow", []) if "/" in phrase]
        self.phrases = [phrase for phrase in table.get("allow", []) if "/" not in phrase]

    def hits(self, path, text):
        if any(part in path for part in self.paths):
            return
        allowed = [m.span() for phrase in self.phrases for m in re.finditer(re.escape(phrase), text)]
        for found in self.pattern.finditer(text):
            begin, end = found.span()
            if not any(begin < last and first < end for first, last in allowed):
                yield found.group().strip()


def check(root, rules, prefixes):
    """Yields path, line, hit and advice."""
    listed = subprocess.check_output(["git", "-C", str(root), "ls-files"], text=True).splitlines()
    for path in listed:
        if SKIPPED.search(path) or not path.startswith(tuple(prefixes)) or not (root / path).is_file():
            continue
        try:
            source = (root / path).read_text()
        except UnicodeDecodeError:
            continue
        for line, kind, text in texts(path, source):
            any_rule, of_kind = rules[kind]
            if not any_rule.search(text):
                continue
            for rule in of_kind:
                for hit in rule.hits(path, text):
                    yield path, line, f"{kind} `{hit}`", rule.write
        if path.endswith(".rs"):
            for line, text in enumerate(source.split("\n"), 1):
                if re.match(r"\s*//", text) and len(text) > MAX_WIDTH and "http" not in text:
                    yield path, line, f"comment of {len(text)} columns", f"at most {MAX_WIDTH}"


def main():
    parser = argparse.ArgumentParser(description="Check the vocabulary.")
    parser.add_argument("prefixes", nargs="*", default=[""], help="only files whose path begins so")
    parser.add_argument("--count", action="store_true", help="print the number of hits by advice, not each one")
    parser.add_argument("--at-most", type=int, default=0, metavar="N", help="succeed with up to N hits")
    options = parser.parse_args()
    here = pathlib.Path(__file__).parent
    by_kind = collections.defaultdict(list)
    for table in tomllib.loads((here / "words.toml").read_text())["rule"]:
        rule = Rule(table)
        for kind in rule.kinds:
            by_kind[kind].append(rule)
    # One search tells for most texts that no rule applies.
    rules = {
        kind: (re.compile("|".join(f"(?:{rule.pattern.pattern})" for rule in of_kind)), of_kind)
        for kind, of_kind in by_kind.items()
    }
    found = list(check(here.parent.parent, rules, options.prefixes or [""]))
    if options.count:
        for advice, number in collections.Counter(advice for *_, advice in found).most_common():
            print(f"{number:5} {advice}")
    else:
        for path, line, hit, advice in found:
            print(f"{path}:{line}: {hit}: write {advice}")
    print(f"{len(found)} to change", file=sys.stderr)
    sys.exit(len(found) > options.at_most)


if __name__ == "__main__":
    main()

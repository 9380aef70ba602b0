"""Finds modules of a crate that use each other in a circle. A circle is allowed if circles.toml has it with a reason.

A module may use its parent and its children, and everything may use the root of the crate: these are no circles. Tests
do not count. The script reads paths that begin with `crate`, `super` or `self`, follows names that are exported again,
and knows nothing of macros.
"""

import argparse
import pathlib
import re
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEST_FILES = {"tests", "outages", "simulation", "outage_simulation"}
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"', re.S)
TESTS = re.compile(r"#\[cfg\(test\)\]\s*mod tests \{")


def modules(source_dir):
    """Name (`a::b`, empty for the root) -> text without comments, strings and tests."""
    found = {}
    for path in sorted(source_dir.rglob("*.rs")):
        parts = path.relative_to(source_dir).with_suffix("").parts
        if parts[-1] in TEST_FILES or parts[0] == "bin":
            continue
        if parts[-1] == "mod":
            parts = parts[:-1]
        name = "" if parts in {("lib",), ("main",)} else "::".join(parts)
        text = TESTS.split(path.read_text())[0]
        found[name] = found.get(name, "") + COMMENT_OR_STRING.sub('""', text)
    return found


def expand(tree):
    """Paths of a `use` tree: `a::{b, c::d}` is `a::b` and `a::c::d`."""
    group = re.fullmatch(r"(.*?)\{(.*)\}", tree.strip(), re.S)
    if not group:
        return [tree.strip()]
    parts, depth = [""], 0
    for char in group[2]:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [path for part in parts if part.strip() for path in expand(group[1] + part.strip())]


def absolute(path, module):
    """The parts of a path from the root of the crate, or nothing for a path of another crate."""
    parts = path.split(" as ")[0].strip().split("::")
    if parts[0] == "crate":
        return parts[1:]
    base = module.split("::") if module else []
    if parts[0] == "self":
        return base + parts[1:]
    if parts[0] != "super":
        return None
    while parts and parts[0] == "super":
        base, parts = base[:-1], parts[1:]
    return base + parts


def module_of(parts, texts):
    """The deepest module of a path, and the rest of the path."""
    for count in range(len(parts), -1, -1):
        name = "::".join(parts[:count])
        if name in texts:
            return name, parts[count:]
    return None, parts


def exported(texts):
    """(module, name) -> the path from the root that `pub use` gives this name."""
    names = {}
    for module, text in texts.items():
        for tree in re.findall(r"\bpub(?:\([^)]*\))?\s+use\s+([^;]+);", text):
            for path in expand(tree):
                own, _, alias = path.partition(" as ")
                parts = absolute(own, module)
                if parts is None:
                    first = own.split("::")[0]
                    child = f"{module}::{first}" if module else first
                    if child not in texts:
                        continue
                    parts = child.split("::") + own.split("::")[1:]
                names[module, alias.strip() or parts[-1]] = parts
    return names


def edges(texts):
    """module -> modules that it uses, but for its parents, its children and the root."""
    names = exported(texts)
    uses = {}
    for module, text in texts.items():
        trees = re.findall(r"\buse\s+((?:crate|super|self)::[^;]+);", text)
        inline = re.findall(r"\b((?:crate|super)(?:::\w+)+)", re.sub(r"\buse\s[^;]+;", "", text))
        targets = uses.setdefault(module, set())
        for path in [path for tree in trees for path in expand(tree)] + inline:
            parts = absolute(path, module)
            if parts is None:
                continue
            target, rest = module_of(parts, texts)
            for _ in range(4):
                if target is None or not rest or (target, rest[0]) not in names:
                    break
                target, rest = module_of(names[target, rest[0]] + rest[1:], texts)
            if not target or not module or target == module:
                continue
            if not module.startswith(target + "::") and not target.startswith(module + "::"):
                targets.add(target)
    return uses


def circles(uses):
    """Sets of modules each of which reaches all others of its set."""

    def reached(start):
        seen, waiting = set(), [start]
        while waiting:
            for target in uses.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    reach = {module: reached(module) for module in uses}
    return {
        frozenset(other for other in reach[module] if module in reach.get(other, ()))
        for module in uses
        if module in reach[module]
    }


def self_test():
    texts = {"": "pub use a::A;", "a": "use super::b::{B, C};", "b": "fn f() { crate::A }", "c": "use crate::b::B;"}
    assert circles(edges(texts)) == {frozenset({"a", "b"})}, circles(edges(texts))
    assert circles(edges({"a": "use self::b::B;", "a::b": "use super::A;"})) == set()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", action="store_true", help="also show who uses whom inside of each circle")
    show_edges = parser.parse_args().edges
    self_test()
    allowed = tomllib.loads((ROOT / "tests/style/circles.toml").read_text())["circle"]
    failed, used = False, set()
    for source_dir in sorted(ROOT.glob("crates/*/src")):
        name = source_dir.parent.name
        uses = edges(modules(source_dir))
        for circle in sorted(circles(uses), key=sorted):
            number = next(
                (n for n, rule in enumerate(allowed) if rule["crate"] == name and circle <= set(rule["modules"])), None
            )
            used.add(number)
            if number is None:
                failed = True
                print(f"{name}: a circle without a reason in tests/style/circles.toml: {', '.join(sorted(circle))}")
            if show_edges or number is None:
                for module in sorted(circle):
                    print(f"    {module} uses {', '.join(sorted(uses[module] & circle))}")
    for number, rule in enumerate(allowed):
        if number not in used:
            failed = True
            print(f"{rule['crate']}: no such circle any more, remove it: {', '.join(rule['modules'])}")
    sys.exit(failed)


main()

#!/usr/bin/env python3
"""Checks the public names of the facade, as rustdoc lists them: the root has few, and every public item of the crates
behind it is in one of its modules.

usage: tests/docs/names.py TARGET/doc [--list]   after `cargo doc`; --list prints all paths
"""

import re
import sys
from pathlib import Path

# A reader can learn this many names; the others are in modules by subject.
MAX_ROOT_NAMES = 40
# The crates behind the facade.
CRATES = ["fanweave_models", "fanweave_core", "fanweave_batch"]


def items(docs, crate):
    """Paths of the items of a crate, such as `struct compose::Retry`."""
    page = (docs / crate / "all.html").read_text()
    for path in sorted(set(re.findall(r'href="([^"#]+)\.html"', page))):
        *modules, name = path.split("/")
        kind, _, name = name.partition(".")
        if name and ".." not in modules:
            yield kind, modules, name


def main():
    docs = Path(sys.argv[1])
    facade = list(items(docs, "fanweave"))
    if "--list" in sys.argv:
        print("\n".join("::".join([*modules, name]) for _, modules, name in facade))
        return 0
    wrong = []
    root = {name for _, modules, name in facade if not modules}
    if len(root) > MAX_ROOT_NAMES:
        wrong.append(f"{len(root)} names in the root, at most {MAX_ROOT_NAMES}: {', '.join(sorted(root))}")
    known = {(kind, name) for kind, _, name in facade}
    for crate in CRATES:
        for kind, modules, name in items(docs, crate):
            if (kind, name) not in known:
                path = "::".join([crate, *modules, name])
                wrong.append(f"{path} is in no module of fanweave: add it to crates/fanweave/src/modules.rs")
    print("\n".join(wrong) or f"{len(root)} names in the root, {len(known)} in total")
    return bool(wrong)


sys.exit(main())

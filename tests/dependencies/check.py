#!/usr/bin/env python3
"""Checks the dependencies by the lists in deny.toml, without network: their licences, where they come from, banned crates,
and requirements of any version. Lists crates with several versions.

usage: tests/dependencies/check.py

`cargo deny check`, where it is installed, also checks for known vulnerabilities and withdrawn versions, for which it asks
the registry.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "registry+https://github.com/rust-lang/crates.io-index"


def is_allowed(licence, allowed):
    """True if an SPDX expression can be met with allowed licences. `/` is the old form of OR."""
    tokens = re.findall(r"\(|\)|[\w.+-]+(?: WITH [\w.-]+)?", licence.replace("/", " OR "))

    def either():
        met = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            met = both() or met
        return met

    def both():
        met = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            met = one() and met
        return met

    def one():
        token = tokens.pop(0)
        if token != "(":
            return token in allowed
        met = either()
        assert tokens.pop(0) == ")", licence
        return met

    met = either()
    assert not tokens, licence
    return met


def main():
    rules = tomllib.loads((ROOT / "deny.toml").read_text())
    allowed = set(rules["licenses"]["allow"])
    banned = {ban["crate"] for ban in rules["bans"]["deny"]}
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--format-version", "1", "--all-features", "--locked"]
    metadata = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    packages = json.loads(metadata)["packages"]
    wrong = []
    versions = collections.defaultdict(list)
    for package in packages:
        name = f"{package['name']} {package['version']}"
        versions[package["name"]].append(package["version"])
        licence = package["license"]
        if not licence or not is_allowed(licence, allowed):
            wrong.append(f"{name}: the licence {licence} is not in deny.toml")
        if package["source"] not in (None, REGISTRY):
            wrong.append(f"{name} comes from {package['source']}")
        if package["name"] in banned:
            wrong.append(f"{name} is banned by deny.toml")
        if package["source"] is None:
            any_version = [d["name"] for d in package["dependencies"] if d["req"] == "*" and not d.get("path")]
            wrong += [f"{name} accepts any version of {dependency}" for dependency in any_version]
    for name, several in sorted(versions.items()):
        if len(several) > 1:
            print(f"{len(several)} versions of {name}: {', '.join(sorted(several))}")
    print(f"{len(packages)} crates")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main())

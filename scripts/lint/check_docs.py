#!/usr/bin/env python3
"""Every relative link in the Markdown files leads to a file, and every `./dev VERB` they mention exists.

usage: check_docs.py [ROOT]
"""
import re
import sys

import lintlib

LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
VERB = re.compile(r"(?<![\w/])\./dev ([a-z]+)")
CASE = re.compile(r"^    ([a-z][a-z |-]*)\)", re.M)


def verbs_of(root):
    dev = root / "dev"
    if not dev.is_file():
        return None
    return {verb.strip() for label in CASE.findall(lintlib.read(dev)) for verb in label.split("|")}


def check(root):
    verbs = verbs_of(root)
    pages = [(path, path.name) for path in sorted(root.glob("*.md"))]
    pages += lintlib.files(root, ["docs", "sdk", "plugins", "registry", "configs", "bench", "tests"], {".md"})
    for path, name in pages:
        for number, line in enumerate(lintlib.read(path).split("\n"), 1):
            for target in LINK.findall(line):
                place = target.split("#")[0]
                if place and "://" not in target and not target.startswith("mailto:") and not (path.parent / place).exists():
                    yield f"{name}:{number}: {target} leads nowhere"
            for verb in VERB.findall(line):
                if verbs is not None and verb not in verbs:
                    yield f"{name}:{number}: ./dev has no verb {verb}"


if __name__ == "__main__":
    sys.exit(lintlib.main("check_docs", check))

#!/usr/bin/env python3
"""Small habits: no source file over 600 lines, no assert() where foreign bytes are read, no notes left to do.

usage: check_files.py [ROOT]
"""
import re
import sys

import lintlib

MAX_LINES = 600
FOLDERS = ["host", "sdk", "plugins", "tests", "bench", "scripts"]
# assert() vanishes from a release build, so it cannot be what stands between a bad file and memory.
PARSERS = ("host/core/", "host/model/", "host/text/")
ASSERT = re.compile(r"(?<![A-Za-z0-9_])assert\s*\(")
NOTE = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")


def check(root):
    for path, name in lintlib.files(root, FOLDERS, lintlib.CXX | {".py", ".cmake", ".sh"}):
        text = lintlib.read(path)
        lines = text.count("\n")
        if lines > MAX_LINES:
            yield f"{name}:{lines}: {lines} lines, the limit is {MAX_LINES}: split it by subject"
        for number, line in enumerate(text.split("\n"), 1):
            if NOTE.search(line):
                yield f"{name}:{number}: a note left behind: {line.strip()[:80]}"
        if name.startswith(PARSERS):
            for match in ASSERT.finditer(lintlib.without_comments(text)):
                number = text.count("\n", 0, match.start()) + 1
                yield f"{name}:{number}: assert() is no check of input; throw_invalid() is"


if __name__ == "__main__":
    sys.exit(lintlib.main("check_files", check))

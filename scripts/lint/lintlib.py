"""What the lint scripts share: which files there are, comments stripped, and one way to report."""
import re
import sys
from pathlib import Path

CXX = {".h", ".hpp", ".c", ".cpp", ".cu", ".cuh"}
SKIPPED = {"build", ".git", ".cache", "__pycache__", "corpus"}


def files(root, folders, suffixes):
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            if path.suffix in suffixes and path.is_file() and not SKIPPED & set(parts):
                yield path, "/".join(parts)


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


TOKEN = re.compile(r'R"([^()\\\s]{0,16})\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.S)


def without_comments(text):
    """C++ text with each comment blanked; lines keep their numbers, strings stay."""

    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token.startswith(("//", "/*")) else token

    # A digit separator (1'000) is not the start of a character constant.
    return TOKEN.sub(blank, re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "_", text))


def main(name, check):
    """check(root) yields one line for each violation."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found = list(check(root))
    for line in found:
        print(line)
    print(f"{name}: {'ok' if not found else f'{len(found)} violation(s)'}", file=sys.stderr)
    return 1 if found else 0

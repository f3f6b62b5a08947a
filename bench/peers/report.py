#!/usr/bin/env python3
"""Writes the tables and drawings of docs/performance.md and README.md from the newest results of each machine in bench/results.

usage: report.py [ROOT] [--check] | --print FILE.json | --save FILE.json

Tables stand between the lines <!-- peers:begin --> and <!-- peers:end -->. With --check nothing is written: the exit code is 1
where something is not what the results say. --print shows the tables of one file of results; --save copies such a file to
bench/results, without this machine's folders, and writes everything.
"""
import difflib
import sys
from pathlib import Path

import plots
import tables
from problem import Problem
from store import publish, read_json

BEGIN, END = "<!-- peers:begin -->", "<!-- peers:end -->"
PAGE = "docs/performance.md"
README = "README.md"
DRAWINGS = "docs/performance"


def newest_results(root):
    """One document for each machine: names are peers-<machine>-<year>-<month>-<day>.json."""
    newest = {}
    for path in sorted((root / "bench" / "results").glob("peers-*.json")):
        newest[path.stem.removeprefix("peers-").rsplit("-", 3)[0]] = path
    return {name: (path, read_json(path)) for name, path in newest.items()}


def between_markers(text, name, lines):
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise Problem(f"{name}: it needs one line {BEGIN} and, after it, one line {END}")
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{''.join(line + chr(10) for line in lines)}{END}{tail}"


def page_lines(results):
    if not results:
        return ["There are no results yet: `./dev bench peers --save` makes them."]
    lines = []
    for name, (path, document) in results.items():
        drawings = [(title, f"performance/{name}-{key}.svg") for key, title, _ in plots.drawings(document)]
        lines += tables.page(document, f"../bench/results/{path.name}", drawings)
    return lines


def readme_lines(results):
    if not results:
        return []
    # The machine measured last.
    _, (path, document) = max(results.items(), key=lambda item: item[1][1]["date"])
    return list(tables.short(document, f"bench/results/{path.name}"))


def outputs(root):
    """{path: text} of everything that is made from the results."""
    results = newest_results(root)
    made = {}
    for name, lines in ((PAGE, page_lines(results)), (README, readme_lines(results))):
        path = root / name
        made[path] = between_markers(path.read_text(encoding="utf-8"), name, lines)
    for name, (_, document) in results.items():
        for key, _, text in plots.drawings(document):
            made[root / DRAWINGS / f"{name}-{key}.svg"] = text
    return made


def check(root):
    different = 0
    made = outputs(root)
    for path, text in made.items():
        name = str(path.relative_to(root))
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if before != text:
            different += 1
            sys.stdout.writelines(line + "\n" for line in difflib.unified_diff(
                before.splitlines(), text.splitlines(), name, "as it would be", lineterm="", n=0))
    for path in (root / DRAWINGS).glob("*.svg"):
        if path not in made:
            different += 1
            print(f"{path.relative_to(root)}: no results belong to it")
    if different:
        print("figures are not what bench/results says: run bench/peers/report.py")
    return int(different > 0)


def write(root):
    made = outputs(root)
    for path in (root / DRAWINGS).glob("*.svg"):
        if path not in made:
            path.unlink()
    for path, text in made.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def main(arguments):
    try:
        if "--print" in arguments:
            path = Path(arguments[arguments.index("--print") + 1])
            document = read_json(path)
            print("\n".join([*tables.short(document, path.name), "", *tables.page(document, path.name, [])]))
            return 0
        if "--save" in arguments:
            root = Path(__file__).resolve().parents[2]
            publish(root, read_json(Path(arguments[arguments.index("--save") + 1])))
            return write(root)
        folders = [argument for argument in arguments if argument != "--check"]
        root = Path(folders[0]) if folders else Path(__file__).resolve().parents[2]
        return check(root) if "--check" in arguments else write(root)
    except (Problem, OSError, IndexError) as problem:
        print(f"report: {problem}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

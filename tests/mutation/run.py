#!/usr/bin/env python3
"""Mutation score of the architecture plugins: how many of the features that a plugin builds would be missed.

    run.py --tool build/bin/mutation_tool                  all golden cases
    run.py --tool build/bin/mutation_tool --write          and results.json and RESULTS.md anew
    run.py --tool ... --plugin gpt2 --plugin gemma2        the cases of these plugins alone, as results.json has them

Features that cannot matter are in equivalent.json with the reason. An entry that fits no survivor, or one whose effect is
a tenth of the tolerance or more, fails the run, as does a plugin below the wanted score or without a case.
"""

import argparse
import datetime
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
WANTED = 0.95
EQUIVALENT_BELOW = 0.1  # of the tolerance


def run_tool(tool, cases):
    """Survivors by plugin, and whether every case could be run."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        status = subprocess.run([tool, str(out), *cases], check=False).returncode
        return json.loads(out.read_text()), status == 0


def fits(entry, plugin, survivor):
    return fnmatch.fnmatchcase(plugin, entry["plugin"]) and re.fullmatch(entry["feature"], survivor["feature"])


def judge(plugins, entries, complete):
    """Takes equivalent survivors out; gives what is wrong with the list."""
    problems = []
    used = set()
    for name, plugin in plugins.items():
        rest = []
        for survivor in plugin["survivors"]:
            found = next((i for i, entry in enumerate(entries) if fits(entry, name, survivor)), None)
            if found is None:
                rest.append(survivor)
                continue
            used.add(found)
            if not survivor["difference"] < EQUIVALENT_BELOW:
                problems.append(f"{name}: '{survivor['feature']}' is listed as equivalent and changes the logits by "
                                f"{survivor['difference']:.2g} of the tolerance")
                rest.append(survivor)
        plugin["equivalent"] = len(plugin["survivors"]) - len(rest)
        plugin["survivors"] = rest
        tried = plugin["features"] - plugin["equivalent"]
        plugin["score"] = plugin["killed"] / tried if tried else 1.0
    if complete:
        problems += [f"equivalent.json: no survivor is '{entry['feature']}' of '{entry['plugin']}'"
                     for i, entry in enumerate(entries) if i not in used]
    return problems


def total_of(plugins):
    sums = {key: sum(plugin[key] for plugin in plugins.values()) for key in ("features", "killed", "equivalent")}
    sums["score"] = sums["killed"] / max(1, sums["features"] - sums["equivalent"])
    return sums


def built_plugins():
    """Of the tree, and the documents that describe a family in place of the plugin that reads them."""
    root = HERE.parents[1]
    plugins = {path.parent.name for path in (root / "plugins" / "archs").glob("*/CMakeLists.txt")} - {"declarative"}
    documents = {path.stem for path in (root / "registry" / "archs").glob("*.yaml")
                 if re.search(r"^model_types: *\[ *[^] ]", path.read_text(), re.MULTILINE)}
    return plugins | {f"declarative/{name}" for name in documents}


def commit():
    return subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True,
                          check=False).stdout.strip()


def as_markdown(result):
    total = result["total"]
    lines = ["# Mutation score of the architecture plugins", "",
             f"{result['date']}, commit {result['commit']}: {total['killed']} of "
             f"{total['features'] - total['equivalent']} features are noticed when they are missing "
             f"({total['score']:.1%}); {total['equivalent']} more cannot matter (equivalent.json). Written by run.py.", "",
             "| Plugin | Cases | Features | Equivalent | Noticed | Score |", "| --- | --: | --: | --: | --: | --: |"]
    for name, plugin in result["plugins"].items():
        lines.append(f"| {name} | {len(plugin['cases'])} | {plugin['features']} | {plugin['equivalent']} | "
                     f"{plugin['killed']} | {plugin['score']:.1%} |")
    survivors = [(name, survivor) for name, plugin in result["plugins"].items() for survivor in plugin["survivors"]]
    lines += ["", "Not noticed, with the largest change of a logit as a part of the tolerance:", ""]
    lines += [f"- {name}: {survivor['feature']} ({survivor['difference']:.2g})" for name, survivor in survivors]
    return "\n".join(lines if survivors else lines[:-2]) + "\n"


def cases_of(plugins):
    if not plugins:
        return []
    known = json.loads((HERE / "results.json").read_text())["plugins"]
    return [case for plugin in plugins for case in known[plugin]["cases"]]


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True, help="the built mutation_tool")
    parser.add_argument("--write", action="store_true", help="keep the result")
    parser.add_argument("--plugin", action="append", default=[], help="only this plugin's cases, as in results.json")
    parser.add_argument("--case", action="append", default=[], help="only this case, a name or a folder")
    return parser.parse_args()


def main():
    args = parse()
    complete = not args.plugin and not args.case
    plugins, all_ran = run_tool(args.tool, cases_of(args.plugin) + args.case)
    problems = [] if all_ran else ["a case could not be run"]
    problems += judge(plugins, json.loads((HERE / "equivalent.json").read_text()), complete)
    result = {"date": datetime.date.today().isoformat(), "commit": commit(), "total": total_of(plugins),
              "plugins": plugins}
    print(as_markdown(result))
    if not args.case:
        problems += [f"{name}: {plugin['score']:.1%} of the features are noticed, less than {WANTED:.0%}"
                     for name, plugin in plugins.items() if plugin["score"] < WANTED]
    if complete:
        problems += [f"{name}: no golden case" for name in sorted(built_plugins() - set(plugins))]
    if complete and args.write:
        (HERE / "results.json").write_text(json.dumps(result, indent=1) + "\n")
        (HERE / "RESULTS.md").write_text(as_markdown(result))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

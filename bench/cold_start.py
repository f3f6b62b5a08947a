#!/usr/bin/env python3
"""Time and memory of a cold process: from nothing to the first token, ours and, where given, a peer's in turn.

usage: cold_start.py --ours 'COMMAND' [--peer 'COMMAND'] [--runs 7] [--out FILE.json]

Each command is run as a whole process, the two alternating; reported are medians of wall time and of peak resident memory
and their ratios (ours / peer). Compare only figures of one call: machines differ and are shared.
"""
import argparse
import json
import shlex
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))

import machine  # noqa: E402
import process  # noqa: E402
from problem import Problem  # noqa: E402


def run_once(command):
    try:
        done = process.run(shlex.split(command))
    except Problem as problem:
        sys.exit(f"cold_start: {problem}")
    return {"seconds": done.seconds, "cpu_seconds": done.cpu_seconds, "peak_rss_mib": done.peak_rss_mib}


def medians(samples):
    return {key: round(statistics.median(sample[key] for sample in samples), 4) for key in samples[0]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True)
    parser.add_argument("--peer")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--out")
    arguments = parser.parse_args()
    commands = {"ours": arguments.ours, **({"peer": arguments.peer} if arguments.peer else {})}
    samples = {name: [] for name in commands}
    for name, command in commands.items():
        run_once(command)  # brings the files into the page cache
    for _ in range(arguments.runs):
        for name, command in commands.items():
            samples[name].append(run_once(command))
    report = {"machine": machine.describe(), "commit": machine.commit(),
              "runs": arguments.runs, "commands": commands, "median": {name: medians(s) for name, s in samples.items()}}
    if arguments.peer:
        ours, peer = report["median"]["ours"], report["median"]["peer"]
        report["ratio"] = {key: round(ours[key] / peer[key], 3) for key in ours}
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.out:
        with open(arguments.out, "w") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Time and memory of a cold process: from nothing to the first token, ours and, where given, a peer's in turn.

usage: cold_start.py --ours 'COMMAND' [--peer 'COMMAND'] [--runs 7] [--out FILE.json]

Each command is run as a whole process, the two alternating; reported are medians of wall time and of peak resident memory
and their ratios (ours / peer). Compare only figures of one call: machines differ and are shared.
"""
import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time


def run_once(command):
    started = time.perf_counter()
    process = subprocess.Popen(shlex.split(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"cold_start: exit {process.returncode} of: {command}")
    return {"seconds": time.perf_counter() - started, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "peak_rss_mib": usage.ru_maxrss / 1024}


def medians(samples):
    return {key: round(statistics.median(sample[key] for sample in samples), 4) for key in samples[0]}


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), "unknown")


def commit():
    folder = os.path.dirname(os.path.abspath(__file__))
    found = subprocess.run(["git", "-C", folder, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


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
    report = {"machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()}, "commit": commit(),
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

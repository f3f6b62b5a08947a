#!/usr/bin/env python3
"""Writes the tables of docs/performance.md about serving from the newest results, or checks that they are those.

usage: report.py [--check]
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- serving: begin -->\n", "<!-- serving: end -->\n"


def load_table(results):
    lines = ["| clients | ours, tokens/s | llama.cpp's server | ratio | first token p99, ours | theirs |", "|---|---|---|---|---|---|"]
    for clients, cell in results["load"].items():
        ours, peer = cell["ours"], cell["peer"]
        lines.append(f"| {clients} | {ours['tokens_per_s']:.0f} | {peer['tokens_per_s']:.0f} | {cell['throughput_ratio']:.1f} "
                     f"| {ours['ttft_ms_p99']:.0f} ms | {peer['ttft_ms_p99']:.0f} ms |")
    return lines


def adapter_table(results):
    counts = list(results["adapters"][0]["counts"])
    lines = ["| modules | " + " | ".join("base" if count == "0" else f"{count} active" for count in counts) + " |",
             "|---" * (len(counts) + 1) + "|"]
    for curve in results["adapters"]:
        name = "all linears" if len(curve["modules"]) > 4 else ", ".join(curve["modules"])
        cells = [f"{curve['counts'][count]['tokens_per_s']:.0f} ({curve['ratio_to_base'][count]:.2f})" for count in counts]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def text():
    newest = max((ROOT / "bench" / "results").glob("serving-*.json"), key=lambda path: json.loads(path.read_text())["date"])
    results = json.loads(newest.read_text(encoding="utf-8"))
    about = (f"{results['model']}, {results['threads']} threads, {results['machine']['cpu']}, commit {results['commit']}, medians of "
             f"{results['rounds']} rounds ([{newest.name}](../bench/results/{newest.name})):")
    return "\n".join([about, "", *load_table(results), "", f"Tokens/s (and ratio to the base model) with {results['adapters'][0]['clients']} "
                      f"clients whose requests go round so many adapters of rank {results['adapters'][0]['rank']}:", "",
                      *adapter_table(results)]) + "\n"


def main():
    document = DOCUMENT.read_text(encoding="utf-8")
    before, rest = document.split(BEGIN)
    after = rest.split(END)[1]
    fresh = before + BEGIN + text() + END + after
    if "--check" in sys.argv[1:]:
        if fresh != document:
            sys.exit("docs/performance.md: its serving tables are not those of the newest results; run bench/serving/report.py")
    else:
        DOCUMENT.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Encoding speed on English text beside Hugging Face `tokenizers`: MB/s of one core, the two in turn.

usage: tokenize_speed.py TOKENIZE_TEXT --tokenizer NAME=tokenizer.json... [--megabytes 8] [--runs 5] [--out FILE.json]

TOKENIZE_TEXT is the program of bench/tokenize_text.cpp. The text is the language reference that Python carries (pydoc_data.topics)
and this project's documentation, cut into documents of about 4 kB and shuffled with a fixed seed, as often as it takes. Each run
encodes all documents once, one after the other, on one thread; reported are medians of processor time, which other work on the
machine disturbs less than the clock. The ids of both are compared: a hash over all of them. `tokenizers` works out offsets as
well, which it cannot be told to leave. Needs the package `tokenizers`.
"""
import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from pydoc_data import topics
import tokenizers

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = 4096
PRIME = 2**31 - 1


def paragraphs():
    pages = [page.read_text(encoding="utf-8") for page in sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("*.md"))]
    for text in [*(topics.topics[name] for name in sorted(topics.topics)), *pages]:
        yield from (part for part in text.split("\n\n") if part.strip())


def documents(size):
    rng = random.Random(1)
    parts, result, total = list(paragraphs()), [], 0
    while total < size:
        rng.shuffle(parts)
        text = ""
        for part in parts:
            text += part + "\n\n"
            if len(text) >= DOCUMENT:
                result.append(text)
                total += len(text.encode())
                text = ""
    return result


class Ours:
    def __init__(self, program, tokenizer, path):
        self.process = subprocess.Popen([program, tokenizer, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts = tokenizers.Tokenizer.from_file(str(tokenizer)), texts

    def run(self):
        wall, cpu = time.perf_counter(), time.process_time()
        encodings = [self.tokenizer.encode(text, add_special_tokens=False) for text in self.texts]
        result = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
        tokens = value = 0
        for encoding in encodings:
            tokens += len(encoding.ids)
            for token in encoding.ids:
                value = (value * 1_000_003 + token + 1) % PRIME
        return result | {"tokens": tokens, "hash": value}


def cpu_name():
    with open("/proc/cpuinfo") as file:
        return next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), "unknown")


def commit():
    found = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def measure(name, path, texts, size, options):
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write(b"".join(text.encode() + b"\0" for text in texts))
        file.flush()
        sides = {"ours": Ours(options.program, path, file.name), "tokenizers": Peer(path, texts)}
        samples = {side: [] for side in sides}
        for _ in range(options.runs):
            for side, runner in sides.items():
                samples[side].append(runner.run())
        sides["ours"].close()
    speed = {side: round(size / 1e6 / statistics.median(run["cpu_s"] for run in runs), 2) for side, runs in samples.items()}
    row = {"tokenizer": name, "tokens": samples["ours"][0]["tokens"],
           "same_ids": len({run["hash"] for runs in samples.values() for run in runs}) == 1,
           "mb_per_s": speed, "ratio": round(speed["ours"] / speed["tokenizers"], 2),
           "cpu_seconds": {side: [round(run["cpu_s"], 3) for run in runs] for side, runs in samples.items()}}
    print(json.dumps(row), flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--tokenizer", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--megabytes", type=float, default=8)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    texts = documents(int(options.megabytes * 1e6))
    size = sum(len(text.encode()) for text in texts)
    rows = [measure(*entry.split("=", 1), texts, size, options) for entry in options.tokenizer]
    if options.out:
        report = {"machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "system": platform.platform()}, "commit": commit(),
                  "command": f"tokenize_speed.py tokenize_text --megabytes {options.megabytes:g} --runs {options.runs} "
                             + " ".join(f"--tokenizer {entry.split('=')[0]}=…/tokenizer.json" for entry in options.tokenizer),
                  "tokenizers_version": tokenizers.__version__, "python": platform.python_version(), "text_bytes": size,
                  "documents": len(texts), "runs": options.runs, "tokenizer": rows}
        options.out.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

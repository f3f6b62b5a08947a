"""LoRA steps beside PEFT on torch: tokens/s and peak memory, both sides in turn in one run, each time a process of its own.

Three rounds take about eight minutes of two cores. Figures are medians: of a process's steps but the first, then of the rounds.

usage: python3 bench/training [--rounds 3] [--python PYTHON] [--out FILE]
PYTHON has torch, transformers and peft.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE.parent / "peers"))

import machine  # noqa: E402

SAY = {"file": sys.stderr, "flush": True}
CELLS = [(dtype, checkpoint) for dtype in ("f32", "bf16") for checkpoint in (False, True)]
JOB = """model: {model}
output: {output}
method: {{name: lora, r: 8, lora_alpha: 16, target_modules: [q_proj, v_proj]}}
data: {{train: {rows}, max_length: 256, shuffle: false}}
training: {{max_steps: {steps}, batch_size: 4, micro_batch_tokens: 1024, learning_rate: 1.0e-4, scheduler: constant,
  max_grad_norm: 0, gradient_checkpointing: {checkpoint}, dtype: {dtype}, seed: 0}}
log: {{trace: {trace}}}
engine: {{threads: {threads}}}
"""


def run(command):
    """(standard output, peak MiB): the program's own, not its children's."""
    watched = [sys.executable, "-c", "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
               "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)", *map(str, command)]
    done = subprocess.run(watched, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    *lines, peak = done.stdout.splitlines()
    return "\n".join(lines), int(peak.split()[1]) / 1024


def ours(options, model, dtype, checkpoint, folder):
    trace, job = folder / "trace.jsonl", folder / "job.yaml"
    trace.unlink(missing_ok=True)
    job.write_text(JOB.format(model=model, output=folder / f"out-{datetime.now().timestamp()}", rows=model / "rows.jsonl",
                              steps=options.steps, checkpoint=str(checkpoint).lower(), dtype=dtype, trace=trace,
                              threads=options.threads))
    _, peak = run([options.program, "finetune", "-c", job])
    steps = [json.loads(line) for line in trace.read_text().splitlines()]
    steps = [step for step in steps if "loss" in step and "lr" in step]
    return {"seconds": [step["seconds"] for step in steps], "losses": [step["loss"] for step in steps], "peak_rss_mib": peak}


def peer(options, model, dtype, checkpoint):
    more = ["--checkpoint"] if checkpoint else []
    out, peak = run([options.python, HERE / "peer_step.py", model, model / "rows.jsonl", "--dtype", dtype, "--threads", options.threads,
                     "--steps", options.steps, *more])
    return {**json.loads(out.splitlines()[-1]), "peak_rss_mib": peak}


def summary(samples):
    tokens = 4 * 256
    # The first step of a process warms up.
    speeds = [tokens / statistics.median(sample["seconds"][1:]) for sample in samples]
    return {"tokens_per_s": statistics.median(speeds), "all_tokens_per_s": speeds,
            "peak_rss_mib": statistics.median(sample["peak_rss_mib"] for sample in samples),
            "first_loss": samples[0]["losses"][0], "last_loss": samples[0]["losses"][-1]}


def measure(options, model, dtype, checkpoint, folder):
    sides = {"ours": [], "peer": []}
    for _ in range(options.rounds):
        sides["ours"].append(ours(options, model, dtype, checkpoint, folder))
        sides["peer"].append(peer(options, model, dtype, checkpoint))
    cell = {"dtype": dtype, "checkpointing": checkpoint, **{side: summary(samples) for side, samples in sides.items()}}
    cell["speed_ratio"] = cell["ours"]["tokens_per_s"] / cell["peer"]["tokens_per_s"]
    cell["memory_ratio"] = cell["ours"]["peak_rss_mib"] / cell["peer"]["peak_rss_mib"]
    print(f"{dtype} checkpointing={checkpoint}: {cell['ours']['tokens_per_s']:.0f} against {cell['peer']['tokens_per_s']:.0f} tokens/s "
          f"({cell['speed_ratio']:.2f}), {cell['ours']['peak_rss_mib']:.0f} against {cell['peer']['peak_rss_mib']:.0f} MiB "
          f"({cell['memory_ratio']:.2f}), losses {cell['ours']['last_loss']:.5f} and {cell['peer']['last_loss']:.5f}", **SAY)
    return cell


def main():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--steps", type=int, default=4)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--python", default=sys.executable, help="with torch, transformers and peft")
    made.add_argument("--program", type=Path, default=ROOT / "build" / "release" / "bin" / "llmhost")
    made.add_argument("--cells", default="", help="of f32, f32+ckpt, bf16, bf16+ckpt; all without")
    made.add_argument("--out", type=Path)
    options = made.parse_args()
    wanted = options.cells.split(",") if options.cells else [dtype + ("+ckpt" if c else "") for dtype, c in CELLS]
    versions = subprocess.run([options.python, "-c", "import peft, torch, transformers; print(torch.__version__, transformers.__version__, "
                               "peft.__version__)"], capture_output=True, text=True, check=True).stdout.split()
    results = {"machine": machine.describe(), "commit": machine.commit(), "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
               "command": "python3 bench/training", "threads": options.threads, "rounds": options.rounds, "steps": options.steps,
               "shape": "SmolLM2-135M, 4 x 256 tokens, rank 8 on q_proj and v_proj, AdamW",
               "peer": dict(zip(("torch", "transformers", "peft"), versions)), "cells": []}
    with tempfile.TemporaryDirectory() as holder:
        models = {}
        for dtype, checkpoint in CELLS:
            if dtype + ("+ckpt" if checkpoint else "") not in wanted:
                continue
            if dtype not in models:
                models[dtype] = Path(holder) / dtype
                run([options.python, HERE / "make_model.py", models[dtype], dtype])
            results["cells"].append(measure(options, models[dtype], dtype, checkpoint, Path(holder)))
    text = json.dumps(results, indent=1) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Runs golden cases through `llmhost logits` in three ways (whole prompts, token by token, in a batch with seven other prompts)
and writes what came out, a row a case.

usage: report.py LLMHOST [--cases DIR]... [--only REGEX] [--out results.json] [--commit ID] [--arguments "…"]

DIR is a folder of cases in the format of tests/data/goldens (README.md there), which is the default; of cases with the same name
the first counts. A row says how far the logits are from the expected ones (the largest absolute difference over all positions
of both prompts), the limit, whether the greedy tokens agree, and whether the three ways gave the same bits. A model that the
program refuses has the reason instead. Exit code 0: every case passed or was refused; 1: a case failed; 2: usage.
"""
import argparse
import array
import datetime
import json
import platform
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OWN_CASES = HERE.parent / "data" / "goldens"
NEW_TOKENS = 16
BATCH = 8
WAYS = {"whole": (), "token_by_token": ("--prefill-chunk", "1"), "batch_of_8": ("--sequences", str(BATCH))}


def read_safetensors(path):
    """{name: array} of the f32 and i32 tensors."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    tensors = {}
    for name, entry in json.loads(content[8:8 + size]).items():
        kind = {"F32": "f", "I32": "i"}.get(entry.get("dtype"))
        if kind:
            values = array.array(kind)
            values.frombytes(content[slice(*(8 + size + offset for offset in entry["data_offsets"]))])
            tensors[name] = values
    return tensors


class Refused(Exception):
    """The program's own one line."""


def call(program, command, *arguments):
    done = subprocess.run([program[0], command, *map(str, arguments), *program[1:]], capture_output=True, text=True,
                          check=False, timeout=600)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise Refused(lines[-1] if lines else f"exit code {done.returncode}")
    return done.stdout


def companions(prompts):
    """Other prompts of the model, made of its own ids: as many as fill a batch, of different lengths."""
    ids = [i for prompt in prompts for i in prompt]
    others = []
    while len(prompts) + len(others) < BATCH:
        n = len(others)
        others.append((ids[::-1] if n % 2 else ids)[n:n + 1 + 5 * (n + 1)])
    return others


def logits(program, model, prompts, way, folder):
    (folder / "tokens.json").write_text(json.dumps({"prompts": prompts, "generate": NEW_TOKENS}))
    out = folder / "out.safetensors"
    call(program, "logits", model, "--tokens", folder / "tokens.json", "--out", out, *way)
    return read_safetensors(out)


def tokens_agree(actual, expected, margins, limit):
    """Up to the first step where the two best logits are nearer than twice the limit."""
    for got, want, margin in zip(actual, expected, margins, strict=True):
        if got != want:
            return margin < 2 * limit
    return True


def verdict(actual, expected, spec, limit):
    worst, agree = 0.0, True
    for i, prompt in enumerate(spec["prompts"]):
        got, want = actual[f"logits_{i}"], expected[f"logits_{i}"]
        if len(got) != len(want):
            return {"passed": False, "problem": f"{len(got)} logits of prompt {i}, expected {len(want)}"}
        for a, b in zip(got, want):
            difference = abs(a - b)
            if not difference <= worst:  # keeps a NaN
                worst = difference
        if prompt["check_tokens"]:
            agree = agree and tokens_agree(actual[f"tokens_{i}"], expected[f"tokens_{i}"], expected[f"step_margin_{i}"], limit)
    return {"max_error": float(f"{worst:.3g}"), "tokens_agree": agree, "passed": worst <= limit and agree}


def quantisation(folder, about):
    """What the weights are stored as, in a few words."""
    config = folder / "config.json"
    settings = json.loads(config.read_text()).get("quantization_config") if config.exists() else None
    if settings:
        method = settings.get("quant_method", "?")
        if method == "bitsandbytes":
            return "bitsandbytes " + ("int8" if settings.get("load_in_8bit") else settings.get("bnb_4bit_quant_type", "fp4"))
        return f"{method} {settings['bits']}-bit" if "bits" in settings else method
    types = list(about["types"])
    # Norms and biases stay in f32 beside any other type.
    return " ".join(sorted(t for t in types if t not in ("F32", "f32", "BOOL")) or types)


def run_case(program, folder, scratch):
    spec = json.loads((folder / "expected.json").read_text())
    model = folder / "model.gguf" if (folder / "model.gguf").exists() else folder
    row = {"case": folder.name, "feature": spec["feature"]}
    if has_images(folder):
        return row | {"refused": "the case has images"}
    config = folder / "config.json"
    if config.exists():
        row["model_type"] = json.loads(config.read_text())["model_type"]
    try:
        about = json.loads(call(program, "show", model, "--json"))
        row["format"] = about["format"]
        row["quantisation"] = quantisation(folder, about)
        architecture = about.get("architecture") or {}
        row.setdefault("model_type", architecture.get("model_type"))
        row["plugin"] = architecture.get("plugin")
        expected = read_safetensors(folder / "expected.safetensors")
        prompts = [list(expected[f"input_ids_{i}"]) for i in range(len(spec["prompts"]))]
        limit = row["limit"] = spec["tolerance"]["f32"]["max_abs"]
        outputs = {}
        for way, arguments in WAYS.items():
            given = prompts + companions(prompts) if way == "batch_of_8" else prompts
            outputs[way] = logits(program, model, given, arguments, scratch)
            row[way] = verdict(outputs[way], expected, spec, limit)
        names = [f"{kind}_{i}" for i in range(len(prompts)) for kind in ("logits", "tokens")]
        row["same_bits"] = all(outputs[way][name].tobytes() == outputs["whole"][name].tobytes() for way in WAYS for name in names)
        row["passed"] = row["same_bits"] and all(row[way]["passed"] for way in WAYS)
    except Refused as refusal:
        # The name of the case stands for its path, which is another on every machine.
        row["refused"] = str(refusal).removeprefix("llmhost: ").replace(str(model), folder.name)
    return row


def machine(program):
    about = json.loads(call(program, "doctor", "--json"))
    return {key: about["machine"][key] for key in ("cpu", "cores", "isa")} | {"system": f"{platform.system()} {platform.machine()}"}


def commit():
    done = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def has_images(folder):
    """Cases of models that see have inputs beside the ids."""
    content = (folder / "expected.safetensors").read_bytes()
    return b'.pixel_values"' in content[8:8 + int.from_bytes(content[:8], "little")]


def cases(folders, only):
    found = {}
    for folder in folders:
        for expected in sorted(folder.glob("*/expected.json")):
            if re.search(only, expected.parent.name):
                found.setdefault(expected.parent.name, expected.parent)
    return [found[name] for name in sorted(found)]


def state_of(row):
    if "refused" in row:
        return f"refused: {row['refused']}"
    errors = [f"{row[way].get('max_error', row[way].get('problem'))}" for way in WAYS]
    return f"{'pass' if row['passed'] else 'FAIL'}  {' '.join(errors)}  limit {row['limit']}" + \
        ("" if row["same_bits"] else "  OTHER BITS")


def write(path, report):
    """A line a case, so that a difference between two runs is read easily."""
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in report.pop("cases"))
    path.write_text(json.dumps(report, ensure_ascii=False, indent=1).removesuffix("\n}") + ',\n "cases": [\n' + rows + "\n]}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--cases", type=Path, action="append", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--commit", default=None)
    parser.add_argument("--arguments", default="", help="for every call of the program")
    options = parser.parse_args()
    program = [options.program, *shlex.split(options.arguments)]
    rows = []
    with tempfile.TemporaryDirectory(prefix="llmhost-goldens-") as scratch:
        for folder in cases(options.cases or [OWN_CASES], options.only):
            row = run_case(program, folder, Path(scratch))
            row["kept"] = (OWN_CASES / row["case"]).exists()
            rows.append(row)
            print(f"{row['case']:28} {state_of(row)}", flush=True)
    if not rows:
        parser.error("no case fits")
    failed = [row["case"] for row in rows if "refused" not in row and not row["passed"]]
    refused = [row["case"] for row in rows if "refused" in row]
    print(f"{len(rows)} cases: {len(rows) - len(failed) - len(refused)} passed, {len(refused)} refused, {len(failed)} failed"
          + (f": {' '.join(failed)}" if failed else ""))
    if options.out:
        report = {"date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(), "commit": options.commit or commit(),
                  "machine": machine(program), "cases": rows}
        write(options.out, report)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

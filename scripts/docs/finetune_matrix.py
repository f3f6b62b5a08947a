#!/usr/bin/env python3
"""Writes registry/finetune/matrix.yaml: which fine-tuning method fits which architecture, asked of a small model of each.

usage: finetune_matrix.py PROGRAM [ROOT] [--check]

The models are those of the tests, one of each architecture plugin and, of described architectures, of each model type. --check
writes nothing and says what would change: exit code 1.
"""
import json
import subprocess
import sys
from pathlib import Path

TARGET = "registry/finetune/matrix.yaml"
# Weights, in thousands of millions, of the smallest published model of each type, where it is a large one: what is said of
# size holds for the others all the more. From the model cards.
SIZES = {
    "RefinedWeb": 41.8, "afmoe": 6, "apertus": 8, "aria_text": 25, "axk1": 519, "cohere": 8, "cohere2": 8, "cwm": 32, "dbrx": 131.6,
    "deepseek_v2": 15.7, "deepseek_v3": 16, "dots1": 142, "ernie4_5_moe": 21.8, "exaone_moe": 236, "flex_olmo": 33, "glm4": 9.4,
    "glm4_moe": 107, "glm4_moe_lite": 30, "gpt_oss": 20.9, "gptj": 6, "hunyuan_v1_moe": 80.4, "internlm3": 8.8, "jais2": 8,
    "llama4_text": 109, "mimo_v2_flash": 309, "minimax_m2": 229, "ministral": 8, "mistral": 7.2, "mixtral": 46.7, "mpt": 6.7,
    "olmo3": 7.3, "olmoe": 6.9, "persimmon": 9.4, "phi3small": 7.4, "phimoe": 7.6, "qwen2_moe": 14.3, "qwen3_moe": 30.5,
    "seed_oss": 36, "solar_open": 103,
}
HEAD = ("# Which fine-tuning method fits which architecture, with the methods' default settings. Sizes are those of the smallest\n"
        "# published model.\n"
        "# Made by scripts/docs/finetune_matrix.py; llmhost finetune --matrix prints it.\n")


def models(root):
    """Folder by model type: the first of each."""
    found = {}
    for config in sorted(root.glob("tests/data/goldens/*/config.json")) + sorted(root.glob("tests/data/finetune/models/*/config.json")):
        kind = json.loads(config.read_text(encoding="utf-8")).get("model_type", "")
        if kind and "quantization_config" not in config.read_text(encoding="utf-8"):
            found.setdefault(kind, config.parent)
    return found


def row(program, kind, folder):
    size = ["--weights", str(int(SIZES[kind] * 1e9))] if kind in SIZES else []
    done = subprocess.run([program, "finetune", "--json", "--matrix", *size, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        print(f"{folder.name}: left out: {done.stderr.strip()}", file=sys.stderr)
        return None
    found = json.loads(done.stdout)[0]
    return {"architecture": kind, "methods": {name: [cell["verdict"], cell["reason"]] for name, cell in found["methods"].items()}}


def text(program, root):
    rows = [found for kind, folder in sorted(models(root).items()) if (found := row(program, kind, folder)) is not None]
    lines = []
    for entry in rows:
        methods = {name: {"verdict": cell[0], "reason": cell[1]} for name, cell in entry["methods"].items()}
        lines.append(json.dumps({"architecture": entry["architecture"], "methods": methods}, ensure_ascii=False))
    return HEAD + "[\n" + ",\n".join(lines) + "\n]\n"


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    root = Path(arguments[1] if len(arguments) > 1 else Path(__file__).resolve().parents[2])
    fresh = text(arguments[0], root)
    target = root / TARGET
    if "--check" not in sys.argv:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(fresh, encoding="utf-8")
    elif not target.exists() or target.read_text(encoding="utf-8") != fresh:
        sys.exit(f"{TARGET} is not what the methods say now; run scripts/docs/finetune_matrix.py PROGRAM")


if __name__ == "__main__":
    main()

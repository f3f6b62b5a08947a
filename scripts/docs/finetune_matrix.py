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
HEAD = ("# Which fine-tuning method fits which architecture, with the methods' default settings.\n"
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
    done = subprocess.run([program, "finetune", "--json", "--matrix", folder], capture_output=True, text=True, check=False)
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

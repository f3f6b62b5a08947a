#!/usr/bin/env python3
"""Writes docs/finetuning-methods.md: the keys of every fine-tuning method, and which method fits which architecture.

usage: finetune_methods.py PROGRAM [ROOT] [--check]

The keys are those that the program's plugins declare (llmhost finetune --methods), the verdicts those of
registry/finetune/matrix.yaml, which finetune_matrix.py writes. --check writes nothing and says what would change: exit code 1.
"""
import difflib
import json
import subprocess
import sys
from pathlib import Path

PAGE = "docs/finetuning-methods.md"
MATRIX = "registry/finetune/matrix.yaml"
ORDER = ("lora", "qlora", "dora", "sparse", "full")
ABOUT = {
    "lora": "Low-rank adapters (Hu et al. 2021; with `use_rslora` Kalajdzievski 2023): `y + s (x A^T) B^T` beside linears and "
            "embeddings, with trained biases and whole modules beside them. PEFT's names, defaults and files.",
    "qlora": "LoRA over a base in 4 bits (Dettmers et al. 2023). Linears of the blocks become nf4 or fp4 when they are loaded; what is "
             "stored in few bits already, as in GGUF files, stays as it is.",
    "dora": "LoRA with a trained length of each row of the weight (Liu et al. 2024). The rows' directions count as constant in the "
            "gradient of their norms. With `load_in_4bit` over a base in 4 bits.",
    "sparse": "Two forms. Masked training (Zhu, Gupta 2017; `use_rigl`: Evci et al. 2020) of the linears of the blocks, which writes a whole "
              "model; with `peft_type: SHIRA` an adapter of single entries (Bhardwaj et al. 2024), which PEFT reads and `serve` serves.",
    "full": "The model's own weights, all or some of them; writes a whole model. Weights that modules share stay shared.",
}
HEAD = """# Fine-tuning methods

Written by `scripts/docs/finetune_methods.py` from what the plugins declare. Keys stand under `method:` of a job
([finetuning.md](finetuning.md)), with `name`. Unknown keys, values out of range and keys that contradict each other are refused
before anything is loaded, names of modules that the model does not have before anything is trained.

"""


def cell(text):
    return text.replace("|", "\\|") if text else " "


def keys_table(keys):
    lines = ["| key | default | meaning |", "| --- | --- | --- |"]
    for key in keys:
        names = ", ".join(f"`{name}`" for name in [key["name"], *key["aliases"]])
        default = key["default"]
        lines.append(f"| {names} | {'empty' if default == chr(39) * 2 else '`' + cell(default) + '`'} | {cell(key['documentation'])} |")
    return "\n".join(lines) + "\n"


def matrix_table(rows, methods):
    """Architectures with the same verdicts in one row, reasons as notes."""
    groups, notes = {}, []
    for row in rows:
        verdicts = tuple((row["methods"][name]["verdict"], row["methods"][name]["reason"]) for name in methods)
        groups.setdefault(verdicts, []).append(row["architecture"])
    lines = ["| architectures | " + " | ".join(methods) + " |", "| --- |" + " --- |" * len(methods)]
    for verdicts, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[1])):
        shown = []
        for verdict, reason in verdicts:
            if reason and reason not in notes:
                notes.append(reason)
            note = f" ({notes.index(reason) + 1})" if reason else ""
            shown.append(("no" if verdict == "no" else "yes") + note)
        lines.append("| " + " ".join(f"`{name}`" for name in names) + " | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n\n" + "".join(f"{i}. {note}\n" for i, note in enumerate(notes, 1))


def page(program, root):
    done = subprocess.run([program, "finetune", "--methods", "--json"], capture_output=True, text=True, check=True)
    declared = json.loads(done.stdout)
    matrix = (root / MATRIX).read_text(encoding="utf-8")
    rows = json.loads(matrix[matrix.index("["):])
    text = HEAD
    for name in ORDER:
        text += f"## {name}\n\n{ABOUT[name]}\n\n{keys_table(declared[name])}\n"
    text += ("## Which method fits which architecture\n\nWith the default settings. What is said of size holds for the smallest published "
             "model of an architecture.\n`llmhost finetune --matrix` prints the same, `--matrix MODEL` asks about a model.\n\n")
    return text + matrix_table(rows, ORDER)


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--check"]
    root = Path(arguments[1] if len(arguments) > 1 else Path(__file__).resolve().parents[2])
    fresh = page(arguments[0], root)
    target = root / PAGE
    if "--check" not in sys.argv:
        target.write_text(fresh, encoding="utf-8")
        return
    old = target.read_text(encoding="utf-8") if target.exists() else ""
    if old != fresh:
        sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), fresh.splitlines(True), PAGE, "what the plugins say", n=0))
        sys.exit(f"{PAGE} is not what the plugins say; run scripts/docs/finetune_methods.py PROGRAM")


if __name__ == "__main__":
    main()

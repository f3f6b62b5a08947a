#!/usr/bin/env python3
"""Copies what the tests need from the folder of fine-tuning goldens: models, adapters, logits, training runs, rules.

usage: copy_goldens.py GOLDENS   (with safetensors and numpy)

Models but `llama` become bf16, which is exact for their values.
"""
import json
import shutil
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = Path(__file__).resolve().parent


def bf16_file(source, target):
    """The header is written by hand: numpy has no bf16."""
    tensors = load_file(source)
    header, chunks, at = {}, [], 0
    for name, values in sorted(tensors.items()):
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        assert not np.any(bits & 0xFFFF), name
        data = (bits >> 16).astype(np.uint16).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [at, at + len(data)]}
        chunks.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    target.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))


def copy_adapter(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(source / name, target / name)


def copy_training(case, target):
    """Gradients on the batch `eval`, losses and norms of a run (case.json) and where it ends."""
    expected = load_file(case / "expected.safetensors")
    save_file({k: v for k, v in expected.items() if k.startswith(("grad/", "final/"))}, target / "training.safetensors")
    shutil.copyfile(case / "case.json", target / "case.json")
    merged = {k[7:]: v for k, v in expected.items() if k.startswith("merged/")}
    if merged:
        save_file(merged, target / "merged.safetensors")


def main(goldens):
    eval_batch = {k[5:]: v for k, v in load_file(goldens / "batches.safetensors").items() if k.startswith("eval.")}
    for model in sorted((goldens / "models").iterdir()):
        target = HERE / "models" / model.name
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(model / "config.json", target / "config.json")
        if model.name == "llama":
            shutil.copyfile(model / "model.safetensors", target / "model.safetensors")
        else:
            bf16_file(model / "model.safetensors", target / "model.safetensors")
    for kind in ("lora", "dora", "shira"):
        for case in sorted((goldens / kind).iterdir()):
            about = json.loads((case / "case.json").read_text())
            rows = about["logits_rows"]
            target = HERE / kind / case.name
            copy_adapter(case, target)
            save_file({"logits": load_file(case / "expected.safetensors")["logits"],
                       "input_ids": eval_batch["input_ids"][rows], "attention_mask": eval_batch["attention_mask"][rows]},
                      target / "expected.safetensors")
            copy_training(case, target)
    for kind in ("sparse", "topk", "dropout", "accum"):
        shutil.copytree(goldens / kind, HERE / kind, dirs_exist_ok=True)
    for name in ("batches.safetensors", "schedules.json"):
        shutil.copyfile(goldens / name, HERE / name)
    for case in sorted((goldens / "serve").iterdir()):
        for adapter in sorted((case / "adapters").iterdir()):
            copy_adapter(adapter, HERE / "serve" / case.name / "adapters" / adapter.name)
        for name in ("case.json", "expected.safetensors"):
            shutil.copyfile(case / name, HERE / "serve" / case.name / name)
    shutil.copyfile(goldens / "adapter_config_rules.json", HERE / "adapter_config_rules.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

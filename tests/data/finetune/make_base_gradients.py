#!/usr/bin/env python3
"""Writes base/NAME.safetensors: a batch, the loss of each base model on it and the gradients of its own tensors.

usage: make_base_gradients.py GOLDENS   (with torch, transformers, safetensors)

Those of llama, mixtral and gpt_neox are the goldens'; for the other models the goldens have the loss alone, and the
gradients are computed here in the same way (f32, eager attention) and checked on the three. They are kept for the first
layer and what is outside of the layers: gradients below depend on everything above.
"""
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from safetensors import safe_open
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent


def compute(folder, batch):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    tensors = {name: torch.from_numpy(value) for name, value in batch.items()}
    loss = model(**tensors).loss
    loss.backward()
    return float(loss.detach()), {name: value.grad.numpy() for name, value in model.named_parameters() if value.grad is not None}


def stored_names(folder):
    with safe_open(folder / "model.safetensors", "np") as file:
        return list(file.keys())


def main(goldens):
    torch.set_num_threads(1)
    batch = {key[5:]: value for key, value in load_file(goldens / "batches.safetensors").items() if key.startswith("eval.")}
    (HERE / "base").mkdir(exist_ok=True)
    for folder in sorted((goldens / "models").iterdir()):
        about = json.loads((goldens / "base" / f"{folder.name}.json").read_text())
        known = load_file(goldens / "base" / f"{folder.name}.safetensors")
        expected = {key[5:]: value for key, value in known.items() if key.startswith("grad/")}
        loss, gradients = compute(folder, batch)
        assert abs(loss - about["loss"]) < 2e-6, (folder.name, loss, about["loss"])
        for name, value in expected.items():
            if name in gradients:
                assert np.abs(gradients[name] - value).max() < 2e-6, (folder.name, name)
        if not expected:
            names = stored_names(folder)
            missing = [name for name in names if name not in gradients]
            assert not missing, (folder.name, missing)
            expected = {name: gradients[name] for name in names if not re.search(r"\.[1-9]\d*\.", name)}
        out = {f"grad/{name}": np.ascontiguousarray(value) for name, value in expected.items()}
        out["loss"] = np.array([about["loss"]], np.float32)
        for name, value in batch.items():
            out[name] = value.astype(np.int32)
        save_file(out, HERE / "base" / f"{folder.name}.safetensors")
        print(folder.name, loss, about["loss"], len(expected), "tensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

#!/usr/bin/env python3
"""Writes <case>/expected.safetensors with the outputs of every layer: the longest prompt of a golden case through Hugging Face
transformers (CPU, f32, eager attention) once more, with a hook on each decoder layer. Its logits must be the golden ones.

usage: make_layer_outputs.py        needs transformers, torch, safetensors
"""
import json
import pathlib

import torch
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
CASES = ["gemma2", "mistral-swa", "mixtral", "qwen2-swa"]


def layer_outputs(model, ids):
    taken = {}

    def hook(layer):
        def take(module, arguments, output):
            hidden = output[0] if isinstance(output, tuple) else output
            taken[layer] = hidden.detach().reshape(ids.shape[1], -1).clone()
        return take

    handles = [module.register_forward_hook(hook(i)) for i, module in enumerate(model.model.layers)]
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits
    for handle in handles:
        handle.remove()
    return logits, taken


def main():
    for case in CASES:
        folder = HERE.parent / "goldens" / case
        golden = load_file(folder / "expected.safetensors")
        tolerance = json.loads((folder / "expected.json").read_text())["tolerance"]
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        n = max((int(name.split("_")[-1]) for name in golden if name.startswith("input_ids_")),
                key=lambda i: golden[f"input_ids_{i}"].size)
        logits, taken = layer_outputs(model, torch.tensor(golden[f"input_ids_{n}"].reshape(1, -1), dtype=torch.long))
        off = abs(logits.numpy().reshape(-1) - golden[f"logits_{n}"].reshape(-1)).max()
        assert off < tolerance["f32"]["max_abs"] / 10, f"{case}: the logits are off by {off}"
        out = {f"{name}_0": golden[f"{name}_{n}"] for name in ("input_ids", "logits", "tokens", "step_margin")}
        out |= {f"layer_output_0.{layer}": hidden.numpy() for layer, hidden in taken.items()}
        (HERE / case).mkdir(exist_ok=True)
        save_file(out, HERE / case / "expected.safetensors")
        (HERE / case / "expected.json").write_text(json.dumps({"tolerance": tolerance}) + "\n")
        print(f"{case}: {len(taken)} layers, the logits are off by {off:.1e}")


if __name__ == "__main__":
    main()

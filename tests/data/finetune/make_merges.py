#!/usr/bin/env python3
"""What PEFT makes of two adapters: factors and logits of merged ones, into merge/.

usage: make_merges.py   (with torch, transformers 5.23, peft 0.21, safetensors; beside copy_goldens.py's output)
"""
import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

HERE = Path(__file__).resolve().parent
ADAPTERS = ["lora/llama_qv", "lora/llama_all", "lora/llama_rslora"]
CASES = [
    {"name": "linear", "type": "linear", "weights": [0.7, 0.4, 0.25]},
    {"name": "linear_negative", "type": "linear", "weights": [0.7, -0.4, 0.5]},
    {"name": "ties_total", "type": "ties", "weights": [1.0, 0.0, 0.6], "density": 0.82, "sign": "total"},
    {"name": "ties_frequency", "type": "ties", "weights": [0.5, 0.0, 1.5], "density": 0.83, "sign": "frequency"},
    {"name": "dare_linear_dense", "type": "dare_linear", "weights": [0.5, 0.5, 0.5], "density": 1.0},
    {"name": "dare_ties_dense", "type": "dare_ties", "weights": [0.5, 0.5, 0.5], "density": 1.0, "sign": "total"},
]
# A weight of 0 leaves the adapter out. The densities of TIES are those at which no two values of these adapters are
# equal at the limit, where the library's choice is not defined.
IDS = [5, 9, 200, 31, 77, 8, 120, 45, 3]


def main():
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(HERE / "models/llama", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, HERE / ADAPTERS[0], adapter_name="a0")
    for i, adapter in enumerate(ADAPTERS[1:], 1):
        model.load_adapter(HERE / adapter, adapter_name=f"a{i}")
    model.eval()
    tensors = {}
    for case in CASES:
        extra = {"density": case["density"]} if "density" in case else {}
        if "sign" in case:
            extra["majority_sign_method"] = case["sign"]
        taken = [(f"a{i}", weight) for i, weight in enumerate(case["weights"]) if weight != 0]
        names, weights = map(list, zip(*taken))
        model.add_weighted_adapter(names, weights, case["name"], combination_type=case["type"], **extra)
        model.set_adapter(case["name"])
        with torch.no_grad():
            tensors[case["name"]] = model(torch.tensor([IDS])).logits[0].contiguous()
    (HERE / "merge").mkdir(exist_ok=True)
    save_file(tensors, HERE / "merge/logits.safetensors")
    (HERE / "merge/cases.json").write_text(json.dumps({"adapters": ADAPTERS, "input_ids": IDS, "cases": CASES}, indent=1) + "\n")


if __name__ == "__main__":
    main()

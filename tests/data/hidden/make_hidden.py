"""Writes what transformers gives as the last hidden states of small models of this repository.

usage: make_hidden.py TESTS_DATA     (needs torch and transformers)
"""

import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM

MODELS = ["models/stories260K", "goldens/gpt2", "goldens/gemma3-text"]


def last_hidden(folder, prompt):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        return model.base_model(torch.tensor([prompt])).last_hidden_state[0].double()


def main():
    data = pathlib.Path(sys.argv[1])
    cases = []
    for name in MODELS:
        prompt = [1] + [3 + (i * i * 31 + i * 7) % 200 for i in range(1, 14)]
        rows = last_hidden(data / name, prompt)
        position = torch.arange(1, len(prompt) + 1).double()[:, None]
        unit = torch.nn.functional.normalize
        cases.append({
            "model": name,
            "prompt": prompt,
            "first": rows[0].tolist(),
            "last": rows[-1].tolist(),
            "mean": rows.mean(0).tolist(),
            "weighted_mean": ((rows * position).sum(0) / position.sum()).tolist(),
            "max": rows.max(0).values.tolist(),
            "mean_normalised": unit(rows.mean(0), dim=0).tolist(),
        })
        for key, values in cases[-1].items():
            if key not in ("model", "prompt"):
                cases[-1][key] = [float(f"{value:.7g}") for value in values]
    (data / "hidden" / "expected.json").write_text(json.dumps(cases, indent=None, separators=(",", ":")) + "\n")


main()

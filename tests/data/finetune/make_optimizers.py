#!/usr/bin/env python3
"""optimizers.json: five steps of torch's and transformers' optimisers on two tensors, in f32 (torch, transformers)."""
import json
from pathlib import Path

import torch
from transformers.optimization import Adafactor

STEPS = 5


def run(make):
    generator = torch.Generator().manual_seed(7)
    shapes = [(3, 5), (4,)]
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    gradients = [[torch.randn(shape, generator=generator) for shape in shapes] for _ in range(STEPS)]
    rates = [0.0, 0.01, 0.02, 0.015, 0.005]
    parameters = [torch.nn.Parameter(v.clone()) for v in values]
    optimizer = make(parameters)
    for gradient, rate in zip(gradients, rates):
        for parameter, g in zip(parameters, gradient):
            parameter.grad = g.clone()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    flat = lambda tensors: [t.detach().reshape(-1).double().tolist() for t in tensors]
    return {"shapes": shapes, "values": flat(values), "gradients": [flat(g) for g in gradients], "rates": rates,
            "final": flat(parameters)}


def main():
    cases = {
        "adamw": run(lambda p: torch.optim.AdamW(p, lr=1, weight_decay=0.1, foreach=False)),
        "sgd": run(lambda p: torch.optim.SGD(p, lr=1, weight_decay=0.1, foreach=False)),
        "sgd_momentum": run(lambda p: torch.optim.SGD(p, lr=1, momentum=0.9, weight_decay=0.1, foreach=False)),
        "adafactor": run(lambda p: Adafactor(p, lr=1, scale_parameter=False, relative_step=False, warmup_init=False,
                                             weight_decay=0.1)),
    }
    text = json.dumps(cases, indent=0).replace("\n", "")
    Path(__file__).with_name("optimizers.json").write_text(text + "\n")


if __name__ == "__main__":
    main()

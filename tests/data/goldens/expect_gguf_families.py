#!/usr/bin/env python3
"""Expected values of the files that make_gguf_families.py wrote.

    expect_gguf_families.py CASES OUT [REGEX]

A file keeps the values of its Hub case, whose weights the oracle widens to f32; where OUT/gguf-NAME/oracle/ has another
model, they are computed for that one, and the folder is removed. Needs what make_goldens.py needs.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import torch
import transformers
from gguf_families import FAMILIES
from golden_common import EAGER, NEW_TOKENS, write_json
from golden_oracle import forward, greedy
from safetensors.torch import load_file, save_file


def computed(folder, given, prompts):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **EAGER).eval()
    tensors, logits = {}, []
    for i in range(prompts):
        inputs = {"input_ids": given[f"input_ids_{i}"].long()}
        run = greedy(model, inputs)
        logits.append(forward(model, inputs))
        tensors |= {f"input_ids_{i}": given[f"input_ids_{i}"], f"logits_{i}": logits[-1],
                    f"tokens_{i}": run["tokens"].to(torch.int32), f"step_max_{i}": run["step_max"],
                    f"step_margin_{i}": run["step_margin"]}
    return tensors, float(torch.cat([e[0] for e in logits]).std(-1).mean())


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    cases, out = map(Path, sys.argv[1:3])
    wanted = re.compile(sys.argv[3] if len(sys.argv) > 3 else ".")
    for name, settings in FAMILIES.items():
        case, target = cases / settings.get("case", name), out / f"gguf-{name}"
        if not wanted.search(name) or not target.exists():
            continue
        given = json.loads((case / "expected.json").read_text())
        std, tolerance = given["logits"]["logit_std"], given["tolerance"]["f32"]
        tensors = load_file(case / "expected.safetensors")
        if (target / "oracle").exists():
            tensors, std = computed(target / "oracle", tensors, len(given["prompts"]))
            tolerance = {"max_abs": float(f"{1e-3 * std:.3g}")}
            shutil.rmtree(target / "oracle")
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, target / "expected.safetensors")
        write_json(target / "expected.json", {
            "name": target.name, "family": given["family"], "feature": given["feature"], "of": case.name,
            "notes": [settings["note"]] if "note" in settings else [],
            "prompts": [{k: p[k] for k in ("length", "check_tokens")} for p in given["prompts"]], "new_tokens": NEW_TOKENS,
            "tolerance": {"f32": tolerance}, "logits": {"logit_std": round(std, 4)}})
        print(f"{target.name} std {std:.3f}", flush=True)


if __name__ == "__main__":
    main()

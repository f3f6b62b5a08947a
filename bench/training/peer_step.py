"""One side of the comparison: LoRA steps with PEFT on torch. Prints a JSON line.

usage: peer_step.py MODEL ROWS.jsonl --dtype f32|bf16 [--checkpoint] --threads N --steps N
"""
import argparse
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def main():
    made = argparse.ArgumentParser()
    made.add_argument("model")
    made.add_argument("rows")
    made.add_argument("--dtype", choices=DTYPES, default="f32")
    made.add_argument("--checkpoint", action="store_true")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--steps", type=int, default=5)
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with open(options.rows, encoding="utf-8") as rows:
        ids = torch.tensor([json.loads(line)["input_ids"] for line in rows])
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=DTYPES[options.dtype])
    model.config.use_cache = False
    if options.checkpoint:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.enable_input_require_grads()
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], lora_dropout=0.0,
                                             task_type="CAUSAL_LM"))
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, weight_decay=0)
    seconds, losses = [], []
    for _ in range(options.steps):
        begin = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.perf_counter() - begin)
        losses.append(loss.item())
    print(json.dumps({"seconds": seconds, "losses": losses, "tokens": ids.numel(),
                      "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Models and adapters beside the goldens' own, in their layout (torch 2.15, transformers 5.23, peft 0.21, f32).

usage: make_adapters.py [CASE ...]   (needs batches.safetensors and the models of copy_goldens.py)

What they are for: norms over heads, transposed and whole modules in `modules_to_save`, an adapted head with a bias (whose copy
is in the file), positions that are part of a stored table, names of linears that experts have, too.
"""
import hashlib
import json
import math
import sys
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, get_scheduler

HERE = Path(__file__).resolve().parent
HP = {"lr": 1e-3, "weight_decay": 0.05, "betas": [0.9, 0.999], "eps": 1e-8, "warmup": 3, "schedule": "linear", "clip": 1.0}
STEPS = 8
COMMON = {"vocab_size": 256, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "bos_token_id": 1,
          "eos_token_id": 2, "pad_token_id": 0, "max_position_embeddings": 64}
MODELS = {
    "qwen3": {"model_type": "qwen3", "intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 12, "tie_word_embeddings": True},
    "opt": {"model_type": "opt", "ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.0},
    "qwen2_moe": {"model_type": "qwen2_moe", "intermediate_size": 48, "num_key_value_heads": 4, "moe_intermediate_size": 12,
                  "shared_expert_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False},
}
CASES = {
    "lora/qwen3_mts_norms": {"target_modules": ["q_proj"], "modules_to_save": ["norm"]},
    "lora/gpt2_mts_linear": {"target_modules": ["c_attn"], "modules_to_save": ["c_fc"]},
    "lora/phi_lm_head_target": {"target_modules": ["lm_head", "q_proj"]},
    "lora/opt_qv": {"target_modules": ["q_proj", "v_proj"]},
    "lora/qwen2_moe_mlp": {"target_modules": ["q_proj", "gate_proj", "down_proj"]},
    "dora/opt_all": {"target_modules": "all-linear", "use_dora": True},
}


def generator(*tag):
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256("/".join(tag).encode()).digest()[:8], "little") >> 1)


def random(shape, *tag, std=1.0, mean=0.0):
    """Exact in bf16."""
    return (torch.randn(tuple(shape), generator=generator(*tag)) * std + mean).bfloat16().float()


@torch.no_grad()
def make_model(name):
    kw = dict(MODELS[name])
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kw.pop("model_type"), **{**COMMON, **kw}), dtype=torch.float32)
    owners = dict(model.named_modules())
    for key, p in model.named_parameters():
        owner = type(owners[key.rpartition(".")[0]]).__name__
        is_norm_weight = "Norm" in owner and key.endswith("weight")
        std = 0.25 if "Norm" in owner or owner.endswith("Embedding") else 0.2 if key.endswith("bias") else 1.2 / math.sqrt(p.shape[-1])
        p.copy_(random(p.shape, name, key, std=std, mean=1.0 if is_norm_weight else 0.0))
    folder = HERE / "models" / name
    model.bfloat16().save_pretrained(folder)  # exact
    for file in folder.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()


def load(name):
    model = AutoModelForCausalLM.from_pretrained(HERE / "models" / name, attn_implementation="eager", dtype=torch.float32)
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    model.config.use_cache = False
    for module in model.modules():  # dropout of the base's config
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@torch.no_grad()
def fill(model, tag):
    modules = dict(model.named_modules())
    for key, p in model.named_parameters():
        if not p.requires_grad:
            continue
        if "lora_magnitude_vector" in key:
            weight = modules[key.split(".lora_magnitude_vector")[0]].get_base_layer().weight
            p.copy_((weight.norm(dim=1) * (1 + 0.2 * random(p.shape, tag, key))).bfloat16().float())
        elif "lora_" in key:
            p.copy_(random(p.shape, tag, key, std=1 / math.sqrt(p.shape[1]) if "lora_A" in key else 0.15))
        else:
            p.add_(random(p.shape, tag, key, std=0.08)).copy_(p.bfloat16().float())


def batches():
    stored = load_file(HERE / "batches.safetensors")
    names = ("input_ids", "attention_mask", "labels")
    evaluated = {n: stored[f"eval.{n}"] for n in names}
    return evaluated, [{n: stored[f"train.{n}"][i] for n in names} for i in range(4)]


def train(model, parameters, steps_batches):
    optimizer = torch.optim.AdamW(parameters, lr=HP["lr"], betas=HP["betas"], eps=HP["eps"], weight_decay=HP["weight_decay"], foreach=False)
    scheduler = get_scheduler(HP["schedule"], optimizer, num_warmup_steps=HP["warmup"], num_training_steps=STEPS)
    path = {"loss": [], "grad_norm": [], "lr": []}
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model(**steps_batches[step % 4]).loss
        loss.backward()
        path["loss"].append(float(loss.detach()))
        path["grad_norm"].append(float(torch.nn.utils.clip_grad_norm_(parameters, HP["clip"], foreach=False)))
        path["lr"].append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return path


def make_case(name, config):
    base = max((m.name for m in (HERE / "models").iterdir() if name.partition("/")[2].startswith(m.name + "_")), key=len)
    folder = HERE / name
    model = get_peft_model(load(base), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=6, init_lora_weights=False, **config))
    fill(model, name)
    model.peft_config["default"].init_lora_weights = True
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    model = PeftModel.from_pretrained(load(base), str(folder), is_trainable=True).train()
    by_data = {v.data_ptr(): k for k, v in get_peft_model_state_dict(model, save_embedding_layers=False).items()}
    trained = {by_data[p.data_ptr()]: p for p in model.parameters() if p.requires_grad}
    evaluated, steps_batches = batches()
    out = model(**evaluated)
    out.loss.backward()
    tensors = {f"grad/{k}": p.grad.clone() for k, p in trained.items()}
    mask = evaluated["attention_mask"]
    save_file({"logits": (out.logits.detach() * mask[..., None])[:1].contiguous(), "input_ids": evaluated["input_ids"][:1].clone(),
               "attention_mask": mask[:1].clone()}, folder / "expected.safetensors")
    path = train(model, list(trained.values()), steps_batches)
    # A bias of keys has no gradient but rounding, of which Adam makes whole steps.
    tensors |= {f"final/{k}": p.detach().clone() for k, p in trained.items() if "c_attn" not in k or "lora" in k}
    save_file(tensors, folder / "training.safetensors")
    about = {"kind": name.partition("/")[0], "model": base, "hp": HP, "steps": STEPS, "loss": float(out.loss.detach()), "traj": path}
    (folder / "case.json").write_text(json.dumps(about, indent=1) + "\n")
    print(name, about["loss"], path["loss"][-1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = sys.argv[1:] or list(CASES)
    if not sys.argv[1:]:
        for model_name in MODELS:
            make_model(model_name)
    for case_name in chosen:
        make_case(case_name, CASES[case_name])

#!/usr/bin/env python3
"""Writes the cases beside this file: tiny random checkpoints under model types that nobody knows, and their logits by
transformers (the version is in each expected.json). The weights are drawn so that no norm, bias or scale is neutral."""
import json
import shutil
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-3, "bos_token_id": 1, "eos_token_id": 2,
         "pad_token_id": None}
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32, "n_inner": 48, "layer_norm_epsilon": 1e-3,
       "bos_token_id": 1, "eos_token_id": 2}
LATENT = {"num_key_value_heads": 4, "q_lora_rank": 12, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
          "v_head_dim": 6, "rope_theta": 500.0}
EXPERTS = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "n_shared_experts": 1, "n_group": 2,
           "topk_group": 1, "first_k_dense_replace": 1, "routed_scaling_factor": 1.5}
WINDOW = {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
# name: the reference's model type, its settings, what the case shows
CASES = {
    "head-norms": ("qwen3", SIZES | {"head_dim": 12, "rope_theta": 500.0}, "norms of q and k, heads wider than hidden / heads"),
    "norms-behind": ("olmo2", SIZES | {"rope_theta": 500.0}, "norms behind the blocks, norms of the whole q and k"),
    "side-by-side": ("gpt_neox", {key: value for key, value in SIZES.items() if key not in ("num_key_value_heads", "rms_norm_eps")} |
                     {"layer_norm_eps": 1e-3, "rotary_pct": 0.5}, "parallel residual, fused projections head by head, partial rotation"),
    "turned": ("gpt2", GPT, "linears stored [in, out], learned positions"),
    "experts": ("mixtral", SIZES | {"num_local_experts": 4, "intermediate_size": 12}, "experts, softmax of the chosen"),
    "latent": ("deepseek_v3", SIZES | LATENT | EXPERTS, "latent attention, sigmoid scores with a correction, groups, a shared expert"),
    "multipliers": ("granite", SIZES | {"embedding_multiplier": 1.5, "residual_multiplier": 0.7, "attention_multiplier": 0.2,
                                        "logits_scaling": 1.3, "attention_bias": True}, "multipliers, biases of attention"),
    "caps": ("gemma2", SIZES | WINDOW | {"head_dim": 12, "attn_logit_softcapping": 4.0, "final_logit_softcapping": 6.0,
                                         "query_pre_attn_scalar": 20}, "sandwich norms, windows, caps, norms of 1 + weight"),
}


def draw(model, generator):
    for name, tensor in list(model.named_parameters()) + [(n, b) for n, b in model.named_buffers() if "correction" in n]:
        if tensor.is_floating_point():
            spread = 0.3 if tensor.dim() < 2 or "norm" in name else 1.5 / tensor.shape[-1] ** 0.5
            offset = 1.0 if "norm" in name and name.endswith("weight") and "gemma" not in type(model).__name__.lower() else 0.0
            tensor.data.copy_(torch.randn(tensor.shape, generator=generator) * spread + offset)


def write(name, kind, settings, shows):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    config = transformers.AutoConfig.for_model(kind, **settings)
    config._attn_implementation = "eager"
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    draw(model, generator)
    model.save_pretrained(folder)
    ids = torch.randint(3, 64, (1, 20), generator=generator)
    with torch.no_grad():
        logits = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()(ids).logits[0].float()
    (folder / "generation_config.json").unlink(missing_ok=True)
    stored = json.loads((folder / "config.json").read_text())
    stored |= {"model_type": f"unheardof-{name}", "architectures": ["UnheardofForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(stored, indent=1) + "\n")
    save_file({"logits": logits.contiguous()}, folder / "expected.safetensors")
    expected = {"shows": shows, "oracle": f"transformers {transformers.__version__}, {type(model).__name__}, float32, eager",
                "ids": ids[0].tolist(), "max_abs": float(f"{1e-3 * logits.std().item():.2g}")}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


for case, settings in CASES.items():
    write(case, *settings)

#!/usr/bin/env python3
"""More golden cases, most of the llama family: odd sizes, every rope scaling, config styles, GGUF metadata as
files on the Hub have it. Weights and oracle as in make_goldens.py, without its measurements of noise and sensitivity.

    make_variants.py OUT [REGEX]      # the cases whose name matches; OUT is a folder
"""

import copy
import json
import re
import shutil
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers

from cases_described import described_cases
from cases_exact import exact_cases
from golden_checkpoints import reload, write_checkpoint
from golden_common import NEW_TOKENS, rng_for, write_json
from golden_gguf import GGUF_RANDOM_BLOCKS, llama_gguf_name, random_blocks, rope_rows
from golden_oracle import build, forward, greedy
from golden_weights import named_tensors
from safetensors.torch import save_file

BASE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48, "vocab_size": 96, "hidden_act": "silu",
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
    "tie_word_embeddings": False, "attention_bias": False, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.02,
    "use_cache": True,
}
CASES = {}


def case(name, feature, config=(), drop=(), patch=None, after=None, **more):
    config = {k: v for k, v in {**BASE, **dict(config)}.items() if k not in drop}
    CASES[name] = {"name": name, "feature": feature, "config": config, "dtype": "bfloat16", "config_patch": patch or {},
                   "after": after or {}, **more}


def yarn(**more):
    return {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24, **more}


def family(name, feature, config, **more):
    CASES[name] = {"name": name, "feature": feature, "config": config, "dtype": "bfloat16", "family": config["model_type"],
                   "config_patch": {}, "after": {}, **more}


LONG = [8, 44]
case("llama-odd-sizes", "sizes that no vector width divides: hidden 40, heads of 10, MLP 37, vocabulary 131, one layer",
     {"hidden_size": 40, "intermediate_size": 37, "vocab_size": 131, "num_hidden_layers": 1}, dtype="float32")
case("llama-yarn", "yarn rope with betas; original_max_position_embeddings beside rope_scaling decides over the one in it; "
     "rope_theta in it over the one beside it",
     {"rope_scaling": yarn(original_max_position_embeddings=2000, beta_fast=8, beta_slow=0, rope_theta=30000.0),
      "original_max_position_embeddings": 24, "head_dim": 16}, prompts=LONG)
case("llama-yarn-v5", "yarn in the form of transformers 5, range not rounded, attention factor from mscale",
     {"rope_scaling": yarn(truncate=False, beta_fast=4.0, mscale=1.2, mscale_all_dim=0.7), "head_dim": 24},
     config_style="v5", prompts=LONG)
case("llama-longrope", "longrope beyond the original length, one key/value head",
     {"rope_scaling": {"rope_type": "longrope", "original_max_position_embeddings": 16, "short_factor": [1.0, 1.1, 1.2, 1.3],
                       "long_factor": [1.5, 2.0, 3.0, 4.0]}, "max_position_embeddings": 64, "num_key_value_heads": 1},
     prompts=[20, 44])
case("llama-tied-other", "config that ties the embeddings, but another lm_head.weight is stored: it is used",
     {"tie_word_embeddings": True}, extra_tensors=[lambda c, state: {"lm_head.weight": state["model.embed_tokens.weight"].flip(0)}])
case("llama-hub-keys", "bookkeeping keys that configs on the Hub carry, f16", {}, dtype="float16", after={
    "_name_or_path": "a/b", "pretraining_tp": 4, "attention_dropout": 0.1, "rope_interleaved": False, "max_window_layers": 28,
    "is_llama_config": True, "neftune_noise_alpha": 5, "unsloth_fixed": True, "use_sliding_window": False, "sliding_window": 4096,
    "model_max_length": 4096, "flash_attn": True, "partial_rotary_factor": 1.0, "loss_type": "ForCausalLMLoss", "bias": False,
    "layer_types": ["full_attention", "full_attention"], "eos_token_id": [2, 5], "head_dim": None, "mlp_bias": None,
    "quantization_config": None, "rope_parameters": None, "transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}})


MINISTRAL = {"architectures": ["MinistralForCausalLM"], "model_type": "ministral", "head_dim": 16, "rms_norm_eps": 1e-6}
case("ministral", "a window in the layers that layer_types names, beside full attention",
     {**MINISTRAL, "num_hidden_layers": 3, "sliding_window": 6,
      "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}, drop=("attention_bias",), prompts=LONG)
case("ministral3", "yarn with both mscales, queries that grow with the position beyond the original context",
     {**MINISTRAL, "architectures": ["Ministral3ForCausalLM"], "model_type": "ministral3",
      "rope_parameters": yarn(factor=8.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0, mscale=1.0,
                              mscale_all_dim=1.0, llama_4_scaling_beta=0.1, max_position_embeddings=128, rope_theta=1e6)},
     drop=("attention_bias", "rope_scaling", "rope_theta"), prompts=LONG)
case("phi-qk-norm", "LayerNorms of the heads of q and k, default share of rotated elements, fewer key/value heads",
     {"architectures": ["PhiForCausalLM"], "model_type": "phi", "qk_layernorm": True, "layer_norm_eps": 1e-5,
      "hidden_act": "gelu_new", "partial_rotary_factor": 0.5}, drop=("attention_bias", "rms_norm_eps"), prompts=LONG)


def gg(name, feature, config=(), types=((r".", "F16"),), meta=None, drop_meta=(), **more):
    case(name, feature, config, kind="gguf", types=types, meta=meta, drop_meta=drop_meta, **{"dtype": "float32", **more})


SMALL = {"intermediate_size": 64, "vocab_size": 260}
gg("gguf-yarn", "yarn with attn_factor 0.8, which multiplies 1 + 0.1 ln(factor)",
   {**SMALL, "rope_scaling": yarn(attention_factor=0.8 * (1 + 0.1 * float(np.log(4.0))))},
   meta={"rope.scaling.attn_factor": 0.8, "rope.scaling.finetuned": True, "rope.scaling.yarn_ext_factor": 1.0}, prompts=LONG)
gg("gguf-hub-keys", "biases, one element type for each kind of matrix, values for each layer, zeros for absent features, keys of other tools",
   {**SMALL, "attention_bias": True, "mlp_bias": True}, no_o_bias=True,
   types=((r"token_embd", "BF16"), (r"attn_q", "Q5_1"), (r"attn_k", "Q4_1"), (r"attn_v", "IQ4_NL"), (r"ffn_down", "Q8_0"), (r".", "F16")),
   meta={"attention.head_count_kv": [2, 2], "feed_forward_length": [64, 64], "attention.layer_norm_epsilon": 1e-5, "expert_count": 0,
         "expert_used_count": 0, "use_parallel_residual": False, "tensor_data_layout": "Meta AI original pth", "attention.causal": True,
         "attention.sliding_window": 0, "logit_scale": 0.0, "rope.scaling.type": "none", "rope.scaling.factor": 4.0,
         "!mradermacher.quantized_by": "x", "!general.sampling.top_k": 40, "!quantize.imatrix.entries_count": 7},
   drop_meta=("vocab_size", "rope.dimension_count"))


GEMMA3 = {
    "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
    "intermediate_size": 48, "sliding_window": 7, "tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}
family("gemma3-text-v5", "Gemma 3 as transformers 5 writes it: rope parameters for each kind of layer, layer types, capped logits",
       {**GEMMA3, "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "final_logit_softcapping": 6.0,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
        "rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 70000.0},
                            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}}},
       config_style="v5", prompts=LONG)
family("gemma3-of-vision", "the text model of a Gemma 3 with a vision tower: nested config that leaves defaults out, text alone",
       {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "boi_token_index": 93, "eoi_token_index": 94,
        "image_token_index": 95, "mm_tokens_per_image": 4,
        "text_config": {**{k: v for k, v in GEMMA3.items() if not k.endswith("_token_id")}, "model_type": "gemma3_text",
                        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window_pattern": 3},
        "vision_config": {"model_type": "siglip_vision_model", "hidden_size": 16, "image_size": 24, "intermediate_size": 16,
                          "num_attention_heads": 2, "num_hidden_layers": 1, "patch_size": 6, "vision_use_head": False}},
       prompt_vocab=90, prompts=LONG, rename=[(r"^vision_tower\.(?!vision_model)", "vision_tower.vision_model.")])
family("falcon-first-names", "Falcon 40B as it was first published: older model type and names of sizes, no mention of the new architecture",
       {"architectures": ["FalconForCausalLM"], "model_type": "falcon", "vocab_size": 96, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True, "bias": True, "alibi": False},
       after={"model_type": "RefinedWeb", "architectures": ["RWForCausalLM"], "num_hidden_layers": None, "n_layer": 2,
              "num_attention_heads": None, "n_head": 4, "num_kv_heads": None, "n_head_kv": 2, "new_decoder_architecture": None,
              "apply_residual_connection_post_layernorm": False})
family("gpt-neox-v5", "GPT-NeoX as transformers 5 writes it: stretched rope with its part of a head, no attention biases, tied embeddings",
       {"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": 96, "hidden_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48, "max_position_embeddings": 64,
        "attention_bias": False, "tie_word_embeddings": True, "hidden_act": "gelu_new",
        "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0, "partial_rotary_factor": 0.5}},
       config_style="v5", prompts=LONG)


for exact in (*exact_cases(), *described_cases()):
    family(**exact)


def write_gguf(c, model, folder):
    cfg = c["config"]
    scaling = cfg.get("rope_scaling") or {}
    head_dim = cfg.get("head_dim") or cfg["hidden_size"] // cfg["num_attention_heads"]
    w = gguf.GGUFWriter(folder / "model.gguf", "llama")
    meta = {
        "context_length": cfg["max_position_embeddings"], "embedding_length": cfg["hidden_size"],
        "block_count": cfg["num_hidden_layers"], "feed_forward_length": cfg["intermediate_size"],
        "attention.head_count": cfg["num_attention_heads"], "attention.head_count_kv": cfg["num_key_value_heads"],
        "attention.layer_norm_rms_epsilon": cfg["rms_norm_eps"], "rope.freq_base": cfg["rope_theta"],
        "rope.dimension_count": head_dim, "vocab_size": cfg["vocab_size"],
    }
    if scaling.get("rope_type") in ("linear", "yarn"):
        meta |= {"rope.scaling.type": scaling["rope_type"], "rope.scaling.factor": scaling["factor"]}
    if scaling.get("rope_type") == "yarn":
        meta["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
    meta = {k: v for k, v in meta.items() if not any(k.startswith(d) for d in c["drop_meta"])} | (c["meta"] or {})
    for k, v in meta.items():
        key = k[1:] if k.startswith("!") else "llama." + k
        add = {bool: w.add_bool, int: w.add_uint32, float: w.add_float32, str: w.add_string, list: w.add_array}[type(v)]
        add(key, v)
    w.add_tokenizer_model("llama")
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + [f"w{i}" for i in range(cfg["vocab_size"] - 259)])
    w.add_token_scores([0.0] * cfg["vocab_size"])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * (cfg["vocab_size"] - 259))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    rng = rng_for("blocks", c["name"])
    for name, _, t in named_tensors(model):
        stored = llama_gguf_name(name)
        value = t.detach().float().numpy().copy()
        if c.get("no_o_bias") and stored.endswith("attn_output.bias"):
            with torch.no_grad():
                t.zero_()
            continue
        heads = {"q_proj": cfg["num_attention_heads"], "k_proj": cfg["num_key_value_heads"]}.get(name.split(".")[-2])
        if heads:
            value = rope_rows(value[:, None] if value.ndim == 1 else value, heads, True).reshape(value.shape)
        kind = "F32" if t.ndim == 1 else next(q for p, q in c["types"] if re.search(p, stored))
        qtype = gguf.GGMLQuantizationType[kind]
        if kind in GGUF_RANDOM_BLOCKS:
            data = random_blocks(rng, value.shape, qtype, float(value.std()), GGUF_RANDOM_BLOCKS[kind])
        else:
            data = gguf.quants.quantize(value, qtype)
        w.add_tensor(stored, data, raw_dtype=qtype)
        value = gguf.quants.dequantize(data, qtype)
        if heads:
            value = rope_rows(value[:, None] if value.ndim == 1 else value, heads, False).reshape(value.shape)
        with torch.no_grad():
            t.copy_(torch.from_numpy(value))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def finish(c, folder, model, prompts):
    expected = [forward(model, p) for p in prompts]
    std = float(torch.cat([e[0] for e in expected]).std(-1).mean())
    tensors, info = {}, []
    for i, (p, e) in enumerate(zip(prompts, expected)):
        run = greedy(model, p)
        info.append({"length": p["input_ids"].shape[1], "check_tokens": True})
        tensors |= {f"input_ids_{i}": p["input_ids"].to(torch.int32), f"logits_{i}": e, f"tokens_{i}": run["tokens"].to(torch.int32),
                    f"step_max_{i}": run["step_max"], f"step_margin_{i}": run["step_margin"]}
    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "expected.safetensors")
    write_json(folder / "expected.json", {
        "name": c["name"], "family": c["config"]["model_type"], "feature": c["feature"], "prompts": info, "new_tokens": NEW_TOKENS,
        "tolerance": {"f32": {"max_abs": float(f"{c.get('tolerance', 1e-3) * std:.3g}")}}, "logits": {"logit_std": round(std, 4)}})
    return std


def make(c, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model, prompts = build(c, attempts=3)
    if c.get("kind") == "gguf":
        write_gguf(c, model, folder)
    else:
        write_checkpoint(c, model, folder)
        loaded, _ = reload(folder, c)
        worst = max(float((forward(model, p) - forward(loaded, p)).abs().max()) for p in prompts)
        if worst != 0:
            print(f"     {c['name']}: transformers loads the folder with other logits, by {worst}: those are expected")
            model = loaded
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", config | c["after"])  # what the oracle does not know
    return finish(c, folder, model, prompts)


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    out, pattern = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "."
    for name, c in CASES.items():
        if not re.search(pattern, name):
            continue
        try:
            print(f"ok   {name} std {make(copy.deepcopy(c), out / name):.2f}", flush=True)
        except Exception as e:
            shutil.rmtree(out / name, ignore_errors=True)
            print(f"FAIL {name}: {type(e).__name__} {str(e)[:300]}", flush=True)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Golden cases of families that transformers has no class for, because their checkpoints bring their own code: Qwen 1 and
Phi 3 small. The forward pass below is written in numpy (float64) from descriptions of the models, whole sequences at a time.

    make_remote_code.py OUT      # needs numpy and safetensors
"""

import json
import sys
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

NEW_TOKENS = 16
LENGTHS = [9, 44]


class Weights:
    """Random weights by name: rounded to f16, as they are stored, and used as float64."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(zlib.crc32(seed.encode()))
        self.stored = {}

    def add(self, name, shape, mean=0.0, std=None):
        std = shape[-1] ** -0.5 if std is None else std
        self.stored[name] = (mean + std * self.rng.standard_normal(shape)).astype(np.float16)

    def linear(self, name, out, inner, bias=False, gain=1.0):
        self.add(name + ".weight", (out, inner), std=gain * inner**-0.5)
        if bias:
            self.add(name + ".bias", (out,), std=0.3)

    def norm(self, name, width, bias=False):
        self.add(name + ".weight", (width,), mean=1.0, std=0.3)
        if bias:
            self.add(name + ".bias", (width,), std=0.3)

    def __getitem__(self, name):
        return self.stored[name].astype(np.float64)

    def apply(self, name, x):
        y = x @ self[name + ".weight"].T
        return y + self[name + ".bias"] if name + ".bias" in self.stored else y

    def rms(self, name, x, eps):
        return self[name + ".weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)

    def layer_norm(self, name, x, eps):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * self[name + ".weight"] + self[name + ".bias"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rotate(x, inv_freq, scale=1.0):
    """x [T, heads, d]: element i turns with element i + d/2."""
    angle = np.arange(x.shape[0])[:, None] * inv_freq
    cos, sin = np.cos(angle)[:, None] * scale, np.sin(angle)[:, None] * scale
    a, b = np.split(x, 2, axis=-1)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attend(q, k, v, scale, allowed):
    """[T, heads, d] each, allowed [heads, T, T] -> [T, heads * d]."""
    scores = np.einsum("qhd,khd->hqk", q, k) * scale
    scores = np.where(allowed, scores, -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("hqk,khd->qhd", p / p.sum(-1, keepdims=True), v).reshape(q.shape[0], -1)


QWEN = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "kv_channels": 16, "intermediate_size": 128, "vocab_size": 160, "layer_norm_epsilon": 0.02,
    "rotary_emb_base": 10000, "rotary_pct": 1.0, "seq_length": 96, "max_position_embeddings": 384, "use_dynamic_ntk": True,
    "use_logn_attn": True, "no_bias": True, "scale_attn_weights": True, "tie_word_embeddings": False, "use_flash_attn": "auto",
    "bf16": False, "fp16": True, "fp32": False, "softmax_in_fp32": False, "use_cache_quantization": False,
    "use_cache_kernel": False, "onnx_safe": None, "attn_dropout_prob": 0.0, "emb_dropout_prob": 0.0, "initializer_range": 0.02,
    "tokenizer_class": "QWenTokenizer", "use_cache": True,
    "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
}


def qwen_weights(c):
    w, hidden, inner = Weights("qwen-remote"), c["hidden_size"], c["intermediate_size"] // 2
    heads = c["num_attention_heads"] * c["kv_channels"]
    w.add("transformer.wte.weight", (c["vocab_size"], hidden), std=1.0)
    for i in range(c["num_hidden_layers"]):
        at = f"transformer.h.{i}."
        w.norm(at + "ln_1", hidden)
        w.linear(at + "attn.c_attn", 3 * heads, hidden, bias=True, gain=1.5)
        w.linear(at + "attn.c_proj", hidden, heads)
        w.norm(at + "ln_2", hidden)
        w.linear(at + "mlp.w1", inner, hidden)
        w.linear(at + "mlp.w2", inner, hidden)
        w.linear(at + "mlp.c_proj", hidden, inner, gain=2.0)
    w.norm("transformer.ln_f", hidden)
    w.linear("lm_head", c["vocab_size"], hidden, gain=3.0)
    return w


def qwen_logits(c, w, ids):
    """Up to seq_length tokens: the base of the rotation and the length of the queries are as trained."""
    eps, heads, dim, length = c["layer_norm_epsilon"], c["num_attention_heads"], c["kv_channels"], len(ids)
    inv_freq = float(c["rotary_emb_base"]) ** (-np.arange(0, dim, 2) / dim)
    causal = np.tril(np.ones((length, length), bool))[None]
    x = w["transformer.wte.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        at = f"transformer.h.{i}."
        fused = w.apply(at + "attn.c_attn", w.rms(at + "ln_1", x, eps))
        q, k, v = (part.reshape(length, heads, dim) for part in np.split(fused, 3, axis=-1))
        y = attend(rotate(q, inv_freq), rotate(k, inv_freq), v, dim**-0.5, causal)
        x = x + w.apply(at + "attn.c_proj", y)
        h = w.rms(at + "ln_2", x, eps)
        a, b = w.apply(at + "mlp.w1", h), w.apply(at + "mlp.w2", h)
        x = x + w.apply(at + "mlp.c_proj", a * b * sigmoid(b))
    return w.apply("lm_head", w.rms("transformer.ln_f", x, eps))


SMALL = {
    "architectures": ["Phi3SmallForCausalLM"], "model_type": "phi3small", "hidden_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "ff_intermediate_size": 56, "ff_dim_multiplier": None,
    "vocab_size": 160, "hidden_act": "gegelu", "gegelu_limit": 1.5, "gegelu_pad_to_256": True, "layer_norm_epsilon": 1e-5,
    "rope_embedding_base": 1000000, "rope_position_scale": 1.0, "max_position_embeddings": 128,
    "rope_scaling": {"type": "su", "short_factor": [1.0, 1.1, 1.3, 1.6], "long_factor": [1.2, 2.0, 4.0, 8.0],
                     "short_mscale": 1.1, "long_mscale": 1.3, "original_max_position_embeddings": 32},
    "mup_use_scaling": True, "mup_width_multiplier": 8.0, "mup_embedding_multiplier": 10.0, "mup_attn_multiplier": 1.0,
    "blocksparse_block_size": 4, "blocksparse_homo_head_pattern": False, "blocksparse_num_local_blocks": 2,
    "blocksparse_vert_stride": 3, "blocksparse_triton_kernel_block_size": 64, "dense_attention_every_n_layers": 2,
    "dummy_token_indices": [3, 77, 159], "pad_sequence_to_multiple_of_64": True, "reorder_and_upcast_attn": False,
    "attention_dropout_prob": 0.0, "embedding_dropout_prob": 0.1, "ffn_dropout_prob": 0.1, "initializer_range": 0.02,
    "bos_token_id": 1, "eos_token_id": 2, "use_cache": True,
    "auto_map": {"AutoConfig": "configuration_phi3_small.Phi3SmallConfig",
                 "AutoModelForCausalLM": "modeling_phi3_small.Phi3SmallForCausalLM"},
}


def small_weights(c):
    w, hidden, inner = Weights(f"phi3small-{c['rope_scaling']}"), c["hidden_size"], c["ff_intermediate_size"]
    rows = hidden + 2 * c["num_key_value_heads"] * (hidden // c["num_attention_heads"])
    w.add("model.embed_tokens.weight", (c["vocab_size"], hidden), std=0.1)
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        w.norm(at + "input_layernorm", hidden, bias=True)
        w.linear(at + "self_attn.query_key_value", rows, hidden, bias=True, gain=2.0)
        w.linear(at + "self_attn.dense", hidden, hidden, bias=True, gain=1.5)
        w.norm(at + "post_attention_layernorm", hidden, bias=True)
        w.linear(at + "mlp.up_proj", 2 * inner, hidden, bias=True, gain=1.5)
        w.linear(at + "mlp.down_proj", hidden, inner, bias=True, gain=1.5)
    w.norm("model.final_layernorm", hidden, bias=True)
    w.stored["model.final_layernorm.weight"] *= 30
    return w


def small_angles(c, length):
    dim, base = c["hidden_size"] // c["num_attention_heads"], float(c["rope_embedding_base"])
    inv_freq, scaling = base ** (-np.arange(0, dim, 2) / dim), c["rope_scaling"]
    if scaling is None:
        return inv_freq, 1.0
    kind = "long" if length > scaling["original_max_position_embeddings"] else "short"
    return inv_freq / np.array(scaling[kind + "_factor"]), scaling[kind + "_mscale"]


def small_mask(c, layer, length):
    """[heads, T, T]: which keys a query sees."""
    heads = c["num_attention_heads"]
    causal = np.tril(np.ones((length, length), bool))
    if (layer + 1) % c["dense_attention_every_n_layers"] == 0:
        return np.broadcast_to(causal, (heads, length, length))
    stride = c["blocksparse_vert_stride"]
    step = 0 if c["blocksparse_homo_head_pattern"] else max(1, int(stride / heads))
    block = np.arange(length) // c["blocksparse_block_size"]
    near = block[:, None] - block[None, :] < c["blocksparse_num_local_blocks"]
    return np.stack([causal & (near | ((block + h * step + 1) % stride == 0)[None, :]) for h in range(heads)])


def small_logits(c, w, ids):
    eps, heads, kv_heads = c["layer_norm_epsilon"], c["num_attention_heads"], c["num_key_value_heads"]
    length, dim, group = len(ids), c["hidden_size"] // heads, heads // kv_heads
    inv_freq, mscale = small_angles(c, length)
    x = w["model.embed_tokens.weight"][ids] * c["mup_embedding_multiplier"]
    for i in range(c["num_hidden_layers"]):
        at = f"model.layers.{i}."
        fused = w.apply(at + "self_attn.query_key_value", w.layer_norm(at + "input_layernorm", x, eps))
        fused = fused.reshape(length, kv_heads, group + 2, dim)
        q = rotate(fused[:, :, :group].reshape(length, heads, dim), inv_freq, mscale)
        k = np.repeat(rotate(fused[:, :, group], inv_freq, mscale), group, axis=1)
        v = np.repeat(fused[:, :, group + 1], group, axis=1)
        y = attend(q, k, v, c["mup_attn_multiplier"] / dim, small_mask(c, i, length))
        x = x + w.apply(at + "self_attn.dense", y)
        up = w.apply(at + "mlp.up_proj", w.layer_norm(at + "post_attention_layernorm", x, eps))
        a = np.minimum(up[:, 0::2], c["gegelu_limit"])
        b = np.clip(up[:, 1::2], -c["gegelu_limit"], c["gegelu_limit"])
        x = x + w.apply(at + "mlp.down_proj", a * sigmoid(1.702 * a) * (b + 1))
    x = w.layer_norm("model.final_layernorm", x, eps)
    logits = x @ w["model.embed_tokens.weight"].T / c["mup_width_multiplier"]
    logits[:, c["dummy_token_indices"]] = np.finfo(np.float32).min
    return logits


def write_case(folder, feature, config, weights, forward):
    folder.mkdir(parents=True, exist_ok=True)
    config = {**config, "torch_dtype": "float16", "transformers_version": "4.38.1"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(weights.stored, folder / "model.safetensors", metadata={"format": "pt"})
    expected, prompts, spread = {}, [], []
    rng = np.random.default_rng(7)
    for n, length in enumerate(LENGTHS):
        ids = [int(t) for t in rng.integers(0, config["vocab_size"], length)]
        logits = forward(config, weights, ids)
        # A prompt's length decides between LongRoPE's factors; the continuation stays on one side of the original context.
        tokens, best, margin = list(ids), [], []
        for _ in range(NEW_TOKENS):
            last = forward(config, weights, tokens)[-1]
            order = np.argsort(last)
            best.append(last[order[-1]])
            margin.append(last[order[-1]] - last[order[-2]])
            tokens.append(int(order[-1]))
        spread.append(logits[np.abs(logits) < 1e30].std())
        expected.update({f"input_ids_{n}": np.array([ids], np.int32), f"logits_{n}": logits[None].astype(np.float32),
                         f"tokens_{n}": np.array(tokens[length:], np.int32), f"step_max_{n}": np.array(best, np.float32),
                         f"step_margin_{n}": np.array(margin, np.float32)})
        prompts.append({"length": length, "check_tokens": True, "tokens_distinct": len(set(tokens[length:]))})
    save_file(expected, folder / "expected.safetensors")
    spec = {"name": folder.name, "feature": feature, "prompts": prompts, "new_tokens": NEW_TOKENS,
            "tolerance": {"f32": {"max_abs": float(f"{0.001 * min(spread):.3g}")}}, "logit_std": [float(s) for s in spread],
            "oracle": {"library": "numpy", "compute": "float64, whole sequences"}}
    (folder / "expected.json").write_text(json.dumps(spec, indent=2) + "\n")


def main():
    out = Path(sys.argv[1])
    write_case(out / "qwen", "Qwen 1: fused c_attn with a bias, w2 is the activated branch, length-dependent features within "
               "the trained length", QWEN, qwen_weights(QWEN), qwen_logits)
    write_case(out / "phi3small", "Phi 3 small: block-sparse and dense layers, gegelu with limits that bite, longrope with two "
               "attention factors, multipliers, dummy tokens", SMALL, small_weights(SMALL), small_logits)


if __name__ == "__main__":
    main()

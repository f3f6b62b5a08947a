"""GGUF files: every type of block that the gguf package can write or read."""

import re

import numpy as np
import torch
from golden_common import EAGER, rng_for
from golden_expected import finish_case, in_bfloat16
from golden_oracle import build
from golden_weights import named_tensors
from transformers import AutoModelForCausalLM

# type: (byte offset of the f16 scale, of the f16 minimum's scale or None, ratio of the two that centres the weights)
GGUF_RANDOM_BLOCKS = {
    "Q2_K": (80, 82, 1.5), "Q3_K": (108, None, 0), "Q4_K": (0, 2, 7.5), "Q5_K": (0, 2, 15.5), "Q6_K": (208, None, 0),
    "IQ4_NL": (0, None, 0), "IQ4_XS": (0, None, 0),
}


def random_blocks(rng, shape, qtype, std, layout):
    """Blocks of a type that the gguf package can read but not write: random bits, and scales for the wanted spread."""
    import gguf

    block, size = gguf.GGML_QUANT_SIZES[qtype]
    rows, blocks = int(np.prod(shape[:-1])), shape[-1] // block
    data = rng.integers(0, 256, (rows, blocks, size), dtype=np.uint8)
    at, at_min, ratio = layout

    def set_scale(values):
        data[..., at:at + 2] = values.astype(np.float16)[..., None].view(np.uint8)
        if at_min is not None:
            data[..., at_min:at_min + 2] = (values * ratio).astype(np.float16)[..., None].view(np.uint8)

    set_scale(np.ones((rows, blocks)))
    unit = gguf.quants.dequantize(data.reshape(rows, -1), qtype).std()
    set_scale(rng.uniform(0.7, 1.3, (rows, blocks)) * std / unit)
    return data.reshape(*shape[:-1], -1)


def llama_gguf_name(name):
    """GGUF name of a tensor of a llama model."""
    table = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }
    module, kind = name.rsplit(".", 1)
    m = re.fullmatch(r"model\.layers\.(\d+)\.(.*)", module)
    return f"blk.{m[1]}.{table[m[2]]}.{kind}" if m else f"{table[module]}.{kind}"


def rope_rows(w, heads, to_gguf):
    """llama's q and k rows: Hub checkpoints rotate the halves of a head, GGUF files neighbouring pairs."""
    split = (heads, 2, -1) if to_gguf else (heads, -1, 2)
    return w.reshape(*split, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)


def gguf_case(case, folder):
    import gguf

    c = case["config"]
    model, prompts = build(case)
    path = folder / "model.gguf"
    w = gguf.GGUFWriter(path, "llama")
    head_dim = c.get("head_dim", c["hidden_size"] // c["num_attention_heads"])
    w.add_name(case["name"])
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_rope_dimension_count(head_dim)
    w.add_vocab_size(c["vocab_size"])
    w.add_file_type(case["file_type"])
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{i:02X}>" for i in range(256)]
    words = [f"\u2581w{i}" for i in range(c["vocab_size"] - 259)]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(special + byte_tokens + words)
    w.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(words))])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(words))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)

    rng = rng_for("blocks", case["name"])
    random_types = GGUF_RANDOM_BLOCKS | case.get("gguf_blocks", {})
    rope_scaling = c.get("rope_scaling")
    if rope_scaling and rope_scaling["rope_type"] == "llama3":  # stored as divisors of the frequencies
        plain = c["rope_theta"] ** (-torch.arange(0, head_dim, 2).float() / head_dim)
        w.add_tensor("rope_freqs.weight", (plain / model.model.rotary_emb.inv_freq).numpy())
    elif rope_scaling and rope_scaling["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope_scaling["factor"])
    used = {}
    for name, _, t in named_tensors(model):
        gguf_name = llama_gguf_name(name)
        value = t.detach().float().numpy().copy()
        heads = {"q_proj": c["num_attention_heads"], "k_proj": c["num_key_value_heads"]}.get(name.split(".")[-2])
        if heads:
            value = rope_rows(value, heads, to_gguf=True)
        type_name = "F32" if t.ndim == 1 else next(q for p, q in case["types"] if re.search(p, gguf_name))
        qtype = gguf.GGMLQuantizationType[type_name]
        if type_name in random_types:
            data = random_blocks(rng, value.shape, qtype, float(value.std()), random_types[type_name])
        else:
            data = gguf.quants.quantize(value, qtype)
        w.add_tensor(gguf_name, data, raw_dtype=qtype)
        used[gguf_name] = type_name
        value = gguf.quants.dequantize(data, qtype)
        assert np.isfinite(value).all() and value.shape == tuple(t.shape)
        if heads:
            value = rope_rows(value, heads, to_gguf=False)
        with torch.no_grad():
            t.copy_(torch.from_numpy(value))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    loaded = None
    if not rope_scaling:  # transformers reads GGUF files too, but neither rope_freqs nor rope scaling
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", dtype=torch.float32, **EAGER).eval()
    info = {"kind": "gguf", "architecture": "llama", "types": sorted(set(used.values())), "tensor_types": used}
    return finish_case(case, folder, model, prompts, loaded, info, int8=True, half_model=in_bfloat16(model))

"""What make_gguf_families.py writes: a name for each file, and what differs from a plain conversion of the Hub case.

case      the Hub case, where it has another name
types     element types of the matrices: pairs of a pattern of GGUF names and a type (without it all are F32)
config    keys of config.json changed before the conversion (names of classes as on the Hub)
hparams   what the converter is told beside config.json
metadata  values changed or added afterwards, where the converter assumes what holds for the real models only
options   options of the converter
unsplit   the older form of latent attention, with one matrix for keys and values
oracle    config of the model that the file describes, where GGUF cannot express the Hub case: the expected values are
          computed for it
note      goes into expected.json
"""

PLAIN = """qwen2 qwen2-yarn mistral-full mistral-nemo gemma phi3-longrope phi3-su phi4 phi4-mini qwen3 qwen3-moe
mixtral gpt2 gpt-neox-pythia bloom falcon-40b cohere cohere-qk-norm cohere2 phi2 stablelm stablelm2-12b stablelm2-qkv-bias
qwen2-moe olmo olmo2 granite deepseek-v2-lite deepseek-v2 smollm3 gpt-bigcode llama-gqa llama-mha llama-tied llama-bias
llama-head-dim llama-solar llama-rope-llama3 llama-rope-linear llama-code""".split()
FAMILIES = {name: {} for name in PLAIN}

MPT = {"architectures": ["MPTForCausalLM"]}
LONGROPE = 1.18321595661992  # sqrt(1 + ln(128 / 32) / ln(32)): the file has one factor for both ranges
FAMILIES |= {
    "gemma2": {"oracle": {"query_pre_attn_scalar": 24}, "note": "The scale is 1 / sqrt(head size): the file has no other."},
    "gemma3-text": {"oracle": {"query_pre_attn_scalar": 16}, "note": "The scale is 1 / sqrt(head size)."},
    "gemma3-text-linear": {
        "oracle": {"query_pre_attn_scalar": 16}, "metadata": {"attention.sliding_window_pattern": 3},
        "note": "The scale is 1 / sqrt(head size). Every third layer is global, in place of every sixth."},
    "phi3-mini-4k": {"note": "The sliding window of the file is used; llama.cpp reads it, but attends to everything."},
    "gpt-neox-serial": {"oracle": {"hidden_act": "gelu"}, "note": "GELU with erf: the file does not name its activation."},
    "gpt2-new": {"oracle": {"scale_attn_by_inverse_layer_idx": False}, "metadata": {"feed_forward_length": 160}},
    "falcon-7b": {"hparams": {"num_kv_heads": 1}},
    "falcon-11b": {"metadata": {"feed_forward_length": 160, "rope.freq_base": 500042.0}},
    "phi2": {"metadata": {"feed_forward_length": 112}},
    "starcoder2": {"oracle": {"sliding_window": None}, "note": "The file has no sliding window."},
    "dbrx": {"metadata": {"rope.freq_base": 10000.0}, "note": "Rotates with the base that the oracle uses."},
    "phimoe": {"config": {"architectures": ["PhiMoEForCausalLM"]},
               "oracle": {"rope_scaling": {"short_mscale": LONGROPE, "long_mscale": LONGROPE}}},
    "mpt": {"config": MPT},
    "mpt-clip": {"config": MPT, "oracle": {"attn_config": {"softmax_scale": None}}},
    "gpt-bigcode": {"metadata": {"feed_forward_length": 160}},
    "llama-fused": {"case": "llama-gqa", "options": {"fuse_qkv": True}},
    "qwen2-fused": {"case": "qwen2", "options": {"fuse_qkv": True}},
    "deepseek-v2-unsplit": {"case": "deepseek-v2", "unsplit": True},
    "deepseek-v2-lite-unsplit": {"case": "deepseek-v2-lite", "unsplit": True},
}

# The same with other element types. Those with bf16 keep the expected values: the Hub cases are stored in it.
KEPT = [("ffn_gate_inp|position_embd|_norm", "F32")]
TYPES = {
    "bf16": [*KEPT, (".", "BF16")],
    "q8_0": [*KEPT, (".", "Q8_0")],
    "mixed": [*KEPT, ("attn_v|attn_qkv|ffn_down", "Q5_1"), ("token_embd", "Q8_0"), ("attn_k", "F16"), (".", "Q4_0")],
}
TYPED = {
    "bf16": "bloom cohere2 mixtral phimoe qwen2-moe dbrx deepseek-v2 deepseek-v2-lite-unsplit smollm3 mpt",
    "q8_0": "qwen2-fused gemma gemma2 gemma3-text gpt2 gpt-neox-pythia gpt-neox-serial starcoder2 falcon-40b phi2 granite "
            "qwen3-moe mpt",
    "mixed": "qwen2 phi3-mini-4k phi3-longrope stablelm stablelm2-12b cohere olmo qwen2-yarn",
}
for label, names in TYPED.items():
    for name in names.split():
        FAMILIES[f"{name}-{label}"] = {"case": name, **FAMILIES[name], "types": TYPES[label]}
        if label != "bf16":
            FAMILIES[f"{name}-{label}"].setdefault("oracle", {})

"""One exact case (cases_exact.py) for every described family that has no other: small sizes by the names that the config
class of the family has, and beside them what the family needs to show all of its kinds of layers.
"""

import copy
import dataclasses

from cases_exact import EPS, FEATURE, TOLERANCE
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

PROMPTS = [9, 24]
WINDOW = 6
LAYERS = 2
SIZES = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 32),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "dff"), 40),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "num_layers", "n_layers"), LAYERS), "num_key_value_heads": 2,
    **dict.fromkeys(("num_attention_heads", "n_head", "num_heads", "n_heads", "attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions"), 64), "vocab_size": 80, "head_dim": 12,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": WINDOW, "window_size": WINDOW,
    **dict.fromkeys(("rms_norm_eps", "layer_norm_eps", "norm_eps", "layer_norm_epsilon", "norm_epsilon"), EPS),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2), "moe_intermediate_size": 16,
    **dict.fromkeys(("shared_expert_intermediate_size", "shared_intermediate_size"), 20),
    **dict.fromkeys(("n_shared_experts", "num_shared_experts", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers"), 1), "routed_scaling_factor": 1.7, "route_scale": 1.7,
    "kv_lora_rank": 16, "q_lora_rank": 20, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 12,
    "embedding_multiplier": 1.6, "logits_scaling": 1.7, "residual_multiplier": 0.7, "attention_multiplier": 0.2,
    "logit_scale": 0.7, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0, "query_pre_attn_scalar": 9,
}
LATENT = {"num_key_value_heads": 4}  # and no head_dim, which would be that of the rotated part
GROUPS = {"n_group": 2, "topk_group": 1}
GROUPED_EXPERTS = 6
# Families whose default of these is that there are none, keep it
OPTIONAL = ("attn_logit_softcapping", "final_logit_softcapping", "logit_scale", "sliding_window")
FULL, SLIDING = "full_attention", "sliding_attention"
ROUTER = [(r"(gate|router|mlp\.router|router\.layer|gate\.wg|classifier)\.weight$", ("normal", 0.4)),
          (r"(correction_bias|expert_bias)$", ("normal", 0.15))]
SINKS = [(r"(sinks|sink_bias|softmax_offset)$", ("normal", 0.8))]
# Far below 0: an expert of a group that is not taken then has to be worse than that
GROUP_CORRECTION = [(r"correction_bias$", ("spread", -2.5, 0.4))]
# Norms behind the residuals: a normal scale of weights would leave nothing of the early layers
NORMS_LAST = [(r"bias$", ("spread", 0.0, 0.08)), (r"c_attn\.weight$", ("normal", 0.35)), (r"c_proj\.weight$", ("normal", 0.6)),
              (r"tokens_embed\.weight$", ("normal", 0.3)), (r"positions_embed\.weight$", ("normal", 0.6))]
DEFAULT = ...  # the value of the config class
NARROW = {"intermediate_size": 16}  # where it is the width of an expert

# What differs from SIZES and the rules of settings(); DEFAULT takes a setting away
DESCRIBED = {
    "afmoe": {"mup_enabled": True, "layer_types": [SLIDING, FULL]},
    "apertus": {}, "arcee": {}, "aria_text": NARROW, "axk1": {}, "biogpt": {}, "bitnet": {},
    "codegen": {"rotary_dim": 4},
    "cohere2_moe": {**NARROW, "rms_norm_eps": None, "num_shared_experts": 1, "prefix_dense_intermediate_size": 24,
                    "num_hidden_layers": 3, "layer_types": [SLIDING, FULL, SLIDING]},
    "cohere_compass_text": {"layer_types": [SLIDING, FULL], "rope_parameters": {
        SLIDING: {"rope_type": "default", "rope_theta": 5000.0}, FULL: None}},
    "ctrl": {}, "cwm": {"layer_types": [FULL, SLIDING]}, "deepseek_v3": {}, "dots1": {"layer_types": [FULL, SLIDING]},
    "ernie4_5": {},
    "ernie4_5_moe": {"num_hidden_layers": 3, "moe_layer_start_index": 1, "moe_layer_end_index": 1,
                     "moe_layer_interval": 1},
    "exaone4": {}, "exaone_moe": {}, "flex_olmo": NARROW,
    "flint": {"layer_types": [FULL, SLIDING], "mlp_only_layers": [0]},
    "glm": {}, "glm4": {},
    "glm4_moe": {**GROUPS, "n_routed_experts": GROUPED_EXPERTS, "use_qk_norm": True},
    "glm4_moe_lite": {}, "gpt_neo": {"attention_types": [[["global", "local"], 1]]}, "gpt_neox_japanese": {},
    "gpt_oss": {**NARROW, "swiglu_limit": 1.5, "layer_types": [SLIDING, FULL]},
    "granite_swa": {"layer_rope_theta": [5000.0, 0, 100.0], "layer_types": [FULL, SLIDING, SLIDING],
                    "num_hidden_layers": 3},
    "granitemoe": NARROW,
    "granitemoe_swa": {**NARROW, "layer_rope_theta": [5000.0, 0, 100.0], "layer_types": [FULL, SLIDING, SLIDING],
                       "num_hidden_layers": 3},
    "granitemoehybrid": {**NARROW, "layer_types": [FULL, FULL], "position_embedding_type": "rope",
                         "mamba_n_heads": 4, "mamba_d_head": 16},
    "granitemoeshared": NARROW, "helium": {"head_dim": 8}, "hunyuan_v1_dense": {}, "hunyuan_v1_moe": NARROW,
    "hy_v3": {}, "hyperclovax": {"logits_scaling": 0.6}, "internlm3": {}, "iquestcoder": {}, "jais2": {},
    "kolibri1": {}, "laguna": {"layer_types": [FULL, SLIDING]},
    "llama4_text": {"attention_chunk_size": 8, "floor_scale": 8, "attn_scale": 0.4, "interleave_moe_layer_step": 2,
                    "num_hidden_layers": 4, "intermediate_size_mlp": 24, "intermediate_size": 16,
                    "layer_types": DEFAULT, "moe_layers": DEFAULT},
    "mellum": {"layer_types": [FULL, SLIDING], "mlp_layer_types": ["dense", "sparse"]},
    "mimo_v2_flash": {},
    "minicpm3": {"scale_emb": 1.5, "scale_depth": 1.4, "dim_model_base": 20},
    "minimax_m2": {**NARROW, "rotary_dim": 6},
    "modernbert-decoder": {"local_attention": 12, "sliding_window": DEFAULT},
    "nanochat": {}, "nemotron": {}, "olmo3": {}, "olmoe": NARROW, "openai-gpt": {}, "persimmon": {}, "seed_oss": {},
    "solar_open": {}, "vaultgemma": {}, "xglm": {}, "youtu": {"pad_token_id": DEFAULT},
}


def small_rope(rope):
    """The family's own scaling with a range that the prompts reach and frequencies on both sides of its bands."""
    rope = {key: small_rope(value) if isinstance(value, dict) else value for key, value in rope.items()}
    changes = {"original_max_position_embeddings": 32, "factor": 4.0, "beta_fast": 3.0}
    rope.update({key: value for key, value in changes.items() if key in rope})
    if rope.get("rope_type") in ("llama3", "yarn"):
        rope["rope_theta"] = 500.0
    return rope


def repeated(kinds, layers):
    kinds = list(dict.fromkeys(kinds))
    return [kinds[i % len(kinds)] for i in range(layers)]


def settings(family):
    kind, changes = CONFIG_MAPPING[family], DESCRIBED[family]
    default = kind()
    fields = {field.name for field in dataclasses.fields(kind)}
    known = fields | {alias for alias, name in kind.attribute_map.items() if name not in SIZES}
    layers = changes.get("num_hidden_layers", LAYERS)
    config = {key: value for key, value in SIZES.items()
              if key in known and not (key in OPTIONAL and getattr(default, key, None) is None)}
    if "kv_lora_rank" in known:
        config |= LATENT
        config.pop("head_dim", None)
    if "layer_types" in known and getattr(default, "layer_types", None):
        config["layer_types"] = repeated(default.layer_types, layers)
    if "mlp_layer_types" in known:
        config["mlp_layer_types"] = ["dense"] + ["sparse"] * (layers - 1)
    if "n_group" in known and getattr(default, "n_group", None):
        config |= GROUPS | {key: GROUPED_EXPERTS for key in ("n_routed_experts", "num_experts") if key in known}
    if getattr(default, "rope_parameters", None):
        config["rope_parameters"] = small_rope(default.rope_parameters)
    config.update(copy.deepcopy(changes))
    return {key: value for key, value in config.items() if value is not DEFAULT}


def weights_of(family, config):
    own = NORMS_LAST if family == "openai-gpt" else GROUP_CORRECTION if config.get("n_group", 1) > 1 else []
    return own + ROUTER + SINKS


def described_cases():
    for family in DESCRIBED:
        config = settings(family)
        yield {"name": family.replace("_", "-") + "-exact", "feature": FEATURE, "prompts": PROMPTS, "tolerance": TOLERANCE,
               "config_style": "v5", "init": weights_of(family, config),
               "config": {**config, "architectures": [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family]], "model_type": family}}

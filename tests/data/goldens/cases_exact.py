"""Cases that notice what the others are too coarse for: the epsilon of every norm (0.02 here, where published models have
1e-5 or 1e-6) and the two forms of GELU, by a tolerance of a tenth of the usual one.
"""

EPS = 0.02
TOLERANCE = 1e-4  # of the logits' standard deviation
PROMPTS = [8, 44]
FEATURE = "large epsilon in the norms, a tenth of the usual tolerance"

COMMON = {"vocab_size": 96, "bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": False, "initializer_range": 0.02}
SIZES = {**COMMON, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48,
         "max_position_embeddings": 128}
GROUPED = {**SIZES, "num_key_value_heads": 2}
GPT = {**COMMON, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48, "layer_norm_epsilon": EPS,
       "activation_function": "gelu_new"}
RMS = {**GROUPED, "rms_norm_eps": EPS}
GEMMA = {**RMS, "head_dim": 12, "tie_word_embeddings": True, "pad_token_id": 0, "hidden_activation": "gelu_pytorch_tanh"}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256, "beta_fast": 4.0, "beta_slow": 1.0}
YARN_FEATURE = FEATURE + ", yarn whose range has both ends"
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1, "mlp_only_layers": []}

# name: (class, model_type, config[, what else the case is about])
EXACT = {
    "bloom": ("BloomForCausalLM", "bloom", {**COMMON, "hidden_size": 32, "n_layer": 2, "n_head": 4, "layer_norm_epsilon": EPS,
                                            "tie_word_embeddings": True}),
    "cohere": ("CohereForCausalLM", "cohere", {**GROUPED, "layer_norm_eps": EPS, "use_qk_norm": True, "logit_scale": 0.25,
                                               "pad_token_id": 0, "tie_word_embeddings": True}),
    "cohere2": ("Cohere2ForCausalLM", "cohere2", {**GROUPED, "layer_norm_eps": EPS, "logit_scale": 0.25, "pad_token_id": 0,
                                                  "tie_word_embeddings": True, "sliding_window": 6, "num_hidden_layers": 4}),
    "deepseek_v2": ("DeepseekV2ForCausalLM", "deepseek_v2",
                    {**SIZES, "num_key_value_heads": 4, "rms_norm_eps": EPS, "q_lora_rank": 20, "kv_lora_rank": 16,
                     "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 12, "n_routed_experts": 6, "n_group": 3,
                     "topk_group": 1, "topk_method": "group_limited_greedy", "num_experts_per_tok": 2, "first_k_dense_replace": 1,
                     "moe_intermediate_size": 16, "n_shared_experts": 1, "routed_scaling_factor": 2.0, "norm_topk_prob": False,
                     "rope_theta": 10000.0}),
    "gpt_bigcode": ("GPTBigCodeForCausalLM", "gpt_bigcode", {**GPT, "multi_query": True, "tie_word_embeddings": True,
                                                             "activation_function": "gelu_pytorch_tanh"}),
    "gptj": ("GPTJForCausalLM", "gptj", {**GPT, "rotary_dim": 4}),
    "granite": ("GraniteForCausalLM", "granite", {**RMS, "attention_multiplier": 0.2, "embedding_multiplier": 3.0,
                                                  "residual_multiplier": 0.4, "logits_scaling": 2.0, "pad_token_id": 0}),
    "mpt": ("MptForCausalLM", "mpt", {"vocab_size": 96, "d_model": 32, "n_layers": 2, "n_heads": 4, "expansion_ratio": 2,
                                      "max_seq_len": 64, "layer_norm_epsilon": EPS, "initializer_range": 0.02}),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", {**RMS, "pad_token_id": 1, "rope_theta": 10000.0}),
    "opt": ("OPTForCausalLM", "opt", {**COMMON, "hidden_size": 32, "word_embed_proj_dim": 32, "num_hidden_layers": 2,
                                      "num_attention_heads": 4, "ffn_dim": 48, "max_position_embeddings": 64, "pad_token_id": 0,
                                      "activation_function": "gelu", "tie_word_embeddings": True},
            "a tenth of the usual tolerance"),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", {**RMS, "no_rope_layers": [1, 0], "pad_token_id": 0, "rope_theta": 10000.0}),
    "stablelm": ("StableLmForCausalLM", "stablelm", {**GROUPED, "layer_norm_eps": EPS, "qk_layernorm": True, "rope_theta": 10000.0,
                                                     "partial_rotary_factor": 0.5}),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", {**GROUPED, "norm_epsilon": EPS, "use_bias": True, "rope_theta": 10000.0,
                                                           "hidden_act": "gelu_pytorch_tanh", "sliding_window": None}),
    "falcon": ("FalconForCausalLM", "falcon", {**COMMON, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
                                               "num_kv_heads": 2, "new_decoder_architecture": True, "bias": True, "alibi": False,
                                               "layer_norm_epsilon": EPS, "tie_word_embeddings": True}),
    "falcon-serial": ("FalconForCausalLM", "falcon", {**COMMON, "hidden_size": 32, "num_hidden_layers": 2,
                                                      "num_attention_heads": 4, "new_decoder_architecture": False, "bias": False,
                                                      "multi_query": True, "parallel_attn": False, "alibi": False,
                                                      "layer_norm_epsilon": EPS, "tie_word_embeddings": True}),
    "gemma": ("GemmaForCausalLM", "gemma", GEMMA),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {**GEMMA, "sliding_window": 6, "query_pre_attn_scalar": 9,
                                               "attn_logit_softcapping": 20.0, "final_logit_softcapping": 8.0}),
    "gemma3": ("Gemma3ForCausalLM", "gemma3_text", {**GEMMA, "sliding_window": 6, "query_pre_attn_scalar": 9,
                                                    "layer_types": ["sliding_attention", "full_attention"]}),
    "gpt2": ("GPT2LMHeadModel", "gpt2", {**GPT, "tie_word_embeddings": True}),
    "gpt_neox": ("GPTNeoXForCausalLM", "gpt_neox", {**SIZES, "layer_norm_eps": EPS, "hidden_act": "gelu", "rotary_pct": 0.5,
                                                    "use_parallel_residual": True}),
    "gpt_neox-serial": ("GPTNeoXForCausalLM", "gpt_neox", {**SIZES, "layer_norm_eps": EPS, "hidden_act": "gelu_new",
                                                           "rotary_pct": 0.5, "use_parallel_residual": False}),
    "llama": ("LlamaForCausalLM", "llama", {**RMS, "head_dim": 16, "rope_scaling": {**YARN, "rope_theta": 1000.0},
                                            "rope_theta": 1000.0}, YARN_FEATURE),
    "mistral": ("MistralForCausalLM", "mistral", {**RMS, "sliding_window": 6, "rope_theta": 10000.0}),
    "ministral3": ("Ministral3ForCausalLM", "ministral3",
                   {**RMS, "head_dim": 16, "rope_parameters": {
                       **YARN, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
                       "max_position_embeddings": 1024, "rope_theta": 1000.0}}, YARN_FEATURE),
    "phi": ("PhiForCausalLM", "phi", {**GROUPED, "layer_norm_eps": EPS, "qk_layernorm": True, "hidden_act": "gelu_new",
                                      "partial_rotary_factor": 0.5, "rope_theta": 10000.0}),
    "phimoe": ("PhimoeForCausalLM", "phimoe",
               {**GROUPED, "rms_norm_eps": EPS, "num_local_experts": 4, "num_experts_per_tok": 2, "hidden_act": "silu",
                "attention_bias": True, "lm_head_bias": True, "router_jitter_noise": 0.3, "input_jitter_noise": 0.0,
                "sliding_window": 6, "rope_theta": 10000.0}, FEATURE + ", a sliding window"),
    "mixtral": ("MixtralForCausalLM", "mixtral", {**RMS, "num_local_experts": 4, "num_experts_per_tok": 2, "rope_theta": 10000.0,
                                                  "intermediate_size": 24}),
    "qwen2": ("Qwen2ForCausalLM", "qwen2", {**RMS, "rope_theta": 10000.0, "use_sliding_window": False}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", {**RMS, "head_dim": 12, "rope_theta": 10000.0, "use_sliding_window": False}),
    "qwen3_moe": ("Qwen3MoeForCausalLM", "qwen3_moe", {**RMS, **EXPERTS, "head_dim": 12, "rope_theta": 10000.0,
                                                       "norm_topk_prob": True, "use_sliding_window": False}),
}

# The same models with switches of their configs the other way: name: (case above, changes, what they are about)
SWITCHED = {
    "bloom-post-residual": ("bloom", {"apply_residual_connection_post_layernorm": True}, "residuals taken after the norm"),
    "cohere-bias": ("cohere", {"attention_bias": True, "use_qk_norm": False}, "attention biases, no norms of q and k"),
    "cohere2-bias": ("cohere2", {"attention_bias": True, "num_hidden_layers": 2,
                                 "layer_types": ["full_attention", "sliding_attention"]}, "attention biases, layer types"),
    "falcon-relu": ("falcon", {"activation": "relu", "bias": False}, "ReLU, no biases"),
    "gemma-bias": ("gemma", {"attention_bias": True}, "attention biases"),
    "gemma2-bias": ("gemma2", {"attention_bias": True, "attn_logit_softcapping": None, "final_logit_softcapping": None,
                               "hidden_activation": "gelu"}, "attention biases, nothing capped, exact GELU"),
    "gemma3-bias": ("gemma3", {"attention_bias": True, "hidden_activation": "gelu"}, "attention biases, exact GELU"),
    "gpt2-switches": ("gpt2", {"activation_function": "relu", "scale_attn_weights": False}, "ReLU, scores not scaled"),
    "mixtral-window": ("mixtral", {"sliding_window": 6, "num_experts_per_tok": 3}, "a sliding window, three experts a token"),
    "phimoe-no-bias": ("phimoe", {"attention_bias": False, "lm_head_bias": False, "num_local_experts": 3}, "no biases"),
    "qwen3-bias": ("qwen3", {"attention_bias": True, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
                   "attention biases, a window in the later layers"),
    "qwen3-moe-weights": ("qwen3_moe", {"norm_topk_prob": False, "num_experts_per_tok": 3, "attention_bias": True},
                          "weights of the experts as they are, attention biases"),
}

def exact_case(name, feature, entry, changes=()):
    cls, model_type, config, *_ = entry
    return {"name": name, "feature": feature, "prompts": PROMPTS, "tolerance": TOLERANCE,
            "config": {**config, **dict(changes), "architectures": [cls], "model_type": model_type}}


def exact_cases():
    for name, entry in EXACT.items():
        yield exact_case(name.replace("_", "-") + "-exact", entry[3] if len(entry) > 3 else FEATURE, entry)
    for name, (base, changes, feature) in SWITCHED.items():
        yield exact_case(name, feature + "; " + FEATURE, EXACT[base], changes)

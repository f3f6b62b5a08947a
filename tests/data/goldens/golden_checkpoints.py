"""Checkpoints as they are on the Hub."""

import copy
import json
import re

import torch
from golden_common import DTYPES, EAGER, merged, text_config, write_json
from golden_expected import finish_case
from golden_oracle import build
from golden_weights import keep_f32
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText


def extra_tensors(case, model, state):
    """Buffers that older checkpoints on the Hub carry beside the weights; a loader has to ignore them."""
    c = case["config"]
    extra = {}
    for kind in case.get("extra_tensors", []):
        if kind == "llama_inv_freq":
            half = c["hidden_size"] // c["num_attention_heads"] // 2
            for i in range(c["num_hidden_layers"]):
                freq = 1.0 / 10000 ** (torch.arange(half).float() / half)
                extra[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = freq
        elif kind == "gpt2_mask":
            n = c["n_ctx"]
            for i in range(c["n_layer"]):
                extra[f"h.{i}.attn.bias"] = torch.ones(n, n).tril().view(1, 1, n, n)
        elif kind == "neox_mask":
            n = c["max_position_embeddings"]
            half = int(c["hidden_size"] // c["num_attention_heads"] * c["rotary_pct"]) // 2
            for i in range(c["num_hidden_layers"]):
                p = f"gpt_neox.layers.{i}.attention."
                extra[p + "bias"] = torch.ones(n, n, dtype=torch.bool).tril().view(1, 1, n, n)
                extra[p + "masked_bias"] = torch.tensor(-1e9)
                extra[p + "rotary_emb.inv_freq"] = 1.0 / 10000 ** (torch.arange(half).float() / half)
        elif callable(kind):
            extra |= kind(c, state)
        elif isinstance(kind, tuple):  # (new name, name of the tied tensor): stored twice
            extra[kind[0]] = state[kind[1]].clone()
    return extra


def write_safetensors(state, folder, shard_bytes=None):
    """model.safetensors, or shards with an index as save_pretrained writes them."""
    state = {k: v.contiguous().clone() for k, v in state.items()}
    if not shard_bytes:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return
    shards, used = [{}], 0
    for k, v in state.items():
        size = v.numel() * v.element_size()
        if used and used + size > shard_bytes:
            shards.append({})
            used = 0
        shards[-1][k] = v
        used += size
    total = sum(v.numel() * v.element_size() for v in state.values())
    index = {"metadata": {"total_size": total}, "weight_map": {}}
    for i, shard in enumerate(shards, 1):
        file = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        save_file(shard, folder / file, metadata={"format": "pt"})
        index["weight_map"] |= {k: file for k in shard}
    index["weight_map"] = dict(sorted(index["weight_map"].items()))
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def hub_config(case):
    """config.json: as the case gives it, the way transformers 4 wrote it for nearly all checkpoints on the Hub."""
    config = copy.deepcopy(case["config"])
    config.setdefault("torch_dtype", case["dtype"])
    config.setdefault("transformers_version", "4.46.0")
    return merged(dict(sorted(config.items())), case.get("config_patch", {}))


def write_checkpoint(case, model, folder):
    dtype = DTYPES[case["dtype"]]
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    state = load_file(folder / "model.safetensors")
    for pattern, replacement in case.get("rename", []):
        state = {re.sub(pattern, replacement, k): v for k, v in state.items()}
    state |= extra_tensors(case, model, state)
    for k, v in state.items():
        if v.is_floating_point() and not keep_f32(case, k):
            state[k] = v.to(dtype)
    (folder / "model.safetensors").unlink()
    write_safetensors(state, folder, case.get("shard_bytes"))

    if case.get("config_style", "v4") == "v4":
        write_json(folder / "config.json", hub_config(case))
    else:  # as transformers 5 writes it: rope_parameters, dtype and all the defaults
        config = json.loads((folder / "config.json").read_text())
        config["dtype"] = case["dtype"]
        config = {k: v for k, v in config.items() if not k.startswith("_")}
        write_json(folder / "config.json", merged(config, case.get("config_patch", {})))


def reload(folder, case, dtype=torch.float32):
    auto = AutoModelForImageTextToText if "vision_config" in case["config"] else AutoModelForCausalLM
    model, info = auto.from_pretrained(folder, dtype=dtype, output_loading_info=True, **EAGER)
    arch = case["config"]["architectures"][0]
    assert type(model).__name__ == arch, f"loads as {type(model).__name__}, not {arch}"
    assert not info["missing_keys"], f"missing {sorted(info['missing_keys'])[:5]}"
    assert not info.get("mismatched_keys"), f"mismatched {info['mismatched_keys']}"
    return model.eval(), sorted(info["unexpected_keys"])


def hf_case(case, folder):
    model, prompts = build(case)
    write_checkpoint(case, model, folder)
    loaded, unexpected = reload(folder, case)
    assert not unexpected or case.get("extra_tensors"), f"unexpected tensors {unexpected[:5]}"
    half, _ = reload(folder, case, torch.bfloat16)
    if "unverified_config_patch" in case:  # something that engines have to accept but the oracle does not
        config = json.loads((folder / "config.json").read_text())
        write_json(folder / "config.json", merged(config, case["unverified_config_patch"]))
    info = {
        "kind": "safetensors",
        "weights_dtype": case["dtype"],
        "config_style": "transformers " + ("4" if case.get("config_style", "v4") == "v4" else "5"),
        "tied_embeddings": bool(text_config(model.config.to_dict()).get("tie_word_embeddings", False)),
    }
    return finish_case(case, folder, model, prompts, loaded, info, half_model=half)

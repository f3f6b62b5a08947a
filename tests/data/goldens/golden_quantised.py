"""Quantised checkpoints: GPTQ, AWQ, bitsandbytes."""

import json
import shutil

import numpy as np
import torch
from golden_checkpoints import hub_config, write_checkpoint, write_safetensors
from golden_common import EAGER, rng_for, write_json
from golden_expected import finish_case, in_bfloat16
from golden_oracle import build
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM


def quantised_linears(model):
    """Names of the linear layers that these formats quantise: all of the decoder's, not lm_head."""
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and ".layers." in n]


def group_quantise(weight, bits, group_of_input, symmetric):
    """Round [out, in] weights to unsigned integers: weight ~ scale * (q - zero), one scale and zero for each group."""
    maxq = 2**bits - 1
    groups = int(group_of_input.max()) + 1
    scale, zero = [], []
    for g in range(groups):
        w = weight[:, group_of_input == g]
        low, high = w.amin(1).clamp_max(0), w.amax(1).clamp_min(0)
        if symmetric:
            s = torch.maximum(-low, high) * 2 / maxq
            z = torch.full_like(s, (maxq + 1) // 2)
        else:
            s = (high - low) / maxq
            z = (-low / s).round().clamp(1, maxq)  # 0 would be stored as -1 in the GPTQ layout
        scale.append(s.half().float())
        zero.append(z)
    scale, zero = torch.stack(scale, 1), torch.stack(zero, 1)  # [out, groups]
    q = (weight / scale[:, group_of_input] + zero[:, group_of_input]).round().clamp(0, maxq)
    return q.int(), scale, zero.int()


def pack(values, bits, axis, order=None):
    """Pack unsigned integers into int32 along `axis`: the n-th of a word's values goes to bits n * bits and up."""
    per_word = 32 // bits
    v = values.movedim(axis, 0).numpy().astype(np.uint32)
    v = v.reshape(-1, per_word, *v.shape[1:])
    words = np.zeros((v.shape[0], *v.shape[2:]), np.uint32)
    for n in range(per_word):
        words |= v[:, n if order is None else order[n]] << np.uint32(bits * n)
    return torch.from_numpy(words.view(np.int32)).movedim(0, axis)


def gptq_tensors(name, weight, spec):
    bits, group = spec["bits"], spec["group_size"]
    n = weight.shape[1]
    g_idx = torch.arange(n) // group
    if spec.get("desc_act"):
        g_idx = g_idx[torch.from_numpy(rng_for("act order", name).permutation(n))]
    q, scale, zero = group_quantise(weight, bits, g_idx, spec["sym"])
    offset = 0 if spec.get("checkpoint_format") == "gptq_v2" else 1
    return scale[:, g_idx] * (q - zero[:, g_idx]), {
        "qweight": pack(q.T, bits, 0),                    # [in / 8, out]
        "qzeros": pack(zero.T - offset, bits, 1),         # [groups, out / 8], one less than the zero
        "scales": scale.T.half(),                         # [groups, out]
        "g_idx": g_idx.int(),                             # [in]
    }


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def awq_tensors(name, weight, spec):
    bits, group = spec["bits"], spec["group_size"]
    g_idx = torch.arange(weight.shape[1]) // group
    q, scale, zero = group_quantise(weight, bits, g_idx, not spec["zero_point"])
    return scale[:, g_idx] * (q - zero[:, g_idx]), {
        "qweight": pack(q.T, bits, 1, AWQ_ORDER),         # [in, out / 8]
        "qzeros": pack(zero.T, bits, 1, AWQ_ORDER),       # [groups, out / 8]
        "scales": scale.T.half(),                         # [groups, out]
    }


def packed_case(case, folder):
    """GPTQ or AWQ: packed by our own code; the expected outputs come from the dequantised weights."""
    model, prompts = build(case)
    write_checkpoint(case, model, folder)
    state = load_file(folder / "model.safetensors")
    spec = case["quantization_config"]
    pack_linear = {"gptq": gptq_tensors, "awq": awq_tensors}[spec["quant_method"]]
    error = 0.0
    for name in quantised_linears(model):
        linear = model.get_submodule(name)
        dequantised, tensors = pack_linear(name, linear.weight.detach().float(), spec)
        with torch.no_grad():
            error = max(error, float((linear.weight - dequantised).abs().max() / linear.weight.std()))
            linear.weight.copy_(dequantised)
        del state[name + ".weight"]
        state |= {f"{name}.{k}": v for k, v in tensors.items()}
    assert error < case.get("quant_error", 0.6), f"quantisation error {error:.2f} of the weights' deviation"
    write_safetensors(dict(sorted(state.items())), folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "quantization_config": spec})
    if spec["quant_method"] == "gptq":
        keys = ("bits", "group_size", "desc_act", "sym", "damp_percent", "checkpoint_format")
        write_json(folder / "quantize_config.json", {k: spec[k] for k in keys if k in spec})
    info = {"kind": "safetensors", "weights_dtype": case["dtype"], "quantisation": spec["quant_method"],
            "bits": spec["bits"], "group_size": spec["group_size"]}
    return finish_case(case, folder, model, prompts, None, info, int8=True, half_model=in_bfloat16(model))


def bnb_dequantise(tensors, name):
    """The f32 weights of a linear layer from its stored tensors, computed here and not by bitsandbytes."""
    t = {k[len(name) + 1:]: v for k, v in tensors.items() if k.startswith(name + ".")}
    if "SCB" in t:  # int8 rows
        return t["weight"].float() * (t["SCB"].float().view(-1, 1) / 127)
    state = next(v for k, v in t.items() if k.startswith("weight.quant_state.bitsandbytes__"))
    state = json.loads(bytes(state.numpy()).decode())
    absmax = t["weight.absmax"]
    if "weight.nested_absmax" in t:  # the scales are quantised themselves: 8 bit codes in blocks of 256, and an offset
        scale = t["weight.nested_absmax"].repeat_interleave(state["nested_blocksize"])[: absmax.numel()]
        absmax = t["weight.nested_quant_map"][absmax.long()] * scale + state["nested_offset"]
    packed = t["weight"].flatten()
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten()  # high half of the byte first
    values = t["weight.quant_map"][codes.long()] * absmax.repeat_interleave(state["blocksize"])[: codes.numel()]
    return values.view(state["shape"])


def bnb_case(case, folder):
    """bitsandbytes: quantised and saved by the library, the expected outputs come from the dequantised weights."""
    import bitsandbytes as bnb
    from transformers import BitsAndBytesConfig

    model, prompts = build(case)
    source = folder / "source"
    source.mkdir()
    write_checkpoint(case, model, source)
    config = BitsAndBytesConfig(**case["bnb"], bnb_4bit_compute_dtype=torch.float32)
    quantised = AutoModelForCausalLM.from_pretrained(
        source, quantization_config=config, dtype=torch.float16, device_map="cpu", **EAGER)
    quantised.save_pretrained(folder)
    shutil.rmtree(source)
    saved = json.loads((folder / "config.json").read_text())
    style = hub_config(case)
    style["quantization_config"] = {k: v for k, v in saved["quantization_config"].items() if k != "bnb_4bit_compute_dtype"}
    style["quantization_config"]["bnb_4bit_compute_dtype"] = "float16"
    write_json(folder / "config.json", style)
    stored = load_file(folder / "model.safetensors")
    for name in quantised_linears(model):
        value = bnb_dequantise(stored, name)
        w = quantised.get_submodule(name).weight  # the library dequantises to f16
        if isinstance(w, bnb.nn.Params4bit):
            theirs = bnb.functional.dequantize_4bit(w.data, w.quant_state).float()
        else:
            theirs = bnb.functional.int8_vectorwise_dequant(w.data, w.SCB).float()
        assert torch.allclose(value, theirs, rtol=1e-3, atol=1e-6), f"{name}: dequantised in another way than by bitsandbytes"
        with torch.no_grad():
            model.get_submodule(name).weight.copy_(value)
    info = {"kind": "safetensors", "weights_dtype": case["dtype"], "quantisation": "bitsandbytes", **case["bnb"]}
    return finish_case(case, folder, model, prompts, None, info, int8=True, half_model=in_bfloat16(model))

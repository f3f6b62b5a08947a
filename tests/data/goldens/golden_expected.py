"""Expected outputs of a case, and the tolerances within which an engine has to reproduce them."""

import copy
import re

import numpy as np
import torch
import transformers
from golden_common import NEW_TOKENS, write_json
from golden_oracle import (ablations, cached_difference, forward, greedy, int8_activations, kl_divergence, max_diff,
                           tensor_sensitivity)
from safetensors.torch import save_file

SENSITIVITY_FACTOR = 20  # dropping a feature or a tensor has to change the logits by this many f32 tolerances


def tolerances(scale, noise):
    """Limits for three ways to compute: in f32, in bf16/f16, and in integers with 8-bit activations."""

    def loose(n, floor_kl):
        return {
            "max_abs": round(4 * n["max_abs"] + 2e-3 * scale, 5),
            "mean_kl": float(f"{4 * n['mean_kl'] + floor_kl:.3g}"),
            "argmax_agreement": round(max(0.7, n["argmax_agreement"] - 0.12), 3),
        }

    # 1e-3 of the logits' standard deviation, but never less than 20 times what f32 rounding does to the oracle itself
    f32 = max(1e-3 * scale, 20 * (noise["f32_vs_f64"] or 0.0))
    out = {"f32": {"max_abs": float(f"{f32:.3g}")}}
    if noise.get("bf16"):
        out["half"] = loose(noise["bf16"], 2e-3)
    if noise.get("int8"):
        out["int8"] = loose(noise["int8"], 2e-3)
    return out


def compared(expected, actual):
    expected, actual = torch.cat([e[0] for e in expected]), torch.cat([a[0] for a in actual])
    return {
        "max_abs": float((expected - actual).abs().max()),
        "mean_kl": float(kl_divergence(expected, actual).mean()),
        "argmax_agreement": float((expected.argmax(-1) == actual.argmax(-1)).float().mean()),
    }


def in_bfloat16(model):
    """A bfloat16 copy whose rotary frequencies stay in f32, as after loading in bfloat16."""
    out = copy.deepcopy(model).to(torch.bfloat16)
    for module, original in zip(out.modules(), model.modules()):
        for k, b in original._buffers.items():
            if b is not None and k in original._non_persistent_buffers_set:
                module._buffers[k] = b.clone()
    return out


def measure_noise(model, prompts, expected, half_model=None, int8=False):
    noise = {"f32_vs_f64": None, "bf16": None, "int8": None}
    try:
        double = copy.deepcopy(model).double()
        noise["f32_vs_f64"] = max_diff(double, prompts, expected)
    except Exception as e:  # some models hard-code float32 somewhere
        noise["f32_vs_f64_error"] = f"{type(e).__name__}: {str(e)[:80]}"
    if half_model is not None:
        try:
            noise["bf16"] = compared(expected, [forward(half_model, p) for p in prompts])
        except Exception as e:
            noise["bf16_error"] = f"{type(e).__name__}: {str(e)[:80]}"
    if int8:
        other = int8_activations(copy.deepcopy(model))
        noise["int8"] = compared(expected, [forward(other, p) for p in prompts])
    return noise


def check_spread(expected):
    """The logits have to be discriminating: neither nearly uniform nor the same everywhere."""
    logits = torch.cat([e[0] for e in expected])
    assert torch.isfinite(logits).all(), "logits are not finite"
    std = float(logits.std(-1).mean())
    entropy = float(-(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean() / np.log(logits.shape[-1]))
    over_positions = float(logits.std(0).mean())
    assert std > 0.7 and entropy < 0.93, f"logits too flat: std {std:.2f}, entropy {entropy:.2f}"
    assert over_positions > 0.3 * std, f"logits hardly depend on the position: {over_positions:.2f} of {std:.2f}"
    return {"logit_std": std, "relative_entropy": entropy, "std_over_positions": over_positions}


def finish_case(case, folder, model, prompts, loaded, kind_info, int8=False, half_model=None):
    """Run the oracle, check it, write expected.safetensors and expected.json; returns the summary."""
    expected = [forward(model, p) for p in prompts]
    spread_info = check_spread(expected)
    if loaded is not None:
        again = [forward(loaded, p) for p in prompts]
        worst = max(float((a - e).abs().max()) for a, e in zip(again, expected))
        assert worst == 0.0, f"the saved model gives other logits after loading: {worst}"
    noise = measure_noise(model, prompts, expected, half_model, int8)
    tolerance = tolerances(spread_info["logit_std"], noise)
    tol = tolerance["f32"]["max_abs"]

    tensors, prompt_info = {}, []
    for i, (inputs, logits) in enumerate(zip(prompts, expected)):
        run = greedy(model, inputs)
        info = {"length": inputs["input_ids"].shape[1], "check_tokens": True}
        try:
            same, diff = cached_difference(model, inputs, run)
            info["kv_cache_max_abs"] = float(f"{diff:.3g}")
            if diff > tol or same < NEW_TOKENS:
                info["check_tokens"] = False
                info["note"] = (
                    "the oracle itself continues differently with and without its key/value cache, so only the "
                    f"logits of this prompt are checked (same for {same} tokens)"
                )
        except Exception as e:
            info["kv_cache_error"] = f"{type(e).__name__}: {str(e)[:120]}"
        info["tokens_distinct"] = int(run["tokens"].unique().numel())
        prompt_info.append(info)
        for k, v in inputs.items():
            key = f"input_ids_{i}" if k == "input_ids" else f"inputs_{i}.{k}"
            tensors[key] = v.to(torch.int32) if not v.is_floating_point() else v
        tensors[f"logits_{i}"] = logits
        tensors[f"tokens_{i}"] = run["tokens"].to(torch.int32)
        tensors[f"step_max_{i}"] = run["step_max"]
        tensors[f"step_margin_{i}"] = run["step_margin"]
    if "vision_config" in case["config"]:
        tensors |= vision_features(model, prompts)

    off = ablations(case, model, prompts, expected)
    sensitivity = tensor_sensitivity(model, prompts[-1:], expected[-1:])
    known = case.get("insensitive", [])
    weak = [g for g, v in sensitivity.items() if v < SENSITIVITY_FACTOR * tol and not any(re.search(p, g) for p in known)]
    weak += [f"ablation {k}" for k, v in off.items() if v < SENSITIVITY_FACTOR * tol]
    assert not weak, f"hardly any effect on the logits: {weak}"

    save_file({k: v.contiguous().clone() for k, v in tensors.items()}, folder / "expected.safetensors")
    write_json(folder / "expected.json", {
        "name": case["name"],
        "family": case.get("family", case["config"]["model_type"]),
        "feature": case["feature"],
        "notes": case.get("notes", []),
        "format": kind_info,
        "prompts": prompt_info,
        "new_tokens": NEW_TOKENS,
        "tolerance": tolerance,
        "oracle": {
            "library": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}",
            "class": type(model).__name__,
            "compute": "float32 on the CPU, eager attention, weights widened from their stored type",
        },
        "logits": {k: round(v, 4) for k, v in spread_info.items()},
        "oracle_noise": noise,
        "ablations": {k: float(f"{v:.4g}") for k, v in off.items()},
        "sensitivity": {k: float(f"{v:.4g}") for k, v in sensitivity.items()},
    })
    return {"tolerance": tol, "noise": noise["f32_vs_f64"], "prompts": prompt_info,
            "std": spread_info["logit_std"], "ablations": off}


@torch.no_grad()
def vision_features(model, prompts):
    """What the vision tower and the projector hand to the language model, to check them on their own."""
    out = {}
    core = model.model
    for i, p in enumerate(prompts):
        if "pixel_values" not in p:
            continue
        if hasattr(core, "get_image_features"):
            f = core.get_image_features(p["pixel_values"])
            f = getattr(f, "pooler_output", f)
            f = torch.cat(list(f)) if isinstance(f, (list, tuple)) else f
        else:
            f = core.vision_model(p["pixel_values"], p["aspect_ratio_ids"], p["aspect_ratio_mask"]).last_hidden_state
            f = core.multi_modal_projector(f).reshape(-1, f.shape[-2], core.hidden_size)
        out[f"image_features_{i}"] = f.float()
    return out

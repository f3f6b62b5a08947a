"""Models and what goes into them."""

import copy

import numpy as np
import torch
import transformers
from golden_common import EAGER, rng_for, text_config
from transformers import AutoConfig


def make_config(config):
    config = copy.deepcopy(config)
    return AutoConfig.for_model(config.pop("model_type"), **config)


def make_model(config, arch=None):
    arch = arch or config["architectures"][0]
    cfg = make_config(config)
    return getattr(transformers, arch)._from_config(cfg, **EAGER).float().eval()


def make_inputs(case, model):
    """A list of dicts of tensors, one for each prompt: prompts have different lengths and are run separately."""
    rng = rng_for("inputs", case.get("seed_as", case["name"]))
    config = case["config"]
    vocab = case.get("prompt_vocab") or text_config(config)["vocab_size"]
    prompts = []
    for spec in case.get("prompts", [6, 29]):
        if isinstance(spec, int):
            prompts.append({"input_ids": torch.from_numpy(rng.integers(3, vocab, (1, spec)))})
        else:
            prompts.append(VISION_INPUTS[config["model_type"]](config, rng, vocab, spec))
    return prompts


def pixels(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def llava_inputs(config, rng, vocab, spec):
    v = config["vision_config"]
    n = (v["image_size"] // v["patch_size"]) ** 2 + (config["vision_feature_select_strategy"] == "full")
    before, after = rng.integers(3, vocab, spec["before"]), rng.integers(3, vocab, spec["after"])
    ids = np.concatenate([before, np.full(n, config["image_token_index"]), after])[None]
    return {
        "input_ids": torch.from_numpy(ids),
        "pixel_values": pixels(rng, 1, v.get("num_channels", 3), v["image_size"], v["image_size"]),
    }


def gemma3_inputs(config, rng, vocab, spec):
    v = config["vision_config"]
    n = config["mm_tokens_per_image"]
    parts, types = [], []
    for i, count in enumerate(spec["text"]):  # text, image, text, image, … text
        parts.append(rng.integers(3, vocab, count))
        types.append(np.zeros(count, int))
        if i + 1 < len(spec["text"]):
            image = [config["boi_token_index"]] + [config["image_token_index"]] * n + [config["eoi_token_index"]]
            parts.append(np.array(image))
            types.append(np.array([0] + [1] * n + [0]))
    images = len(spec["text"]) - 1
    out = {
        "input_ids": torch.from_numpy(np.concatenate(parts)[None]),
        "token_type_ids": torch.from_numpy(np.concatenate(types)[None]),
    }
    if images:
        out["pixel_values"] = pixels(rng, images, 3, v["image_size"], v["image_size"])
    return out


def mllama_inputs(config, rng, vocab, spec):
    v = config["vision_config"]
    tiles, used = v["max_num_tiles"], spec["tiles"]
    ids = rng.integers(3, vocab, spec["length"])
    ids[spec["image_at"]] = config["image_token_index"]
    pixel_values = pixels(rng, 1, 1, tiles, 3, v["image_size"], v["image_size"])
    pixel_values[:, :, used:] = 0
    tile_mask = torch.zeros(1, 1, tiles, dtype=torch.int64)
    tile_mask[..., :used] = 1
    cross = torch.zeros(1, spec["length"], 1, tiles, dtype=torch.int64)
    cross[:, spec["image_at"]:, :, :used] = 1
    return {
        "input_ids": torch.from_numpy(ids[None]),
        "pixel_values": pixel_values,
        "aspect_ratio_ids": torch.tensor([[spec["aspect_ratio_id"]]]),
        "aspect_ratio_mask": tile_mask,
        "cross_attention_mask": cross,
    }


VISION_INPUTS = {"llava": llava_inputs, "gemma3": gemma3_inputs, "mllama": mllama_inputs}


def extended(inputs, token):
    """The same inputs with one more text token at the end."""
    out = dict(inputs)
    out["input_ids"] = torch.cat([inputs["input_ids"], token.view(1, 1)], dim=1)
    for k, fill in (("token_type_ids", "zero"), ("cross_attention_mask", "last")):
        if k in inputs:
            last = inputs[k][:, -1:]
            out[k] = torch.cat([inputs[k], torch.zeros_like(last) if fill == "zero" else last], dim=1)
    return out

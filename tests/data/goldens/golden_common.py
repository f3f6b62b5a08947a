"""What all parts of the golden data maker share: constants, seeds, configs and JSON files."""

import copy
import json
import zlib

import numpy as np
import torch

NEW_TOKENS = 16
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
EAGER = {"attn_implementation": "eager", "experts_implementation": "eager"}


def rng_for(*key):
    return np.random.default_rng(zlib.crc32("/".join(map(str, key)).encode()))


def merged(config, overrides):
    """`config` with `overrides`; a nested dict is merged, a key with the value "<del>" is removed."""
    out = copy.deepcopy(config)
    for k, v in overrides.items():
        if v == "<del>":
            out.pop(k, None)
        elif isinstance(v, dict) and isinstance(out.get(k), dict) and not v.pop("<replace>", False):
            out[k] = merged(out[k], v)
        else:
            out[k] = v
    return out


def text_config(config):
    return config.get("text_config", config)


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")

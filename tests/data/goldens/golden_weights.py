"""Weights: random, but on a scale at which every tensor and every feature leaves a visible mark on the logits."""

import re

import numpy as np
import torch
from golden_common import DTYPES, rng_for

# Layers that write to the residual stream, and the norm in front of the output layer
WRITERS = re.compile(r"(o_proj|out_proj|c_proj|down_proj|fc2|fc_out|dense|dense_4h_to_h|w2)(\.weight)?$")
LAST_NORM = re.compile(r"^(?!.*\.\d+\.)(?!.*(vision|word_embeddings)).*(norm|ln_f|norm_f|ln_out)\.weight$")


def normal(rng, shape, std):
    return torch.from_numpy(np.asarray(rng.standard_normal(tuple(shape)) * std, dtype=np.float32))


def uniform(rng, shape, low, high):
    return torch.from_numpy(np.asarray(rng.uniform(low, high, tuple(shape)), dtype=np.float32))


def spread(rng, shape, centre, width):
    """Values around `centre`, but never nearer to it than 20 % of `width`: none of them is close to the neutral one."""
    sign = np.where(rng.random(tuple(shape)) < 0.5, -1.0, 1.0)
    return torch.from_numpy(np.asarray(centre + sign * rng.uniform(0.2, 1.0, tuple(shape)) * width, dtype=np.float32))


def named_tensors(model):
    """(name, module, tensor) of every parameter and every saved buffer, tied ones once, in a fixed order."""
    seen = set()
    for module_name, module in model.named_modules():
        saved_buffers = {k: b for k, b in module._buffers.items() if k not in module._non_persistent_buffers_set}
        for k, t in [*module._parameters.items(), *saved_buffers.items()]:
            if t is None or id(t) in seen:
                continue
            seen.add(id(t))
            yield f"{module_name}.{k}".lstrip("."), module, t


def is_norm(name, module):
    return "norm" in type(module).__name__.lower() or re.search(r"(^|[._])(norm|layernorm|ln)\d*\.weight$", name)


def neutral_value(name, module, tensor):
    """What a loader that forgot this tensor would most likely use: 0 for a bias, 0 or 1 for a norm, else None."""
    if name.endswith("bias"):
        return 0.0
    if hasattr(tensor, "golden_centre"):
        return tensor.golden_centre
    return None


def init_tensor(name, module, t, rng, rules, tied):
    """A random value for one tensor. With tied embeddings a model tends to repeat its input: to prevent that, the
    embeddings are small, the layers write with more weight, and the last norm makes up for it."""
    cls = type(module).__name__
    norm = is_norm(name, module) and not name.endswith("bias")
    if norm and not hasattr(t, "golden_centre"):
        t.golden_centre = float(t.float().mean().round())  # 1, or 0 where the norm multiplies by (1 + weight)
    for pattern, spec in rules:
        if re.search(pattern, name):
            kind, *args = spec
            if kind == "keep":
                return t.float()
            return {"normal": normal, "uniform": uniform, "spread": spread}[kind](rng, t.shape, *args)
    if name.endswith("bias"):
        return spread(rng, t.shape, 0.0, 0.4)
    if norm:
        return spread(rng, t.shape, t.golden_centre + (1.0 if tied and LAST_NORM.search(name) else 0.0), 0.5)
    if isinstance(module, torch.nn.Embedding):
        return normal(rng, t.shape, 0.25 if tied else 0.5)
    if name in ("lm_head.weight", "embed_out.weight", "output.weight"):
        return normal(rng, t.shape, 2.5 / np.sqrt(t.shape[-1]))
    if t.ndim >= 2:
        fan_in = t.shape[0] if cls == "Conv1D" else int(np.prod(t.shape[1:])) if "Conv" in cls else t.shape[-1]
        gain = 3.0 if tied and WRITERS.search(name) else 1.2
        return normal(rng, t.shape, gain / np.sqrt(fan_in))
    return t.golden_start + normal(rng, t.shape, 0.2)  # decay rates, sinks and the like: around the library's values


@torch.no_grad()
def init_weights(model, case, attempt=0):
    rng = rng_for("weights", case.get("seed_as", case["name"]), attempt)
    rules = case.get("init", [])
    dtype = DTYPES[case["dtype"]]
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head is not None and head.weight is embeddings.weight
    for name, module, t in named_tensors(model):
        if t.is_floating_point():
            if not hasattr(t, "golden_start"):
                t.golden_start = t.detach().float().clone()
            stored = dtype if not keep_f32(case, name) else torch.float32
            t.copy_(init_tensor(name, module, t, rng, rules, tied).to(stored).float())
    for module in model.modules():  # an embedding's padding row is trained like any other in real checkpoints
        if isinstance(module, torch.nn.Embedding):
            module.padding_idx = None
    model.tie_weights()


def keep_f32(case, name):
    return any(re.search(p, name) for p in case.get("keep_f32", []))

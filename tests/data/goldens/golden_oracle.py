"""Running the oracle, and how far its logits move: with a cache, without a tensor or a feature, in other number formats."""

import re

import torch
from golden_common import NEW_TOKENS, merged
from golden_inputs import extended, make_inputs, make_model
from golden_weights import init_weights, named_tensors, neutral_value
from transformers import GenerationConfig


@torch.no_grad()
def forward(model, inputs):
    inputs = {k: v.to(model.dtype) if v.is_floating_point() else v for k, v in inputs.items()}
    return model(**inputs, use_cache=False).logits.float()


def greedy(model, inputs, n=NEW_TOKENS):
    """Greedy continuation without a cache: the whole sequence is run again for every token."""
    steps = []
    for _ in range(n):
        logits = forward(model, inputs)[0, -1]
        inputs = extended(inputs, logits.argmax())
        steps.append(logits)
    steps = torch.stack(steps)
    top = steps.topk(2, dim=-1).values
    return {"tokens": steps.argmax(-1), "step_max": top[:, 0], "step_margin": top[:, 0] - top[:, 1], "steps": steps}


def build(case, attempts=10, wanted=6):
    """The case's model with random weights and its prompts; weights for which it keeps repeating itself are redrawn."""
    model = make_model(case["config"])
    prompts = make_inputs(case, model)
    best = (-1, 0)
    for attempt in range(attempts):
        init_weights(model, case, attempt)
        try:
            tokens = [greedy(model, p)["tokens"] for p in prompts]
        except ValueError:  # an image token was generated, for which there is no image
            continue
        distinct = min(int(t.unique().numel()) for t in tokens)
        best = max(best, (distinct, -attempt))
        if distinct >= wanted:
            return model, prompts
    init_weights(model, case, -best[1])
    return model, prompts


@torch.no_grad()
def cached_difference(model, inputs, reference, n=NEW_TOKENS):
    """How far generate() with its cache is from the run without one, and whether it picks the same tokens."""
    config = GenerationConfig(max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0, use_cache=True)
    saved, model.generation_config = model.generation_config, config
    try:
        out = model.generate(**inputs, generation_config=config, return_dict_in_generate=True, output_logits=True)
    finally:
        model.generation_config = saved
    tokens = out.sequences[0, inputs["input_ids"].shape[1]:]
    steps = torch.cat(out.logits).float()
    same = int((tokens == reference["tokens"]).long().cumprod(0).sum())
    compared = min(same + 1, n)
    return same, float((steps[:compared] - reference["steps"][:compared]).abs().max())


def kl_divergence(reference, other):
    p, q = reference.log_softmax(-1), other.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def max_diff(model, prompts, expected):
    return max(float((forward(model, p) - e).abs().nan_to_num(1e9).max()) for p, e in zip(prompts, expected))


def group_of(name):
    return re.sub(r"\.\d+(?=\.|$)", ".*", name)


@torch.no_grad()
def tensor_sensitivity(model, prompts, expected):
    """For every kind of tensor: how much the logits change if it is forgotten (bias, norm) or scrambled (the rest)."""
    groups = {}
    for name, module, t in named_tensors(model):
        if t.is_floating_point():
            groups.setdefault(group_of(name), []).append((name, module, t))
    result = {}
    for group, members in groups.items():
        saved = [t.clone() for _, _, t in members]
        for name, module, t in members:
            neutral = neutral_value(name, module, t)
            if neutral is not None or t.numel() == 1:
                t.fill_(neutral or 0.0)
            else:
                t.copy_(t.roll(1, 0).roll(1, -1))
        result[group] = max_diff(model, prompts, expected)
        for (_, _, t), s in zip(members, saved):
            t.copy_(s)
    return result


def ablations(case, model, prompts, expected):
    """Logit change for every special feature of the case that is switched off through the config or the inputs."""
    result = {}
    for label, overrides in case.get("ablate", {}).items():
        other = make_model(merged(case["config"], overrides))
        state = {k: v for k, v in model.state_dict().items()}
        other.load_state_dict(state, strict=False)
        result[label] = max_diff(other.eval(), prompts, expected)
    for key, label in (("pixel_values", "black image"), ("token_type_ids", "causal attention within images")):
        if any(key in p for p in prompts):
            zeroed = [p | {key: torch.zeros_like(p[key])} if key in p else p for p in prompts]
            result[label] = max_diff(model, zeroed, expected)
    return result


def int8_activations(model, group=32):
    """Round the inputs of all linear layers to 8 bit in blocks, as engines do that multiply in integers."""

    def hook(_, args):
        x = args[0]
        n = group if x.shape[-1] % group == 0 else x.shape[-1]
        blocks = x.reshape(*x.shape[:-1], -1, n)
        scale = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
        return ((blocks / scale).round() * scale).reshape(x.shape), *args[1:]

    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(hook)
    return model

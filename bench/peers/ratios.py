"""From samples to figures: medians, ratios of ours to the peer, and shares of what the machine allows."""
import math
import statistics

OURS = "llmhost"
PEER = "llama.cpp"
PATIENT = "llama.cpp, passive waits"
BUSY = 0.1  # a share of the machine that other work may take before a round without being mentioned
# Types whose weights are multiplied in 8 bits where activations may be rounded; the others in floats.
FLOATS = {"F32": ("f32_",), "F16": ("f32_",), "BF16": ("bf16_", "f32_")}


def median(samples):
    return statistics.median(samples) if samples else None


def figure(cell, side, metric=None):
    """The median of a side's samples; without a metric, of the only one."""
    metrics = cell["sides"].get(side, {})
    if metric is None:
        metric = cell["test"]
    return median(metrics.get(metric, []))


def ratio(ours, peer):
    return ours / peer if ours and peer else None


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def bandwidth(limits, weight_bytes):
    """Read bandwidth measured over the buffer whose size is next to that of the weights, in bytes a second."""
    sizes = limits.get("read_gbps", {})
    if not sizes:
        return None
    wanted = weight_bytes / 2**20
    size = min(sizes, key=lambda name: abs(math.log(int(name) / wanted)))
    return sizes[size] * 1e9


def peak(limits, kind):
    """The highest measured rate of the arithmetic that fits the weights' type, in operations a second."""
    prefixes = FLOATS.get(kind, ("int8_", "f32_"))
    found = [value for name, value in limits.get("gops", {}).items() if name.startswith(prefixes)]
    return max(found) * 1e9 if found else None


def share_of_limit(cell, facts, limits, value):
    """The share that `value` tokens a second are of the machine's limit: of reading for one sequence, of computing for prompts."""
    test = cell["test"]
    if not (value and facts and limits) or "x" in test or "@" in test:
        return None
    if test.startswith("pp"):
        limit, needed = peak(limits, cell["type"]), 2 * facts["multiplied_parameters"]
    else:
        limit, needed = bandwidth(limits, facts["weight_bytes"]), facts["bytes_per_token"]
    return value * needed / limit if limit else None

#!/usr/bin/env python3
"""Writes rope_angles.txt: rotary frequencies by the formulas of Hugging Face transformers 5 (modeling_rope_utils),
written out here with numpy, f32 where transformers has f32 tensors and double where it has Python numbers.

One block a case: a line of key=value attributes, then one line a token: position rope_length cos... sin...
"""
import math

import numpy as np

F = np.float32


def exponents(dim):
    return np.arange(0, dim, 2, dtype=np.int64).astype(F) / F(dim)


def powers(base, dim):
    # torch evaluates number ** f32 tensor in f32; the correctly rounded value is within its error.
    return np.power(float(base), exponents(dim).astype(np.float64)).astype(F)


def default(a, length):
    return F(1.0) / powers(a["theta"], a["rotary_dim"])


def linear(a, length):
    return default(a, length) / F(a["factor"])


def dynamic(a, length):
    original, factor, dim = a["original_context"], a["factor"], a["rotary_dim"]
    seq_len = max(length, original)
    base = a["theta"] * ((factor * seq_len / original) - (factor - 1)) ** (dim / (dim - 2))
    return F(1.0) / powers(base, dim)


def bands(a, length):
    inv_freq = default(a, length)
    factor, low, high, old = (F(a[k]) for k in ("factor", "low_freq_factor", "high_freq_factor", "original_context"))
    wavelen = F(2 * math.pi) / inv_freq
    scaled = np.where(wavelen > old / low, inv_freq / factor, inv_freq)
    smooth = (old / wavelen - low) / (high - low)
    smoothed = (F(1) - smooth) * scaled / factor + smooth * scaled
    medium = ~(wavelen < old / high) * ~(wavelen > old / low)
    return np.where(medium, smoothed, scaled).astype(F)


def yarn(a, length):
    dim, base, old = a["rotary_dim"], a["theta"], a["original_context"]

    def correction(rotations):
        return dim * math.log(old / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = correction(a["beta_fast"]), correction(a["beta_slow"])
    if a["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp = np.clip((np.arange(dim // 2, dtype=F) - F(low)) / F(high - low), 0, 1).astype(F)
    pos_freqs = powers(base, dim)
    extrapolation = F(1) / pos_freqs
    interpolation = F(1) / (F(a["factor"]) * pos_freqs)
    kept = F(1) - ramp
    return interpolation * (F(1) - kept) + extrapolation * kept


def longrope(a, length):
    factors = a["long_factors"] if length > a["original_context"] else a["short_factors"]
    return F(1) / (np.array(factors, dtype=F) * powers(a["theta"], a["rotary_dim"]))


RULES = [default, linear, dynamic, bands, yarn, longrope]
TOKENS = [(0, 1), (1, 2), (7, 40), (40, 41), (100, 101), (5000, 5001), (131071, 131072)]
CASES = [
    dict(rotary_dim=8, theta=10000.0, scaling=0),
    dict(rotary_dim=64, theta=500000.0, scaling=0),
    dict(rotary_dim=32, theta=10000.0, scaling=0, freq_factors=[1.0 + 0.25 * i for i in range(16)]),
    dict(rotary_dim=16, theta=10000.0, scaling=1, factor=2.5),
    dict(rotary_dim=32, theta=10000.0, scaling=2, factor=4.0, original_context=64),
    dict(rotary_dim=128, theta=500000.0, scaling=3, factor=8.0, original_context=8192, low_freq_factor=1.0,
         high_freq_factor=4.0),
    dict(rotary_dim=64, theta=500000.0, scaling=3, factor=32.0, original_context=8192, low_freq_factor=1.0,
         high_freq_factor=4.0),
    dict(rotary_dim=128, theta=1000000.0, scaling=4, factor=4.0, original_context=32768, beta_fast=32.0, beta_slow=1.0,
         truncate=1, attention_factor=0.1 * math.log(4.0) + 1.0),
    dict(rotary_dim=64, theta=150000.0, scaling=4, factor=32.0, original_context=4096, beta_fast=32.0, beta_slow=1.0,
         truncate=0, attention_factor=0.1 * math.log(32.0) + 1.0),
    dict(rotary_dim=8, theta=10000.0, scaling=4, factor=2.0, original_context=16, beta_fast=32.0, beta_slow=1.0,
         truncate=1),
    dict(rotary_dim=12, theta=10000.0, scaling=5, original_context=40, attention_factor=1.19,
         short_factors=[1.0, 1.05, 1.1, 1.2, 1.4, 1.8], long_factors=[1.0, 2.0, 4.5, 8.0, 20.0, 64.0]),
]


def text(value):
    return ",".join(repr(float(v)) for v in value) if isinstance(value, list) else repr(value)


def main():
    with open("rope_angles.txt", "w") as out:
        for case in CASES:
            out.write(" ".join(f"{k}={text(v)}" for k, v in case.items()) + "\n")
            for position, length in TOKENS:
                inv_freq = RULES[case["scaling"]](case, length).astype(F)
                if "freq_factors" in case:
                    inv_freq = inv_freq / np.array(case["freq_factors"], dtype=F)
                angle = (F(position) * inv_freq).astype(np.float64)
                factor = F(case.get("attention_factor", 1.0))
                values = np.concatenate([np.cos(angle).astype(F) * factor, np.sin(angle).astype(F) * factor])
                out.write(f"{position} {length} " + " ".join(repr(float(v)) for v in values) + "\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""gguf_types.safetensors: values, and what others make of them in the block types of GGUF files.

usage: make_gguf_types.py LIBGGML_BASE   (with numpy, gguf, safetensors; the library is llama.cpp's libggml-base.so)

`SET` f32 values; `SET/TYPE` the bytes that the gguf package makes (f16, bf16 and the simple types); `SET/TYPE.rms` f32 [1], the
root mean square error over that of the values of what llama.cpp makes (the k types, no importance matrix).
"""
import ctypes
import sys
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from safetensors.numpy import save_file

SIMPLE = ["BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
K_TYPES = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]


def value_sets(rng):
    normal = rng.standard_normal((16, 512)) * 0.05
    special = rng.standard_normal((4, 512)) * 0.1
    special[0, :256] = 0
    special[1] = 0.25
    special[2] = -0.25
    special[3, ::7] = -0.0
    special[3, 32:64] = np.arange(32) - 16
    wide = rng.standard_t(4, (16, 512)) * np.exp(rng.standard_normal((16, 1)))
    return {"normal": normal, "wide": wide, "positive": rng.random((8, 512)), "special": special}


def main(library):
    ggml = ctypes.CDLL(library)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    tensors = {}
    for name, values in value_sets(np.random.default_rng(5)).items():
        values = np.ascontiguousarray(values, np.float32)
        tensors[name] = values
        tensors[f"{name}/F16"] = values.astype(np.float16).view(np.uint8).ravel()
        for kind in SIMPLE:
            tensors[f"{name}/{kind}"] = quants.quantize(values, GGMLQuantizationType[kind]).view(np.uint8).ravel()
        for kind in K_TYPES:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
            out = np.zeros(values.size // block * size, np.uint8)
            ggml.ggml_quantize_chunk(int(GGMLQuantizationType[kind]), values.ctypes.data, out.ctypes.data, 0, *values.shape, None)
            error = quants.dequantize(out, GGMLQuantizationType[kind]).ravel() - values.ravel()
            rms = np.sqrt(np.mean(error**2) / np.mean(values**2))
            tensors[f"{name}/{kind}.rms"] = np.array([rms], np.float32)
    save_file(tensors, Path(__file__).resolve().parent / "gguf_types.safetensors")


if __name__ == "__main__":
    main(sys.argv[1])

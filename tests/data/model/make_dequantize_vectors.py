#!/usr/bin/env python3
"""Writes dequantize.bin: blocks of every stored type and what the `gguf` package decodes them to.

Per type: u32 id of the element type in GGUF, u32 bytes of input, u32 count of floats, the input, the floats (f32).
Three quarters of the blocks are random bits whose f16 scales are made finite; the rest are any bits, all-zero and
all-one blocks included, so that infinities and NaNs occur.
"""
import struct
import sys
from pathlib import Path

import gguf
import numpy as np

TYPES = """F32 F16 BF16 F64 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS
IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S TQ1_0 TQ2_0 MXFP4 NVFP4""".split()
# Byte offsets of the f16 fields in a block.
SCALES = {
    "F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
    "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0], "TQ1_0": [52],
    "TQ2_0": [64],
}


def blocks_of(name, rng):
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = 1024 // elements if elements < 256 else 8
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in SCALES.get(name, []):
        high = blocks[: count * 3 // 4, offset + 1]
        high[(high & 0x7C) == 0x7C] ^= 0x40
    blocks[-1] = 0
    blocks[-2] = 255
    return blocks.reshape(1, -1)


def decode(name, blocks):
    if name == "F64":
        return blocks.view(np.float64).astype(np.float32)
    if name == "BF16":
        return (blocks.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return gguf.dequantize(blocks, gguf.GGMLQuantizationType[name])


def main():
    rng = np.random.default_rng(20240517)
    out = bytearray()
    with np.errstate(all="ignore"):
        for name in TYPES:
            blocks = blocks_of(name, rng)
            floats = np.ascontiguousarray(decode(name, blocks), dtype=np.float32)
            out += struct.pack("<III", gguf.GGMLQuantizationType[name].value, blocks.size, floats.size)
            out += blocks.tobytes() + floats.tobytes()
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("dequantize.bin"))
    target.write_bytes(out)
    print(f"{target}: {len(out)} bytes")


main()

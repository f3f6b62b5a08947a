"""safetensors files with the element types that numpy does not have, and the numbers that eight and four bits stand for."""
import json
import struct
import zlib
from pathlib import Path

import numpy as np

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
NAMES = {"float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int8": "I8", "uint8": "U8"}


def e4m3(codes):
    """OCP e4m3 without infinities: bias 7, 0x7F and 0xFF are NaN."""
    sign = np.where(codes & 0x80, -1.0, 1.0)
    exponent, mantissa = (codes >> 3 & 15).astype(np.int32), (codes & 7).astype(np.float64)
    value = np.where(exponent == 0, mantissa * 2.0**-9, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.where((codes & 0x7F) == 0x7F, np.nan, sign * value).astype(np.float32)


def e5m2(codes):
    return (codes.astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def e8m0(codes):
    return (2.0 ** (codes.astype(np.float64) - 127)).astype(np.float32)


def e2m1(codes):
    return np.where(codes & 8, -1, 1).astype(np.float32) * E2M1[codes & 7]


def to_bf16(values):
    """Bits of the nearest bf16 below in magnitude; exact for what these files hold."""
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bf16(bits):
    return (bits.astype(np.uint32) << 16).view(np.float32)


class Typed:
    """Raw elements under a name that numpy has no type for: "BF16", "F8_E4M3"."""

    def __init__(self, name, array):
        self.name, self.array = name, array


def save(path, tensors, metadata=None):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for name, tensor in tensors.items():
        typed = tensor if isinstance(tensor, Typed) else Typed(NAMES[str(tensor.dtype)], tensor)
        array = np.ascontiguousarray(typed.array)
        header[name] = {"dtype": typed.name, "shape": list(typed.array.shape),
                        "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)


def seeded(name):
    return np.random.default_rng(zlib.crc32(name.encode()))

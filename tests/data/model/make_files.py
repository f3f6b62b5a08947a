#!/usr/bin/env python3
"""Writes the small model files of the tests with the `gguf` and `safetensors` packages.

  metadata.gguf                every metadata type, nested arrays, alignment 64, four tensors
  split-0000N-of-00003.gguf    three tensors in three parts
  dtypes.safetensors           every element type that is read, one that is not, __metadata__
"""
import sys
from pathlib import Path

import gguf
import numpy as np
import safetensors.numpy
from gguf import GGUFValueType as T

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def metadata():
    writer = gguf.GGUFWriter(FOLDER / "metadata.gguf", "unit")
    writer.add_custom_alignment(64)
    for name, value, kind in [
        ("u8", 200, T.UINT8), ("i8", -100, T.INT8), ("u16", 60000, T.UINT16), ("i16", -30000, T.INT16),
        ("u32", 4000000000, T.UINT32), ("i32", -2000000000, T.INT32), ("f32", 0.1, T.FLOAT32),
        ("bool", True, T.BOOL), ("string", "grüße", T.STRING), ("u64", 2**64 - 1, T.UINT64),
        ("i64", -(2**63), T.INT64), ("f64", 0.1, T.FLOAT64),
    ]:
        writer.add_key_value("test." + name, value, kind)
    writer.add_key_value("test.strings", ["a", "", "three"], T.ARRAY, T.STRING)
    writer.add_key_value("test.floats", [0.5, -1.5], T.ARRAY, T.FLOAT32)
    writer.add_key_value("test.bools", [True, False], T.ARRAY, T.BOOL)
    writer.add_key_value("test.nested", [[1, 2, 3], [4]], T.ARRAY, T.ARRAY)
    writer.add_tensor("matrix", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("half", np.arange(5, dtype=np.float16))
    blocks = gguf.quantize(np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64), gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("blocks", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    # A type that is listed but not decoded: Q8_K (of activations), 292 bytes for 256 elements.
    writer.add_tensor("unknown", np.zeros((1, 292), dtype=np.uint8), raw_dtype=gguf.GGMLQuantizationType.Q8_K)
    write(writer)


def split():
    writer = gguf.GGUFWriter(FOLDER / "split.gguf", "unit", split_max_tensors=1)
    writer.add_block_count(1)
    for i in range(3):
        writer.add_tensor(f"tensor.{i}", np.full((2, 4), i, dtype=np.float32))
    write(writer)


def dtypes():
    tensors = {"scalar": np.array(2.5, dtype=np.float32), "empty": np.zeros((0, 4), dtype=np.int32)}
    for name in "float64 float32 float16 int64 int32 int16 int8 uint8 bool uint16".split():
        tensors[name] = np.array([[0, 1, 1], [1, 0, 1]]).astype(name)
    safetensors.numpy.save_file(tensors, FOLDER / "dtypes.safetensors", metadata={"format": "np"})


metadata()
split()
dtypes()

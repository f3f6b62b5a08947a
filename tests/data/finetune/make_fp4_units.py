#!/usr/bin/env python3
"""qlora/fp4_units.*: quantisation to fp4 by bitsandbytes' portable kernels (with torch, bitsandbytes, safetensors)."""
import json
from pathlib import Path

import bitsandbytes.functional as BF
import torch
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent / "qlora"
UNITS = (("fp4_rows", (24, 128), True, 64), ("fp4_block_128", (9, 100), False, 128))


def use_portable_kernels():
    portable = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    library = torch.library.Library("bitsandbytes", "IMPL")
    for name in ("quantize_4bit", "quantize_blockwise", "dequantize_4bit", "dequantize_blockwise"):
        op = getattr(torch.ops.bitsandbytes, name).default
        library.impl(name, lambda *a, _op=op: _op.redispatch(portable, *a), "CPU", allow_override=True)
    return library


def main():
    library = use_portable_kernels()
    torch.manual_seed(7)
    tensors, about = {}, {}
    for name, shape, double, block in UNITS:
        w = torch.randn(shape) * 0.1
        flat = w.reshape(-1)
        flat[:64] = 0
        flat[64:80] = BF.get_4bit_type("fp4", device="cpu") * 0.5
        flat[80:128] = 0.5
        flat[130], flat[131] = 1e-6, -1e-6
        packed, state = BF.quantize_4bit(w, blocksize=block, compress_statistics=double, quant_type="fp4")
        tensors[f"{name}/source"], tensors[f"{name}/packed"] = w, packed
        about[name] = {"blocksize": block, "double": double, "shape": list(shape)}
        absmax = state.absmax
        if double:
            tensors[f"{name}/absmax_u8"] = state.absmax
            tensors[f"{name}/nested_absmax"] = state.state2.absmax
            about[name]["nested_offset"] = float(state.offset)
            absmax = BF.dequantize_blockwise(state.absmax, state.state2) + state.offset
        tensors[f"{name}/absmax"] = absmax
        tensors[f"{name}/dequant"] = BF.dequantize_4bit(packed, state).reshape(shape)
    save_file(tensors, HERE / "fp4_units.safetensors")
    (HERE / "fp4_units.json").write_text(json.dumps(about, indent=1))
    del library


if __name__ == "__main__":
    main()

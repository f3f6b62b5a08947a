#!/usr/bin/env python3
"""Writes the cases of this folder: for each a config.json, a model.safetensors with weights packed as the format's own
tools pack them, and expected.safetensors with the f32 values they stand for (value = scale * (quant - zero) in f32).

The metadata of expected.safetensors says which element type the loader should choose for each weight.
Needs numpy alone.
"""
import json
import shutil
from pathlib import Path

import numpy as np

from stored import Typed, e2m1, e4m3, e5m2, e8m0, from_bf16, save, seeded, to_bf16

FOLDER = Path(__file__).parent


def bit_stream(values, bits):
    """Integers along the last axis, packed without gaps from the lowest bit of the first 32-bit word on."""
    *lead, count = values.shape
    flat = values.reshape(-1, count).astype(np.uint64)
    words = np.zeros((flat.shape[0], -(-count * bits // 32)), dtype=np.uint64)
    for i in range(count):
        word, shift = divmod(i * bits, 32)
        words[:, word] |= flat[:, i] << np.uint64(shift) & np.uint64(0xFFFFFFFF)
        if shift + bits > 32:
            words[:, word + 1] |= flat[:, i] >> np.uint64(32 - shift)
    return words.astype(np.uint32).view(np.int32).reshape(*lead, -1)


def scales_of(rng, shape):
    return rng.uniform(0.001, 0.02, shape).astype(np.float16)


def grouped(scales, quants, zeros, group_of):
    """scales, zeros [rows, groups]; quants [rows, columns]."""
    difference = quants.astype(np.float32) - zeros.astype(np.float32)[:, group_of]
    return scales.astype(np.float32)[:, group_of] * difference


def write(name, quantisation, tensors, expected, types, beside=None):
    """`beside`: the file of its own that older tools wrote the quantisation to, instead of config.json."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    config = {"model_type": "tiny"} if beside else {"model_type": "tiny", "quantization_config": quantisation}
    if beside:
        (folder / beside).write_text(json.dumps(quantisation, indent=1) + "\n")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    save(folder / "model.safetensors", tensors)
    save(folder / "expected.safetensors", {k: np.ascontiguousarray(v, np.float32) for k, v in expected.items()}, types)


# --- GPTQ ---

def gptq(name, bits, symmetric, group_size=32, act_order=False, version=1, kind="F16", beside=None, **extra):
    rng = seeded(name)
    rows, columns = 32, 96
    size = columns if group_size == -1 else group_size
    groups = columns // size
    group_of = np.arange(columns) // size
    if act_order:
        group_of = rng.permutation(group_of)
    quants = rng.integers(0, 2**bits, (rows, columns))
    zeros = np.full((rows, groups), 2 ** (bits - 1)) if symmetric else rng.integers(0, 2**bits, (rows, groups)) + (version == 1)
    scales = scales_of(rng, (rows, groups))
    stored_zeros = zeros - (version == 1)
    stored_scales = scales.T
    if kind == "BF16":
        bits16 = to_bf16(scales.astype(np.float32))
        scales, stored_scales = from_bf16(bits16), Typed("BF16", bits16.T)
    tensors = {
        "a.qweight": np.ascontiguousarray(bit_stream(quants, bits).T),
        "a.qzeros": bit_stream(stored_zeros.T, bits),
        "a.scales": stored_scales,
        "a.g_idx": group_of.astype(np.int32),
        "a.bias": rng.standard_normal(rows).astype(np.float16),
    }
    if not act_order and bits == 4:
        del tensors["a.g_idx"]
    config = ({} if beside else {"quant_method": "gptq"}) | {"bits": bits, "group_size": group_size, "desc_act": act_order, "sym": symmetric,
              "damp_percent": 0.1, "true_sequential": True, **extra}
    if version == 2:
        config["checkpoint_format"] = "gptq_v2"
    if act_order or bits == 8 and not symmetric:
        kind = "f32"
    elif symmetric or bits < 4:
        kind = "q8_0" if bits == 8 else "q4_0"
    else:
        kind = "q5_0"
    write(name, config, tensors, {"a.weight": grouped(scales, quants, zeros, group_of)}, {"a.weight": kind}, beside)


# --- AWQ ---

def awq(name, version, group_size=32, beside=None):
    rng = seeded(name)
    rows, columns = 32, 128
    groups = columns // group_size
    quants, zeros = rng.integers(0, 16, (rows, columns)), rng.integers(0, 16, (rows, groups))
    scales = scales_of(rng, (rows, groups))
    if version == "gemm":
        order = np.array([0, 2, 4, 6, 1, 3, 5, 7])

        def pack(by_row):  # [rows, n] to [n, rows / 8]
            return bit_stream(by_row.T.reshape(-1, rows // 8, 8)[..., order].reshape(-1, rows), 4)

        tensors = {"a.qweight": pack(quants), "a.qzeros": pack(zeros), "a.scales": np.ascontiguousarray(scales.T)}
    else:
        factor = {32: 4, 64: 2}.get(group_size, 1)
        width = -(-(-(-groups // 8)) // factor) * factor
        padded = np.zeros((rows, width * 8), np.int64)
        padded[:, :groups] = zeros
        padded_scales = np.zeros((rows, width * 8), np.float16)
        padded_scales[:, :groups] = scales
        tensors = {"a.qweight": bit_stream(quants, 4), "a.qzeros": bit_stream(padded, 4), "a.scales": padded_scales}
    config = {"quant_method": "awq", "bits": 4, "group_size": group_size, "zero_point": True, "version": version,
              "modules_to_not_convert": ["lm_head"]}
    if beside:
        config = {"zero_point": True, "q_group_size": group_size, "w_bit": 4, "version": version.upper()}
    group_of = np.arange(columns) // group_size
    write(name, config, tensors, {"a.weight": grouped(scales, quants, zeros, group_of)}, {"a.weight": "q5_0"}, beside)


# --- bitsandbytes ---

NF4 = [-1.0, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803, 0.1609302,
       0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
FP4 = [0.0, 0.0052083335, 0.6666667, 1.0, 0.33333334, 0.5, 0.16666667, 0.25]
TABLES = {"nf4": np.array(NF4, np.float32), "fp4": np.array(FP4 + [-v for v in FP4], np.float32)}


def bitsandbytes_four_bit(name, kind, nested, storage="U8", odd=False):
    rng = seeded(name)
    rows, columns, block = (24, 40, 64) if odd else (8, 128, 128)
    count = rows * columns
    codes = rng.integers(0, 16, count)
    table = np.sort(rng.uniform(-1, 1, 16)).astype(np.float32) if odd else TABLES[kind]
    blocks = count // block
    packed = (codes[0::2] << 4 | codes[1::2]).astype(np.uint8)
    state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": [rows, columns]}
    tensors = {"a.weight": packed.reshape(-1, 1)}
    if storage == "BF16":
        tensors["a.weight"] = Typed("BF16", packed.view(np.uint16).reshape(-1, 1))
    if nested:
        inner = rng.integers(0, 256, blocks).astype(np.uint8)
        inner_table = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32)
        outer = rng.uniform(0.01, 0.02, -(-blocks // 4)).astype(np.float32)
        state |= {"nested_blocksize": 4, "nested_dtype": "float32", "nested_offset": 0.0625}
        absmax = inner_table[inner] * outer[np.arange(blocks) // 4] + np.float32(0.0625)
        tensors |= {"a.weight.absmax": inner, "a.weight.nested_absmax": outer, "a.weight.nested_quant_map": inner_table}
    else:
        absmax = rng.uniform(0.01, 0.02, blocks).astype(np.float32)
        tensors["a.weight.absmax"] = absmax
    tensors["a.weight.quant_map"] = table
    text = json.dumps(state).encode()
    tensors[f"a.weight.quant_state.bitsandbytes__{kind}"] = np.frombuffer(text, np.uint8)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind,
              "bnb_4bit_use_double_quant": nested, "llm_int8_skip_modules": ["lm_head"]}
    values = (table[codes] * np.repeat(absmax, block)).reshape(rows, columns)
    write(name, config, tensors, {"a.weight": values}, {"a.weight": "f32" if odd else kind})


def bitsandbytes_eight_bit(name, columns):
    rng = seeded(name)
    weight = rng.integers(-127, 128, (16, columns)).astype(np.int8)
    largest = rng.uniform(0.5, 2, 16).astype(np.float32)
    tensors = {"a.weight": weight, "a.SCB": largest, "a.weight_format": np.zeros((), np.uint8)}
    config = {"quant_method": "bitsandbytes", "load_in_8bit": True, "llm_int8_threshold": 6.0}
    values = weight.astype(np.float32) * (largest * np.float32(1 / np.float32(127)))[:, None]
    write(name, config, tensors, {"a.weight": values}, {"a.weight": "f32" if columns % 32 else "i8_32"})


# --- eight-bit floats ---

def finite_codes(rng, shape, kind):
    codes = rng.integers(0, 256, shape).astype(np.uint8)
    limit = 0x7F if kind == "F8_E4M3" else 0x7C
    codes[(codes & 0x7F) >= limit] = 0x38
    return codes


def fp8(name, kind="F8_E4M3", scale_of="tensor", scale_kind="F32", method="fp8", odd=False):
    rng = seeded(name)
    rows, columns, block = (20, 44, (8, 16)) if odd else (20, 96, (8, 32))
    codes = finite_codes(rng, (rows, columns), kind)
    values = e4m3(codes) if kind == "F8_E4M3" else e5m2(codes)
    shape = {"tensor": (), "row": (rows, 1), "block": (3, 3)}[scale_of]
    scale = np.asarray(rng.uniform(0.001, 0.01, shape), np.float32)
    stored = scale
    if scale_kind == "BF16":
        stored = Typed("BF16", to_bf16(scale).reshape(shape))
        scale = from_bf16(stored.array)
    if scale_kind == "F8_E8M0":
        stored = Typed("F8_E8M0", rng.integers(117, 123, shape).astype(np.uint8))
        scale = e8m0(stored.array)
    full = scale
    if scale_of == "block":
        full = np.repeat(np.repeat(scale, block[0], 0), block[1], 1)[:rows, :columns]
    suffix = "weight_scale_inv" if scale_of == "block" else "weight_scale"
    tensors = {"a.weight": Typed(kind, codes), f"a.{suffix}": stored, "a.input_scale": np.ones((), np.float32),
               "b.weight": rng.standard_normal((4, 4)).astype(np.float16)}
    config = {"quant_method": method, "modules_to_not_convert": ["b"]}
    if method == "fp8":
        config |= {"activation_scheme": "dynamic", "fmt": kind[3:].lower()}
    if scale_of == "block":
        config |= {"weight_block_size": list(block), "scale_fmt": "ue8m0" if scale_kind == "F8_E8M0" else "float"}
    write(name, config, tensors, {"a.weight": values * full, "b.weight": tensors["b.weight"]},
          {"a.weight": "f32" if odd or kind == "F8_E5M2" else "e4m3_32", "b.weight": "f16"})


# --- compressed-tensors ---

def compressed_config(form, bits, kind, symmetric, strategy, group_size=None, **extra):
    weights = {"num_bits": bits, "type": kind, "symmetric": symmetric, "strategy": strategy, "group_size": group_size,
               "dynamic": False, "actorder": None, "block_structure": None, "observer": "minmax", "observer_kwargs": {}, **extra}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
            "kv_cache_scheme": None, "global_compression_ratio": 1.5, "config_groups": {"group_0": group}}


def compressed_integers(name, bits, symmetric, strategy, packed=True, scale_kind="BF16", act_order=False, columns=64):
    rng = seeded(name)
    rows = 24
    groups = {"tensor": 1, "channel": 1, "group": columns // 32}[strategy]
    group_of = np.arange(columns) * groups // columns
    if act_order:
        group_of = rng.permutation(group_of)
    low = -(2 ** (bits - 1))
    quants = rng.integers(low, -low, (rows, columns))
    zeros = np.zeros((rows, groups), np.int64) if symmetric else rng.integers(low, -low, (rows, groups))
    scales = rng.uniform(0.001, 0.02, (1 if strategy == "tensor" else rows, groups)).astype(np.float32)
    if strategy == "tensor":
        zeros[:] = zeros[0]
    stored = scales
    if scale_kind == "BF16":
        stored = Typed("BF16", to_bf16(scales))
        scales = from_bf16(stored.array)
    if strategy == "tensor":
        stored = Typed(getattr(stored, "name", "F32"), getattr(stored, "array", stored).reshape(1))
    tensors = {"a.weight_scale": stored, "a.input_scale": np.ones(1, np.float32)}
    if packed:
        tensors |= {"a.weight_packed": bit_stream(quants - low, bits), "a.weight_shape": np.array([rows, columns], np.int64)}
        if not symmetric:
            tensors["a.weight_zero_point"] = np.ascontiguousarray(bit_stream((zeros - low).T, bits).T)
    else:
        tensors["a.weight"] = quants.astype(np.int8)
        if not symmetric:
            tensors["a.weight_zero_point"] = zeros[: scales.shape[0]].astype(np.int8).reshape(stored.array.shape if isinstance(stored, Typed) else stored.shape)
    if act_order:
        tensors["a.weight_g_idx"] = group_of.astype(np.int32)
    full = np.broadcast_to(scales, (rows, groups))
    config = compressed_config("pack-quantized" if packed else "int-quantized", bits, "int", symmetric, strategy,
                               32 if strategy == "group" else None)
    fits = not act_order and columns % 32 == 0 and (bits == 4 or symmetric)
    small = "q8_0" if bits == 8 else "q4_0" if symmetric else "q5_0"
    kind = "f32" if not fits else small if scale_kind == "BF16" else "i8_32"
    write(name, config, tensors, {"a.weight": grouped(full, quants, zeros, group_of)}, {"a.weight": kind})


def compressed_floats(name, strategy):
    rng = seeded(name)
    rows, columns, block = 20, 96, (8, 32)
    codes = finite_codes(rng, (rows, columns), "F8_E4M3")
    shape = {"tensor": (1,), "channel": (rows, 1), "block": (3, 3)}[strategy]
    stored = Typed("BF16", to_bf16(rng.uniform(0.001, 0.01, shape)))
    full = scale = from_bf16(stored.array)
    extra = {}
    if strategy == "block":
        extra["block_structure"] = list(block)
        full = np.repeat(np.repeat(scale, block[0], 0), block[1], 1)[:rows, :columns]
    config = compressed_config("float-quantized", 8, "float", True, strategy, **extra)
    config["config_groups"]["group_0"]["input_activations"] = {"num_bits": 8, "type": "float", "dynamic": True, "strategy": "token"}
    tensors = {"a.weight": Typed("F8_E4M3", codes), "a.weight_scale": stored}
    write(name, config, tensors, {"a.weight": e4m3(codes) * full}, {"a.weight": "e4m3_32"})


def compressed_four_bit_floats(name, form):
    rng = seeded(name)
    rows, columns = 8, 64
    codes = rng.integers(0, 16, (rows, columns))
    group = 16 if form == "nvfp4-pack-quantized" else 32
    tensors = {"a.weight_packed": (codes[:, 0::2] | codes[:, 1::2] << 4).astype(np.uint8)}
    if group == 16:
        stored = finite_codes(rng, (rows, columns // group), "F8_E4M3") & 0x7F
        whole = np.array([rng.uniform(100, 1000)], np.float32)
        tensors |= {"a.weight_scale": Typed("F8_E4M3", stored), "a.weight_global_scale": whole}
        scales = e4m3(stored) / whole
    else:
        stored = rng.integers(110, 125, (rows, columns // group)).astype(np.uint8)
        tensors["a.weight_scale"] = stored
        scales = e8m0(stored)
    config = compressed_config(form, 4, "float", True, "tensor_group" if group == 16 else "group", group)
    values = e2m1(codes) * np.repeat(scales, group, 1)
    write(name, config, tensors, {"a.weight": values}, {"a.weight": "f32" if group == 16 else "mxfp4"})


# --- MXFP4 of experts ---

def mxfp4(name):
    rng = seeded(name)
    experts, rows, groups = 2, 12, 2
    codes = rng.integers(0, 16, (experts, rows, groups, 32))
    scales = rng.integers(110, 130, (experts, rows, groups)).astype(np.uint8)
    values = (e2m1(codes) * e8m0(scales)[..., None]).reshape(experts, rows, groups * 32).transpose(0, 2, 1)
    tensors = {"experts.gate_up_proj_blocks": (codes[..., 0::2] | codes[..., 1::2] << 4).astype(np.uint8),
               "experts.gate_up_proj_scales": scales,
               "experts.gate_up_proj_bias": rng.standard_normal((experts, rows)).astype(np.float32)}
    config = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    write(name, config, tensors, {"experts.gate_up_proj": values}, {"experts.gate_up_proj": "bf16"})


def main():
    gptq("gptq-2bit", 2, False)
    gptq("gptq-3bit", 3, False)
    gptq("gptq-4bit-rows", 4, True, group_size=-1)
    gptq("gptq-4bit-act-order", 4, False, act_order=True, static_groups=False)
    gptq("gptq-4bit-v2", 4, False, version=2, pack_dtype="int32")
    gptq("gptq-4bit-bf16", 4, False, kind="BF16")
    gptq("gptq-8bit", 8, False)
    gptq("gptq-8bit-symmetric", 8, True)
    gptq("gptq-4bit-older", 4, True, beside="quantize_config.json", static_groups=False, model_name_or_path=None)
    awq("awq-gemm", "gemm")
    awq("awq-gemm-older", "gemm", 64, "quant_config.json")
    awq("awq-gemv", "gemv")
    awq("awq-gemv-64", "gemv", 64)
    bitsandbytes_four_bit("bitsandbytes-nf4", "nf4", False, "BF16")
    bitsandbytes_four_bit("bitsandbytes-fp4-nested", "fp4", True)
    bitsandbytes_four_bit("bitsandbytes-nf4-odd", "nf4", False, odd=True)
    bitsandbytes_four_bit("bitsandbytes-fp4-odd", "fp4", True, odd=True)
    bitsandbytes_eight_bit("bitsandbytes-int8", 64)
    bitsandbytes_eight_bit("bitsandbytes-int8-odd", 24)
    fp8("fp8-tensor")
    fp8("fp8-e5m2", kind="F8_E5M2")
    fp8("fp8-rows", scale_of="row", scale_kind="BF16", method="fbgemm_fp8")
    fp8("fp8-blocks", scale_of="block")
    fp8("fp8-blocks-odd", scale_of="block", odd=True)
    fp8("fp8-blocks-e8m0", scale_of="block", scale_kind="F8_E8M0")
    compressed_integers("compressed-int4-group", 4, True, "group")
    compressed_integers("compressed-int4-zeros", 4, False, "group")
    compressed_integers("compressed-int4-order", 4, False, "group", act_order=True)
    compressed_integers("compressed-int4-odd", 4, True, "channel", columns=44)
    compressed_integers("compressed-int8-packed", 8, True, "channel")
    compressed_integers("compressed-int8-rows", 8, True, "channel", packed=False)
    compressed_integers("compressed-int8-f32-scales", 8, True, "channel", packed=False, scale_kind="F32")
    compressed_integers("compressed-int8-zeros", 8, False, "channel", packed=False, scale_kind="F32")
    compressed_integers("compressed-int8-tensor", 8, False, "tensor", packed=False)
    compressed_floats("compressed-fp8-tensor", "tensor")
    compressed_floats("compressed-fp8-rows", "channel")
    compressed_floats("compressed-fp8-blocks", "block")
    compressed_four_bit_floats("compressed-nvfp4", "nvfp4-pack-quantized")
    compressed_four_bit_floats("compressed-mxfp4", "mxfp4-pack-quantized")
    mxfp4("mxfp4-experts")


main()

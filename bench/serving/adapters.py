"""Writes random adapters in PEFT's layout, for measuring: their values mean nothing, their shapes are those of real ones."""
import array
import json
import random
import struct
from pathlib import Path

TABLE = 1 << 16


def tensor_bytes(table, rng, count):
    """`count` floats from a table of random ones, from another place each time."""
    begin = rng.randrange(TABLE)
    whole = (table[begin:] + table[:begin]) * (count // TABLE + 1)
    return whole[:count].tobytes()


def write_adapter(folder, modules, rank, seed, deviation=0.02):
    """`modules`: {module path: (in features, out features)}. `deviation`: of the factors' elements."""
    rng = random.Random(seed)
    table = array.array("f", (rng.gauss(0, deviation) for _ in range(TABLE)))
    header, data = {}, []
    offset = 0
    for path, (n_in, n_out) in modules.items():
        for part, shape in (("lora_A", [rank, n_in]), ("lora_B", [n_out, rank])):
            block = tensor_bytes(table, rng, shape[0] * shape[1])
            header[f"base_model.model.{path}.{part}.weight"] = {"dtype": "F32", "shape": shape,
                                                                "data_offsets": [offset, offset + len(block)]}
            offset += len(block)
            data.append(block)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "adapter_model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.writelines(data)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": rank, "lora_dropout": 0.0, "bias": "none",
              "inference_mode": True, "target_modules": sorted({path.rsplit(".", 1)[1] for path in modules})}
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def decoder_modules(layers, hidden, key_value, inner, names):
    """Linear modules of a decoder with gated feed-forward layers, those whose last name is in `names`."""
    shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (hidden, key_value),
              "self_attn.v_proj": (hidden, key_value), "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (hidden, inner),
              "mlp.up_proj": (hidden, inner), "mlp.down_proj": (inner, hidden)}
    return {f"model.layers.{i}.{path}": shape for i in range(layers) for path, shape in shapes.items()
            if path.rsplit(".", 1)[1] in names}

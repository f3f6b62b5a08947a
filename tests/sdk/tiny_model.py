"""A random checkpoint for sdk/examples/arch-tiny and its forward pass in plain Python, independent of the project."""
import json
import math
import random
import struct

CONFIG = {"model_type": "attention-only", "num_hidden_layers": 2, "hidden_size": 16, "vocab_size": 23,
          "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0}


def tensors(seed=5):
    """Hub name to (shape, values)."""
    rng = random.Random(seed)
    d, vocab = CONFIG["hidden_size"], CONFIG["vocab_size"]
    shapes = {"model.embed_tokens.weight": (vocab, d), "model.norm.weight": (d,)}
    for i in range(CONFIG["num_hidden_layers"]):
        shapes[f"model.layers.{i}.norm.weight"] = (d,)
        for name in "qkvo":
            shapes[f"model.layers.{i}.self_attn.{name}_proj.weight"] = (d, d)
    # Rounded to f32, as the file stores them.
    f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    return {name: (shape, [f32(rng.gauss(0, 0.5)) for _ in range(math.prod(shape))]) for name, shape in shapes.items()}


def write(folder):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    header, data = {}, b""
    for name, (shape, values) in tensors().items():
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def read_safetensors(path):
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    result = {}
    for name, info in json.loads(content[8:8 + size]).items():
        if info.get("dtype") == "F32":
            begin, end = info["data_offsets"]
            result[name] = struct.unpack(f"<{(end - begin) // 4}f", content[8 + size + begin:8 + size + end])
    return result


def matvec(weight, x):
    (rows, columns), values = weight
    return [sum(values[r * columns + c] * x[c] for c in range(columns)) for r in range(rows)]


def rms_norm(weight, x):
    scale = 1 / math.sqrt(sum(v * v for v in x) / len(x) + CONFIG["rms_norm_eps"])
    return [v * scale * w for v, w in zip(x, weight[1])]


def rotate(x, position, heads):
    """Element i of a head turns with element i + half (Su et al. 2021, in the Hub's layout)."""
    size = len(x) // heads
    half = size // 2
    out = list(x)
    for h in range(heads):
        for i in range(half):
            angle = position * CONFIG["rope_theta"] ** (-2 * i / size)
            a, b = x[h * size + i], x[h * size + i + half]
            out[h * size + i] = a * math.cos(angle) - b * math.sin(angle)
            out[h * size + i + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


def attention(w, at, states):
    heads = CONFIG["num_attention_heads"]
    size = CONFIG["hidden_size"] // heads
    q, k, v = ([matvec(w[f"{at}.{n}_proj.weight"], x) for x in states] for n in "qkv")
    q, k = ([rotate(x, position, heads) for position, x in enumerate(rows)] for rows in (q, k))
    result = []
    for t in range(len(states)):
        row = []
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            scores = [sum(a * b for a, b in zip(q[t][part], k[s][part])) / math.sqrt(size) for s in range(t + 1)]
            weights = [math.exp(score - max(scores)) for score in scores]
            row += [sum(wt * v[s][h * size + j] for s, wt in enumerate(weights)) / sum(weights) for j in range(size)]
        result.append(matvec(w[f"{at}.o_proj.weight"], row))
    return result


def logits(tokens):
    """[T][V] in double precision."""
    w = tensors()
    d = CONFIG["hidden_size"]
    table = w["model.embed_tokens.weight"]
    x = [list(table[1][t * d:(t + 1) * d]) for t in tokens]
    for i in range(CONFIG["num_hidden_layers"]):
        normed = [rms_norm(w[f"model.layers.{i}.norm.weight"], row) for row in x]
        added = attention(w, f"model.layers.{i}.self_attn", normed)
        x = [[a + b for a, b in zip(row, more)] for row, more in zip(x, added)]
    return [matvec(table, rms_norm(w["model.norm.weight"], row)) for row in x]

#!/usr/bin/env python3
"""A family that nobody has heard of runs from a YAML file outside the tree: found by --arch-path, by $LLMHOST_ARCH_PATH and in the
user's own folder, with the numbers of a forward pass written here. And `llmhost arch new` gives a file that works.

usage: new_family_test.py LLMHOST
"""
import json
import math
import random
import shutil
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "cli"))
from command import CommandTest, numbers, read_safetensors
from program import main
from tiny_model import matvec

GOLDEN = Path(__file__).resolve().parents[1] / "data" / "goldens" / "llama-gqa"
CONFIG = {"model_type": "borealis", "depth": 2, "width": 16, "words": 23, "n_heads": 4, "n_groups": 2, "inner": 40, "positions": 64,
          "tiny": 1e-5, "turn": 5000.0, "bend": "gelu_new", "loudness": 3.0}
# Attention and feed-forward side by side behind one norm, neighbouring elements rotated, a plain feed-forward block.
DESCRIPTION = """\
schema: 1
name: borealis
model_types: [borealis]
sizes: {layers: $depth, hidden: $width, vocab: $words, heads: $n_heads, kv_heads: $n_groups, context: $positions}
norm: {kind: layer, eps: $tiny, bias: true}
embedding: {module: core.words, scale: $loudness}
layer:
  module: core.stage.{i}
  blocks:
    - {norm: pre, run: [attention, mlp]}
attention:
  module: mix
  q: ask
  k: offer
  v: carry
  out: join
  bias: false
  out_bias: false
  rope: {style: interleaved, theta: $turn}
mlp: {module: ff, kind: plain, up: enter, down: leave, width: $inner, activation: $bend, bias: true}
head: {norm: core.last, module: speak, tied: false}
"""
TOKENS = [1, 5, 7, 22, 0, 5, 11]


def tensors():
    """Stored name to (shape, values), rounded to f32 as the file has them."""
    rng = random.Random(11)
    width, inner, words = CONFIG["width"], CONFIG["inner"], CONFIG["words"]
    groups = CONFIG["n_groups"] * width // CONFIG["n_heads"]
    shapes = {"core.words.weight": (words, width), "speak.weight": (words, width), "core.last.weight": (width,), "core.last.bias": (width,)}
    for i in range(CONFIG["depth"]):
        at = f"core.stage.{i}."
        shapes |= {at + "pre.weight": (width,), at + "pre.bias": (width,),
                   at + "mix.ask.weight": (width, width), at + "mix.offer.weight": (groups, width),
                   at + "mix.carry.weight": (groups, width), at + "mix.join.weight": (width, width),
                   at + "ff.enter.weight": (inner, width), at + "ff.enter.bias": (inner,),
                   at + "ff.leave.weight": (width, inner), at + "ff.leave.bias": (width,)}
    f32 = lambda x: struct.unpack("f", struct.pack("f", x))[0]
    return {name: (shape, [f32(rng.gauss(0, 0.4)) for _ in range(math.prod(shape))]) for name, shape in shapes.items()}


def write_model(folder, config=CONFIG):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    header, data = {}, b""
    for name, (shape, values) in tensors().items():
        part = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def layer_norm(w, name, x):
    mean = sum(x) / len(x)
    scale = 1 / math.sqrt(sum((v - mean) ** 2 for v in x) / len(x) + CONFIG["tiny"])
    return [(v - mean) * scale * g + b for v, g, b in zip(x, w[name + ".weight"][1], w[name + ".bias"][1])]


def rotate(head, position):
    """Elements 2n and 2n + 1 are a point that turns."""
    out = []
    for n in range(0, len(head), 2):
        angle = position * CONFIG["turn"] ** (-n / len(head))
        a, b = head[n:n + 2]
        out += [a * math.cos(angle) - b * math.sin(angle), b * math.cos(angle) + a * math.sin(angle)]
    return out


def gelu(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


def attention(w, at, states):
    size = CONFIG["width"] // CONFIG["n_heads"]
    share = CONFIG["n_heads"] // CONFIG["n_groups"]
    heads = lambda row: [row[n:n + size] for n in range(0, len(row), size)]
    ask, offer, carry = ([heads(matvec(w[f"{at}mix.{name}.weight"], x)) for x in states] for name in ("ask", "offer", "carry"))
    ask, offer = ([[rotate(head, t) for head in row] for t, row in enumerate(rows)] for rows in (ask, offer))
    result = []
    for t in range(len(states)):
        row = []
        for h in range(CONFIG["n_heads"]):
            scores = [sum(a * b for a, b in zip(ask[t][h], offer[s][h // share])) / math.sqrt(size) for s in range(t + 1)]
            weights = [math.exp(score - max(scores)) for score in scores]
            row += [sum(wt * carry[s][h // share][j] for s, wt in enumerate(weights)) / sum(weights) for j in range(size)]
        result.append(matvec(w[at + "mix.join.weight"], row))
    return result


def feed_forward(w, at, x):
    inner = [gelu(v + b) for v, b in zip(matvec(w[at + "ff.enter.weight"], x), w[at + "ff.enter.bias"][1])]
    return [v + b for v, b in zip(matvec(w[at + "ff.leave.weight"], inner), w[at + "ff.leave.bias"][1])]


def logits():
    """[T][V] in double precision."""
    w = tensors()
    width = CONFIG["width"]
    table = w["core.words.weight"][1]
    x = [[CONFIG["loudness"] * v for v in table[t * width:(t + 1) * width]] for t in TOKENS]
    for i in range(CONFIG["depth"]):
        at = f"core.stage.{i}."
        normed = [layer_norm(w, at + "pre", row) for row in x]
        mixed = attention(w, at, normed)
        x = [[a + b + c for a, b, c in zip(row, more, feed_forward(w, at, n))] for row, more, n in zip(x, mixed, normed)]
    return [matvec(w["speak.weight"], layer_norm(w, "core.last", row)) for row in x]


class NewFamilyTest(CommandTest):
    def logits_of(self, model, prompt, *arguments, **more):
        job = self.write("tokens.json", {"prompts": [prompt]})
        out = self.folder / "out.safetensors"
        self.output("logits", model, "--tokens", job, "--out", out, *arguments, **more)
        return numbers(read_safetensors(out)["logits_0"])

    def assert_right(self, actual):
        expected = sum(logits(), [])
        worst = max(abs(a - e) for a, e in zip(actual, expected, strict=True))
        # f32 against doubles, logits up to 7: 2e-6 is usual; halves instead of neighbours, or one residual after the other, gives
        # more than 0.1.
        self.assertLess(worst, 5e-5)

    def setUp(self):
        super().setUp()
        self.model = write_model(self.folder / "model")

    def test_a_file_on_the_command_line(self):
        archs = self.folder / "archs"
        archs.mkdir()
        (archs / "borealis.yaml").write_text(DESCRIPTION)
        for path in (archs, archs / "borealis.yaml"):
            self.assert_right(self.logits_of(self.model, TOKENS, "--arch-path", path))
        about = self.json("show", self.model, "--arch-path", archs)
        self.assertFalse(about["architecture"]["inferred"])
        self.assertEqual(about["warnings"], [])

    def test_a_folder_of_the_environment(self):
        (self.folder / "borealis.yaml").write_text(DESCRIPTION)
        self.assert_right(self.logits_of(self.model, TOKENS, variables={"LLMHOST_ARCH_PATH": str(self.folder)}.items()))

    def test_the_users_own_folder(self):
        own = self.folder / "data" / "llmhost" / "archs"
        own.mkdir(parents=True)
        (own / "borealis.yaml").write_text(DESCRIPTION)
        self.assert_right(self.logits_of(self.model, TOKENS))

    def test_what_the_description_does_not_know_is_refused(self):
        path = self.write("borealis.yaml", DESCRIPTION)
        more = write_model(self.folder / "more", CONFIG | {"loudness_of_logits": 2.0})
        self.refused(1, "loudness_of_logits", "graph", more, "--arch-path", path)
        self.write("borealis.yaml", DESCRIPTION.replace("interleaved", "twisted"))
        self.refused(1, "twisted", "graph", self.model, "--arch-path", path)

    def test_a_description_to_start_with(self):
        self.output("arch", "new", "aurora")
        self.refused(1, "aurora.yaml is there already", "arch", "new", "aurora")
        self.refused(2, "a name is made of", "arch", "new", "Aurora/")
        model = self.folder / "renamed"
        shutil.copytree(GOLDEN, model)
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"model_type": "aurora"}))
        expected = read_safetensors(model / "expected.safetensors")
        actual = self.logits_of(model, list(numbers(expected["input_ids_0"])), "--arch-path", self.folder / "aurora.yaml")
        worst = max(abs(a - e) for a, e in zip(actual, numbers(expected["logits_0"]), strict=True))
        limit = json.loads((model / "expected.json").read_text())["tolerance"]["f32"]["max_abs"]
        self.assertLess(worst, limit)


if __name__ == "__main__":
    main()

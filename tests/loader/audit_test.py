#!/usr/bin/env python3
"""Checkpoints that are not quite what they should be are refused by name: for golden cases of different families one tensor too
many, each kind of tensor missing, each kind with another shape, and a key that may change the maths.

usage: audit_test.py LLMHOST
"""
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from checkpoint_edit import Gguf, Safetensors

GOLDENS = Path(__file__).resolve().parents[1] / "data" / "goldens"
HUB = ["bloom", "cohere2", "dbrx", "falcon-7b", "gemma2", "gemma3-text", "gpt-neox-pythia", "gpt2", "llama-rope-llama3", "mistral-swa",
       "mixtral", "mpt", "phi2", "phi3-longrope", "qwen2-moe-mixed", "qwen3"]
GGUF = {"gguf-q8_0": "llama.attention.wiggle", "gguf-gpt2-q8_0": "gpt2.attention.wiggle",
        "gguf-starcoder2-q8_0": "starcoder2.attention.wiggle"}
# Stored by older checkpoints and used by nobody: it may be there, be missing, have any shape.
BUFFERS = re.compile(r"inv_freq$|attn\.(masked_)?bias$|attention\.(masked_)?bias$")

# Without an output layer of its own a model uses its embeddings: the family's default, or what GGUF files mean.
TIED = {"falcon-7b": ["lm_head.weight"], "gguf-q8_0": ["output.weight"]}


def kinds(names):
    """One tensor of each kind: of the second layer, or expert, where there is one."""
    chosen = {}
    for name in names:
        if not BUFFERS.search(name):
            kind = re.sub(r"\.\d+(?=\.)", ".N", name)
            if kind not in chosen or re.search(r"\.1\.", name):
                chosen[kind] = name
    return list(chosen.values())


class AuditTest(unittest.TestCase):
    program = None

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="llmhost-audit-")
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def load(self, path):
        keep = {key: value for key, value in os.environ.items() if not key.startswith("LLMHOST_")}
        return subprocess.run([self.program, "graph", path], capture_output=True, text=True, check=False, timeout=60,
                              env=keep | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)})

    def refused(self, path, name):
        done = self.load(path)
        self.assertEqual((done.returncode, done.stdout), (1, ""), f"not refused; {done.stderr}")
        # What a plugin has to say about a config comes before, in lines of its own.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("warning: plugin ")]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertTrue(lines[0].startswith("llmhost: "), done.stderr)
        # Experts that are stacked are counted together.
        self.assertRegex(lines[0], f"{re.escape(name)}|{re.escape(re.sub(r'experts[.][0-9]+', 'experts.{j}', name))}")

    def audit(self, case, model, key):
        done = self.load(model.write(self.folder))
        self.assertEqual(done.returncode, 0, done.stderr)
        with self.subTest(case=case, added="tensor"):
            name = sorted(model.tensors)[0].rsplit(".", 1)[0] + ".mystery.weight"
            self.refused(model.write(self.folder, model.tensors | {name: model.extra()}), name)
        with self.subTest(case=case, added=key):
            self.refused(model.write(self.folder, **model.with_key(key, 2.0)), key.rsplit(".", 1)[-1])
        for part in model.objects():
            with self.subTest(case=case, added=f"{part}.{key}"):
                self.refused(model.write(self.folder, **model.with_key(part, model.config[part] | {key: 2.0})), f"{part}.{key}")
        for name in kinds(model.tensors):
            with self.subTest(case=case, missing=name):
                if name in TIED.get(case, ()):
                    continue
                self.refused(model.write(self.folder, {other: tensor for other, tensor in model.tensors.items() if other != name}), name)
            with self.subTest(case=case, longer=name):
                self.refused(model.write(self.folder, model.tensors | {name: model.longer(name)}), name)


def add(method, case, make, key):
    setattr(AuditTest, method, lambda self: self.audit(case, make(), key))


for hub in HUB:
    add("test_" + re.sub(r"\W", "_", hub), hub, lambda hub=hub: Safetensors(GOLDENS / hub), "attention_wiggle")
for gguf, wiggle in GGUF.items():
    add("test_" + re.sub(r"\W", "_", gguf), gguf, lambda gguf=gguf: Gguf(GOLDENS / gguf / "model.gguf"), wiggle)

if __name__ == "__main__":
    AuditTest.program = sys.argv.pop(1)
    unittest.main()

#!/usr/bin/env python3
"""A real model against its reference data: SmolLM2-135M-Instruct (Q4_1) or Gemma-3-270M (Q4_K_M).

usage: real_model_test.py NAME LLMHOST [TEST...]

NAME is that of scripts/fetch_model.py. The model is the environment's (LLMHOST_SMOLLM2, LLMHOST_GEMMA3), or what
fetch_model.py put into the cache folder; without it the exit code is 77.
"""
import base64
import json
import os
import struct
import sys
import unittest
from pathlib import Path

from command import CommandTest, numbers, read_lines
from program import environment, main

FOLDERS = Path(__file__).resolve().parents[1] / "data"
TEXT = FOLDERS / "smollm2" / "botchan_excerpt.txt"
MODELS = {  # folder of the data, environment, file
    "smollm2-135m-instruct": ("smollm2", "LLMHOST_SMOLLM2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
    "gemma-3-270m": ("gemma3-270m", "LLMHOST_GEMMA3", "gemma-3-270m-q4_k_m.gguf"),
}
NAME = sys.argv.pop(1)
DATA = FOLDERS / MODELS[NAME][0]
SCORING_S = 600  # thousands of tokens, on a busy machine
NEAR_TIE = 0.1  # greedy.json: with other arithmetic the two highest logits may swap when they are nearer than this


def find_model():
    _, variable, file = MODELS[NAME]
    if variable in os.environ:
        return Path(os.environ[variable])
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llmhost"
    return Path(os.environ.get("LLMHOST_CACHE") or cache) / "models" / file


MODEL = find_model()


def load(name):
    return json.loads((DATA / name).read_text())


only_smollm2 = unittest.skipIf(NAME != "smollm2-135m-instruct", "of the default model alone")
only_gemma3 = unittest.skipIf(NAME != "gemma-3-270m", "of the model with windows alone")


class Safetensors:
    """Tensors of a large file, each read when it is asked for."""

    def __init__(self, file):
        self.file = file
        (size,) = struct.unpack("<Q", self.file.read(8))
        self.header = json.loads(self.file.read(size))
        self.begin = 8 + size

    def row(self, name, index=0):
        entry = self.header[name]
        width = 4 * entry["shape"][-1]
        self.file.seek(self.begin + entry["data_offsets"][0] + index * width)
        return numbers((entry["dtype"], None, self.file.read(width)))


class GreedyTest(CommandTest):
    def test_continuations(self):
        prompts = load("greedy.json")["prompts"]
        job = self.write("tokens.json", {"prompts": [p["input_ids"] for p in prompts], "generate": 48})
        self.output("logits", MODEL, "--tokens", job, "--out", self.folder / "out.safetensors")
        with (self.folder / "out.safetensors").open("rb") as file:
            self.compare(prompts, Safetensors(file))

    def compare(self, prompts, tensors):
        for i, prompt in enumerate(prompts):
            ids, expected = list(tensors.row(f"tokens_{i}")), prompt["greedy_ids"]
            self.assertEqual(len(ids), len(expected))
            step = next((k for k, (a, b) in enumerate(zip(ids, expected)) if a != b), None)
            if step is None:
                continue
            row = tensors.row(f"gen_logits_{i}", step)
            gap = row[ids[step]] - row[expected[step]]
            print(f"prompt {i}, step {step}: {ids[step]} instead of {expected[step]}, {gap:.4f} higher; "
                  f"the reference's margin is {prompt['margins'][step]:.4f}", file=sys.stderr)
            self.assertLess(prompt["margins"][step], NEAR_TIE, f"prompt {i}, step {step}")
            self.assertLess(gap, NEAR_TIE, f"prompt {i}, step {step}")

    @only_smollm2
    def test_a_chat_from_text_to_text(self):
        prompt = load("greedy.json")["prompts"][0]
        (message,) = prompt["messages"]
        answer = self.json("run", MODEL, message["content"], "--temperature", 0, "--kv-dtype", "f32",
                           "--precision", "f32", "--show-prompt", "-n", 48)
        self.assertEqual(answer["prompt"], {"text": prompt["rendered"], "ids": prompt["input_ids"]})
        self.assertEqual((answer["text"], answer["finish_reason"]), (prompt["text_until_eos"], "stop"))

    @only_gemma3
    def test_a_text_continued(self):
        # All margins of this prompt are above 0.1.
        prompt = load("greedy.json")["prompts"][3]
        answer = self.json("run", MODEL, prompt["text"], "--raw", "--temperature", 0, "--kv-dtype", "f32",
                           "--precision", "f32", "--show-prompt", "-n", 16)
        self.assertEqual(answer["prompt"]["ids"], prompt["input_ids"])
        self.assertTrue(prompt["greedy_text"].startswith(answer["text"]), answer["text"])


class ScoreTest(CommandTest):
    def test_mean_nll(self):
        # Both sides dequantise the weights and compute in f32: 0.3 % leaves room for the order of sums alone.
        expected = load("nll.json")
        score = self.json("perplexity", MODEL, TEXT, "--window", expected["size"], "--windows", 8, timeout=SCORING_S)
        print(f"mean NLL {score['mean_nll']:.6f}, reference {expected['mean_nll']:.6f}", file=sys.stderr)
        self.assertEqual(len(score["mean_nll_per_window"]), 8)
        self.assertAlmostEqual(score["mean_nll"], expected["mean_nll"], delta=0.003 * expected["mean_nll"])
        for actual, reference in zip(score["mean_nll_per_window"], expected["mean_nll_per_window"], strict=True):
            self.assertAlmostEqual(actual, reference, delta=0.003 * reference)

    @only_gemma3
    def test_mean_nll_beyond_the_window(self):
        expected = load("nll.json")["one_context"]
        score = self.json("perplexity", MODEL, TEXT, "--window", expected["size"], "--windows", 1, timeout=SCORING_S)
        self.assertAlmostEqual(score["mean_nll"], expected["mean_nll"], delta=0.003 * expected["mean_nll"])


class TokenizerTest(CommandTest):
    def tokenize(self, rows):
        out = self.folder / "out.jsonl"
        self.output("tokenize", MODEL, "--jsonl", self.write_lines("in.jsonl", rows), "--out", out)
        return read_lines(out)

    def test_the_text_of_the_windows(self):
        (answer,) = self.tokenize([{"text": (TEXT).read_text()}])
        expected = load("text_token_ids.json")
        self.assertEqual(answer["ids"][:len(expected)], expected)

    def test_vectors(self):
        texts = [v for v in read_lines(DATA / "tokenizer_vectors.jsonl") if "text" in v]
        self.assertGreaterEqual(len(texts), 50)
        for key, options in (("ids", {}), ("ids_with_special", {"add_special": True}), ("ids_no_parse", {"parse_special": False})):
            chosen = [v for v in texts if key in v]
            answers = self.tokenize([{"text": v["text"], **options} for v in chosen])
            for vector, answer in zip(chosen, answers, strict=True):
                self.assertEqual(answer["ids"], vector[key], (key, vector["text"]))
                if key == "ids":
                    self.assertEqual(answer["decoded"], vector["decoded"], vector["text"])

    def test_bytes_that_are_no_text(self):
        # They cannot stand in JSON, and no two engines agree on their ids: they must be taken and give valid text.
        for vector in read_lines(DATA / "tokenizer_vectors.jsonl"):
            if "text_b64" in vector:
                code, out, _ = self.call("tokenize", MODEL, "--json", stdin=base64.b64decode(vector["text_b64"]))
                self.assertEqual((code, bool(json.loads(out)["ids"])), (0, True))


@only_smollm2
class MemoryTest(CommandTest):
    def peak_resident_bytes(self, *arguments):
        pid = os.fork()
        if pid == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            os.execve(self.program, [self.program, *map(str, arguments)], environment(self.folder))
        _, status, usage = os.wait4(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        return usage.ru_maxrss * 1024

    def test_fit_foresees_the_peak(self):
        text = (TEXT).read_text()[:1500]
        for context in (512, 8192):
            predicted = self.json("fit", MODEL, "--context", context)["total"]
            measured = self.peak_resident_bytes("run", MODEL, text, "--raw", "--context", context, "-n", 8)
            print(f"context {context}: fit {predicted} bytes, measured {measured}, {predicted / measured:.3f}", file=sys.stderr)
            self.assertLess(abs(predicted / measured - 1), 0.1)


if __name__ == "__main__":
    if not MODEL.is_file():
        print(f"skipped: {MODEL} is not there; scripts/fetch_model.py fetches it, or name it in {MODELS[NAME][1]}")
        sys.exit(77)
    main()

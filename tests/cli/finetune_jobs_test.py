#!/usr/bin/env python3
"""llmhost finetune and fit --train with a tiny chat model: preflight, logs, refusals, the example jobs.

Interruptions and resuming: finetune_test.py."""
import json
import re
import struct
import unittest
from pathlib import Path

from command import CommandTest
from program import main

MODEL = Path(__file__).resolve().parents[1] / "data" / "models" / "tiny_chat"
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "finetune"
QUESTIONS = ["What is the capital of France?", "How many legs has a spider?", "Write a sentence about the sea.", "And a dog?"]
ANSWERS = ["Paris.", "Eight.", "The sea is wide and the wind is cold.", "Four."]
JOB = """
model: model
output: out
method: {name: lora, r: 4, target_modules: [q_proj, v_proj], lora_dropout: 0.1}
data: {train: rows.jsonl, max_length: 128}
training: {max_steps: 12, batch_size: 3, learning_rate: 1.0e-2, scheduler: linear, warmup_steps: 2}
log: {trace: out.jsonl}
"""


def chat(*turns):
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)]}


def rows():
    return [chat(question, answer) for question, answer in zip(QUESTIONS, ANSWERS)] * 5 + [chat(*sum(zip(QUESTIONS, ANSWERS), ()))]


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def fields(message):
    """(number, value) of each field of a protocol buffer message."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
        elif kind == 2:
            size, at = varint(message, at)
            value, at = message[at:at + size], at + size
        else:
            size = {1: 8, 5: 4}[kind]
            value, at = message[at:at + size], at + size
        yield key >> 3, value


def scalars(path):
    """{(tag, step): value} of an event file of TensorBoard."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        size = struct.unpack_from("<Q", data, at)[0]
        event = dict(fields(data[at + 12:at + 12 + size]))
        for number, value in fields(event.get(5, b"")):
            scalar = dict(fields(value))
            found[scalar[1].decode(), event.get(2, 0)] = struct.unpack("<f", scalar[2])[0]
        at += 16 + size
    return found


class FinetuneTest(CommandTest):
    def setUp(self):
        super().setUp()
        (self.folder / "model").symlink_to(MODEL)
        self.write("rows.jsonl", "\n".join(map(json.dumps, rows())))
        self.write("job.yaml", JOB)

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def finetune(self, *arguments, code=0):
        result, out, errors = self.call("finetune", "-c", self.folder / "job.yaml", *arguments)
        self.assertEqual(result, code, errors)
        return out, errors

    def fault(self, *arguments, code=2):
        result, _, errors = self.call("finetune", "-c", self.folder / "job.yaml", *arguments)
        self.assertEqual(result, code, errors)
        return errors.splitlines()[-1]

    def trace(self, name="out.jsonl"):
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]


class RunTest(FinetuneTest):
    def test_preflight(self):
        _, shown = self.finetune("--dry-run")
        self.assertFalse((self.folder / "out").exists())
        self.assertIn("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n[[Paris.<|im_end|>]]\n", shown)
        self.assertEqual(len(re.findall(r"(?m)^--- \d$", shown)), 3)
        for name in ("model", "method", "data", "steps", "memory", "output"):
            self.assertRegex(shown, rf"(?m)^  {name} +\S")
        self.assertRegex(shown, r"method +lora, 896 of 28832 values trained \(3.11 %\)")
        self.assertRegex(shown, r"steps +12\n")

    def test_logs(self):
        self.finetune("--set", "log.tensorboard=" + str(self.folder / "tb"), "--set", "log.plot=" + str(self.folder / "loss.svg"),
                      "--set", "data.eval_fraction=0.2", "--set", "training.eval_every=4")
        steps = [line for line in self.trace() if "loss" in line]
        self.assertEqual([line["step"] for line in steps], list(range(1, 13)))
        for line, rate in zip(steps, (0, 0.005, 0.01, 0.009)):
            self.assertAlmostEqual(line["lr"], rate, delta=1e-15)
        self.assertEqual([line["step"] for line in self.trace() if "eval_loss" in line], [4, 8, 12])
        losses = [line["loss"] for line in steps]
        self.assertLess(sum(losses[-4:]), sum(losses[:4]))  # single steps see other rows each
        (events,) = (self.folder / "tb").iterdir()
        shown = scalars(events)
        for line in steps:
            for name in ("loss", "grad_norm", "lr"):
                self.assertAlmostEqual(shown[name, line["step"]], line[name], delta=1e-6 * max(1, abs(line[name])))
            self.assertIn(("tokens_per_s", line["step"]), shown)
        self.assertIn(("eval/loss", 8), shown)
        self.assertIn("</svg>", (self.folder / "loss.svg").read_text())

    def test_output_is_an_adapter(self):
        out, _ = self.finetune()
        self.assertEqual(out.strip(), str(self.folder / "out"))
        config = json.loads((self.folder / "out" / "adapter_config.json").read_text())
        self.assertEqual((config["peft_type"], config["r"]), ("LORA", 4))
        answer = self.output("run", MODEL, "--set", f"model.adapter={self.folder / 'out'}", "-n", 5, "One?")
        self.assertTrue(answer)
        self.assertRegex(self.fault(code=1), r"holds what a run made already; go on with --resume")

    def test_settings_on_the_command_line(self):
        self.finetune("--set", "training.max_steps=2", "--method-set", "r=2", "--method-set", "target_modules=[o_proj]")
        config = json.loads((self.folder / "out" / "adapter_config.json").read_text())
        self.assertEqual(config["r"], 2)
        self.assertEqual(len(self.trace()), 2)


class RefusalTest(FinetuneTest):
    def test_keys(self):
        for line, said in {
                "trainning: {}": "unknown key 'trainning'; did you mean 'training'",
                "training: {learning_rat: 1}": "did you mean 'training.learning_rate'",
                "training: {max_steps: x}": "training.max_steps is 'x', expected an integer",
                "training: {patience: 2}": "needs evaluation data",
        }.items():
            kept = "\n".join(each for each in JOB.splitlines() if not each.startswith("training"))
            self.write("job.yaml", kept + "\n" + line + "\n")
            fault = self.fault()
            self.assertRegex(fault, r"job.yaml:\d+:\d+: ")
            self.assertIn(said, fault)

    def test_method(self):
        self.write("job.yaml", JOB.replace("r: 4", "rnk: 4"))
        self.assertRegex(self.fault(), r"job.yaml:4:\d+: .*'rnk'")
        self.write("job.yaml", JOB.replace("name: lora", "name: lorra"))
        self.assertIn("'lorra' found; did you mean 'lora'?", self.fault(code=1))
        self.write("job.yaml", JOB.replace("r: 4", "r: 4, lora_rank: 4"))
        self.assertRegex(self.fault(), r"lora_rank")

    def test_data(self):
        self.write("rows.jsonl", json.dumps(chat("a", "b")) + "\n{\"question\": 1}\n")
        self.assertIn("rows.jsonl:2: ", self.fault(code=1))
        self.write("rows.jsonl", json.dumps({"prompt": "x" * 400, "completion": "y"}))
        fault = self.fault(code=1)
        self.assertRegex(fault, "no token .* is trained on")
        self.assertFalse((self.folder / "out").exists())
        (self.folder / "rows.jsonl").unlink()
        self.assertIn("rows.jsonl: no such file", self.fault(code=1))

    def test_usage(self):
        self.refused(2, "a job file is needed", "finetune")
        self.refused(2, "no/job.yaml", "finetune", "-c", "no/job.yaml")


class ExamplesTest(FinetuneTest):
    """Every job of configs/finetune, shortened, with the tiny model."""

    def test_all(self):
        names = sorted(CONFIGS.glob("*.yaml"))
        self.assertGreaterEqual(len(names), 6)
        for config in names:
            with self.subTest(config.name):
                self.write("job.yaml", config.read_text())
                size = ("training.batch_tokens=1024",) if "packing: true" in config.read_text() else ("training.batch_size=4",)
                settings = [part for each in ("training.max_steps=12", *size) for part in ("--set", each)]
                self.finetune(*settings)
                output = self.folder / re.search(r"(?m)^output: (\S+)", config.read_text()).group(1)
                files = {path.name for path in output.iterdir()}
                self.assertTrue({"adapter_model.safetensors", "model.safetensors"} & files, files)
                self.assertIn("loss.svg", files)


class PlanTest(FinetuneTest):
    def test_fit(self):
        plan = json.loads(self.output("fit", "--train", self.folder / "job.yaml", "--json"))
        self.assertEqual(sum(plan["bytes"].values()), plan["total"])
        self.assertTrue(plan["fits"])
        self.assertEqual(set(plan["bytes"]), {"weights", "parameters", "gradients", "optimizer", "activations", "scratch", "output", "process"})
        self.assertRegex(self.output("fit", "--train", self.folder / "job.yaml"), r"total +\S+ \wiB +fits")

    def test_methods(self):
        methods = json.loads(self.output("finetune", "--methods", "--json"))
        self.assertLessEqual({"full", "lora", "qlora", "dora", "sparse"}, set(methods))
        rank = next(key for key in methods["lora"] if key["name"] == "r")
        self.assertIn("lora_rank", rank["aliases"])


if __name__ == "__main__":
    main()

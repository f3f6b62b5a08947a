#!/usr/bin/env python3
"""llmhost finetune as a process: jobs that are refused, interruptions, kills at random moments, loss that is no number.

usage: finetune_test.py PROGRAM [--kills N]
"""
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

import program

MODEL = program.GGUF
ROWS = [{"prompt": f"Once upon a time there was a {animal}", "completion": f" who liked the {colour} {thing}."}
        for animal, colour, thing in (("cat", "green", "sky"), ("dog", "red", "tree"), ("bird", "blue", "house"), ("fish", "old", "sea"),
                                      ("cow", "new", "moon"), ("fox", "big", "sun"), ("frog", "small", "lake"))]
JOB = """model: {model}
output: {output}
method: {{name: lora, r: 4, lora_dropout: 0.1, target_modules: all-linear}}
data: {{train: rows.jsonl, max_length: 64}}
training: {{max_steps: {steps}, batch_size: 2, learning_rate: 0.003, warmup_steps: 2, checkpoint_every: 7, seed: 5}}
log: {{trace: {output}.jsonl}}
engine: {{threads: {threads}}}
"""
# With all that has a state of its own or draws random numbers: packing, dropout, shuffling, steps of several parts, evaluations,
# the best one kept.
FULL_JOB = """model: {model}
output: {output}
method: {{name: {method}}}
data: {{train: rows.jsonl, eval: eval.jsonl, max_length: 32, packing: true}}
training: {{max_steps: {steps}, batch_tokens: 96, micro_batch_tokens: 40, learning_rate: 0.003, warmup_steps: 2, seed: 5,
           eval_every: 10, checkpoint_every: 7, keep_checkpoints: 1}}
log: {{trace: {output}.jsonl}}
engine: {{threads: 1}}
"""
METHODS = {"lora": "lora, r: 4, lora_dropout: 0.1, target_modules: all-linear, modules_to_save: [lm_head]",
           "qlora": "qlora, r: 4, lora_dropout: 0.1, bnb_4bit_use_double_quant: true, target_modules: all-linear",
           "dora": "dora, r: 4, dropout_rate: 0.1, target_modules: [q_proj, v_proj, down_proj]",
           "sparse": "sparse, sparsity_ratio: 0.5, use_rigl: true, mask_update_interval: 9, mask_update_fraction: 0.3",
           "full": "full"}
EX_TEMPFAIL = 75
KILLS = 5  # of all methods together


class Finetune(unittest.TestCase):
    path = None

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))

    def job(self, output, steps=30, threads=1, change=lambda text: text):
        path = self.folder / f"{output}.yaml"
        path.write_text(change(JOB.format(model=MODEL, output=output, steps=steps, threads=threads)))
        return path

    def begin(self, job, *more):
        return subprocess.Popen([self.path, "finetune", "-c", job, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=program.environment(self.folder))

    def run_job(self, job, *more, code=0):
        process = self.begin(job, *more)
        out, err = process.communicate(timeout=120)
        self.assertEqual(process.returncode, code, err)
        return out, err

    def result(self, output):
        """Digests of what was made, and the trace without what depends on the clock."""
        lines = [json.loads(line) for line in (self.folder / f"{output}.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in line.items() if key not in ("seconds", "tokens_per_s", "memory_bytes")} for line in lines]
        files = [path for path in (self.folder / output).iterdir() if path.is_file()]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}, kept

    def test_a_job_is_done_and_says_what_it_does(self):
        out, err = self.run_job(self.job("one"))
        self.assertEqual(out.strip(), str(self.folder / "one"))
        for said in ("trained", "memory", "[[", "step 30/30"):
            self.assertIn(said, err)
        _, steps = self.result("one")
        self.assertEqual([step["step"] for step in steps], list(range(1, 31)))
        self.assertEqual(steps[0]["lr"], 0)
        self.assertLess(steps[-1]["loss"], steps[0]["loss"])

    def test_the_same_job_gives_the_same_bytes_with_any_number_of_threads(self):
        self.run_job(self.job("one"))
        self.run_job(self.job("two", threads=2))
        self.assertEqual(self.result("one"), self.result("two"))

    def test_checkpointing_changes_nothing_but_memory(self):
        self.run_job(self.job("one"))
        self.run_job(self.job("two", change=lambda text: text.replace("seed: 5", "seed: 5, gradient_checkpointing: true")))
        self.assertEqual(self.result("one"), self.result("two"))

    def test_tokens_need_no_tokenizer(self):
        folder = self.folder / "bare"
        shutil.copytree(program.FOLDER, folder, ignore=shutil.ignore_patterns("tokenizer*", "*.gguf"))
        (self.folder / "rows.jsonl").write_text('{"input_ids": [1, 5, 9, 7], "labels": [-100, 5, 9, 7]}\n')
        self.run_job(self.job("one", steps=2, change=lambda text: text.replace(str(MODEL), str(folder))))

    def test_a_base_is_held_in_4_bits_when_an_adapter_is_trained_on_too(self):
        subprocess.run([self.path, "quantize", program.FOLDER, self.folder / "nf4", "--type", "nf4"], check=True, capture_output=True,
                       env=program.environment(self.folder))
        on_folder = lambda text: text.replace(str(MODEL), str(program.FOLDER))
        self.run_job(self.job("first", steps=3, change=on_folder))
        losses = {}
        for name, model, method in (("held", program.FOLDER, "qlora, bnb_4bit_use_double_quant: true"), ("stored", "nf4", "lora"),
                                    ("plain", program.FOLDER, "lora")):
            self.run_job(self.job(name, steps=2, change=lambda text: "adapter: first\n" + text.replace(str(MODEL), str(model))
                                  .replace("{name: lora, r: 4, lora_dropout: 0.1", f"{{name: {method}, r: 4")))
            losses[name] = [step["loss"] for step in self.result(name)[1]]
        self.assertEqual(losses["held"], losses["stored"])
        self.assertNotEqual(losses["held"], losses["plain"])

    def test_a_dry_run_writes_nothing(self):
        self.run_job(self.job("one"), "--dry-run")
        self.assertFalse((self.folder / "one").exists())

    def test_a_run_that_is_there_already_is_not_overwritten(self):
        job = self.job("one", steps=3)
        self.run_job(job)
        before = self.result("one")
        self.run_job(job, code=1)
        self.assertEqual(self.result("one"), before)

    def test_jobs_that_are_refused_name_the_place(self):
        for change, named in ((("rank", "r: 4", "rnak: 4"), "rnak"), (("lr", "learning_rate", "learning_rat"), "learning_rate"),
                              (("method", "name: lora", "name: lroa"), "lora"), (("section", "training:", "trainig:"), "training"),
                              (("range", "r: 4", "r: 0"), "r"), (("modules", "all-linear", "[nothing]"), "nothing"),
                              (("rows", "rows.jsonl", "none.jsonl"), "none.jsonl")):
            _, err = self.run_job(self.job("bad", change=lambda text: text.replace(change[1], change[2])), code=code_of(change))
            self.assertIn(named, err)
            self.assertEqual(len(err.strip().splitlines()), 1, err)
            self.assertFalse((self.folder / "bad").exists())

    def test_data_without_a_trained_token_is_refused(self):
        (self.folder / "rows.jsonl").write_text('{"input_ids": [1, 2, 3], "labels": [-100, -100, -100]}\n')
        _, err = self.run_job(self.job("bad"), code=1)
        self.assertIn("trained on", err)
        self.assertFalse((self.folder / "bad" / "adapter_model.safetensors").exists())

    @staticmethod
    def break_weight(path, name):
        """Makes the first element of a tensor of f32, f16 or bf16 no number."""
        data = bytearray(path.read_bytes())
        n = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + n])
        begin, width = 8 + n + header[name]["data_offsets"][0], 4 if header[name]["dtype"] == "F32" else 2
        data[begin:begin + width] = b"\xff" * width
        path.write_bytes(data)

    def test_a_loss_that_is_no_number_ends_the_run_and_leaves_nothing_that_looks_finished(self):
        folder = self.folder / "broken"
        shutil.copytree(program.FOLDER, folder)
        self.break_weight(folder / "model.safetensors", "model.layers.2.mlp.up_proj.weight")
        job = self.job("nan", steps=60, change=lambda text: text.replace(str(MODEL), str(folder)))
        _, err = self.run_job(job, code=1)
        self.assertRegex(err, r"not finite|no number")
        self.assertRegex(err, r"step \d+")
        self.assertFalse((self.folder / "nan" / "adapter_model.safetensors").exists())
        self.assertFalse((self.folder / "nan" / "adapter_config.json").exists())

    def wait_for_step(self, output, process):
        trace = self.folder / f"{output}.jsonl"
        while process.poll() is None and not (trace.exists() and trace.read_text().count("\n") > 3):
            time.sleep(0.005)

    def test_signals_write_a_checkpoint_and_the_code_that_asks_for_more(self):
        self.run_job(self.job("one", steps=600))
        for number, kind in enumerate((signal.SIGINT, signal.SIGTERM)):
            output = f"cut{number}"
            job = self.job(output, steps=600)
            process = self.begin(job)
            self.wait_for_step(output, process)
            process.send_signal(kind)
            _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, EX_TEMPFAIL, err)
            self.assertIn("--resume", err)
            self.assertFalse((self.folder / output / "adapter_model.safetensors").exists())
            self.run_job(job, "--resume")
            self.assertEqual(self.result(output), self.result("one"))

    def test_a_resumed_job_must_be_the_same(self):
        job = self.job("cut", steps=600)
        process = self.begin(job)
        self.wait_for_step("cut", process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        job.write_text(job.read_text().replace("learning_rate: 0.003", "learning_rate: 0.004"))
        _, err = self.run_job(job, "--resume", code=1)
        self.assertIn("optimizer", err)

    def full_job(self, output, method):
        path = self.folder / f"{output}.yaml"
        path.write_text(FULL_JOB.format(model=program.FOLDER, output=output, method=METHODS[method], steps=60))
        return path

    def kill_at_random(self, job, chance, longest):
        """Runs a job to its end, ended by force on the way up to a dozen times. How often it was."""
        kills = 0
        for attempt in range(12):
            process = self.begin(job, *(["--resume"] if attempt else []))
            time.sleep(chance.uniform(0.02, longest))
            if process.poll() is None:
                kills += 1
                process.kill()
            process.communicate(timeout=120)
            if process.returncode == 0:
                return kills
            self.assertEqual(process.returncode, -signal.SIGKILL)
        self.run_job(job, "--resume")
        return kills

    def test_kills_at_random_moments_change_nothing(self):
        (self.folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS[:3]))
        chance = random.Random(1)
        for method in METHODS:
            begin = time.monotonic()
            self.run_job(self.full_job(method, method))
            whole = time.monotonic() - begin
            kills = rounds = 0
            while kills < KILLS / len(METHODS):
                output = f"{method}{rounds}"
                rounds += 1
                kills += self.kill_at_random(self.full_job(output, method), chance, whole * 0.7)
                self.assertEqual(self.result(output), self.result(method), f"{method} after {kills} kills")
                shutil.rmtree(self.folder / output)
            print(f"{method}: {kills} kills over {rounds} runs of {whole:.2g} s", file=sys.stderr)


def code_of(change):
    """Faults of the job file are 2, faults of what it names are 1."""
    return 1 if change[0] in ("rows", "modules", "method") else 2


if __name__ == "__main__":
    if "--kills" in sys.argv:
        at = sys.argv.index("--kills")
        KILLS = int(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    Finetune.path = sys.argv.pop(1)
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    unittest.main()

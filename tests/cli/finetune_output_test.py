#!/usr/bin/env python3
"""llmhost finetune and what is on the disk: nothing of the user's is replaced, what cannot be written is found before
the first step, two runs never share a folder, signals leave nothing half done at any moment."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from program import FOLDER, GGUF, ProgramTest, environment, main

WAIT_S = 60
ROWS = [{"prompt": f"Once there was a {animal}", "completion": " who liked the sky."} for animal in ("cat", "dog", "bird", "fish")]
JOB = """model: {model}
output: out
method: {{name: {method}}}
data: {{train: rows.jsonl, max_length: 64{data}}}
training: {{max_steps: {steps}, batch_size: 2, learning_rate: 0.003, seed: 5{training}}}
log: {{{log}}}
engine: {{threads: 1}}
"""
LORA = "lora, r: 4, lora_dropout: 0.1, target_modules: all-linear"
EX_TEMPFAIL = 75


class OutputTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.rows = self.folder / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        self.job = self.folder / "job.yaml"

    def write(self, steps=4, method=LORA, model=GGUF, data="", training="", log="trace: out.jsonl", change=lambda text: text):
        self.job.write_text(change(JOB.format(model=model, method=method, steps=steps, data=data, training=training, log=log)))

    def begin(self, *more, cwd=None, job=None):
        return subprocess.Popen([os.path.abspath(self.program), "finetune", "-c", str(job or self.job), *more], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, cwd=cwd, env=environment(self.folder))

    def run_job(self, *more, code=0, cwd=None, job=None):
        process = self.begin(*more, cwd=cwd, job=job)
        _, err = process.communicate(timeout=WAIT_S)
        self.assertEqual(process.returncode, code, err)
        return err

    def refused(self, pattern, *more, code=1):
        """Before the first step, in one line, behind the preflight."""
        err = self.run_job(*more, code=code)
        self.assertRegex(err.strip().splitlines()[-1], pattern)
        self.assertNotIn("step 1/", err)
        return err

    def wait_until(self, process, is_so):
        end = time.monotonic() + WAIT_S
        while not is_so():
            self.assertIsNone(process.poll(), "ended too soon")
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)

    def trace(self):
        path = self.folder / "out.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")] if path.exists() else []

    def test_names_of_other_trainers_are_answered_with_ours(self):
        for before, after, hint in (("batch_size", "per_device_train_batch_size", "training.batch_size"),
                                    ("max_steps", "num_train_epochs", "training.epochs"),
                                    ("max_length", "max_seq_length", "data.max_length"), ("model:", "base_model:", "model"),
                                    ("output:", "output_dir:", "output"), ("data:", "datasets:", "data.train"),
                                    ("max_length: 64", "train_on_inputs: true", "data.loss_on"),
                                    ("r: 4", "lora_r: 4", "method.r"), ("seed: 5", "report_to: none", "log.trace"),
                                    ("engine:", "learning_rate: 1\nengine:", "training.learning_rate")):
            self.write(change=lambda text: text.replace(before, after, 1))
            err = self.run_job(code=2)
            self.assertRegex(err, r"job\.yaml:\d+:\d+: unknown key")
            self.assertIn(f"'{hint}'" if hint != "log.trace" else hint, err)
            self.assertEqual(len(err.strip().splitlines()), 1, err)

    def test_faults_of_a_method_name_their_line(self):
        self.write(method="lora, r: 4, target_modules: [nothing]")
        self.refused(r"job\.yaml:3:\d+: .*'nothing'")
        self.write(method="lora, r: 4, target_modules: [q_proj], rank_pattern: {v_proj: 8}")
        self.refused(r"job\.yaml:3:\d+: .*rank_pattern: 'v_proj' is for none")
        self.write(change=lambda text: text + "adapter: lora\n")
        self.refused("lora: no such folder: .*method")
        self.write(method="loar")
        self.refused(r"job\.yaml:3:\d+: .*did you mean 'lora'")
        self.write()
        for argument in ("r=[1", "rr=3", "r=x"):
            self.assertIn("--method-set", self.run_job("--method-set", argument, code=2))

    def test_a_run_that_does_not_begin_leaves_no_logs(self):
        self.write(log="trace: out.jsonl, tensorboard: board, plot: curve.svg")
        self.run_job("--dry-run")
        self.rows.write_text('{"question": 1}\n')
        self.run_job(code=1)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir() if path.suffix != ".log"), ["job.yaml", "rows.jsonl"])

    def test_logs_never_replace_files_of_another_kind(self):
        before = self.rows.read_bytes()
        for log in ("trace: rows.jsonl", "plot: rows.jsonl", "tensorboard: rows.jsonl"):
            self.write(log=log)
            self.refused("rows.jsonl: ")
            self.assertEqual(self.rows.read_bytes(), before)
            self.assertFalse((self.folder / "out").exists(), log)
        self.write(log="trace: x, plot: x")
        self.refused("the same file", code=2)

    def test_a_folder_that_cannot_be_written_is_found_before_the_first_step(self):
        self.write(change=lambda text: text.replace("output: out", "output: rows.jsonl/out"))
        self.refused("rows.jsonl/out: .*cannot be made")

    def test_the_base_models_folder_is_no_output_folder(self):
        folder = self.folder / "base"
        shutil.copytree(FOLDER, folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        for model in ("base", f"base/{GGUF.name}"):
            self.write(method="full", model=model, change=lambda text: text.replace("output: out", "output: base"))
            for more in ((), ("--resume",)):
                self.refused("folder of the base model", *more)
                self.assertEqual({path.name: path.read_bytes() for path in folder.iterdir()}, before)

    def test_an_adapter_of_somebody_else_is_not_gone_on_with(self):
        self.write()
        (self.folder / "out").mkdir()
        (self.folder / "out" / "adapter_config.json").write_text("{}")
        for more in ((), ("--resume",)):
            self.refused("another output folder", *more)
            self.assertEqual(os.listdir(self.folder / "out"), ["adapter_config.json"])

    def test_two_runs_never_share_a_folder(self):
        self.write(steps=100000)
        process = self.begin()
        self.wait_until(process, lambda: len(self.trace()) > 2)
        for more in ((), ("--resume",)):
            self.refused("another run", *more)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
        self.assertEqual(process.returncode, EX_TEMPFAIL)
        self.assertEqual(os.listdir(self.folder / "out"), ["checkpoints"])
        self.assertNotIn("lock", os.listdir(self.folder / "out" / "checkpoints"))

    def test_a_job_goes_on_from_another_folder_and_place(self):
        self.write(steps=400)
        process = self.begin()
        self.wait_until(process, lambda: len(self.trace()) > 2)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=WAIT_S)
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        for name in ("out", "out.jsonl", "rows.jsonl", "job.yaml"):
            (self.folder / name).rename(elsewhere / name)
        self.assertIn("going on after step", self.run_job("--resume", cwd=elsewhere, job="job.yaml"))

    def test_a_signal_within_a_long_evaluation_is_heard_and_the_evaluation_done_again(self):
        (self.folder / "more.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS * 3000))
        settings = {"steps": 6, "data": ", eval: more.jsonl", "training": ", eval_every: 3"}
        self.write(**settings)
        self.run_job()
        whole = [(line["step"], line.get("loss"), line.get("eval_loss")) for line in self.trace()]
        adapter = (self.folder / "out" / "adapter_model.safetensors").read_bytes()
        shutil.rmtree(self.folder / "out")
        process = self.begin()
        self.wait_until(process, lambda: len(self.trace()) == 3)  # the evaluation behind step 3 runs
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=WAIT_S)
        self.assertEqual((process.returncode, len(self.trace())), (EX_TEMPFAIL, 3))
        self.run_job("--resume")
        self.assertEqual([(line["step"], line.get("loss"), line.get("eval_loss")) for line in self.trace()], whole)
        self.assertEqual((self.folder / "out" / "adapter_model.safetensors").read_bytes(), adapter)

    def test_a_damaged_checkpoint_is_left_out_and_written_again(self):
        self.write(steps=9, training=", checkpoint_every: 3")
        self.run_job()
        adapter = (self.folder / "out" / "adapter_model.safetensors").read_bytes()
        for path in ("adapter_config.json", "checkpoints/finished.json"):
            (self.folder / "out" / path).unlink()
        newest = self.folder / "out" / "checkpoints" / "step-9" / "tensors.safetensors"
        newest.write_bytes(newest.read_bytes()[:-8])
        self.assertIn("left out", self.run_job("--resume"))
        self.assertEqual((self.folder / "out" / "adapter_model.safetensors").read_bytes(), adapter)
        size = int.from_bytes(newest.read_bytes()[:8], "little")
        ends = [entry["data_offsets"][1] for name, entry in json.loads(newest.read_bytes()[8:8 + size]).items()
                if name != "__metadata__"]
        self.assertEqual(newest.stat().st_size, 8 + size + max(ends))


if __name__ == "__main__":
    main()

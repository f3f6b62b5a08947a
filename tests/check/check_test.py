#!/usr/bin/env python3
"""llmhost check on plugins with known faults: each is caught by the case that is there for it, and what is right passes.

usage: check_test.py LLMHOST MUTANT.so BAD_PLUGINS_FOLDER SANITIZERS
"""
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

PROGRAM, MUTANT, BAD, SANITIZERS = sys.argv[1:5]
DATA = Path(__file__).resolve().parents[1] / "data"
MODELS = ["gemma2", "mistral-swa", "mixtral", "qwen2-swa"]

# Faults of the maths: in which models they show, and the layer at which the reference must see it first (None: behind the last).
MATHS = {
    "rope_base": (MODELS, 0),
    "rope_style": (MODELS, 0),
    "bias_dropped": (["qwen2-swa"], 0),
    "window": (["gemma2", "mistral-swa"], 0),
    "head_groups": (MODELS, 0),
    "scale": (MODELS, 0),
    "score_cap": (["gemma2"], 0),
    "logit_cap": (["gemma2"], None),
    "moe_weights": (["mixtral"], 0),
    "last_layer": (["gemma2", "qwen2-swa"], 2),
}
# Other faults: the cases that fail with gemma2 (each of them), and what one of them says.
CONDUCT = {
    "norm_eps": (["model.epsilons"], "'rms_norm_eps' is 1e-06, and no norm has it"),
    "match_crash": (["arch.garbage_configs", "arch.no_keys"], "SIGSEGV at reading 'hidden_size'"),
    "swallow": (["arch.failing_builder"], "the plugin reports success"),
    "extra_state": (["model.states"], "slot 77 is declared, and no attention uses it"),
    "context": (["model.description"], "context_length is 0"),
    "tied": (["model.description"], "tied_embeddings is 0"),
    "path": (["model.paths", "model.matrices"], "reads 'model.layers.0.self_attn.o_proj.weight'"),
}
# The plugins of tests/plugin with one fault each.
BINARIES = {
    "no_symbol": ("binary.exports", "does not export llmhost_plugin_v1"),
    "garbage": ("binary.manifest", "manifest"),
    "no_manifest": ("binary.manifest", "no section '.llmhost'"),
    "other_major": ("binary.manifest", "built for SDK 2"),
    "other_id": ("binary.table", "its table says id 'somebody'"),
    "other_kind": ("binary.table", "its table says kind 2"),
    "truncated": ("binary.table", "16 bytes"),
    "null_slot": ("binary.table", "no function 'build'"),
    "init_error": ("life.init_counted", "no such device"),
    "init_abort": ("life.init_counted", "killed by SIGABRT at init, the first time"),
    "missing_library": ("binary.libraries", "cannot be loaded"),
}


def environment(fault):
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LLMHOST_")}
    return kept | {"LLMHOST_TEST_FAULT": fault}


def check(plugin, *arguments, fault=""):
    """(exit code, the cases by name)"""
    done = subprocess.run([PROGRAM, "check", str(plugin), "--json", *map(str, arguments)], capture_output=True, text=True,
                          env=environment(fault), timeout=600)
    if done.stderr:
        raise AssertionError(done.stderr)
    rows = {row["case"]: row for row in json.loads(done.stdout)}
    for row in rows.values():
        assert set(row) - {"skipped"} == {"case", "ok", "message", "seconds"}, row
    return done.returncode, rows


def with_model(name):
    return ["--model", DATA / "goldens" / name, "--expected", DATA / "check" / name / "expected.safetensors",
            "--timeout", 300]


class CheckTest(unittest.TestCase):
    def assert_passes(self, code, rows):
        self.assertEqual({name: row["message"] for name, row in rows.items() if not row["ok"]}, {})
        self.assertEqual(code, 0)

    def test_what_is_right_passes_on_every_model(self):
        for name in MODELS:
            with self.subTest(model=name):
                code, rows = check(MUTANT, *with_model(name))
                self.assert_passes(code, rows)
                self.assertIn("golden.layers", rows)
                self.assertFalse(rows["golden.layers"].get("skipped"))

    def test_faults_of_the_maths_are_caught_with_their_layer(self):
        for fault, (models, layer) in MATHS.items():
            for name in models:
                with self.subTest(fault=fault, model=name):
                    code, rows = check(MUTANT, *with_model(name), "--only", "golden.l", fault=fault)
                    self.assertEqual(code, 1)
                    logits = rows["golden.logits"]
                    self.assertFalse(logits["ok"])
                    seen = "no layer diverges" if layer is None else f"first diverging layer: {layer}"
                    self.assertIn(seen, logits["message"])
                    self.assertEqual(rows["golden.layers"]["ok"], layer is None)

    def test_an_epsilon_shows_in_a_reference_made_for_it(self):
        for name in ("gemma2-exact", "mistral-exact", "qwen2-exact"):
            folder = DATA / "goldens" / name
            arguments = ["--model", folder, "--expected", folder / "expected.safetensors", "--only", "golden.logits"]
            with self.subTest(model=name):
                self.assert_passes(*check(MUTANT, *arguments))
                code, rows = check(MUTANT, *arguments, fault="norm_eps")
                self.assertEqual(code, 1)
                self.assertIn("the logits are off", rows["golden.logits"]["message"])

    def test_a_window_of_the_upper_layers_alone(self):
        _, rows = check(MUTANT, *with_model("qwen2-swa"), "--only", "golden.logits", fault="window")
        self.assertIn("first diverging layer: 1", rows["golden.logits"]["message"])

    def test_a_bias_that_is_not_read_is_refused_with_its_name(self):
        code, rows = check(MUTANT, *with_model("qwen2-swa"), "--only", "model.audit", fault="bias_unread")
        self.assertEqual(code, 1)
        self.assertIn("does not use 9 tensors: model.layers.0.self_attn.k_proj.bias", rows["model.audit"]["message"])

    def test_faults_of_conduct(self):
        for fault, (cases, message) in CONDUCT.items():
            with self.subTest(fault=fault):
                code, rows = check(MUTANT, *with_model("gemma2"), fault=fault)
                self.assertEqual(code, 1)
                self.assertEqual({name for name in cases if rows[name]["ok"]}, set())
                self.assertTrue(any(message in rows[name]["message"] for name in cases), rows)
                unrelated = {"arch.newer_structs", "same.in_chunks"} if fault == "match_crash" else {"binary.table"}
                self.assertEqual({name for name in unrelated if not rows[name]["ok"]}, set())

    @unittest.skipIf("address" in SANITIZERS or "thread" in SANITIZERS, "the allocator does not tell")
    def test_a_leak(self):
        code, rows = check(MUTANT, *with_model("gemma2"), "--only", "arch.leaks", fault="leak")
        self.assertEqual(code, 1)
        self.assertRegex(rows["arch.leaks"]["message"], r"loses \d{3} bytes with each model")

    def test_an_endless_loop_is_ended(self):
        code, rows = check(MUTANT, "--model", DATA / "goldens" / "gemma2", "--only", "arch.failing_sinks", "--timeout", 1,
                           fault="endless")
        self.assertEqual(code, 1)
        self.assertIn("not finished after 1 s", rows["arch.failing_sinks"]["message"])

    def test_bad_binaries(self):
        for name, (case, message) in BINARIES.items():
            with self.subTest(plugin=name):
                code, rows = check(Path(BAD) / f"{name}.so")
                self.assertEqual(code, 1)
                self.assertFalse(rows[case]["ok"], rows)
                self.assertIn(message, rows[case]["message"])

    def test_without_a_reference_the_model_is_run_with_made_up_prompts(self):
        code, rows = check(MUTANT, "--model", DATA / "goldens" / "gemma2", "--only", "same")
        self.assert_passes(code, rows)
        self.assertNotIn("golden.logits", rows)

    def test_the_table_for_people(self):
        done = subprocess.run([PROGRAM, "check", MUTANT, "--only", "binary"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"(?m)^binary\.manifest +ok +\d+\.\d\d s  arch mutant 0\.1\.0")
        self.assertRegex(done.stdout, r"0 of \d+ cases failed\n$")

    def test_usage(self):
        for code, message, arguments in [
                (2, "PLUGIN", []), (2, "--expected FILE needs --model", [MUTANT, "--expected", MUTANT]),
                (2, "at least 1 second", [MUTANT, "--timeout", "0"]), (1, "no such file", ["/no/such.so"]),
                (1, "no such file", [MUTANT, "--model", "/no/such/model"])]:
            done = subprocess.run([PROGRAM, "check", *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, code, arguments)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

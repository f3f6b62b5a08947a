#!/usr/bin/env python3
"""llmhost show, graph, plugins, fit and doctor: what they report, as text and as JSON."""
from command import CommandTest
from program import FOLDER, GGUF, main

LLAMA_GQA = FOLDER.parents[1] / "goldens" / "llama-gqa"


class ShowTest(CommandTest):
    def test_json(self):
        about = self.json("show", FOLDER)
        self.assertEqual(list(about), ["path", "format", "files", "file_bytes", "parameters", "types", "architecture", "warnings",
                                       "tokenizer", "chat_template", "about"])
        self.assertEqual((about["format"], about["files"], about["parameters"]), ("safetensors", 1, 260032))
        self.assertEqual(about["file_bytes"], (FOLDER / "model.safetensors").stat().st_size)
        self.assertEqual(about["types"], {"F32": {"tensors": 47, "parameters": 260032, "bytes": 4 * 260032}})
        expected = {"plugin": "llama", "layers": 5, "hidden_size": 64, "heads": 8, "kv_heads": 4, "head_dim": 8, "vocab_size": 512,
                    "context_length": 512, "tied_embeddings": True}
        self.assertEqual({key: about["architecture"][key] for key in expected}, expected)
        self.assertEqual(about["tokenizer"]["bos"], {"id": 1, "piece": "<s>"})
        self.assertIsNone(about["chat_template"])

    def test_gguf_and_its_licence_keys(self):
        about = self.json("show", GGUF)
        self.assertEqual((about["format"], about["parameters"]), ("gguf", 260032))
        self.assertIn("q8_0", about["types"])
        self.assertIn("general.architecture", about["about"])

    def test_tensors(self):
        tensors = self.json("show", FOLDER, "--tensors")["tensors"]
        self.assertEqual(len(tensors), 47)
        norm = next(t for t in tensors if t["name"] == "model.norm.weight")
        self.assertEqual(norm, {"name": "model.norm.weight", "type": "F32", "shape": [64], "bytes": 256})
        self.assertRegex(self.output("show", FOLDER, "--tensors"), r"model\.norm\.weight +F32 +\[64\]")

    def test_a_model_that_no_plugin_knows_is_still_described(self):
        folder = self.folder / "model"
        folder.mkdir()
        (folder / "model.safetensors").symlink_to(FOLDER / "model.safetensors")
        (folder / "config.json").write_text('{"model_type": "nobody_knows"}')
        about = self.json("show", folder)
        self.assertIn(str(folder), about["architecture"]["error"])
        self.assertEqual(about["parameters"], 260032)


class GraphTest(CommandTest):
    def test_the_same_text_each_time(self):
        for more in ((), ("--lowered",), ("--lowered", "--backend", "reference")):
            first = self.output("graph", LLAMA_GQA, *more)
            self.assertGreater(first.count("\n"), 20)
            self.assertEqual(self.output("graph", LLAMA_GQA, *more), first)
            self.assertEqual(self.json("graph", LLAMA_GQA, *more)["graph"], first)

    def test_lowered_differs(self):
        self.assertNotEqual(self.output("graph", LLAMA_GQA), self.output("graph", LLAMA_GQA, "--lowered"))


class PluginsTest(CommandTest):
    def test_json(self):
        report = self.json("plugins")
        self.assertRegex(report["host_abi"], r"^\d+\.\d+$")
        self.assertIsInstance(report["abi_unstable"], bool)
        rows = {(row["kind"], row["id"]): row for row in report["plugins"]}
        self.assertTrue({("backend", "cpu"), ("arch", "llama")} <= set(rows))
        for row in report["plugins"]:
            self.assertTrue(row["usable"], row)
            self.assertTrue({"path", "origin", "kind", "id", "version", "abi", "provides", "description"} <= set(row))
        self.assertEqual(rows["arch", "llama"]["adapter_targets"], ["q_proj", "v_proj"])
        self.assertIn("Code Llama", rows["arch", "llama"]["variants"])

    def test_load(self):
        self.assertTrue(all(row["loaded"] for row in self.json("plugins", "--load")["plugins"]))

    def test_a_file_that_is_none(self):
        (self.folder / "broken.so").write_text("no plugin")
        row = next(row for row in self.json("plugins", "--plugin-path", self.folder)["plugins"] if row["path"].endswith("broken.so"))
        self.assertFalse(row["usable"])
        self.assertRegex(row["refusal"], "ELF")
        self.assertRegex(self.output("plugins", "--plugin-path", self.folder), r"broken\.so.*\n +refused: ")

    def test_a_backend_that_is_not_there(self):
        self.refused(1, "nowhere", "perplexity", FOLDER, FOLDER / "config.json", "--backend", "nowhere")


class FitTest(CommandTest):
    TERMS = {"weights_mapped", "weights_copied", "weights_prepared", "state", "arena", "scratch", "sampler", "process"}

    def test_json(self):
        plan = self.json("fit", FOLDER)
        self.assertEqual(list(plan), ["model", "context", "sequences", "devices", "total", "fits", "warnings"])
        self.assertEqual((plan["context"], plan["sequences"], plan["fits"]), (512, 1, True))
        (device,) = plan["devices"]
        self.assertEqual((set(device["bytes"]), device["backend"]), (self.TERMS, "cpu"))
        self.assertEqual((sum(device["bytes"].values()), device["total"]), (device["total"], plan["total"]))
        self.assertEqual(device["bytes"]["weights_mapped"] + device["bytes"]["weights_copied"]
                         + device["bytes"]["weights_prepared"], 4 * 260032)  # f32 weights, each once

    def test_state_grows_with_context_sequences_and_type(self):
        def state(*more):
            return self.json("fit", FOLDER, *more)["devices"][0]["bytes"]["state"]
        one = 5 * 512 * 2 * 32 * 2  # layers, positions, keys and values, 4 heads of 8, f16
        self.assertEqual(state(), one)
        self.assertEqual(state("--context", 256), one // 2)
        self.assertEqual(state("--sequences", 3), one * 3)
        self.assertEqual(state("--kv-dtype", "f32"), one * 2)

    def test_text_and_refusal(self):
        self.assertRegex(self.output("fit", GGUF), r"(?m)^  total +[\d.]+ \w+ +fits$")
        self.refused(2, "100000.*512", "fit", GGUF, "--context", 100000)


class DoctorTest(CommandTest):
    def test_json(self):
        report = self.json("doctor", variables={"LLMHOST_ENGINE_THREADS": "3"})
        self.assertEqual(list(report), ["version", "abi", "machine", "plugins", "cache", "settings", "backend", "verdict"])
        self.assertEqual((report["verdict"], report["backend"]["id"], report["backend"]["threads"]), ("ok", "cpu", 3))
        self.assertEqual(report["settings"]["engine.threads"]["value"], "3")
        self.assertIn("LLMHOST_ENGINE_THREADS", report["settings"]["engine.threads"]["from"])
        self.assertTrue({"system", "cpu", "isa", "cores", "memory", "memory_free"} <= set(report["machine"]))
        self.assertRegex(self.output("doctor"), r"(?m)^verdict +ok$")

    def test_a_backend_that_does_not_start(self):
        code, out, _ = self.call("doctor", "--set", "backend.name=nowhere")
        self.assertEqual(code, 1)
        self.assertIn("nowhere", out)


if __name__ == "__main__":
    main()

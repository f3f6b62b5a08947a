#!/usr/bin/env python3
"""Described and inferred architectures: what is told about them, descriptions of the user, warnings in every output."""
import json
from pathlib import Path

from command import CommandTest
from program import FOLDER, PROMPT, ProgramTest, main

CONFIG = {"model_type": "mystery", "vocab_size": 8, "hidden_size": 4}
TEXT = FOLDER.parents[1] / "text" / "stories_sample.txt"


def metadata(path):
    content = path.read_bytes()
    return json.loads(content[8:8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})


class ArchTest(CommandTest):
    def setUp(self):
        super().setUp()
        # The plugins that tests/loader builds: `reader` infers every model, and guesses that its head is tied.
        folder = Path(ProgramTest.program).resolve().parents[1] / "tests" / "loader" / "plugins"
        self.reader = ("--allow-insecure-plugins", "--plugin-path", folder / "loader_test_reader.so")
        self.model = self.folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text(json.dumps(CONFIG))
        header = json.dumps({"embed.weight": {"dtype": "F32", "shape": [8, 4], "data_offsets": [0, 128]}}).encode()
        (self.model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(128))

    def test_infer(self):
        self.assertEqual(self.output("arch", "infer", self.model, *self.reader), "model_type: mystery\nhead: tied\n")
        report = self.json("arch", "infer", self.model, *self.reader)
        self.assertEqual((report["plugin"], report["inferred"]), ("reader", True))
        self.assertEqual(report["recipe"][0],
                         {"what": "type", "value": "mystery", "certainty": 100, "source": "config: model_type"})
        self.assertIn("guessed head=tied (40 %)", report["warnings"][0])

    def test_nothing_to_infer(self):
        self.refused(1, "model type llama is described by plugin llama: nothing to infer$", "arch", "infer", FOLDER, *self.reader)
        self.assertIn("model_type: mystery", self.output("arch", "infer", self.model, *self.reader, "--arch", "reader"))

    def test_show(self):
        about = self.json("show", self.model, *self.reader)
        self.assertTrue(about["architecture"]["inferred"])
        self.assertEqual([row["what"] for row in about["recipe"]], ["type", "head"])
        self.assertEqual(len(about["warnings"]), 1)
        self.assertRegex(self.output("show", self.model, *self.reader),
                         r"recipe:\n +what +value +sure +source\n +type +mystery +100 % +config: model_type\n +head +tied +40 %")
        described = self.json("show", FOLDER, *self.reader)
        self.assertNotIn("recipe", described)
        self.assertFalse(described["architecture"]["inferred"])

    def test_warnings_in_every_output(self):
        model = self.folder / "extra"
        model.mkdir()
        for file in FOLDER.iterdir():
            if file.name != "config.json":
                (model / file.name).symlink_to(file)
        config = json.loads((FOLDER / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"logit_wiggle": 2.0}))
        tokens = self.write("tokens.json", {"prompts": [[1, 2]]})
        out = self.folder / "out.safetensors"
        commands = {"show": (), "graph": (), "fit": (), "bench": ("-p", 4, "-n", 0, "-r", 1),
                    "perplexity": (TEXT, "--window", 16, "--windows", 1), "run": (PROMPT, "--raw", "-n", 1),
                    "logits": ("--tokens", tokens, "--out", out)}
        for command, arguments in commands.items():
            with self.subTest(command):
                code, text, err = self.call(command, model, *arguments, "--json", "--best-effort")
                self.assertEqual(code, 0, err)
                self.assertIn("logit_wiggle", err)
                report = json.loads(text)
                warnings = (report[0] if command == "bench" else report)["warnings"]
                self.assertEqual(len(warnings), 1, warnings)
                self.assertIn("logit_wiggle", warnings[0])
                if command != "show":
                    self.refused(1, "logit_wiggle", command, model, *arguments)
        self.assertIn("logit_wiggle", json.loads(metadata(out)["warnings"])[0])

    def test_no_warnings(self):
        out = self.folder / "out.safetensors"
        tokens = self.write("tokens.json", {"prompts": [[1, 2]]})
        self.assertEqual(self.json("logits", FOLDER, "--tokens", tokens, "--out", out)["warnings"], [])
        self.assertEqual(metadata(out), {})
        self.assertEqual(self.json("run", FOLDER, PROMPT, "--raw", "-n", 1)["warnings"], [])


class ArchPathTest(CommandTest):
    def test_what_cannot_be_read_is_named(self):
        for source, call in (("--arch-path", ("--arch-path", "nothing.yaml")), ("--arch-path", ("--set", "archs.path=nothing.yaml"))):
            self.refused(1, f"{source}: .*nothing.yaml", "plugins", *call)
        self.refused(1, "\\$LLMHOST_ARCH_PATH: .*nothing.yaml", "plugins", variables={"LLMHOST_ARCH_PATH": "nothing.yaml"})

    def test_repeated(self):
        first, second = self.write("a.yaml", "a: 1\n"), self.write("b.yaml", "b: 1\n")
        self.output("plugins", "--arch-path", first, "--arch-path", second)
        value = self.json("doctor", "--arch-path", first, "--arch-path", second)["settings"]["archs.path"]["value"]
        self.assertIn(str(first), value)
        self.assertIn(str(second), value)
        self.refused(1, "missing.yaml", "plugins", "--arch-path", first, "--arch-path", "missing.yaml")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The command line as a whole: help, typos, settings from four sources, models that are none, closed pipes, one-line errors."""
import os
import subprocess
import unittest
from pathlib import Path

from command import CommandTest
from program import FOLDER, GGUF, PROMPT, environment, main

COMMANDS = ["run", "show", "bench", "perplexity", "logits", "tokenize", "template", "fit", "graph", "arch", "plugins", "check", "doctor"]
GROUPS = {"arch": ["infer"]}
MODEL_COMMANDS = ["show", "fit", "graph", "bench", "tokenize", "template"]
CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


class HelpTest(CommandTest):
    def test_version(self):
        self.assertRegex(self.output("--version"), r"^llmhost \d+\.\d+\.\d+\n$")

    def test_help(self):
        text = self.output("--help")
        self.assertEqual(self.output("-h"), text)
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^  {command} +\S")
            page = self.output(command, "--help")
            self.assertEqual(self.output(command, "-h"), page)
            self.assertIn(f"Usage: llmhost {command}", page)
            for option in ("--json", "-c,--config", "--set", "--plugin-path", "--arch-path") if command not in GROUPS else ():
                self.assertIn(option, page)
        for group, members in GROUPS.items():
            for member in members:
                self.assertRegex(self.output(group, "--help"), rf"(?m)^  {member} +\S")
                self.assertIn(f"Usage: llmhost {group} {member}", self.output(group, member, "--help"))

    def test_what_is_documented_exists(self):
        text = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text()
        for command in COMMANDS:
            self.assertRegex(text, rf"(?m)^## {command}\b")


class TypoTest(CommandTest):
    def test_commands(self):
        self.refused(2, "unknown command 'shwo'; did you mean 'show'\\?$", "shwo", FOLDER)
        self.refused(2, "unknown command 'zzzzzzzz'; see llmhost --help$", "zzzzzzzz")
        self.refused(2, "a command is needed")
        self.refused(2, "'--json' stands before the command", "--json", "show", FOLDER)
        self.refused(2, "unknown command 'infre'; did you mean 'infer'\\?$", "arch", "infre", FOLDER)
        self.refused(2, "a command is needed; see llmhost arch --help$", "arch")
        self.refused(2, "'--json' stands before the command; write llmhost arch COMMAND", "arch", "--json", "infer")
        self.refused(2, "arch new: unknown option '--cp'; did you mean '--cpp'\\?$", "arch", "new", "thing", "--cp")
        self.refused(2, "arch infer: MODEL is required; see llmhost arch infer --help$", "arch", "infer")

    def test_options(self):
        self.refused(2, "show: unknown option '--tensrs'; did you mean '--tensors'\\?$", "show", FOLDER, "--tensrs")
        self.refused(2, "bench: unknown option '--treads'; did you mean '--threads'\\?$", "bench", FOLDER, "--treads=3")
        self.refused(2, "fit: unknown option '--contxt'; did you mean '--context'\\?$", "fit", "--contxt", 3, FOLDER)
        self.refused(2, "show: unknown option '--zzzzzzzzzz'; see llmhost show --help$", "show", FOLDER, "--zzzzzzzzzz")

    def test_arguments(self):
        self.refused(2, "show: MODEL is required; see llmhost show --help$", "show")
        self.refused(2, "unexpected argument 'again'; see llmhost show --help$", "show", FOLDER, "again")
        self.refused(2, "--set", "show", FOLDER, "--set")
        self.refused(2, "show: MODEL is required; see llmhost show --help$", "show", "--")
        rows = self.output("tokenize", FOLDER, "--", "-5").splitlines()
        self.assertEqual("".join(row.split()[1] for row in rows), "\u2581-5")  # after -- nothing is an option
        self.refused(2, "'two.*lines'", "show", FOLDER, "two\nlines")

    def test_settings(self):
        self.refused(2, "engine\\.thraeds'; did you mean 'engine\\.threads'", "fit", FOLDER, "--set", "engine.thraeds=1")
        self.refused(2, "engine\\.threads is 'x'|--threads.*'x'", "fit", FOLDER, "--threads", "x")
        self.refused(2, "2000", "fit", FOLDER, "-t", 2000)
        self.refused(2, "f61", "fit", FOLDER, "--kv-dtype", "f61")
        self.refused(2, "engine\\.threads", "fit", FOLDER, "--set", "engine.threads")


class SettingsTest(CommandTest):
    def threads(self, *arguments, **variables):
        return self.json("doctor", *arguments, variables=variables)["backend"]["threads"]

    def test_precedence(self):
        config = self.write("run.yaml", "engine:\n  threads: 3\n")
        self.assertEqual(self.threads("-c", config), 3)
        self.assertEqual(self.threads("-c", config, LLMHOST_ENGINE_THREADS="4"), 4)
        self.assertEqual(self.threads("-c", config, "--set", "engine.threads=5", LLMHOST_ENGINE_THREADS="4"), 5)
        report = self.json("doctor", "-c", config)["settings"]["engine.threads"]
        self.assertEqual(report["value"], "3")
        self.assertRegex(report["from"], r"run\.yaml:2")

    def test_files(self):
        for content, message in (("engine:\n  thraeds: 4\n", r"run\.yaml:2:3: .*engine\.thraeds.*did you mean 'engine\.threads'"),
                                 ("engine:\n  threads: x\n", r"run\.yaml:2:12: "), ("engine: [", r"run\.yaml:\d+:\d+: "),
                                 ("engine:\n  threads: 1\n  threads: 2\n", r"run\.yaml:3:3: ")):
            with self.subTest(content):
                self.refused(2, message, "doctor", "-c", self.write("run.yaml", content))
        self.refused(2, "none.yaml", "doctor", "-c", "none.yaml")

    def test_environment(self):
        self.refused(2, "LLMHOST_ENGINE_THRAEDS.*LLMHOST_ENGINE_THREADS", "doctor", variables={"LLMHOST_ENGINE_THRAEDS": "1"})
        self.refused(2, "LLMHOST_ENGINE_THREADS", "doctor", variables={"LLMHOST_ENGINE_THREADS": "many"})
        self.output("doctor", variables={"LLMHOST_SOMETHING_ELSE": "1", "LLMHOST_LOG": "error"})

    def test_the_example_configs(self):
        self.assertGreaterEqual(len(CONFIGS), 3)
        for config in CONFIGS:
            with self.subTest(config.name):
                report = self.json("doctor", "-c", config)
                self.assertGreater(len(report["settings"]), 0)
                for setting in report["settings"].values():
                    self.assertIn(config.name, setting["from"])
                self.output("run", GGUF, PROMPT, "-n", 4, "-c", config)
                self.assertEqual(len(self.json("bench", GGUF, "-p", 4, "-n", 2, "-r", 1, "-c", config)), 2)


class ModelPathTest(CommandTest):
    def test_no_such_file(self):
        for command in MODEL_COMMANDS:
            self.refused(1, "nowhere", command, self.folder / "nowhere", *(["a"] if command == "tokenize" else []))

    def test_a_folder_without_weights_or_config(self):
        self.refused(1, r"no model\.safetensors.*gguf", "fit", self.folder)
        folder = self.folder / "model"
        folder.mkdir()
        (folder / "model.safetensors").symlink_to(FOLDER / "model.safetensors")
        self.refused(1, r"config\.json", "fit", folder)

    def test_pickles_are_not_read(self):
        self.refused(1, "pickle.*convert it to safetensors", "show", self.write("pytorch_model.bin", "x"))
        self.refused(1, "pickle.*convert it to safetensors|no model.safetensors", "show", self.folder)

    def test_files_of_no_known_kind(self):
        self.refused(1, "neither a .safetensors nor a GGUF file", "show", self.write("notes.txt", "x"))
        self.refused(1, "broken.gguf", "show", self.write("broken.gguf", "GGUF"))
        self.refused(1, "broken.safetensors", "show", self.write("broken.safetensors", ""))


class ClosedOutputTest(CommandTest):
    CASES = [("show", FOLDER, "--json"), ("show", FOLDER, "--tensors"), ("graph", FOLDER), ("tokenize", FOLDER, "a"), ("plugins",),
             ("doctor", "--json"), ("fit", FOLDER), ("bench", GGUF, "-p", 4, "-n", 0, "-r", 1)]

    def call_with(self, arguments, standard_output):
        done = subprocess.run([self.program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=standard_output,
                              stderr=subprocess.PIPE, env=environment(self.folder), check=False)
        return done.returncode, done.stderr.decode()

    def test_a_reader_that_leaves(self):
        for arguments in self.CASES:
            with self.subTest(arguments):
                reading, writing = os.pipe()
                os.close(reading)
                self.assertEqual(self.call_with(arguments, writing), (0, ""))
                os.close(writing)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_a_full_disk(self):
        for arguments in self.CASES:
            with self.subTest(arguments), open("/dev/full", "wb") as full:
                code, err = self.call_with(arguments, full)
                self.assertEqual(code, 1)
                self.assertRegex(err, r"^llmhost: .*No space left on device\n$")


if __name__ == "__main__":
    main()

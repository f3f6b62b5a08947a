#!/usr/bin/env python3
"""llmhost logits: its file formats, the same bytes however a prompt is run, and what it refuses."""
import json

from command import CommandTest, numbers, read_safetensors
from program import FOLDER, GGUF, GREEDY_IDS, PROMPT_IDS, main

GOLDENS = FOLDER.parents[1] / "goldens"
PROMPTS = [PROMPT_IDS, [1], PROMPT_IDS + GREEDY_IDS[:30], [1, 403, 407]]
VOCABULARY = 512


class LogitsTest(CommandTest):
    def logits(self, model, job, *more):
        tokens, out = self.write("tokens.json", job), self.folder / "out.safetensors"
        self.assertEqual(self.output("logits", model, "--tokens", tokens, "--out", out, *more), "")
        return out

    def test_names_types_and_shapes(self):
        tensors = read_safetensors(self.logits(FOLDER, {"prompts": PROMPTS, "generate": 7}))
        expected = {}
        for i, prompt in enumerate(PROMPTS):
            expected |= {f"logits_{i}": ("F32", [len(prompt), VOCABULARY]), f"tokens_{i}": ("I32", [7]),
                         f"gen_logits_{i}": ("F32", [7, VOCABULARY])}
        self.assertEqual({name: (kind, shape) for name, (kind, shape, _) in tensors.items()}, expected)
        for kind, shape, data in tensors.values():
            self.assertEqual(len(data), 4 * shape[0] * (shape[1] if len(shape) > 1 else 1))

    def test_the_continuation_is_the_reference_one(self):
        for model in (FOLDER, GGUF):
            tensors = read_safetensors(self.logits(model, {"prompts": [PROMPT_IDS], "generate": 48}))
            self.assertEqual(list(numbers(tensors["tokens_0"])), GREEDY_IDS)

    def test_each_token_is_the_highest_of_its_row(self):
        tensors = read_safetensors(self.logits(FOLDER, {"prompts": [PROMPT_IDS], "generate": 5}))
        rows, prompt = numbers(tensors["gen_logits_0"]), numbers(tensors["logits_0"])
        self.assertEqual(rows[:VOCABULARY], prompt[-VOCABULARY:])  # the first token comes from the prompt's last row
        for i, token in enumerate(numbers(tensors["tokens_0"])):
            row = rows[i * VOCABULARY:(i + 1) * VOCABULARY]
            self.assertEqual(row[token], max(row))

    def test_logits_of_a_golden_case(self):
        case = GOLDENS / "llama-gqa"
        expected = read_safetensors(case / "expected.safetensors")
        tolerance = json.loads((case / "expected.json").read_text())["tolerance"]["f32"]["max_abs"]
        prompts = [list(numbers(expected[f"input_ids_{i}"])) for i in range(2)]
        actual = read_safetensors(self.logits(case, {"prompts": prompts, "generate": 16}))
        for i in range(2):
            worst = max(abs(a - b) for a, b in zip(numbers(actual[f"logits_{i}"]), numbers(expected[f"logits_{i}"])))
            self.assertLessEqual(worst, tolerance)
            self.assertEqual(numbers(actual[f"tokens_{i}"]), numbers(expected[f"tokens_{i}"]))

    def test_the_same_bytes_however_it_is_run(self):
        job = {"prompts": PROMPTS, "generate": 4}
        for model in (FOLDER, GGUF):
            expected = self.logits(model, job).read_bytes()
            for more in (("--prefill-chunk", 1), ("--prefill-chunk", 3), ("--sequences", 4), ("--threads", 1), ("--threads", 3),
                         ("--batch-tokens", 5, "--sequences", 3)):
                self.assertEqual(self.logits(model, job, *more).read_bytes(), expected, more)

    def test_generate_is_none_by_default(self):
        for job in ({"prompts": [[1]]}, {"prompts": [[1]], "generate": 0}):
            tensors = read_safetensors(self.logits(FOLDER, job))
            self.assertEqual((tensors["tokens_0"][1], tensors["gen_logits_0"][1]), ([0], [0, VOCABULARY]))

    def test_json_names_what_was_written(self):
        tokens, out = self.write("tokens.json", {"prompts": [[1], [2]]}), self.folder / "out.safetensors"
        report = self.json("logits", FOLDER, "--tokens", tokens, "--out", out)
        self.assertEqual((report["prompts"], report["out"]), (2, str(out)))

    def test_bad_jobs(self):
        cases = [({}, "'prompts' must be a list"), ([], "'prompts' must be a list"), ({"prompts": []}, "'prompts' must be a list"),
                 ({"prompts": [1]}, r"prompts\[0\].*at least one"), ({"prompts": [[1], []]}, r"prompts\[1\].*at least one"),
                 ({"prompts": [[1, 512]]}, r"prompts\[0\]: 512 .* 0 to 511"), ({"prompts": [[-1]]}, r"-1 is no token id"),
                 ({"prompts": [[1.5]]}, r"1\.5 is no token id"), ({"prompts": [["1"]]}, "is no token id"),
                 ({"prompts": [[2 ** 64 - 1]]}, "is no token id"), ({"prompts": [[2 ** 63]]}, "is no token id"),
                 ({"prompts": [[1]], "generate": -1}, "'generate' is -1"), ({"prompts": [[1]], "generate": "x"}, "'generate' is"),
                 ("{", r"tokens\.json"), ("", r"tokens\.json")]
        for job, message in cases:
            with self.subTest(job=job):
                self.refused(1, message, "logits", FOLDER, "--tokens", self.write("tokens.json", job), "--out", "out.safetensors")
                self.assertFalse((self.folder / "out.safetensors").exists())

    def test_files_that_are_not_there(self):
        tokens = self.write("tokens.json", {"prompts": [[1]]})
        self.refused(2, "--tokens FILE.json and --out", "logits", FOLDER)
        self.refused(2, "--tokens FILE.json and --out", "logits", FOLDER, "--tokens", tokens)
        self.refused(1, "none.json", "logits", FOLDER, "--tokens", "none.json", "--out", "out.safetensors")
        self.refused(1, "no/such/folder", "logits", FOLDER, "--tokens", tokens, "--out", "no/such/folder/out.safetensors")


if __name__ == "__main__":
    main()

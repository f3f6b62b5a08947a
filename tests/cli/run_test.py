#!/usr/bin/env python3
"""llmhost run with a prompt: answers, JSON, the filter, errors and exit codes."""
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

from program import FOLDER, GGUF, GREEDY, GREEDY_IDS, PROMPT, PROMPT_IDS, ProgramTest, environment, main

GREEDILY = ("--temperature", "0")
CHAT_TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
                 "{% if add_generation_prompt %}<assistant>{% endif %}")


class RunTest(ProgramTest):
    def test_greedy_answer_of_both_formats(self):
        # q8_0 rounds the weights; on this prompt the smallest margin (0.13) is far above what that changes.
        for model in (FOLDER, GGUF):
            code, out, err = self.run_program("run", model, PROMPT, *GREEDILY, "--max-tokens", 48)
            self.assertEqual((code, out), (0, GREEDY + "\n"), err)
            self.assertIn("no chat template", err)
            self.assertRegex(err, r"prompt 5 tokens, .* tok/s; answer 48 tokens, .* tok/s; first token after")

    def test_the_threads_and_the_reference_backend_say_the_same(self):
        for extra in (("--threads", 1), ("--threads", 3), ("--backend", "reference"), ("--batch-tokens", 2)):
            code, out, err = self.run_program("run", FOLDER, PROMPT, *GREEDILY, "-n", 24, *extra)
            self.assertEqual((code, out.strip()), (0, GREEDY[:len(out.strip())]), err)

    def test_json(self):
        code, out, err = self.run_program("run", GGUF, PROMPT, *GREEDILY, "-n", 48, "--json", "--show-prompt", "--seed", 7)
        answer = json.loads(out)
        self.assertEqual(code, 0, err)
        self.assertEqual(answer["text"], GREEDY)
        self.assertEqual(answer["tokens"], GREEDY_IDS)
        self.assertEqual(answer["finish_reason"], "length")
        self.assertEqual(answer["usage"], {"prompt_tokens": 5, "completion_tokens": 48, "total_tokens": 53})
        self.assertEqual(answer["prompt"], {"text": PROMPT, "ids": PROMPT_IDS})
        self.assertEqual(answer["seed"], 7)
        for key in ("load_ms", "prompt_ms", "generate_ms", "first_token_ms"):
            self.assertGreaterEqual(answer["timings"][key], 0)
        code, out, _ = self.run_program("run", GGUF, PROMPT, "-n", 1, "--json")
        self.assertNotIn("prompt", json.loads(out))

    def test_speculation(self):
        for extra in (("lookup",), ("lookup", "--draft-tokens", 9), ("draft", "--draft-model", FOLDER)):
            arguments = ("run", GGUF, PROMPT, *GREEDILY, "-n", 48, "--speculate", *extra)
            answer = json.loads(self.run_program(*arguments, "--json")[1])
            self.assertEqual((answer["text"], answer["tokens"]), (GREEDY, GREEDY_IDS))
            counts = answer["speculation"]
            self.assertGreater(counts["drafted"], 0)
            self.assertEqual(counts["steps"] + counts["accepted"], 48)
            _, out, err = self.run_program(*arguments)
            self.assertEqual(out, GREEDY + "\n")
            self.assertIn(f"; drafted {counts['drafted']}, accepted {counts['accepted']}, {counts['steps']} steps", err)
        self.assertNotIn("speculation", json.loads(self.run_program("run", GGUF, PROMPT, "-n", 2, "--json")[1]))

    def test_speculation_that_cannot_work(self):
        for extra, message in ((("--speculate", "draft"), "name the model with --draft-model"),
                               (("--draft-model", FOLDER), "add --speculate draft"),
                               (("--set", "engine.speculation.ngram_min=5"), "give a smaller ngram_min"),
                               (("--draft-tokens", 65), "expected an integer from 1 to 64")):
            code, out, err = self.run_program("run", GGUF, PROMPT, *extra)
            self.assertEqual((code, out), (2, ""))
            self.assertIn(message, err)

    def test_a_draft_model_with_another_vocabulary_is_refused(self):
        draft = self.folder / "draft"
        shutil.copytree(FOLDER, draft, ignore=shutil.ignore_patterns("*.gguf"))
        tokenizer = json.loads((draft / "tokenizer.json").read_text())
        vocabulary = tokenizer["model"]["vocab"]
        first, second = sorted(vocabulary, key=vocabulary.get)[-2:]
        vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
        (draft / "tokenizer.json").write_text(json.dumps(tokenizer))
        code, out, err = self.run_program("run", GGUF, PROMPT, "--speculate", "draft", "--draft-model", draft)
        self.assertEqual((code, out), (1, ""))
        self.assertRegex(err, r"llmhost: token 510 is '.' in .* a draft model needs the same vocabulary\n$")

    def test_filter(self):
        for text in (PROMPT, PROMPT + "\n"):
            code, out, err = self.run_program("run", GGUF, *GREEDILY, "-n", 48, stdin=text.encode())
            self.assertEqual((code, out), (0, GREEDY + "\n"), err)

    def test_show_prompt_goes_to_standard_error(self):
        _, out, err = self.run_program("run", GGUF, PROMPT, *GREEDILY, "-n", 1, "--show-prompt")
        self.assertEqual(out, ",\n")
        self.assertIn('prompt text: "Once upon a time"\nprompt ids: [1,403,407,261,378]\n', err)

    def test_chat_template_and_raw(self):
        template = self.folder / "template.jinja"
        template.write_text(CHAT_TEMPLATE)
        arguments = ("run", GGUF, PROMPT, "--chat-template", template, "-n", 1, "--json", "--show-prompt")
        _, out, err = self.run_program(*arguments, "--system", "Be brief.")
        self.assertEqual(json.loads(out)["prompt"]["text"], f"<system>Be brief.\n<user>{PROMPT}\n<assistant>", err)
        self.assertNotIn("no chat template", err)
        _, out, err = self.run_program(*arguments, "--raw")
        self.assertEqual(json.loads(out)["prompt"], {"text": PROMPT, "ids": PROMPT_IDS})
        self.assertNotIn("no chat template", err)

    def test_a_template_that_refuses_says_so(self):
        template = self.folder / "template.jinja"
        template.write_text("{{ raise_exception('no system message, please') }}")
        code, out, err = self.run_program("run", GGUF, PROMPT, "--chat-template", template)
        self.assertEqual((code, out, err), (1, "", "llmhost: no system message, please\n"))

    def test_stop_strings(self):
        arguments = ("run", GGUF, *GREEDILY, "--json", "--stop", " girl named", "--stop", "zzz", PROMPT)
        answer = json.loads(self.run_program(*arguments)[1])
        self.assertEqual((answer["text"], answer["finish_reason"]), (", there was a little", "stop"))

    def test_stop_tokens_of_the_model(self):
        model = self.folder / "model"
        shutil.copytree(FOLDER, model, ignore=shutil.ignore_patterns("*.gguf"))
        (model / "generation_config.json").write_text('{"eos_token_id": [2, 426]}')  # 426 is the full stop
        answer = json.loads(self.run_program("run", model, PROMPT, *GREEDILY, "--json")[1])
        self.assertEqual(answer["tokens"], GREEDY_IDS[:GREEDY_IDS.index(426)])
        self.assertEqual((answer["text"], answer["finish_reason"]), (GREEDY[:GREEDY.index(".")], "stop"))

    def test_sampling_defaults_of_the_model(self):
        model = self.folder / "model"
        shutil.copytree(FOLDER, model, ignore=shutil.ignore_patterns("*.gguf"))
        (model / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 90.0, "top_k": 1, "top_p": 7}')
        arguments = ("run", model, PROMPT, "-n", 48, "--seed", 1)
        code, out, err = self.run_program(*arguments)
        self.assertEqual((code, out.strip()), (0, GREEDY))  # the model's top_k leaves one token
        self.assertIn("top_p: got 7", err)
        self.assertNotEqual(self.run_program(*arguments, "--top-k", 0)[1].strip(), GREEDY)  # the user's goes first
        (model / "generation_config.json").write_text('{"eos_token_id": 2, "do_sample": false}')
        self.assertEqual(self.run_program(*arguments)[1].strip(), GREEDY)

    def test_seed(self):
        arguments = ("run", GGUF, PROMPT, "-n", 40, "--temperature", 1.5, "--json")
        first, second, other = (json.loads(self.run_program(*arguments, "--seed", seed)[1]) for seed in (5, 5, 6))
        self.assertEqual(first["tokens"], second["tokens"])
        self.assertNotEqual(first["tokens"], other["tokens"])
        seeds = {json.loads(self.run_program(*arguments)[1])["seed"] for _ in range(3)}
        self.assertEqual(len(seeds), 3)

    def test_max_tokens_end_with_the_context(self):
        for limit in ((), ("-n", 1000)):
            code, out, err = self.run_program("run", GGUF, PROMPT, *GREEDILY, "--context", 32, "--json", *limit)
            answer = json.loads(out)
            self.assertEqual((code, answer["usage"]["total_tokens"], answer["finish_reason"]), (0, 32, "length"), err)
        answer = json.loads(self.run_program("run", GGUF, PROMPT, "-n", 0, "--json")[1])
        self.assertEqual((answer["tokens"], answer["finish_reason"]), ([], "length"))

    def test_prompt_of_any_bytes(self):
        arguments = ("run", GGUF, "-n", 2, "--json", "--show-prompt")
        code, out, err = self.run_program(*arguments, stdin=b"Once \xff\xfe upon\x00 a")
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["prompt"]["text"], "Once \ufffd\ufffd upon\0 a")

    def test_usage_errors(self):
        cases = [((PROMPT, "--context", 4096), r"4096.*512"),
                 (("",), "the prompt is empty"),
                 ((), "the prompt is empty"),
                 ((PROMPT, "again"), "quotes"),
                 ((PROMPT, "--temperature", -1), "--temperature.* 0 to 100"),
                 ((PROMPT, "--top-p", 0), "--top-p.* from 1e-06 to 1"),
                 ((PROMPT, "--set", "sampling.temprature=1"), "did you mean 'sampling.temperature'"),
                 ((PROMPT, "-n", -2), "--max-tokens is -2"),
                 ((PROMPT, "--stop", ""), "--stop"),
                 ((PROMPT, "--raw", "--system", "x"), "--raw"),
                 ((PROMPT, "--no-such-option"), "--no-such-option")]
        for arguments, message in cases:
            with self.subTest(arguments):
                code, out, err = self.run_program("run", GGUF, *arguments)
                self.assertEqual((code, out), (2, ""), err)
                self.assertRegex(err, message)

    def test_failures(self):
        too_long = "Once upon a time. " * 300
        cases = [((self.folder / "none", PROMPT), "no such file"),
                 ((GGUF, too_long), r"the prompt has \d+ tokens, the context holds 512"),
                 ((GGUF, PROMPT, "--chat-template", self.folder / "none.jinja"), "none.jinja")]
        for arguments, message in cases:
            with self.subTest(arguments[0]):
                code, out, err = self.run_program("run", *arguments)
                self.assertEqual((code, out), (1, ""), err)
                self.assertRegex(err, message)

    def test_not_a_number_in_the_weights(self):
        model = self.folder / "model"
        shutil.copytree(FOLDER, model, ignore=shutil.ignore_patterns("*.gguf"))
        weights = bytearray((model / "model.safetensors").read_bytes())
        header = json.loads(weights[8:8 + int.from_bytes(weights[:8], "little")])
        begin = 8 + int.from_bytes(weights[:8], "little") + header["model.norm.weight"]["data_offsets"][0]
        weights[begin:begin + 4] = b"\x00\x00\xc0\x7f"
        (model / "model.safetensors").write_bytes(weights)
        text = FOLDER.parents[1] / "text" / "stories_sample.txt"
        for arguments in (("run", model, PROMPT), ("perplexity", model, text)):
            code, out, err = self.run_program(*arguments)
            self.assertEqual((code, out), (1, ""), err)
            self.assertRegex(err.splitlines()[-1], "(?i)llmhost: .*nan")

    def test_a_reader_that_leaves(self):
        for extra in ((), ("--json",)):
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run([self.program, "run", str(GGUF), PROMPT, "-n", "20", *extra], stdout=writing,
                                  stderr=subprocess.PIPE, env=environment(self.folder), check=False)
            os.close(writing)
            self.assertEqual((done.returncode, b"cannot be written" in done.stderr), (0, False), done.stderr)

    @unittest.skipUnless(os.path.exists("/dev/full"), "no /dev/full")
    def test_a_full_disk(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([self.program, "run", str(GGUF), PROMPT], stdout=full, stderr=subprocess.PIPE,
                                  env=environment(self.folder), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output cannot be written", done.stderr)

    def test_interrupt_shows_what_came(self):
        # The reference backend is slow enough to be caught in the middle; should it be done already, once more.
        for _ in range(20):
            process = subprocess.Popen([self.program, "run", str(FOLDER), PROMPT, *GREEDILY, "--backend", "reference"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(self.folder))
            begin = process.stdout.read(1)
            process.send_signal(signal.SIGINT)
            rest, err = process.communicate()
            if process.returncode == 130:
                break
        self.assertEqual(process.returncode, 130)
        text = (begin + rest).decode()
        self.assertTrue(text.startswith(GREEDY[:len(text) - 1][:len(GREEDY)]) and text.endswith("\n"), text)
        self.assertTrue(re.search(rb"answer \d+ tokens", err), err)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""llmhost tokenize and llmhost template: single texts, JSON lines in and out, errors that name file and line."""
from command import CommandTest, read_lines
from program import FOLDER, GGUF, PROMPT, PROMPT_IDS, main

TOKENIZER = FOLDER / "tokenizer.json"
TEMPLATE = ("{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}{% if year %}{{ strftime_now('%Y') }}{% endif %}")


class TokenizeTest(CommandTest):
    def test_a_text(self):
        for model in (FOLDER, TOKENIZER, GGUF):
            self.assertEqual(self.json("tokenize", model, PROMPT), {"ids": PROMPT_IDS[1:], "decoded": PROMPT})
            self.assertEqual(self.json("tokenize", model, PROMPT, "--add-special")["ids"], PROMPT_IDS)
        self.assertEqual(self.json("tokenize", FOLDER, *PROMPT.split())["decoded"], PROMPT)
        self.assertEqual(self.json("tokenize", FOLDER, stdin=PROMPT.encode())["decoded"], PROMPT)
        rows = [line.split() for line in self.output("tokenize", FOLDER, PROMPT).splitlines()]
        self.assertEqual([int(row[0]) for row in rows], PROMPT_IDS[1:])

    def test_special_tokens_in_the_text(self):
        self.assertEqual(self.json("tokenize", FOLDER, "</s>")["ids"], [2])
        plain = self.json("tokenize", FOLDER, "</s>", "--no-parse-special")
        self.assertGreater(len(plain["ids"]), 1)
        self.assertEqual(plain["decoded"], "</s>")

    def test_json_lines(self):
        rows = [{"text": PROMPT}, {"text": PROMPT, "add_special": True}, {"text": ""}, {"text": "a</s>", "parse_special": False},
                {"text": "日本 \U0001f600\n"}, {"text": "a\0b", "add_special": None}]
        out = self.folder / "out.jsonl"
        lines = self.write_lines("in.jsonl", rows)
        self.assertEqual(self.output("tokenize", GGUF, "--jsonl", lines, "--out", out), "")
        answers = read_lines(out)
        self.assertEqual([sorted(answer) for answer in answers], [["decoded", "ids"]] * len(rows))
        self.assertEqual((answers[0]["ids"], answers[1]["ids"], answers[2]["ids"]), (PROMPT_IDS[1:], PROMPT_IDS, []))
        self.assertEqual([answers[i]["decoded"] for i in (0, 2, 3, 4, 5)], [rows[i]["text"] for i in (0, 2, 3, 4, 5)])
        self.assertTrue(out.read_bytes().isascii())
        # the same through pipes, and empty lines do not count
        piped = self.output("tokenize", GGUF, "--jsonl", "-", stdin=b"\n" + lines.read_bytes() + b"\n")
        self.assertEqual(piped, out.read_text())

    def test_bad_lines_name_file_and_line(self):
        cases = [('{"text": "a"}\n{"text": }\n', r"in\.jsonl:2: not valid JSON"), ("[1]\n", r"in\.jsonl:1: .*JSON object"),
                 ('\n{"txt": "a"}\n', r"in\.jsonl:2: 'text' must be a string"), ('{"text": 1}\n', r"in\.jsonl:1: 'text'"),
                 ('{"text": "a", "add_special": "yes"}', r"in\.jsonl:1: 'add_special' must be true or false")]
        for content, message in cases:
            with self.subTest(content):
                self.refused(1, message, "tokenize", FOLDER, "--jsonl", self.write("in.jsonl", content), "--out", "out.jsonl")
                self.assertFalse((self.folder / "out.jsonl").exists())
        self.refused(1, "standard input:1: ", "tokenize", FOLDER, "--jsonl", "-", stdin=b"{")
        self.refused(1, "none.jsonl", "tokenize", FOLDER, "--jsonl", "none.jsonl")

    def test_options_that_do_not_go_together(self):
        lines = self.write_lines("in.jsonl", [{"text": "a"}])
        self.refused(2, "--out needs --jsonl", "tokenize", FOLDER, "a", "--out", "x")
        self.refused(2, "TEXT or --jsonl, not both", "tokenize", FOLDER, "a", "--jsonl", lines)
        self.refused(2, "--out needs --jsonl", "template", FOLDER, "--out", "x")

    def test_models_without_a_tokenizer(self):
        self.refused(1, "none", "tokenize", self.folder / "none", "a")
        self.refused(1, "tokenizer", "tokenize", self.folder, "a")
        self.refused(1, "tokenizer.json", "tokenize", self.write("tokenizer.json", "{}"), "a")


class TemplateTest(CommandTest):
    def test_a_file(self):
        template = self.write("chat.jinja", TEMPLATE)
        self.assertEqual(self.output("template", template), TEMPLATE + "\n")
        rows = [{"messages": [{"role": "user", "content": "Hi"}], "bos_token": "<s>", "add_generation_prompt": True},
                {"messages": [], "year": True, "now": "2024-07-26T14:05:09"}]
        out = self.folder / "out.jsonl"
        self.assertEqual(self.output("template", template, "--jsonl", self.write_lines("in.jsonl", rows), "--out", out), "")
        self.assertEqual(read_lines(out), [{"text": "<s><user>Hi<assistant>"}, {"text": "2024"}])

    def test_what_a_template_refuses_is_an_answer(self):
        rows = self.write_lines("in.jsonl", [{"messages": []}, {"messages": [{"role": "user", "content": "Hi"}]}])
        out = self.folder / "out.jsonl"
        for template, message in (("{{ raise_exception('no') }}", "^no$"), ("a\n{% if x %}", r"bad\.jinja:2:\d+: "),
                                  ("{{ x.y.z }}", r"bad\.jinja:1:")):
            with self.subTest(template):
                self.output("template", self.write("bad.jinja", template), "--jsonl", rows, "--out", out)
                for answer in read_lines(out):
                    self.assertEqual(list(answer), ["error"])
                    self.assertRegex(answer["error"], message)

    def test_the_template_of_a_model(self):
        self.refused(1, "no chat template", "template", FOLDER)
        folder = self.folder / "model"
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (folder / name).symlink_to(FOLDER / name)
        (folder / "tokenizer_config.json").write_text('{"bos_token": "<s>", "chat_template": "{{ bos_token }}{{ messages|length }}"}')
        lines = self.write_lines("in.jsonl", [{"messages": [1, 2]}, {"messages": [], "bos_token": "B"}])
        out = self.output("template", folder, "--jsonl", lines)
        self.assertEqual(out, '{"text":"<s>2"}\n{"text":"B0"}\n')

    def test_bad_lines_name_file_and_line(self):
        template = self.write("chat.jinja", TEMPLATE)
        self.refused(1, r"in\.jsonl:2: not valid JSON", "template", template, "--jsonl", self.write("in.jsonl", "{}\n{"))
        self.refused(1, r"in\.jsonl:1: .*JSON object", "template", template, "--jsonl", self.write("in.jsonl", "3"))
        self.refused(1, "none.jinja", "template", "none.jinja")


if __name__ == "__main__":
    main()

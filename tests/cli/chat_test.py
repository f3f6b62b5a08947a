#!/usr/bin/env python3
"""llmhost run on a terminal: editing, commands, interrupts, the conversation's state."""
import json
import re
import unittest

from program import FOLDER, GGUF, GREEDY, PROMPT, Chat, ProgramTest, main

CHAT_TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
                 "{% if add_generation_prompt %}<assistant>{% endif %}")


class ChatTest(ProgramTest):
    def chat(self, *arguments, model=GGUF):
        chat = Chat(self.program, self.folder, "run", model, "--temperature", 0, *arguments)
        self.addCleanup(chat.kill)
        chat.expect(">>> ")
        return chat

    def chat_with_template(self, *arguments):
        template = self.folder / "template.jinja"
        template.write_text(CHAT_TEMPLATE)
        return self.chat("--chat-template", template, *arguments)

    def saved(self, chat):
        path = self.folder / "saved.json"
        chat.say(f"/save {path}")
        return json.loads(path.read_text())

    def test_a_conversation_computes_only_what_is_new(self):
        chat = self.chat("-n", 20)
        first = chat.say(PROMPT)
        self.assertIn("\n" + GREEDY[:30], first)
        self.assertRegex(first, r"\[prompt 5 tokens, ")
        self.assertRegex(chat.say("The end."), r"\[prompt \d+ tokens \(([1-9]|1\d) of them new\)")
        chat.send("/bye\n")
        self.assertEqual(chat.exit_code(), 0)

    def test_kept_state_changes_nothing(self):
        chat = self.chat_with_template("-n", 12)
        chat.say("Hello.")
        chat.say("And then?")
        kept = self.saved(chat)
        self.assertEqual([m["role"] for m in kept], ["user", "assistant"] * 2)
        text = "".join(f"<{m['role']}>{m['content']}\n" for m in kept[:3]) + "<assistant>"
        _, out, _ = self.run_program("run", GGUF, text, "--raw", "--temperature", 0, "-n", 12, "--json")
        self.assertEqual(kept[3]["content"], json.loads(out)["text"])

    def test_multi_line_messages(self):
        chat = self.chat_with_template("-n", 1)
        chat.send('"""One\n')
        chat.expect(r"\.\.\. ")
        chat.send("\n")
        chat.expect(r"\.\.\. ")
        chat.say('three"""')
        chat.send("a \\\n")
        chat.expect(r"\.\.\. ")
        chat.say("b")
        chat.say('"""four"""')
        said = [m["content"] for m in self.saved(chat) if m["role"] == "user"]
        self.assertEqual(said, ["One\n\nthree", "a \nb", "four"])

    def test_characters_of_several_bytes(self):
        chat = self.chat_with_template("-n", 1)
        chat.say("caf\u00e9 \u4f60\u597d\x7f")  # the last key is backspace
        self.assertEqual(self.saved(chat)[0]["content"], "caf\u00e9 \u4f60")

    def test_commands_that_are_mistyped(self):
        chat = self.chat()
        self.assertIn("unknown command '/hlep'; did you mean '/help'?", chat.say("/hlep"))
        self.assertIn("unknown setting 'temprature'; did you mean 'temperature'?", chat.say("/set temprature 1"))
        self.assertIn("expected a number from 0 to 100", chat.say("/set temperature hot"))
        self.assertIn("usage: /save FILE", chat.say("/save"))
        self.assertIn("did you mean 'template'?", chat.say("/show templat"))
        self.assertIn("max_tokens is 'x'", chat.say("/set max_tokens x"))
        self.assertIn("/regenerate", chat.say("/help"))

    def test_settings(self):
        chat = self.chat("-n", 3)
        chat.say("/set top_k 5")
        chat.say("/set sampling.seed 11")
        chat.say("/set max_tokens 7")
        shown = chat.say("/show settings")
        self.assertRegex(shown, r"temperature +0 +\(--temperature\)")
        self.assertRegex(shown, r"top_k +5 +\(/set top_k\)")
        self.assertRegex(shown, r"seed +11 ")
        self.assertIn("answer 7 tokens", chat.say(PROMPT))

    def test_show(self):
        chat = self.chat_with_template("-n", 2, "--system", "Be kind.")
        self.assertIn("{% for m in messages %}", chat.say("/show template"))
        self.assertIn("vocabulary 512", chat.say("/show model"))
        self.assertIn("nothing was said yet", chat.say("/show prompt"))
        chat.say("Hi")
        self.assertIn(r'prompt text: "<system>Be kind.\n<user>Hi\n<assistant>"', chat.say("/show prompt"))
        chat.say("/system Be brief.")
        chat.say("/clear")
        chat.say("Hi")
        self.assertIn(r'"<system>Be brief.\n<user>Hi\n<assistant>"', chat.say("/show prompt"))

    def test_save_and_load(self):
        chat = self.chat_with_template("-n", 5, "--system", "Be kind.")
        chat.say("Hi")
        chat.say("Again")
        kept = self.saved(chat)
        self.assertEqual([m["role"] for m in kept], ["system", "user", "assistant", "user", "assistant"])
        other = self.chat_with_template("-n", 5)
        self.assertIn("5 messages from", other.say(f"/load {self.folder / 'saved.json'}"))
        self.assertEqual(self.saved(other), kept)
        (self.folder / "bad.json").write_text('[{"role": "pirate", "content": "Arr"}]')
        self.assertIn("the role is 'pirate'", other.say(f"/load {self.folder / 'bad.json'}"))
        self.assertIn("No such file", other.say(f"/load {self.folder / 'none.json'}"))
        self.assertEqual(self.saved(other), kept)

    def test_regenerate(self):
        chat = self.chat_with_template("-n", 5)
        self.assertIn("there is no message to answer", chat.say("/regenerate"))
        chat.say("Hi")
        before = self.saved(chat)
        self.assertIn("(1 of them new)", chat.say("/regenerate"))
        self.assertEqual(self.saved(chat), before)
        (self.folder / "asked.json").write_text(json.dumps({"messages": before[:1]}))
        chat.say(f"/load {self.folder / 'asked.json'}")
        chat.say("/regenerate")
        self.assertEqual(self.saved(chat), before)

    def test_interrupt_stops_the_answer_only(self):
        # The reference backend is slow enough to be caught in the middle; should it be done already, once more.
        chat = self.chat("--backend", "reference", model=FOLDER)
        chat.send(PROMPT + "\n")
        for _ in range(20):
            chat.expect(re.escape(GREEDY[:8]))
            chat.send("\x03")
            if "(stopped)" in chat.expect(r"\n>>> "):
                break
            chat.send("/regenerate\n")
        else:
            self.fail("no answer was caught in the middle")
        said = self.saved(chat)
        self.assertEqual(len(said), 2)
        self.assertTrue(said[1]["content"].startswith(GREEDY[:8]), said)
        chat.say("/set max_tokens 3")
        self.assertIn("answer 3 tokens", chat.say("And"))

    def test_interrupt_at_the_prompt_drops_the_line(self):
        chat = self.chat_with_template("-n", 1)
        chat.send("this is not sa")
        chat.expect("sa$")
        chat.send("\x03")
        chat.expect(r"\^C\n>>> ")
        chat.send('"""nor\n')
        chat.expect(r"\.\.\. ")
        chat.send("this\x03")  # at once
        chat.expect(r"\^C\n>>> ")
        chat.say("but this")
        self.assertEqual([m["content"] for m in self.saved(chat)][:1], ["but this"])
        chat.send("\x04")
        self.assertEqual(chat.exit_code(), 0)

    def test_context_overflow_keeps_the_conversation(self):
        chat = self.chat_with_template("--context", 60, "-n", 5)
        chat.say("Hi")
        before = self.saved(chat)
        self.assertRegex(chat.say("word " * 50), r"the prompt has \d+ tokens, the context holds 60 ")
        self.assertEqual(self.saved(chat), before)
        self.assertIn("answer ", chat.say("Ho"))

    def test_history_is_kept(self):
        chat = self.chat("-n", 1)
        chat.say("a line to find again")
        chat.send("/bye\n")
        chat.exit_code()
        self.assertIn("again", (self.folder / "data" / "llmhost" / "chat_history").read_text())
        again = self.chat("-n", 1)
        again.send("\x10\x10\n")  # Ctrl-P twice: before /bye
        self.assertIn("a line to find again", again.expect(r"\]\n>>> "))

    def test_json_needs_a_prompt(self):
        chat = Chat(self.program, self.folder, "run", GGUF, "--json")
        self.addCleanup(chat.kill)
        self.assertEqual(chat.exit_code(), 2)
        self.assertIn("--json needs a prompt", chat.shown)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Incidents of other servers with what a model's folder brings along: templates and code. The ids are those of docs/security.md."""
import json
import shutil
import time
from pathlib import Path

import server_program
from server_program import ServerTest, program

PROMPT = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}


def copy_model(folder, name, changes=None):
    """A copy of the model folder with changed files: {name: text, or None to leave it out}."""
    target = Path(folder) / name
    shutil.copytree(program.FOLDER, target, dirs_exist_ok=True)
    for gguf in target.glob("*.gguf"):
        gguf.unlink()
    for file, text in (changes or {}).items():
        if text is None:
            (target / file).unlink(missing_ok=True)
        else:
            (target / file).write_text(text, encoding="utf-8")
    return target


def config_of(folder):
    return json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))


class Templates(ServerTest):
    """F10 to F14: a chat template is an untrusted program."""

    def server_with(self, template, name):
        path = copy_model(self.folder, name, {"chat_template.jinja": template})
        return self.start("--model", path)

    def chat(self, server, **more):
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        return server.ask("POST", "/v1/chat/completions",
                          {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, **more})

    def complete(self, server):
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        return server.ask("POST", "/v1/completions", {"model": model, **PROMPT})

    def test_F10_payload_templates_see_no_objects(self):
        for number, payload in enumerate(["{{ ''.__class__.__mro__[1].__subclasses__() }}",
                                          "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
                                          "{{ lipsum.__globals__['os'].system('id') }}",
                                          "{{ messages.append.__self__.__class__ }}"]):
            server = self.server_with(payload, f"payload{number}")
            status, answer = self.chat(server)
            self.assertEqual(status, 422, (payload, answer))
            self.assertNotIn("uid=", json.dumps(answer))
            server.end()

    def test_F11_every_endpoint_that_renders_has_the_same_renderer(self):
        server = self.server_with("{{ cycler.__init__.__globals__ }}", "one-renderer")
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        messages = [{"role": "user", "content": "Hi"}]
        said = set()
        for path, body in [("/v1/chat/completions", {"messages": messages, "max_tokens": 4}), ("/apply-template", {"messages": messages}),
                           ("/v1/responses", {"input": "Hi", "max_output_tokens": 4}), ("/tokenize", {"messages": messages})]:
            status, answer = server.ask("POST", path, {"model": model, **body})
            self.assertEqual(status, 422, (path, answer))
            said.add(answer["error"]["message"])
        self.assertEqual(len(said), 1, said)
        server.end()

    def test_F12_F13_bombs_and_broken_templates_are_errors_with_a_place_and_completions_work(self):
        for number, (template, reason) in enumerate([
                ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", ""),
                ("{% for a in range(1000000) %}{% for b in range(1000000) %}x{% endfor %}{% endfor %}", ""),
                ("{% set ns = namespace(s='x' * 1000) %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", ""),
                ("line one\n{{ messages[0].no_such.thing.at_all() }}", ":2:"),
                ("{% if %}", ":1:")]):
            server = self.server_with(template, f"broken{number}")
            started = time.monotonic()
            status, answer = self.chat(server)
            self.assertEqual(status, 422, (template, answer))
            self.assertLess(time.monotonic() - started, 5)
            self.assertIn(reason, answer["error"]["message"])
            self.assertEqual(self.complete(server)[0], 200)
            self.assertLess(server.rss_mib(), 400)
            server.end()

    def test_F14_template_arguments_of_a_request_are_an_allow_list(self):
        server = self.server_with("{{ messages[0].content }}{{ mood }}", "arguments")
        status, answer = self.chat(server, chat_template_kwargs={"mood": "calm"})
        self.assertEqual(status, 200, answer)
        for name in ("messages", "tools", "chat_template", "add_generation_prompt", "now", "bos_token", "documents",
                     "strftime_now", "raise_exception"):
            status, answer = self.chat(server, chat_template_kwargs={name: "x"})
            self.assertEqual(status, 400, (name, answer))
        server.end()

    def test_F23_bad_schemas_of_tools_are_the_request_s_fault(self):
        path = copy_model(self.folder, "with-tools",
                          {"chat_template.jinja": "{% for t in tools %}{{ t }}{% endfor %}<tool_call>{{ messages[0].content }}"})
        server = self.start("--model", path, "--context", 512)
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        process = server.process.pid
        for parameters in ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a"}}}, {"type": 7}, [], "x",
                           {"type": "object", "properties": {"a": {"$ref": "#/no/where"}}},
                           {"type": "object", "properties": {"a": {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}}}):
            tool = {"type": "function", "function": {"name": "f", "parameters": parameters, "strict": True}}
            status, answer = server.ask("POST", "/v1/chat/completions", {
                "model": model, "messages": [{"role": "user", "content": "x"}], "max_tokens": 4, "tools": [tool],
                "tool_choice": "required"})
            self.assertEqual(status, 400, (parameters, answer))
            self.assertIn("tool", answer["error"]["param"])
        self.assertEqual(server.ask("POST", "/v1/completions", {"model": model, **PROMPT})[0], 200)
        self.assertEqual(server.process.pid, process)
        self.assertIsNone(server.process.poll())


class ModelFolders(ServerTest):
    def test_F15_F16_nothing_of_a_model_folder_runs(self):
        path = copy_model(self.folder, "with-code")
        config = config_of(path)
        config["auto_map"] = {"AutoModelForCausalLM": "evil.Evil"}
        (path / "config.json").write_text(json.dumps(config))
        marker = self.folder / "ran"
        (path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n")
        (path / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n(S'touch %s'\ntR." % str(marker).encode())
        server = self.start("--model", path)
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        self.assertEqual(server.ask("POST", "/v1/completions", {"model": model, **PROMPT})[0], 200)
        self.assertFalse(marker.exists())
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        self.assertNotIn("evil", maps)


if __name__ == "__main__":
    server_program.main()

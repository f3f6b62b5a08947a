"""The web page as the real program serves it, on a small real model.

usage: page_program_test.py LLMHOST     Exit code 77: no browser here.
"""
import hashlib
import json
import sys
import tempfile
import unittest
from pathlib import Path

from page_browser import BrowserTest, Keys
from server_program import ROOT, Server

MODEL = ROOT / "tests/data/models/stories260K"
KEY = "page-test-canary-0123456789"
TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


class PageProgramTest(BrowserTest):
    program = ""

    def start(self, key=""):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        template = Path(folder.name, "chat.jinja")
        template.write_text(TEMPLATE)
        access = []
        if key:
            keys = Path(folder.name, "keys.yaml")
            keys.touch(mode=0o600)
            keys.write_text(json.dumps({"keys": [{"name": "page", "scopes": ["infer"],
                                                  "key": "sha256:" + hashlib.sha256(key.encode()).hexdigest()}]}))
            access = ["--api-key-file", keys]
        self.server = Server(self.program, folder.name, "--model", MODEL, "--chat-template", template, *access)
        self.addCleanup(self.server.log.close)
        self.addCleanup(self.server.process.wait)
        self.addCleanup(self.server.process.kill)
        self.server.wait_ready()
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.browser.get_log("browser")

    def test_the_files_and_their_policy(self):
        self.start()
        for path, kind in {"/": "text/html", "/page/app.js": "text/javascript", "/page/base.css": "text/css", "/page/icon.svg": "image/svg+xml"}.items():
            status, headers, data = self.server.request("GET", path)
            self.assertEqual(status, 200, path)
            headers = {name.lower(): value for name, value in headers.items()}
            self.assertTrue(headers["content-type"].startswith(kind), headers)
            self.assertIn("default-src 'none'", headers["content-security-policy"])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertTrue(data)
        self.assertEqual(self.server.request("GET", "/page/../index.html")[0], 400)
        self.assertEqual(self.server.request("GET", "/page/none.js")[0], 404)

    def test_a_chat_shows_what_the_api_answers(self):
        self.start()
        self.open()
        self.ready()
        for name, value in {"temperature": "0", "max_tokens": "24"}.items():
            self.find(f"#set-{name}").send_keys(value)
        self.say("Once upon a time")
        self.replied()
        model = self.find("#model").get_property("value")
        body = {"model": model, "messages": [{"role": "user", "content": "Once upon a time"}], "temperature": 0, "max_tokens": 24}
        status, answer = self.server.ask("POST", "/v1/chat/completions", body)
        self.assertEqual(status, 200, answer)
        shown = self.text(".message.assistant .body").split()
        self.assertEqual(shown, answer["choices"][0]["message"]["content"].split())
        self.assertTrue(self.text(".figures-line").startswith("24 tokens, "), self.text(".figures-line"))
        self.find("#show-prompt").click()
        self.until(lambda: self.text("#prompt-size"), "the prompt is shown")
        self.assertTrue(self.text("#prompt-text").startswith("Once upon a time "), self.text("#prompt-text"))
        self.find("#prompt-dialog").send_keys(Keys.ESCAPE)
        self.assertEqual(self.complaints(), [])

    def test_the_status_page(self):
        self.start()
        self.open("#status")
        self.until(lambda: self.all(".model"), "the model is shown")
        self.assertEqual(self.text(".model .badge"), "loaded")
        self.assertTrue(self.find("#memory .bar span.weights").is_displayed())
        self.assertFalse(self.find("#status-error").is_displayed())
        self.assertEqual(self.complaints(), [])

    def test_a_key(self):
        self.start(KEY)
        self.open()
        self.until(lambda: self.find("#key-dialog").get_property("open"), "a key is asked for")
        self.find("#key").send_keys(KEY, Keys.ENTER)
        self.find("#set-max_tokens").send_keys("8")
        self.say("Once")
        self.replied()
        self.assertTrue(self.text(".message.assistant .body"))
        self.assertNotIn(KEY, self.server.said())


if __name__ == "__main__":
    PageProgramTest.program = sys.argv.pop(1)
    unittest.main(verbosity=1)

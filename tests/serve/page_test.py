"""The web page in a headless browser: it chats, streams, stops, shows prompt and status, and runs nothing a model writes.

usage: page_test.py     against a stand-in for the server (page_server.py). Exit code 77: no browser here.
"""
import unittest

from page_browser import WAIT_S, BrowserTest, Keys
from page_server import PageServer
from selenium.webdriver.common.action_chains import ActionChains


class PageTest(BrowserTest):
    def setUp(self):
        self.server = PageServer().__enter__()
        self.addCleanup(self.server.__exit__, None, None, None)
        self.state = self.server.state
        self.url = self.server.url
        self.browser.get_log("browser")
        self.open()

    def chats(self):
        return [body for path, body in self.state.bodies if path == "/v1/chat/completions"]

    def test_a_streamed_reply_with_its_figures(self):
        self.state.reply = ["Grüße ", "aus 東京 ", "**fett**"]
        self.say("Hallo")
        self.replied()
        self.assertEqual(self.text(".message.assistant .body"), "Grüße aus 東京 fett")
        self.assertEqual(self.text(".message.assistant .body strong"), "fett")
        self.assertRegex(self.text(".message.assistant .figures-line"), r"^3 tokens, [\d.,]+ tokens/s · first after [\d.]+ s · prompt 17$")
        self.assertEqual(self.chats(), [{"model": "smol-135m", "messages": [{"role": "user", "content": "Hallo"}], "stream": True,
                                         "stream_options": {"include_usage": True}}])
        self.say("Und?")
        self.replied(2)
        self.assertEqual([m["role"] for m in self.chats()[1]["messages"]], ["user", "assistant", "user"])
        self.assertEqual(self.chats()[1]["messages"][1]["content"], "Grüße aus 東京 **fett**")
        self.assertEqual(self.complaints(), [])

    def test_nothing_a_model_writes_becomes_markup(self):
        self.state.reply = ["<img src=x onerror=\"window.hit=1\">", "<script>window.hit=1</script>\n\n",
                            "[a](javascript:window.hit=1) [b](https://example.org/)\n\n```\n<b>x</b>\n```"]
        self.state.calls = [("<b>f</b>", '{"a": "<i>"}')]
        self.say("<u>x</u>")
        self.replied()
        body = self.find(".message.assistant .body")
        self.assertIn("<img src=x onerror", body.text)
        self.assertEqual(self.all(".message img, .message script, .message b, .message u, .message i"), [])
        self.assertEqual([link.get_attribute("href") for link in self.all(".message a")], ["https://example.org/"])
        self.assertIsNone(self.browser.execute_script("return window.hit ?? null"))
        self.assertEqual(self.complaints(), [])

    def test_reasoning_and_calls_are_shown_apart(self):
        self.state.reasoning = ["I must ", "look it up."]
        self.state.reply = []
        self.state.calls = [("get_weather", '{"city": "Paris"}'), ("now", "{}")]
        self.say("Weather?")
        self.replied()
        self.assertEqual(self.text(".thought"), "I must look it up.")
        self.assertEqual([call.text for call in self.all(".call")], ['get_weather {"city": "Paris"}', "now {}"])

    def test_stop_ends_the_request(self):
        self.state.reply = ["word "] * 2000
        self.state.delay = 0.01
        self.say("Go on")
        self.until(lambda: "tokens/s" in self.text("#live"), "the speed is shown while the reply is written")
        self.assertFalse(self.find("#send").is_displayed())
        self.find("#stop").click()
        self.replied()
        self.assertIn("stopped", self.text(".figures-line"))
        self.assertTrue(self.state.aborted.wait(WAIT_S), "the server sees the request end")
        self.assertTrue(self.find("#send").is_displayed())
        self.state.delay = 0
        self.state.reply = ["Again."]
        self.find(".foot button:last-child").click()
        self.until(lambda: self.text(".message.assistant .body") == "Again.", "another try replaces the reply")
        self.assertEqual(len(self.chats()[-1]["messages"]), 1)

    def test_the_keyboard_alone(self):
        self.ready()
        self.find("body").send_keys("/")
        active = self.browser.switch_to.active_element
        self.assertEqual(active.get_attribute("id"), "input")
        actions = ActionChains(self.browser)
        actions.send_keys("one").key_down(Keys.SHIFT).send_keys(Keys.ENTER).key_up(Keys.SHIFT).send_keys("two").perform()
        self.state.reply = ["word "] * 2000
        self.state.delay = 0.01
        active.send_keys(Keys.ENTER)
        self.until(lambda: self.all(".streaming"), "Enter sends")
        self.assertEqual(self.chats()[0]["messages"][0]["content"], "one\ntwo")
        active.send_keys(Keys.ESCAPE)
        self.replied()

    def test_sampling_settings_are_sent_and_kept(self):
        self.ready()
        for name, value in {"system": "Be brief.", "temperature": "0.5", "top_k": "40", "seed": "7", "max_tokens": "64"}.items():
            self.find(f"#set-{name}").send_keys(value)
        self.find("#set-top_p").send_keys("7")  # beyond its range
        self.say("Hi")
        self.replied()
        body = self.chats()[0]
        self.assertEqual(body["messages"][0], {"role": "system", "content": "Be brief."})
        self.assertEqual({key: body.get(key) for key in ["temperature", "top_k", "seed", "max_tokens"]},
                         {"temperature": 0.5, "top_k": 40, "seed": 7, "max_tokens": 64})
        self.assertNotIn("top_p", body)
        self.open()
        self.assertEqual(self.find("#set-temperature").get_property("value"), "0.5")
        self.find("#reset-settings").click()
        self.say("Hi")
        self.replied()
        self.assertEqual(set(self.chats()[1]), {"model", "messages", "stream", "stream_options"})

    def test_model_and_adapter_are_chosen(self):
        self.ready()
        options = [option.text for option in self.all("#model option")]
        self.assertEqual(options, ["smol-135m", "coder-7b"])
        self.assertEqual([option.text for option in self.all("#adapter option")], ["none", "poems", "sql", "broken (failed)"])
        self.find('#adapter option[value="poems"]').click()
        self.say("Hi")
        self.replied()
        self.assertEqual(self.chats()[0]["model"], "smol-135m:poems")
        self.find('#model option[value="coder-7b"]').click()
        self.assertFalse(self.find("#adapter-pick").is_displayed())
        self.assertIn("loading 42 %", self.text("#model-state"))
        self.say("Hi")
        self.replied(2)
        self.assertEqual(self.chats()[1]["model"], "coder-7b")

    def test_a_model_that_is_loading_is_waited_for(self):
        self.state.refusals = [(503, "The model is being loaded.", [("Retry-After", "0.3")])] * 2
        self.say("Hi")
        self.until(lambda: "being loaded" in self.text("#live"), "the reason is shown")
        self.replied()
        self.assertEqual(len(self.chats()), 3)
        self.assertEqual(self.text(".message.assistant .body"), "Hello there.")

    def test_a_refusal_is_shown_and_may_be_tried_again(self):
        self.state.refusals = [(400, "temperature: 9 is beyond 2.", [])]
        self.say("Hi")
        self.replied()
        self.assertEqual(self.text(".message .notice"), "temperature: 9 is beyond 2.")
        self.find(".foot button:last-child").click()
        self.until(lambda: self.text(".message.assistant .body") == "Hello there.", "the second try replies")
        self.assertEqual(len(self.all(".message.assistant")), 1)

    def test_the_key_is_asked_for_and_kept_in_the_session_alone(self):
        self.state.key = "s3cret-canary"
        self.open()
        self.until(lambda: self.find("#key-dialog").get_property("open"), "a key is asked for")
        self.find("#key").send_keys("s3cret-canary", Keys.ENTER)
        self.say("Hi")
        self.replied()
        self.assertEqual(self.state.requests[-1][2] and self.state.requests[-1][2].startswith("Bearer "), True)
        self.assertNotIn("s3cret", self.browser.execute_script("return JSON.stringify(localStorage) + document.cookie + location.href"))
        self.assertIn("s3cret", self.browser.execute_script("return JSON.stringify(sessionStorage)"))
        self.find("#open-key").click()
        self.find("#key-forget").click()
        self.assertNotIn("s3cret", self.browser.execute_script("return JSON.stringify(sessionStorage)"))

    def test_the_exact_prompt(self):
        self.say("What is <b>this</b>?")
        self.replied()
        self.find("#input").send_keys("A draft")
        self.find("#show-prompt").click()
        self.until(lambda: "assistant" in self.text("#prompt-text"), "the prompt is shown")
        self.assertEqual(self.text("#prompt-text"),
                         "<|im_start|>user\nWhat is <b>this</b>?<|im_end|>\n<|im_start|>assistant\nHello there.<|im_end|>\n"
                         "<|im_start|>user\nA draft<|im_end|>\n<|im_start|>assistant\n")
        self.assertRegex(self.text("#prompt-size"), r"^\d+ tokens$")
        self.assertTrue(self.text("#prompt-ids").startswith("1 2 3"))
        self.find("#prompt-dialog").send_keys(Keys.ESCAPE)

    def test_the_status_page(self):
        self.open("#status")
        self.until(lambda: len(self.all(".model")) == 3, "the models are shown")
        self.assertEqual([entry.text for entry in self.all("#figures dd")], ["3", "3", "1,284", "1 d 2 h"])
        self.assertRegex(self.find("#memory .bar").get_attribute("aria-label"), r"^5\.1 GiB of 16 GiB used: Weights 4\.18 GiB")
        segments = [float(self.browser.execute_script("return arguments[0].getBoundingClientRect().width", part))
                    for part in self.all("#memory .bar span")]
        whole = self.find("#memory .bar").size["width"]
        self.assertAlmostEqual(segments[0] / whole, (4 + 180 / 1024) / 16, delta=0.01)
        self.assertEqual([cell.text for cell in self.all(".model:first-child tbody th")][:2], ["poems", "sql"])
        self.state.status = {"models": [], "memory": {"budget": 1 << 30, "used": 0}, "uptime_s": 5,
                             "requests": {"running": 0, "waiting": 0, "total": 0}}
        self.until(lambda: "No model" in self.text("#models"), "the page follows the server")

    def test_the_status_page_without_that_route(self):
        self.state.status = None
        self.open("#status")
        self.until(lambda: len(self.all(".model")) == 2, "the models are shown")
        self.assertFalse(self.find("#memory-panel").is_displayed())

    def test_every_control_has_a_name_and_the_page_fits_a_phone(self):
        self.ready()
        unnamed = self.browser.execute_script("""
            return [...document.querySelectorAll("button, input, select, textarea, dialog, section, aside, nav")].filter((element) =>
              !element.getAttribute("aria-label") && !element.getAttribute("aria-labelledby") && !element.labels?.length
              && !element.textContent.trim()).map((element) => element.outerHTML.slice(0, 120));""")
        self.assertEqual(unnamed, [])
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
        self.addCleanup(self.browser.execute_cdp_cmd, "Emulation.clearDeviceMetricsOverride", {})
        self.state.reply = ["`" + "x" * 300 + "` ", "word " * 50, "\n\n|a|b|\n|-|-|\n|" + "y" * 200 + "|z|\n"]
        for fragment in ["", "#status"]:
            self.open(fragment)
            if not fragment:
                self.say("w" * 200)
                self.replied()
            else:
                self.until(lambda: self.all(".model"), "the models are shown")
            self.assertEqual(self.browser.execute_script("return document.documentElement.scrollWidth"), 360)
        self.assertEqual(self.complaints(), [])

    def test_themes(self):
        self.ready()
        seen = set()
        for name in ["auto", "light", "dark"]:
            self.assertEqual(self.text("#theme"), f"Theme: {name}")
            seen.add(self.browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
            self.find("#theme").click()
        self.assertEqual(len(seen), 2)
        self.assertEqual(self.text("#theme"), "Theme: auto")


if __name__ == "__main__":
    unittest.main(verbosity=1)

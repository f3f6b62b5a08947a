#!/usr/bin/env python3
"""Incidents of other servers, each as a test of the whole program; the ids are those of docs/security.md."""
import json
import shutil
import statistics
import time

import server_program
from server_program import MODULES, ROOT, ServerTest, adapters, program

DEVIATION = 0.4  # of adapters: they change what the model says
CANARY = "canary-7f3a-xylophone"
PROMPT = {"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}


class Requests(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapters = cls.folder / "adapters"
        adapters.write_adapter(cls.adapters / "one", MODULES, 8, 1, DEVIATION)
        adapters.write_adapter(cls.adapters / "two", MODULES, 4, 2, DEVIATION)
        cls.server = cls.start("--model", program.GGUF, "--context", 512, "--adapters", cls.adapters)
        cls.model = cls.server.ask("GET", "/v1/models")[1]["data"][0]["id"]

    def complete(self, model=None, **more):
        return self.server.ask("POST", "/v1/completions", {"model": model or self.model, **PROMPT, **more})

    def assert_serving(self):
        self.assertEqual(self.complete()[0], 200)

    def test_F20_F21_numbers_and_lists_have_ranges(self):
        before = self.server.rss_mib()
        for field, values in {"n": [0, -1, 10**6, 2**63, "3", 1.5], "best_of": [10**6, -1],
                              "temperature": [-0.1, 1e308, "hot", True], "top_p": [0, 1.1, -1], "top_k": [-2, 2**63, 0.5],
                              "logprobs": [-1, 10**6], "max_tokens": [-5, 2**63, 1e308], "seed": [-1.5, "x"],
                              "frequency_penalty": [-2.1, 2.1], "presence_penalty": [1e9],
                              "stop": [["x"] * 10**5, 7], "logit_bias": [{str(i): 1 for i in range(10**5)}, {"a": 1}, []]}.items():
            for value in values:
                started = time.monotonic()
                status, answer = self.complete(**{field: value})
                self.assertEqual(status, 400, (field, str(value)[:50], answer))
                self.assertIn(field, answer["error"]["param"] or answer["error"]["message"])
                self.assertLess(time.monotonic() - started, 2)
        self.assertLess(self.server.rss_mib() - before, 64)
        self.assert_serving()

    def test_F20_numbers_that_are_none(self):
        for text in ("NaN", "Infinity", "-Infinity", "1e999"):
            status, _, _ = self.server.request(
                "POST", "/v1/completions", '{"model":"%s","prompt":"x","temperature":%s}' % (self.model, text))
            self.assertEqual(status, 400, text)

    def test_context_overflow_tells_both_numbers(self):
        status, answer = self.complete(prompt="dog " * 2000)
        self.assertEqual(status, 400)
        self.assertIn("512", answer["error"]["message"])

    def test_F23_F25_F26_bad_and_explosive_schemas_are_refused(self):
        deep = {"type": "object"}
        for _ in range(10_000):
            deep = {"type": "object", "properties": {"a": deep}}
        explosive = [{"type": "string", "pattern": "(a+)+$("}, {"type": 7}, {"type": "strnig"}, {"$ref": "#/$defs/none"},
                     {"type": "array", "items": {"type": "string"}, "minItems": 10**9, "maxItems": 10**9},
                     {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}]
        for schema in explosive:
            started = time.monotonic()
            status, answer = self.complete(response_format={"type": "json_schema",
                                                            "json_schema": {"name": "s", "schema": schema}})
            self.assertEqual(status, 400, (schema, answer))
            self.assertLess(time.monotonic() - started, 3, schema)
        text = json.dumps({"model": self.model, **PROMPT}).removesuffix("}") + ', "guided_json": ' + "[" * 20_000 + "]" * 20_000 + "}"
        self.assertEqual(self.server.request("POST", "/v1/completions", text)[0], 400)
        self.assert_serving()

    def test_F25_what_is_no_grammar_is_refused_in_every_form(self):
        for field in ({"guided_regex": "(a"}, {"guided_grammar": "root ::= none"}, {"grammar": "root ::= "}, {"guided_choice": []},
                      {"guided_json": {"type": "strnig"}}, {"response_format": {"type": "jsn"}},
                      {"response_format": {"type": "regex", "pattern": "a{2,1}"}}):
            status, answer = self.complete(**field)
            self.assertEqual(status, 400, (field, answer))
        self.assert_serving()

    def test_F26_a_schema_that_refers_to_itself_is_followed_or_refused_at_once(self):
        for schema, expected in (({"$ref": "#"}, 400), ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}, 400),
                                 ({"enum": [f"value {i}" * 8 for i in range(60_000)]}, None),
                                 ({"type": "object", "properties": {"a": {"$ref": "#"}}, "additionalProperties": False}, 200)):
            started = time.monotonic()
            status, answer = self.complete(response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}})
            self.assertIn(status, (expected,) if expected else (200, 400), answer)
            self.assertLess(time.monotonic() - started, 3)
        self.assert_serving()

    def test_F27_images_are_not_even_decoded(self):
        before = self.server.rss_mib()
        for part in ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 500_000}}, {"type": "input_audio"},
                     {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}, {"type": "file", "file": {"file_data": ""}}):
            status, answer = self.server.ask("POST", "/v1/chat/completions", {
                "model": self.model, "messages": [{"role": "user", "content": [part]}], "max_tokens": 2})
            self.assertEqual((status, answer["error"]["code"]), (400, "unsupported_content"))
        self.assertLess(self.server.rss_mib() - before, 32)

    def test_F24_distinct_schemas_fill_no_memory(self):
        for i in range(50):
            self.complete(max_tokens=2, guided_choice=[f"warm{i}", "b"])
        before = self.server.rss_mib()
        for i in range(1500):
            status, answer = self.complete(max_tokens=1, guided_choice=[f"choice{i}", "b"])
            self.assertEqual(status, 200, answer)
        self.assertLess(self.server.rss_mib() - before, 96)

    def test_F29_errors_tell_nothing_of_the_inside(self):
        for method, path, body in [("GET", "/nowhere", None), ("POST", "/v1/completions", "{"), ("GET", "/v1/models/none", None),
                                   ("POST", "/v1/completions", {"model": "../../etc/passwd", "prompt": "x"}),
                                   ("POST", "/v1/completions", {"model": f"{self.model}:../one", "prompt": "x"}),
                                   ("DELETE", "/v1/completions", None), ("POST", "/tokenize", {"model": 3})]:
            status, headers, data = self.server.request(method, path, body)
            self.assertIn(status, (400, 404, 405), (path, data))
            error = json.loads(data)["error"]
            self.assertLessEqual(set(error), {"message", "type", "param", "code", "state", "progress", "request_id", "line", "column"})
            for secret in (str(self.folder), str(ROOT), "0x", ".cpp"):
                self.assertNotIn(secret, error["message"])
            del headers

    def test_F30_prompts_are_in_no_log_and_no_metric(self):
        self.complete(prompt=CANARY)
        self.complete(prompt=CANARY, temperature="x")
        self.server.ask("POST", "/v1/chat/completions", {"model": CANARY, "messages": [{"role": "user", "content": CANARY}]})
        self.server.request("GET", f"/{CANARY}?{CANARY}={CANARY}", headers={"X-Thing": CANARY})
        metrics = self.server.request("GET", "/metrics")[2].decode()
        self.assertNotIn(CANARY, metrics)
        self.assertNotIn(CANARY, self.server.said())

    def test_F31_F43_names_of_adapters_lead_nowhere_else(self):
        outside = self.folder / "outside"
        adapters.write_adapter(outside, MODULES, 4, 5, DEVIATION)
        (self.adapters / "link").unlink(missing_ok=True)
        (self.adapters / "link").symlink_to(outside)
        for name in ("../outside", str(outside), "link", "one/../../outside", "%2e%2e/outside", "one\0", "x" * 4096, "", ".", "ｏne"):
            status, answer = self.complete(model=f"{self.model}:{name}")
            self.assertIn(status, (400, 403, 404), (name, answer))
        self.assertEqual(self.complete(model=f"{self.model}:one")[0], 200)

    def test_F43_broken_adapters_are_refused_each_with_its_reason_and_others_serve(self):
        def broken(name, change=None, config=None, cut=None):
            adapters.write_adapter(self.adapters / name, MODULES, 8, 3, DEVIATION)
            path = self.adapters / name / "adapter_config.json"
            text = json.loads(path.read_text())
            text.update(config or {})
            path.write_text(json.dumps(text).replace('"NaN"', "NaN"))
            if change:
                change(self.adapters / name)
            weights = self.adapters / name / "adapter_model.safetensors"
            if cut:
                weights.write_bytes(weights.read_bytes()[:cut])

        broken("rank0", config={"r": 0})
        broken("rank-huge", config={"r": 10**9})
        broken("rank-other", config={"r": 4})
        broken("alpha-nan", config={"lora_alpha": "NaN"})
        broken("unknown-method", config={"peft_type": "VERA"})
        broken("unknown-field", config={"new_trick": True})
        broken("no-target", config={"target_modules": ["nothing"]})
        broken("bad-regex", config={"target_modules": "(("})
        broken("bomb-regex", config={"target_modules": "(a|a|.*)*" * 12 + "!"})
        broken("cut-head", cut=4)
        broken("cut-data", cut=9000)
        broken("no-weights", change=lambda at: (at / "adapter_model.safetensors").unlink())
        broken("no-config", change=lambda at: (at / "adapter_config.json").write_text("{"))
        broken("pickle", change=lambda at: (at / "adapter_model.safetensors").rename(at / "adapter_model.bin"))
        messages = {}
        for name in ("rank0", "rank-huge", "rank-other", "alpha-nan", "unknown-method", "unknown-field", "no-target", "bad-regex",
                     "bomb-regex", "cut-head", "cut-data", "no-weights", "no-config", "pickle"):
            started = time.monotonic()
            status, answer = self.complete(model=f"{self.model}:{name}")
            self.assertTrue(400 <= status < 500, (name, status, answer))
            self.assertLess(time.monotonic() - started, 5, name)
            message = answer["error"]["message"]
            self.assertNotIn("\n", message)
            self.assertNotIn(str(self.folder), message)
            messages[name] = message.replace(name, "NAME")
            self.assertEqual(self.complete(model=f"{self.model}:one")[0], 200)
            self.assert_serving()
        # An expression that backtracks for ever is given up: then it names nothing either.
        del messages["bomb-regex"]
        self.assertEqual(len(set(messages.values())), len(messages), messages)
        self.assertIn("safetensors", messages["pickle"])
        self.assertIn(".bin", messages["pickle"])

    def text(self, model, salt):
        status, answer = self.complete(model=model, prompt="Lily and Tom went to the park with their mom and dad. " * 4,
                                       max_tokens=6, logprobs=3, cache_salt=salt)
        self.assertEqual(status, 200, answer)
        choice = answer["choices"][0]
        return choice["text"], json.dumps(choice["logprobs"], sort_keys=True)

    def test_F37_warm_answers_equal_cold_ones_in_every_order_of_adapters(self):
        models = [self.model, f"{self.model}:one", f"{self.model}:two"]
        cold = {model: self.text(model, f"cold-{i}") for i, model in enumerate(models)}
        self.assertEqual(len({text for text, _ in cold.values()}), 3)
        for number, order in enumerate([(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 1, 0, 2, 2, 0)]):
            for index in order:
                self.assertEqual(self.text(models[index], f"warm-{number}"), cold[models[index]])

    def test_F38_another_adapter_under_the_same_name_is_another_adapter(self):
        name = f"{self.model}:renewed"
        answers = []
        for seed in (21, 22, 21):
            shutil.rmtree(self.adapters / "renewed", ignore_errors=True)
            adapters.write_adapter(self.adapters / "renewed", MODULES, 8, seed, DEVIATION)
            answers.append(self.text(name, "same"))
            self.assertEqual(self.text(name, "same"), answers[-1])
        self.assertEqual(answers[0], answers[2])
        self.assertNotEqual(answers[0], answers[1])


class Tenants(ServerTest):
    """F40: what one key has cached is not there for another."""

    def test_F40_a_prefix_is_kept_for_its_key_alone(self):
        keys = self.folder / "keys.yaml"
        keys.write_text("keys:\n  - {name: a, key: key-of-a-0123456789, scopes: [infer]}\n"
                        "  - {name: b, key: key-of-b-0123456789, scopes: [infer]}\n")
        keys.chmod(0o600)
        server = self.start("--model", program.GGUF, "--context", 512, "--api-key-file", keys)

        def ask(key, prompt, **more):
            status, answer = server.ask("POST", "/v1/completions", {"model": model, "prompt": prompt, "max_tokens": 1,
                                                                    "temperature": 0, **more},
                                        {"Authorization": f"Bearer key-of-{key}-0123456789"})
            self.assertEqual(status, 200, answer)
            return answer["usage"].get("prompt_tokens_details", {}).get("cached_tokens", 0)

        model = server.ask("GET", "/v1/models", headers={"Authorization": "Bearer key-of-a-0123456789"})[1]["data"][0]["id"]
        secret = "The bear has a red balloon and nobody knows where it is. " * 8
        self.assertEqual(ask("a", secret), 0)
        self.assertGreater(ask("a", secret), 32)
        self.assertEqual(ask("b", secret), 0)
        self.assertEqual(ask("a", secret, cache_salt="other"), 0)
        # Nor does it take longer or shorter than any other prompt of that length.
        times = {"hit elsewhere": [], "new": []}
        for i in range(40):
            for kind, text in (("hit elsewhere", f"{i} a{i} " + secret), ("new", f"{i} b{i} " + secret)):
                if kind == "hit elsewhere":
                    ask("a", text)
                started = time.perf_counter()
                ask("b", text)
                times[kind].append(time.perf_counter() - started)
        ratio = statistics.median(times["hit elsewhere"]) / statistics.median(times["new"])
        self.assertTrue(0.7 < ratio < 1.4, ratio)

    def test_F41_one_key_does_not_flush_the_prefixes_of_another(self):
        keys = self.folder / "flood.yaml"
        keys.write_text("keys:\n  - {name: a, key: key-of-a-0123456789, scopes: [infer]}\n"
                        "  - {name: b, key: key-of-b-0123456789, scopes: [infer]}\n")
        keys.chmod(0o600)
        config = self.folder / "flood-server.yaml"
        config.write_text(f"models: [{{id: m, path: {program.GGUF}}}]\n"
                          "engine: {context: 256, sequences: 4, state_tokens: 2048}\n")
        server = self.start("--config", config, "--api-key-file", keys)

        def cached(key, prompt):
            status, answer = server.ask("POST", "/v1/completions", {"model": "m", "prompt": prompt, "max_tokens": 1, "temperature": 0},
                                        {"Authorization": f"Bearer key-of-{key}-0123456789"})
            self.assertEqual(status, 200, answer)
            return answer["usage"]["prompt_tokens_details"]["cached_tokens"]

        own = [f"{i} " + "Tom has a red ball and a blue car. " * 4 for i in range(4)]
        for prompt in own:
            cached("b", prompt)
        alone = sum(cached("b", prompt) > 0 for prompt in own)
        for i in range(60):
            cached("a", f"flood {i} " + "Sue saw a big dog in the park. " * 6)
        self.assertEqual(alone, len(own))
        self.assertEqual(sum(cached("b", prompt) > 0 for prompt in own), alone)

    def test_F42_pinned_adapters_are_those_of_the_listed_digests(self):
        folder = self.folder / "pinned"
        adapters.write_adapter(folder / "good", MODULES, 4, 31, DEVIATION)
        adapters.write_adapter(folder / "changed", MODULES, 4, 32, DEVIATION)
        server = self.start("--model", program.GGUF, "--adapters", folder)
        model = server.ask("GET", "/v1/models")[1]["data"][0]["id"]
        status, answer = server.ask("POST", "/v1/completions", {"model": f"{model}:good", **PROMPT})
        self.assertEqual(status, 200, answer)
        digest = answer["llmhost"]["adapter_digest"]
        server.end()
        config = self.folder / "pinned.yaml"
        config.write_text(f"models:\n  - id: m\n    path: {program.GGUF}\n    adapters:\n      roots: [{folder}]\n"
                          f"      policy: pinned\n      digests: ['good={digest}', 'changed={digest}']\n")
        server = self.start("--config", config)
        self.assertEqual(server.ask("POST", "/v1/completions", {"model": "m:good", **PROMPT})[0], 200)
        status, answer = server.ask("POST", "/v1/completions", {"model": "m:changed", **PROMPT})
        self.assertTrue(400 <= status < 500, answer)
        self.assertIn("SHA-256", answer["error"]["message"])


if __name__ == "__main__":
    server_program.main()

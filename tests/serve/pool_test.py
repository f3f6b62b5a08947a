#!/usr/bin/env python3
"""Five models with memory for two: random requests from several clients are all answered, and the pinned model never leaves."""
import json
import random
import re
import shutil
import threading
import time

import server_program
from server_program import ServerTest, program

REQUESTS = 500
CLIENTS = 8
MODELS = ["a", "b", "c", "d", "e"]


class Pool(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.roots = cls.folder / "roots"
        cls.roots.mkdir()
        for name in MODELS[1:]:
            shutil.copy(program.GGUF, cls.roots / f"{name}.gguf")

    def config(self, memory, more=""):
        path = self.folder / "pool.yaml"
        path.write_text(f"models: [{{id: a, path: {program.GGUF}}}]\nengine: {{context: 128, sequences: 4}}\n"
                        f"pool: {{roots: [{self.roots}], memory: {memory}{more}}}\n")
        return path

    def bytes_of_one(self):
        server = self.start("--config", self.config("1GiB"))
        needed = server.ask("GET", "/v1/models/b/memory")[1]["memory"]["total"]
        server.end()
        return needed

    def ask_at_random(self, server, seed, count, answers):
        chance = random.Random(seed)
        for _ in range(count):
            name = chance.choice(MODELS)
            body = {"model": name, "prompt": "Once upon a time", "max_tokens": chance.choice([1, 4, 16]), "temperature": 0}
            status, answer = server.ask("POST", "/v1/completions", body)
            answers.append((status, answer if status != 200 else (answer["model"], answer["choices"][0]["text"])))

    def test_random_requests_over_more_models_than_fit(self):
        budget = int(self.bytes_of_one() * 2.5)
        server = self.start("--config", self.config(budget), "--log-level", "info")
        if server.request("POST", "/v1/completions", {})[0] == 404:
            self.skipTest("this build has no completions")
        answers, most_used, pinned_states = [], 0, set()
        clients = [threading.Thread(target=self.ask_at_random, args=(server, seed, REQUESTS // CLIENTS + 1, answers))
                   for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        while any(client.is_alive() for client in clients):
            status = server.ask("GET", "/status")[1]
            most_used = max(most_used, status["memory"]["used"])
            pinned_states.add(next(model["state"] for model in status["models"] if model["id"] == "a"))
            time.sleep(0.05)
        self.assertGreaterEqual(len(answers), REQUESTS)
        self.assertEqual([answer for answer in answers if answer[0] != 200], [])
        texts = {}
        for _, (_, text) in answers:
            texts.setdefault(len(text), set()).add(text)
        self.assertTrue(all(len(variants) == 1 for variants in texts.values()), texts)  # greedy: the same at each length
        self.assertLessEqual(most_used, budget)
        self.assertEqual(pinned_states, {"loaded"})
        said = server.said()
        unloaded = re.findall(r"pool: (\S+) is unloaded", said)
        self.assertGreater(len(unloaded), 10)
        self.assertNotIn("a", unloaded)
        self.assertIsNone(server.process.poll())

    def test_the_longest_unused_goes_first(self):
        server = self.start("--config", self.config(int(self.bytes_of_one() * 3.5)), "--log-level", "info")
        for name in ("b", "c", "b", "d", "c"):
            self.assertEqual(server.ask("POST", "/v1/models/load", {"model": name})[0], 202)
            end = time.monotonic() + server_program.WAIT_S
            while time.monotonic() < end:
                states = {model["id"]: model["state"] for model in server.ask("GET", "/status")[1]["models"]}
                if states[name] == "loaded":
                    break
                time.sleep(0.02)
            self.assertEqual(states[name], "loaded")
        order = re.findall(r"pool: (\S+) is (loaded|unloaded)", server.said())
        self.assertEqual(order, [("a", "loaded"), ("b", "loaded"), ("c", "loaded"), ("c", "unloaded"), ("d", "loaded"),
                                 ("b", "unloaded"), ("c", "loaded")])

    def test_a_model_that_can_never_fit_is_refused_with_the_figures(self):
        server = self.start("--config", self.config(int(self.bytes_of_one() * 1.5)))
        status, answer = server.ask("POST", "/v1/completions", {"model": "b", "prompt": "x", "max_tokens": 1})
        if status == 404 and "route" in json.dumps(answer):
            self.skipTest("this build has no completions")
        self.assertIn(status, (429, 503), answer)
        self.assertRegex(answer["error"]["message"], r"MiB")

    def test_without_waiting_one_is_told_when_to_come_again(self):
        server = self.start("--config", self.config("1GiB", ", on_not_loaded: error"))
        body = {"model": "b", "prompt": "Once", "max_tokens": 1}
        status, headers, data = server.request("POST", "/v1/completions", body)
        if status == 404:
            self.skipTest("this build has no completions")
        self.assertEqual(status, 503, data)
        error = json.loads(data)["error"]
        self.assertIn(error["state"], ("queued", "loading"))
        self.assertGreaterEqual(int({name.lower(): value for name, value in headers.items()}["retry-after"]), 1)
        end = time.monotonic() + server_program.WAIT_S
        while status != 200 and time.monotonic() < end:
            time.sleep(0.05)
            status = server.request("POST", "/v1/completions", body)[0]
        self.assertEqual(status, 200)

    def test_a_model_that_comes_later_is_found(self):
        server = self.start("--config", self.config("1GiB"))
        shutil.copy(program.GGUF, self.roots / "late.gguf")
        time.sleep(1.1)
        self.assertEqual(server.ask("GET", "/v1/models/late/memory")[0], 200)
        for name in ("../late", "%2e%2e/late", "late.gguf", "/etc/passwd"):
            self.assertIn(server.ask("POST", "/v1/models/load", {"model": name})[0], (400, 404))
        (self.roots / "late.gguf").unlink()


if __name__ == "__main__":
    server_program.main()

#!/usr/bin/env python3
"""llmhost serve as a process: starting, readiness, models, ending, what is wrong with its arguments."""
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

import server_program
from server_program import ROOT, WAIT_S, ServerTest, program, servers


def has_completions(server):
    return server.request("POST", "/v1/completions", {})[0] != 404


class Serve(ServerTest):
    def call(self, *arguments, env=None):
        """(exit code, standard error) of a server that should not come to life."""
        done = subprocess.run([self.program, "serve", *map(str, arguments)], capture_output=True, check=False, timeout=WAIT_S,
                              stdin=subprocess.DEVNULL, env={**program.environment(self.folder), **(env or {})})
        return done.returncode, done.stderr.decode()

    def refused(self, code, message, *arguments, **more):
        actual, error = self.call(*arguments, **more)
        self.assertEqual(actual, code, error)
        self.assertRegex(error.splitlines()[-1], rf"^llmhost: .*(?:{message})")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def test_one_option_is_enough(self):
        server = self.start("--model", program.GGUF)
        self.assertEqual(server.ask("GET", "/health")[1], {"status": "ok"})
        status = server.ask("GET", "/status")[1]
        self.assertEqual(status["models"][0]["id"], "stories260K-q8_0")
        self.assertEqual(status["models"][0]["state"], "loaded")
        self.assertTrue(status["models"][0]["pinned"])
        self.assertEqual(status["requests"], {"running": 0, "waiting": 0, "total": 0})
        memory = status["models"][0]["memory"]
        self.assertGreater(memory["weights"], 200_000)
        self.assertGreaterEqual(memory["total"], memory["weights"] + memory["state"] + memory["arena"])
        self.assertEqual(status["memory"]["used"], memory["total"])
        text = server.request("GET", "/metrics")[2].decode()
        self.assertIn('llmhost_model_loaded{model="stories260K-q8_0"} 1', text)
        self.assertEqual(server.end(), 0)

    def test_what_a_model_would_take(self):
        server = self.start("--model", program.GGUF, "--context", 256)
        small = server.ask("GET", "/v1/models/stories260K-q8_0/memory?context=64&sequences=1")[1]
        large = server.ask("GET", "/v1/models/stories260K-q8_0/memory?context=512&sequences=32")[1]
        self.assertLess(small["memory"]["state"], large["memory"]["state"])
        self.assertTrue(small["fits"])
        self.assertEqual(server.ask("GET", "/v1/models/none/memory")[0], 404)
        self.assertEqual(server.ask("GET", "/v1/models/stories260K-q8_0/memory?context=0")[0], 400)
        self.assertEqual(server.ask("GET", "/v1/models/stories260K-q8_0/memory?context=100000")[0], 400)

    def test_two_models_and_an_alias(self):
        config = self.write("two.yaml", f"models:\n  - {{id: one, path: {program.GGUF}, aliases: [other]}}\n"
                                        f"  - {{id: two, path: {program.FOLDER}, preload: false}}\nengine: {{context: 256}}\n")
        server = self.start("--config", config)
        states = {model["id"]: model["state"] for model in server.ask("GET", "/status")[1]["models"]}
        self.assertEqual(states, {"one": "loaded", "two": "known"})
        self.assertEqual(server.ask("POST", "/v1/models/load", {"model": "two"})[0], 202)
        end = time.monotonic() + WAIT_S
        while states["two"] != "loaded" and time.monotonic() < end:
            time.sleep(0.05)
            states = {model["id"]: model["state"] for model in server.ask("GET", "/status")[1]["models"]}
        self.assertEqual(states["two"], "loaded")
        self.assertEqual(server.ask("POST", "/v1/models/unload", {"model": "one"})[0], 409)  # pinned
        self.assertEqual(server.ask("POST", "/v1/models/unload", {"model": "two"})[0], 202)
        self.assertEqual(server.ask("POST", "/v1/models/unload", {"model": "three"})[0], 404)
        self.assertEqual(server.ask("POST", "/v1/models/load", {"modle": "two"})[0], 400)

    def test_keys_of_one_model_know_of_no_other(self):
        keys = self.write("limited.yaml", "keys:\n  - {name: l, key: key-of-limited-01, models: [two], scopes: [infer, adapters, admin]}\n"
                                          "  - {name: i, key: key-of-infer-0123, scopes: [infer]}\n")
        keys.chmod(0o600)
        config = self.write("limits.yaml", f"models:\n  - {{id: one, path: {program.GGUF}, pinned: false}}\n"
                                           f"  - {{id: two, path: {program.GGUF}, preload: false}}\nengine: {{context: 256}}\n")
        limited = {"X-Api-Key": "key-of-limited-01"}
        server = self.start("--config", config, "--api-key-file", keys)
        for path, body in (("/v1/models/load", {"model": "one"}), ("/v1/models/unload", {"model": "one"}),
                           ("/v1/unload_lora_adapter", {"model": "one", "lora_name": "x"})):
            status, answer = server.ask("POST", path, body, limited)
            self.assertEqual((status, answer["error"]["code"]), (404, "not_found"), path)
        self.assertEqual(server.request("GET", "/metrics", headers={"X-Api-Key": "key-of-infer-0123"})[0], 403)
        status, answer = server.ask("POST", "/v1/unload_lora_adapter", {"model": "two", "lora_name": "x"}, limited)
        self.assertEqual(status, 404, answer)
        states = {model["id"]: model["state"] for model in server.ask("GET", "/status", headers=limited)[1]["models"]}
        self.assertEqual(states, {"two": "known"})  # not loaded to say that nothing is
        body = {"prompt": "Once", "max_tokens": 1}
        status, answer = server.ask("POST", "/v1/completions", body, limited)
        if status != 400:  # 400: this build wants a model's name
            self.assertEqual((status, answer["model"]), (200, "two"), answer)

    def long_stream(self, server):
        """(connection, answer) of a stream that runs for a while."""
        connection = server.connect()
        body = {"model": "stories260K-q8_0", "prompt": "Once", "max_tokens": 400, "temperature": 0, "stream": True,
                "ignore_eos": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.assertEqual(answer.status, 200)
        answer.readline()
        return connection, answer

    def test_a_signal_lets_running_requests_finish(self):
        server = self.start("--model", program.GGUF, "--context", 512)
        if not has_completions(server):
            self.skipTest("this build has no completions")
        connection, answer = self.long_stream(server)
        server.process.send_signal(signal.SIGTERM)
        rest = answer.read().decode()
        self.assertIn("data: [DONE]", rest)
        connection.close()
        self.assertEqual(server.process.wait(WAIT_S), 0)
        with self.assertRaises(OSError):
            server.request("GET", "/health")

    def test_while_it_ends_it_is_not_ready_and_refuses_more_and_a_second_signal_ends_it(self):
        server = self.start("--model", program.GGUF, "--context", 512)
        if not has_completions(server):
            self.skipTest("this build has no completions")
        streams = [self.long_stream(server) for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.15)
        if server.process.poll() is None:
            try:
                self.assertEqual(server.request("GET", "/ready")[0], 503)
                status, headers, _ = server.request("POST", "/v1/completions", {"model": "x", "prompt": "y"})
                self.assertEqual(status, 503)
                self.assertIn("Retry-After", {name.title() for name in headers})
            except OSError:
                self.assertIsNotNone(server.process.wait(5))  # all was answered meanwhile
        if server.process.poll() is None:
            server.process.send_signal(signal.SIGINT)
        self.assertEqual(server.process.wait(3), 0)
        for connection, _ in streams:
            connection.close()

    @staticmethod
    def places_taken(server):
        requests = server.ask("GET", "/status")[1]["requests"]
        return requests["running"] + requests["waiting"]

    def test_a_client_that_goes_frees_its_place(self):
        server = self.start("--model", program.GGUF, "--context", 512)
        if not has_completions(server):
            self.skipTest("this build has no completions")
        streams = [self.long_stream(server) for _ in range(8)]
        for connection, answer in streams:
            answer.close()
            connection.close()
        gone = time.monotonic()
        while self.places_taken(server) > 0:
            self.assertLess(time.monotonic() - gone, 2)
            time.sleep(0.01)

    def test_what_is_wrong_is_told_in_a_line(self):
        self.refused(2, "no model; name one with --model")
        self.refused(2, "--adapters needs --model", "--adapters", self.folder, "--config",
                     ROOT / "configs" / "serve" / "single.yaml")
        self.refused(2, "unknown option '--prot'.*--port", "--model", program.GGUF, "--prot", 1)
        self.refused(2, "from 0 to 65535", "--model", program.GGUF, "--port", 70000)
        self.refused(1, "no such file|does not exist|cannot", "--model", self.folder / "none", "--port", servers.free_port())
        bad = self.write("bad.yaml", "server: {port: 1}\nmodels:\n  - path: x\n    contxt: 5\n")
        self.refused(2, r"bad\.yaml:4:5: unknown key 'contxt'", "--config", bad)
        self.refused(2, r"bad\.yaml:4:5: ", "--config", bad, "--check")
        gone = self.write("gone.yaml", "models:\n  - {id: a, path: nowhere.gguf}\n")
        self.refused(2, r"gone\.yaml:2:5: the model's path '.*nowhere\.gguf' does not exist", "--config", gone, "--check")
        twice = self.write("twice.yaml", f"models:\n  - {{id: a, path: {program.GGUF}}}\n  - {{path: {program.GGUF}, aliases: [a]}}\n")
        self.refused(2, r"twice\.yaml:3:5: two models have the name 'a'; the other one is at .*twice\.yaml:2:5", "--config", twice)
        self.refused(2, "did you mean 'models'", "--config", self.write("worse.yaml", "modles: []\n"))
        self.refused(2, "none.yaml", "--config", self.folder / "none.yaml")

    def test_F18_no_other_address_without_a_key(self):
        self.refused(2, "key", "--model", program.GGUF, "--host", "0.0.0.0", "--port", servers.free_port())

    def test_a_port_that_is_taken(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            self.refused(1, "in use", "--model", program.GGUF, "--port", taken.getsockname()[1])

    def test_a_unix_socket(self):
        path = self.folder / "socket"
        server = server_program.Server(self.program, self.folder, "--model", program.GGUF, "--socket", path)
        self.servers.append(server)
        end = time.monotonic() + WAIT_S
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(path))
        connection.request("GET", "/health")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()
        self.assertEqual(server.end(), 0)

    def test_it_answers_while_models_are_loading(self):
        server = server_program.Server(self.program, self.folder, "--model", program.GGUF)
        self.servers.append(server)
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            try:
                self.assertEqual(server.request("GET", "/health")[0], 200)
                break
            except OSError:
                time.sleep(0.01)
        server.wait_ready()

    def test_two_clients_at_once(self):
        server = self.start("--model", program.GGUF)
        results = []
        threads = [threading.Thread(target=lambda: results.append(server.request("GET", "/status")[0])) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [200] * 20)


class Examples(ServerTest):
    """The files of configs/serve run as they are, but for the port and who may read the keys."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        (cls.folder / "configs").mkdir()
        shutil.copytree(ROOT / "configs" / "serve", cls.folder / "configs" / "serve")
        (cls.folder / "tests").symlink_to(ROOT / "tests")
        (cls.folder / "configs" / "serve" / "keys.example.yaml").chmod(0o600)

    def run_example(self, name, headers=None):
        path = self.folder / "configs" / "serve" / name
        check = subprocess.run([self.program, "serve", "--config", str(path), "--check"], capture_output=True, check=False,
                               env=program.environment(self.folder), timeout=WAIT_S)
        self.assertEqual(check.returncode, 0, check.stderr)
        server = self.start("--config", path, headers=headers)
        status, answer = server.ask("GET", "/status", headers=headers)
        self.assertEqual(status, 200, answer)
        return server, answer

    def test_every_example_is_here(self):
        names = {path.name for path in (ROOT / "configs" / "serve").iterdir()}
        self.assertEqual(names, {"single.yaml", "adapters.yaml", "pool.yaml", "keys.yaml", "keys.example.yaml"})

    def test_single(self):
        _, status = self.run_example("single.yaml")
        self.assertEqual([model["id"] for model in status["models"]], ["stories"])

    def test_adapters(self):
        _, status = self.run_example("adapters.yaml")
        self.assertIn("llama_qv", [adapter["id"] for adapter in status["models"][0]["adapters"]])

    def test_pool(self):
        _, status = self.run_example("pool.yaml")
        self.assertEqual(status["memory"]["budget"], 512 << 20)
        self.assertIn("stories260K", [model["id"] for model in status["models"]])

    def test_keys(self):
        server, _ = self.run_example("keys.yaml", {"Authorization": "Bearer change-me-alice-0123456789"})
        self.assertEqual(server.request("GET", "/status")[0], 401)
        body = {"model": "stories"}
        self.assertEqual(server.ask("POST", "/v1/models/load", body, {"X-Api-Key": "change-me-alice-0123456789"})[0], 403)
        self.assertEqual(server.ask("POST", "/v1/models/load", body, {"X-Api-Key": "change-me-operator-0123456789"})[0], 202)

    def test_keys_that_others_may_read_are_refused(self):
        path = self.folder / "configs" / "serve" / "open.yaml"
        keys = self.folder / "configs" / "serve" / "open-keys.yaml"
        keys.write_text((self.folder / "configs" / "serve" / "keys.example.yaml").read_text())
        keys.chmod(0o644)
        path.write_text((path.parent / "keys.yaml").read_text().replace("keys.example.yaml", "open-keys.yaml"))
        done = subprocess.run([self.program, "serve", "--config", str(path)], capture_output=True, check=False,
                              env=program.environment(self.folder), timeout=WAIT_S)
        self.assertEqual(done.returncode, 2, done.stderr)
        path.unlink()


if __name__ == "__main__":
    server_program.main()

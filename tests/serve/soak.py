#!/usr/bin/env python3
"""Many clients against one server for a while: good requests whose answers are known, clients that leave, that stop reading, that
send nonsense, and adapters that change under way.

usage: soak.py --program LLMHOST [--seconds 20] [--clients 32] [--seed 1]

Fails on a wrong answer, a request that hangs, a place in the engine that stays taken, and memory that grows steadily.
"""
import argparse
import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "serving"))
sys.path.insert(0, str(ROOT / "bench" / "peers"))
import adapters  # noqa: E402
import servers  # noqa: E402

MODEL = ROOT / "tests/data/models/stories260K/stories260K-q8_0.gguf"
MODULES = adapters.decoder_modules(5, 64, 32, 172, ["q_proj", "v_proj", "down_proj"])
PROMPTS = ["Once upon a time", "Lily and Tom", "The little dog", "One day, a bird", "She was very", "In the park there"]
ADAPTERS = ["base", "one", "two", "swapped"]
TOKENS = 24
DEVIATION = 0.4  # of adapters: they change what the model says


class Server:
    def __init__(self, program, folder):
        self.folder = Path(folder)
        self.port = servers.free_port()
        self.log = open(self.folder / "log", "wb")
        command = [program, "serve", "--model", str(MODEL), "--port", str(self.port), "--threads", "2", "--context", "256",
                   "--adapters", str(self.folder / "adapters")]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.model = None

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def ask(self, method, path, body=None):
        connection = self.connect()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def wait_ready(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                if self.ask("GET", "/ready")[0] == 200:
                    self.model = self.ask("GET", "/v1/models")[1]["data"][0]["id"]
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit("soak: the server does not become ready:\n" + (self.folder / "log").read_text()[-2000:])

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def body(self, prompt, adapter, stream):
        model = self.model if adapter == "base" else f"{self.model}:{adapter}"
        return {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": stream, "ignore_eos": True}


def write_version(folder, seed):
    """The adapter 'swapped' in one of its versions, put in place at once."""
    fresh = folder / f".fresh-{seed}-{threading.get_ident()}"
    adapters.write_adapter(fresh, MODULES, 8, seed, DEVIATION)
    target = folder / "swapped"
    old = folder / f".old-{time.monotonic_ns()}"
    with contextlib.suppress(FileNotFoundError):
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


class Soak:
    def __init__(self, server, arguments):
        self.server = server
        self.arguments = arguments
        self.end = 0.0
        self.lock = threading.Lock()
        self.counts = {}
        self.problems = []
        self.golden = {}

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def problem(self, text):
        with self.lock:
            self.problems.append(text)

    def text_of(self, prompt, adapter):
        status, answer = self.server.ask("POST", "/v1/completions", self.server.body(prompt, adapter, False))
        if status != 200:
            raise SystemExit(f"soak: {adapter}: {status} {answer}")
        return answer["choices"][0]["text"]

    def learn(self):
        """What every request must answer, asked one by one; 'swapped' in both its versions."""
        folder = self.server.folder / "adapters"
        for version in (101, 102):
            write_version(folder, version)
            for prompt in PROMPTS:
                self.golden.setdefault((prompt, "swapped"), set()).add(self.text_of(prompt, "swapped"))
        for adapter in ADAPTERS[:3]:
            for prompt in PROMPTS:
                self.golden[prompt, adapter] = {self.text_of(prompt, adapter)}
        if any(len(self.golden[prompt, "swapped"]) != 2 for prompt in PROMPTS):
            raise SystemExit("soak: an adapter whose files changed answers as before")

    def check(self, prompt, adapter, text):
        if text not in self.golden[prompt, adapter]:
            self.problem(f"wrong answer: {adapter}, {prompt!r}: {text!r}")

    def good(self, rng):
        prompt, adapter = rng.choice(PROMPTS), rng.choice(ADAPTERS)
        status, answer = self.server.ask("POST", "/v1/completions", self.server.body(prompt, adapter, False))
        # An adapter whose folder is being swapped may be missing for a moment.
        if status != 200 and adapter == "swapped" and status in (400, 404, 409, 422):
            return self.count("refused while its files changed")
        if status != 200:
            return self.problem(f"{adapter}: {status} {answer}")
        self.check(prompt, adapter, answer["choices"][0]["text"])
        self.count("answered")

    def streamed(self, rng):
        prompt, adapter = rng.choice(PROMPTS), rng.choice(ADAPTERS[:3])
        connection = self.server.connect()
        try:
            connection.request("POST", "/v1/completions", json.dumps(self.server.body(prompt, adapter, True)),
                               {"Content-Type": "application/json"})
            text = ""
            for line in connection.getresponse():
                if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                    text += "".join(choice["text"] for choice in json.loads(line[5:])["choices"])
            self.check(prompt, adapter, text)
            self.count("streamed")
        finally:
            connection.close()

    def leaves(self, rng):
        connection = self.server.connect()
        connection.request("POST", "/v1/completions", json.dumps({**self.server.body("Once", "base", True), "max_tokens": 200}),
                           {"Content-Type": "application/json"})
        if rng.random() < 0.7:
            connection.getresponse().readline()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0" if rng.random() < 0.5 else b"\0" * 8)
        connection.close()
        self.count("left")

    def nonsense(self, rng):
        body = rng.choice(["{", "[]", '{"model": 1}', json.dumps({**self.server.body("x", "base", False), "temperature": "hot"}),
                           json.dumps({**self.server.body("x", "none-such", False)}),
                           json.dumps({**self.server.body("x " * 600, "base", False)})])
        connection = self.server.connect()
        try:
            connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
            status = connection.getresponse().status
            if not 400 <= status < 500:
                self.problem(f"{body[:80]}: answered with {status}")
            self.count("refused")
        finally:
            connection.close()

    def stopped_reader(self, _rng):
        """A client that is stopped while its answer streams, and killed later."""
        body = json.dumps({**self.server.body("Once", "base", True), "max_tokens": 200})
        program = ("import http.client,sys,time\n"
                   f"c=http.client.HTTPConnection('127.0.0.1',{self.server.port})\n"
                   f"c.request('POST','/v1/completions',{body!r},{{'Content-Type':'application/json'}})\n"
                   "r=c.getresponse(); r.readline(); print('x',flush=True); time.sleep(60)\n")
        child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        time.sleep(1)
        child.kill()
        child.wait()
        self.count("stopped")

    def swap(self, rng):
        with self.lock:
            write_version(self.server.folder / "adapters", rng.choice((101, 102)))
        self.count("adapter replaced")

    def client(self, number):
        rng = random.Random(self.arguments.seed * 1000 + number)
        actions = [self.good] * 8 + [self.streamed] * 8 + [self.leaves] * 4 + [self.nonsense] * 3
        if number % 8 == 0:
            actions += [self.stopped_reader, self.swap]
        while time.monotonic() < self.end:
            action = rng.choice(actions)
            try:
                action(rng)
            except Exception as error:  # whatever it is, it is a finding
                self.problem(f"{action.__name__}: {error!r}")

    def run(self):
        self.end = time.monotonic() + self.arguments.seconds
        clients = [threading.Thread(target=self.client, args=(i,)) for i in range(self.arguments.clients)]
        for client in clients:
            client.start()
        samples = []
        while any(client.is_alive() for client in clients):
            time.sleep(min(1.0, self.arguments.seconds / 20))
            samples.append((time.monotonic(), self.server.rss_mib()))
            if time.monotonic() > self.end + 120:
                self.problem("requests hang")
                break
        return samples

    def check_empty(self):
        end = time.monotonic() + 5
        while time.monotonic() < end:
            status = self.server.ask("GET", "/status")[1]
            if status["requests"]["running"] == 0 and status["requests"]["waiting"] == 0:
                return
            time.sleep(0.05)
        self.problem(f"places stay taken: {status['requests']}")


def slope_mib_per_hour(samples):
    """Least squares over the second half, when caches are full."""
    late = samples[len(samples) // 2:]
    mean_t = sum(t for t, _ in late) / len(late)
    mean_m = sum(m for _, m in late) / len(late)
    spread = sum((t - mean_t) ** 2 for t, _ in late)
    return 3600 * sum((t - mean_t) * (m - mean_m) for t, m in late) / spread if spread else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmhost-soak-") as folder:
        for number, name in enumerate(ADAPTERS[1:3]):
            adapters.write_adapter(Path(folder) / "adapters" / name, MODULES, 8, 11 + number, DEVIATION)
        server = Server(arguments.program, folder)
        try:
            server.wait_ready()
            soak = Soak(server, arguments)
            soak.learn()
            before = server.rss_mib()
            samples = soak.run()
            soak.check_empty()
            for what, n in sorted(soak.counts.items()):
                print(f"{what:32s} {n}")
            print(f"memory: {before:.0f} MiB before, {samples[-1][1]:.0f} MiB after, "
                  f"{slope_mib_per_hour(samples):.1f} MiB an hour over the second half")
        finally:
            server.process.send_signal(signal.SIGTERM)
            try:
                server.process.wait(20)
            except subprocess.TimeoutExpired:
                server.process.kill()
                soak.problem("the server did not end")
    if server.process.returncode != 0:
        soak.problem(f"the server ended with {server.process.returncode}")
    for text in soak.problems[:20]:
        print("PROBLEM:", text)
    if soak.problems:
        print(f"{len(soak.problems)} problems")
    return 1 if soak.problems or not soak.counts.get("answered") else 0


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    sys.exit(main())

"""The real server on a small real model, for tests: started on a free port, asked, and ended."""
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "cli"), str(ROOT / "bench" / "serving"), str(ROOT / "bench" / "peers")]

import adapters  # noqa: E402
import program  # noqa: E402
import servers  # noqa: E402

WAIT_S = 60
# The linears of the model that adapters of the tests are for.
MODULES = adapters.decoder_modules(5, 64, 32, 172, ["q_proj", "v_proj", "down_proj"])


class Server:
    """A running server. `arguments`: of `llmhost serve` besides the port."""

    def __init__(self, path, folder, *arguments, env=None):
        self.port = servers.free_port()
        self.log_path = Path(folder) / f"server-{self.port}.log"
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen([path, "serve", "--port", str(self.port), *map(str, arguments)],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        env={**program.environment(folder), **(env or {})})

    def connect(self, timeout=WAIT_S):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None):
        """(status, headers, bytes)."""
        connection = self.connect()
        try:
            data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def ask(self, method, path, body=None, headers=None):
        """(status, JSON)."""
        status, _, data = self.request(method, path, body, headers)
        return status, json.loads(data) if data else None

    def wait_ready(self, headers=None):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/ready", headers=headers)[0] == 200:
                    return self
            time.sleep(0.05)
        raise AssertionError("the server does not become ready:\n" + self.log_path.read_text(errors="replace")[-3000:])

    def rss_mib(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    def said(self):
        self.log.flush()
        return self.log_path.read_text(errors="replace")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        return self.process.returncode


class ServerTest(unittest.TestCase):
    program = None

    @classmethod
    def setUpClass(cls):
        cls.holder = tempfile.TemporaryDirectory()
        cls.folder = Path(cls.holder.name)
        cls.servers = []

    @classmethod
    def tearDownClass(cls):
        for server in cls.servers:
            server.end()
        cls.holder.cleanup()

    @classmethod
    def start(cls, *arguments, env=None, headers=None):
        server = Server(cls.program, cls.folder, *arguments, env=env)
        cls.servers.append(server)
        return server.wait_ready(headers)


def main():
    """Runs the module's tests; the program is the script's argument."""
    ServerTest.program = sys.argv.pop(1)
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    unittest.main(module="__main__")

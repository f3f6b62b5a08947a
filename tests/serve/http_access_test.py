#!/usr/bin/env python3
"""Who may do what: SECURITY F17, F18, F19, F28, F29, F30, and the limits of keys."""
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import time
import unittest

import http_client
from http_client import Server, head

INFER = "infer-key-0123456789"
ADMIN = "admin-key-0123456789"
KEYS = f"""
keys:
  - name: infer-only
    key: {INFER}
  - name: boss
    key: sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}
    scopes: [infer, adapters, admin]
"""


def bearer(key):
    return [("Authorization", f"Bearer {key}")]


def run(*arguments, environment=None):
    return subprocess.run([http_client.PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=20,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})})


class KeysTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(keys=KEYS).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_F17_every_route_but_health_and_the_page_needs_a_key(self):
        self.assertGreater(len(self.server.routes), 10)
        open_routes = set()
        for method, pattern, scope in self.server.routes:
            target = re.sub(r"\{[^}]*\}", "x", pattern)
            answer = self.server.request(method, target, b"" if method == "POST" else None)
            if answer.status != 401:
                open_routes.add((method, pattern, scope))
                continue
            self.assertEqual(answer.json()["error"]["code"], "invalid_api_key")
            self.assertEqual(answer.headers["www-authenticate"], "Bearer")
        self.assertEqual(open_routes, {("GET", "/health", "public"), ("GET", "/", "public")})

    def test_F17_what_is_no_route_is_not_told_without_a_key(self):
        for method, target in (("GET", "/nothing"), ("PUT", "/echo"), ("DELETE", "/health/x"), ("OPTIONS", "/echo"), ("TRACE", "/echo"),
                               ("GET", "/%65cho"), ("POST", "//echo"), ("POST", "/echo/"), ("POST", "/ECHO"), ("OPTIONS", "*")):
            self.assertEqual(self.server.request(method, target, b"").status, 401, target)

    def test_F17_scopes(self):
        for method, pattern, scope in self.server.routes:
            if pattern in ("/slow", "/stream", "/sleep"):
                continue
            target = re.sub(r"\{[^}]*\}", "x", pattern)
            answer = self.server.request(method, target, b"" if method == "POST" else None, bearer(INFER))
            self.assertEqual(answer.status == 403, scope == "admin", (pattern, answer))
            answer = self.server.request(method, target, b"" if method == "POST" else None, bearer(ADMIN))
            self.assertNotIn(answer.status, (401, 403), pattern)

    def test_F28_only_one_well_formed_credential_is_taken(self):
        good = [bearer(INFER), [("authorization", f"bearer {INFER}")], [("X-Api-Key", INFER)], [("AUTHORIZATION", f"BEARER {INFER}")]]
        for headers in good:
            self.assertEqual(self.server.request("POST", "/echo", b"x", headers).status, 200, headers)
        values = ["", "Bearer", "Bearer ", f"Bearer  {INFER}", f"Bearer {INFER}, Bearer {INFER}", f"Bearer {INFER},", f"Bearer {INFER} x", f"Basic {INFER}",
                  INFER, f"Bearer{INFER}", f"Bearer\t{INFER}", f"Bearer {INFER[:-1]}", f"Bearer {INFER}x", f"Bearer {INFER.upper()}", "Bearer " + "a" * 5000,
                  f"Bearer {hashlib.sha256(ADMIN.encode()).hexdigest()}", f"Bearer sha256:{hashlib.sha256(ADMIN.encode()).hexdigest()}", "Bearer \xff\xfe"]
        bad = [[("Authorization", value)] for value in values]
        bad += [bearer(INFER) * 2, bearer(INFER) + bearer(ADMIN), bearer("wrong-key-1234") + bearer(INFER), bearer(INFER) + [("X-Api-Key", INFER)],
                [("Authorization", "")] + bearer(INFER), [("X-Api-Key", "")], [("X-Api-Key", INFER), ("x-api-key", INFER)], [("Proxy-Authorization", f"Bearer {INFER}")]]
        for headers in bad:
            for version in ("1.1", "1.0"):
                for target in ("/echo", f"http://localhost:{self.server.port}/echo", "//echo", "/echo?key=" + INFER):
                    answer = self.server.request("POST", target, b"x", headers, version)
                    self.assertEqual(answer.status, 401, (headers, version, target))
        self.assertEqual(self.server.request("POST", "http://localhost/echo", b"x", bearer(INFER), version="1.0").status, 200)

    def test_F28_the_body_of_a_stranger_is_not_read(self):
        answer = self.server.request("POST", "/echo", headers=[("Content-Length", "10000000")])
        self.assertEqual((answer.status, answer.headers["connection"]), (401, "close"))

    def test_a_page_of_another_origin_has_the_key_but_not_the_permission(self):
        headers = bearer(INFER) + [("Origin", "https://evil.test")]
        self.assertEqual(self.server.request("POST", "/echo", b"x", headers).status, 403)


class BindingTest(unittest.TestCase):
    def test_F18_other_machines_only_with_a_key(self):
        for host in ("0.0.0.0", "::", "[::]"):
            done = run("--host", host)
            self.assertEqual(done.returncode, 2, done)
            self.assertEqual(len(done.stderr.splitlines()), 1)
            self.assertIn("LLMHOST_API_KEY", done.stderr)
            self.assertIn("--host 127.0.0.1", done.stderr)
        with Server("--host", "0.0.0.0", environment={"LLMHOST_API_KEY": ADMIN}) as server:
            self.assertEqual(server.request("POST", "/echo", b"x").status, 401)
            self.assertEqual(server.request("POST", "/echo", b"x", bearer(ADMIN), host="any.name.test").status, 200)

    def test_F18_bad_keys_and_files_are_refused_at_the_start(self):
        for key in ("", "short", "with space in it", "with,comma,in,it"):
            done = run(environment={"LLMHOST_API_KEY": key})
            self.assertEqual(done.returncode, 2)
            self.assertIn("$LLMHOST_API_KEY", done.stderr)
        secret = "SECRET,KEY"
        cases = {"keys: []": "list", "other: 1": "'keys'", f"keys: [{{name: a, key: '{secret}'}}]": "visible ASCII",
                 "keys: [{name: a}]": "no 'key'", f"keys: [{{key: {INFER}}}]": "name", f"keys: [{{name: a, key: {INFER}, scope: x}}]": "unknown entry",
                 f"keys: [{{name: a, key: {INFER}, scopes: [root]}}]": "infer, adapters, admin",
                 f"keys: [{{name: a, key: {INFER}}}, {{name: b, key: {INFER}}}]": "same key",
                 f"keys: [{{name: a, key: {INFER}}}, {{name: a, key: {ADMIN}}}]": "second key",
                 f"keys: [{{name: a, key: {INFER}, requests_per_minute: -1}}]": "whole number", "keys: [{name: a, key: sha256:12}]": "64 hex",
                 "keys: [": "", "- a": "'keys'"}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "keys.yaml")
            for text, part in cases.items():
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                os.chmod(path, 0o600)
                done = run("--keys", path)
                self.assertEqual(done.returncode, 2, (text, done))
                self.assertIn(part, done.stderr)
                self.assertNotIn(INFER, done.stderr)
                self.assertNotIn(secret, done.stderr)
            for mode in (0o604, 0o644, 0o602, 0o620):
                os.chmod(path, mode)
                done = run("--keys", path)
                self.assertEqual(done.returncode, 2)
                self.assertIn("chmod 600", done.stderr)
            self.assertEqual(run("--keys", path + "x").returncode, 2)

    def test_a_port_that_is_taken(self):
        with Server() as server:
            done = run("--port", str(server.port))
            self.assertEqual(done.returncode, 1)
            self.assertIn("--port", done.stderr)


class OriginTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--allow-origin", "https://app.test", "--allow-host", "box.lan").__enter__()
        cls.own = f"http://localhost:{cls.server.port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_F19_names_that_are_not_ours(self):
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1234", "[::1]", "[::1]:8080", "box.lan", "box.lan:99"):
            self.assertEqual(self.server.request("POST", "/echo", b"x", host=host).status, 200, host)
        for host in ("evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "127.0.0.2", "0.0.0.0", "localhost.", "[::2]", "", "localhost:x", "localhost@evil.test",
                     "localhost/", "evil.test:80", "box.lan.evil.test", "[::1", "::1"):
            for target in ("/echo", "/health"):
                answer = self.server.request("POST" if target == "/echo" else "GET", target, b"x", host=host)
                self.assertIn(answer.status, (400, 403), host)
        self.assertEqual(self.server.request("GET", "http://evil.test/health").status, 403)
        self.assertEqual(self.server.request("GET", "/health", headers=[("Host", "localhost")]).status, 400)  # twice
        self.assertEqual(self.server.request("GET", "/health", host=None).status, 400)
        self.assertEqual(self.server.request("GET", "/health", host=None, version="1.0").status, 200)

    def test_F19_pages_of_other_servers(self):
        for origin in ("https://evil.test", "null", "http://localhost:1", "https://app.test.evil.test", "http://app.test", "", "https://app.test/"):
            headers = [("Origin", origin)]
            answer = self.server.request("POST", "/echo", b"x", headers, host=f"localhost:{self.server.port}")
            self.assertEqual(answer.status, 403, origin)
            answer = self.server.request("DELETE", "/things/x", headers=headers)
            self.assertEqual(answer.status, 403, origin)
            answer = self.server.request("GET", "/health", headers=headers)
            self.assertEqual(answer.status, 200)
            self.assertFalse([name for name in answer.headers if name.startswith("access-control")], origin)
            answer = self.server.request("OPTIONS", "/echo", headers=headers + [("Access-Control-Request-Method", "POST")])
            self.assertEqual(answer.status, 403)
            self.assertFalse([name for name in answer.headers if name.startswith("access-control")], origin)
        self.assertEqual(self.server.request("POST", "/echo", b"x", [("Origin", "https://app.test")] * 2).status, 403)

    def test_F19_our_own_page_and_listed_ones(self):
        answer = self.server.request("POST", "/echo", b"x", [("Origin", self.own)], host=f"localhost:{self.server.port}")
        self.assertEqual(answer.status, 200)
        self.assertNotIn("access-control-allow-origin", answer.headers)
        answer = self.server.request("POST", "/echo", b"x", [("Origin", "https://app.test")])
        self.assertEqual((answer.status, answer.headers["access-control-allow-origin"], answer.headers["vary"]), (200, "https://app.test", "Origin"))
        preflight = [("Origin", "https://app.test"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "authorization")]
        answer = self.server.request("OPTIONS", "/echo", headers=preflight)
        self.assertEqual((answer.status, answer.headers["access-control-allow-origin"]), (204, "https://app.test"))
        self.assertIn("authorization", answer.headers["access-control-allow-headers"])


class LimitsOfKeysTest(unittest.TestCase):
    def test_rate_limits(self):
        keys = f"""
keys:
  - {{name: requests, key: requests-key, requests_per_minute: 3}}
  - {{name: tokens, key: tokens-key, tokens_per_minute: 6000}}
  - {{name: concurrent, key: concurrent-key, max_concurrent: 2}}
  - {{name: free, key: {INFER}}}
"""
        with Server(keys=keys) as server:
            def ask(key, target="/echo"):
                return server.request("POST", target, b"", bearer(key))
            self.assertEqual([ask("requests-key").status for _ in range(5)], [200, 200, 200, 429, 429])
            limited = ask("requests-key")
            self.assertEqual(limited.json()["error"]["type"], "rate_limit_error")
            self.assertIn(int(limited.headers["retry-after"]), range(15, 21))
            self.assertEqual(ask(INFER).status, 200, "other keys are not touched")

            self.assertEqual(ask("tokens-key", "/charge?tokens=6100").status, 200)
            limited = ask("tokens-key")
            self.assertEqual((limited.status, limited.headers["retry-after"]), (429, "2"))
            time.sleep(1.2)
            self.assertEqual(ask("tokens-key").status, 200, "100 tokens a second come back")

            held = [server.connect() for _ in range(2)]
            for connection in held:
                connection.sendall(head("POST", "/slow", b"", bearer("concurrent-key")))
            time.sleep(0.1)
            self.assertEqual(ask("concurrent-key").status, 429)
            held.pop().close()
            time.sleep(0.2)
            self.assertEqual(ask("concurrent-key").status, 200)
            held.pop().close()

    def test_the_public_page_costs_nothing(self):
        with Server(keys=f"keys: [{{name: a, key: {INFER}, requests_per_minute: 1}}]") as server:
            for _ in range(5):
                self.assertEqual(server.request("GET", "/health", headers=bearer(INFER)).status, 200)


class SilenceTest(unittest.TestCase):
    CANARY = "xyzzy-canary-4711"

    def everything(self, server, key=None):
        """Answers to requests that fail in every way there is, each with the canary in it."""
        canary = self.CANARY
        auth = bearer(key) if key else []
        cases = [("GET", f"/{canary}", None, []), ("POST", f"/things/{canary}", b"", []), (canary, "/echo", b"", []), ("GET", f"/things/%zz{canary}", None, []),
                 ("POST", "/throw", canary.encode(), []), ("POST", "/drop", canary.encode(), []), ("POST", f"/echo?{canary}=1", b"x", []),
                 ("POST", "/echo", canary.encode(), [("Content-Encoding", canary)]), ("POST", "/echo", None, [("Content-Length", canary)]),
                 ("POST", "/echo", None, [("Transfer-Encoding", canary)]), ("POST", "/echo", b"", [("Expect", canary)]),
                 ("POST", "/echo", b"", [("Origin", f"https://{canary}")]), ("GET", f"http://{canary}/health", None, []), ("GET", "/health", None, [("X", canary * 3000)])]
        answers = [server.request(method, target, body, auth + headers) for method, target, body, headers in cases]
        answers.append(server.request("GET", "/ready", headers=bearer(canary)))
        answers.append(server.request("GET", "/ready", headers=auth, host=canary))
        answers.append(server.raw(canary.encode() + b"\r\n\r\n"))
        return answers

    def test_F29_errors_have_one_shape_and_nothing_from_inside(self):
        with Server(keys=KEYS) as server:
            for answer in self.everything(server, ADMIN):
                if answer.status == 200:
                    continue
                error = answer.json()
                self.assertEqual(list(error), ["error"])
                self.assertEqual(list(error["error"]), ["message", "type", "param", "code", "request_id"])
                self.assertEqual(error["error"]["request_id"], answer.headers["x-request-id"])
                message = error["error"]["message"]
                self.assertRegex(message, r"^[A-Za-z0-9 ,.;:'*%/()_-]{5,120}$")
                self.assertNotRegex(answer.body.decode(), r"/(secret|tmp|home|usr|root)|0x[0-9a-f]{6}|std::|terminate|llmhost::")
                self.assertNotIn(self.CANARY, answer.body.decode())

    def test_F30_nothing_of_a_request_is_logged(self):
        for keys, key in ((None, None), (KEYS, ADMIN)):
            with Server(keys=keys) as server:
                self.everything(server, key)
                self.assertEqual(server.request("POST", "/echo", self.CANARY.encode(), bearer(ADMIN)).status, 200)
                log = server.log()
                metrics = server.request("GET", "/metrics", headers=bearer(ADMIN)).body.decode()
                for text in (log, metrics):
                    self.assertNotIn(self.CANARY, text)
                    self.assertNotIn("zz", text.replace("xyzzy", ""))
                    self.assertNotIn(ADMIN, text)
                    self.assertNotIn("/secret/path", text)
                lines = [line for line in log.splitlines() if line.startswith("info: http")]
                self.assertGreater(len(lines), 15)
                for line in lines:
                    self.assertRegex(line, r"^info: http (-|[A-Z]+) (other|/[a-z{}/]*) \d{3} \d+\.\d ms \d+ bytes key=(-|local|boss) req-[0-9a-f]{16}$")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

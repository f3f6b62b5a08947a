#!/usr/bin/env python3
"""HTTP as clients speak it: both versions, kept connections, pipelining, chunks both ways, sockets in the file system."""
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

import http_client
from http_client import Server, Stream, head, read_answer


class ProtocolTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()

    def test_an_answer_has_a_request_id_and_a_length(self):
        answer = self.server.request("POST", "/echo", b"hello")
        self.assertEqual((answer.status, answer.body), (200, b"hello"))
        self.assertRegex(answer.headers["x-request-id"], r"^req-[0-9a-f]{16}$")
        self.assertEqual(answer.headers["connection"], "keep-alive")

    def test_a_connection_is_kept_for_many_requests(self):
        with self.server.connect() as connection:
            stream = Stream(connection)
            for i in range(20):
                connection.sendall(head("POST", "/echo", b"%d" % i))
                self.assertEqual(read_answer(connection, stream=stream).body, b"%d" % i)

    def test_connection_close_and_http_1_0_end_the_connection(self):
        for data in (head("GET", "/health", headers=[("Connection", "close")]), head("GET", "/health", version="1.0")):
            with self.server.connect() as connection:
                connection.sendall(data)
                answer = read_answer(connection)
                self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
                self.assertEqual(connection.recv(1), b"")

    def test_http_1_0_may_keep_the_connection(self):
        with self.server.connect() as connection:
            for _ in range(2):
                connection.sendall(head("GET", "/health", version="1.0", headers=[("Connection", "keep-alive")]))
                self.assertEqual(read_answer(connection).status, 200)

    def test_a_stream_for_http_1_0_is_ended_by_the_connection(self):
        answer = self.server.request("POST", "/stream?n=3&us=1000", b"", version="1.0")
        self.assertNotIn("transfer-encoding", answer.headers)
        self.assertEqual(answer.body.count(b"data:"), 4)
        with self.server.connect(timeout=5) as connection:  # also when it was to be kept
            connection.sendall(head("POST", "/stream?n=3&us=1000", b"", [("Connection", "keep-alive")], version="1.0"))
            answer = read_answer(connection)  # until it is closed
            self.assertEqual((answer.headers["connection"], answer.body.count(b"data:")), ("close", 4))

    def test_pipelined_requests_are_answered_in_order(self):
        many = b"".join(head("POST", "/echo", b"%03d" % i) for i in range(50))
        with self.server.connect() as connection:
            connection.sendall(many)
            stream = Stream(connection)
            self.assertEqual([read_answer(connection, stream=stream).body for _ in range(50)], [b"%03d" % i for i in range(50)])

    def test_a_request_behind_a_stream_waits_for_its_end(self):
        with self.server.connect() as connection:
            connection.sendall(head("POST", "/stream?n=5&us=20000", b""))
            time.sleep(0.03)
            connection.sendall(head("POST", "/echo", b"second"))
            stream = Stream(connection)
            self.assertEqual(read_answer(connection, stream=stream).body.count(b"data:"), 6)
            self.assertEqual(read_answer(connection, stream=stream).body, b"second")

    def test_a_request_that_comes_in_single_bytes(self):
        with self.server.connect() as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in head("POST", "/echo?a=%20", b"hello"):
                connection.sendall(bytes([byte]))
            self.assertEqual(read_answer(connection).body, b"hello")

    def test_head_has_no_body_but_its_length(self):
        with self.server.connect() as connection:
            connection.sendall(head("HEAD", "/health") + head("GET", "/health"))
            stream = Stream(connection)
            first = read_answer(connection, is_head=True, stream=stream)
            self.assertEqual((first.status, first.headers["content-length"]), (200, "2"))
            self.assertEqual(read_answer(connection, stream=stream).body, b"ok")

    def test_a_chunked_body(self):
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b"a" * 3, b"b" * 70_000, b"c")) + b"0\r\n\r\n"
        answer = self.server.raw(head("POST", "/echo", headers=[("Transfer-Encoding", "chunked")]) + body)
        self.assertEqual((answer.status, answer.body), (200, b"aaa" + b"b" * 70_000 + b"c"))

    def test_expect_100_continue(self):
        with self.server.connect() as connection:
            connection.sendall(head("POST", "/echo", headers=[("Expect", "100-continue"), ("Content-Length", "5")]))
            stream = Stream(connection)
            self.assertEqual(read_answer(connection, stream=stream).status, 100)
            connection.sendall(b"hello")
            self.assertEqual(read_answer(connection, stream=stream).body, b"hello")
        # Refused at once: the body is never asked for.
        answer = self.server.request("POST", "/none", headers=[("Expect", "100-continue"), ("Content-Length", "5")])
        self.assertEqual(answer.status, 404)
        answer = self.server.request("POST", "/echo", headers=[("Expect", "100-continue"), ("Content-Length", "99999999999")])
        self.assertEqual(answer.status, 413)

    def test_addresses_are_normalised_or_refused(self):
        self.assertEqual(self.server.request("GET", "//things///a%2Fb/?x=1").body, b"a/b")
        self.assertEqual(self.server.request("GET", "http://localhost/things/x").body, b"x")
        self.assertEqual(self.server.request("GET", "http://localhost:99/things/%E2%82%AC").body, "€".encode())
        for target in ("/things/..", "/things/%2e%2e", "/things/a%2f..%2fb", "/things/./x", "/things/%00", "/things/%", "/things/%zz",
                       "/things/a\\b", "/things/%5c", "/things/%ff", "things", "http://user@localhost/health", "/health#x"):
            self.assertEqual(self.server.request("GET", target).status, 400, target)

    def test_unknown_addresses_and_methods(self):
        self.assertEqual(self.server.request("GET", "/nothing").status, 404)
        answer = self.server.request("POST", "/things/x", b"")
        self.assertEqual((answer.status, answer.headers["allow"]), (405, "GET, HEAD, DELETE"))
        answer = self.server.request("OPTIONS", "/things/x")
        self.assertEqual((answer.status, answer.headers["allow"]), (204, "GET, HEAD, DELETE"))
        self.assertEqual(self.server.request("FETCH", "/health").status, 405)

    def test_a_handler_that_drops_or_throws_still_answers(self):
        for target in ("/drop", "/throw"):
            answer = self.server.request("POST", target, b"text")
            self.assertEqual((answer.status, answer.json()["error"]["type"]), (500, "server_error"))
            self.assertEqual(answer.json()["error"]["request_id"], answer.headers["x-request-id"])

    def test_a_client_that_stops_sending_still_gets_a_short_answer(self):
        with self.server.connect() as connection:
            connection.sendall(head("POST", "/echo", b"last words"))
            connection.shutdown(socket.SHUT_WR)
            self.assertEqual(read_answer(connection).body, b"last words")

    def test_curl(self):
        url = f"{self.server.address}/echo"
        done = subprocess.run(["curl", "-sS", "--data-binary", "@-", url], input=b"x" * 5_000_000, capture_output=True, check=True)
        self.assertEqual(len(done.stdout), 5_000_000)

    def test_metrics_have_bounded_labels(self):
        for i in range(30):
            self.server.request("GET", f"/unknown/{i}")
            self.server.request(f"METHOD{i}", "/health")
        with self.server.connect() as connection:
            connection.sendall(head("GET", "/metrics"))
            text = read_answer(connection).body.decode()
        routes = set(re.findall(r'llmhost_http_requests_total\{method="([A-Za-z]+)",route="([^"]+)"', text))
        self.assertIn(("GET", "other"), routes)
        self.assertIn(("other", "other"), routes)
        self.assertNotIn("unknown/", text)
        self.assertRegex(text, r"llmhost_http_connections \d+\n")


class UnixSocketTest(unittest.TestCase):
    def test_only_the_user_may_connect_and_no_host_is_asked_for(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            for _ in range(2):  # the second replaces what the first left behind
                with Server("--unix", path) as server:
                    self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
                    self.assertEqual(server.request("POST", "/echo", b"hi", host="any.test").body, b"hi")
                    answer = server.request("POST", "/stream?n=3&us=1000", b"")
                    self.assertEqual(answer.body.count(b"data:"), 4)
                    second = subprocess.run([http_client.PROGRAM, "--unix", path], capture_output=True, text=True, check=False)
                    self.assertEqual(second.returncode, 1)
                    self.assertIn("another server has it", second.stderr)
                self.assertFalse(os.path.exists(path))
                left = socket.socket(socket.AF_UNIX)
                left.bind(path)
                left.close()
            os.unlink(path)
            with open(path, "w", encoding="utf-8"):
                pass
            done = subprocess.run([http_client.PROGRAM, "--unix", path], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("another kind of file", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""What a hostile client may cost: SECURITY F22. Each case ends with a 4xx and a closed connection, and others are served meanwhile."""
import select
import sys
import threading
import time
import unittest

from http_client import Server, Stream, head, read_answer


class Others:
    """Another client, that asks every few milliseconds; `worst` is the longest it waited."""

    def __init__(self, server):
        self.server = server
        self.worst = 0.0
        self.count = 0
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        with self.server.connect() as connection:
            stream = Stream(connection)
            while not self.is_over.wait(0.005):
                begun = time.monotonic()
                connection.sendall(head("POST", "/echo", b"x"))
                assert read_answer(connection, stream=stream).status == 200
                self.worst = max(self.worst, time.monotonic() - begun)
                self.count += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        end = time.monotonic() + 10
        while self.count < 5 and self.thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
        self.is_over.set()
        self.thread.join()


def send_what_goes(connection, pieces):
    """Sends until the server answers or closes."""
    for piece in pieces:
        try:
            connection.sendall(piece)
        except OSError:
            return
        if select.select([connection], [], [], 0)[0]:
            return


class LimitsTest(unittest.TestCase):
    # What the slowest answer to another client may take: the machine may be busy with other tests.
    MAX_WAIT = 2.0

    def assert_refused(self, server, pieces, *statuses):
        with Others(server) as others, server.connect(timeout=20) as connection:
            time.sleep(0.05)
            send_what_goes(connection, pieces)
            stream = Stream(connection)
            answer = read_answer(connection, stream=stream)
            self.assertIn(answer.status, statuses, answer)
            self.assertIn("error", answer.json())
            self.assertEqual(answer.headers["connection"], "close")
            self.assertFalse(stream.fill(), "the connection is closed")
        self.assertGreaterEqual(others.count, 5)
        self.assertLess(others.worst, self.MAX_WAIT)
        return answer

    def test_F22_a_header_of_10_mb(self):
        with Server() as server:
            before = server.resident_bytes()
            pieces = [b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: "] + [b"a" * 65536] * 160
            self.assert_refused(server, pieces, 431)
            pieces = [b"GET /health HTTP/1.1\r\nHost: localhost\r\n"] + [b"X-Many: a\r\n" * 1000] * 1000
            self.assert_refused(server, pieces, 431)
            self.assertLess(server.resident_bytes() - before, 8 << 20)

    def test_F22_many_fields_and_long_addresses(self):
        with Server() as server:
            self.assert_refused(server, [head("GET", "/health", headers=[(f"X-{i}", "a") for i in range(200)])], 431)
            self.assertEqual(server.request("GET", "/things/" + "a" * 9000).status, 400)
            self.assertEqual(server.request("GET", "/things/a?" + "&".join(["a=1"] * 65)).status, 400)

    def test_F22_a_million_chunks_of_six_bytes(self):
        with Server() as server:
            before = server.resident_bytes()
            start = head("POST", "/echo", headers=[("Transfer-Encoding", "chunked")])
            self.assert_refused(server, [start] + [b"6\r\nabcdef\r\n" * 1000] * 1000, 400)
            self.assertLess(server.resident_bytes() - before, 8 << 20)

    def test_F22_chunks_without_end_and_with_odd_sizes(self):
        with Server("--max-body", "1000000") as server:
            start = head("POST", "/echo", headers=[("Transfer-Encoding", "chunked")])
            self.assert_refused(server, [start] + [b"8000\r\n" + b"x" * 0x8000 + b"\r\n"] * 100, 413)
            for size in (b"ffffffffffffffff", b"fffffffffffffffff", b"-1", b"0x10", b"10 ;", b"g"):
                self.assert_refused(server, [start + size + b"\r\nabc\r\n\r\n"], 400, 413)
            self.assert_refused(server, [start + b"3;" + b"e" * 100_000 + b"\r\nabc\r\n0\r\n\r\n"], 400, 413, 431)

    def test_F22_a_body_of_1_gib(self):
        with Server() as server:
            before = server.resident_bytes()
            for length in (1 << 30, (1 << 64) - 1, 1 << 64, 10**30):
                self.assert_refused(server, [head("POST", "/echo", headers=[("Content-Length", str(length))])] + [b"x" * 65536] * 40, 400, 413)
            self.assertLess(server.resident_bytes() - before, 8 << 20)

    def test_F22_slow_loris(self):
        with Server("--header-ms", "600", "--body-ms", "600") as server:
            def drip(data, times):
                for i in range(times):
                    yield data[i % len(data):][:1]
                    time.sleep(0.05)
            begun = time.monotonic()
            self.assert_refused(server, drip(b"GET /health HTTP/1.1\r\nX: " + b"a" * 100, 60), 408)
            self.assertLess(time.monotonic() - begun, 3)
            body = head("POST", "/echo", headers=[("Content-Length", "1000")])
            self.assert_refused(server, [body, *[b"x"] * 3], 408)

    def test_F22_silent_and_idle_connections_are_closed(self):
        with Server("--header-ms", "400", "--idle-ms", "400") as server:
            with server.connect() as silent, server.connect() as idle:
                idle.sendall(head("GET", "/health"))
                self.assertEqual(read_answer(idle).status, 200)
                begun = time.monotonic()
                self.assertEqual((silent.recv(100), idle.recv(100)), (b"", b""))
                self.assertLess(time.monotonic() - begun, 2)

    def test_F22_hundreds_of_slow_clients_at_once(self):
        with Server("--max-connections", "300") as server:
            held = [server.connect() for _ in range(250)]
            for connection in held:
                connection.sendall(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Le")
            with Others(server) as others:
                time.sleep(0.3)
            self.assertGreaterEqual(others.count, 5)
            held += [server.connect() for _ in range(60)]
            answer = read_answer(held[-1])
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            for connection in held:
                connection.close()
            time.sleep(0.3)
            self.assertEqual(server.request("GET", "/health").status, 200)

    def test_bodies_whose_end_is_not_clear(self):
        with Server() as server:
            for headers in ([("Content-Length", "5"), ("Content-Length", "5")], [("Content-Length", "5"), ("Content-Length", "6")],
                            [("Content-Length", "5"), ("Transfer-Encoding", "chunked")], [("Transfer-Encoding", "gzip, chunked")],
                            [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], [("Transfer-Encoding", "identity")],
                            [("Content-Length", "+5")], [("Content-Length", "-5")], [("Content-Length", "5, 5")], [("Content-Length", "0x5")]):
                self.assert_refused(server, [head("POST", "/echo", headers=headers) + b"hello"], 400)
            self.assert_refused(server, [head("POST", "/echo", b"hello", [("Content-Encoding", "gzip")])], 415)
            answer = server.request("POST", "/echo", version="1.0", headers=[("Transfer-Encoding", "chunked")])
            self.assertEqual(answer.status, 400)

    def test_what_is_not_http(self):
        with Server() as server:
            for data in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /health\r\n\r\n",
                         b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
                         b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 1000, b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n"):
                answer = server.raw(data)
                self.assertIn(answer.status, (400, 403, 505), (data, answer))
            self.assertEqual(server.raw(b"GET /health HTTP/1.1\r\n\r\n").status, 400)

    def test_more_requests_than_may_wait(self):
        with Server("--max-queued-requests", "4") as server:
            connections = [server.connect() for _ in range(12)]
            for connection in connections:
                connection.sendall(head("POST", "/sleep?ms=300", b""))
            answers = [read_answer(connection) for connection in connections]
            self.assertEqual(sorted({answer.status for answer in answers}), [200, 503])
            full = [answer for answer in answers if answer.status == 503]
            self.assertIn(len(full), range(6, 9))  # the two that run may still have been in the queue
            self.assertEqual(full[0].headers["retry-after"], "1")
            for connection in connections:
                connection.close()

    def test_bodies_count_as_they_arrive(self):
        with Server("--max-body", "1000000", "--max-bodies", "2000000") as server:
            announcing = [server.connect() for _ in range(16)]
            for i, connection in enumerate(announcing):
                if i % 2:
                    connection.sendall(head("POST", "/echo", headers=[("Content-Length", "1000000")]) + b"{")
                else:
                    connection.sendall(head("POST", "/echo", headers=[("Transfer-Encoding", "chunked")]) + b"f4240\r\n{")
            time.sleep(0.2)
            self.assertEqual(server.request("POST", "/echo", b"x" * 900_000).status, 200)
            for connection in announcing[:2]:
                connection.sendall(b"x" * 990_000)
            time.sleep(0.3)
            answer = server.request("POST", "/echo", b"x" * 900_000)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "1"))
            announcing[1].sendall(b"x" * 9_999)
            self.assertEqual(len(read_answer(announcing[1]).body), 1_000_000)
            self.assertEqual(server.request("POST", "/echo", b"x" * 900_000).status, 200)
            for connection in announcing:
                connection.close()

    def test_probes_are_answered_while_all_workers_are_busy(self):
        with Server() as server:
            busy = [server.connect() for _ in range(4)]
            for connection in busy:
                connection.sendall(head("POST", "/sleep?ms=1500", b""))
            time.sleep(0.1)
            begun = time.monotonic()
            self.assertEqual(server.request("GET", "/health").status, 200)
            self.assertLess(time.monotonic() - begun, 0.7)
            self.assertEqual([read_answer(connection).status for connection in busy], [200] * 4)
            for connection in busy:
                connection.close()

    def test_the_number_of_open_files_is_raised(self):
        with Server() as server:
            with open(f"/proc/{server.process.pid}/limits", encoding="utf-8") as file:
                line = next(line for line in file if line.startswith("Max open files"))
            soft, hard = line.split()[3:5]
            self.assertEqual(int(soft), min(int(hard), 65536) if int(hard) >= 65536 else int(hard))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""Many streams at once, clients that do not read, clients that go, and the end of the server."""
import selectors
import socket
import sys
import threading
import time
import unittest

from http_client import Server, Stream, head, read_answer


def closed(server):
    """(how many on_close calls, when the last was in seconds, the longest write in ms)"""
    count, when, longest = server.request("GET", "/closed").body.split()
    return int(count), int(when) / 1000, float(longest)


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def read_all(connections, seconds):
    """Reads until each connection has its last chunk: the bytes of each."""
    selector = selectors.DefaultSelector()
    data = [bytearray() for _ in connections]
    for i, connection in enumerate(connections):
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, i)
    left = len(connections)
    end = time.monotonic() + seconds
    while left and time.monotonic() < end:
        for key, _ in selector.select(timeout=1):
            more = key.fileobj.recv(1 << 16)
            data[key.data] += more
            if not more or data[key.data].endswith(b"\r\n0\r\n\r\n"):
                selector.unregister(key.fileobj)
                left -= 1
    return data


class StreamsTest(unittest.TestCase):
    def test_a_thousand_streams_at_once(self):
        with Server() as server:
            connections = [server.connect() for _ in range(1000)]
            begun = time.monotonic()
            for connection in connections:
                connection.sendall(head("POST", "/stream?n=20&us=50000", b""))
            data = read_all(connections, 60)
            seconds = time.monotonic() - begun
            for one in data:
                self.assertEqual(one.count(b"data: xxx"), 20)
                self.assertTrue(one.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"))
            self.assertLess(seconds, 20)  # 1 s when the machine does nothing else
            self.assertEqual(closed(server)[0], 0)
            for connection in connections:
                connection.close()
            with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as file:
                threads = next(int(line.split()[1]) for line in file if line.startswith("Threads"))
            self.assertLessEqual(threads, 8)

    def test_a_client_that_does_not_read_is_given_up_and_others_do_not_wait(self):
        with Server() as server:
            slow = []
            for _ in range(10):
                connection = socket.socket()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(head("POST", "/stream?n=1000000&us=1000&bytes=60000", b""))
                slow.append(connection)
            longest = 0.0
            with server.connect() as connection:
                stream = Stream(connection)
                end = time.monotonic() + 30
                while closed(server)[0] < 10 and time.monotonic() < end:
                    begun = time.monotonic()
                    connection.sendall(head("POST", "/stream?n=5&us=1000", b""))
                    self.assertTrue(read_answer(connection, stream=stream).is_whole)
                    longest = max(longest, time.monotonic() - begun)
            count, _, longest_write = closed(server)
            for connection in slow:
                connection.close()
            self.assertEqual(count, 10)
            self.assertLess(longest, 1.0)
            self.assertLess(longest_write, 250)  # ms: a write only copies; the machine may be busy
            self.assertIn("llmhost_http_slow_clients_total 10", server.request("GET", "/metrics").body.decode())
            # At most 1 MiB each was queued.
            self.assertLess(server.resident_bytes(), 100 << 20)

    def test_a_client_that_takes_no_byte_of_a_whole_answer(self):
        with Server("--write-ms", "500") as server:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", server.port))
            connection.sendall(head("POST", "/echo", b"x" * 12_000_000))
            self.assertTrue(wait_until(lambda: " 499 " in server.log()))
            connection.close()

    def assert_seen(self, server, go, start, seconds=0.2):
        before = closed(server)[0]
        connection = start()
        self.assertEqual(closed(server)[0], before)
        gone = time.time()
        go(connection)
        self.assertTrue(wait_until(lambda: closed(server)[0] == before + 1), "not noticed at all")
        self.assertLess(closed(server)[1] - gone, seconds)
        connection.close()

    def test_a_client_that_goes_is_noticed_in_200_ms(self):
        def waiting(server):
            connection = server.connect()
            connection.sendall(head("POST", "/slow", b"a body"))
            time.sleep(0.1)
            return connection

        def waiting_with_more(server):
            connection = waiting(server)
            connection.sendall(head("GET", "/health"))  # pipelined: the end of the input is hidden behind it
            time.sleep(0.1)
            return connection

        def streaming(server):
            connection = server.connect()
            connection.sendall(head("POST", "/stream?n=100000&us=10000", b""))
            self.assertTrue(connection.recv(1000))
            return connection

        def seldom(server):  # a stream that writes nothing while the client goes
            connection = server.connect()
            connection.sendall(head("POST", "/stream?n=100000&us=100000000", b""))
            self.assertTrue(connection.recv(1000))
            return connection

        def reset(connection):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.close()

        with Server() as server:
            for start in (waiting, waiting_with_more, streaming, seldom):
                for go in (lambda c: c.close(), lambda c: c.shutdown(socket.SHUT_WR), reset):
                    with self.subTest(start.__name__):
                        self.assert_seen(server, go, lambda start=start: start(server))

    def test_hundreds_of_clients_that_go_at_once(self):
        with Server() as server:
            connections = [server.connect() for _ in range(500)]
            for connection in connections:
                connection.sendall(head("POST", "/slow", b""))
            self.assertTrue(wait_until(lambda: "http_requests_running 500" in server.request("GET", "/metrics").body.decode()))
            for connection in connections:
                connection.close()
            self.assertTrue(wait_until(lambda: closed(server)[0] == 500, 2))
            text = server.request("GET", "/metrics").body.decode()
            self.assertIn("llmhost_http_requests_running 0", text)
            self.assertIn('llmhost_http_requests_cancelled_total{route="/slow"} 500', text)

    def test_drain(self):
        with Server() as server:
            with server.connect() as running, server.connect() as idle:
                idle.sendall(head("GET", "/health"))
                self.assertEqual(read_answer(idle).status, 200)
                running.sendall(head("POST", "/stream?n=20&us=50000", b""))
                stream = Stream(running)
                self.assertIsNotNone(stream.until(b"data:"))
                self.assertEqual(server.request("GET", "/ready").status, 200)
                self.assertEqual(server.command("drain"), "draining")
                self.assertEqual(server.request("GET", "/ready").status, 503)
                self.assertEqual(server.request("GET", "/health").status, 200)
                self.assertEqual(server.request("GET", "/metrics").status, 200)
                refused = server.request("POST", "/echo", b"x")
                self.assertEqual((refused.status, refused.headers["retry-after"], refused.headers["connection"]), (503, "5", "close"))
                self.assertEqual(idle.recv(1), b"", "a connection without a request is closed")
                self.assertEqual(server.command("wait 50"), "running")
                self.assertIsNotNone(stream.until(b"data: [DONE]\n\n\r\n0\r\n\r\n"), "what runs is finished")
                self.assertEqual(server.command("wait 5000"), "drained")

    def test_force(self):
        with Server() as server:
            connections = [server.connect() for _ in range(3)]
            for connection in connections:
                connection.sendall(head("POST", "/slow", b""))
            time.sleep(0.1)
            self.assertEqual(server.command("drain"), "draining")
            self.assertEqual(server.command("wait 50"), "running")
            self.assertEqual(server.command("force"), "forced")
            self.assertEqual(server.command("wait 2000"), "drained")
            for connection in connections:
                self.assertEqual(connection.recv(10), b"")
                connection.close()

    def test_the_end_with_everything_running(self):
        with Server() as server:
            connections = [server.connect() for _ in range(60)]
            targets = ["/slow", "/stream?n=100000&us=1000", "/sleep?ms=200"]
            for i, connection in enumerate(connections):
                connection.sendall(head("POST", targets[i % 3], b"")[: None if i % 4 else 20])
            time.sleep(0.1)
        for connection in connections:
            connection.close()

    def test_clients_that_come_and_go_in_every_state(self):
        with Server() as server:
            whole = head("POST", "/stream?n=5&us=2000", b"body")

            def come_and_go(offset):
                for i in range(60):
                    with server.connect() as connection:
                        connection.sendall(whole[: (i * 7 + offset) % len(whole) + 1])
                        if i % 3:
                            time.sleep(0.001 * (i % 5))

            threads = [threading.Thread(target=come_and_go, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertTrue(wait_until(lambda: "llmhost_http_connections 1\n" in server.request("GET", "/metrics").body.decode()))
            self.assertEqual(server.request("POST", "/echo", b"x").status, 200)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

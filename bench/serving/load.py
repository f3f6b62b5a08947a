"""Closed-loop load on an OpenAI-style /v1/completions on loopback: every client sends its next request when the last one ended.

One thread and one selector serve all clients, so that the load takes little from a server on the same cores. Prompts are
different for each request (seeded); sampling is greedy and the end of text is ignored, so that a request makes exactly
max_tokens tokens. Times are taken when bytes arrive.
"""
import json
import random
import selectors
import socket
import time
from dataclasses import dataclass, field

from problem import Problem

WORDS = ("river stone window paper garden yellow market slowly under between seven clock green house letter winter small "
         "carry bridge music early table never water light field horse silver corner quiet summer long road night bread "
         "island candle north open answer story wood valley cloud second number travel simple ocean morning").split()


@dataclass
class Shape:
    clients: int
    requests: int
    prompt_words: int = 100
    max_tokens: int = 64
    seed: int = 1
    models: list = field(default_factory=lambda: ["m"])  # request i asks for models[i % len(models)]


@dataclass
class Answer:
    first: float = 0.0  # seconds from the request to its first token
    total: float = 0.0
    tokens: int = 0
    gaps: list = field(default_factory=list)


class Client:
    """One connection with one request on it."""

    def __init__(self, address, body):
        self.answer = Answer()
        self.unread = b""
        self.headers_done = False
        self.last = 0.0
        self.started = time.perf_counter()
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = (f"POST /v1/completions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
        self.socket.sendall(head.encode() + body)

    def read(self):
        """Whether the answer is complete."""
        data = self.socket.recv(65536)
        now = time.perf_counter()
        if not data:
            self.answer.total = now - self.started
            return True
        self.unread += data
        if not self.headers_done:
            end = self.unread.find(b"\r\n\r\n")
            if end < 0:
                return False
            status = self.unread.split(b"\r\n", 1)[0]
            if b" 200 " not in status + b" ":
                raise Problem(f"the server answered {self.unread[:300]!r}")
            self.headers_done = True
            self.unread = self.unread[end + 4:]
        *lines, self.unread = self.unread.split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            if line[5:].strip() == b"[DONE]":
                self.answer.total = now - self.started
                return True
            self._event(line, now)
        return False

    def _event(self, line, now):
        if b'"completion_tokens"' in line:
            usage = json.loads(line[5:]).get("usage")
            if usage:
                self.answer.tokens = usage["completion_tokens"]
        if b'"text"' not in line:
            return
        if self.last:
            self.answer.gaps.append(now - self.last)
        else:
            self.answer.first = now - self.started
        self.last = now


def body_of(shape, index):
    rng = random.Random(shape.seed * 100_003 + index)
    prompt = " ".join(rng.choice(WORDS) for _ in range(shape.prompt_words))
    return json.dumps({"model": shape.models[index % len(shape.models)], "prompt": prompt, "max_tokens": shape.max_tokens,
                       "temperature": 0, "stream": True, "stream_options": {"include_usage": True}, "ignore_eos": True,
                       "cache_prompt": False}).encode()


def run(address, shape, first_index=0):
    """The answers, and the seconds that all of them took."""
    bodies = [body_of(shape, first_index + i) for i in range(shape.requests)]
    selector = selectors.DefaultSelector()
    answers, next_body, running = [], 0, 0
    started = time.perf_counter()

    def start():
        nonlocal next_body, running
        client = Client(address, bodies[next_body])
        selector.register(client.socket, selectors.EVENT_READ, client)
        next_body += 1
        running += 1

    while next_body < min(shape.clients, shape.requests):
        start()
    while running:
        ready = selector.select(timeout=300)
        if not ready:
            raise Problem("no byte came from the server for 300 s")
        for key, _ in ready:
            client = key.data
            if not client.read():
                continue
            selector.unregister(client.socket)
            client.socket.close()
            running -= 1
            answers.append(client.answer)
            if next_body < shape.requests:
                start()
    return answers, time.perf_counter() - started


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def figures(answers, seconds, shape):
    wrong = [answer.tokens for answer in answers if answer.tokens != shape.max_tokens]
    if wrong:
        raise Problem(f"{len(wrong)} answers have {wrong[0]} tokens, expected {shape.max_tokens}")
    first = [answer.first * 1e3 for answer in answers]
    gaps = [gap * 1e3 for answer in answers for gap in answer.gaps]
    return {"tokens_per_s": sum(answer.tokens for answer in answers) / seconds,
            "ttft_ms_p50": percentile(first, 0.5), "ttft_ms_p99": percentile(first, 0.99),
            "gap_ms_p50": percentile(gaps, 0.5), "gap_ms_p99": percentile(gaps, 0.99)}

"""The test server as a child process, and a client that can also send what no library would."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading

PROGRAM = sys.argv[1] if len(sys.argv) > 1 else "serve_http_server"


class Server:
    """with Server("--max-connections", "4") as server: ..."""

    def __init__(self, *arguments, environment=None, keys=None):
        self.arguments = list(arguments)
        self.environment = {**os.environ, **(environment or {})}
        self.keys = keys
        self.folder = tempfile.TemporaryDirectory()

    def __enter__(self):
        if self.keys is not None:
            path = os.path.join(self.folder.name, "keys.yaml")
            with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
                file.write(self.keys)
            self.arguments += ["--keys", path]
        self.log_path = os.path.join(self.folder.name, "log")
        with open(self.log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([PROGRAM, *self.arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log, text=True, env=self.environment)
        self.routes = []
        for line in self.process.stdout:
            word, rest = line.strip().split(" ", 1)
            if word == "address":
                self.address = rest
                break
            self.routes.append(rest.split())
        else:
            raise AssertionError(f"the server did not start: {self.log()}")
        self.port = int(self.address.rsplit(":", 1)[1]) if self.address.startswith("http") else 0
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.stdin.write("quit\n")
            self.process.stdin.flush()
        watchdog = threading.Timer(20, self.process.kill)
        watchdog.start()
        status = self.process.wait()
        watchdog.cancel()
        self.process.stdin.close()
        self.process.stdout.close()
        log = self.log()
        self.folder.cleanup()
        assert status == 0, f"the server ended with {status}: {log[-2000:]}"

    def log(self):
        with open(self.log_path, encoding="utf-8") as file:
            return file.read()

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def connect(self, timeout=10):
        if not self.port:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(timeout)
            connection.connect(self.address.removeprefix("unix:"))
            return connection
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def raw(self, data, timeout=10):
        """Sends bytes on a new connection and reads until the server closes or one whole answer is there."""
        with self.connect(timeout) as connection:
            connection.sendall(data)
            return read_answer(connection)

    def request(self, method, target, body=None, headers=(), version="1.1", timeout=10, host="localhost"):
        return self.raw(head(method, target, body, headers, version, host), timeout)

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="utf-8") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def head(method, target, body=None, headers=(), version="1.1", host="localhost"):
    """A whole request as bytes."""
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


class Answer:
    def __init__(self, status, headers, body, is_whole):
        self.status = status
        self.headers = headers
        self.body = body
        self.is_whole = is_whole  # it ended as its head said

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:200]}"


class Stream:
    """The bytes of a connection, with a little buffer."""

    def __init__(self, connection):
        self.connection = connection
        self.data = b""

    def fill(self):
        try:
            more = self.connection.recv(1 << 16)
        except ConnectionResetError:
            more = b""
        self.data += more
        return bool(more)

    def until(self, mark):
        while mark not in self.data:
            if not self.fill():
                return None
        found, self.data = self.data.split(mark, 1)
        return found

    def exactly(self, size):
        while len(self.data) < size and self.fill():
            pass
        found, self.data = self.data[:size], self.data[size:]
        return found


def read_answer(connection, is_head=False, stream=None):
    stream = stream or Stream(connection)
    first = stream.until(b"\r\n\r\n")
    if first is None:
        return Answer(0, {}, stream.data, False)
    lines = first.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = {}
    for line in lines[1:]:
        name, value = line.split(":", 1)
        assert name.lower() not in headers, f"twice: {name}"
        headers[name.lower()] = value.strip()
    if is_head or status in (100, 204):
        return Answer(status, headers, b"", True)
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while True:
            line = stream.until(b"\r\n")
            if line is None:
                return Answer(status, headers, body, False)
            size = int(line, 16)
            piece = stream.exactly(size + 2)
            if len(piece) < size + 2:
                return Answer(status, headers, body + piece, False)
            if size == 0:
                return Answer(status, headers, body, True)
            body += piece[:-2]
    if "content-length" in headers:
        size = int(headers["content-length"])
        body = stream.exactly(size)
        return Answer(status, headers, body, len(body) == size)
    while stream.fill():
        pass
    return Answer(status, headers, stream.data, True)

"""A small stand-in for the server behind the web page: the endpoints that the page asks, with answers that a test sets."""
import http.server
import json
import pathlib
import threading
import time

FILES = pathlib.Path(__file__).resolve().parents[2] / "host/serve/page/files"
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".svg": "image/svg+xml"}
POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
GIB = 1 << 30

MODELS = [
    {"id": "smol-135m", "object": "model", "created": 1, "owned_by": "llmhost", "state": "ready", "context_length": 8192,
     "parent": None, "adapters": [{"id": "poems", "state": "loaded"}, {"id": "sql", "state": "known"}, {"id": "broken", "state": "failed"}],
     "memory_bytes": 310 << 20},
    {"id": "coder-7b", "object": "model", "created": 1, "owned_by": "llmhost", "state": "loading", "progress": 0.42,
     "context_length": 32768, "parent": None, "adapters": [], "memory_bytes": 5 * GIB},
    {"id": "smol-135m:poems", "object": "model", "created": 1, "owned_by": "llmhost", "state": "loaded", "parent": "smol-135m"},
]
STATUS = {
    "models": [
        {"id": "smol-135m", "state": "ready", "pinned": True, "replicas": 2, "running": 3, "waiting": 1, "context_length": 8192,
         "memory": {"weights": 180 << 20, "state": 90 << 20, "adapters": 24 << 20, "arena": 16 << 20, "total": 310 << 20},
         "adapters": [{"id": "poems", "state": "loaded", "bytes": 12 << 20, "requests": 41},
                      {"id": "sql", "state": "known", "bytes": 0, "requests": 0},
                      {"id": "broken", "state": "failed", "bytes": 0, "requests": 2, "error": "adapter_config.json: r is no number"}]},
        {"id": "coder-7b", "state": "loading", "progress": 0.42, "pinned": False, "replicas": 1, "running": 0, "waiting": 2,
         "context_length": 32768, "memory": {"weights": 4 * GIB, "state": 700 << 20, "adapters": 0, "arena": 120 << 20,
                                             "total": 4 * GIB + (820 << 20)}, "adapters": []},
        {"id": "chat-3b", "state": "unloaded", "pinned": False, "replicas": 1, "running": 0, "waiting": 0, "context_length": 131072,
         "memory": {"weights": 0, "state": 0, "adapters": 0, "arena": 0, "total": 0}, "adapters": []},
    ],
    "memory": {"budget": 16 * GIB, "used": 4 * GIB + (1130 << 20)}, "uptime_s": 93784, "requests": {"running": 3, "waiting": 3, "total": 1284},
}


class State:
    """What the stand-in answers, and what it was asked."""

    def __init__(self):
        self.key = ""
        self.reply = ["Hello", " there", "."]
        self.reasoning = []
        self.calls = []
        self.delay = 0.0
        self.refusals = []  # (status, message, headers) for the next chats
        self.status = STATUS
        self.bodies = []
        self.requests = []  # (method, path, Authorization)
        self.aborted = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state = None

    def log_message(self, *_):
        pass

    def send(self, status, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message, headers=()):
        self.send(status, {"error": {"message": message, "type": "x", "param": None, "code": None}}, headers=headers)

    def allowed(self):
        given = self.headers.get("Authorization")
        self.state.requests.append((self.command, self.path, given))
        if self.state.key and given != f"Bearer {self.state.key}":
            self.refuse(401, "This server wants an API key.")
            return False
        return True

    def do_GET(self):
        name = "index.html" if self.path == "/" else self.path.removeprefix("/page/")
        file = FILES / name
        if "/" not in name and file.is_file():
            self.send(200, file.read_bytes(), TYPES[file.suffix], [("Content-Security-Policy", POLICY)])
        elif self.path == "/v1/models" and self.allowed():
            self.send(200, {"object": "list", "data": MODELS})
        elif self.path == "/status" and self.allowed():
            if self.state.status is None:
                self.refuse(404, "no such route")
            else:
                self.send(200, self.state.status)
        elif self.path not in ("/v1/models", "/status"):
            self.refuse(404, "no such route")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.allowed():
            return
        self.state.bodies.append((self.path, body))
        if self.path == "/apply-template":
            text = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in body["messages"]) + "<|im_start|>assistant\n"
            self.send(200, {"prompt": text, "tokens": list(range(1, len(text) // 4)), "model": body["model"]})
        elif self.path == "/v1/chat/completions":
            self.chat(body)
        else:
            self.refuse(404, "no such route")

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def event(self, delta, finish=None, usage=None):
        choices = [] if usage else [{"index": 0, "delta": delta, "finish_reason": finish}]
        event = {"id": "c", "object": "chat.completion.chunk", "choices": choices} | ({"usage": usage} if usage else {})
        # An event in two pieces: the page must put them together.
        data = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        self.chunk(data[: len(data) // 2])
        self.chunk(data[len(data) // 2:])

    def chat(self, body):
        state = self.state
        if state.refusals:
            status, message, headers = state.refusals.pop(0)
            self.refuse(status, message, headers)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in state.reasoning:
                self.event({"reasoning_content": piece})
                time.sleep(state.delay)
            for piece in state.reply:
                self.event({"content": piece})
                time.sleep(state.delay)
            for index, (name, arguments) in enumerate(state.calls):
                self.event({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function",
                                            "function": {"name": name, "arguments": ""}}]})
                self.event({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
            self.event({}, finish="tool_calls" if state.calls else "stop")
            if (body.get("stream_options") or {}).get("include_usage"):
                count = len(state.reasoning) + len(state.reply)
                self.event(None, usage={"prompt_tokens": 17, "completion_tokens": count, "total_tokens": 17 + count})
            self.chunk(b"data: [DONE]\n\n")
            self.chunk(b"")
        except (BrokenPipeError, ConnectionResetError):
            state.aborted.set()
            self.close_connection = True


class PageServer:
    """with PageServer() as server: server.url, server.state"""

    def __enter__(self):
        self.state = State()
        handler = type("Bound", (Handler,), {"state": self.state})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

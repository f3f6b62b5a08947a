"""Starts a server, waits until it answers, and ends it: ours and the peer's on the same model, threads and places."""
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from problem import Problem

CONTEXT = 512  # of one sequence: prompts of about 130 tokens and 64 new ones


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours(program, model, port, threads, places, folder):
    """`folder` gets the configuration; adapters that lie in it may be named."""
    config = Path(folder) / "serve.yaml"
    config.write_text(f"models:\n  - id: m\n    path: {model}\n    adapters:\n      roots: [{folder}]\n      memory: 4GiB\n",
                      encoding="utf-8")
    return [program, "serve", "--config", config, "--port", port, "--threads", threads, "--sequences", places,
            "--context", CONTEXT]


def peer(programs, model, port, threads, places):
    return [programs / "llama-server", "-m", model, "--host", "127.0.0.1", "--port", port, "-t", threads, "-tb", threads,
            "--parallel", places, "-c", CONTEXT * places, "--no-webui"]


def is_healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextlib.contextmanager
def running(command, port, patience=120):
    """Yields the process id; the server is gone afterwards."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        try:
            end = time.monotonic() + patience
            while not is_healthy(port):
                if process.poll() is not None or time.monotonic() > end:
                    output.seek(0)
                    said = output.read().decode("utf-8", "replace").strip().splitlines()
                    raise Problem(f"{os.path.basename(command[0])} does not serve: {said[-1] if said else 'no output'}")
                time.sleep(0.1)
            yield process.pid
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

"""Runs one program from start to end: its output, wall and processor time, and peak memory. Nothing is left running."""
import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

from problem import Problem


@dataclass
class Finished:
    output: str
    errors: str
    seconds: float
    cpu_seconds: float
    peak_rss_mib: float


def end_group(pid):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"


def run(command, environment=None, timeout=1800.0, log=None):
    """Runs `command`; Problem where it fails or takes longer than `timeout` seconds. `log`: a file for what it says."""
    command = [str(word) for word in command]
    with tempfile.TemporaryFile() as errors:
        process, timer, timed_out = None, None, threading.Event()
        try:
            started = time.perf_counter()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                       env={**os.environ, **(environment or {})}, start_new_session=True)
            timer = threading.Timer(timeout, lambda: (timed_out.set(), end_group(process.pid)))
            timer.daemon = True
            timer.start()
            output = process.stdout.read().decode("utf-8", "replace")
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        except OSError as error:
            raise Problem(f"{command[0]} does not start: {error.strerror}") from error
        finally:
            # An interruption may come anywhere above.
            if timer is not None:
                timer.cancel()
            if process is not None:
                if process.returncode is None:
                    end_group(process.pid)
                    process.wait()
                process.stdout.close()
        errors.seek(0)
        said = errors.read().decode("utf-8", "replace")
    if log is not None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(f"$ {shlex.join(command)}\n{output}{said}\n")
    name = os.path.basename(command[0])
    if timed_out.is_set():
        raise Problem(f"{name} was stopped after {timeout:.0f} s: {shlex.join(command)}")
    if process.returncode != 0:
        raise Problem(f"{name} ended with {process.returncode}: {last_line(said or output)} ({shlex.join(command)})")
    return Finished(output, said, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)

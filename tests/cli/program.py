"""What the tests of the program share: where the model is, a clean environment, running it, a chat on a pseudo-terminal."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "data" / "models"
FOLDER = DATA / "stories260K"
GGUF = FOLDER / "stories260K-q8_0.gguf"
WAIT_S = 60  # for anything the program should do at once; a busy machine may take its time

# Greedy continuation of f32 weights by an independent implementation (greedy.json of the model's reference data).
PROMPT = "Once upon a time"
PROMPT_IDS = [1, 403, 407, 261, 378]
GREEDY = (", there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. "
          "She wanted to play with it,")
GREEDY_IDS = [432, 383, 286, 261, 376, 298, 315, 421, 395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292, 411, 322, 265,
              282, 295, 433, 426, 385, 328, 432, 358, 394, 261, 370, 432, 352, 266, 268, 388, 426, 338, 391, 266, 267, 337, 335,
              312, 432]


def environment(home):
    keep = {key: value for key, value in os.environ.items() if not key.startswith("LLMHOST_")}
    return keep | {"HOME": str(home), "XDG_DATA_HOME": str(Path(home) / "data"), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


class ProgramTest(unittest.TestCase):
    program = None

    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)

    def run_program(self, *arguments, stdin=None):
        """(exit code, standard output, standard error). A pipe that is empty stands for no input."""
        done = subprocess.run([self.program, *map(str, arguments)], input=stdin or b"", capture_output=True, check=False,
                              env=environment(self.folder), timeout=WAIT_S)
        return done.returncode, done.stdout.decode(), done.stderr.decode()


class Chat:
    """The program on a pseudo-terminal; what it shows is read up to a pattern."""

    def __init__(self, program, folder, *arguments):
        self.shown = ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execve(program, [program, *map(str, arguments)], environment(folder))

    def send(self, text):
        os.write(self.terminal, text.encode())

    def expect(self, pattern):
        """The text up to the end of the first match, which is taken off what was shown."""
        end = time.monotonic() + WAIT_S
        while True:
            found = re.search(pattern, self.shown, re.S)
            if found:
                text, self.shown = self.shown[:found.end()], self.shown[found.end():]
                return text
            if not self.read_more(end - time.monotonic()):
                raise AssertionError(f"no {pattern!r} in {self.shown!r}")

    def read_more(self, seconds):
        if not select.select([self.terminal], [], [], max(seconds, 0))[0]:
            return False
        try:
            piece = os.read(self.terminal, 4096)
        except OSError:  # the program has gone
            return False
        self.shown += piece.decode(errors="replace").replace("\r", "")
        return bool(piece)

    def say(self, line):
        """Sends a line at the prompt and gives what is shown until the next prompt."""
        self.send(line + "\n")
        return self.expect(r"\n>>> ")

    def exit_code(self):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            self.read_more(0.01)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                os.close(self.terminal)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
        raise AssertionError(f"the program does not end: {self.shown!r}")

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.terminal)


def main():
    ProgramTest.program = sys.argv.pop(1)
    unittest.main()

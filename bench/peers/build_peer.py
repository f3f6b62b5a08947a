#!/usr/bin/env python3
"""Fetches and builds the peer, llama.cpp as the source package of llama-cpp-python carries it, and prints its folder of programs.

usage: build_peer.py

The package's version and checksum are pinned. Everything lies in the cache folder (PEER_CACHE names another): the package, its
sources, and a build whose name tells the CPU it is for, because it is compiled for exactly that one.
"""
import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path

import machine
import process
from folders import cache, locked
from problem import Problem

VERSION = "0.3.36"
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
ARCHIVE = f"llama_cpp_python-{VERSION}.tar.gz"
PROGRAMS = ["llama-bench", "llama-quantize", "llama-batched-bench", "llama-perplexity", "llama-completion",
            "llama-server"]
NAME = f"llama.cpp of llama-cpp-python {VERSION}, built natively"


def peer_cache():
    if "PEER_CACHE" in os.environ:
        return Path(os.environ["PEER_CACHE"])
    shared = Path.home() / ".cache" / "llm-peer"
    return shared if shared.is_dir() else cache() / "peer"


def build_folder():
    fields = machine.cpu_fields()
    line = "\n".join(f"{name}\t\t: {fields[name]}" for name in ("flags", "Features") if name in fields) + "\n"
    return peer_cache() / f"llama-{VERSION}-native-{hashlib.sha256(line.encode()).hexdigest()[:8]}"


def missing(folder):
    return [name for name in PROGRAMS if not os.access(folder / "bin" / name, os.X_OK)]


def tools():
    """cmake and ninja of the system, or those that pip installs; a PATH that has them."""
    path = os.environ.get("PATH", "")
    absent = [name for name in ("cmake", "ninja") if shutil.which(name) is None]
    if absent:
        venv = peer_cache() / "venv"
        if not (venv / "bin" / "pip").exists():
            process.run([sys.executable, "-m", "venv", venv])
        process.run([venv / "bin" / "pip", "install", "--quiet", *absent])
        path = f"{venv / 'bin'}{os.pathsep}{path}"
    return {"PATH": path}


def fetch(archive):
    print(f"peer: fetching {ARCHIVE}", file=sys.stderr, flush=True)
    process.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
                 "--dest", archive.parent, f"llama-cpp-python=={VERSION}"])


def sources():
    folder = peer_cache() / f"llama_cpp_python-{VERSION}" / "vendor" / "llama.cpp"
    if (folder / "CMakeLists.txt").exists():
        return folder
    archive = peer_cache() / ARCHIVE
    if not archive.exists():
        fetch(archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise Problem(f"{archive}: its sha256 is {digest}, expected {SHA256}: remove the file and run again")
    with tarfile.open(archive) as packed:
        packed.extractall(peer_cache(), filter="data")
    return folder


def build(folder):
    # The peer's build asks git for a commit: it must not find one of an unrelated repository above.
    environment = {**tools(), "GIT_CEILING_DIRECTORIES": str(peer_cache())}
    log = peer_cache() / "build-native.log"
    print(f"peer: building in {folder} (log: {log})", file=sys.stderr, flush=True)
    flags = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_UI=OFF",
             "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=OFF"]
    process.run(["cmake", "-S", sources(), "-B", folder, "-G", "Ninja", *flags], environment, log=log)
    process.run(["ninja", "-C", folder, "-j", os.cpu_count() or 1, *PROGRAMS], environment, timeout=7200, log=log)


def ensure():
    """The folder with the peer's programs."""
    folder = build_folder()
    if missing(folder):
        with locked(peer_cache() / "build"):
            if missing(folder):
                build(folder)
    if missing(folder):
        raise Problem(f"{folder}: the build made no {', '.join(missing(folder))}")
    return folder / "bin"


if __name__ == "__main__":
    try:
        print(ensure())
    except (Problem, OSError) as problem:
        sys.exit(f"build_peer: {problem}")

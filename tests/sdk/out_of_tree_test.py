#!/usr/bin/env python3
"""Installs the build, builds each example with find_package(llmhost) outside the tree, loads them all, and, when the build
has the program itself, runs models with them.

usage: out_of_tree_test.py BUILD EXAMPLES LOAD_PLUGINS
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import tiny_model

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "data" / "goldens" / "llama-gqa"
BUILD, EXAMPLES, LOADER = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
# Each example, the compiler it is built with, and what the loader must say.
CASES = {
    "arch-tiny": (["-DCMAKE_CXX_COMPILER=clang++"], "arch tiny 0.1.0 ok"),
    "finetune-ia3": (["-DCMAKE_CXX_COMPILER=g++", "-DCMAKE_BUILD_TYPE=Debug"], "finetune ia3 0.1.0 ok"),
    "finetune-bias": (["-DCMAKE_C_COMPILER=gcc"], "finetune bias 0.1.0 ok"),
    "backend-simple": (["-DCMAKE_CXX_COMPILER=g++"], "backend simple 0.1.0 ok"),
}


def run(*command, folder=None):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, cwd=folder)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def exported(library):
    return [line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines()]


def use(llmhost, plugins, scratch):
    """The installed program finds the examples as a user's own plugins and computes the right numbers with them."""
    listing = run(llmhost, "plugins", "--load", "--plugin-path", plugins)
    if any(f"/{name}.so" not in listing for name in CASES):
        sys.exit(f"the installed program does not list every example:\n{listing}")

    tokens = [1, 5, 7, 22, 0, 5]
    tiny_model.write(scratch / "tiny")
    (scratch / "tokens.json").write_text(json.dumps({"prompts": [tokens], "generate": 1}))
    expected = sum(tiny_model.logits(tokens), [])
    for backend in ("reference", "simple"):
        run(llmhost, "logits", scratch / "tiny", "--tokens", scratch / "tokens.json", "--out", scratch / "out.safetensors",
            "--backend", backend, "--plugin-path", plugins)
        actual = tiny_model.read_safetensors(scratch / "out.safetensors")["logits_0"]
        worst = max(abs(a - e) for a, e in zip(actual, expected, strict=True))
        print(f"arch tiny on backend {backend}: the largest error of {len(expected)} logits is {worst:.1e}")
        # f32 against doubles, logits up to 2.4 through two layers of 16: 1e-6 is usual, a wrong rotation gives 1e-1.
        if not worst < 2e-5:
            sys.exit(f"arch tiny on backend {backend}: logits are off by {worst}")
    for name in CASES:
        more = ["--model", scratch / "tiny"] if name.startswith(("arch", "backend")) else []
        print(run(llmhost, "check", plugins / f"{name}.so", "--plugin-path", plugins, *more).splitlines()[-1])


def start_a_plugin(llmhost, host, scratch):
    """What `arch new --cpp` writes builds as it is and runs a model of the shape it describes, under its own model type."""
    run(llmhost, "arch", "new", "aurora", "--cpp", folder=scratch)
    run("cmake", "-S", scratch / "aurora", "-B", scratch / "aurora/build", f"-DCMAKE_PREFIX_PATH={host}",
        "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror")
    run("cmake", "--build", scratch / "aurora/build")

    model = scratch / "aurora-model"
    shutil.copytree(GOLDEN, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"model_type": "aurora"}))
    expected = tiny_model.read_safetensors(model / "expected.safetensors")
    ids = read_ids(model / "expected.safetensors")
    (scratch / "tokens.json").write_text(json.dumps({"prompts": [ids]}))
    run(llmhost, "logits", model, "--tokens", scratch / "tokens.json", "--out", scratch / "out.safetensors",
        "--plugin-path", scratch / "aurora/build/lib/llmhost/plugins")
    actual = tiny_model.read_safetensors(scratch / "out.safetensors")["logits_0"]
    worst = max(abs(a - e) for a, e in zip(actual, expected["logits_0"], strict=True))
    limit = json.loads((model / "expected.json").read_text())["tolerance"]["f32"]["max_abs"]
    print(f"arch new --cpp: the largest error is {worst:.1e}, the limit {limit}")
    if not worst < limit:
        sys.exit(f"arch new --cpp: logits are off by {worst}")


def read_ids(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    begin, end = json.loads(content[8:8 + size])["input_ids_0"]["data_offsets"]
    return list(struct.unpack(f"<{(end - begin) // 4}i", content[8 + size + begin:8 + size + end]))


def main():
    os.umask(0o022)  # what a group may write to is refused
    prefix = pathlib.Path(tempfile.mkdtemp(prefix="llmhost-out-of-tree-"))
    try:
        run("cmake", "--install", BUILD, "--prefix", prefix / "host")
        for name, (options, _) in CASES.items():
            if "clang" in options[0] and shutil.which("clang++") is None:
                options = options[1:]
            # A copy, so that nothing beside the example can help it.
            shutil.copytree(EXAMPLES / name, prefix / name)
            run("cmake", "-S", prefix / name, "-B", prefix / "build" / name, f"-DCMAKE_PREFIX_PATH={prefix / 'host'}",
                "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror", "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror",
                "--no-warn-unused-cli", *options)
            run("cmake", "--build", prefix / "build" / name)
            run("cmake", "--install", prefix / "build" / name, "--prefix", prefix / "examples")
            symbols = exported(prefix / "examples/lib/llmhost/plugins" / f"{name}.so")
            if symbols != ["llmhost_plugin_v1"]:
                sys.exit(f"{name}.so exports {symbols}")
        listing = run(LOADER, prefix / "examples/lib/llmhost/plugins")
        print(listing)
        missing = [line for _, line in CASES.values() if line not in listing.splitlines()]
        if missing:
            sys.exit(f"not loaded: {missing}")
        llmhost = prefix / "host/bin/llmhost"
        if llmhost.exists():
            use(llmhost, prefix / "examples/lib/llmhost/plugins", prefix)
            start_a_plugin(llmhost, prefix / "host", prefix)
    finally:
        shutil.rmtree(prefix)


if __name__ == "__main__":
    main()

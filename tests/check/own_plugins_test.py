#!/usr/bin/env python3
"""Every architecture of the tree through the conformance kit, with a golden model of its own, and the CPU backend.

usage: own_plugins_test.py LLMHOST
"""
import json
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = sys.argv[1]
GOLDENS = Path(__file__).resolve().parents[1] / "data" / "goldens"
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith("LLMHOST_")}


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=ENVIRONMENT, timeout=900)


def models():
    """The first golden folder of each model type."""
    found = {}
    for folder in sorted(GOLDENS.iterdir()):
        if (folder / "config.json").exists():
            found.setdefault(json.loads((folder / "config.json").read_text()).get("model_type"), folder)
    return found


def failures(path, folder):
    arguments = ["--timeout", 300]
    if folder is not None:
        arguments += ["--model", folder, "--expected", folder / "expected.safetensors"]
    done = run("check", path, "--json", *arguments)
    rows = json.loads(done.stdout) if done.stdout else [{"case": "-", "ok": False, "message": done.stderr, "seconds": 0}]
    seconds = sum(row["seconds"] for row in rows)
    name = folder.name if folder is not None else "no model"
    print(f"{Path(path).name} with {name}: {len(rows)} cases, {seconds:.1f} s", flush=True)
    return [f"{Path(path).name} with {name}: {row['case']}: {row['message']}" for row in rows if not row["ok"]]


def main():
    # Those that the build has now, beside the program.
    listed = json.loads(run("plugins", "--json").stdout)["plugins"]
    plugins = [row for row in listed if row["origin"] == "installation" and row["usable"]]
    of_type = models()
    found = []
    for plugin in plugins:
        folder = next((of_type[name] for name in plugin["provides"] if name in of_type), None)
        found += failures(plugin["path"], folder if plugin["kind"] == "arch" else None)
    # A described architecture, and the backend under a whole model.
    paths = {plugin["id"]: plugin["path"] for plugin in plugins}
    if "declarative" in paths and "gptj" in of_type:
        found += failures(paths["declarative"], of_type["gptj"])
    if "cpu" in paths and "llama" in paths:
        found += failures(paths["cpu"], of_type["llama"])
    print("\n".join(found))
    return 1 if found or not plugins else 0


if __name__ == "__main__":
    sys.exit(main())

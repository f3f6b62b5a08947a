"""What a result needs to say about where it was measured."""
import os
import platform
import re
import subprocess
import time
from pathlib import Path

import process
from folders import ROOT, cache, locked
from problem import Problem

# In the order in which they are told; a CPU is named after the last of ISA_NAMES that it has.
FLAGS = ["avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512vbmi", "avx512_bf16", "avx512_fp16", "amx_int8",
         "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve"]
ISA_NAMES = [("avx2", "avx2"), ("avx512f", "avx512"), ("amx_int8", "amx"), ("asimd", "neon"), ("sve", "sve")]


def cpu_fields():
    fields = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def describe():
    fields = cpu_fields()
    have = set((fields.get("flags") or fields.get("Features") or "").split())
    family = ", ".join(f"{key} {fields[key]}" for key in ("cpu family", "model") if key in fields)
    return {"cpu": fields.get("model name", platform.machine()), "cpu_family": family, "cores": os.cpu_count(),
            "isa": [flag for flag in FLAGS if flag in have], "system": f"{platform.system()} {platform.release()}"}


def slug(machine):
    isa = [name for flag, name in ISA_NAMES if flag in machine["isa"]]
    words = re.findall(r"[a-z0-9]+", machine["cpu"].lower().replace("(r)", "").replace("(tm)", ""))
    return "-".join([*words[:4], *isa[-1:]]) or "unknown"


def git(*arguments):
    try:
        found = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


def commit():
    """The commit, with a + where files of the tree differ from it."""
    name = git("rev-parse", "--short=10", "HEAD") or "unknown"
    return name + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def processor_times():
    """(time spent working, all time) of all cores so far, in the kernel's ticks."""
    fields = list(map(int, Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]))
    return sum(fields) - fields[3] - fields[4], sum(fields)


def busy_share(seconds=0.2):
    """The share of all cores that is at work while this process sleeps."""
    work, total = processor_times()
    time.sleep(seconds)
    work_after, total_after = processor_times()
    return (work_after - work) / max(1, total_after - total)


def build_limits():
    source = Path(__file__).with_name("limits.cpp")
    program = cache() / "limits"
    with locked(program):
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            compiler = os.environ.get("CXX", "g++")
            part = program.with_suffix(".part")
            process.run([compiler, "-std=c++20", "-O2", "-pthread", "-o", part, source])
            part.replace(program)
    return program


def limits(threads, parse):
    """Peaks and bandwidths of this machine with so many threads; `parse` reads JSON."""
    try:
        return parse(process.run([build_limits(), threads], timeout=600).output)
    except ValueError as error:
        raise Problem(f"limits: its output is no JSON: {error}") from error

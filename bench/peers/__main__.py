"""./dev bench peers: measures this engine and others, in turn in one run.

Every cell (a model in an element type, a test, a number of threads) is measured --repeats times, ours and the peer alternating;
each time is a process of its own. Results are written after every measurement: a run that was broken off goes on with
--resume. `--list` tells what would be measured.
"""
import argparse
import hashlib
import json
import os
import shlex
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import build_peer
import cells
import engines
import machine
import models
import ratios
import sides
from folders import ROOT, cache
from problem import Problem
from store import Store, publish

TEXT = Path("/usr/share/common-licenses/GPL-3")
SAY = {"file": sys.stderr, "flush": True}


def parser():
    tests = "\n".join(f"  {name:12} {text}" for name, text in cells.OTHERS.items())
    made = argparse.ArgumentParser(prog="dev bench peers", formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__,
                                   epilog=f"tests: pp512, tg128, tg32@d4096, tg16@d128x8 and the like, batched, depth, and\n{tests}")
    made.add_argument("--models", default=",".join(models.DEFAULT), help="of " + ", ".join(models.MODELS))
    made.add_argument("--types", default="", help="element types; without, those of each model (some tests take a few of them)")
    made.add_argument("--tests", default=",".join(cells.DEFAULT_TESTS), help="see below (default: all)")
    made.add_argument("--threads", default="1,2", help="numbers of threads (default: 1,2)")
    made.add_argument("--repeats", type=int, default=3, help="times that each side is measured (default: 3)")
    made.add_argument("--samples", type=int, default=2, help="measurements of one process (default: 2)")
    made.add_argument("--out", type=Path, help="file for the results; default: one in the cache folder")
    made.add_argument("--resume", action="store_true", help="go on with the file of the results, by default with the newest")
    made.add_argument("--save", action="store_true", help="copy the results to bench/results at the end")
    made.add_argument("--list", action="store_true", help="tell what would be measured and stop")
    made.add_argument("--program", type=Path, default=ROOT / "build" / "release" / "bin" / "llmhost", help="the llmhost to measure")
    made.add_argument("--arguments", default="", help="more arguments for it, in one word")
    made.add_argument("--free-arguments", default="", help="arguments that give up invariance, for the test 'invariance'")
    made.add_argument("--speculation-arguments", default="--speculate lookup", help="arguments for the test 'speculation'")
    made.add_argument("--text", type=Path, default=TEXT, help="what perplexity is measured on")
    made.add_argument("--timeout", type=float, default=1800, help="most seconds of one process")
    return made


def program_digest(program):
    digest = hashlib.sha256()
    # The plugins are the engine as much as the program is.
    for path in [program, *sorted(program.parent.parent.glob("lib/llmhost/plugins/**/*.so"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def header(options, command):
    text = options.text.read_bytes() if options.text.exists() else b""
    return {"machine": machine.describe(), "commit": machine.commit(), "program_sha256": program_digest(options.program),
            "peer": build_peer.NAME, "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), "command": command,
            "text": {"name": options.text.name, "bytes": len(text), "sha256": hashlib.sha256(text).hexdigest()}}


def results_path(options):
    if options.out:
        return options.out
    folder = cache() / "runs"
    if options.resume:
        runs = sorted(folder.glob("*.json"))
        if not runs:
            raise Problem(f"--resume: no results in {folder}")
        return runs[-1]
    return folder / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}.json"


def measure_side(store, key, side, function):
    """Whether the side could be measured; a failure is part of the results, the run goes on."""
    try:
        store.add(key, side, function())
    except Problem as problem:
        store.fail(key, side, str(problem).replace(str(Path.home()), "~"))
        print(f"  {side}: {problem}", **SAY)
        return False
    return True


def summary(cell):
    parts = []
    for side, metrics in cell["sides"].items():
        values = [f"{name} {sorted(samples)[len(samples) // 2]:.4g}" for name, samples in metrics.items()]
        parts.append(f"{side} {', '.join(values)}")
    return "; ".join(parts) or "nothing measured"


def measure_cell(store, setup, cell, path, repeats):
    key = cell.key()
    functions = sides.of(setup, cell, path)
    if not functions:
        return f"{key}: this program does not offer it"
    store.cell(key, cell.attributes())
    repeats = 1 if cell.kind == "perplexity" else repeats
    failed = set()
    for turn in range(repeats):
        if all(store.rounds(key, side) > turn for side in functions):
            continue
        store.note_busy(key, machine.busy_share())
        # Every other turn the other way round: nobody is always the one who finds the machine warm.
        for side, function in list(functions.items())[:: 1 if turn % 2 == 0 else -1]:
            if store.rounds(key, side) <= turn and side not in failed and not measure_side(store, key, side, function):
                failed.add(side)
    measured = store.document["cells"][key]
    warning = f" (others kept {100 * measured['others_busy']:.0f} % of the machine busy)" if measured["others_busy"] > ratios.BUSY else ""
    return f"{key}: {summary(measured)}{warning}"


def needs_limits(chosen):
    return any(cell.kind == "speed" for cell in chosen)


def measure_limits(store, chosen):
    for threads in sorted({cell.threads for cell in chosen}):
        if str(threads) not in store.document["limits"]:
            print(f"limits of this machine, {threads} thread(s)", **SAY)
            store.document["limits"][str(threads)] = machine.limits(threads, json.loads)
            store.save()


def note_model(store, program, cell, path):
    name = f"{cell.model}/{cell.type}"
    if name not in store.document["models"]:
        model = models.MODELS[cell.model]
        facts = models.facts(models.described(program, path), model.experts_at_work)
        store.document["models"][name] = {"title": model.title, **facts}


def measure_all(options, chosen, store, setup):
    started = time.monotonic()
    if needs_limits(chosen):
        measure_limits(store, chosen)
    unfinished = 0
    for index, cell in enumerate(chosen):
        try:
            path = models.ensure(cell.model, cell.type, setup.peer.folder)
            note_model(store, options.program, cell, path)
            text = measure_cell(store, setup, cell, path, options.repeats)
            unfinished += bool(store.document["cells"].get(cell.key(), {}).get("errors"))
        except Problem as problem:
            unfinished += 1
            text = f"{cell.key()}: {problem}"
        print(f"[{index + 1}/{len(chosen)}, {time.monotonic() - started:.0f} s] {text}", **SAY)
    return unfinished


def checked(options):
    threads = cells.split(options.threads, None, "number of threads")
    if not all(word.isdigit() and 0 < int(word) <= 1024 for word in threads):
        raise Problem(f"--threads {options.threads}: give numbers, such as 1,2")
    if not 1 <= options.repeats <= 100 or not 1 <= options.samples <= 100:
        raise Problem("--repeats and --samples must be 1 to 100")
    types = cells.split(options.types, None, "type") if options.types else None
    tests = cells.split(options.tests, None, "test")
    return cells.expand(cells.split(options.models, models.MODELS, "model"), types, tests, sorted({int(word) for word in threads}))


def run(options, command):
    chosen = checked(options)
    if options.list:
        print("\n".join(cell.key() for cell in chosen))
        return 0
    options.program = options.program.absolute()
    if not os.access(options.program, os.X_OK):
        raise Problem(f"{options.program} is no program: build it (./dev build) or name one with --program")
    setup = sides.Setup(engines.Ours(options.program, shlex.split(options.arguments)), engines.LlamaCpp(build_peer.ensure()),
                        options.samples, options.text, shlex.split(options.free_arguments),
                        shlex.split(options.speculation_arguments), options.timeout)
    store = Store(results_path(options), header(options, command), options.resume)
    print(f"results: {store.path}", **SAY)
    store.save()
    unfinished = measure_all(options, chosen, store, setup)
    if options.save:
        target = publish(ROOT, store.document)
        print(f"saved: {target}; bench/peers/report.py renews the tables", **SAY)
    return 1 if unfinished else 0


def stop(*_):
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, stop)
    arguments = sys.argv[1:]
    options = parser().parse_args(arguments)
    try:
        return run(options, shlex.join(["./dev", "bench", "peers", *arguments]))
    except (Problem, OSError) as problem:
        print(f"bench peers: {problem}", **SAY)
        return 1
    except KeyboardInterrupt:
        print("\nbench peers: interrupted; --resume goes on", **SAY)
        return 130


if __name__ == "__main__":
    sys.exit(main())

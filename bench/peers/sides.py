"""How each side of a cell is measured once: a function without arguments that returns {metric: [samples]}."""
import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import burners
import engines
import models
import process
import prompts
import ratios
import speed_tests
from folders import cache
from packages import python_with
from problem import Problem

CONTEXT = 2048
LONG = 1024
PROMPT = "The capital of France is"
PERPLEXITY_WINDOWS = 8


@dataclass
class Setup:
    ours: engines.Ours
    peer: engines.LlamaCpp
    samples: int
    text: Path
    free_arguments: list
    speculation_arguments: list
    timeout: float
    pp: int = 512
    tg: int = 128


def speed(setup, engine, cell, path, around=contextlib.nullcontext):
    test = speed_tests.parse(cell.test)
    # A long state takes much longer to fill than its use takes to measure.
    samples = 1 if test.depth >= LONG else setup.samples

    def measure():
        with around():
            done = process.run(engine.speed(path, test, cell.threads, samples), engine.environment, setup.timeout)
        return {cell.test: engine.read_speed(done.output, test)}

    return measure


def drop_from_page_cache(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def first_token(setup, engine, cell, path):
    def measure():
        if cell.kind == "cold":
            drop_from_page_cache(path)
        done = process.run(engine.first_token(path, cell.threads, CONTEXT, PROMPT), engine.environment, setup.timeout)
        return {"seconds": [done.seconds], "cpu_seconds": [done.cpu_seconds], "peak_rss_mib": [done.peak_rss_mib]}

    return measure


def perplexity(setup, engine, cell, path, *precision):
    def measure():
        command = engine.perplexity(path, setup.text, cell.threads, PERPLEXITY_WINDOWS, *precision)
        done = process.run(command, engine.environment, setup.timeout)
        said = done.output if engine is setup.ours else done.output + done.errors
        return {"perplexity": [engine.read_perplexity(said)]}

    return measure


def both_speeds(setup, engine, cell, path):
    """Prompt and generation, as other engines are measured."""
    parts = [speed(setup, engine, type(cell)("speed", cell.model, cell.type, f"{kind}{count}", cell.threads), path)
             for kind, count in (("pp", setup.pp), ("tg", setup.tg))]
    return lambda: {name: values for part in parts for name, values in part().items()}


def script(setup, package, name, arguments):
    def measure():
        python = python_with(package)
        done = process.run([python, Path(__file__).with_name(name), *arguments(), setup.pp, setup.tg, setup.samples],
                           timeout=setup.timeout)
        lines = [line for line in done.output.splitlines() if line.startswith("{")]
        if not lines:
            raise Problem(f"{name}: printed no result")
        return json.loads(lines[-1])

    return measure


def other_engines(setup, cell, path):
    def openvino_file():
        # It reads no vocabulary of the SentencePiece kind.
        return models.ensure("synth-bpe", cell.type, setup.peer.folder) if cell.model == "synth" else path

    return {
        "llmhost": both_speeds(setup, setup.ours, cell, path),
        "llama.cpp": both_speeds(setup, setup.peer, cell, path),
        "ctranslate2": script(setup, "ctranslate2", "engine_ct2.py",
                              lambda: [cache() / "ctranslate2" / cell.model, cell.model, cell.threads]),
        "openvino": script(setup, "openvino", "engine_openvino.py", lambda: [openvino_file(), cell.threads]),
    }


def with_arguments(setup, arguments):
    return engines.Ours(setup.ours.program, [*setup.ours.arguments, *arguments])


def speculation(setup, cell, path):
    """Plain answers and those with speculation, which have to be the same tokens."""
    prompt, count = prompts.TEXTS[cell.test]
    seen = {}

    def measure(engine, side):
        tokens, speeds = [], []
        for _ in range(setup.samples):
            done = process.run(engine.answer(path, prompt, count, cell.threads), engine.environment, setup.timeout)
            tokens, speed_of_one = engine.read_answer(done.output)
            speeds.append(speed_of_one)
        seen[side] = tokens
        if len({tuple(each) for each in seen.values()}) > 1:
            raise Problem("llmhost run: the answers with and without speculation differ")
        return {cell.test: speeds}

    guessing = with_arguments(setup, setup.speculation_arguments)
    return {"llmhost": lambda: measure(setup.ours, "llmhost"), "speculation": lambda: measure(guessing, "speculation")}


def precisions(setup):
    return ["native", "f32"] if "--precision" in setup.ours.help_of("perplexity") else [""]


def of(setup, cell, path):
    """{side: function}; no sides where the program does not offer what the cell measures."""
    if cell.kind == "perplexity":
        ours = {f"llmhost {name}".strip(): perplexity(setup, setup.ours, cell, path, name) for name in precisions(setup)}
        return {**ours, "llama.cpp": perplexity(setup, setup.peer, cell, path)}
    if cell.kind == "engines":
        return other_engines(setup, cell, path)
    if cell.kind == "invariance":
        if not setup.free_arguments:
            return {}
        return {"llmhost": speed(setup, setup.ours, cell, path),
                "free": speed(setup, with_arguments(setup, setup.free_arguments), cell, path)}
    if cell.kind == "speculation":
        offered = "--speculate" in setup.ours.help_of("run")
        return speculation(setup, cell, path) if offered else {}
    if cell.kind in ("cold", "warm"):
        return {engine.name: first_token(setup, engine, cell, path) for engine in (setup.ours, setup.peer)}
    if cell.kind == "busy":
        # By default its threads spin while they wait; whoever shares a machine may know how to turn that off.
        patient = engines.LlamaCpp(setup.peer.folder, {"OMP_WAIT_POLICY": "passive"})
        sides = {setup.ours.name: setup.ours, setup.peer.name: setup.peer, ratios.PATIENT: patient}
        return {name: speed(setup, engine, cell, path, burners.busy) for name, engine in sides.items()}
    return {engine.name: speed(setup, engine, cell, path) for engine in (setup.ours, setup.peer)}

#!/usr/bin/env python3
"""Measures serving: our server and the peer's in turn under the same load, and ours with many adapters beside its base model.

usage: bench/serving [--program PATH] [--out FILE] [--clients 1,8,32] [--rounds N] [--adapters 0,1,8,32,64] [--modules q_proj,v_proj] [--publish]

Every figure is the median of the rounds; the sides alternate within a round. Results: JSON with machine, commit and command.
"""
import argparse
import datetime
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "peers")]

import adapters  # noqa: E402
import build_peer  # noqa: E402
import load  # noqa: E402
import machine  # noqa: E402
import models  # noqa: E402
import servers  # noqa: E402
import store  # noqa: E402
from folders import ROOT  # noqa: E402
from problem import Problem  # noqa: E402

RANK = 16
# SmolLM2-135M: layers, hidden size, width of keys and values, width of the feed-forward layer.
SHAPE = (30, 576, 192, 1536)
REQUESTS = {1: 8, 8: 32, 32: 64}


def say(text):
    print(f"serving: {text}", file=sys.stderr, flush=True)


def measure(command, port, shape):
    with servers.running(command, port):
        address = ("127.0.0.1", port)
        load.run(address, load.Shape(shape.clients, max(4, shape.clients, len(shape.models)), shape.prompt_words, 8, 7,
                                     shape.models), 10**6)
        answers, seconds = load.run(address, shape)
    return load.figures(answers, seconds, shape)


def medians(samples):
    return {name: store.rounded(statistics.median(sample[name] for sample in samples)) for name in samples[0]}


def compare(setup, clients):
    """Ours and the peer's server, in turn."""
    samples = {"ours": [], "peer": []}
    shape = load.Shape(clients, REQUESTS.get(clients, 4 * clients))
    for _ in range(setup.rounds):
        for side, found in samples.items():
            port = servers.free_port()
            places = max(clients, 8)
            with tempfile.TemporaryDirectory(prefix="llmhost-serving-") as folder:
                command = (servers.ours(setup.program, setup.model, port, setup.threads, places, folder) if side == "ours" else
                           servers.peer(setup.peer, setup.model, port, setup.threads, places))
                found.append(measure(command, port, shape))
            say(f"{clients} clients, {side}: {found[-1]['tokens_per_s']:.0f} tokens/s, "
                f"first token p99 {found[-1]['ttft_ms_p99']:.0f} ms")
    cell = {side: medians(found) for side, found in samples.items()}
    cell["samples"] = samples
    cell["throughput_ratio"] = store.rounded(cell["ours"]["tokens_per_s"] / cell["peer"]["tokens_per_s"])
    cell["ttft_p99_ratio"] = store.rounded(cell["ours"]["ttft_ms_p99"] / cell["peer"]["ttft_ms_p99"])
    return cell


def adapter_curve(setup, counts, modules):
    """32 clients whose requests go round so many adapters; one server a round and count, base first."""
    clients = 32
    with tempfile.TemporaryDirectory(prefix="llmhost-adapters-") as folder:
        chosen = adapters.decoder_modules(*SHAPE, modules)
        for i in range(max(counts)):
            adapters.write_adapter(Path(folder) / f"a{i}", chosen, RANK, i)
        samples = {str(count): [] for count in [0, *counts]}
        for _ in range(setup.rounds):
            for count, found in samples.items():
                names = [f"m:a{i}" for i in range(int(count))] or ["m"]
                port = servers.free_port()
                command = servers.ours(setup.program, setup.model, port, setup.threads, clients, folder)
                found.append(measure(command, port, load.Shape(clients, 2 * max(64, len(names)), models=names)))
                say(f"{count} adapters on {'+'.join(modules)}: {found[-1]['tokens_per_s']:.0f} tokens/s")
    result = {"rank": RANK, "modules": modules, "clients": clients,
              "counts": {count: medians(found) for count, found in samples.items()}, "samples": samples}
    base = result["counts"]["0"]["tokens_per_s"]
    result["ratio_to_base"] = {count: store.rounded(found["tokens_per_s"] / base) for count, found in result["counts"].items()}
    return result


def numbers(text):
    return [int(word) for word in text.split(",") if word]


def parse(arguments):
    parser = argparse.ArgumentParser(prog="bench/serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "build/release/bin/llmhost"))
    parser.add_argument("--out", default="")
    parser.add_argument("--model", default="")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=numbers, default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--adapters", type=numbers, default=[1, 8, 32, 64])
    parser.add_argument("--modules", action="append", help="linear modules of the adapters; may be given several times")
    parser.add_argument("--publish", action="store_true", help="write to bench/results")
    return parser.parse_args(arguments)


def main(arguments):
    setup = parse(arguments)
    if shutil.which(setup.program) is None:
        raise Problem(f"{setup.program}: no such program; build it first (./dev build)")
    setup.model = setup.model or str(models.ensure("smol", "Q4_1", None))
    document = {"format": store.FORMAT, "kind": "serving", "date": datetime.date.today().isoformat(),
                "commit": machine.commit(), "machine": machine.describe(), "threads": setup.threads, "rounds": setup.rounds,
                "model": Path(setup.model).name, "command": "bench/serving " + " ".join(arguments), "load": {}, "adapters": []}
    if setup.clients:
        setup.peer = build_peer.ensure()
        document["peer"] = build_peer.NAME
    for clients in setup.clients:
        document["load"][str(clients)] = compare(setup, clients)
    if setup.adapters:
        for modules in setup.modules or ["q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"]:
            document["adapters"].append(adapter_curve(setup, setup.adapters, modules.split(",")))
    out = Path(setup.out) if setup.out else ROOT / "build" / "serving.json"
    if setup.publish:
        out = ROOT / "bench" / "results" / f"serving-{machine.slug(document['machine'])}-{document['date']}.json"
    store.write_json(out, store.without_paths(document))
    print(out)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Problem, OSError) as problem:
        sys.exit(f"bench/serving: {problem}")

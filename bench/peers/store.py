"""Results on disk, written after every measurement, so that a run which was broken off goes on where it stopped."""
import json
import os
import re
from pathlib import Path

import machine
from problem import Problem

FORMAT = 1
# A path with its folders; what lies before it is the end of a word or of nothing.
ABSOLUTE_PATH = re.compile(r"(?<![\w.~])~?/(?:[\w.+@~-]+/)+([\w.+@-]+)")
NUMBERS = re.compile(r"\[\s+((?:[-+0-9.eE]+,?\s+)+)\]")


def write_json(path, document):
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with open(part, "w", encoding="utf-8") as file:
        text = json.dumps(document, indent=1)
        # A line for each list of samples, not for each sample.
        file.write(NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", text) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_json(path):
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Problem(f"{path}: cannot be read as results: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise Problem(f"{path}: these are no results of this program, or of another version of it")
    return document


def without_paths(value):
    """The same document without this machine's folders."""
    if isinstance(value, str):
        return ABSOLUTE_PATH.sub(r"\1", value)
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    return value


def rounded(value):
    """Six digits: perplexities need them, nothing else is that good."""
    return float(f"{value:.6g}")


def publish(root, document):
    """Copies results to bench/results, under the name that report.py looks for."""
    target = root / "bench" / "results" / f"peers-{machine.slug(document['machine'])}-{document['date']}.json"
    write_json(target, without_paths(document))
    return target


class Store:
    """One file. A cell is {"kind", "model", ..., "sides": {side: {metric: [samples]}}, "errors": {side: reason}}."""

    def __init__(self, path, header, resume):
        self.path = Path(path)
        self.document = {"format": FORMAT, **header, "limits": {}, "models": {}, "cells": {}}
        if self.path.exists():
            if not resume:
                raise Problem(f"{path} exists: give --resume to go on with it, or another --out")
            self._continue(read_json(self.path), header)

    def _continue(self, before, header):
        for key in ("program_sha256", "peer", "machine"):
            if before.get(key) != header.get(key):
                raise Problem(f"{self.path} was measured with {key} {before.get(key)}, now it is {header.get(key)}: "
                              "begin a new file with --out")
        self.document = before
        if header["command"] not in before["command"].split("; "):
            before["command"] += "; " + header["command"]

    def save(self):
        write_json(self.path, self.document)

    def cell(self, key, attributes):
        return self.document["cells"].setdefault(key, {**attributes, "sides": {}, "errors": {}})

    def rounds(self, key, side):
        """Measurements there are of a side of a cell."""
        return self.document["cells"].get(key, {}).get("rounds", {}).get(side, 0)

    def add(self, key, side, samples):
        cell = self.document["cells"][key]
        cell["errors"].pop(side, None)
        for metric, values in samples.items():
            cell["sides"].setdefault(side, {}).setdefault(metric, []).extend(rounded(value) for value in values)
        counts = cell.setdefault("rounds", {})
        counts[side] = counts.get(side, 0) + 1
        self.save()

    def note_busy(self, key, share):
        """How busy the machine was with other work before a round: the worst of all rounds is kept."""
        cell = self.document["cells"][key]
        cell["others_busy"] = max(cell.get("others_busy", 0.0), round(share, 2))

    def fail(self, key, side, reason):
        self.document["cells"][key]["errors"][side] = reason
        self.save()

#!/usr/bin/env python3
"""Writes docs/models.md: families, variants, formats, quantisations and how each did in the last run of the golden cases.

usage: models.py [ROOT] [--check]

Everything comes from plugins/archs/*/plugin.yaml, registry/archs/*.yaml and tests/goldens/results.json (which
tests/goldens/report.py writes); nothing is typed by hand. --check writes nothing and says what would change: exit code 1.
"""
import difflib
import json
import re
import sys
from pathlib import Path

WAYS = ("whole", "token_by_token", "batch_of_8")
PAGE = "docs/models.md"
KEY_LINE = re.compile(r"([A-Za-z_]\w*):\s*(.*)")
ITEM = re.compile(r'\s*(?:"((?:\\.|[^"\\])*)"|\'([^\']*)\'|([^,\[\]"\']+))\s*(?:,|$)')


def scalar(text):
    """A scalar or a [flow list] of scalars on one line; what else YAML has does not occur in the lines that are read."""
    text = text.strip()
    if text.startswith("["):
        inside = text[1:text.rindex("]")]
        return [next(group for group in match.groups() if group is not None).strip() for match in ITEM.finditer(inside)]
    if text[:1] in "\"'" and text[-1:] == text[:1] and len(text) > 1:
        return text[1:-1]
    return text.split(" #")[0].strip()


def top_level(path):
    """The one-line keys at the left margin, and the comment that the file begins with."""
    keys, comment = {}, []
    lines = path.read_text(encoding="utf-8").splitlines()
    while lines and lines[0].startswith("#"):
        comment.append(lines.pop(0).lstrip("# ").rstrip())
    for line in lines:
        match = KEY_LINE.match(line)
        if match and match[2]:
            keys[match[1]] = scalar(match[2])
    return keys, " ".join(comment)


def listed(value):
    return [] if value in (None, "") else [value] if isinstance(value, str) else value


class Family:
    """One row: a plugin of its own, or a description."""

    def __init__(self, name, path, about, types, gguf=(), variants=(), targets=(), extends=None):
        self.name, self.path, self.about, self.extends = name, path, about, extends
        self.types, self.gguf, self.variants, self.targets = list(types), list(gguf), list(variants), list(targets)
        self.cases = []


def plugins(root):
    for path in sorted(root.glob("plugins/archs/*/plugin.yaml")):
        keys, _ = top_level(path)
        yield Family(keys["id"], f"../plugins/archs/{path.parent.name}", keys.get("description", ""), listed(keys["provides"]),
                     variants=listed(keys.get("variants")), targets=listed(keys.get("adapter_targets")))


def attention_targets(path, described):
    """The projections that adapters attach to: the fused one, else those of q and v; by the document or what it extends."""
    text = path.read_text(encoding="utf-8")
    fused = re.search(r"\bfused:\s*(?:\{module:\s*)?([A-Za-z_]\w*)", text)
    if fused:
        return [fused[1]]
    if re.search(r"\blatent:", text):
        return ["q_proj", "kv_b_proj"]
    query, value = (re.search(rf"[{{,]\s*{part}: ([A-Za-z_]\w*)", text) for part in "qv")
    if query and value:
        return [query[1], value[1]]
    parent = top_level(path)[0].get("extends")
    return attention_targets(described[parent], described) if parent in described else ["q_proj", "v_proj"]


def descriptions(root):
    paths = {path.stem: path for path in sorted(root.glob("registry/archs/*.yaml")) if path.stem != "unsupported"}
    for name, path in paths.items():
        keys, comment = top_level(path)
        if not listed(keys.get("model_types")):
            continue
        yield Family(name, f"../registry/archs/{path.name}", comment, listed(keys["model_types"]),
                     gguf=listed(keys.get("gguf_architectures")), targets=attention_targets(path, paths), extends=keys.get("extends"))


def refusals(root):
    """Reason to model types, of the map in registry/archs/unsupported.yaml."""
    path = root / "registry/archs/unsupported.yaml"
    reasons = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        match = re.match(r"  ([A-Za-z][\w.+-]*): +(.+)$", line)
        if match:
            reasons.setdefault(scalar(match[2]), []).append(match[1])
    return reasons


def claims(family, row):
    return row.get("model_type") in family.types + family.gguf


def attach(families, described, rows):
    for row in rows:
        own = [f for f in families if f.name == row.get("plugin")]
        if row.get("plugin") in (None, "declarative"):
            own = [f for f in [*described, *families] if claims(f, row)]
        for family in own[:1]:
            family.cases.append(row)


def error_of(row):
    return max(row[way].get("max_error", float("inf")) for way in WAYS)


def status(cases):
    if not cases:
        return "no case"
    ran = [row for row in cases if "refused" not in row]
    text = f"{sum(row['passed'] for row in ran)} of {len(ran)}" if ran else ""
    if ran:
        share = max(error_of(row) / row["limit"] for row in ran)
        text += f", error at most {share:.1%} of the limit" if share >= 0.0005 else ", error under 0.1% of the limit"
    if len(ran) < len(cases):
        text += (", " if text else "") + f"{len(cases) - len(ran)} refused"
    return text


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def code(names):
    return " ".join(f"`{name}`" for name in names) or "–"


def table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell(value) for value in row) + " |"
    yield ""


def way_cell(row, way):
    result = row[way]
    mark = "" if result["passed"] else " **fails**"
    return f"{result['max_error']:.1e}{mark}" if "max_error" in result else result["problem"] + mark


def case_row(row):
    if "refused" in row:
        return [row["case"], row.get("model_type", "?"), "refused: " + row["refused"], "", "", "", "", ""]
    stored = f"{row['format']} {row['quantisation']}"
    return [row["case"], row["model_type"], stored, *(way_cell(row, way) for way in WAYS),
            "yes" if row["same_bits"] else "**no**", f"{row['limit']:.1e}"]


def stored_types(row):
    """Each element type of a GGUF file; norms and biases stay in f32 beside any other, so f32 counts alone only."""
    if row["format"] != "gguf":
        return [row["quantisation"]]
    types = [name for name in row["quantisation"].split() if name.lower() != "f32"]
    return types or ["f32"]


def formats(rows):
    groups = {}
    for row in rows:
        for stored in stored_types(row) if "refused" not in row else ():
            groups.setdefault((row["format"], stored), []).append(row)
    for (kind, stored), cases in sorted(groups.items()):
        types = sorted({row["model_type"] for row in cases})
        yield [kind, stored, status(cases), ", ".join(types)]


def tally(rows):
    passed, refused = sum(row.get("passed", False) for row in rows), sum("refused" in row for row in rows)
    return f"{passed} of {len(rows)} pass" + (f", {refused} are refused" if refused else "")


def page(root):
    report = json.loads((root / "tests/goldens/results.json").read_text(encoding="utf-8"))
    rows = report["cases"]
    kept, others = ([row for row in rows if row["kept"] is is_kept] for is_kept in (True, False))
    families = list(plugins(root))
    described = list(descriptions(root))
    attach(families, described, rows)
    general = [f for f in families if f.types == ["*"]]
    own = [f for f in families if f not in general]
    yield from ["# Models", "",
                "Which families run, from what files, and how each did in the last run of the golden cases. Made by",
                "[scripts/docs/models.py](../scripts/docs/models.py) from the plugins' own descriptions and",
                "[results.json](../tests/goldens/results.json); a test compares.", "",
                f"Last run: {report['date']}, commit {report['commit']}, {report['machine']['cpu']} "
                f"({', '.join(report['machine']['isa'])}).",
                "", "A golden case is a tiny model with random weights and what an independent implementation computes for it. It passes",
                "when logits are within the limit (0.001 of their standard deviation) at every position and greedy continuations agree,",
                "with prompts taken whole, token by token, and in a batch with seven others, which must give the same bits.",
                f"Of the cases kept here {tally(kept)}. Others, made in the same way for more of the decoders in transformers 5.23",
                f"and for variants of their settings, are too many to keep: {tally(others)}. The counts below are of both.",
                *(["\"no case\": there is none that checks this family."] if any(not f.cases for f in own + described) else []), "",
                "## Families with a plugin", ""]
    yield from table(["family", "model types", "members and shapes", "adapters attach to", "golden cases"],
                     [[f"[{f.name}]({f.path}): {f.about}", code(f.types), "; ".join(f.variants), code(f.targets), status(f.cases)]
                      for f in own])
    yield from ["## Families described by data", "",
                "The plugin `declarative` builds these from [text files](declarative-archs.md), as it does with a file of your own.", ""]
    yield from table(["family", "model types", "GGUF name", "adapters attach to", "golden cases"],
                     [[f"[{f.name}]({f.path}): {f.about}", code(f.types), code(f.gguf), code(f.targets), status(f.cases)]
                      for f in described])
    unknown = [row for row in rows if row.get("plugin") == "declarative" and not any(row in f.cases for f in described)]
    yield from ["## Everything else", "",
                "A model type that nobody described is read off its config, tensor names and shapes where these leave no doubt; `show` tells",
                "each choice and how sure it is." + (f" Cases: {status(unknown)}." if unknown else ""), ""]
    refused = refusals(root)
    if refused:
        yield from ["## Refused, with the reason", ""]
        yield from table(["reason", "model types"], [[reason, code(types)] for reason, types in refused.items()])
    known = {name for f in [*own, *described] for name in f.types} | {name for types in refused.values() for name in types}
    unreadable = {row["model_type"] for row in rows if "refused" in row and "model_type" in row} - known
    if unreadable:
        yield from [f"Not described either, and not to be read off their checkpoints: {code(sorted(unreadable))}.", ""]
    yield from ["## Formats and quantisations", ""]
    yield from table(["format", "stored as", "golden cases", "model types of these"], formats(rows))
    yield from ["## Golden cases", "", "Those kept here: the largest absolute error of a logit, three ways.", ""]
    yield from table(["case", "model type", "stored as", "whole", "token by token", "batch of 8", "same bits", "limit"],
                     map(case_row, kept))


def main(arguments):
    check = "--check" in arguments
    folders = [a for a in arguments if a != "--check"]
    root = Path(folders[0]) if folders else Path(__file__).resolve().parents[2]
    text = "\n".join(page(root)).rstrip("\n") + "\n"
    path = root / PAGE
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    if check:
        for line in difflib.unified_diff(before.splitlines(), text.splitlines(), PAGE, "as it would be", lineterm="", n=0):
            print(line)
        if before != text:
            print(f"{PAGE} is not what its sources say: run scripts/docs/models.py")
        return int(before != text)
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

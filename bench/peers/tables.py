"""Markdown tables of one document of results."""
import ratios
from ratios import OURS, PATIENT, PEER

ENGINE_TITLES = {"llmhost": "llmhost", "llama.cpp": "llama.cpp", "ctranslate2": "CTranslate2", "openvino": "OpenVINO GenAI"}
NONE = "–"


def number(value, digits=3):
    """Three significant digits, without an exponent."""
    if value is None:
        return NONE
    whole = f"{value:.{digits}g}"
    return f"{value:.0f}" if abs(value) >= 10 ** digits or "e" in whole else whole


def factor(value):
    return NONE if value is None else f"{value:.2f}"


def percent(value):
    return NONE if value is None else f"{100 * value:.0f} %"


def table(heads, rows):
    yield "| " + " | ".join(heads) + " |"
    yield "| " + " | ".join("---" for _ in heads) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def cells_of(document, kind):
    return [cell for cell in document["cells"].values() if cell["kind"] == kind]


def title(document, model):
    names = [facts["title"] for key, facts in document["models"].items() if key.split("/")[0] == model]
    return names[0].split(" (")[0].split(",")[0] if names else model


def ordered(values):
    return list(dict.fromkeys(values))


def failure(cell, side):
    return "failed" if side in cell["errors"] else NONE


def pair(cell, metric=None):
    """ours, peer and their ratio as three columns."""
    ours, peer = ratios.figure(cell, OURS, metric), ratios.figure(cell, PEER, metric)
    return [number(ours) if ours else failure(cell, OURS), number(peer) if peer else failure(cell, PEER),
            f"**{factor(ratios.ratio(ours, peer))}**"]


def limit_shares(document, cell):
    facts = document["models"].get(f"{cell['model']}/{cell['type']}")
    limits = document["limits"].get(str(cell["threads"]))
    return [percent(ratios.share_of_limit(cell, facts, limits, ratios.figure(cell, side))) for side in (OURS, PEER)]


def speed_tables(document):
    """A table for each test: a row for each model and type, columns for each number of threads."""
    cells = cells_of(document, "speed")
    threads = sorted({cell["threads"] for cell in cells})
    for test in ordered(cell["test"] for cell in cells):
        of_test = [cell for cell in cells if cell["test"] == test]
        limited = any(share != NONE for cell in of_test for share in limit_shares(document, cell))
        heads = ["model", "type"]
        for count in threads:
            heads += [f"llmhost, {count} thr.", "llama.cpp", "ratio", *(["of limit, ours / theirs"] if limited else [])]
        rows = []
        for model, element in ordered((cell["model"], cell["type"]) for cell in of_test):
            by_threads = {cell["threads"]: cell for cell in of_test if (cell["model"], cell["type"]) == (model, element)}
            row = [title(document, model), element]
            for count in threads:
                cell = by_threads.get(count)
                row += pair(cell) if cell else [NONE] * 3
                if limited:
                    row.append(" / ".join(limit_shares(document, cell)) if cell else NONE)
            rows.append(row)
        yield f"**{test_title(test)}**"
        yield ""
        yield from table(heads, rows)
        yield ""


def test_title(test):
    kind, rest = test[:2], test[2:]
    tokens, _, depth = rest.partition("@d")
    depth, _, sequences = depth.partition("x")
    if kind == "pp":
        return f"{test}: a prompt of {tokens} tokens, tokens/s"
    if sequences:
        return f"{test}: {tokens} tokens for each of {sequences} sequence(s) that hold {depth}, tokens/s of all together"
    after = f" after {depth}" if depth else ""
    return f"{test}: {tokens} tokens of one sequence{after}, tokens/s"


def busy_table(document):
    rows = []
    quiet = {(cell["model"], cell["type"], cell["threads"]): cell for cell in cells_of(document, "speed") if cell["test"] == "tg128"}
    for cell in cells_of(document, "busy"):
        alone = quiet.get((cell["model"], cell["type"], cell["threads"]))
        kept = [percent(ratios.ratio(ratios.figure(cell, side), ratios.figure(alone, side))) if alone else NONE for side in (OURS, PEER)]
        rows.append([title(document, cell["model"]), cell["type"], str(cell["threads"]), *pair(cell), number(ratios.figure(cell, PATIENT)),
                     " / ".join(kept)])
    if rows:
        yield "**Busy machine**: 32 tokens while other processes keep every core busy, tokens/s; what is kept of tg128 when alone"
        yield ""
        yield from table(["model", "type", "threads", "llmhost", "llama.cpp", "ratio", PATIENT, "kept, ours / theirs"], rows)
        yield ""


def start_table(document):
    rows = []
    for cell in cells_of(document, "cold") + cells_of(document, "warm"):
        where = "read from disk" if cell["kind"] == "cold" else "in the page cache"
        rows.append([title(document, cell["model"]), cell["type"], where, *pair(cell, "seconds"), *pair(cell, "peak_rss_mib")])
    if rows:
        yield "**A whole process to its first token** (prompt of 5 tokens, context 2048): seconds, peak memory in MiB; below 1 is better"
        yield ""
        yield from table(["model", "type", "file", "llmhost, s", "llama.cpp", "ratio", "llmhost, MiB", "llama.cpp", "ratio"], rows)
        yield ""


def perplexity_table(document):
    cells = cells_of(document, "perplexity")
    if not cells:
        return
    sides = ordered(side for cell in cells for side in cell["sides"] if side != PEER)
    heads = ["model", "type", *[f"{side}, ratio" for side in sides], "llama.cpp"]
    rows = []
    for cell in cells:
        peer = ratios.figure(cell, PEER, "perplexity")
        row = [title(document, cell["model"]), cell["type"]]
        for side in sides:
            ours = ratios.figure(cell, side, "perplexity")
            relative = ratios.ratio(ours, peer)
            row.append(f"{ours:.4f}, {relative:.4f}" if relative else number(ours))
        rows.append([*row, f"{peer:.4f}" if peer else failure(cell, PEER)])
    text = document["text"]
    yield (f"**Perplexity** of {text['name']} ({text['bytes']} bytes), 8 windows of 512 tokens, the last 255 of each scored; "
           "ratio to llama.cpp")
    yield ""
    yield from table(heads, rows)
    yield ""


def engines_table(document):
    cells = cells_of(document, "engines")
    if not cells:
        return
    sides = [side for side in ENGINE_TITLES if any(side in cell["sides"] or side in cell["errors"] for cell in cells)]
    for metric in ordered(metric for cell in cells for metrics in cell["sides"].values() for metric in metrics):
        rows = []
        for cell in cells:
            figures = [ratios.figure(cell, side, metric) for side in sides]
            best = max((value for side, value in zip(sides, figures, strict=True) if side != OURS and value), default=None)
            shown = [number(value) if value else failure(cell, side) for side, value in zip(sides, figures, strict=True)]
            rows.append([title(document, cell["model"]), str(cell["threads"]), *shown,
                         f"**{factor(ratios.ratio(ratios.figure(cell, OURS, metric), best))}**"])
        yield f"**{metric} of other engines** with 8-bit weights, tokens/s; ratio of llmhost to the fastest other"
        yield ""
        yield from table(["model", "threads", *[ENGINE_TITLES[side] for side in sides], "ratio"], rows)
        yield ""
    reasons = {side: cell["errors"][side] for cell in cells for side in cell["errors"]}
    for side, reason in reasons.items():
        yield f"{ENGINE_TITLES.get(side, side)} failed: {reason}"
        yield ""


def self_table(document, kind, side, heading, meaning):
    rows = []
    for cell in cells_of(document, kind):
        plain, other = ratios.figure(cell, OURS), ratios.figure(cell, side)
        value = ratios.ratio(other, plain)
        rows.append([title(document, cell["model"]), cell["type"], cell["test"], str(cell["threads"]), number(plain), number(other),
                     factor(value)])
    if rows:
        yield f"**{heading}**: {meaning}"
        yield ""
        yield from table(["model", "type", "test", "threads", "llmhost", side, "ratio"], rows)
        yield ""


def limits_table(document):
    threads = sorted(document["limits"], key=int)
    rows = []
    for group, unit in (("gops", "10^9 operations/s"), ("read_gbps", "GB/s")):
        for name in ordered(name for count in threads for name in document["limits"][count].get(group, {})):
            what = f"read, buffer of {name} MiB" if group == "read_gbps" else name.replace("_", ", ")
            rows.append([what, unit, *[number(document["limits"][count][group].get(name)) for count in threads]])
    if rows:
        yield "**Limits of this machine**, best of many short bursts"
        yield ""
        yield from table(["what", "unit", *[f"{count} thread(s)" for count in threads]], rows)
        yield ""


def page(document, source, drawings):
    machine = document["machine"]
    yield f"### {machine['cpu']}, {machine['cores']} cores: {', '.join(machine['isa'])}"
    yield ""
    yield (f"Measured {document['date']} on {machine['system']}, commit {document['commit']}, beside {document['peer']}, in one run "
           f"with `{document['command']}`. Figures: [{source.rsplit('/', 1)[-1]}]({source}).")
    yield ""
    disturbed = [key for key, cell in document["cells"].items() if cell.get("others_busy", 0) > ratios.BUSY]
    if disturbed:
        yield (f"Other work took more than a tenth of the machine before some round of {len(disturbed)} of "
               f"{len(document['cells'])} cells.")
        yield ""
    for text, path in drawings:
        yield f"![{text}]({path})"
        yield ""
    yield from speed_tables(document)
    yield from busy_table(document)
    yield from start_table(document)
    yield from perplexity_table(document)
    yield from engines_table(document)
    yield from self_table(document, "speculation", "speculation", "Speculation",
                          "the same tokens by prompt lookup and without, tokens/s; a story to make up, a text to copy from the prompt")
    yield from self_table(document, "invariance", "free", "What invariance costs",
                          "tokens/s with it, and with arithmetic that is free to depend on the batch; above 1 is a cost")
    yield from limits_table(document)


def of_test(document, test, threads):
    return [cell for cell in cells_of(document, "speed") if cell["test"] == test and cell["threads"] == threads]


def short(document, source):
    """For the first page: geometric means of the ratios over types, one row for each model and test."""
    tests = {"pp512": "prompt of 512 tokens", "tg128": "generation of 128 tokens", "tg16@d128x8": "generation of 8 sequences"}
    threads = sorted({cell["threads"] for cell in cells_of(document, "speed")})
    heads = ["what", "types", *[f"ratio, {count} thread(s): mean, least" for count in threads]]
    rows = []
    for test, what in tests.items():
        for model in ordered(cell["model"] for cell in cells_of(document, "speed") if cell["test"] == test):
            row = []
            for count in threads:
                found = [ratios.ratio(ratios.figure(cell, OURS), ratios.figure(cell, PEER)) for cell in of_test(document, test, count)
                         if cell["model"] == model]
                found = [value for value in found if value]
                row.append(f"{factor(ratios.geometric_mean(found))}, {factor(min(found, default=None))}")
            types = ordered(cell["type"] for cell in cells_of(document, "speed") if (cell["model"], cell["test"]) == (model, test))
            rows.append([f"{what}, {title(document, model)}", ", ".join(types), *row])
    machine = document["machine"]
    yield (f"llmhost over llama.cpp, tokens/s, in one run on {machine['cores']} cores of {machine['cpu']} ({document['date']}, "
           f"[figures]({source}), [more](docs/performance.md)):")
    yield ""
    yield from table(heads, rows)

"""What is measured: the list of cells that a choice of models, types, tests and threads makes."""
from dataclasses import asdict, dataclass

import models
import prompts
import speed_tests
from problem import Problem

GROUPS = {
    "batched": speed_tests.BATCHED,
    "depth": ["tg32@d4096"],
}
# What is not a speed test by name; the text is what --help says.
OTHERS = {
    "busy": "tg32 while other processes keep every core busy",
    "cold": "a whole process to its first token, the model's file not in the page cache",
    "warm": "the same with the file in the page cache",
    "perplexity": "ours in both precisions beside the peer's, on the same positions of the same text",
    "engines": "other engines beside both: CTranslate2 and OpenVINO GenAI",
    "speculation": "answers with --speculate lookup beside plain ones, where the program offers it",
    "invariance": "generation and prompts with --free-arguments, which give up that results do not depend on the batch",
}
DEFAULT_TESTS = ["pp512", "tg128", "batched", "depth", *OTHERS]
# Types for tests that take long, where none are asked for by name.
SOME_TYPES = {
    "batched": {"synth": ["Q4_0"]},
    "depth": {"smol": ["F16", "Q8_0", "Q4_0"], "synth": [], "mixtral": [], "qwenmoe": []},
    "busy": {"smol": ["F16", "Q8_0", "Q4_0"], "synth": ["Q4_0"], "mixtral": []},
    "cold": {"smol": ["F16", "Q8_0", "Q4_0"], "synth": ["Q8_0", "Q4_0"]},
    "warm": {"smol": ["F16", "Q8_0", "Q4_0"], "synth": ["Q8_0", "Q4_0"]},
    "speculation": {"smol": ["F16", "Q8_0", "Q4_0"]},
    "invariance": {"smol": ["Q8_0", "Q4_0", "BF16"], "synth": ["Q4_0"]},
}
# Text under random weights has no perplexity worth comparing; other engines are compared where all read the same shape.
ONLY_MODELS = {"perplexity": ["smol", "gemma"], "engines": ["smol", "synth"],
               "speculation": ["smol", "gemma"], "invariance": ["smol", "synth", "tiny"]}
ENGINE_TYPE = "Q8_0"
BUSY_TEST = "tg32"


@dataclass(frozen=True)
class Cell:
    kind: str  # speed, busy, cold, warm, perplexity, engines, speculation, invariance
    model: str
    type: str
    test: str = ""
    threads: int = 1

    def key(self):
        parts = [self.model, self.type, self.kind if self.kind != "speed" else "", self.test, f"t{self.threads}"]
        return "/".join(part for part in parts if part)

    def attributes(self):
        return asdict(self)


def split(text, known, what):
    chosen = [word.strip() for word in text.split(",") if word.strip()]
    for word in chosen:
        if known is not None and word not in known:
            raise Problem(f"no {what} '{word}'; there are {', '.join(known)}")
    if not chosen:
        raise Problem(f"no {what} is chosen")
    return list(dict.fromkeys(chosen))


def types_of(model, test, wanted):
    available = models.MODELS[model].types
    if test == "engines":
        return [kind for kind in [ENGINE_TYPE] if kind in available and kind in (wanted or available)]
    if wanted:
        return [kind for kind in available if kind in wanted]
    return SOME_TYPES.get(test, {}).get(model, available)


def cells_of(test, model, kind, threads):
    if test in ("cold", "warm", "perplexity"):
        # Whole processes use what threads there are.
        yield Cell(test, model, kind, threads=max(threads))
        return
    for count in threads:
        if test == "busy":
            yield Cell("busy", model, kind, BUSY_TEST, count)
        elif test == "invariance":
            for name in ("pp512", "tg128", "tg16@d128x8"):
                yield Cell("invariance", model, kind, name, count)
        elif test == "speculation":
            for text in prompts.TEXTS:
                yield Cell("speculation", model, kind, text, count)
        elif test == "engines":
            yield Cell("engines", model, kind, "pp512+tg128", count)
        else:
            yield Cell("speed", model, kind, test, count)


def expand(model_names, types, tests, threads):
    """Cells by model and type, so that one file is used after another."""
    named = []
    for test in tests:
        named += [(name, test) for name in GROUPS.get(test, [test])]
    for name, _ in named:
        if name not in OTHERS:
            speed_tests.parse(name)
    found = []
    for model in model_names:
        for kind in models.MODELS[model].types:
            for name, group in named:
                if model in ONLY_MODELS.get(name, [model]) and kind in types_of(model, group, types):
                    found += cells_of(name, model, kind, threads)
    unknown = [kind for kind in types or [] if not any(kind in models.MODELS[name].types for name in model_names)]
    if unknown:
        raise Problem(f"no type '{unknown[0]}' of {', '.join(model_names)}")
    return list(dict.fromkeys(found))

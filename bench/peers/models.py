"""The models that are measured, made once and kept in the cache folder, and what one token reads and computes in each."""
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import process
from folders import ROOT, cache, locked
from packages import python_with
from problem import Problem


@dataclass(frozen=True)
class Model:
    title: str
    types: list
    fetched: str = ""  # a name of scripts/fetch_model.py; its file is of the type `kept`
    kept: str = ""
    shape: str = ""  # a shape of synth_gguf.py, written as BF16
    byte_pairs: bool = False
    experts_at_work: float = 1.0  # the share of them that one token passes through


MODELS = {
    "smol": Model("SmolLM2-135M-Instruct", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q4_K_M", "Q6_K"],
                  fetched="smollm2-135m-instruct", kept="Q4_1"),
    "gemma": Model("Gemma-3-270M", ["Q4_K_M"], fetched="gemma-3-270m", kept="Q4_K_M"),
    "synth": Model("Llama shape of 1.1B, random weights", ["BF16", "Q8_0", "Q4_0", "Q4_K_M"], shape="llama-1.1b"),
    "mixtral": Model("Mixtral shape of 1.5B (8 experts, 2 at work), random weights", ["Q4_0"], shape="mixtral-1.5b",
                     experts_at_work=2 / 8),
    "qwenmoe": Model("Qwen3-MoE shape of 1.4B (64 experts, 8 at work), random weights", ["Q4_0"], shape="qwenmoe-1.4b",
                     experts_at_work=8 / 64),
    # The same shape for a program that reads no other kind of vocabulary.
    "synth-bpe": Model("Llama shape of 1.1B, random weights, byte-level vocabulary", ["Q8_0"], shape="llama-1.1b", byte_pairs=True),
    # For tests of the measurement itself: seconds, not minutes.
    "tiny": Model("Llama shape of 2M, random weights", ["BF16", "Q8_0", "Q4_0"], shape="llama-tiny"),
}
DEFAULT = ["smol", "gemma", "synth", "mixtral", "qwenmoe"]


def say(text):
    print(f"models: {text}", file=sys.stderr, flush=True)


def folder():
    return cache() / "models"


def free_space(path, needed):
    free = shutil.disk_usage(path).free
    if free < needed:
        raise Problem(f"{path}: {free >> 20} MiB are free, {needed >> 20} MiB are needed for a model")


def fetch(model, target):
    say(f"fetching {model.title}")
    done = process.run([sys.executable, ROOT / "scripts" / "fetch_model.py", cache().parent / "models", model.fetched])
    path = Path(done.output.strip().splitlines()[-1])
    target.unlink(missing_ok=True)  # one that leads nowhere any more
    target.symlink_to(path)


def quantise(peer, source, target, kind):
    say(f"making {target.name} from {source.name}")
    part = target.with_suffix(".part")
    process.run([peer / "llama-quantize", "--allow-requantize", source, part, kind], {"LD_LIBRARY_PATH": str(peer)},
                timeout=7200)
    part.replace(target)


def write_base(model, target):
    free_space(folder(), 8 << 30)
    say(f"writing {target.name}")
    script = Path(__file__).with_name("synth_gguf.py")
    kind = ["--byte-pairs"] if model.byte_pairs else []
    process.run([python_with("gguf"), script, model.shape, target, *kind], timeout=7200)


def base_of(name, model):
    kind = model.kept or "BF16"
    base = folder() / f"{name}-{kind}.gguf"
    if not base.exists():
        if model.fetched:
            fetch(model, base)
        else:
            write_base(model, base)
    return base


def ensure(name, kind, peer):
    """The file of a model in an element type; `peer`: the folder with llama-quantize."""
    model = MODELS.get(name)
    if model is None:
        raise Problem(f"no model '{name}'; there are {', '.join(MODELS)}")
    if kind not in model.types:
        raise Problem(f"{name} has no type '{kind}'; it has {', '.join(model.types)}")
    path = folder() / f"{name}-{kind}.gguf"
    if path.exists():
        return path
    folder().mkdir(parents=True, exist_ok=True)
    with locked(folder() / name):
        if path.exists():
            return path
        base = base_of(name, model)
        if base != path:
            quantise(peer, base, path, kind)
            if model.shape and "BF16" not in model.types:
                base.unlink()
    return path


def described(program, path):
    """What `llmhost show --tensors --json` says about a file."""
    try:
        return json.loads(process.run([program, "show", path, "--tensors", "--json"]).output)
    except ValueError as error:
        raise Problem(f"llmhost show: its output is no JSON: {error}") from error


def facts(show, experts_at_work=1.0):
    """Bytes of weights that one generated token reads, parameters that a prompt's token is multiplied with, size of the state.

    A prompt's token is not multiplied with the output matrix (one row of a whole prompt is) and no token reads more than one row
    of the embedding table, unless the table is the output matrix too. Of experts the share that is at work for a token counts.
    """
    tied = not any(tensor["name"] == "output.weight" for tensor in show["tensors"])
    read, multiplied = 0.0, 0.0
    for tensor in show["tensors"]:
        at_work = experts_at_work if "_exps." in tensor["name"] else 1.0
        elements = 1
        for size in tensor["shape"]:
            elements *= size
        embedding = tensor["name"] == "token_embd.weight"
        if not embedding or tied:
            read += tensor["bytes"] * at_work
        if len(tensor["shape"]) > 1 and not embedding and tensor["name"] != "output.weight":
            multiplied += elements * at_work
    shape = show["architecture"]
    return {"bytes_per_token": round(read), "multiplied_parameters": round(multiplied), "parameters": show["parameters"],
            "weight_bytes": sum(tensor["bytes"] for tensor in show["tensors"]),
            "state_bytes_per_position": 2 * 2 * shape["layers"] * shape["kv_heads"] * shape["head_dim"]}

#!/usr/bin/env python3
"""host/ and sdk/include/ name no model architecture, no vendor and no fine-tuning method outside comments.

usage: check_names.py [ROOT]

Such a name belongs to a plugin, or, where a file format uses it as an identifier, to a table under registry/. Beside the names
listed here, those of every architecture of the tree count: plugins/archs/*, registry/archs/*.yaml and the model types they take.
"""
import re
import sys

import lintlib

# Distinctive enough to be refused anywhere in an identifier or a string.
ANYWHERE = """llama mistral mixtral gemma qwen falcon dbrx neox starcoder deepseek smollm internlm baichuan chatglm minicpm
nemotron stablelm rwkv mamba hunyuan exaone minimax biogpt xglm bitnet apertus internlm persimmon mimo pythia vicuna commandr command_r gptj gpt2 gpt_j gptoss gpt_oss
nvidia cublas cudnn nccl rocm hipblas rocblas miopen onednn qlora adalora rslora loha lokr""".split()
# Short or ordinary: refused only as a whole word of an identifier (bloom_head, DoraLinear, "phi3").
WORDS = set("bloom cohere olmo granite phi mpt opt glm ernie jamba codegen helium arcee grok amd radeon geforce tesla dora galore".split())
# Values that a published file format spells this way: (file, identifier). Each needs its reason here.
FORMAT_VALUES = {
    ("sdk/include/llmhost/decoder/rope.hpp", "llama3"),  # a rope_type of config.json
    ("host/model/gguf_rope.cpp", "llama3"),  # the same
    ("host/text/gguf_export.cpp", "gpt2"),  # a tokenizer.ggml.model of GGUF files: merges
    ("host/text/gguf_export.cpp", "llama"),  # the same: scores
    ("host/text/gguf_export_sentencepiece.cpp", "llama"),  # the same
}
# Architectures called like something else that host/ speaks of.
ORDINARY = {"declarative", "decoder", "mixture", "ctrl"}
LIST = re.compile(r"^(?:provides|model_types|gguf_architectures):\s*\[([^\]]*)\]", re.M)
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def names_of_the_tree(root):
    names = set()
    for pattern in ("plugins/archs/*/plugin.yaml", "registry/archs/*.yaml"):
        for path in root.glob(pattern):
            names.add(path.parent.name if path.name == "plugin.yaml" else path.stem)
            for listed in LIST.findall(lintlib.read(path)):
                names.update(name.strip(" '\"") for name in listed.split(","))
    # In an identifier a name with - or . is written with _.
    return {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names} - ORDINARY - {"", "unsupported"}


def has_part(identifier, name):
    """Whether `name` is one or several of the words of snake_case or CamelCase."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", identifier).lower()
    return f"_{name}_" in f"_{snake}_"


def names_in(identifier, tree=()):
    lower = identifier.lower()
    found = [name for name in ANYWHERE if name in lower]
    found += [name for name in tree if has_part(identifier, name)]
    return found + [word for word in (w.lower() for w in WORD.findall(identifier)) if word in WORDS]


def check(root):
    tree = names_of_the_tree(root)
    for path, name in lintlib.files(root, ["host", "sdk/include"], lintlib.CXX):
        for number, line in enumerate(lintlib.without_comments(lintlib.read(path)).split("\n"), 1):
            for identifier in IDENTIFIER.findall(line):
                if (name, identifier) in FORMAT_VALUES:
                    continue
                for word in names_in(identifier, tree)[:1]:
                    yield f"{name}:{number}: '{identifier}' names {word}; it belongs to a plugin or to registry/"


if __name__ == "__main__":
    sys.exit(lintlib.main("check_names", check))

#!/usr/bin/env python3
"""host/ and sdk/include/ name no model architecture, no vendor and no fine-tuning method outside comments.

usage: check_names.py [ROOT]

Such a name belongs to a plugin, or, where a file format uses it as an identifier, to a table under registry/.
"""
import re
import sys

import lintlib

# Distinctive enough to be refused anywhere in an identifier or a string.
ANYWHERE = """llama mistral mixtral gemma qwen falcon dbrx neox starcoder deepseek smollm internlm baichuan chatglm minicpm
nemotron stablelm rwkv mamba commandr command_r gptj gpt2 gpt_j gptoss gpt_oss
nvidia cublas cudnn nccl rocm hipblas rocblas miopen onednn qlora adalora rslora loha lokr""".split()
# Short or ordinary: refused only as a whole word of an identifier (bloom_head, DoraLinear, "phi3").
WORDS = set("bloom cohere olmo granite phi mpt exaone jamba amd radeon geforce tesla dora galore".split())
# Values that a published file format spells this way: (file, identifier). Each needs its reason here.
FORMAT_VALUES = {
    ("sdk/include/llmhost/decoder/rope.hpp", "llama3"),  # a rope_type of config.json
}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def names_in(identifier):
    lower = identifier.lower()
    found = [name for name in ANYWHERE if name in lower]
    return found + [word for word in (w.lower() for w in WORD.findall(identifier)) if word in WORDS]


def check(root):
    for path, name in lintlib.files(root, ["host", "sdk/include"], lintlib.CXX):
        for number, line in enumerate(lintlib.without_comments(lintlib.read(path)).split("\n"), 1):
            for identifier in IDENTIFIER.findall(line):
                if (name, identifier) in FORMAT_VALUES:
                    continue
                for word in names_in(identifier):
                    yield f"{name}:{number}: '{identifier}' names {word}; it belongs to a plugin or to registry/"


if __name__ == "__main__":
    sys.exit(lintlib.main("check_names", check))

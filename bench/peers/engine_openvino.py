#!/usr/bin/env python3
"""OpenVINO GenAI on a GGUF file: prints {"pp512": [...], "tg128": [...]}, tokens a second.

usage: engine_openvino.py MODEL.gguf THREADS PROMPT GENERATE SAMPLES

A prompt's speed is taken from the time to one token. Needs the packages openvino-genai and numpy.
"""
import json
import sys
import time

import numpy
import openvino
import openvino_genai


def main(arguments):
    threads, prompt, generate, samples = map(int, arguments[1:5])
    pipeline = openvino_genai.LLMPipeline(arguments[0], "CPU", INFERENCE_NUM_THREADS=threads)
    chance = numpy.random.default_rng(1)

    def seconds(n_prompt, n_out):
        # Another prompt each time: prefixes are cached.
        tokens = openvino.Tensor(chance.integers(300, 900, (1, n_prompt)).astype(numpy.int64))
        mask = openvino.Tensor(numpy.ones((1, n_prompt), numpy.int64))
        started = time.perf_counter()
        pipeline.generate(openvino_genai.TokenizedInputs(tokens, mask), max_new_tokens=n_out, min_new_tokens=n_out,
                          ignore_eos=True, do_sample=False)
        return time.perf_counter() - started

    seconds(prompt, 1)
    found = {f"pp{prompt}": [], f"tg{generate}": []}
    for _ in range(samples):
        found[f"pp{prompt}"].append(prompt / seconds(prompt, 1))
        found[f"tg{generate}"].append(generate / (seconds(1, generate + 1) - seconds(1, 1)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

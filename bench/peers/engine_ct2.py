#!/usr/bin/env python3
"""CTranslate2 on a model of a given shape with random weights: prints {"pp512": [...], "tg128": [...]}, tokens a second.

usage: engine_ct2.py FOLDER SHAPE THREADS PROMPT GENERATE SAMPLES     SHAPE: smol or synth

The model is written into FOLDER first where it is not there. Weights are int8, quantised by CTranslate2 itself. Needs the
packages ctranslate2 and numpy.
"""
import json
import random
import shutil
import sys
import time
from pathlib import Path

import ctranslate2
import numpy
from ctranslate2.specs import common_spec, transformer_spec

SHAPES = {  # hidden, layers, heads, heads of keys and values, feed forward, vocabulary, output is the embedding table
    "smol": (576, 30, 9, 3, 1536, 49152, True),
    "synth": (2048, 22, 32, 4, 5632, 32000, False),
    "tiny": (256, 2, 4, 2, 768, 1024, False),
}


def random_weights(generator, rows, columns):
    values = generator.standard_normal((rows, columns), dtype=numpy.float32)
    values *= numpy.float32(columns ** -0.5)
    return values


def write(folder, shape):
    hidden, layers, heads, kv_heads, feed_forward, vocabulary, tied = SHAPES[shape]
    generator = numpy.random.default_rng(1)
    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        layers, heads, activation=common_spec.Activation.SWISH, pre_norm=True, ffn_glu=True, rms_norm=True, rotary_dim=0,
        rotary_interleave=False, rotary_base=10000, num_heads_kv=kv_heads)
    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = random_weights(generator, vocabulary, hidden)
    decoder.layer_norm.gamma = numpy.ones(hidden, numpy.float32)
    decoder.projection.weight = decoder.embeddings.weight if tied else random_weights(generator, vocabulary, hidden)
    kv_width = hidden // heads * kv_heads
    for layer in decoder.layer:
        layer.self_attention.layer_norm.gamma = numpy.ones(hidden, numpy.float32)
        layer.ffn.layer_norm.gamma = numpy.ones(hidden, numpy.float32)
        layer.self_attention.linear[0].weight = random_weights(generator, hidden + 2 * kv_width, hidden)
        layer.self_attention.linear[1].weight = random_weights(generator, hidden, hidden)
        layer.ffn.linear_0.weight = random_weights(generator, feed_forward, hidden)
        layer.ffn.linear_0_noact.weight = random_weights(generator, feed_forward, hidden)
        layer.ffn.linear_1.weight = random_weights(generator, hidden, feed_forward)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = "w1", "w2", "w0"
    spec.register_vocabulary([f"w{index}" for index in range(vocabulary)])
    spec.validate()
    spec.optimize(quantization="int8")
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    spec.save(str(part))
    part.rename(folder)


def main(arguments):
    folder, shape = Path(arguments[0]), arguments[1]
    threads, prompt, generate, samples = map(int, arguments[2:6])
    if not (folder / "model.bin").exists():
        write(folder, shape)
    engine = ctranslate2.Generator(str(folder), device="cpu", compute_type="int8", intra_threads=threads, inter_threads=1)
    chance = random.Random(1)
    words = SHAPES[shape][5]

    def seconds(n_prompt, n_out):
        tokens = [f"w{chance.randrange(3, words)}" for _ in range(n_prompt)]
        started = time.perf_counter()
        result = engine.generate_batch([tokens], max_length=n_out, min_length=n_out, sampling_topk=1, end_token=[],
                                       include_prompt_in_result=False, cache_static_prompt=False)
        took = time.perf_counter() - started
        made = len(result[0].sequences[0])
        if made != n_out:
            sys.exit(f"engine_ct2: {made} tokens were made, {n_out} asked for")
        return took

    seconds(prompt, 1)
    found = {f"pp{prompt}": [], f"tg{generate}": []}
    for _ in range(samples):
        found[f"pp{prompt}"].append(prompt / seconds(prompt, 1))
        # The first token is made from the prompt; what it takes is in the shorter run too.
        found[f"tg{generate}"].append(generate / (seconds(1, generate + 1) - seconds(1, 1)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])

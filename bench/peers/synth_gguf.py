#!/usr/bin/env python3
"""Writes GGUF files with random weights in the shapes of well-known models, for speed and memory figures alone.

  synth_gguf.py SHAPE OUT.gguf [--seed N] [--byte-pairs]      SHAPE: llama-1.1b, mixtral-1.5b, qwenmoe-1.4b or llama-tiny

Weights are BF16, normally distributed with the spread that keeps activations of size one; norms are ones. The vocabulary is
made up (bytes and short letter sequences), so every text can be encoded; with --byte-pairs it is one of merges, which some
programs want. The same seed gives the same file.
Needs the packages gguf and numpy.
"""
import argparse
import itertools
import math
import os
import string
import sys
from dataclasses import dataclass

import gguf
import numpy


@dataclass(frozen=True)
class Shape:
    architecture: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    vocabulary: int = 32000
    context: int = 8192
    rope_base: float = 10000.0
    experts: int = 0
    experts_used: int = 0
    normed_heads: bool = False


SHAPES = {
    "llama-tiny": Shape("llama", 256, 2, 4, 2, 64, 768, vocabulary=1024),
    "llama-1.1b": Shape("llama", 2048, 22, 32, 4, 64, 5632),
    "mixtral-1.5b": Shape("llama", 1024, 16, 16, 4, 64, 3584, rope_base=1e6, experts=8, experts_used=2),
    "qwenmoe-1.4b": Shape("qwen3moe", 1024, 16, 16, 4, 128, 384, rope_base=1e6, experts=64, experts_used=8, normed_heads=True),
}

BYTE_TOKENS_END = 3 + 256


def vocabulary(size):
    """Pieces of a SentencePiece-like vocabulary with their kinds: three special ones, all bytes, then letters and pairs."""
    kinds = gguf.TokenType
    pieces = {"<unk>": kinds.UNKNOWN, "<s>": kinds.CONTROL, "</s>": kinds.CONTROL}
    pieces.update({f"<0x{byte:02X}>": kinds.BYTE for byte in range(256)})
    word_start = "\u2581"
    printable = [letter for letter in string.printable if letter.isprintable() and letter != " "]
    candidates = itertools.chain([word_start], printable)
    for length in (1, 2, 3, 4):
        words = map("".join, itertools.product(string.ascii_lowercase, repeat=length))
        candidates = itertools.chain(candidates, (start + word for word in words for start in ("", word_start)))
    for candidate in candidates:
        if len(pieces) >= size:
            return list(pieces), [int(kind) for kind in pieces.values()]
        pieces.setdefault(candidate, kinds.NORMAL)
    raise ValueError(f"a vocabulary of {size} pieces is larger than this program can make")


def byte_letters():
    """The letters by which byte-level vocabularies write the 256 bytes: printable ones are themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    letters.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [letters[byte] for byte in range(256)]


def byte_pair_vocabulary(size):
    """(pieces, merges): an end token, all bytes, then letters joined to longer and longer pieces."""
    letters = byte_letters()
    space = letters[ord(" ")]
    pieces, merges = ["<|endoftext|>", *letters], []
    starts = [space, *string.ascii_lowercase]
    while len(pieces) < size:
        longer = []
        for start, letter in itertools.product(starts, string.ascii_lowercase):
            if len(pieces) == size:
                break
            merges.append(f"{start} {letter}")
            longer.append(start + letter)
            pieces.append(start + letter)
        starts = longer
    return pieces, merges


def layer_tensors(shape, index):
    """(name, dimensions, spread) of one layer; a spread of None is a norm."""
    prefix = f"blk.{index}."
    width = shape.heads * shape.head_size
    kv_width = shape.kv_heads * shape.head_size
    into = shape.hidden ** -0.5
    # Two additions to the residual stream per layer; its size stays about one over all layers.
    residual = 1 / math.sqrt(2 * shape.layers)
    yield prefix + "attn_norm.weight", (shape.hidden,), None
    yield prefix + "attn_q.weight", (width, shape.hidden), into
    yield prefix + "attn_k.weight", (kv_width, shape.hidden), into
    yield prefix + "attn_v.weight", (kv_width, shape.hidden), into
    yield prefix + "attn_output.weight", (shape.hidden, width), width ** -0.5 * residual
    if shape.normed_heads:
        yield prefix + "attn_q_norm.weight", (shape.head_size,), None
        yield prefix + "attn_k_norm.weight", (shape.head_size,), None
    yield prefix + "ffn_norm.weight", (shape.hidden,), None
    gate, up = (shape.feed_forward, shape.hidden), (shape.feed_forward, shape.hidden)
    down, out = (shape.hidden, shape.feed_forward), shape.feed_forward ** -0.5 * residual
    if shape.experts == 0:
        yield prefix + "ffn_gate.weight", gate, into
        yield prefix + "ffn_up.weight", up, into
        yield prefix + "ffn_down.weight", down, out
        return
    yield prefix + "ffn_gate_inp.weight", (shape.experts, shape.hidden), into
    yield prefix + "ffn_gate_exps.weight", (shape.experts, *gate), into
    yield prefix + "ffn_up_exps.weight", (shape.experts, *up), into
    yield prefix + "ffn_down_exps.weight", (shape.experts, *down), out


def tensors(shape):
    yield "token_embd.weight", (shape.vocabulary, shape.hidden), 0.5
    for index in range(shape.layers):
        yield from layer_tensors(shape, index)
    yield "output_norm.weight", (shape.hidden,), None
    yield "output.weight", (shape.vocabulary, shape.hidden), shape.hidden ** -0.5


def stored_type(name, spread):
    full = spread is None or name.endswith("ffn_gate_inp.weight")
    return gguf.GGMLQuantizationType.F32 if full else gguf.GGMLQuantizationType.BF16


def write_keys(writer, shape, name):
    writer.add_name(f"{name} shape, random weights")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_size)
    writer.add_value_length(shape.head_size)
    writer.add_rope_dimension_count(shape.head_size)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
        writer.add_expert_feed_forward_length(shape.feed_forward)


def write_tokenizer(writer, size):
    pieces, kinds = vocabulary(size)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(pieces)
    writer.add_token_scores([0.0 if index < BYTE_TOKENS_END else float(BYTE_TOKENS_END - index) for index in range(size)])
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)


def write_byte_pairs(writer, size):
    pieces, merges = byte_pair_vocabulary(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(pieces)
    writer.add_token_types([int(gguf.TokenType.CONTROL), *[int(gguf.TokenType.NORMAL)] * (size - 1)])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)


def bf16_bytes(values):
    """The upper halves of float32 values, rounded to nearest."""
    bits = values.view(numpy.uint32)
    return ((bits + numpy.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def tensor_data(generator, dimensions, spread, kind):
    if spread is None:
        return numpy.ones(dimensions, numpy.float32)
    values = generator.standard_normal(dimensions, dtype=numpy.float32)
    values *= numpy.float32(spread)
    return bf16_bytes(values) if kind == gguf.GGMLQuantizationType.BF16 else values


def write(name, path, seed, byte_pairs):
    shape = SHAPES[name]
    writer = gguf.GGUFWriter(path, shape.architecture)
    write_keys(writer, shape, name)
    (write_byte_pairs if byte_pairs else write_tokenizer)(writer, shape.vocabulary)
    parameters = 0
    for tensor, dimensions, spread in tensors(shape):
        kind = stored_type(tensor, spread)
        count = math.prod(dimensions)
        parameters += count
        if kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor_info(tensor, dimensions, numpy.dtype(numpy.float32), count * 4)
        else:
            # With raw_dtype the package expects the shape in bytes.
            in_bytes = (*dimensions[:-1], dimensions[-1] * 2)
            writer.add_tensor_info(tensor, in_bytes, numpy.dtype(numpy.uint8), count * 2, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    # One tensor at a time: a file larger than the memory can be made.
    generator = numpy.random.default_rng(seed)
    for tensor, dimensions, spread in tensors(shape):
        writer.write_tensor_data(tensor_data(generator, dimensions, spread, stored_type(tensor, spread)))
    writer.close()
    return parameters


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--byte-pairs", action="store_true")
    options = parser.parse_args(arguments)
    part = options.out + ".part"
    parameters = write(options.shape, part, options.seed, options.byte_pairs)
    os.replace(part, options.out)
    print(f"{options.out}: {parameters / 1e6:.1f}M parameters", file=sys.stderr)


if __name__ == "__main__":
    main()

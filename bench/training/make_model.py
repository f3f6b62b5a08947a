"""A random Llama of SmolLM2-135M's shape as a Hugging Face folder, and rows of random tokens: input of both sides.

usage: make_model.py FOLDER f32|bf16
"""
import json
import random
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

ROWS, LENGTH, VOCABULARY = 4, 256, 49152


def main():
    folder = Path(sys.argv[1])
    torch.manual_seed(0)
    torch.set_default_dtype({"f32": torch.float32, "bf16": torch.bfloat16}[sys.argv[2]])
    LlamaForCausalLM(LlamaConfig(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                                 intermediate_size=1536, vocab_size=VOCABULARY, max_position_embeddings=8192, rope_theta=100000.0,
                                 tie_word_embeddings=True)).save_pretrained(folder)
    chance = random.Random(0)
    with open(folder / "rows.jsonl", "w", encoding="utf-8") as rows:
        for _ in range(ROWS):
            ids = [chance.randrange(3, VOCABULARY) for _ in range(LENGTH)]
            rows.write(json.dumps({"input_ids": ids, "labels": ids}) + "\n")


if __name__ == "__main__":
    main()

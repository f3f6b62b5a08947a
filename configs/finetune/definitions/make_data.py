#!/usr/bin/env python3
"""Questions and answers about what words mean, from WordNet (Debian's package wordnet-base): train.jsonl and eval.jsonl.

usage: make_data.py FOLDER [--train 1200] [--eval 200]

The words are those with the most uses in WordNet's own counts; each has its first sense. The two files share no word.
"""
import argparse
import json
import random
from pathlib import Path

WORDNET = Path("/usr/share/wordnet")
PARTS = {"noun": "noun", "verb": "verb", "adj": "adjective", "adv": "adverb"}


def glosses(part):
    """Definition by offset."""
    found = {}
    for line in (WORDNET / f"data.{part}").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            found[line.split(" ", 1)[0]] = line.split(" | ", 1)[1].split("; \"")[0].strip()
    return found


def entries():
    for part, name in PARTS.items():
        meaning = glosses(part)
        for line in (WORDNET / f"index.{part}").read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):
                continue
            words = line.split()
            n_senses, n_pointers = int(words[2]), int(words[3])
            tagged = int(words[5 + n_pointers])  # senses that occur in WordNet's texts
            word = words[0].replace("_", " ")
            if tagged > 0 and word.isalpha():
                yield tagged, word, name, meaning[words[-n_senses]]


def main():
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("folder", type=Path)
    made.add_argument("--train", type=int, default=1200)
    made.add_argument("--eval", type=int, default=200)
    options = made.parse_args()
    best = sorted(entries(), key=lambda entry: (-entry[0], entry[1], entry[2]))
    one_each = list({word: (word, part, text) for _, word, part, text in reversed(best)}.values())[::-1]
    chosen = one_each[:options.train + options.eval]
    random.Random(0).shuffle(chosen)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", chosen[options.eval:]), ("eval", chosen[:options.eval])):
        with open(options.folder / f"{name}.jsonl", "w", encoding="utf-8") as out:
            for word, part, text in rows:
                messages = [{"role": "user", "content": f"What does the {part} \"{word}\" mean?"}, {"role": "assistant", "content": text}]
                out.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

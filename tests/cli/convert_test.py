#!/usr/bin/env python3
"""llmhost convert: GGUF files that say what the model folder says, byte for byte those of llama.cpp's converter."""
import json
import re
import shutil

from command import CommandTest, numbers, read_safetensors
from gguf_file import GgufFile
from program import FOLDER, GREEDY_IDS, PROMPT_IDS, main

GOLDENS = FOLDER.parents[1] / "goldens"
TINY = FOLDER.parent / "tiny_chat"
# Hub cases with an architecture that GGUF files have.
CASES = ["bloom", "cohere", "cohere2", "dbrx", "falcon-40b", "falcon-7b", "gemma", "gemma2", "gemma3-text", "gpt-neox-pythia", "gpt2",
         "granite", "llama-bias", "llama-gqa", "llama-rope-llama3", "mistral-swa", "mixtral", "mpt", "olmo", "olmo2", "phi2",
         "phi3-longrope", "phi3-mini-4k", "qwen2", "qwen2-moe", "qwen2-yarn", "qwen3", "smollm3", "stablelm2-12b", "starcoder2"]
# Keys that we write and the converter leaves to their defaults.
EXTRA = re.compile(r"\.(vocab_size|rope\.freq_base|attention\.(head_count_kv|key_length|value_length))$")
# Windows that are 0 are left out; contexts end where a window begins that the format cannot tell.
OTHERWISE = {"phi3-longrope": {"phi3.attention.sliding_window"}, "starcoder2": {"starcoder2.context_length"}}
SCALED = [("gemma2", ["attn_q"]), ("gemma3-text", ["attn_q_norm"])]


def converted_by_others():
    """(Hub case, folder of the converter's file, type) of every such pair."""
    for folder in sorted(GOLDENS.glob("gguf-*")):
        case, _, kind = folder.name[len("gguf-"):].rpartition("-")
        if kind in ("bf16", "q8_0", "mixed") and case in CASES and (GOLDENS / case / "config.json").exists():
            yield case, folder, kind


class ConvertTest(CommandTest):
    def convert(self, model, *more):
        out = self.folder / "model.gguf"
        return out, self.json("convert", model, "--out", out, "--force", *more)

    def test_the_written_model_says_what_the_folder_says(self):
        for case in CASES:
            if not (GOLDENS / case).exists():
                continue
            with self.subTest(case=case):
                _, report = self.convert(GOLDENS / case, "--no-tokenizer", "--check", "--type", "f32")
                check = report["check"]
                # f32 holds every value; a number of the config may be rounded to f32 on the way.
                self.assertLess(check["largest_difference"], 2e-5 * check["largest_logit"])
                self.assertEqual(check["same_choice"], 1)

    def test_tensors_and_metadata_are_those_of_the_converter(self):
        n = 0
        for case, folder, kind in converted_by_others():
            with self.subTest(case=case):
                out, _ = self.convert(GOLDENS / case, "--no-tokenizer", "--type", "f32" if kind == "mixed" else kind)
                ours, theirs = GgufFile(out), GgufFile(next(folder.glob("*.gguf")))
                self.assertEqual(ours.tensors.keys(), theirs.tensors.keys())
                for name, tensor in theirs.tensors.items():
                    scaled = (case, name.split(".")[2:3]) in SCALED  # the converter drops the scale of these
                    if not scaled and (kind != "mixed" or ours.tensors[name][0] == tensor[0]):
                        self.assertEqual(ours.tensors[name], tensor, name)
                        n += 1
                self.compare_metadata(case, ours.metadata, theirs.metadata)
        self.assertGreater(n, 250)

    def compare_metadata(self, case, ours, theirs):
        kept = lambda key: not key.startswith(("general.", "tokenizer.")) and key not in OTHERWISE.get(case, ())  # noqa: E731
        for key in filter(kept, theirs):
            self.assertEqual(ours.get(key), theirs[key], key)
        self.assertEqual([key for key in filter(kept, ours) if key not in theirs and not EXTRA.search(key)], [])
        self.assertEqual(ours["general.architecture"], theirs["general.architecture"])

    def test_a_real_model_with_scored_pieces(self):
        out, report = self.convert(FOLDER, "--check")
        self.assertEqual(report["type"], "f32")
        self.assertEqual(report["check"]["largest_difference"], 0)
        self.same_tokens(FOLDER, out)
        job = self.write("tokens.json", {"prompts": [PROMPT_IDS], "generate": 48})
        logits = self.folder / "logits.safetensors"
        self.output("logits", out, "--tokens", job, "--out", logits)
        self.assertEqual(list(numbers(read_safetensors(logits)["tokens_0"])), GREEDY_IDS)
        metadata = GgufFile(out).metadata
        self.assertEqual(metadata["tokenizer.ggml.model"], "llama")
        self.assertEqual(metadata["general.name"], "stories260K")

    def test_a_model_with_merges_and_a_chat_template(self):
        out, _ = self.convert(TINY, "--type", "q8_0", "--name", "tiny")
        self.same_tokens(TINY, out)
        metadata = GgufFile(out).metadata
        self.assertEqual((metadata["tokenizer.ggml.model"], metadata["general.name"], metadata["general.file_type"]), ("gpt2", "tiny", 7))
        template = json.loads((TINY / "tokenizer_config.json").read_text())["chat_template"]
        self.assertEqual(metadata["tokenizer.chat_template"], template)
        messages = self.write_lines("messages.jsonl", [{"messages": [{"role": "user", "content": "Hello"}]}])
        shown = [self.output("template", model, "--jsonl", messages, "--out", "-") for model in (out, TINY)]
        self.assertEqual(*shown)

    def same_tokens(self, first, second, part=str, spaces="  "):
        texts = ["Once upon a time", f"two{spaces}spaces\n\nand 123 digits!", "Größe, naïve; 你好 🙂", "it's HE'LL\tx"]
        lines = self.write_lines("texts.jsonl", [{"text": text, "add_special": special} for text in texts for special in (False, True)])
        outs = []
        for model in (first, second):
            outs.append(part(self.output("tokenize", model, "--jsonl", lines, "--out", "-")))
        self.assertEqual(*outs)

    def test_the_default_type_is_the_stored_one(self):
        for case, kind in (("llama-gqa", "bf16"), ("llama-f16", "f16")):
            if (GOLDENS / case).exists():
                _, report = self.convert(GOLDENS / case, "--no-tokenizer")
                self.assertEqual(report["type"], kind)

    def test_what_the_format_cannot_say_is_told_or_refused(self):
        out = self.folder / "model.gguf"
        _, report = self.convert(GOLDENS / "mistral-swa", "--no-tokenizer")
        self.assertTrue(any("context is cut" in note for note in report["notes"]))
        folder = self.folder / "model"
        for change, message in (({"hidden_act": "gelu"}, "'hidden_act' is \"gelu\""), ({"model_type": "opt"}, "opt")):
            shutil.copytree(GOLDENS / "llama-gqa", folder, dirs_exist_ok=True)
            config = json.loads((folder / "config.json").read_text()) | change
            (folder / "config.json").write_text(json.dumps(config))
            self.refused(1, message, "convert", folder, "--out", self.folder / "x.gguf", "--no-tokenizer")
        self.assertEqual([path.name for path in self.folder.glob("*.gguf")], [out.name])

    def test_refusals_leave_nothing_behind(self):
        out = self.folder / "x.gguf"
        self.refused(2, "--out FILE.gguf", "convert", TINY)
        self.refused(2, "no type 'q9'", "convert", TINY, "--out", out, "--type", "q9")
        self.refused(2, "no known name of patterns", "convert", TINY, "--out", out, "--pre", "nobody")
        self.refused(1, "no tokenizer.json", "convert", GOLDENS / "llama-gqa", "--out", out)
        self.assertEqual(list(self.folder.iterdir()), [])
        self.convert(TINY)
        self.refused(2, "is there already", "convert", TINY, "--out", self.folder / "model.gguf")
        self.refused(2, "is the model itself", "convert", self.folder / "model.gguf", "--out", self.folder / "model.gguf", "--force")

    def model_with(self, tokenizer, name, rows=640):
        """The tiny model with another tokenizer (the content of tokenizer.json, or a .model file), and as many rows as that needs."""
        folder = self.folder / name
        shutil.copytree(TINY, folder)
        if isinstance(tokenizer, dict):
            (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
        else:
            for file in ("tokenizer.json", "tokenizer_config.json"):
                (folder / file).unlink()
            shutil.copy(tokenizer, folder / "tokenizer.model")
        tensors = read_safetensors(folder / "model.safetensors")
        width = tensors["model.embed_tokens.weight"][1][1]
        table = tensors["model.embed_tokens.weight"][2]
        tensors["model.embed_tokens.weight"] = ("F32", [rows, width], table.ljust(rows * width * 4, b"\0"))
        header, data = {}, b""
        for key, (kind, shape, content) in tensors.items():
            header[key] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
            data += content
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
        return folder

    def test_pieces_with_probabilities(self):
        cases = FOLDER.parents[1] / "tokenizers" / "conformance"
        for name in ("unigram_precompiled", "unigram_nosplit"):
            with self.subTest(tokenizer=name):
                folder = self.model_with(json.loads((cases / name / "tokenizer.json").read_text()), name)
                out, _ = self.convert(folder)
                metadata = GgufFile(out).metadata
                self.assertEqual(metadata["tokenizer.ggml.model"], "t5")
                self.assertEqual("tokenizer.ggml.precompiled_charsmap" in metadata, name == "unigram_precompiled")
                self.same_tokens(folder, out)

    def test_a_sentencepiece_model_alone(self):
        for name, rows, kind in (("stories260K", 512, "llama"), ("unigram", 1000, "t5")):
            with self.subTest(tokenizer=name):
                folder = self.model_with(FOLDER.parents[1] / "tokenizers" / name / "tokenizer.model", name, rows)
                out, report = self.convert(folder)
                metadata = GgufFile(out).metadata
                # The library joins spaces, which readers of merged pieces do not.
                self.assertTrue(kind != "llama" or any("is cut differently" in note for note in report["notes"]), report["notes"])
                self.assertEqual((metadata["tokenizer.ggml.model"], len(metadata["tokenizer.ggml.tokens"])), (kind, rows))
                self.assertEqual(metadata["tokenizer.ggml.token_type"][:4], [2, 3, 3, 6 if kind == "llama" else 1])  # unknown, BOS, EOS
                ids = lambda shown: [json.loads(line)["ids"] for line in shown.splitlines()]  # noqa: E731
                self.same_tokens(folder, out, ids, spaces=" " if kind == "llama" else "  ")

    def test_patterns_that_cut_otherwise_but_give_the_same_ids(self):
        # Pieces that digits or punctuation end are cut at other places than llama.cpp cuts them, which no merge notices.
        tokenizer = json.loads((FOLDER.parents[1] / "tokenizers" / "conformance" / "bpe_falcon" / "tokenizer.json").read_text())
        folder = self.model_with(tokenizer, "falcon")
        out, report = self.convert(folder)
        self.assertEqual(report["notes"], [])
        self.same_tokens(folder, out)

    def test_roles_that_the_tokenizer_leaves_open_are_those_of_the_config(self):
        folder = self.folder / "model"
        shutil.copytree(TINY, folder)
        (folder / "tokenizer_config.json").write_text("{}")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"bos_token_id": 7, "eos_token_id": [9, 3], "pad_token_id": None}))
        out, _ = self.convert(folder)
        metadata = GgufFile(out).metadata
        self.assertEqual(metadata["tokenizer.ggml.bos_token_id"], 7)
        self.assertNotIn("tokenizer.ggml.padding_token_id", metadata)

    def test_a_vocabulary_without_such_a_form_is_refused(self):
        tokenizer = {"model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1}}, "added_tokens": []}
        folder = self.model_with(tokenizer, "words")
        self.refused(1, "'WordPiece'", "convert", folder, "--out", self.folder / "x.gguf")


if __name__ == "__main__":
    main()

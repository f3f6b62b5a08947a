#!/usr/bin/env python3
"""llmhost quantize: the types of GGUF files, and bitsandbytes' 4 bits with the bytes that transformers writes."""
import json
import math
import shutil

from command import CommandTest, numbers, read_safetensors
from gguf_file import TYPES, GgufFile
from program import FOLDER, GGUF, PROMPT_IDS, main

FINETUNE = FOLDER.parents[1] / "finetune"
# Mean of the differences of two models' log-probabilities of their likeliest tokens, a rough bound: the types fall in quality in
# this order, and a mistake in one costs more than ten times that.
TYPE_NAMES = ["q8_0", "q6_k", "q5_1", "q5_0", "q4_1", "q4_0"]


class QuantizeTest(CommandTest):
    def logits(self, model):
        job, out = self.write("tokens.json", {"prompts": [PROMPT_IDS]}), self.folder / "logits.safetensors"
        self.output("logits", model, "--tokens", job, "--out", out)
        return numbers(read_safetensors(out)["logits_0"])

    def test_every_type_is_written_and_says_about_the_same(self):
        wanted = self.logits(FOLDER)
        spread = math.sqrt(sum(x * x for x in wanted) / len(wanted))
        last = 0.0
        for name in TYPE_NAMES:
            out = self.folder / f"{name}.gguf"
            self.output("quantize", FOLDER, out, "--type", name)
            error = math.sqrt(sum((a - b) ** 2 for a, b in zip(self.logits(out), wanted)) / len(wanted)) / spread
            self.assertLess(error, 0.15, name)
            # Fewer bits, larger errors (q6_k falls back to q8_0 here: rows of 64 are no blocks of 256).
            self.assertGreaterEqual(error * 1.3, last, name)
            last = error

    def test_rows_that_are_no_whole_blocks_get_another_type(self):
        out = self.folder / "x.gguf"
        for name, expected in (("q4_k", "q5_0"), ("q2_k", "q4_0"), ("q5_k", "q5_1"), ("q8_0", "q8_0")):
            self.output("quantize", FOLDER, out, "--type", name, "--force")
            tensors = GgufFile(out).tensors
            self.assertEqual(tensors["blk.0.attn_q.weight"][0], TYPES[expected], name)
            self.assertEqual(tensors["blk.0.attn_norm.weight"][0], TYPES["f32"], name)

    def test_a_gguf_file_becomes_another(self):
        out, again = self.folder / "x.gguf", self.folder / "y.gguf"
        self.output("convert", FOLDER, "--out", out, "--type", "f32")
        self.output("quantize", out, again, "--type", "q4_0")
        straight = self.folder / "z.gguf"
        self.output("quantize", FOLDER, straight, "--type", "q4_0")
        first, second = GgufFile(again), GgufFile(straight)
        self.assertEqual(first.tensors, second.tensors)
        self.assertEqual(first.metadata, second.metadata)

    def test_bits_that_are_gone_stay_gone(self):
        out = self.folder / "x.gguf"
        self.output("quantize", GGUF, out, "--type", "f32")
        self.assertEqual(GgufFile(out).tensors, GgufFile(GGUF).tensors)

    def test_four_bits_are_transformers_(self):
        out = self.folder / "nf4"
        self.output("quantize", FINETUNE / "models" / "llama", out, "--type", "nf4")
        ours, theirs = (read_safetensors(folder / "model.safetensors")
                        for folder in (out, FINETUNE / "qlora" / "llama_nf4_lora" / "nf4_model"))
        self.assertEqual(ours.keys(), theirs.keys())
        for name, tensor in theirs.items():
            if "quant_state" not in name:
                self.assertEqual(ours[name], tensor, name)
                continue
            states = [json.loads(content) for _, _, content in (ours[name], tensor)]
            # A mean, summed in another order.
            offsets = [state.pop("nested_offset") for state in states]
            self.assertAlmostEqual(*offsets, delta=1e-7)
            self.assertEqual(*states)
        configs = [json.loads((folder / "config.json").read_text())["quantization_config"]
                   for folder in (out, FINETUNE / "qlora" / "llama_nf4_lora" / "nf4_model")]
        self.assertEqual(*configs)

    def test_routers_and_experts_keep_their_bits_as_in_transformers_5(self):
        self.output("quantize", FINETUNE / "models" / "mixtral", self.folder / "nf4", "--type", "nf4")
        tensors = read_safetensors(self.folder / "nf4" / "model.safetensors")
        linears = {name.removesuffix(".weight.absmax").rpartition(".")[2] for name in tensors if name.endswith(".weight.absmax")}
        self.assertEqual(linears, {"q_proj", "k_proj", "v_proj", "o_proj"})

    def test_four_bits_in_other_forms_are_read_again(self):
        base = FINETUNE / "models" / "llama"
        job, out = self.write("tokens.json", {"prompts": [[1, 2, 3, 4]]}), self.folder / "logits.safetensors"

        def logits(model):
            self.output("logits", model, "--tokens", job, "--out", out)
            return numbers(read_safetensors(out)["logits_0"])

        wanted = logits(base)
        for i, more in enumerate((("--type", "fp4"), ("--type", "nf4", "--no-double-quant"), ("--type", "nf4", "--block", 128))):
            folder = self.folder / f"model{i}"
            self.output("quantize", base, folder, *more)
            worst = max(abs(a - b) for a, b in zip(logits(folder), wanted))
            self.assertTrue(0.01 < worst < 6, (more, worst))  # another model, but this one's

    def test_refusals_leave_nothing_behind(self):
        out = self.folder / "x"
        base = FINETUNE / "models" / "llama"
        self.refused(2, "--type TYPE", "quantize", base, out)
        self.refused(2, "no type 'int3'", "quantize", base, out, "--type", "int3")
        self.refused(1, "GGUF", "quantize", GGUF, out, "--type", "nf4")
        self.refused(1, "32, 64, 128", "quantize", base, out, "--type", "nf4", "--block", 48)
        self.refused(1, "stored transposed", "quantize", FINETUNE / "models" / "gpt2", out, "--type", "nf4")
        self.refused(1, "is quantised already", "quantize", FINETUNE / "qlora" / "llama_nf4_lora" / "nf4_model", out, "--type", "fp4")
        self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    main()

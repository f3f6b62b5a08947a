#!/usr/bin/env python3
"""llmhost merge: the merged model of every adapter of the goldens is what PEFT's is, and what is refused."""
import json
import random
import shutil
import struct
from pathlib import Path

from command import CommandTest, numbers, read_safetensors
from program import GGUF, PROMPT_IDS, main

DATA = Path(__file__).resolve().parents[1] / "data" / "finetune"
MODELS = sorted(folder.name for folder in (DATA / "models").iterdir())
LOGITS = 1e-4  # the goldens' tolerances (tests/data/finetune/README.md)
WEIGHTS = 2e-5


def cases():
    for kind in ("lora", "dora", "shira"):
        yield from sorted((DATA / kind).iterdir())


def model_of(case):
    """A case's name begins with its model's, the longest that fits."""
    return DATA / "models" / max((name for name in MODELS if case.name.startswith(name)), key=len)


def integers(tensor):
    _, shape, data = tensor
    width = len(data) // (shape[0] * shape[1])
    row = [int.from_bytes(data[i:i + width], "little") for i in range(0, len(data), width)]
    return [row[i * shape[1]:(i + 1) * shape[1]] for i in range(shape[0])]


class MergeTest(CommandTest):
    def merge(self, case, out, *more):
        shutil.rmtree(out, ignore_errors=True)
        self.output("merge", model_of(case), "--adapter", case, "--out", out, "--dtype", "f32", *more)

    def logits(self, model, prompts):
        out = self.folder / "logits.safetensors"
        self.output("logits", model, "--tokens", self.write("tokens.json", {"prompts": prompts}), "--out", out)
        tensors = read_safetensors(out)
        return [numbers(tensors[f"logits_{i}"]) for i in range(len(prompts))]

    def check_logits(self, case, model):
        expected = read_safetensors(case / "expected.safetensors")
        prompts, masks = integers(expected["input_ids"]), integers(expected["attention_mask"])
        wanted, (_, shape, _) = numbers(expected["logits"]), expected["logits"]
        vocabulary, stride = shape[2], shape[1] * shape[2]
        for row, actual in enumerate(self.logits(model, prompts)):
            for at, seen in enumerate(masks[row]):
                begin = at * vocabulary
                part = wanted[row * stride + begin:row * stride + begin + vocabulary]
                worst = max(abs(a - b) for a, b in zip(actual[begin:begin + vocabulary], part))
                self.assertTrue(not seen or worst < LOGITS, (case.name, row, at, worst))

    def test_the_merged_model_says_what_the_adapter_says(self):
        out = self.folder / "merged"
        for case in cases():
            with self.subTest(case=case.name):
                self.merge(case, out)
                self.check_logits(case, out)

    def test_merged_weights_are_the_library_s(self):
        out, n = self.folder / "merged", 0
        for case in cases():
            if not (case / "merged.safetensors").exists():
                continue
            self.merge(case, out)
            actual = read_safetensors(out / "model.safetensors")
            for name, tensor in read_safetensors(case / "merged.safetensors").items():
                worst = max(abs(a - b) for a, b in zip(numbers(actual[name]), numbers(tensor)))
                self.assertLess(worst, WEIGHTS, (case.name, name))
                n += 1
        self.assertEqual(n, 8)

    def test_tensors_that_no_adapter_changes_are_as_they_were(self):
        case, out = DATA / "lora" / "gemma_qv", self.folder / "merged"
        self.output("merge", model_of(case), "--adapter", case, "--out", out)
        before, after = (read_safetensors(folder / "model.safetensors") for folder in (model_of(case), out))
        changed = {name for name in before if before[name] != after[name]}
        self.assertEqual(before.keys(), after.keys())
        self.assertEqual({name.split(".")[-2] for name in changed}, {"q_proj", "v_proj"})
        self.assertTrue(all(kind == "BF16" for kind, _, _ in after.values()))
        self.assertEqual(json.loads((out / "config.json").read_text()), json.loads((model_of(case) / "config.json").read_text()))

    def test_branches_of_several_adapters_add_up(self):
        first, second = DATA / "lora" / "llama_qv", DATA / "lora" / "llama_all"
        together, step, after = (self.folder / name for name in ("together", "step", "after"))
        self.output("merge", model_of(first), "--adapter", f"{first},{second}", "--out", together)
        self.output("merge", model_of(first), "--adapter", first, "--out", step)
        self.output("merge", step, "--adapter", second, "--out", after)
        actual, wanted = (read_safetensors(folder / "model.safetensors") for folder in (together, after))
        for name, tensor in wanted.items():
            worst = max(abs(a - b) for a, b in zip(numbers(actual[name]), numbers(tensor)))
            self.assertLess(worst, 1e-6, name)  # the order of one addition

    def test_a_head_of_its_own_unties(self):
        case, out = DATA / "lora" / "gemma_mts_lm_head_tied", self.folder / "merged"
        self.merge(case, out)
        self.assertFalse(json.loads((out / "config.json").read_text())["tie_word_embeddings"])
        before, after = (read_safetensors(folder / "model.safetensors") for folder in (model_of(case), out))
        self.assertEqual(after.keys() - before.keys(), {"lm_head.weight"})

    def test_a_quantised_base_is_written_whole(self):
        case, out = DATA / "qlora" / "llama_nf4_lora", self.folder / "merged"
        self.output("merge", case / "nf4_model", "--adapter", case / "adapter", "--out", out)
        self.assertNotIn("quantization_config", json.loads((out / "config.json").read_text()))
        kinds = {kind for kind, _, _ in read_safetensors(out / "model.safetensors").values()}
        self.assertEqual(kinds, {"F32"})

    def test_refusals_leave_nothing_behind(self):
        case, out = DATA / "lora" / "llama_qv", self.folder / "merged"
        base = model_of(case)
        self.refused(2, "--adapter FOLDER and --out FOLDER", "merge", base, "--out", out)
        self.refused(1, "no such folder", "merge", base, "--adapter", self.folder / "none", "--out", out)
        self.refused(2, "'q8_0' is no element type", "merge", base, "--adapter", case, "--out", out, "--dtype", "q8_0")
        self.refused(1, "both change module", "merge", base, "--adapter", f"{case},{DATA / 'dora' / 'llama_qv'}", "--out", out)
        self.refused(1, "adapter ", "merge", DATA / "models" / "gpt2", "--adapter", case, "--out", out)
        self.assertEqual(sorted(path.name for path in self.folder.iterdir()), [])
        self.output("merge", base, "--adapter", case, "--out", out)
        self.refused(1, "is there already", "merge", base, "--adapter", case, "--out", out)

    def small_adapter(self):
        """Rank 2 on q_proj of the first two layers of a GGUF model."""
        folder = self.folder / "adapter"
        folder.mkdir()
        config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "layers_to_transform": [0, 1]}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        generator = random.Random(5)
        tensors = {}
        for layer in (0, 1):
            for part, shape in (("A", [2, 64]), ("B", [64, 2])):
                name = f"base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{part}.weight"
                tensors[name] = (shape, [generator.gauss(0, 0.1) for _ in range(128)])
        write_safetensors(folder / "adapter_model.safetensors", tensors)
        return folder

    def test_a_gguf_model_stays_one(self):
        adapter, out = self.small_adapter(), self.folder / "merged"
        job = self.write("tokens.json", {"prompts": [PROMPT_IDS]})

        def logits(model, *more):
            self.output("logits", model, "--tokens", job, "--out", self.folder / "logits", *more)
            return numbers(read_safetensors(self.folder / "logits")["logits_0"])

        wanted, base = logits(GGUF, "--adapter", adapter), logits(GGUF)
        effect = max(abs(a - b) for a, b in zip(wanted, base))
        self.assertGreater(effect, 0.3)
        # With q8_0 the changed weights are rounded once more: its step is 1/254 of a block's largest weight.
        for dtype, tolerance in (("f32", 1e-4), ("bf16", 0.1 * effect), (None, 0.1 * effect)):
            self.output("merge", GGUF, "--adapter", adapter, "--out", out, *(["--dtype", dtype] if dtype else []))
            worst = max(abs(a - b) for a, b in zip(logits(out), wanted))
            self.assertLess(worst, tolerance, dtype)
            self.assertEqual([path.name for path in out.iterdir()], ["model.gguf"])
            ids = self.json("tokenize", out, "Once upon a time")["ids"]
            self.assertEqual(ids, self.json("tokenize", GGUF, "Once upon a time")["ids"])
            shutil.rmtree(out)


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""llmhost grad: losses and gradients of torch and PEFT (tests/data/finetune), names as in the files, and what it refuses."""
import json

from command import CommandTest, numbers, read_safetensors
from program import DATA, main

GOLDENS = DATA.parent / "finetune"
LIMIT = 2e-5  # of losses and gradients, f32


def batch_of(path, prefix=""):
    tensors = read_safetensors(path)

    def rows(name):
        _, (n, width), data = tensors[prefix + name]
        values = [int.from_bytes(data[i:i + 8], "little", signed=True) for i in range(0, len(data), 8)]
        return [values[i * width:(i + 1) * width] for i in range(n)]
    return {name: rows(name) for name in ("input_ids", "labels", "attention_mask")}


EVAL = batch_of(GOLDENS / "batches.safetensors", "eval.")


class GradTest(CommandTest):
    def grad(self, model, *more, batch=None):
        out = self.folder / "out.safetensors"
        self.output("grad", model, "--batch", self.write("batch.json", batch or EVAL), "--out", out, *more)
        return out

    def assert_close(self, actual, expected, name, limit=LIMIT):
        self.assertEqual(actual[:2], expected[:2], name)
        worst = max(abs(a - b) for a, b in zip(numbers(actual), numbers(expected)))
        self.assertLess(worst, limit, name)

    def test_gradients_of_whole_models_are_named_as_their_files(self):
        for model in ("llama", "gpt2", "mixtral"):  # gpt2: stored [in,out]; mixtral: experts stored one by one
            expected = read_safetensors(GOLDENS / "base" / f"{model}.safetensors")
            actual = read_safetensors(self.grad(GOLDENS / "models" / model))
            stored = read_safetensors(GOLDENS / "models" / model / "model.safetensors")
            self.assertEqual({name: shape for name, (_, shape, _) in actual.items() if name != "loss"},
                             {name: shape for name, (_, shape, _) in stored.items()})
            for name, tensor in expected.items():
                if name == "loss" or name.startswith("grad/"):
                    self.assert_close(actual[name.removeprefix("grad/")], tensor, name)

    def test_gradients_of_adapters_are_named_as_theirs(self):
        for case in ("lora/llama_patterns", "lora/gpt2_qv", "dora/llama_qv"):
            model = GOLDENS / "models" / json.loads((GOLDENS / case / "case.json").read_text())["model"]
            actual = read_safetensors(self.grad(model, "--adapter", GOLDENS / case))
            expected = {name.removeprefix("grad/"): tensor for name, tensor
                        in read_safetensors(GOLDENS / case / "training.safetensors").items() if name.startswith("grad/")}
            self.assertEqual(set(actual), set(expected) | {"loss"})
            for name, tensor in expected.items():
                self.assert_close(actual[name], tensor, name)

    def changed_adapter(self, config=(), rename=lambda name: name):
        """lora/llama_qv with other fields and other names of tensors."""
        folder = self.folder / "changed"
        folder.mkdir(exist_ok=True)
        source = GOLDENS / "lora" / "llama_qv"
        about = json.loads((source / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps({**about, **dict(config)}))
        stored = (source / "adapter_model.safetensors").read_bytes()
        end = 8 + int.from_bytes(stored[:8], "little")
        header = json.dumps({rename(name): entry for name, entry in json.loads(stored[8:end]).items()}).encode()
        header += b" " * (-len(header) % 8)
        (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + stored[end:])
        return folder

    def test_an_adapter_keeps_its_own_spelling_and_has_no_tensor_too_many(self):
        model, prefix = GOLDENS / "models" / "llama", "base_model.model."
        expected = read_safetensors(self.grad(model, "--adapter", GOLDENS / "lora" / "llama_qv"))
        actual = read_safetensors(self.grad(model, "--adapter", self.changed_adapter(rename=lambda name: name.removeprefix(prefix))))
        self.assertEqual(actual, {name.removeprefix(prefix): tensor for name, tensor in expected.items()})
        batch, out = self.write("batch.json", EVAL), self.folder / "none.safetensors"
        for message, config in (("v_proj.lora_A.weight.* gives 'model.layers.[01].self_attn.v_proj' no such tensor", {"target_modules": ["q_proj"]}),
                                ("has no tensor '.*k_proj.lora_A.weight'", {"target_modules": ["q_proj", "v_proj", "k_proj"]})):
            self.refused(1, message, "grad", model, "--batch", batch, "--out", out, "--adapter", self.changed_adapter(config))
        self.assertFalse(out.exists())

    def test_both_sides_of_a_shared_weight_cannot_be_meant(self):
        self.refused(1, "ensure_weight_tying is true and the adapter changes 'lm_head'", "grad", GOLDENS / "models" / "gemma",
                     "--batch", self.write("batch.json", EVAL), "--out", self.folder / "none.safetensors", "--adapter",
                     self.changed_adapter({"ensure_weight_tying": True, "modules_to_save": ["lm_head"]}))

    def test_less_memory_changes_no_bit_and_fewer_bits_change_little(self):
        model, adapter = GOLDENS / "models" / "llama", ("--adapter", GOLDENS / "lora" / "llama_all")
        exact = self.grad(model, *adapter).read_bytes()
        expected = read_safetensors(self.folder / "out.safetensors")
        for more in (("--checkpoint-layers",), ("--threads", 1), ("--threads", 3)):
            self.assertEqual(self.grad(model, *adapter, *more).read_bytes(), exact, more)
        for dtype, limit in (("bf16", 0.03), ("f16", 0.003)):
            actual = read_safetensors(self.grad(model, *adapter, "--dtype", dtype))
            largest = max(abs(value) for tensor in expected.values() for value in numbers(tensor))
            for name, tensor in expected.items():
                self.assert_close(actual[name], tensor, name, limit * largest)

    def test_targets_weigh_the_same_in_every_row(self):
        batch = {"input_ids": [[1, 5, 9, 3], [7, 2]], "labels": [[-100, 5, 9, 3], [7, 2]]}
        parts = [{key: [rows[i]] for key, rows in batch.items()} for i in range(2)]
        model = GOLDENS / "models" / "llama"
        whole = read_safetensors(self.grad(model, batch=batch))
        rows = [read_safetensors(self.grad(model, batch=part)) for part in parts]
        for name, tensor in whole.items():
            mean = [(3 * a + b) / 4 for a, b in zip(*(numbers(row[name]) for row in rows))]
            self.assertLess(max(abs(a - b) for a, b in zip(numbers(tensor), mean)), LIMIT, name)

    def test_a_batch_without_targets(self):
        told = self.json("grad", GOLDENS / "models" / "llama", "--out", self.folder / "out.safetensors", "--batch",
                         self.write("batch.json", {"input_ids": [[1, 2]], "labels": [[2, -100]]}))
        self.assertEqual((told["loss"], told["targets"]), (0, 0))
        tensors = read_safetensors(self.folder / "out.safetensors")
        self.assertFalse(any(any(numbers(tensor)) for tensor in tensors.values()))

    def test_refusals(self):
        model, out = GOLDENS / "models" / "llama", self.folder / "out.safetensors"
        for message, batch in ((r"'labels' must be", {"input_ids": [[1]]}),
                               (r"labels\[0\] has 1 items, input_ids\[0\] has 2", {"input_ids": [[1, 2]], "labels": [[1]]}),
                               ("as many rows", {"input_ids": [[1]], "labels": [[1], [2]]}),
                               (r"input_ids\[0\]: -1 is no integer", {"input_ids": [[-1]], "labels": [[1]]}),
                               (r"labels\[0\]: -101 is no", {"input_ids": [[1]], "labels": [[-101]]}),
                               ("label 256 is not in the vocabulary", {"input_ids": [[1, 2]], "labels": [[1, 256]]}),
                               ("token 256 is not in the vocabulary", {"input_ids": [[256, 2]], "labels": [[1, 2]]}),
                               ("padded on the right", {"input_ids": [[1, 2]], "labels": [[1, 2]], "attention_mask": [[0, 1]]})):
            self.refused(1, message, "grad", model, "--batch", self.write("batch.json", batch), "--out", out)
        self.refused(2, "--batch FILE.json and --out", "grad", model)
        batch = self.write("batch.json", EVAL)
        self.refused(2, "--dtype q8_0", "grad", model, "--batch", batch, "--out", out, "--dtype", "q8_0")
        self.refused(1, "adapter_config.json", "grad", model, "--batch", batch, "--out", out, "--adapter", self.folder)
        self.assertFalse(out.exists())


if __name__ == "__main__":
    main()

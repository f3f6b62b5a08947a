#!/usr/bin/env python3
"""What a training run leaves behind: an adapter that PEFT loads, its receipt, and what the receipt is checked for."""
import importlib.util
import json
import shutil
import subprocess
import sys

from command import CommandTest, numbers, read_safetensors
from program import FOLDER, main

TINY = FOLDER.parent / "tiny_chat"
ROWS = [{"messages": [{"role": "user", "content": f"Say {word}"}, {"role": "assistant", "content": word * 2}]}
        for word in ("one", "two", "red", "blue")]
JOB = """model: {model}
output: {output}
method: {{name: {method}}}
data: {{train: rows.jsonl, max_length: 128}}
training: {{max_steps: 3, batch_size: 2, learning_rate: 0.05, seed: 3}}
"""
LORA = "lora, r: 4, lora_alpha: 8, target_modules: all-linear"
# Logits of the adapter by PEFT. argv: model, adapter, ids.
PEFT = """
import json, sys, torch
from transformers import AutoModelForCausalLM
from peft import PeftModel
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager")
model = PeftModel.from_pretrained(base, sys.argv[2])
missing = [n for n, p in model.named_parameters() if "lora_B" in n and not p.abs().sum() > 0]
with torch.no_grad():
    logits = model(torch.tensor([json.loads(sys.argv[3])])).logits
print(json.dumps({"logits": logits.flatten().tolist(), "untouched": missing}))
"""


class ReceiptTest(CommandTest):
    def train(self, output="out", method=LORA, model=TINY):
        self.write_lines("rows.jsonl", ROWS)
        job = self.write("job.yaml", JOB.format(model=model, output=output, method=method))
        self.output("finetune", "-c", job)
        return self.folder / output

    def logits(self, *arguments):
        job, out = self.write("tokens.json", {"prompts": [[0, 5, 9, 200, 17]]}), self.folder / "logits.safetensors"
        self.output("logits", *arguments, "--tokens", job, "--out", out)
        return numbers(read_safetensors(out)["logits_0"])

    def change_receipt(self, folder, **change):
        path = folder / "receipt.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    def test_the_receipt_names_what_it_was_trained_with(self):
        receipt = json.loads((self.train() / "receipt.json").read_text())
        for key in ("base", "tokenizer", "chat_template", "data", "job"):
            self.assertRegex(receipt[key], "^[0-9a-f]{64}$", key)
        self.assertEqual(len(receipt["golden"]), 3)
        self.assertTrue(all(golden["prompt_ids"] for golden in receipt["golden"]))
        config = json.loads((self.folder / "out" / "adapter_config.json").read_text())
        self.assertEqual((config["peft_type"], config["r"], config["base_model_name_or_path"]), ("LORA", 4, str(TINY)))

    def test_the_adapter_is_taken_with_its_model_and_gives_its_answers(self):
        adapter = self.train()
        self.logits(TINY, "--adapter", adapter)
        self.logits(TINY, "--adapter", adapter, "--receipt", "golden")
        self.output("run", TINY, "--adapter", adapter, "--receipt", "golden", "-n", 3, "--temperature", 0, "Say one")

    def test_another_model_is_refused_with_both_hashes(self):
        adapter = self.train()
        other = self.folder / "other"
        shutil.copytree(TINY, other)
        content = bytearray((other / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (other / "model.safetensors").write_bytes(content)
        job = self.write("tokens.json", {"prompts": [[1]]})
        arguments = ("logits", other, "--adapter", adapter, "--tokens", job, "--out", self.folder / "x")
        self.refused(1, r"trained with the base [0-9a-f]{12}, this model's is [0-9a-f]{12}; --receipt ignore", *arguments)
        self.output(*arguments, "--receipt", "ignore")
        self.refused(1, "trained with the base", "merge", other, "--adapter", adapter, "--out", self.folder / "merged")
        self.output("merge", other, "--adapter", adapter, "--out", self.folder / "merged", "--receipt", "ignore")

    def test_tokenizer_and_template_are_compared_too(self):
        adapter = self.train()
        job = self.write("tokens.json", {"prompts": [[1]]})
        arguments = ("logits", TINY, "--adapter", adapter, "--tokens", job, "--out", self.folder / "x")
        whole = (adapter / "receipt.json").read_text()
        for key, what in (("tokenizer", "tokenizer"), ("chat_template", "chat template")):
            self.change_receipt(adapter, **{key: "0" * 64})
            self.refused(1, f"trained with the {what} 000000000000", *arguments)
            (adapter / "receipt.json").write_text(whole)
        for text, message in (("{", "receipt.json"), ("[]", "an object"), ('{"format": 2}', "'format' is 2"), ("{}", "'format' is missing")):
            (adapter / "receipt.json").write_text(text)
            self.refused(1, message, *arguments)
        (adapter / "receipt.json").unlink()  # as PEFT's adapters, which have none
        self.output(*arguments)
        self.refused(1, "has no receipt.json", *arguments, "--receipt", "golden")

    def test_other_answers_are_noticed_when_they_are_asked_for(self):
        adapter = self.train()
        receipt = json.loads((adapter / "receipt.json").read_text())
        golden = next(golden for golden in receipt["golden"] if golden["greedy_ids"])
        golden["greedy_ids"][0] ^= 1
        self.change_receipt(adapter, golden=receipt["golden"])
        job = self.write("tokens.json", {"prompts": [[1]]})
        arguments = ("logits", TINY, "--adapter", adapter, "--tokens", job, "--out", self.folder / "x")
        self.output(*arguments)
        self.refused(1, "golden prompt .* the answer was", *arguments, "--receipt", "golden")

    def test_merged_and_converted_it_is_the_same_model(self):
        adapter, merged, gguf = self.train(), self.folder / "merged", self.folder / "merged.gguf"
        wanted = self.logits(TINY, "--adapter", adapter)
        self.output("merge", TINY, "--adapter", adapter, "--out", merged)
        self.output("convert", merged, "--out", gguf, "--check")
        for model in (merged, gguf):
            worst = max(abs(a - b) for a, b in zip(self.logits(model), wanted))
            self.assertLess(worst, 1e-4, model)

    def test_a_whole_model_is_one_like_its_base(self):
        out = self.train(method="full")
        before, after = (read_safetensors(folder / "model.safetensors") for folder in (TINY, out))
        self.assertEqual({name: tensor[:2] for name, tensor in before.items()}, {name: tensor[:2] for name, tensor in after.items()})
        self.assertTrue(any(before[name] != after[name] for name in before))
        self.assertEqual(self.json("tokenize", out, "Say one"), self.json("tokenize", TINY, "Say one"))
        self.assertEqual(json.loads((out / "config.json").read_text()), json.loads((TINY / "config.json").read_text()))
        self.output("run", out, "-n", 2, "--temperature", 0, "Say one")

    def test_peft_loads_it(self):
        if not all(importlib.util.find_spec(name) for name in ("peft", "torch", "transformers")):
            self.skipTest("peft, torch and transformers are not installed")
        for method in (LORA, "dora, r: 4, lora_alpha: 8, target_modules: [q_proj, down_proj]",
                       "lora, r: 2, target_modules: [v_proj], modules_to_save: [norm], bias: none"):
            with self.subTest(method=method):
                shutil.rmtree(self.folder / "out", ignore_errors=True)
                adapter = self.train(method=method)
                job = json.dumps([0, 5, 9, 200, 17])
                done = subprocess.run([sys.executable, "-c", PEFT, TINY, adapter, job], capture_output=True, check=False, text=True)
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                result = json.loads(done.stdout.splitlines()[-1])
                self.assertEqual(result["untouched"], [])
                worst = max(abs(a - b) for a, b in zip(self.logits(TINY, "--adapter", adapter), result["logits"]))
                self.assertLess(worst, 1e-4)  # the goldens' tolerance of logits


if __name__ == "__main__":
    main()

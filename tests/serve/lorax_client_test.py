#!/usr/bin/env python3
"""The client of LoRAX servers, unchanged, against the real server with adapters of the test models."""
import json
import sys

import server_program
from server_program import MODULES, ServerTest, adapters, program

try:
    import lorax
    import lorax.errors
except ImportError:
    print("skipped: this Python has no package 'lorax-client' (LLMHOST_SERVE_PYTHON names another)")
    sys.exit(77)

PROMPT = "Once upon a time"


class Client(ServerTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.adapters = cls.folder / "adapters"
        for seed, name in enumerate(("one", "two", "three"), 1):
            adapters.write_adapter(cls.adapters / name, MODULES, 8, seed)
        cls.server = cls.start("--model", program.FOLDER, "--context", 512, "--adapters", cls.adapters)
        cls.client = lorax.Client(f"http://127.0.0.1:{cls.server.port}", timeout=120)

    def logprobs(self, **more):
        return [token.logprob for token in self.client.generate(PROMPT, max_new_tokens=8, **more).details.tokens]

    def test_generate(self):
        answer = self.client.generate(PROMPT, max_new_tokens=12)
        self.assertEqual(answer.details.generated_tokens, 12)
        self.assertEqual(answer.details.finish_reason.value, "length")
        self.assertEqual(len(answer.details.tokens), 12)
        self.assertEqual(answer.generated_text, self.client.generate(PROMPT, max_new_tokens=12).generated_text)
        full = self.client.generate(PROMPT, max_new_tokens=12, return_full_text=True)
        self.assertEqual(full.generated_text, PROMPT + answer.generated_text)

    def test_stream(self):
        whole = self.client.generate(PROMPT, max_new_tokens=12).generated_text
        pieces = list(self.client.generate_stream(PROMPT, max_new_tokens=12))
        self.assertEqual("".join(piece.token.text for piece in pieces if not piece.token.special), whole)
        self.assertEqual(pieces[-1].generated_text, whole)
        self.assertEqual(pieces[-1].details.generated_tokens, 12)

    def test_sampling_and_seed(self):
        asked = {"do_sample": True, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "seed": 4, "max_new_tokens": 12}
        first = self.client.generate(PROMPT, **asked)
        self.assertEqual(first.details.seed, 4)
        self.assertEqual(first.generated_text, self.client.generate(PROMPT, **asked).generated_text)

    def test_prompt_details_and_stop(self):
        answer = self.client.generate(PROMPT, max_new_tokens=60, stop_sequences=["."], decoder_input_details=True)
        self.assertEqual(answer.details.finish_reason.value, "stop_sequence")
        self.assertEqual(len(answer.details.prefill), answer.details.prompt_tokens)
        self.assertIsNone(answer.details.prefill[0].logprob)
        self.assertLess(answer.details.prefill[1].logprob, 0)

    def test_adapters(self):
        base, one, two = self.logprobs(), self.logprobs(adapter_id="one"), self.logprobs(adapter_id="two", adapter_source="local")
        self.assertNotEqual(base, one)
        self.assertNotEqual(one, two)
        self.assertEqual(base, self.logprobs())
        with self.assertRaises(lorax.errors.LoRAXError if hasattr(lorax.errors, "LoRAXError") else Exception):
            self.client.generate(PROMPT, adapter_id="none")

    def test_merged_adapters(self):
        seen = [self.logprobs(adapter_id="one")]
        for strategy in ("linear", "ties", "dare_linear", "dare_ties"):
            merged = lorax.MergedAdapters(ids=["one", "two"], weights=[1.0, 0.5], merge_strategy=strategy, density=0.5,
                                          majority_sign_method="total")
            seen.append(self.logprobs(merged_adapters=merged))
            self.assertEqual(seen[-1], self.logprobs(merged_adapters=merged))
        self.assertEqual(len({tuple(row) for row in seen}), 5)

    def test_structured_output(self):
        schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 6}}, "required": ["name"],
                  "additionalProperties": False}
        answer = self.client.generate(PROMPT, max_new_tokens=100, response_format={"type": "json_object", "schema": schema})
        self.assertEqual(list(json.loads(answer.generated_text)), ["name"])

    def test_errors(self):
        status, answer = self.server.ask("POST", "/generate", {"inputs": PROMPT, "parameters": {"watermark": True}})
        self.assertEqual((status, answer["error_type"]), (400, "validation"))
        with self.assertRaises(lorax.errors.ValidationError):
            self.client.generate(PROMPT, watermark=True)


if __name__ == "__main__":
    server_program.main()

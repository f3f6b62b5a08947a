#!/usr/bin/env python3
"""Model types that nobody described: recipes read off checkpoints against transformers, and what stops inference.

The cases of tests/data/inferred say which difference is allowed and why."""
import json

from command import CommandTest, numbers, read_safetensors
from program import DATA, main

CASES = DATA.parent / "inferred"


class InferTest(CommandTest):
    def logits(self, model, *arguments):
        ids = json.loads((CASES / "head-norms" / "expected.json").read_text())["ids"]
        expected = model / "expected.json"
        if expected.exists():
            ids = json.loads(expected.read_text())["ids"]
        out = self.folder / "out.safetensors"
        tokens = self.write("tokens.json", {"prompts": [ids]})
        self.output("logits", model, "--tokens", tokens, "--out", out, *arguments)
        return numbers(read_safetensors(out)["logits_0"])

    def changed(self, case, change, extra=()):
        """A copy of a case with another config and, if need be, further tensors of one number."""
        model = self.folder / "changed"
        model.mkdir()
        config = json.loads((CASES / case / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({key: value for key, value in (config | change).items() if value != "gone"}))
        content = (CASES / case / "model.safetensors").read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8:8 + size])
        end = len(content) - 8 - size
        for at, name in enumerate(extra):
            header[name] = {"dtype": "F32", "shape": [1], "data_offsets": [end + 4 * at, end + 4 * at + 4]}
        text = json.dumps(header)
        text += " " * (-len(text) % 8)
        (model / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode() + content[8 + size:] +
                                                  bytes(4 * len(extra)))
        return model

    def stops(self, message, case, change, extra=()):
        with self.subTest(message):
            model = self.changed(case, change, extra)
            self.refused(1, message, "arch", "infer", model)
            for file in model.iterdir():
                file.unlink()
            model.rmdir()

    def test_right(self):
        for model in sorted(path.parent for path in CASES.glob("*/expected.json")):
            with self.subTest(model.name):
                expected = json.loads((model / "expected.json").read_text())
                actual = self.logits(model)
                oracle = numbers(read_safetensors(model / "expected.safetensors")["logits"])
                self.assertEqual(len(actual), len(oracle))
                self.assertLessEqual(max(abs(a - b) for a, b in zip(actual, oracle)), expected["max_abs"])

    def test_text_gives_the_same(self):
        """The printed document, given back as a description, describes the model: no inference, the same bits."""
        for model in sorted(path.parent for path in CASES.glob("*/expected.json")):
            with self.subTest(model.name):
                described = self.write("described.yaml", self.output("arch", "infer", model))
                self.assertEqual(self.logits(model, "--arch-path", described), self.logits(model))
                about = self.json("show", model, "--arch-path", described)
                self.assertFalse(about["architecture"]["inferred"])

    def test_choices(self):
        report = self.json("arch", "infer", CASES / "caps")
        choices = {row["what"]: row for row in report["recipe"]}
        self.assertEqual(choices["attention.window"]["value"], "6")
        self.assertEqual(choices["norm.kind"]["value"], "rms")
        # Nothing in the files shows that norms multiply by 1 + weight: a guess, and said to be one.
        self.assertEqual(choices["norm.offset"]["value"], "1")
        self.assertLess(choices["norm.offset"]["certainty"], 60)
        self.assertIn("a guess", report["text"])

    def test_other_models(self):
        self.stops(r"tensor 'model.layers.0.mixer.A_log'", "head-norms", {}, ["model.layers.0.mixer.A_log"])
        self.stops(r"no plain decoder \(tensor 'model.layers.1.encoder_attn.q_proj.weight'\)", "head-norms", {},
                   ["model.layers.1.encoder_attn.q_proj.weight"])
        self.stops("'is_encoder_decoder'", "head-norms", {"is_encoder_decoder": True})
        self.stops("model type 'mamba2' is not supported: a state-space model", "head-norms", {"model_type": "mamba2"})
        self.stops("'layer_types' holds 'linear_attention'", "caps", {"layer_types": ["linear_attention", "full_attention"]})

    def test_contradictions(self):
        self.stops("config key 'head_dim' is 10, by the tensors a head has 12", "head-norms", {"head_dim": 10})
        self.stops("'num_hidden_layers' is 9, but 2 layers are stored", "head-norms", {"num_hidden_layers": 9})
        self.stops("lies beyond the 1 layers", "head-norms", {"num_hidden_layers": 1})
        self.stops(r"no config key tells the number of heads", "head-norms", {"num_attention_heads": "gone"})
        self.stops("'mlp_bias' is true, and nothing in the tensors", "multipliers", {"mlp_bias": True})
        self.stops("'num_attention_heads' is no whole number", "side-by-side",
                   {"num_attention_heads": "four"})
        self.stops("nothing tells how positions enter", "head-norms",
                   {"rope_parameters": "gone", "rope_theta": "gone", "rope_scaling": "gone"})
        self.stops("'scoring_func' is 'sqrtsoftplus'", "latent", {"scoring_func": "sqrtsoftplus"})

    def test_the_unknown_is_listed(self):
        """What inference knows nothing of is left to the audit, which names it, whole."""
        model = self.changed("head-norms", {"logit_wiggle": 2.0, "residual_swirl": True})
        tokens = self.write("tokens.json", {"prompts": [[1, 2]]})
        arguments = ("logits", model, "--tokens", tokens, "--out", self.folder / "out.safetensors")
        self.refused(1, "does not understand the keys logit_wiggle, residual_swirl", *arguments)
        (model / "config.json").unlink()
        (model / "model.safetensors").unlink()
        model.rmdir()
        self.changed("head-norms", {}, ["model.layers.0.self_attn.curl"])
        self.refused(1, "does not use 1 tensors: model.layers.0.self_attn.curl", *arguments)


if __name__ == "__main__":
    main()

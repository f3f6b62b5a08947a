#!/usr/bin/env python3
"""GGUF versions of the Hub cases, as llama.cpp's converter writes them.

    make_gguf_families.py LLAMA_CPP CASES OUT [REGEX]

LLAMA_CPP is a source tree of llama.cpp, whose converter is used as it is; CASES the folder of Hub cases; OUT a folder.
Each name of gguf_families.py that matches REGEX gets OUT/gguf-NAME/model.gguf; where weights are rounded to other types
or the config changes, OUT/gguf-NAME/oracle/ has the Hub model that the file equals. expect_gguf_families.py, which needs
another version of transformers, writes the expected values. Needs torch, numpy, safetensors and transformers 4.
"""

import json
import logging
import re
import shutil
import sys
import tempfile
from pathlib import Path

from gguf_families import FAMILIES

CONV1D = re.compile(r"\b(c_attn|c_proj|c_fc)\.weight$")  # stored [in, out] by gpt2


def merged(config, changes):
    return config | {k: merged(config[k], v) if isinstance(v, dict) and isinstance(config.get(k), dict) else v
                     for k, v in changes.items()}


def minimal_vocabulary(model, config):
    """A vocabulary that readers accept; the prompts of the cases are token ids."""
    w, words = model.gguf_writer, [f"\u2581w{i}" for i in range(config["vocab_size"] - 259)]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)] + words)
    w.add_token_scores([0.0] * 259 + [-float(i) for i in range(len(words))])
    w.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(words))
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_unk_token_id(0)


def type_for(types, name):
    return next(kind for pattern, kind in types if re.search(pattern, name))


def unsplit_latent(model):
    """The older form of latent attention: one kv_b matrix, and head sizes and counts as in plain attention."""
    p = model.hparams
    entries = {"attention.head_count_kv": p["num_attention_heads"], "attention.value_length": p["v_head_dim"],
               "attention.key_length": p["qk_nope_head_dim"] + p["qk_rope_head_dim"]}
    for key, value in entries.items():
        model.gguf_writer.kv_data[0][f"{model.gguf_writer.arch}.{key}"].value = value
    for key in ("key_length_mla", "value_length_mla"):
        del model.gguf_writer.kv_data[0][f"{model.gguf_writer.arch}.attention.{key}"]


def case_class(gguf, base, config, settings):
    """The converter's class `base` with the settings; it also mends what the converter trips over in some of its versions:
    stored attention masks, norms stored head by head."""
    class Case(base):
        model_arch = base.model_arch

        def set_vocab(self):
            minimal_vocabulary(self, config)

        def set_gguf_parameters(self):
            super().set_gguf_parameters()
            entries, arch = self.gguf_writer.kv_data[0], self.gguf_writer.arch
            for key, value in settings.get("metadata", {}).items():
                if f"{arch}.{key}" in entries:
                    entries[f"{arch}.{key}"].value = value
                else:
                    add = self.gguf_writer.add_float32 if isinstance(value, float) else self.gguf_writer.add_uint32
                    add(f"{arch}.{key}", value)
            if settings.get("unsplit"):
                unsplit_latent(self)

        def get_tensors(self):
            import torch
            norms = {}
            for name, tensor in super().get_tensors():
                if name.endswith((".attn.bias", ".attn.masked_bias")):  # masks
                    continue
                if m := re.fullmatch(r"(.*_layernorm)\.norms\.(\d+)(\.weight)", name):  # one norm for each head
                    heads = norms.setdefault(m[1] + m[3], {})
                    heads[int(m[2])] = tensor
                    continue
                yield name, tensor
            for name, heads in norms.items():
                yield name, torch.stack([heads[i] for i in range(len(heads))])

        def modify_tensors(self, tensor, name, bid):
            if settings.get("unsplit") and name.endswith("kv_b_proj.weight"):
                yield f"blk.{bid}.attn_kv_b.weight", tensor
            else:
                yield from super().modify_tensors(tensor, name, bid)

        def tensor_force_quant(self, name, new_name, bid, n_dims):
            forced = super().tensor_force_quant(name, new_name, bid, n_dims)
            if n_dims < 2 or not settings.get("types"):
                return forced
            return gguf.GGMLQuantizationType[type_for(settings["types"], new_name)]

    return Case


def rounded_weights(gguf, folder, types, stored_name):
    """Rounds the matrices of the model to the types of the file, so that the model equals the file."""
    import torch
    from safetensors.torch import load_file, save_file

    conv1d = json.loads((folder / "config.json").read_text())["model_type"] == "gpt2"  # its matrices are [in, out]
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in tensors.items():
        stored = stored_name(name)
        kind = type_for(types, stored) if stored else "F32"
        if tensor.ndim < 2 or kind == "F32":
            continue
        turned = conv1d and CONV1D.search(name)
        value = (tensor.T if turned else tensor).float().contiguous().numpy()
        block, _ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        qtype = gguf.GGMLQuantizationType[kind if value.shape[-1] % block == 0 else "F16"]  # as the converter falls back
        value = gguf.quants.dequantize(gguf.quants.quantize(value, qtype), qtype)
        if (gguf.quants.dequantize(gguf.quants.quantize(value, qtype), qtype) != value).any():
            raise ValueError(f"{name}: rounding to {qtype.name} twice gives other values")
        value = torch.from_numpy(value)
        tensors[name] = (value.T if turned else value).contiguous()
    (folder / "model.safetensors").unlink()
    save_file({k: v.float() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})


def model_folder(case, settings, folder):
    """The Hub case in a folder of its own, with what the converter wants beside it."""
    folder.mkdir()
    for file in case.iterdir():
        if file.name != "config.json" and not file.name.startswith("expected"):
            shutil.copyfile(file, folder / file.name)
    config = merged(json.loads((case / "config.json").read_text()), settings.get("config", {}))
    (folder / "config.json").write_text(json.dumps(config))
    vocabulary = {str(i): i for i in range(config["vocab_size"])}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))
    return config


def converted(gguf, conversion, case, target, settings, scratch):
    folder = scratch / "model"
    config = model_folder(case, settings, folder)
    hparams = conversion.ModelBase.load_hparams(folder, False) | settings.get("hparams", {})
    base = conversion.get_model_class(hparams["architectures"][0])
    kind = case_class(gguf, base, config, settings)

    def model(out):
        return kind(folder, gguf.LlamaFileType.ALL_F32, out, eager=True, model_name="Tiny", hparams=dict(hparams),
                    **settings.get("options", {}))

    if "types" in settings and "oracle" in settings:
        names = model(scratch / "probe.gguf").tensor_map
        rounded_weights(gguf, folder, settings["types"], lambda name: names.get_name(
            re.sub(r"\.experts\.\d+\.", ".experts.", name), (".weight", ".bias")))
    model(target / "model.gguf").write()
    if "oracle" in settings:
        oracle = target / "oracle"
        oracle.mkdir(exist_ok=True)
        shutil.copyfile(folder / "model.safetensors", oracle / "model.safetensors")
        config = json.loads((case / "config.json").read_text())
        (oracle / "config.json").write_text(json.dumps(merged(config, settings["oracle"])))


def main():
    llama_cpp, cases, out = map(Path, sys.argv[1:4])
    wanted = re.compile(sys.argv[4] if len(sys.argv) > 4 else ".")
    sys.path[:0] = [str(llama_cpp / "gguf-py"), str(llama_cpp)]
    import conversion
    import gguf
    logging.disable(logging.WARNING)
    failed = 0
    for name, settings in FAMILIES.items():
        if not wanted.search(name):
            continue
        target = out / f"gguf-{name}"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        with tempfile.TemporaryDirectory() as scratch:
            try:
                converted(gguf, conversion, cases / settings.get("case", name), target, settings, Path(scratch))
                print(target.name, (target / "model.gguf").stat().st_size, flush=True)
            except Exception as error:
                failed += 1
                shutil.rmtree(target)
                print(f"{name}: {type(error).__name__}: {error}", flush=True)
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

"""Checkpoints as data: safetensors and GGUF files read, changed and written again, to see what a loader says."""
import json
import math
import struct
from pathlib import Path


class Safetensors:
    """{name: (type, shape, bytes)} of a model folder with one file, and its config."""

    def __init__(self, folder):
        self.config = json.loads((folder / "config.json").read_text())
        content = (folder / "model.safetensors").read_bytes()
        size = int.from_bytes(content[:8], "little")
        header = json.loads(content[8:8 + size])
        header.pop("__metadata__", None)
        self.tensors = {name: (entry["dtype"], entry["shape"], content[slice(*(8 + size + at for at in entry["data_offsets"]))])
                        for name, entry in header.items()}
        self.width = {name: len(data) // max(1, math.prod(shape)) for name, (_, shape, data) in self.tensors.items()}

    def write(self, folder, tensors=None, config=None):
        """The checkpoint with other tensors or another config; gives the path for the program."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config or self.config))
        header, data = {}, b""
        for name, (kind, shape, part) in (tensors or self.tensors).items():
            header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
            data += part
        text = json.dumps(header).encode()
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
        return folder

    def with_key(self, name, value):
        return {"config": self.config | {name: value}}

    def objects(self):
        """The keys of the config that hold keys of their own."""
        return [name for name, value in self.config.items() if isinstance(value, dict)]

    def longer(self, name):
        """The tensor with one row more."""
        kind, shape, data = self.tensors[name]
        row = len(data) // shape[0]
        return kind, [shape[0] + 1, *shape[1:]], data + data[:row]

    @staticmethod
    def extra():
        return "F32", [4], bytes(16)


class Gguf:
    """The same of a GGUF file. Shapes are in the file's order (the row's length first)."""

    SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    STRING, ARRAY = 8, 9
    F32 = 0

    def __init__(self, path):
        self.content = Path(path).read_bytes()
        self.at = 8
        count, keys = self.number("<Q"), self.number("<Q")
        start = self.at
        self.alignment = 32
        for _ in range(keys):
            self.string()
            self.value(self.number("<I"))
        self.keys, self.key_bytes = keys, self.content[start:self.at]
        entries = []
        for _ in range(count):
            name = self.string()
            shape = [self.number("<Q") for _ in range(self.number("<I"))]
            entries.append((name, shape, self.number("<I"), self.number("<Q")))
        base = -(-self.at // self.alignment) * self.alignment
        ends = sorted([offset for *_, offset in entries] + [len(self.content) - base])
        self.tensors = {name: (kind, shape, self.content[base + offset:base + ends[ends.index(offset) + 1]])
                        for name, shape, kind, offset in entries}

    def number(self, form):
        size = struct.calcsize(form)
        self.at += size
        return struct.unpack(form, self.content[self.at - size:self.at])[0]

    def string(self):
        size = self.number("<Q")
        self.at += size
        return self.content[self.at - size:self.at].decode()

    def value(self, kind):
        if kind == self.STRING:
            return self.string()
        if kind != self.ARRAY:
            self.at += self.SIZES[kind]
            return None
        of, count = self.number("<I"), self.number("<Q")
        for _ in range(count):
            self.value(of)
        return None

    def write(self, folder, tensors=None, extra_keys=b"", extra_count=0):
        folder.mkdir(parents=True, exist_ok=True)
        tensors = tensors or self.tensors
        text = lambda name: struct.pack("<Q", len(name.encode())) + name.encode()
        infos, data = b"", b""
        for name, (kind, shape, part) in tensors.items():
            infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
            data += part + bytes(-len(part) % self.alignment)
        head = self.content[:8] + struct.pack("<QQ", len(tensors), self.keys + extra_count) + self.key_bytes + extra_keys + infos
        path = folder / "model.gguf"
        path.write_bytes(head + bytes(-len(head) % self.alignment) + data)
        return path

    @staticmethod
    def with_key(name, value):
        return {"extra_keys": struct.pack("<Q", len(name)) + name.encode() + struct.pack("<If", 6, value), "extra_count": 1}

    @staticmethod
    def objects():
        return []

    def longer(self, name):
        kind, shape, data = self.tensors[name]
        row = len(data) // shape[-1]
        return kind, [*shape[:-1], shape[-1] + 1], data + data[:row]

    @classmethod
    def extra(cls):
        return cls.F32, [4], bytes(16)

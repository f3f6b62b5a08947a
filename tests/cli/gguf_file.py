"""A small reader of GGUF files, independent of the program's."""
import struct

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Elements and bytes of a block, by the number of the type.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84), 11: (256, 110),
          12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2)}
TYPES = {"f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q5_0": 6, "q5_1": 7, "q8_0": 8, "q2_k": 10, "q3_k": 11, "q4_k": 12, "q5_k": 13,
         "q6_k": 14, "bf16": 30}


class GgufFile:
    """metadata: {key: value}; tensors: {name: (type number, shape with the rows first, bytes)}"""

    def __init__(self, path):
        self.content, self.at = path.read_bytes(), 4
        assert self.content[:4] == b"GGUF"
        _, n_tensors, n_keys = self.take("IQQ")
        self.metadata = {}
        for _ in range(n_keys):
            key = self.text()
            self.metadata[key] = self.value(self.take("I")[0])
        infos = []
        for _ in range(n_tensors):
            name, rank = self.text(), self.take("I")[0]
            infos.append((name, self.take(f"{rank}Q"), *self.take("IQ")))
        begin = (self.at + 31) // 32 * 32
        self.tensors = {}
        for name, dims, kind, offset in infos:
            count = 1
            for dim in dims:
                count *= dim
            elements, size = BLOCKS[kind]
            data = self.content[begin + offset:begin + offset + count // elements * size]
            self.tensors[name] = (kind, list(dims[::-1]), data)

    def take(self, form):
        values = struct.unpack_from("<" + form, self.content, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def text(self):
        size = self.take("Q")[0]
        self.at += size
        return self.content[self.at - size:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind in SCALARS:
            return self.take(SCALARS[kind])[0]
        if kind == 8:
            return self.text()
        inner, count = self.take("IQ")
        return [self.value(inner) for _ in range(count)]

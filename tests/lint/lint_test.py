#!/usr/bin/env python3
"""The lint scripts find what they are for: each case plants one file in an empty tree and names the line to be reported."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "lint"


def lint(script, tree):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tree.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        done = subprocess.run([sys.executable, SCRIPTS / script, folder], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


class LintTest(unittest.TestCase):
    def assert_found(self, script, tree, *places):
        status, output = lint(script, tree)
        self.assertEqual(status, 1, output)
        self.assertEqual(len(output.splitlines()), len(places), output)
        for place in places:
            self.assertIn(place, output)

    def assert_clean(self, script, tree):
        self.assertEqual(lint(script, tree), (0, ""))

    def test_layers_of_the_host(self):
        self.assert_found("check_layers.py", {"host/model/a.cpp": '\n#include "text/b.h"\n'}, "host/model/a.cpp:2:")
        self.assert_found("check_layers.py", {"host/core/a.h": '#include "../engine/b.h"\n', "host/engine/b.h": ""},
                          "host/core/a.h:1:")
        self.assert_found("check_layers.py", {"host/extra/a.h": ""}, "host/extra")
        self.assert_clean("check_layers.py", {"host/text/a.cpp": '#include "core/b.h"\n#include "text/c.h"\n'
                                                                 '// #include "cli/d.h"\n#include "llmhost/op.h"\n'})

    def test_plugins_see_only_the_sdk(self):
        self.assert_found("check_layers.py", {"plugins/archs/x/a.cpp": '#include "core/error.h"\n'}, "a.cpp:1:")
        self.assert_found("check_layers.py", {"plugins/archs/x/a.cpp": "#include <core/error.h>\n", "host/core/error.h": ""},
                          "a.cpp:1:")
        self.assert_found("check_layers.py", {"plugins/archs/x/a.cpp": '#include "../y/b.h"\n', "plugins/archs/y/b.h": ""},
                          "a.cpp:1:")
        self.assert_clean("check_layers.py", {"plugins/backends/x/k/a.cpp": '#include "k/b.h"\n#include <fmt/core.h>\n#include "hwy/highway.h"\n'
                                                                            '#include "llmhost/op.h"\n',
                                              "plugins/backends/x/k/b.h": ""})

    def test_the_sdk_needs_only_the_standard_library(self):
        self.assert_found("check_layers.py", {"sdk/include/llmhost/a.h": "#include <fmt/core.h>\n"}, "a.h:1:")
        self.assert_clean("check_layers.py", {"sdk/include/llmhost/a.h": '#include <stdint.h>\n#include <span>\n'
                                                                         '#include "llmhost/b.h"\n'})

    def test_names(self):
        self.assert_found("check_names.py", {"host/model/a.cpp": 'int x;\nif (arch == "llama") {}\n'}, "a.cpp:2:")
        self.assert_found("check_names.py", {"host/model/a.cpp": "struct DoraLinear {};\n"}, "names dora")
        self.assert_found("check_names.py", {"sdk/include/llmhost/a.h": "int use_cublas_lt;\n"}, "names cublas")
        self.assert_found("check_names.py", {"host/a/b.h": "auto n = 1'000; int qwen2;  // 'quoted'\n"}, "names qwen")
        self.assert_found("check_names.py", {"host/model/decoder.hpp": 'auto x = "llama3";\n'}, "names llama")
        self.assert_clean("check_names.py", {"sdk/include/llmhost/decoder/rope.hpp": 'auto x = "llama3";\n'})
        self.assert_clean("check_names.py", {"host/model/a.cpp": "// like llama's\n/* gemma\n falcon */ int coherent, adorable;\n",
                                             "plugins/archs/llama/a.cpp": "int llama;\n"})

    def test_names_of_every_architecture_of_the_tree(self):
        tree = {"plugins/archs/borealis/plugin.yaml": "id: borealis\nprovides: [borealis, aurora-lm]\n",
                "registry/archs/decoder.yaml": "schema: 1\nname: decoder\nmodel_types: []\n",
                "registry/archs/zephyr2.yaml": 'name: zephyr2\nmodel_types: [zephyr2, "zephyr-moe"]\ngguf_architectures: [zef]\n'}
        for word in ("borealis", "is_borealis", "kBorealis", "BorealisHead", "aurora_lm", "AuroraLm", "zephyr2", "zephyr_moe_x", "zef"):
            self.assert_found("check_names.py", tree | {"host/a/b.h": f"int {word};\n"}, f"'{word}' names")
        self.assert_found("check_names.py", tree | {"sdk/include/llmhost/a.hpp": 'auto x = "Zephyr2ForCausalLM";\n'}, "names zephyr2")
        self.assert_clean("check_names.py", tree | {"host/a/b.h": "int zephyr, aurora, zefir, Decoder, decoder_sizes;\n"})
        for word in ("Gpt2Attention", "gptj", "stablelm", "starcoder2", "phi", "PhiMlp", "olmo", "granite_scale", "mpt", "opt", "qwen2_moe"):
            self.assert_found("check_names.py", {"host/a/b.h": f"int {word};\n"}, f"'{word}' names")
        self.assert_clean("check_names.py", {"host/a/b.h": "int option, optional, nullopt, graphite, sophisticated, prompt;\n"})

    def test_files(self):
        self.assert_found("check_files.py", {"host/core/a.cpp": "\n" * 601}, "601 lines")
        self.assert_found("check_files.py", {"host/text/a.cpp": "void f() {\n  assert(n > 0);\n}\n"}, "a.cpp:2:")
        self.assert_found("check_files.py", {"plugins/x/a.cpp": "// TO" + "DO: more\n"}, "a.cpp:1:")
        self.assert_clean("check_files.py", {"host/model/a.cpp": "static_assert(true);\n" * 600})

    def test_docs(self):
        dev = "case $v in\n    build) x ;;\n    asan | tsan) y ;;\nesac\n"
        self.assert_found("check_docs.py", {"README.md": "[a](docs/none.md)\n`./dev bild`\n", "dev": dev},
                          "README.md:1:", "README.md:2:")
        self.assert_clean("check_docs.py", {"README.md": "[a](docs/a.md#part) [b](https://example.org)\n`./dev tsan`\n",
                                            "docs/a.md": "", "dev": dev})


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""abi_layout.py tells a harmless change of the headers from a breaking one.

usage: abi_layout_test.py ABI_LAYOUT_SCRIPT CC
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SCRIPT, CC = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
INCLUDE = SCRIPT.parent.parent / "include"
MINOR = int(re.search(r"#define LLMH_SDK_MINOR (\d+)", (INCLUDE / "llmhost" / "version.h").read_text()).group(1))
BUMP = ("version.h", f"#define LLMH_SDK_MINOR {MINOR}", f"#define LLMH_SDK_MINOR {MINOR + 1}")
END_OF_CALL = "  const volatile int32_t* cancel;"
APPEND = ("plugin.h", END_OF_CALL, END_OF_CALL + " /* */\n  uint64_t added;")
INSERT = ("plugin.h", END_OF_CALL, "  uint64_t inserted;\n" + END_OF_CALL)
NEW_VALUE = ("plugin.h", "  LLMH_DATA_LOSS = 15", "  LLMH_DATA_LOSS = 15,\n  LLMH_NEW_CODE = 16")
OTHER_VALUE = ("plugin.h", "  LLMH_DATA_LOSS = 15", "  LLMH_DATA_LOSS = 16")
REMOVE = ("plugin.h", "  uint32_t reserved;\n  char* message;", "  char* message;")

# (name, edits, exit code of the check, part of its output, exit code of --write)
CASES = [
    ("untouched", [], 0, "", 0),
    ("appended, no new minor", [APPEND], 1, "raise LLMH_SDK_MINOR", 1),
    ("appended, new minor", [APPEND, BUMP], 1, "record it", 0),
    ("inserted", [INSERT], 1, "breaks plugins that exist: field llmh_call.cancel", 1),
    ("inserted, new minor", [INSERT, BUMP], 1, "breaks plugins that exist: field llmh_call.cancel", 1),
    ("removed", [REMOVE, BUMP], 1, "field llmh_call.reserved is gone", 1),
    ("new enum value, new minor", [NEW_VALUE, BUMP], 1, "record it", 0),
    ("changed enum value", [OTHER_VALUE, BUMP], 1, "value LLMH_DATA_LOSS was 15, is 16", 1),
]


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), "--cc", CC, *map(str, arguments)], capture_output=True, text=True)


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        recorded = folder / "recorded"
        assert run("--include", INCLUDE, "--golden", recorded, "--write").returncode == 0
        for i, (name, edits, code, text, write_code) in enumerate(CASES):
            include, golden = folder / str(i), folder / f"golden{i}"
            shutil.copytree(INCLUDE, include)
            shutil.copy(recorded, golden)
            for file, old, new in edits:
                path = include / "llmhost" / file
                content = path.read_text()
                assert old in content, f"{name}: {file} no longer contains {old!r}"
                path.write_text(content.replace(old, new))
            checked = run("--include", include, "--golden", golden)
            written = run("--include", include, "--golden", golden, "--write")
            again = run("--include", include, "--golden", golden)
            good = checked.returncode == code and text in checked.stdout and written.returncode == write_code
            good &= again.returncode == (0 if write_code == 0 else 1)
            if not good:
                failed += 1
                print(f"{name}: check {checked.returncode}, write {written.returncode}, again {again.returncode}\n"
                      f"{checked.stdout}{checked.stderr}{written.stdout}{written.stderr}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

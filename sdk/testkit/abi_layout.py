#!/usr/bin/env python3
"""The layout of the plugin boundary, field by field, against the recorded one.

usage: abi_layout.py [--include DIR] [--cc CC] [--golden FILE] [--write [--unreleased]]

Without --write: compares and fails on any difference. A field appended to a struct, a new enum value or a new struct
needs a higher LLMH_SDK_MINOR and then

    python3 sdk/testkit/abi_layout.py --write

Anything else (a field moved, removed or of another size, a changed value) breaks plugins that exist: it is refused, or,
as long as no release carries the layout, recorded with --write --unreleased.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
VERSIONS = {"LLMH_SDK_MAJOR", "LLMH_SDK_MINOR", "LLMH_OPSET_VERSION"}
STRUCT = re.compile(r"\bstruct\s+(\w+)\s*\{([^{}]*)\}", re.S)
ENUM = re.compile(r"\benum\s*\w*\s*\{([^{}]*)\}", re.S)
MACRO = re.compile(r'^#define\s+(LLMH_\w+)\s+("[^"]*"|\d+)\s*$', re.M)
FUNCTION_POINTER = re.compile(r"\(\s*\*\s*(\w+)\s*\)\s*\(")


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.S)


def field_names(body):
    for declaration in body.split(";"):
        declaration = declaration.strip()
        if not declaration:
            continue
        pointer = FUNCTION_POINTER.search(declaration)
        if pointer:
            yield pointer.group(1)
            continue
        for part in declaration.split(","):
            yield re.search(r"(\w+)\s*(\[[^\]]*\])?\s*$", part.strip()).group(1)


def enum_names(body):
    return [item.split("=")[0].strip() for item in body.split(",") if item.strip()]


def generator(headers):
    """A C program that prints the layout; the compiler alone says where a field lies."""
    lines = [f'#include "llmhost/{h.name}"' for h in headers] + ["#include <stdio.h>", "#include <stddef.h>", "int main(void) {"]
    for header in headers:
        text = without_comments(header.read_text())
        for name, value in MACRO.findall(text):
            kind = '%s\\n", ' if value.startswith('"') else '%d\\n", '
            lines.append(f'printf("value {name} {kind}{name});')
        for body in ENUM.findall(text):
            lines += [f'printf("value {n} %lld\\n", (long long){n});' for n in enum_names(body)]
        for name, body in STRUCT.findall(text):
            lines.append(f'printf("struct {name} %zu\\n", sizeof(struct {name}));')
            for field in field_names(body):
                lines.append(f'printf("field {name}.{field} %zu %zu\\n", offsetof(struct {name}, {field}), '
                             f'sizeof(((struct {name}*)0)->{field}));')
    return "\n".join(lines + ["return 0;", "}"])


def layout(include, cc):
    headers = sorted((include / "llmhost").glob("*.h"))
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder) / "layout.c", pathlib.Path(folder) / "layout"
        source.write_text(generator(headers))
        subprocess.run([cc, "-std=c11", "-I", str(include), str(source), "-o", str(program)], check=True)
        return subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()


def parse(lines):
    return {tuple(line.split(" ")[:2]): line.split(" ")[2:] for line in lines}


def may_grow(key, old, new):
    kind, name = key
    if kind == "struct":
        return int(new[0]) > int(old[0])
    return kind == "value" and (name in VERSIONS or name.endswith("COUNT_")) and int(new[0]) > int(old[0])


def compare(old_lines, new_lines):
    """(differences that break existing plugins, differences that only add)"""
    old, new = parse(old_lines), parse(new_lines)
    breaks, adds = [], []
    growable = {name for (kind, name) in old if kind == "struct" and ("field", name + ".struct_size") in old}
    for key in old.keys() | new.keys():
        label = " ".join(key)
        if key not in new:
            breaks.append(f"{label} is gone")
        elif key not in old:
            owner = key[1].split(".")[0]
            inside = key[0] == "field" and ("struct", owner) in old
            end = int(old["struct", owner][0]) if inside else 0
            # What was padding at the end of a struct may not become a field: an old struct_size would cover it.
            appended = not inside or (owner in growable and int(new[key][0]) >= end)
            (adds if appended else breaks).append(f"{label} is new" + ("" if appended else ", but not at the struct's end"))
        elif old[key] != new[key]:
            grown = may_grow(key, old[key], new[key]) and (key[0] != "struct" or key[1] in growable)
            (adds if grown else breaks).append(f"{label} was {' '.join(old[key])}, is {' '.join(new[key])}")
    return sorted(breaks), sorted(adds)


def minor(lines):
    return int(parse(lines)["value", "LLMH_SDK_MINOR"][0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--include", type=pathlib.Path, default=HERE.parent / "include")
    parser.add_argument("--golden", type=pathlib.Path, default=HERE / "abi_layout.golden")
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--unreleased", action="store_true")
    args = parser.parse_args()

    new = layout(args.include, args.cc)
    old = args.golden.read_text().splitlines() if args.golden.exists() else []
    breaks, adds = compare(old, new) if old else ([], [])
    if not args.write:
        for line in breaks:
            print(f"breaks plugins that exist: {line}")
        for line in adds:
            print(f"not recorded: {line}")
        if adds and not breaks:
            bumped = minor(new) > minor(old)
            print("record it: python3 sdk/testkit/abi_layout.py --write" if bumped else "raise LLMH_SDK_MINOR in version.h")
        return 1 if breaks or adds or not old else 0
    if old and not args.unreleased:
        if breaks:
            print("\n".join(["refused, this breaks plugins that exist:"] + breaks))
            return 1
        if adds and minor(new) <= minor(old):
            print("\n".join(["refused, raise LLMH_SDK_MINOR in version.h first:"] + adds))
            return 1
    args.golden.write_text("\n".join(new) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

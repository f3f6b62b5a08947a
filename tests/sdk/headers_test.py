#!/usr/bin/env python3
"""Every header of the SDK compiles alone: .h as C11 and as C++20, .hpp as C++20, without warnings, with each compiler.

usage: headers_test.py INCLUDE --compiler CC CXX [--compiler CC CXX …]     (a compiler that is not installed is left out)
"""
import argparse
import pathlib
import shutil
import subprocess
import sys

WARNINGS = "-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only".split()


def compiles(command, name):
    done = subprocess.run(command, input=f'#include "{name}"\ntypedef int not_empty;\n', text=True, capture_output=True)
    if done.returncode != 0:
        print(f"{name}: {' '.join(command)}\n{done.stderr}")
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("include", type=pathlib.Path)
    parser.add_argument("--compiler", nargs=2, action="append")
    args = parser.parse_args()
    good, checked = True, 0
    for cc, cxx in args.compiler:
        if shutil.which(cc) is None or shutil.which(cxx) is None:
            print(f"{cc}, {cxx}: not installed, left out")
            continue
        for header in sorted((args.include / "llmhost").rglob("*.h*")):
            name = header.relative_to(args.include).as_posix()
            common = [*WARNINGS, "-I", str(args.include), "-"]
            if header.suffix == ".h":
                good &= compiles([cc, "-std=c11", "-x", "c", *common], name)
            good &= compiles([cxx, "-std=c++20", "-x", "c++", *common], name)
            checked += 1
    return 0 if good and checked else 1


if __name__ == "__main__":
    sys.exit(main())

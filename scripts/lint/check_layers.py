#!/usr/bin/env python3
"""Includes point downwards only: a layer of host/ never includes from one above it, a plugin sees only the SDK, and the SDK
only the C and C++ standard libraries.

usage: check_layers.py [ROOT]
"""
import re
import sys

import lintlib

# From the bottom up; a layer may include itself and what stands before it.
LAYERS = ["core", "plugin", "graph", "model", "text", "engine", "check", "train", "batch", "serve", "cli"]
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)[">]', re.M)
STANDARD = set("""
algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes climits clocale cmath
codecvt compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef cstdint cstdio cstdlib cstring ctime
cuchar cwchar cwctype deque exception execution filesystem format forward_list fstream functional future initializer_list iomanip
ios iosfwd iostream istream iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream
queue random ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept stop_token
streambuf string string_view syncstream system_error thread tuple type_traits typeindex typeinfo unordered_map unordered_set utility
valarray variant vector version
assert.h ctype.h errno.h fenv.h float.h inttypes.h limits.h locale.h math.h setjmp.h signal.h stdalign.h stdarg.h stdatomic.h
stdbool.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h
""".split())


def includes(path):
    text = lintlib.without_comments(lintlib.read(path))
    for match in INCLUDE.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)


def layer_of(root, path, name):
    """The host layer a quoted include reaches, or None."""
    beside = (path.parent / name).resolve()
    if beside.is_file() and beside.is_relative_to(root / "host"):
        return beside.relative_to(root / "host").parts[0]
    first = name.split("/")[0]
    return first if "/" in name and first in LAYERS else None


def check_host(root):
    for path, name in lintlib.files(root, ["host"], lintlib.CXX):
        own = name.split("/")[1]
        if own not in LAYERS:
            yield f"{name}:1: host/{own} is no known layer; put it into LAYERS of scripts/lint/check_layers.py"
            continue
        for line, _, target in includes(path):
            layer = layer_of(root, path, target)
            if layer is not None and LAYERS.index(layer) > LAYERS.index(own):
                yield f"{name}:{line}: {own} includes {target} from the layer {layer} above it"
            if target.startswith(("plugins/", "../plugins", "tests/")):
                yield f"{name}:{line}: host/ includes {target}"


def reaches(path, top, target):
    """True where the quoted target is a file of the same plugin, beside `path` or under a folder between it and `top`."""
    folder = path.parent
    while folder.is_relative_to(top):
        found = (folder / target).resolve()
        if found.is_file() and found.is_relative_to(top):
            return True
        folder = folder.parent
    return False


def check_plugins(root):
    kinds = [(root / "plugins", 2), (root / "sdk/examples", 1)]
    for base, depth in kinds:
        for path, name in lintlib.files(root, [base.relative_to(root)], lintlib.CXX):
            parts = path.relative_to(base).parts
            top = base.joinpath(*parts[: min(depth, len(parts) - 1)])
            for line, quote, target in includes(path):
                if target.startswith("llmhost/"):
                    continue
                if quote == '"' and reaches(path, top, target):
                    continue
                # What is left and no file of this repository is a library's or the system's.
                beside = (path.parent / target).resolve()
                is_ours = beside.is_relative_to(root) and beside.is_file() or (root / "host" / target).is_file()
                of_layer = quote == '"' and target.split("/")[0] in LAYERS
                if is_ours or of_layer or target.startswith(("host/", "plugins/", "tests/")):
                    yield f'{name}:{line}: a plugin includes only "llmhost/..." and its own files, not {target}'


def check_sdk(root):
    for path, name in lintlib.files(root, ["sdk/include"], lintlib.CXX):
        for line, _, target in includes(path):
            beside = (path.parent / target).resolve()
            if target in STANDARD or target.startswith("llmhost/") or beside.is_file():
                continue
            yield f"{name}:{line}: the SDK includes only C and C++ standard headers, not {target}"


def check(root):
    yield from check_host(root)
    yield from check_plugins(root)
    yield from check_sdk(root)


if __name__ == "__main__":
    sys.exit(lintlib.main("check_layers", check))

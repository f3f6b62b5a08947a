#!/bin/sh
# Builds the kernels for aarch64 and runs their tests under emulation. usage: run.sh BUILD_DIR
# Exits with 77 where this machine has not what it takes.
set -e
source_dir=$(cd "$(dirname "$0")" && pwd)
for program in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v $program >/dev/null || {
    echo "skipped: no $program (apt-get install g++-aarch64-linux-gnu qemu-user)"
    exit 77
  }
done
cmake -S "$source_dir" -B "$1" -G Ninja -DCMAKE_TOOLCHAIN_FILE="$source_dir/../../../cmake/aarch64.cmake" >/dev/null
cmake --build "$1"
qemu-aarch64 -L /usr/aarch64-linux-gnu "$1/kernel_tests"

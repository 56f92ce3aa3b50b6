#!/usr/bin/env bash
# Builds the main example and runs it. Installs what is missing on Debian. Arguments go to the example.
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
install_missing g++ cmake ninja-build

cmake -S . -B build/demo -G Ninja -DCMAKE_BUILD_TYPE=Release -DCLOCKWORKER_BUILD_TESTS=OFF \
  -DCLOCKWORKER_BUILD_BENCHMARKS=OFF
cmake --build build/demo --target foreground_background
exec build/demo/examples/foreground_background "$@"

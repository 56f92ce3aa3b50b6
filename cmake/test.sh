#!/usr/bin/env bash
# Builds every test and example and passes them. Installs what is missing on Debian. Arguments go to CMake.
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
install_missing "${base_packages[@]}" "${host_packages[@]}"

cmake -S . -B build/test -G Ninja -DCMAKE_BUILD_TYPE=Release -DCLOCKWORKER_BUILD_BENCHMARKS=OFF "$@"
cmake --build build/test
ctest --test-dir build/test --output-on-failure --no-tests=error -j "$(nproc)"

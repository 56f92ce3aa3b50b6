#!/usr/bin/env bash
# Builds the benchmarks, runs what is compared interleaved, and prints medians and their ratios. Installs what is missing
# on Debian. Argument: how many repetitions (default 9).
set -euo pipefail
cd "$(dirname "$0")/.."
source cmake/packages.sh
install_missing g++ cmake ninja-build pkg-config libbenchmark-dev "${host_packages[@]}"

cmake -S . -B build/bench -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O3 -DNDEBUG" \
  -DCLOCKWORKER_BUILD_TESTS=OFF -DCLOCKWORKER_BUILD_EXAMPLES=OFF -DCLOCKWORKER_BUILD_BENCHMARKS=ON >/dev/null
cmake --build build/bench

# compare EXECUTABLE FLOOR OURS: echo round trips a second, and the server's CPU time for each.
compare() {
  build/bench/benchmarks/"$1" --benchmark_repetitions="$repetitions" --benchmark_enable_random_interleaving=true \
    --benchmark_min_time=0.5 --benchmark_format=csv 2>/dev/null |
    awk -F, -v program="$1" -v floor="$2" -v ours="$3" '
      /^name,/ { for (i = 1; i <= NF; ++i) { gsub(/"/, "", $i); column[$i] = i } }
      /_median"/ {
        name = $1; gsub(/"/, "", name); sub(/\/.*/, "", name)
        rate[name] = $column["round_trips"]; cpu[name] = $column["server_cpu_ns"]
      }
      END {
        if (!(floor in rate) || !(ours in rate)) { print program ": no result" > "/dev/stderr"; exit 1 }
        ratio = rate[ours] / rate[floor]
        printf "%-14s %-12s %9.0f /s %7.0f ns   %-12s %9.0f /s %7.0f ns   %5.2f   %5.2f   0.95  %s\n", program, floor, \
          rate[floor], cpu[floor], ours, rate[ours], cpu[ours], ratio, cpu[ours] / cpu[floor], (ratio >= 0.95 ? "met" : "not met")
      }'
}

repetitions=${1:-9}
echo "round trips a second, and the server's CPU time for each; medians of $repetitions runs, interleaved"
echo "               floor                                     ours                                     rate     CPU   goal"
compare echo_epoll by_hand epoll_host
compare echo_asio plain_asio asio_host

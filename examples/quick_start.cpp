// One thread, two queues: a batch job that computes all the time, and a ticker that stays punctual beside it.
#include <clockworker/clockworker.hpp>

#include <chrono>
#include <cstdio>

namespace cw = clockworker;
using namespace std::chrono_literals;

enum class Lane { interactive, batch };

bool is_prime(int n) {
  for (int divisor = 2; divisor * divisor <= n; ++divisor) {
    if (n % divisor == 0) return false;
  }
  return n > 1;
}

cw::Task<int> count_primes(int limit) {
  int primes = 0;
  for (int n = 0; n < limit; ++n) {
    if (is_prime(n)) ++primes;
    co_await cw::yield_maybe();  // gives way only if somebody else should run now; else just goes on
  }
  co_return primes;
}

cw::Task<> tick() {
  for (auto due = std::chrono::steady_clock::now();; due += 20ms) {
    co_await cw::sleep_until(due);
    const std::chrono::duration<double, std::micro> late = std::chrono::steady_clock::now() - due;
    std::printf("tick, %.0f us late\n", late.count());
  }
}

int main() {
  auto executor = cw::ExecutorBuilder<Lane>{}
                      .with_queue(Lane::interactive, 9)       // nine tenths of the time when both want it
                      .with_queue(Lane::batch, 1, cw::LAS{})  // inside: who has run least goes first
                      .build();

  const int primes = executor.run_until([&]() -> cw::Task<int> {
    auto ticking = executor.queue(Lane::interactive).spawn(tick);
    auto counting = executor.queue(Lane::batch).spawn(count_primes, 1'000'000);
    cw::JoinResult<int> counted = co_await counting;  // its value, or why there is none
    ticking.abort();                                  // its frame is destroyed when its turn comes
    co_return counted.value();
  });
  std::printf("%d primes below 1,000,000\n", primes);

  executor.run_until_idle();  // until the aborted task is gone, too
}

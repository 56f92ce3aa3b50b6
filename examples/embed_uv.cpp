// An executor in a libuv program: a guest in its loop, beside the program's own handles. uv_run() returns when neither
// has anything left to do.
#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/uv.hpp>

#include <chrono>
#include <cstdio>

#include <uv.h>

namespace cw = clockworker;
using namespace std::chrono_literals;

enum class Lane { interactive, batch };

cw::Task<int> count_primes(int limit) {
  int primes = 0;
  for (int n = 2; n < limit; ++n) {
    bool prime = true;
    for (int divisor = 2; divisor * divisor <= n; ++divisor) prime = prime && n % divisor != 0;
    primes += prime ? 1 : 0;
    co_await cw::yield_maybe();  // libuv's events come in between, too
  }
  co_return primes;
}

int main() {
  uv_loop_t* loop = uv_default_loop();
  auto executor =
      cw::ExecutorBuilder<Lane>{}.with_queue(Lane::interactive, 9).with_queue(Lane::batch, 1).build();
  {
    cw::UvGuest guest{executor, loop};  // from here on the loop runs the executor's tasks

    int ticks = 0;
    uv_timer_t timer;  // the program's own, on time although the batch task never sleeps
    uv_timer_init(loop, &timer);
    timer.data = &ticks;
    uv_timer_start(
        &timer, [](uv_timer_t* self) { ++*static_cast<int*>(self->data); }, 5, 5);

    executor.queue(Lane::interactive).spawn([&]() -> cw::Task<> {
      auto counting = executor.queue(Lane::batch).spawn(count_primes, 30'000);
      co_await cw::sleep_for(2ms);
      std::printf("interactive: awake again\n");
      const int primes = (co_await counting).value();
      while (ticks < 3) co_await cw::sleep_for(1ms);
      std::printf("batch: %d primes below 30,000, and libuv's timer ticked beside it\n", primes);
      uv_close(reinterpret_cast<uv_handle_t*>(&timer), nullptr);
    });

    uv_run(loop, UV_RUN_DEFAULT);
  }
  uv_run(loop, UV_RUN_DEFAULT);  // closes the guest's handles
  return uv_loop_close(loop);
}

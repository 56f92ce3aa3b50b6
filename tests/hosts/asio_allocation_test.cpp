#include "../catch.hpp"
#include "../heap_under_test.hpp"

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/asio.hpp>

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>

#include <chrono>
#include <cstddef>
#include <new>
#include <optional>
#include <utility>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using heap_under_test::heap;

/// Runs `f` with the next `left` allocations succeeding and one failing; true if that came.
template <class F>
bool with_failure_after(std::size_t left, F f) {
  heap.left = left;
  heap.failed = false;
  heap.armed = true;
  f();
  heap.armed = false;
  return heap.failed;
}

TEST_CASE("AsioHost: a wake does not allocate", "[asio]") {
  asio::io_context context;
  cw::AsioHost host{context};
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(with_failure_after(0, [&] {
      host.wake();
      host.wake();
    }));
    host.poll(std::nullopt);
  }
}

TEST_CASE("AsioGuest: the bell does not allocate in an io_context", "[asio]") {
  asio::io_context context;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  cw::AsioGuest guest{executor, context};
  cw::Waker waker;
  int resumed = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (; resumed < 3; ++resumed) co_await cw::suspend([&](cw::Waker w) { waker = std::move(w); });
  });
  context.poll();
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(with_failure_after(0, [&] { waker.wake(); }));
    context.poll();
    CHECK(resumed == i + 1);
  }
}

TEST_CASE("use_task: memory that fails at any point of an operation is thrown, and nothing is lost",
          "[asio]") {
  asio::io_context context;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  cw::AsioHost host{context};
  asio::steady_timer timer{context};
  int thrown = 0;
  bool succeeded = false;
  for (std::size_t left = 0; left < 50 && !succeeded; ++left) {
    executor.queue(0).spawn([&, left]() -> cw::Task<> {
      timer.expires_after(1us);
      heap.left = left;
      heap.failed = false;
      heap.armed = true;
      try {
        co_await timer.async_wait(cw::use_task);
        heap.armed = false;
        succeeded = !heap.failed;
      } catch (const std::bad_alloc&) {
        heap.armed = false;
        ++thrown;
      }
    });
    executor.run_until_idle(host);
  }
  CHECK(succeeded);
  CHECK(thrown >= 3);
}

}  // namespace

// However many awaits follow or nest in one another, the native stack stays small: in debug builds too.

#include <clockworker/clockworker.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <pthread.h>
#include <coroutine>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// AddressSanitizer puts red zones round every local, and ThreadSanitizer keeps more of the frame; both call handlers of
// their own on the same stack. The nesting that is allowed (32 resumes) is what costs; it stays constant all the same.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZER_STACK_FACTOR 4
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZER_STACK_FACTOR 4
#endif
#endif
#ifndef SANITIZER_STACK_FACTOR
#define SANITIZER_STACK_FACTOR 1
#endif

namespace {

using namespace clockworker_test;

constexpr std::size_t stack_size = std::size_t{256} * 1024 * SANITIZER_STACK_FACTOR;
constexpr int million = 1'000'000;
constexpr int many = 100'000;

/// Runs `f` on a thread with a small stack; its overflow ends the program. Catch's macros stay outside.
template <class F>
void on_small_stack(F f) {
  pthread_attr_t attributes;
  REQUIRE(pthread_attr_init(&attributes) == 0);
  REQUIRE(pthread_attr_setstacksize(&attributes, stack_size) == 0);
  pthread_t thread;
  auto call = [](void* of) -> void* {
    (*static_cast<F*>(of))();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, +call, &f) == 0);
  REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
}

/// What the task `main()` returns, run on a small stack.
template <class F>
auto result_on_small_stack(F main) {
  decltype(main().operator co_await().await_resume()) result{};
  on_small_stack([&] {
    ManualExecutor executor = manual_executor();
    result = executor.run_until(main);
  });
  return result;
}

cw::Task<int> one() { co_return 1; }

TEST_CASE("stack: a million children that end at once, awaited one after the other", "[stack]") {
  CHECK(result_on_small_stack([]() -> cw::Task<int> {
          int sum = 0;
          for (int i = 0; i < million; ++i) sum += co_await one();
          co_return sum;
        }) == million);
}

TEST_CASE("stack: a million yields, in a child too", "[stack]") {
  CHECK(result_on_small_stack([]() -> cw::Task<int> {
          auto child = []() -> cw::Task<int> {
            int count = 0;
            for (; count < million / 2; ++count) co_await cw::yield_now();
            co_return count;
          };
          int count = co_await child();
          for (int i = 0; i < million / 2; ++i, ++count) co_await cw::yield_now();
          co_return count;
        }) == million);
}

TEST_CASE("stack: a million foreign awaits that complete at once", "[stack]") {
  struct AtOnce {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) const { frame.resume(); }
    [[nodiscard]] int await_resume() const noexcept { return 1; }
  };
  CHECK(result_on_small_stack([]() -> cw::Task<int> {
          int sum = 0;
          AtOnce at_once;
          for (int i = 0; i < million; ++i) sum += co_await at_once;
          co_return sum;
        }) == million);
}

enum class Bottom { value, yield_then_value, exception, yield_then_exception, sleep };

cw::Task<int> descend(int depth, Bottom bottom) {
  if (depth > 0) {
    int below = co_await descend(depth - 1, bottom);
    co_return below + 1;
  }
  if (bottom == Bottom::yield_then_value || bottom == Bottom::yield_then_exception) co_await cw::yield_now();
  if (bottom == Bottom::sleep) co_await cw::sleep_for(1h);
  if (bottom == Bottom::exception || bottom == Bottom::yield_then_exception)
    throw std::runtime_error("bottom");
  co_return 0;
}

TEST_CASE("stack: 100,000 awaits deep, and up again by value", "[stack]") {
  CHECK(result_on_small_stack([] { return descend(many, Bottom::value); }) == many);
  CHECK(result_on_small_stack([] { return descend(many, Bottom::yield_then_value); }) == many);
}

TEST_CASE("stack: 100,000 awaits deep, and up again by exception", "[stack]") {
  for (Bottom bottom : {Bottom::exception, Bottom::yield_then_exception}) {
    CHECK(result_on_small_stack([bottom]() -> cw::Task<std::string> {
            std::string text;
            try {
              co_await descend(many, bottom);
            } catch (const std::runtime_error& e) {
              text = e.what();
            }
            co_return text;
          }) == "bottom");
  }
}

TEST_CASE("stack: 100,000 awaits deep, aborted at the bottom", "[stack]") {
  bool done = false;
  on_small_stack([&] {
    ManualExecutor executor = manual_executor();
    cw::JoinHandle<int> handle = executor.queue(0).spawn(descend, many, Bottom::sleep);
    run_all(executor);
    handle.abort();
    run_all(executor);
    done = handle.done();
  });
  CHECK(done);
}

TEST_CASE("stack: 100,000 awaits deep when the executor is destroyed", "[stack]") {
  bool done = false;
  on_small_stack([&] {
    cw::JoinHandle<int> handle;
    {
      ManualExecutor executor = manual_executor();
      handle = executor.queue(0).spawn(descend, many, Bottom::sleep);
      run_all(executor);
    }
    done = handle.done();
  });
  CHECK(done);
}

TEST_CASE("stack: a chain of 100,000 tasks, each of which awaits the next", "[stack]") {
  int got = 0;
  on_small_stack([&] {
    ManualExecutor executor = manual_executor();
    struct Chain {
      static cw::Task<int> link(cw::QueueHandle queue, int left) {
        if (left == 0) co_return 0;
        cw::JoinHandle<int> next = queue.spawn(&Chain::link, queue, left - 1);
        cw::JoinResult<int> below = co_await next;
        co_return below.value() + 1;
      }
    };
    cw::JoinHandle<int> first = executor.queue(0).spawn(&Chain::link, executor.queue(0), many);
    run_all(executor);
    got = first.try_take()->value();
  });
  CHECK(got == many);
}

/// Aborts the next task when it is destroyed.
struct EndsNext {
  explicit EndsNext(cw::JoinHandle<>* of) : next{of} {}
  EndsNext(const EndsNext&) = delete;
  EndsNext& operator=(const EndsNext&) = delete;
  ~EndsNext() {
    if (next != nullptr) next->abort();
  }
  cw::JoinHandle<>* next;
};

cw::Task<> ends_next(cw::JoinHandle<>* next) {
  EndsNext at_end{next};
  co_await cw::sleep_for(1h);
}

TEST_CASE("stack: 100,000 tasks, each of which aborts the next as it ends", "[stack]") {
  for (bool by_executor : {false, true}) {
    std::size_t ended = 0;
    on_small_stack([&] {
      std::vector<cw::JoinHandle<>> handles(many);
      {
        ManualExecutor executor = manual_executor();
        for (std::size_t i = 0; i < handles.size(); ++i) {
          handles[i] = executor.queue(0).spawn(ends_next, i + 1 < handles.size() ? &handles[i + 1] : nullptr);
        }
        run_all(executor);
        if (!by_executor) {
          handles.front().abort();
          run_all(executor);
          for (const cw::JoinHandle<>& handle : handles) ended += handle.done();
        }
      }
      if (by_executor) {
        for (const cw::JoinHandle<>& handle : handles) ended += handle.done();
      }
    });
    CHECK(ended == many);
  }
}

TEST_CASE("stack: 100,000 tasks, each of which the former holds alone, are let go of", "[stack]") {
  std::size_t live = 1;
  on_small_stack([&] {
    ManualExecutor executor = manual_executor();
    cw::JoinHandle<> last = executor.queue(0).spawn([]() -> cw::Task<> { co_return; });
    for (int i = 0; i < many; ++i) {
      last = executor.queue(0).spawn(
          [](cw::JoinHandle<>& kept) -> cw::Task<> { static_cast<void>(co_await kept); }, std::move(last));
    }
    run_all(executor);
    live = executor.stats().live_tasks;
  });
  CHECK(live == 0);
}

}  // namespace

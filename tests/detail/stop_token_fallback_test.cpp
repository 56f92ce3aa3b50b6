#include <clockworker/detail/stop_token_fallback.hpp>
#include <clockworker/stop_token.hpp>

#include "catch.hpp"

#include <atomic>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

// Not the aliases of stop_token.hpp: the fallback is tested where the standard library has its own, too.
using clockworker::detail::own::nostopstate;
using clockworker::detail::own::stop_callback;
using clockworker::detail::own::stop_source;
using clockworker::detail::own::stop_token;

static_assert(std::regular<stop_token> && std::is_nothrow_default_constructible_v<stop_token>);
static_assert(std::regular<stop_source> && std::is_nothrow_move_constructible_v<stop_source>);
static_assert(!std::is_convertible_v<clockworker::detail::own::nostopstate_t, stop_source>);
static_assert(!std::movable<stop_callback<void (*)()>>);
static_assert(std::is_constructible_v<stop_callback<std::function<void()>>, stop_token, void (*)()>);
static_assert(!std::is_constructible_v<stop_callback<std::function<void()>>, stop_token, int>);
static_assert(std::is_nothrow_constructible_v<stop_callback<void (*)()>, stop_token, void (*)()>);

TEST_CASE("a token without a source never stops", "[stop_token]") {
  stop_token token;
  CHECK_FALSE(token.stop_requested());
  CHECK_FALSE(token.stop_possible());
  stop_source none{nostopstate};
  CHECK_FALSE(none.stop_possible());
  CHECK_FALSE(none.request_stop());
  CHECK_FALSE(none.stop_requested());
  CHECK(none.get_token() == token);
}

TEST_CASE("a stop is requested once and seen by every token and source", "[stop_token]") {
  stop_source source;
  stop_source copy = source;
  stop_token token = source.get_token();
  CHECK(token.stop_possible());
  CHECK_FALSE(token.stop_requested());
  CHECK(copy.request_stop());
  CHECK_FALSE(source.request_stop());
  CHECK(token.stop_requested());
  CHECK(source.stop_requested());
  CHECK(copy.get_token() == token);
  CHECK_FALSE(stop_source{} == source);
}

TEST_CASE("a stop is possible as long as a source lives or one was requested", "[stop_token]") {
  std::optional<stop_source> first{std::in_place};
  stop_token token = first->get_token();
  {
    stop_source second = *first;
    stop_source third{nostopstate};
    third = second;
    stop_source fourth = std::move(third);
    first.reset();
    CHECK(token.stop_possible());
  }
  CHECK_FALSE(token.stop_possible());

  stop_token stopped = [] {
    stop_source source;
    source.request_stop();
    return source.get_token();
  }();
  CHECK(stopped.stop_possible());
  CHECK(stopped.stop_requested());
}

TEST_CASE("swapping exchanges what is referred to", "[stop_token]") {
  stop_source with;
  stop_source without{nostopstate};
  stop_token a = with.get_token();
  stop_token b;
  swap(a, b);
  swap(with, without);
  CHECK_FALSE(a.stop_possible());
  CHECK(b.stop_possible());
  CHECK(without.get_token() == b);
  CHECK_FALSE(with.stop_possible());
}

TEST_CASE("a callback runs once, on the requesting thread, before the request returns", "[stop_token]") {
  stop_source source;
  int runs = 0;
  std::thread::id where;
  stop_callback callback{source.get_token(), [&] {
                           ++runs;
                           where = std::this_thread::get_id();
                         }};
  CHECK(runs == 0);
  std::thread::id requester;
  std::thread{[&] {
    requester = std::this_thread::get_id();
    source.request_stop();
    source.request_stop();
  }}.join();
  CHECK(runs == 1);
  CHECK(where == requester);
}

TEST_CASE("a callback made after the stop runs in its constructor", "[stop_token]") {
  stop_source source;
  source.request_stop();
  int runs = 0;
  stop_callback callback{source.get_token(), [&] { ++runs; }};
  CHECK(runs == 1);
}

TEST_CASE("a callback that is gone does not run, wherever it stood among the others", "[stop_token]") {
  for (std::size_t gone = 0; gone < 3; ++gone) {
    stop_source source;
    std::vector<int> runs(3);
    std::vector<std::unique_ptr<stop_callback<std::function<void()>>>> callbacks;
    for (std::size_t i = 0; i < 3; ++i) {
      callbacks.push_back(std::make_unique<stop_callback<std::function<void()>>>(source.get_token(),
                                                                                 [&runs, i] { ++runs[i]; }));
    }
    callbacks[gone].reset();
    source.request_stop();
    for (std::size_t i = 0; i < 3; ++i) CHECK(runs[i] == (i == gone ? 0 : 1));
  }
}

TEST_CASE("a callback may destroy itself, its source, and a callback that has not run yet", "[stop_token]") {
  auto source = std::make_unique<stop_source>();
  int runs = 0;
  using Callback = stop_callback<std::function<void()>>;
  std::optional<Callback> a;
  std::optional<Callback> b;
  auto all = [&] {
    ++runs;
    a.reset();
    b.reset();
    source.reset();
  };
  a.emplace(source->get_token(), [&all] { std::function<void()>{all}(); });
  b.emplace(source->get_token(), [&all] { std::function<void()>{all}(); });
  CHECK(source->request_stop());  // nobody but the request itself holds the state at its end
  CHECK(runs == 1);
  CHECK(source == nullptr);
}

TEST_CASE("a request from within a callback is refused", "[stop_token]") {
  stop_source source;
  bool again = true;
  stop_callback callback{source.get_token(), [&] { again = source.request_stop(); }};
  CHECK(source.request_stop());
  CHECK_FALSE(again);
}

TEST_CASE("a callback on a token that cannot stop any more never runs, and needs no source", "[stop_token]") {
  stop_token orphan = stop_source{}.get_token();
  int runs = 0;
  {
    stop_callback late{orphan, [&] { ++runs; }};
    stop_callback none{stop_token{}, [&] { ++runs; }};
  }
  CHECK(runs == 0);
}

TEST_CASE("destroying a callback waits while it runs on another thread", "[stop_token]") {
  stop_source source;
  std::atomic<bool> started{false};
  std::atomic<bool> ended{false};
  std::thread requester;
  bool ended_before_destruction = false;
  {
    auto work = [&] {
      started = true;
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      ended = true;
    };
    std::optional<stop_callback<decltype(work)>> callback{std::in_place, source.get_token(), work};
    requester = std::thread{[&] { source.request_stop(); }};
    while (!started) std::this_thread::yield();
    callback.reset();
    ended_before_destruction = ended;
  }
  requester.join();
  CHECK(ended_before_destruction);
}

TEST_CASE("destroying a callback does not wait while another one runs", "[stop_token]") {
  stop_source source;
  std::atomic<bool> started{false};
  std::atomic<bool> go_on{false};
  auto other = [] {};
  // Callbacks run in an order of their own: one of these runs before the one that blocks, or would run after it.
  std::optional<stop_callback<decltype(other)>> before{std::in_place, source.get_token(), other};
  stop_callback blocks{source.get_token(), [&] {
                         started = true;
                         while (!go_on) std::this_thread::yield();
                       }};
  std::optional<stop_callback<decltype(other)>> after{std::in_place, source.get_token(), other};
  std::thread requester{[&] { source.request_stop(); }};
  while (!started) std::this_thread::yield();
  before.reset();  // would hang
  after.reset();
  go_on = true;
  requester.join();
  CHECK(source.stop_requested());
}

TEST_CASE("of many threads that request a stop one succeeds", "[stop_token][threads]") {
  for (int round = 0; round < 200; ++round) {
    stop_source source;
    int plain =
        0;  // written by the one callback, read after the stop is seen: a race if the order is not carried
    std::atomic<int> runs{0};
    std::atomic<int> won{0};
    stop_callback callback{source.get_token(), [&] { runs.fetch_add(1); }};
    plain = round;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([source, token = source.get_token(), &won, &wrong, &plain, round] {
        if (source.request_stop()) won.fetch_add(1);
        if (!token.stop_requested() || plain != round) wrong.fetch_add(1);
      });
    }
    for (std::thread& thread : threads) thread.join();
    REQUIRE(won == 1);
    REQUIRE(runs == 1);
    REQUIRE(wrong == 0);
  }
}

TEST_CASE("what was written before a stop is seen by the thread that sees the stop",
          "[stop_token][threads]") {
  for (int round = 0; round < 200; ++round) {
    stop_source source;
    int written = 0;
    int seen = 0;
    std::thread watcher{[&, token = source.get_token()] {
      while (!token.stop_requested()) std::this_thread::yield();
      seen = written;
    }};
    written = 42;
    source.request_stop();
    watcher.join();
    REQUIRE(seen == 42);
  }
}

TEST_CASE("callbacks may come and go on many threads while a stop is requested", "[stop_token][threads]") {
  for (int round = 0; round < 100; ++round) {
    stop_source source;
    std::atomic<int> wrong{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([token = source.get_token(), &wrong] {
        for (int n = 0; n < 100; ++n) {
          auto runs =
              std::make_unique<int>(0);  // on the heap, so that a callback after its end is a use after free
          bool stopped_before = token.stop_requested();
          {
            stop_callback callback{token, [&] { ++*runs; }};
            if (n % 10 == 0) std::this_thread::yield();
          }
          if (*runs > 1 || (stopped_before && *runs != 1)) wrong.fetch_add(1);
        }
      });
    }
    threads.emplace_back([source] { source.request_stop(); });
    for (std::thread& thread : threads) thread.join();
    REQUIRE(wrong == 0);
  }
}

TEST_CASE("the library's stop token is the standard's where there is one, and has the same interface",
          "[stop_token]") {
#ifdef __cpp_lib_jthread
  static_assert(std::same_as<clockworker::stop_token, std::stop_token>);
#else
  static_assert(std::same_as<clockworker::stop_token, stop_token>);
#endif
  clockworker::stop_source source;
  int runs = 0;
  clockworker::stop_callback callback{source.get_token(), [&] { ++runs; }};
  CHECK(source.request_stop());
  CHECK(runs == 1);
  CHECK_FALSE(clockworker::stop_source{clockworker::nostopstate}.stop_possible());
}

}  // namespace

#include <clockworker/remote.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

static_assert(std::is_nothrow_copy_constructible_v<cw::Remote> &&
              std::is_nothrow_copy_assignable_v<cw::Remote>);
static_assert(!std::is_default_constructible_v<cw::Remote>);
static_assert(std::is_nothrow_move_constructible_v<cw::RemoteHandle<int>>);
static_assert(std::is_nothrow_move_assignable_v<cw::RemoteHandle<int>>);
static_assert(!std::is_copy_constructible_v<cw::RemoteHandle<int>>);

cw::Task<int> seven() { co_return 7; }

// In these tests the "other thread" is this one, between two drives: what is posted is delivered by the next.

TEST_CASE("Remote: a spawn runs at the next drive, on the queue of its key", "[remote]") {
  auto executor = Builder{}.with_queue(1, 1).with_queue(2, 1).build();
  cw::Remote remote = executor.remote();
  std::string on;
  auto handle = remote.spawn(2, [&]() -> cw::Task<int> {
    on = std::string{cw::this_task::queue().name()};
    co_return 7;
  });
  CHECK(handle.valid());
  CHECK_FALSE(handle.done());
  CHECK_FALSE(handle.try_take().has_value());
  CHECK_FALSE(handle.wait_for(0ms));
  executor.run_until_idle();
  executor.run_ready();
  CHECK(handle.done());
  CHECK(handle.wait_for(0ms));
  CHECK(on == "2");
  CHECK(handle.get().value() == 7);
}

TEST_CASE("Remote: spawns keep their order", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Remote remote = executor.remote();
  cw::Remote other{remote};
  std::vector<int> order;
  for (int i = 0; i < 10; ++i) {
    static_cast<void>((i % 2 == 0 ? remote : other).spawn(0, [&order, i]() -> cw::Task<> {
      order.push_back(i);
      co_return;
    }));
  }
  executor.run_ready();
  CHECK(order == std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("Remote: a result can be taken once, then it is result_taken", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.remote().spawn(0, seven);
  executor.run_ready();
  CHECK(handle.try_take()->value() == 7);
  CHECK(handle.done());
  CHECK(handle.try_take()->error().code() == cw::JoinErrc::result_taken);
  CHECK(handle.get().error().code() == cw::JoinErrc::result_taken);
}

TEST_CASE("Remote: an empty handle refuses whatever needs a task", "[remote]") {
  cw::RemoteHandle<int> handle;
  CHECK_FALSE(handle.valid());
  CHECK_FALSE(handle.done());
  handle.abort();
  CHECK_THROWS_AS(handle.get(), std::logic_error);
  CHECK_THROWS_AS(handle.wait_for(1ms), std::logic_error);
  CHECK_THROWS_AS(handle.try_take(), std::logic_error);
  auto executor = Builder{}.with_queue(0, 1).build();
  bool refused = false;
  executor.run_until([&]() -> cw::Task<> {
    try {
      static_cast<void>(co_await handle);
    } catch (const std::logic_error&) {
      refused = true;
    }
  });
  CHECK(refused);
}

TEST_CASE("Remote: results may be void, references and move-only", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Remote remote = executor.remote();
  int target = 1;
  auto nothing = remote.spawn(0, []() -> cw::Task<> { co_return; });
  auto reference = remote.spawn(0, [&]() -> cw::Task<int&> { co_return target; });
  auto owned =
      remote.spawn(0, []() -> cw::Task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); });
  executor.run_ready();
  CHECK(nothing.get().has_value());
  CHECK(&reference.get().value() == &target);
  CHECK(*owned.get().value() == 3);
}

TEST_CASE("Remote: callable and arguments are copied or moved, and std::ref refers", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Remote remote = executor.remote();
  std::string text = "copied";
  int counted = 0;
  auto body = [owned = std::make_unique<int>(1)](std::unique_ptr<int> moved, std::string copy, int& count,
                                                 std::tuple<int> whole) -> cw::Task<std::string> {
    count += *owned + *moved + std::get<0>(whole);
    co_return copy;
  };
  auto handle =
      remote.spawn(0, std::move(body), std::make_unique<int>(2), text, std::ref(counted), std::tuple{4});
  text = "changed";
  executor.run_ready();
  CHECK(handle.get().value() == "copied");
  CHECK(counted == 7);
}

TEST_CASE("Remote: what the copy of an argument throws reaches the spawning caller, nothing is spawned",
          "[remote]") {
  struct Throws {
    Throws() = default;
    Throws(const Throws&) { throw std::runtime_error("no copy today"); }
  };
  auto executor = Builder{}.with_queue(0, 1).build();
  const Throws argument;
  CHECK_THROWS_AS(executor.remote().spawn(
                      0, [](const Throws&) -> cw::Task<> { co_return; }, argument),
                  std::runtime_error);
  executor.run_ready();
  CHECK(executor.stats().spawned == 0);
}

TEST_CASE("Remote: what the callable throws when it is called arrives in the handle", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto throws = [](int) -> cw::Task<int> { throw std::runtime_error("before the task"); };
  auto handle = executor.remote().spawn(0, throws, 1);
  executor.run_ready();
  auto result = handle.get();
  CHECK(result.error().code() == cw::JoinErrc::exception);
  CHECK_THROWS_AS(result.value(), std::runtime_error);
}

TEST_CASE("Remote: a callable that returns an empty Task is refused in the handle", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.remote().spawn(0, [] { return cw::Task<int>{}; });
  executor.run_ready();
  CHECK_THROWS_AS(handle.get().value(), std::invalid_argument);
}

// --- Keys

template <class Handle>
std::string text_of_out_of_range(Handle& handle) {
  try {
    static_cast<void>(handle.get().value());
  } catch (const std::out_of_range& error) {
    return error.what();
  }
  return "(not out_of_range)";
}

TEST_CASE("Remote: an unknown key is out_of_range in the handle, and the text names it", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto number = executor.remote().spawn(42, seven);
  auto text = executor.remote().spawn("lane", seven);
  CHECK_FALSE(executor.run_ready().runnable);  // nothing of it is the executor's affair
  CHECK(text_of_out_of_range(number).find("'42'") != std::string::npos);
  CHECK(text_of_out_of_range(text).find("'lane'") != std::string::npos);
}

enum class Lane { front, back };
struct Name {
  std::string first, last;
  friend bool operator==(const Name&, const Name&) = default;
};

template <class Key, class Executor, class Given>
bool finds(Executor& executor, const Given& key) {
  auto handle = executor.remote().spawn(key, seven);
  executor.run_ready();
  return handle.get().has_value();
}

TEST_CASE("Remote: keys are found by value: integers, enumerators, strings, types of the user's",
          "[remote]") {
  auto numbers = cw::ExecutorBuilder<long>{}.with_queue(5, 1).build();
  CHECK(finds<long>(numbers, 5));
  CHECK(finds<long>(numbers, 5U));
  CHECK(finds<long>(numbers, 5LL));
  CHECK_FALSE(finds<long>(numbers, -5));
  auto lanes = cw::ExecutorBuilder<Lane>{}.with_queue(Lane::front, 1).build();
  CHECK(finds<Lane>(lanes, Lane::front));
  CHECK_FALSE(finds<Lane>(lanes, Lane::back));
  CHECK_FALSE(finds<Lane>(lanes, 0));
  auto texts = cw::ExecutorBuilder<std::string>{}.with_queue("lane", 1).build();
  CHECK(finds<std::string>(texts, "lane"));
  CHECK(finds<std::string>(texts, std::string{"lane"}));
  CHECK(finds<std::string>(texts, std::string_view{"lane"}));
  CHECK_FALSE(finds<std::string>(texts, "other"));
  auto names = cw::ExecutorBuilder<Name>{}.with_queue(Name{"a", "b"}, 1).build();
  CHECK(finds<Name>(names, Name{"a", "b"}));
  CHECK_FALSE(finds<Name>(names, Name{"b", "a"}));
}

TEST_CASE("Remote: a key is looked up when the spawn is delivered", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.remote().spawn(1, seven);
  executor.add_queue(1, 1, cw::RunnableFifo{});
  executor.run_ready();
  CHECK(handle.get().value() == 7);
}

// --- Ends

TEST_CASE("Remote: spawns are cancelled after a shutdown, and when the executor is gone", "[remote]") {
  std::optional<cw::Remote> remote;
  cw::RemoteHandle<int> undelivered;
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    remote = executor.remote();
    executor.shutdown(cw::Shutdown::drain());
    auto refused = remote->spawn(0, seven);
    executor.run();
    executor.run_ready();
    CHECK(refused.get().error().code() == cw::JoinErrc::cancelled);
    undelivered = remote->spawn(0, seven);
  }
  CHECK(undelivered.get().error().code() == cw::JoinErrc::cancelled);
  auto late = remote->spawn(0, seven);
  CHECK(late.done());
  CHECK(late.get().error().code() == cw::JoinErrc::cancelled);
  late.abort();
  remote->stop();
}

TEST_CASE("Remote: tasks that live when the executor is destroyed are cancelled for their handles",
          "[remote]") {
  cw::RemoteHandle<> handle;
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    handle = executor.remote().spawn(0, []() -> cw::Task<> { co_await cw::suspend([](cw::Waker) {}); });
    executor.run_ready();
    CHECK_FALSE(handle.done());
  }
  CHECK(handle.get().error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("Remote: abort cancels a task, delivered or not, of one that has ended it changes nothing",
          "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto waits = []() -> cw::Task<int> {
    co_await cw::suspend([](cw::Waker) {});
    co_return 1;
  };
  auto undelivered = executor.remote().spawn(0, waits);
  undelivered.abort();
  undelivered.abort();
  auto ended = executor.remote().spawn(0, seven);
  auto suspended = executor.remote().spawn(0, waits);
  executor.run_ready();
  CHECK_FALSE(suspended.done());
  suspended.abort();
  ended.abort();
  executor.run_ready();
  CHECK(undelivered.get().error().code() == cw::JoinErrc::cancelled);
  CHECK(suspended.get().error().code() == cw::JoinErrc::cancelled);
  CHECK(ended.get().value() == 7);
}

TEST_CASE("Remote: an await that was aborted leaves the handle to the next one", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  cw::Waker waker;
  auto handle = executor.remote().spawn(0, [&]() -> cw::Task<int> {
    auto keep = [&](cw::Waker given) { waker = std::move(given); };
    co_await cw::suspend(keep);
    co_return 7;
  });
  int got = 0;
  auto awaits = [&]() -> cw::Task<> { got = (co_await handle).value(); };
  auto first = executor.queue(0).spawn(awaits);
  executor.run_ready();
  first.abort();
  executor.run_ready();
  REQUIRE(first.done());
  auto second = executor.queue(0).spawn(awaits);
  executor.run_ready();
  waker.wake();
  executor.run_ready();
  CHECK(second.done());
  CHECK(got == 7);
}

TEST_CASE("Remote: the callable of a spawn that is refused dies before anybody is told", "[remote]") {
  struct Looks {
    cw::RemoteHandle<>* handle;
    int* seen;
    Looks(cw::RemoteHandle<>& at, int& note) : handle{&at}, seen{&note} {}
    Looks(Looks&& other) noexcept : handle{std::exchange(other.handle, nullptr)}, seen{other.seen} {}
    ~Looks() {
      if (handle != nullptr) *seen = handle->done() ? 2 : 1;
    }
  };
  int seen = 0;
  cw::RemoteHandle<> handle;
  {
    auto executor = Builder{}.with_queue(0, 1).build();
    handle = executor.remote().spawn(0, [look = Looks{handle, seen}]() -> cw::Task<> { co_return; });
  }
  CHECK(handle.done());
  CHECK(seen == 1);
}

TEST_CASE("Remote: a dropped handle detaches its task", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  bool ran = false;
  {
    auto handle = executor.remote().spawn(0, [&]() -> cw::Task<> {
      ran = true;
      co_return;
    });
  }
  executor.run_ready();
  CHECK(ran);
}

TEST_CASE("Remote: get() and a wait are refused where they would never end: on the executor's own thread",
          "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto handle = executor.remote().spawn(0, seven);
  std::string text;
  bool wait_refused = false;
  bool look = true;
  executor.run_until([&]() -> cw::Task<> {
    try {
      static_cast<void>(handle.get());
    } catch (const std::logic_error& error) {
      text = error.what();
    }
    try {
      static_cast<void>(handle.wait_for(1h));
    } catch (const std::logic_error&) {
      wait_refused = true;
    }
    look = handle.wait_for(0ns);
    static_cast<void>(co_await handle);
    static_cast<void>(handle.get());  // has ended: no wait
  });
  CHECK(text.find("co_await") != std::string::npos);
  CHECK(wait_refused);
  CHECK_FALSE(look);
}

TEST_CASE("Remote: get() is refused also where the executor is driven around another one's drive",
          "[remote]") {
  auto outer = Builder{}.with_queue(0, 1).build();
  auto inner = Builder{}.with_queue(0, 1).build();
  bool refused = false;
  bool allowed = false;
  auto host = cw::poll_hook(
      [&](cw::PollTimeout) {
        auto of_outer = outer.remote().spawn(0, seven);
        inner.run_until([&]() -> cw::Task<> {
          try {
            static_cast<void>(of_outer.get());
          } catch (const std::logic_error&) {
            refused = true;
          }
          co_return;
        });
        allowed = outer.remote().spawn(0, seven).wait_for(0ns) == false;
        outer.stop();
      },
      [] {});
  outer.run(host);
  CHECK(refused);
  CHECK(allowed);
}

}  // namespace

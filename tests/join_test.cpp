#include <clockworker/join.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;

static_assert(std::is_nothrow_move_constructible_v<cw::JoinHandle<int>> &&
              std::is_nothrow_move_assignable_v<cw::JoinHandle<int>>);
static_assert(!std::is_copy_constructible_v<cw::JoinHandle<int>>);

cw::Task<int> give_later(int value) {
  co_await cw::yield_now();
  co_return value;
}

cw::Task<> sleep_long() { co_await cw::sleep_for(1h); }

/// Why a task has no value; "value" if it has one.
template <class T>
std::string reason(const cw::JoinResult<T>& result) {
  if (result.has_value()) return "value";
  switch (result.error().code()) {
    case cw::JoinErrc::cancelled:
      return "cancelled";
    case cw::JoinErrc::exception:
      return "exception";
    case cw::JoinErrc::result_taken:
      return "result_taken";
  }
  return "?";
}

TEST_CASE("JoinHandle: awaited before the end it waits, after the end it does not", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  cw::JoinHandle<int> early = queue.spawn(give_later, 1);
  cw::JoinHandle<int> late = queue.spawn(give_later, 2);
  int sum = 0;
  cw::JoinHandle<> waiter = queue.spawn([&]() -> cw::Task<> {
    cw::JoinResult<int> first = co_await early;
    sum += first.value();
    CHECK(late.done());
    cw::JoinResult<int> second = co_await late;
    sum += second.value();
  });
  run_all(executor);
  CHECK(waiter.done());
  CHECK(sum == 3);
}

TEST_CASE("JoinHandle: a second await gives result_taken, of a value and of an exception", "[join]") {
  ManualExecutor executor = manual_executor(cw::ExceptionPolicy::capture);
  cw::QueueHandle queue = executor.queue(0);
  std::vector<std::string> seen;
  static_cast<void>(queue.spawn([&]() -> cw::Task<> {
    cw::JoinHandle<int> value = queue.spawn(give_later, 1);
    cw::JoinHandle<> failure = queue.spawn([]() -> cw::Task<> {
      co_await cw::yield_now();
      throw std::runtime_error("x");
    });
    for (int i = 0; i < 2; ++i) {
      cw::JoinResult<int> one = co_await value;
      seen.push_back(reason(one));
      cw::JoinResult<void> other = co_await failure;
      seen.push_back(reason(other));
    }
  }));
  run_all(executor);
  CHECK(seen == std::vector<std::string>{"value", "exception", "result_taken", "result_taken"});
}

TEST_CASE("JoinHandle: try_take() gives nothing, then the result once, then result_taken", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<int> handle = executor.queue(0).spawn(give_later, 7);
  CHECK_FALSE(handle.try_take().has_value());
  CHECK_FALSE(handle.done());
  run_all(executor);
  CHECK(handle.done());
  std::optional<cw::JoinResult<int>> first = handle.try_take();
  REQUIRE(first.has_value());
  CHECK(first->value() == 7);
  std::optional<cw::JoinResult<int>> second = handle.try_take();
  REQUIRE(second.has_value());
  CHECK(reason(*second) == "result_taken");
  CHECK(handle.done());
}

TEST_CASE("JoinHandle: a cancelled task stays cancelled however often it is asked", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle = executor.queue(0).spawn(sleep_long);
  run_all(executor);
  handle.abort();
  CHECK_FALSE(handle.done());  // only at its next turn
  run_all(executor);
  CHECK(reason(*handle.try_take()) == "cancelled");
  CHECK(reason(*handle.try_take()) == "cancelled");
}

TEST_CASE(
    "JoinHandle: an empty one has no id, is not done, aborts nothing and refuses to be taken or awaited",
    "[join]") {
  cw::JoinHandle<int> none;
  CHECK_FALSE(none.valid());
  CHECK_FALSE(none.done());
  CHECK(none.id() == 0);
  none.abort();
  CHECK(thrown_text<std::logic_error>([&] { static_cast<void>(none.try_take()); }) ==
        "clockworker: try_take() of an empty JoinHandle");
  ManualExecutor executor = manual_executor();
  auto main = [&]() -> cw::Task<> { static_cast<void>(co_await none); };
  CHECK(thrown_text<std::logic_error>([&] { executor.run_until(main); }) ==
        "clockworker: co_await of an empty JoinHandle");
}

TEST_CASE("JoinHandle: a moved-from one is empty, and assignment detaches the former task", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  cw::JoinHandle<int> first = queue.spawn(give_later, 1);
  cw::TaskId id = first.id();
  CHECK(id != 0);
  cw::JoinHandle<int> second = std::move(first);
  CHECK_FALSE(first.valid());
  CHECK(first.id() == 0);
  CHECK(second.id() == id);
  int ran = 0;
  cw::JoinHandle<int> other = queue.spawn([&]() -> cw::Task<int> {
    ++ran;
    co_return 2;
  });
  other = std::move(second);
  CHECK(other.id() == id);
  run_all(executor);
  CHECK(ran == 1);
  CHECK(other.try_take()->value() == 1);
}

TEST_CASE("JoinHandle: ids grow with arrival, over all queues", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> a = executor.queue(0).spawn(sleep_long);
  cw::JoinHandle<> b = executor.queue(1).spawn(sleep_long);
  cw::JoinHandle<> c = executor.queue(0).spawn(sleep_long);
  CHECK(a.id() < b.id());
  CHECK(b.id() < c.id());
}

TEST_CASE("JoinHandle: dropping it detaches the task, whose result is destroyed when it ends", "[join]") {
  ManualExecutor executor = manual_executor();
  Census census;
  bool ended = false;
  static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<Counted> {
    co_await cw::yield_now();
    ended = true;
    co_return Counted{census};
  }));
  run_all(executor);
  CHECK(ended);
  CHECK(census.living == 0);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("JoinHandle: a result is kept as long as the handle, and taken or not, destroyed once", "[join]") {
  Census census;
  std::optional<cw::JoinHandle<Counted>> kept;
  std::optional<cw::JoinHandle<Counted>> taken;
  {
    ManualExecutor executor = manual_executor();
    auto make = [&]() -> cw::Task<Counted> { co_return Counted{census}; };
    kept.emplace(executor.queue(0).spawn(make));
    taken.emplace(executor.queue(0).spawn(make));
    run_all(executor);
    CHECK(census.living == 2);
    static_cast<void>(taken->try_take());
    CHECK(census.living == 1);
  }
  CHECK(kept->done());  // the executor is gone
  CHECK(kept->try_take()->has_value());
  CHECK(census.living == 0);
  CHECK(census.copies == 0);
}

TEST_CASE("JoinHandle: a task of another queue may wait, and goes on in its own", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<int> joined = executor.queue(0).spawn(give_later, 3);
  bool same = false;
  int got = 0;
  cw::JoinHandle<> waiter = executor.queue(1).spawn([&]() -> cw::Task<> {
    cw::JoinResult<int> result = co_await joined;
    got = result.value();
    same = cw::this_task::queue().same_queue(executor.queue(1));
  });
  run_all(executor);
  CHECK(got == 3);
  CHECK(same);
}

TEST_CASE("JoinHandle: a task that awaits its own handle is told so", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle;
  handle = executor.queue(0).spawn([&]() -> cw::Task<> { static_cast<void>(co_await handle); });
  CHECK(thrown_text<std::logic_error>([&] { run_all(executor); }) ==
        "clockworker: a task awaits its own JoinHandle; it would wait for ever");
  CHECK(reason(*handle.try_take()) == "exception");
}

TEST_CASE("JoinHandle: a second awaiter at once is refused, and the first is served", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  cw::JoinHandle<> handle = queue.spawn(sleep_long);
  auto wait = [&]() -> cw::Task<bool> {
    cw::JoinResult<void> result = co_await handle;
    co_return result.has_value();
  };
  cw::JoinHandle<bool> first = queue.spawn(wait);
  cw::JoinHandle<bool> second = queue.spawn(wait);
  CHECK(thrown_text<std::logic_error>([&] { run_all(executor); }) ==
        "clockworker: co_await of a JoinHandle that is being awaited already");
  run_all(executor);
  CHECK(second.done());
  CHECK_FALSE(first.done());
  pass_time(executor, 1h);
  CHECK(first.try_take()->value());
}

TEST_CASE(
    "JoinHandle: one of another executor is refused while its task lives, once it has ended, any may take it",
    "[join]") {
  ManualExecutor one = manual_executor();
  ManualExecutor two = manual_executor();
  cw::JoinHandle<int> handle = one.queue(0).spawn(give_later, 4);
  auto main = [&]() -> cw::Task<int> {
    cw::JoinResult<int> result = co_await handle;
    co_return result.value();
  };
  CHECK(thrown_text<std::invalid_argument>([&] { two.run_until(main); }) ==
        "clockworker: co_await of a JoinHandle that belongs to another executor");
  run_all(one);
  CHECK(two.run_until(main) == 4);
}

TEST_CASE("JoinHandle: if the task that awaits it is aborted, another may await it", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  cw::JoinHandle<> joined = queue.spawn(sleep_long);
  auto wait = [&]() -> cw::Task<bool> {
    cw::JoinResult<void> result = co_await joined;
    co_return result.has_value();
  };
  cw::JoinHandle<bool> first = queue.spawn(wait);
  run_all(executor);
  first.abort();
  run_all(executor);
  CHECK(reason(*first.try_take()) == "cancelled");
  CHECK_FALSE(joined.done());
  cw::JoinHandle<bool> second = queue.spawn(wait);
  run_all(executor);
  pass_time(executor, 1h);
  CHECK(second.try_take()->value());
}

TEST_CASE("JoinHandle: one that outlives its executor finds its task cancelled, and abort() does nothing",
          "[join]") {
  cw::JoinHandle<> waiting;
  cw::JoinHandle<> never_started;
  {
    ManualExecutor executor = manual_executor();
    waiting = executor.queue(0).spawn(sleep_long);
    run_all(executor);
    never_started = executor.queue(0).spawn(sleep_long);
  }
  for (cw::JoinHandle<>* handle : {&waiting, &never_started}) {
    CHECK(handle->done());
    CHECK(handle->id() != 0);
    handle->abort();
    CHECK(reason(*handle->try_take()) == "cancelled");
  }
  ManualExecutor other = manual_executor();
  auto main = [&]() -> cw::Task<std::string> {
    cw::JoinResult<void> result = co_await waiting;
    co_return reason(result);
  };
  CHECK(other.run_until(main) == "cancelled");
}

TEST_CASE("JoinHandle: that of a refused spawn is done at once, with a text that says why", "[join]") {
  ManualExecutor executor = manual_executor();
  executor.shutdown(cw::Shutdown::drain());
  cw::JoinHandle<int> handle = executor.queue(0).spawn(give_later, 1);
  CHECK(handle.valid());
  CHECK(handle.done());
  CHECK(handle.id() == 0);
  handle.abort();
  cw::JoinResult<int> result = std::move(*handle.try_take());
  REQUIRE(reason(result) == "cancelled");
  CHECK(std::string{result.error().what()} ==
        "clockworker: the task was cancelled: its executor was shutting down or gone when it was spawned");
  ManualExecutor other = manual_executor();
  auto main = [&]() -> cw::Task<std::string> {
    cw::JoinResult<int> awaited = co_await handle;
    co_return reason(awaited);
  };
  CHECK(other.run_until(main) == "cancelled");
}

TEST_CASE("JoinHandle: a handle dropped while it is being awaited leaves the await as it was", "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  auto handle = std::make_unique<cw::JoinHandle<int>>(queue.spawn(give_later, 5));
  cw::JoinHandle<int> waiter = queue.spawn([&]() -> cw::Task<int> {
    cw::JoinResult<int> result = co_await *handle;
    co_return result.value();
  });
  static_cast<void>(queue.spawn([&]() -> cw::Task<> {
    handle.reset();
    co_return;
  }));
  run_all(executor);
  CHECK(waiter.try_take()->value() == 5);
}

TEST_CASE("JoinHandle: who waits goes on after the frame, the callable and its arguments are gone",
          "[join]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  Log log;
  cw::JoinHandle<> joined = queue.spawn(
      [kept = Epitaph{log, "callable"}, &log](const Epitaph&) -> cw::Task<> {
        Epitaph local{log, "frame"};
        co_await cw::yield_now();
      },
      Epitaph{log, "argument"});
  static_cast<void>(queue.spawn([&]() -> cw::Task<> {
    static_cast<void>(co_await joined);
    log.push_back("joined");
  }));
  run_all(executor);
  CHECK(log == Log{"frame", "argument", "callable", "joined"});
}

}  // namespace

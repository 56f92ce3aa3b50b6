#include <clockworker/queue.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;

cw::Task<int> add(int a, int b) { co_return a + b; }

template <class T>
T run_and_take(ManualExecutor& executor, cw::JoinHandle<T> handle) {
  run_all(executor);
  return handle.try_take()->value();
}

TEST_CASE("spawn: a function, a Task, a lambda and a function object all become tasks", "[spawn]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  struct Multiply {
    int factor;
    cw::Task<int> operator()(int value) const { co_return factor* value; }
  };
  CHECK(run_and_take(executor, queue.spawn(add, 1, 2)) == 3);
  CHECK(run_and_take(executor, queue.spawn(&add, 1, 2)) == 3);
  CHECK(run_and_take(executor, queue.spawn(add(3, 4))) == 7);
  CHECK(run_and_take(executor, queue.spawn([] { return add(5, 6); })) == 11);
  CHECK(run_and_take(executor, queue.spawn(Multiply{3}, 4)) == 12);
  std::function<cw::Task<int>(int)> erased = [](int value) { return add(value, 1); };
  CHECK(run_and_take(executor, queue.spawn(erased, 1)) == 2);
}

TEST_CASE("spawn: the callable is called at once, the task that it returns starts at its turn", "[spawn]") {
  ManualExecutor executor = manual_executor();
  Log log;
  static_cast<void>(executor.queue(0).spawn([&] {
    log.push_back("called");
    return [](Log& to) -> cw::Task<> {
      to.push_back("started");
      co_return;
    }(log);
  }));
  log.push_back("spawned");
  run_all(executor);
  CHECK(log == Log{"called", "spawned", "started"});
}

TEST_CASE("spawn: captures and arguments live as long as the frames, which go first", "[spawn]") {
  ManualExecutor executor = manual_executor();
  Log log;
  cw::JoinHandle<> handle = executor.queue(0).spawn(
      [kept = Epitaph{log, "capture"}, &log](const Epitaph&, const Epitaph&) -> cw::Task<> {
        Epitaph local{log, "frame"};
        co_await cw::sleep_for(1s);
      },
      Epitaph{log, "first"}, Epitaph{log, "second"});
  run_all(executor);
  CHECK(log.empty());
  pass_time(executor, 1s);
  CHECK(handle.done());
  REQUIRE(log.size() == 4);  // the standard does not say in which order a tuple's elements go
  CHECK(log.front() == "frame");
  CHECK(log.back() == "capture");
}

TEST_CASE("spawn: an aborted task and one that never starts let go of all in the same order", "[spawn]") {
  Log log;
  auto spawn_on = [&](const cw::QueueHandle& queue) {
    return queue.spawn(
        [kept = Epitaph{log, "capture"}, &log](const Epitaph&) -> cw::Task<> {
          Epitaph local{log, "frame"};
          co_await cw::sleep_for(1s);
        },
        Epitaph{log, "argument"});
  };
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> started = spawn_on(executor.queue(0));
  run_all(executor);
  started.abort();
  run_all(executor);
  CHECK(log == Log{"frame", "argument", "capture"});
  log.clear();
  cw::JoinHandle<> unstarted = spawn_on(executor.queue(0));
  unstarted.abort();
  run_all(executor);
  CHECK(log == Log{"argument", "capture"});
  log.clear();
  {
    ManualExecutor dies = manual_executor();
    static_cast<void>(spawn_on(dies.queue(0)));
    run_all(dies);
  }
  CHECK(log == Log{"frame", "argument", "capture"});
}

TEST_CASE("spawn: rvalues are moved in and never copied, lvalues are copied once", "[spawn]") {
  ManualExecutor executor = manual_executor();
  Census callable;
  Census moved;
  Census copied;
  Counted lvalue{copied};
  cw::JoinHandle<> handle = executor.queue(0).spawn(
      [kept = Counted{callable}](const Counted&, const Counted&) -> cw::Task<> { co_return; }, Counted{moved},
      lvalue);
  CHECK(callable.copies == 0);
  CHECK(moved.copies == 0);
  CHECK(copied.copies == 1);
  CHECK(callable.living == 1);
  CHECK(moved.living == 1);
  CHECK(copied.living == 2);
  run_all(executor);
  CHECK(callable.living == 0);  // though the handle lives
  CHECK(moved.living == 0);
  CHECK(copied.living == 1);
  CHECK(handle.done());
}

TEST_CASE("spawn: a parameter by reference refers to the copy that is kept", "[spawn]") {
  ManualExecutor executor = manual_executor();
  const std::string* seen = nullptr;
  const std::string original = "original";
  cw::JoinHandle<std::string> by_const = executor.queue(0).spawn(
      [&](const std::string& text) -> cw::Task<std::string> {
        seen = &text;
        co_await cw::yield_now();
        co_return text;
      },
      original);
  CHECK(run_and_take(executor, std::move(by_const)) == "original");
  CHECK(seen != nullptr);
  CHECK(seen != &original);
  std::string mine = "mine";
  cw::JoinHandle<std::string> by_lvalue = executor.queue(0).spawn(
      [](std::string& text) -> cw::Task<std::string> {
        co_await cw::yield_now();
        text += "!";
        co_return text;
      },
      mine);
  CHECK(run_and_take(executor, std::move(by_lvalue)) == "mine!");
  CHECK(mine == "mine");
}

TEST_CASE("spawn: std::ref refers to the caller's object", "[spawn]") {
  ManualExecutor executor = manual_executor();
  std::string text = "a";
  auto append = [](std::string& to, const char* what) -> cw::Task<> {
    co_await cw::yield_now();
    to += what;
  };
  static_cast<void>(executor.queue(0).spawn(append, std::ref(text), "b"));
  run_all(executor);
  CHECK(text == "ab");
  auto count = [calls = 0]() mutable -> cw::Task<int> { co_return ++calls; };
  CHECK(run_and_take(executor, executor.queue(0).spawn(std::ref(count))) == 1);
  CHECK(run_and_take(executor, executor.queue(0).spawn(std::ref(count))) == 2);
  CHECK(run_and_take(executor, executor.queue(0).spawn(count)) == 3);  // of a copy
  CHECK(run_and_take(executor, executor.queue(0).spawn(count)) == 3);
}

TEST_CASE("spawn: arguments and callables may be move-only", "[spawn]") {
  ManualExecutor executor = manual_executor();
  auto by_value = [](std::unique_ptr<int> p) -> cw::Task<int> { co_return *p; };
  CHECK(run_and_take(executor, executor.queue(0).spawn(by_value, std::make_unique<int>(4))) == 4);
  auto by_rvalue = [](std::unique_ptr<int>&& p) -> cw::Task<int> {
    co_await cw::yield_now();
    co_return *p;
  };
  CHECK(run_and_take(executor, executor.queue(0).spawn(by_rvalue, std::make_unique<int>(5))) == 5);
  auto capturing = [p = std::make_unique<int>(6)]() -> cw::Task<int> {
    co_await cw::yield_now();
    co_return *p;
  };
  CHECK(run_and_take(executor, executor.queue(0).spawn(std::move(capturing))) == 6);
}

// As wide as a pointer: g++ 12 at -O2 warns of the branch for virtual functions, which a smaller object would not have room
// for and which is never taken.
struct Account {
  std::int64_t balance = 10;
  cw::Task<std::int64_t> draw(int amount) {
    co_await cw::yield_now();
    balance -= amount;
    co_return balance;
  }
};

TEST_CASE("spawn: member functions are called on a copy, through a pointer, a smart pointer or std::ref",
          "[spawn]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  Account account;
  CHECK(run_and_take(executor, queue.spawn(&Account::draw, account, 1)) == 9);
  CHECK(account.balance == 10);
  CHECK(run_and_take(executor, queue.spawn(&Account::draw, &account, 2)) == 8);
  CHECK(account.balance == 8);
  CHECK(run_and_take(executor, queue.spawn(&Account::draw, std::ref(account), 3)) == 5);
  CHECK(account.balance == 5);
  CHECK(run_and_take(executor, queue.spawn(&Account::draw, std::make_shared<Account>(), 4)) == 6);
}

TEST_CASE("spawn: if the callable throws, or returns an empty Task, nothing has been spawned", "[spawn]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  Census census;
  bool fails = true;
  auto eager = [&fails, kept = Counted{census}](const Counted&) {
    if (fails) throw std::runtime_error("at the call");  // no coroutine: there is no task yet
    return []() -> cw::Task<> { co_return; }();
  };
  auto empty = [kept = Counted{census}](const Counted&) { return cw::Task<>{}; };
  int before = census.living;
  CHECK(thrown_text<std::runtime_error>([&] { static_cast<void>(queue.spawn(eager, Counted{census})); }) ==
        "at the call");
  CHECK(thrown_text<std::invalid_argument>([&] { static_cast<void>(queue.spawn(empty, Counted{census})); }) ==
        "clockworker: spawn(): the callable returned an empty Task");
  CHECK(census.living == before);
  CHECK(executor.stats().spawned == 0);
  CHECK(executor.stats(0).live_tasks == 0);
  CHECK_FALSE(executor.run_ready().runnable);
}

struct ThrowingCopy {
  ThrowingCopy() = default;
  ThrowingCopy(const ThrowingCopy&) { throw std::runtime_error("from a copy"); }
  cw::Task<> operator()() const { co_return; }
};

TEST_CASE("spawn: if a copy of the callable or of an argument throws, nothing has been spawned", "[spawn]") {
  ManualExecutor executor = manual_executor();
  cw::QueueHandle queue = executor.queue(0);
  Census census;
  ThrowingCopy fragile;
  CHECK(thrown_text<std::runtime_error>([&] { static_cast<void>(queue.spawn(fragile)); }) == "from a copy");
  auto takes = [kept = Counted{census}](const Counted&, const ThrowingCopy&) -> cw::Task<> { co_return; };
  CHECK(thrown_text<std::runtime_error>([&] {
          static_cast<void>(queue.spawn(std::move(takes), Counted{census}, fragile));
        }) == "from a copy");
  CHECK(census.living == 1);  // the one moved from
  CHECK(executor.stats().spawned == 0);
}

TEST_CASE("spawn: a callable that shuts its executor down gets a cancelled task, and lets go of all",
          "[spawn]") {
  ManualExecutor executor = manual_executor();
  Log log;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&, kept = Epitaph{log, "callable"}] {
    executor.shutdown(cw::Shutdown::drain());
    return [](Epitaph) -> cw::Task<> { co_return; }(Epitaph{log, "frame"});
  });
  CHECK(handle.done());
  CHECK(handle.id() == 0);
  CHECK(log == Log{"frame", "callable"});
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("spawn: refused, it neither calls the callable nor keeps the Task", "[spawn]") {
  std::optional<cw::QueueHandle> orphan;
  Census census;
  auto frame = [](Counted) -> cw::Task<> { co_return; };
  {
    ManualExecutor executor = manual_executor();
    orphan.emplace(executor.queue(0));
    executor.shutdown(cw::Shutdown::drain());
    CHECK(orphan->spawn(frame(Counted{census})).done());
    CHECK(census.living == 0);
  }
  bool called = false;
  cw::JoinHandle<> handle = orphan->spawn([&]() -> cw::Task<> {
    called = true;
    return cw::Task<>{};
  });
  CHECK(handle.done());
  CHECK_FALSE(called);
  CHECK(orphan->spawn(frame(Counted{census})).done());
  CHECK(census.living == 0);
}

struct alignas(64) OneLine {
  std::uint64_t value = 1;
  [[nodiscard]] bool aligned() const { return reinterpret_cast<std::uintptr_t>(this) % 64 == 0; }
};

TEST_CASE("spawn: captures and arguments that are aligned beyond plain new are", "[spawn]") {
  ManualExecutor executor = manual_executor();
  std::vector<cw::JoinHandle<int>> handles;  // several, as one may lie well by chance
  int badly = 0;
  for (int i = 0; i < 8; ++i) {
    handles.push_back(executor.queue(0).spawn(
        [&badly, line = OneLine{}](const OneLine& argument) {
          badly += !line.aligned() + !argument.aligned();
          return add(1, 1);
        },
        OneLine{}));
    handles.push_back(executor.queue(0).spawn(add, i, 1));
  }
  CHECK(badly == 0);
  run_all(executor);
  CHECK(handles.back().try_take()->value() == 8);
}

/// Made in place out of what is returned, so that the frame holds none: compilers do not align frames beyond plain new.
struct alignas(64) Looks {
  // Not explicit: co_return converts.
  Looks(int& badly) { badly += reinterpret_cast<std::uintptr_t>(this) % 64 != 0; }
};

TEST_CASE("spawn: so are results that wait in the task for their handle", "[spawn]") {
  ManualExecutor executor = manual_executor();
  int badly = 0;
  std::vector<cw::JoinHandle<Looks>> handles;
  for (int i = 0; i < 8; ++i) {
    handles.push_back(executor.queue(0).spawn([&]() -> cw::Task<Looks> {
      co_await cw::yield_now();
      co_return badly;
    }));
    static_cast<void>(executor.queue(0).spawn(add, i, 1));
  }
  run_all(executor);
  CHECK(badly == 0);
  for (auto& handle : handles) CHECK(handle.try_take()->has_value());
}

}  // namespace

#include <clockworker/task.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

using namespace clockworker_test;

static_assert(sizeof(cw::Task<std::string>) == sizeof(void*));
static_assert(std::is_nothrow_move_constructible_v<cw::Task<>> &&
              std::is_nothrow_move_assignable_v<cw::Task<>>);
static_assert(!std::is_copy_constructible_v<cw::Task<>> && !std::is_copy_assignable_v<cw::Task<>>);
static_assert(std::is_same_v<cw::Task<>, cw::Task<void>>);

cw::Task<int> give(int value) { co_return value; }

cw::Task<int> give_later(int value) {
  co_await cw::yield_now();
  co_return value;
}

cw::Task<> note(Log& log, std::string text) {
  log.push_back(std::move(text));
  co_return;
}

/// Runs `main` to its end on an executor of its own.
template <class F>
auto run_main(F main) {
  ManualExecutor executor = manual_executor();
  return executor.run_until(main);
}

TEST_CASE("Task: nothing runs before it is awaited", "[task]") {
  Log log;
  run_main([&]() -> cw::Task<> {
    cw::Task<> child = note(log, "child");
    log.push_back("parent");
    co_await child;
    log.push_back("parent again");
  });
  CHECK(log == Log{"parent", "child", "parent again"});
}

TEST_CASE("Task: one that never starts destroys its parameters and runs nothing", "[task]") {
  Log log;
  Census census;
  auto keep = [](Log& to, Counted) -> cw::Task<> { return note(to, "never"); };
  {
    auto with_frame = [](Log& to, Counted kept) -> cw::Task<> {
      to.push_back("never");
      static_cast<void>(kept);
      co_return;
    };
    cw::Task<> task = with_frame(log, Counted{census});
    CHECK(census.living == 1);
    cw::Task<> other = keep(log, Counted{census});
    other = std::move(task);  // the frame that was there goes
    CHECK(census.living == 1);
    CHECK_FALSE(task);
    CHECK(other);
  }
  CHECK(census.living == 0);
  CHECK(log.empty());
}

TEST_CASE("Task: values come through awaits that suspend and such that do not", "[task]") {
  int sum = run_main([]() -> cw::Task<int> {
    int sum_of = co_await give(1);
    sum_of += co_await give_later(10);
    sum_of += co_await give(100);
    co_return sum_of;
  });
  CHECK(sum == 111);
}

TEST_CASE("Task: a move-only value is moved, never copied", "[task]") {
  auto make = []() -> cw::Task<std::unique_ptr<int>> { co_return std::make_unique<int>(7); };
  std::unique_ptr<int> got = run_main([&]() -> cw::Task<std::unique_ptr<int>> {
    std::unique_ptr<int> from_child = co_await make();
    *from_child += 1;
    co_return from_child;
  });
  REQUIRE(got != nullptr);
  CHECK(*got == 8);
}

TEST_CASE("Task: a value is not copied on its way, and none is left behind", "[task]") {
  Census census;
  auto make = [&]() -> cw::Task<Counted> { co_return Counted{census}; };
  run_main([&]() -> cw::Task<> {
    {
      Counted got = co_await make();
      CHECK(census.living == 1);
      CHECK(census.moves <= 2);  // into the awaiter, and out of it
    }
    CHECK(census.living == 0);
    static_cast<void>(co_await make());
    CHECK(census.living == 0);
  });
  CHECK(census.copies == 0);
}

TEST_CASE("Task: a reference refers to the very object", "[task]") {
  std::string text = "a";
  const std::string fixed = "b";
  auto mutable_one = [&]() -> cw::Task<std::string&> {
    co_await cw::yield_now();
    co_return text;
  };
  auto const_one = [&]() -> cw::Task<const std::string&> { co_return fixed; };
  run_main([&]() -> cw::Task<> {
    std::string& first = co_await mutable_one();
    CHECK(&first == &text);
    const std::string& second = co_await const_one();
    CHECK(&second == &fixed);
  });
  std::string& out = [&]() -> std::string& {
    ManualExecutor executor = manual_executor();
    cw::JoinHandle<std::string&> handle = executor.queue(0).spawn(mutable_one);
    run_all(executor);
    return handle.try_take()->value();
  }();
  CHECK(&out == &text);
}

TEST_CASE("Task: a const value type is a value", "[task]") {
  auto make = []() -> cw::Task<const std::string> { co_return "const"; };
  std::string got = run_main([&]() -> cw::Task<const std::string> {
    const std::string from_child = co_await make();
    co_return from_child;
  });
  CHECK(got == "const");
}

struct NoDefault {
  explicit NoDefault(int with) : value{with} {}
  int value;
};

struct Pair {
  int first;
  int second;
};

TEST_CASE(
    "Task: a value may lack a default constructor, or be made of braces",
    "[task]") {
  auto no_default = []() -> cw::Task<NoDefault> { co_return NoDefault{5}; };
  auto aggregate = []() -> cw::Task<Pair> { co_return {1, 2}; };
  run_main([&]() -> cw::Task<> {
    NoDefault one = co_await no_default();
    CHECK(one.value == 5);
    Pair pair = co_await aggregate();
    CHECK(pair.first == 1);
    CHECK(pair.second == 2);
  });
}

TEST_CASE("Task: an exception comes out of the co_await, whether the child had suspended or not", "[task]") {
  auto fail = [](bool later) -> cw::Task<int> {
    if (later) co_await cw::yield_now();
    throw std::runtime_error("from below");
  };
  auto pass_on = [&](bool later) -> cw::Task<int> {
    int value = co_await fail(later);
    co_return value;
  };
  for (bool later : {false, true}) {
    std::string text = run_main([&]() -> cw::Task<std::string> {
      std::string caught = "nothing";
      try {
        co_await pass_on(later);
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      co_await cw::yield_now();  // it goes on as if nothing had been
      co_return caught;
    });
    CHECK(text == "from below");
  }
}

TEST_CASE("Task: locals and parameters are gone when an await is over, by value or by exception", "[task]") {
  Log log;
  auto child = [&](Epitaph, bool fails) -> cw::Task<> {
    Epitaph local{log, "local"};
    co_await cw::yield_now();
    if (fails) throw std::runtime_error("x");
  };
  run_main([&]() -> cw::Task<> {
    co_await child(Epitaph{log, "parameter"}, false);
    log.push_back("value");
    try {
      co_await child(Epitaph{log, "parameter"}, true);
    } catch (const std::runtime_error&) {
      log.push_back("exception");
    }
  });
  CHECK(log == Log{"local", "parameter", "value", "local", "parameter", "exception"});
}

struct ThrowsAtTheEnd {
  ThrowsAtTheEnd() = default;
  ThrowsAtTheEnd(const ThrowsAtTheEnd&) = delete;
  ThrowsAtTheEnd& operator=(const ThrowsAtTheEnd&) = delete;
  ~ThrowsAtTheEnd() noexcept(false) { throw std::runtime_error("from a destructor"); }
};

TEST_CASE("Task: what a local's destructor throws after co_return takes the place of the value", "[task]") {
  Census census;
  auto child = [&](bool later) -> cw::Task<Counted> {
    ThrowsAtTheEnd bomb;
    if (later) co_await cw::yield_now();
    co_return Counted{census};
  };
  for (bool later : {false, true}) {
    std::string text = run_main([&]() -> cw::Task<std::string> {
      std::string caught = "nothing";
      try {
        static_cast<void>(co_await child(later));
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      co_return caught;
    });
    CHECK(text == "from a destructor");
    CHECK(census.living == 0);
  }
}

/// Its `fuse`-th move throws.
struct ThrowingMove {
  ThrowingMove(Census& with, int& moves_left) : census{with}, fuse{moves_left} {}
  ThrowingMove(ThrowingMove&& other) : census{other.census}, fuse{other.fuse} {
    if (--fuse == 0) throw std::runtime_error("from a move");
  }
  Counted census;
  int& fuse;
};

TEST_CASE("Task: a value whose move throws comes through, or its exception does, and nothing leaks",
          "[task]") {
  Census census;
  std::vector<std::string> outcomes;
  for (int fuse = 1; fuse <= 3; ++fuse) {
    int left = fuse;
    auto child = [&]() -> cw::Task<ThrowingMove> { co_return ThrowingMove(census, left); };
    outcomes.push_back(run_main([&]() -> cw::Task<std::string> {
      std::string caught = "value";
      try {
        static_cast<void>(co_await child());
      } catch (const std::runtime_error& e) {
        caught = e.what();
      }
      co_return caught;
    }));
    CHECK(census.living == 0);
  }
  CHECK(outcomes == std::vector<std::string>{"from a move", "from a move", "value"});
}

TEST_CASE("Task: only one with a coroutine in it is true", "[task]") {
  cw::Task<int> none;
  CHECK_FALSE(none);
  cw::Task<int> first = give(1);
  CHECK(first);
  cw::Task<int> second = std::move(first);
  CHECK_FALSE(first);
  CHECK(second);
  run_main([&]() -> cw::Task<> {
    co_await second;
    CHECK_FALSE(second);
  });
  ManualExecutor executor = manual_executor();
  cw::Task<int> third = give(1);
  cw::JoinHandle<int> handle = executor.queue(0).spawn(std::move(third));
  CHECK_FALSE(third);
}

TEST_CASE("Task: awaiting an empty one throws std::logic_error that says so", "[task]") {
  std::string text = run_main([]() -> cw::Task<std::string> {
    cw::Task<int> child = give(1);
    int first = co_await child;
    CHECK(first == 1);
    std::string caught = "nothing";
    try {
      co_await child;
    } catch (const std::logic_error& e) {
      caught = e.what();
    }
    co_return caught;
  });
  CHECK(text == "clockworker: co_await of an empty Task: it was moved from, awaited or spawned");
}

TEST_CASE("Task: spawning an empty one throws std::invalid_argument, and no task is born", "[task]") {
  ManualExecutor executor = manual_executor();
  CHECK(thrown_text<std::invalid_argument>([&] {
          static_cast<void>(executor.queue(0).spawn(cw::Task<int>{}));
        }) == "clockworker: spawn() of an empty Task: it was moved from, awaited or spawned");
  CHECK(executor.stats().live_tasks == 0);
  CHECK(executor.stats().spawned == 0);
}

cw::Task<int> descend(int depth, bool suspends) {
  if (depth == 0) {
    if (suspends) co_await cw::yield_now();
    co_return 0;
  }
  int below = co_await descend(depth - 1, suspends);
  co_return below + 1;
}

TEST_CASE("Task: awaits nest to any depth, around the limit of nested resumes too", "[task]") {
  int deepest = static_cast<int>(cw::detail::TaskAwaiter<int>::deepest_nesting);
  for (int depth : {1, deepest - 1, deepest, deepest + 1, 2 * deepest, 2 * deepest + 1, 1000}) {
    for (bool suspends : {false, true}) {
      CHECK(run_main([=] { return descend(depth, suspends); }) == depth);
    }
  }
}

TEST_CASE("Task: aborting destroys the frames from the innermost to the outermost", "[task]") {
  Log log;
  auto inner = [&]() -> cw::Task<> {
    Epitaph local{log, "inner"};
    co_await cw::sleep_for(1h);
  };
  auto middle = [&]() -> cw::Task<> {
    Epitaph local{log, "middle"};
    co_await inner();
  };
  ManualExecutor executor = manual_executor();
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    Epitaph local{log, "outer"};
    co_await middle();
  });
  run_all(executor);
  handle.abort();
  CHECK(log.empty());
  run_all(executor);
  CHECK(log == Log{"inner", "middle", "outer"});
}

TEST_CASE("Task: a child kept unawaited is destroyed with the frame that holds it", "[task]") {
  Census census;
  auto child = [](Counted) -> cw::Task<> { co_return; };
  run_main([&]() -> cw::Task<> {
    cw::Task<> kept = child(Counted{census});
    co_await cw::yield_now();
    CHECK(census.living == 1);
  });
  CHECK(census.living == 0);
}

}  // namespace

#include <clockworker/this_task.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace clockworker_test;

TEST_CASE("this_task: outside a task every function throws std::logic_error with its name", "[this_task]") {
  namespace this_task = cw::this_task;
  CHECK(thrown_text<std::logic_error>([] { static_cast<void>(this_task::id()); }) ==
        "clockworker: this_task::id() was called outside a task");
  CHECK(thrown_text<std::logic_error>([] { static_cast<void>(this_task::queue()); }) ==
        "clockworker: this_task::queue() was called outside a task");
  CHECK(thrown_text<std::logic_error>([] { static_cast<void>(this_task::group()); }) ==
        "clockworker: this_task::group() was called outside a task");
  CHECK(thrown_text<std::logic_error>([] { static_cast<void>(this_task::stop_token()); }) ==
        "clockworker: this_task::stop_token() was called outside a task");
}

TEST_CASE("this_task: nor is the code between two resumes in a task", "[this_task]") {
  ManualExecutor executor = manual_executor();
  static_cast<void>(executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); }));
  run_all(executor);
  CHECK_THROWS_AS(cw::this_task::id(), std::logic_error);
  // The callable is called by whoever spawns.
  CHECK_THROWS_AS(executor.queue(0).spawn([] {
    static_cast<void>(cw::this_task::id());
    return cw::Task<>{};
  }),
                  std::logic_error);
}

TEST_CASE("this_task: tells the id and the queue, in children too, and after a change of queue",
          "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::vector<cw::TaskId> ids;
  std::vector<std::string> queues;
  auto look = [&]() -> cw::Task<> {
    ids.push_back(cw::this_task::id());
    queues.push_back(std::string{cw::this_task::queue().name()});
    co_return;
  };
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await look();
    co_await cw::yield_now();
    co_await cw::switch_to(executor.queue(1));
    co_await look();
  });
  run_all(executor);
  CHECK(ids == std::vector<cw::TaskId>{handle.id(), handle.id()});
  CHECK(queues == std::vector<std::string>{"0", "1"});
}

TEST_CASE("this_task: the queue of run_until()'s main takes nobody else", "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::vector<std::string> refused;
  bool came_back = false;
  executor.run_until([&]() -> cw::Task<> {
    cw::QueueHandle mine = cw::this_task::queue();
    auto nothing = []() -> cw::Task<> { co_return; };
    refused.push_back(thrown_text<std::logic_error>([&] { static_cast<void>(mine.spawn(nothing)); }));
    refused.push_back(thrown_text<std::logic_error>([&] { static_cast<void>(mine.spawn(nothing())); }));
    auto other = executor.queue(0).spawn([&]() -> cw::Task<> {
      try {
        co_await cw::switch_to(mine);
      } catch (const std::logic_error& error) {
        refused.push_back(error.what());
      }
    });
    static_cast<void>(co_await other);
    co_await cw::switch_to(executor.queue(1));
    co_await cw::switch_to(mine);
    came_back = cw::this_task::queue().same_queue(mine);
  });
  REQUIRE(refused.size() == 3);
  CHECK(refused[0] == refused[1]);
  CHECK(
      refused[0] ==
      "clockworker: spawn(): the main task of run_until() runs ahead of every queue, on one of its own that "
      "takes nobody else; name a queue: executor.queue(key)");
  CHECK(refused[2].find("switch_to()") != std::string::npos);
  CHECK(came_back);
}

TEST_CASE("this_task: queue() spawns beside the task", "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::string name;
  static_cast<void>(executor.queue(1).spawn([&]() -> cw::Task<> {
    static_cast<void>(cw::this_task::queue().spawn([&]() -> cw::Task<> {
      name = cw::this_task::queue().name();
      co_return;
    }));
    co_return;
  }));
  run_all(executor);
  CHECK(name == "1");
}

TEST_CASE("this_task: works in the destructors of an aborted task's locals", "[this_task]") {
  struct Looks {
    explicit Looks(cw::TaskId& to) : seen{to} {}
    ~Looks() { seen = cw::this_task::id(); }
    cw::TaskId& seen;
  };
  cw::TaskId by_abort = 0;
  cw::TaskId by_end_of_executor = 0;
  auto sleeper = [](cw::TaskId& to) -> cw::Task<> {
    Looks local{to};
    co_await cw::sleep_for(1h);
  };
  cw::JoinHandle<> first;
  cw::JoinHandle<> second;
  {
    ManualExecutor executor = manual_executor();
    first = executor.queue(0).spawn(sleeper, std::ref(by_abort));
    second = executor.queue(0).spawn(sleeper, std::ref(by_end_of_executor));
    run_all(executor);
    first.abort();
    run_all(executor);
    CHECK(by_abort == first.id());
  }
  CHECK(by_end_of_executor == second.id());
  CHECK_THROWS_AS(cw::this_task::id(), std::logic_error);
}

TEST_CASE("this_task: the main of run_until() is a task, in a lane of its own", "[this_task]") {
  ManualExecutor executor = manual_executor();
  auto main = [&]() -> cw::Task<std::string> {
    CHECK(cw::this_task::id() != 0);
    CHECK(cw::this_task::group().id() == cw::this_task::id());
    CHECK_FALSE(cw::this_task::queue().same_queue(executor.queue(0)));
    CHECK_FALSE(cw::this_task::stop_token().stop_requested());
    co_return std::string{cw::this_task::queue().name()};
  };
  CHECK(executor.run_until(main) == "(main)");
}

TEST_CASE("stop_token: an abort stops it at once, and its callbacks run once", "[this_task]") {
  ManualExecutor executor = manual_executor();
  int calls = 0;
  cw::stop_token token;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    token = cw::this_task::stop_token();
    cw::stop_callback callback{token, [&] { ++calls; }};
    co_await cw::sleep_for(1h);
  });
  run_all(executor);
  CHECK(token.stop_possible());
  CHECK_FALSE(token.stop_requested());
  handle.abort();
  CHECK(token.stop_requested());
  CHECK(calls == 1);
  CHECK_FALSE(handle.done());
  handle.abort();
  CHECK(calls == 1);
  run_all(executor);
  CHECK(handle.done());
  CHECK(calls == 1);
}

TEST_CASE("stop_token: one first asked for after the abort is stopped already", "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::optional<bool> stopped;
  cw::JoinHandle<> handle;
  handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    handle.abort();
    stopped = cw::this_task::stop_token().stop_requested();
    co_return;
  });
  run_all(executor);
  CHECK(stopped == true);
}

TEST_CASE("stop_token: all of one task are of one source, those of two are not", "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::vector<cw::stop_token> tokens;
  auto ask_twice = [&]() -> cw::Task<> {
    tokens.push_back(cw::this_task::stop_token());
    co_await cw::yield_now();
    tokens.push_back(cw::this_task::stop_token());
  };
  static_cast<void>(executor.queue(0).spawn(ask_twice));
  run_all(executor);
  static_cast<void>(executor.queue(0).spawn(ask_twice));
  run_all(executor);
  REQUIRE(tokens.size() == 4);
  CHECK(tokens[0] == tokens[1]);
  CHECK(tokens[2] == tokens[3]);
  CHECK_FALSE(tokens[1] == tokens[2]);
}

TEST_CASE("stop_token: a task that ends by itself stops nothing, and its token then never can be",
          "[this_task]") {
  ManualExecutor executor = manual_executor();
  cw::stop_token token;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    token = cw::this_task::stop_token();
    co_return;
  });
  run_all(executor);
  handle.abort();
  CHECK_FALSE(token.stop_requested());
  CHECK_FALSE(token.stop_possible());
}

TEST_CASE("stop_token: a callback may drop the handle, spawn, and abort another", "[this_task]") {
  ManualExecutor executor = manual_executor();
  std::optional<cw::JoinHandle<>> handle;
  cw::JoinHandle<> other = executor.queue(0).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  cw::JoinHandle<> spawned;
  handle.emplace(executor.queue(0).spawn([&]() -> cw::Task<> {
    cw::stop_callback callback{cw::this_task::stop_token(), [&] {
                                 handle.reset();
                                 other.abort();
                                 spawned = executor.queue(1).spawn([]() -> cw::Task<> { co_return; });
                               }};
    co_await cw::sleep_for(1h);
  }));
  run_all(executor);
  handle->abort();
  run_all(executor);
  CHECK(other.done());
  CHECK(spawned.done());
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("stop_token: the end of the executor stops it", "[this_task]") {
  cw::stop_token token;
  {
    ManualExecutor executor = manual_executor();
    static_cast<void>(executor.queue(0).spawn([&]() -> cw::Task<> {
      token = cw::this_task::stop_token();
      co_await cw::sleep_for(1h);
    }));
    run_all(executor);
  }
  CHECK(token.stop_requested());
}

}  // namespace

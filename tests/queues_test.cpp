#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

VirtualExecutor<> two_queues() { return VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build(); }

template <class Error, class F>
std::string text_of(F f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing was thrown";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a queue that is added while others run gets its share from then on") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1).build();
  executor.queue(0).spawn(
      busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.run_ready(cw::Budget{100ms, 0xffff'ffffU});
  executor.add_queue(5, cw::QueueOptions{.weight = 3}, cw::LAS{})
      .spawn(
          busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.run_ready(cw::Budget{40ms, 0xffff'ffffU});
  CHECK(executor.stats(5).service >= 30ms - 1ms);
  CHECK(executor.stats(5).service <= 30ms + 1ms);
  CHECK(executor.stats().queues == 2);
}

TEST_CASE("a task adds queues, spawns on them and removes them again") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1).build();
  JumpHost host;
  int ran = 0;
  executor.run_until(host, [&]() -> cw::Task<> {
    for (int key = 1; key <= 20; ++key) {
      cw::QueueHandle added = executor.add_queue(key, 1, cw::RunnableFifo{});
      auto handle = added.spawn([&]() -> cw::Task<> {
        ++ran;
        co_return;
      });
      static_cast<void>(co_await handle);
      executor.remove_queue(key);
    }
  });
  CHECK(ran == 20);
  CHECK(executor.stats().queues == 1);
  CHECK(executor.stats().resumes >= 40);
}

TEST_CASE("a queue is not added under a key that is taken, nor with a bad option, and nothing has changed") {
  VirtualExecutor<> executor = two_queues();
  std::string text = text_of<std::invalid_argument>([&] { executor.add_queue(1, 1, cw::RunnableFifo{}); });
  CHECK(contains(text, "add_queue()"));
  CHECK(contains(text, "'1'"));
  text = text_of<std::invalid_argument>([&] { executor.add_queue(2, 0, cw::RunnableFifo{}); });
  CHECK(contains(text, "'2'"));
  CHECK(contains(text, "weight 0"));
  text = text_of<std::invalid_argument>([&] {
    executor.add_queue(2, cw::QueueOptions{.weight = 1, .slice = -1ns, .name = "two"}, cw::RunnableFifo{});
  });
  CHECK(contains(text, "'two'"));
  CHECK(contains(text, "slice -1 ns"));
  CHECK(executor.stats().queues == 2);
  CHECK_THROWS_AS(executor.queue(2), std::out_of_range);
}

TEST_CASE("a queue with live tasks is not removed: the refusal names it and counts them") {
  VirtualExecutor<> executor = two_queues();
  JumpHost host;
  cw::JoinHandle<> handle = executor.queue(1).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  executor.queue(1).spawn([]() -> cw::Task<> { co_await cw::sleep_for(1h); });
  executor.run_ready(unbounded);
  const std::string text = text_of<std::logic_error>([&] { executor.remove_queue(1); });
  CHECK(contains(text, "'1'"));
  CHECK(contains(text, "2 task"));
  CHECK(executor.queue(1).weight() == 1);
  executor.run_until_idle(host);
  executor.remove_queue(1);
  CHECK(handle.done());
  CHECK(handle.try_take()->has_value());
}

TEST_CASE("the last queue is not removed, nor one that is not there") {
  VirtualExecutor<> executor = two_queues();
  CHECK(contains(text_of<std::out_of_range>([&] { executor.remove_queue(9); }), "'9'"));
  executor.remove_queue(0);
  CHECK(contains(text_of<std::logic_error>([&] { executor.remove_queue(1); }), "'1'"));
  CHECK(executor.stats().queues == 1);
}

TEST_CASE("a queue is not removed in its own slice, though its last task has just ended") {
  VirtualExecutor<> executor = two_queues();
  struct Last {
    VirtualExecutor<>* executor = nullptr;
    std::string* text = nullptr;
    Last(VirtualExecutor<>& of, std::string& to) : executor{&of}, text{&to} {}
    Last(Last&& other) noexcept : executor{std::exchange(other.executor, nullptr)}, text{other.text} {}
    Last& operator=(Last&&) = delete;
    ~Last() {
      if (executor != nullptr) *text = text_of<std::logic_error>([&] { executor->remove_queue(0); });
    }
  };
  std::string text;
  // The result is destroyed with the task's cell, when the task is no longer counted.
  executor.queue(0).spawn([&]() -> cw::Task<Last> { co_return Last{executor, text}; });
  executor.run_ready(unbounded);
  CHECK(contains(text, "'0'"));
  executor.remove_queue(0);
  CHECK(executor.stats().queues == 1);
}

TEST_CASE("handles of a removed queue refuse to spawn and to group, and keep its name and weight") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_queue(0, 1)
                                   .with_queue(1, cw::QueueOptions{.weight = 4, .name = "gone"})
                                   .build();
  cw::QueueHandle handle = executor.queue(1);
  cw::QueueHandle group = handle.group("g");
  executor.remove_queue(1);
  bool called = false;
  for (const cw::QueueHandle& dead : {handle, group, handle.named("n")}) {
    auto task = dead.spawn([&]() -> cw::Task<> {
      called = true;
      co_return;
    });
    REQUIRE(task.done());
    CHECK(task.try_take()->error().code() == cw::JoinErrc::cancelled);
  }
  CHECK_FALSE(called);
  CHECK(contains(text_of<std::logic_error>([&] { static_cast<void>(handle.group("h")); }), "'gone'"));
  CHECK(contains(text_of<std::logic_error>([&] { handle.set_weight(2); }), "'gone'"));
  CHECK(handle.name() == "gone");
  CHECK(handle.weight() == 4);
}

TEST_CASE("a key may be used again after its queue was removed, and old handles stay dead") {
  VirtualExecutor<> executor = two_queues();
  cw::QueueHandle old = executor.queue(1);
  executor.remove_queue(1);
  cw::QueueHandle fresh = executor.add_queue(1, 2, cw::RunnableFifo{});
  CHECK_FALSE(old.same_queue(fresh));
  CHECK(fresh.same_queue(executor.queue(1)));
  CHECK(old.spawn(steps, 1, 1us).done());
  CHECK_FALSE(fresh.spawn(steps, 1, 1us).done());
  CHECK(executor.stats(1).service == 0ns);
}

TEST_CASE("a refused weight leaves the old one") {
  VirtualExecutor<> executor = two_queues();
  cw::QueueHandle queue = executor.queue(0);
  for (std::uint64_t bad : {std::uint64_t{0}, (std::uint64_t{1} << 20U) + 1, ~std::uint64_t{0}}) {
    const std::string text = text_of<std::invalid_argument>([&] { queue.set_weight(bad); });
    CHECK(contains(text, "'0'"));
    CHECK(contains(text, std::to_string(bad)));
    CHECK(queue.weight() == 1);
  }
  queue.set_weight(std::uint64_t{1} << 20U);
  CHECK(queue.weight() == std::uint64_t{1} << 20U);
}

TEST_CASE("a change of weight keeps the lag, and changes the share from then on") {
  VirtualExecutor<> executor = two_queues();
  for (int queue : {0, 1})
    executor.queue(queue).spawn(
        busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.run_ready(cw::Budget{20'500us, 0xffff'ffffU});
  const Ns lag_before[] = {executor.stats(0).lag, executor.stats(1).lag};
  REQUIRE(lag_before[0] != 0ns);
  executor.queue(0).set_weight(4);
  for (int queue : {0, 1}) {
    const Ns moved = executor.stats(queue).lag - lag_before[queue];
    CHECK(moved <= 1ns);
    CHECK(moved >= -1ns);
  }
  const Ns service_before = executor.stats(0).service;
  executor.run_ready(cw::Budget{50ms, 0xffff'ffffU});
  CHECK(executor.stats(0).service - service_before >= 40ms - 2ms);
  CHECK(executor.stats(0).service - service_before <= 40ms + 2ms);
  CHECK(executor.stats(0).weight == 4);
}

TEST_CASE("a task changes the weight of its own queue in the midst of its slice") {
  VirtualExecutor<> executor = two_queues();
  executor.queue(1).spawn(
      busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    work(100us);
    cw::this_task::queue().set_weight(9);
    for (;;) {
      work(10us);
      co_await cw::yield_now();
    }
  });
  executor.run_ready(cw::Budget{100ms, 0xffff'ffffU});
  CHECK(executor.stats(0).service >= 90ms - 2ms);
  CHECK(executor.stats(0).service <= 90ms + 2ms);
}

TEST_CASE("a queue that is removed while it is owed service leaves the others as they are") {
  VirtualExecutor<> executor = VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, 1).with_queue(2, 2).build();
  executor.queue(0).spawn(steps, 1, 30ms);
  executor.queue(1).spawn(
      busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.queue(2).spawn(
      busy<Ns (*)()>, +[]() -> Ns { return 10us; });
  executor.run_ready(cw::Budget{50ms, 0xffff'ffffU});
  executor.remove_queue(0);
  const Ns before = executor.stats(1).service;
  executor.run_ready(cw::Budget{30ms, 0xffff'ffffU});
  CHECK(executor.stats(1).service - before >= 10ms - 2ms);
  CHECK(executor.stats(1).service - before <= 10ms + 2ms);
}

#include "catch.hpp"
#include "virtual_time.hpp"

#include <chrono>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

namespace {

enum class Lane : std::uint8_t { urgent = 3, bulk = 7 };

struct Tenant {
  int region;
  std::string name;
  friend bool operator==(const Tenant&, const Tenant&) = default;
};
static_assert(cw::QueueKey<Lane> && cw::QueueKey<int> && cw::QueueKey<std::string> && cw::QueueKey<Tenant>);

struct NotComparable {};
static_assert(!cw::QueueKey<NotComparable>);

/// The text with which a build is refused; it must be refused again, as the builder stays as it was.
template <class Builder>
std::string refusal(Builder& builder) {
  std::string texts[2];
  for (std::string& text : texts) {
    try {
      static_cast<void>(builder.build());
      return "not refused";
    } catch (const std::invalid_argument& error) {
      text = error.what();
    }
  }
  CHECK(texts[0] == texts[1]);
  return texts[0];
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

#define CHECK_CONTAINS(text, part) \
  do {                             \
    INFO(text);                    \
    CHECK(contains(text, part));   \
  } while (false)

}  // namespace

TEST_CASE("a build without a queue is refused") {
  VirtualBuilder<> builder;
  CHECK_CONTAINS(refusal(builder), "at least one queue");
}

TEST_CASE("a build with a bad weight names the queue, the weight and the limits") {
  for (std::uint64_t weight : {std::uint64_t{0}, (std::uint64_t{1} << 20U) + 1, ~std::uint64_t{0}}) {
    VirtualBuilder<> builder;
    builder.with_queue(0, 1).with_queue(41, weight);
    const std::string text = refusal(builder);
    CHECK_CONTAINS(text, "'41'");
    CHECK_CONTAINS(text, "weight " + std::to_string(weight));
    CHECK_CONTAINS(text, "2^20");
  }
}

TEST_CASE("the least and the greatest weight are taken") {
  VirtualExecutor<> executor =
      VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, std::uint64_t{1} << 20U).build();
  CHECK(executor.queue(0).weight() == 1);
  CHECK(executor.queue(1).weight() == 1'048'576);
}

TEST_CASE("a build with a slice that is not positive names the queue and the slice") {
  for (Ns slice : {Ns{0}, Ns{-5}}) {
    VirtualBuilder<> builder;
    builder.with_queue(2, cw::QueueOptions{.weight = 1, .slice = slice, .name = "interactive"});
    const std::string text = refusal(builder);
    CHECK_CONTAINS(text, "'interactive'");
    CHECK_CONTAINS(text, "slice " + std::to_string(slice.count()) + " ns");
    CHECK_CONTAINS(text, "not positive");
  }
}

TEST_CASE("a build with a key given twice names the key") {
  VirtualBuilder<std::string> builder;
  builder.with_queue("web", 1).with_queue("batch", 1).with_queue("web", 2);
  CHECK_CONTAINS(refusal(builder), "'web'");
}

TEST_CASE("a build with a duration that is not positive names the option and the value") {
  const auto refused = [](auto set) {
    VirtualBuilder<> builder;
    builder.with_queue(0, 1);
    set(builder);
    return refusal(builder);
  };
  for (Ns bad : {Ns{0}, Ns{-1}, Ns::min()}) {
    const std::string value = bad == Ns::min() ? "-" : " " + std::to_string(bad.count()) + " ns";
    std::string text = refused([&](auto& builder) { builder.with_sched_latency(bad); });
    CHECK_CONTAINS(text, "sched_latency");
    CHECK_CONTAINS(text, value);
    text = refused([&](auto& builder) { builder.with_min_slice(bad); });
    CHECK_CONTAINS(text, "min_slice");
    CHECK_CONTAINS(text, value);
    text = refused([&](auto& builder) { builder.with_host_poll_interval(bad); });
    CHECK_CONTAINS(text, "host_poll_interval");
    CHECK_CONTAINS(text, value);
  }
  CHECK_CONTAINS(refused([](auto& builder) { builder.with_max_polls_per_host_poll(0); }),
                 "max_polls_per_host_poll");
}

TEST_CASE("durations that no clock can count are taken as for ever") {
  VirtualExecutor<> executor = VirtualBuilder<>{}
                                   .with_sched_latency(std::chrono::hours::max())
                                   .with_host_poll_interval(std::chrono::hours::max())
                                   .with_queue(0, cw::QueueOptions{.weight = 1, .slice = Ns::max()})
                                   .with_queue(1, 1)
                                   .build();
  JumpHost host;
  for (int queue : {0, 1}) executor.queue(queue).spawn(steps, 3, 1h);
  executor.run_until_idle(host);
  CHECK(executor.stats().service == 6h);
}

TEST_CASE("a builder whose build was refused builds when the fault is mended") {
  VirtualBuilder<> builder;
  CHECK_CONTAINS(refusal(builder), "queue");
  builder.with_queue(0, 1).with_max_polls_per_host_poll(0);
  CHECK_CONTAINS(refusal(builder), "max_polls_per_host_poll");
  builder.with_max_polls_per_host_poll(1);
  VirtualExecutor<> executor = builder.build();
  executor.queue(0).spawn(steps, 2, 1us);
  executor.run_ready(unbounded);
  CHECK(executor.stats().ended == 1);
}

TEST_CASE("a builder builds once") {
  VirtualBuilder<> builder;
  builder.with_queue(0, 1);
  VirtualExecutor<> executor = builder.build();
  try {
    static_cast<void>(builder.build());
    FAIL("built twice");
  } catch (const std::logic_error& error) {
    CHECK_CONTAINS(error.what(), "twice");
  }
}

TEST_CASE("keys may be enums: texts show the number") {
  auto executor = VirtualBuilder<Lane>{}.with_queue(Lane::urgent, 2).with_queue(Lane::bulk, 1).build();
  CHECK(executor.queue(Lane::bulk).name() == "7");
  CHECK(executor.stats(Lane::urgent).weight == 2);
  executor.remove_queue(Lane::bulk);
  CHECK_THROWS_AS(executor.queue(Lane::bulk), std::out_of_range);
}

TEST_CASE("keys may be strings: an unknown one is named") {
  auto executor = VirtualBuilder<std::string>{}.with_queue("web", 2).build();
  CHECK(executor.queue("web").weight() == 2);
  try {
    static_cast<void>(executor.queue("wbe"));
    FAIL("found");
  } catch (const std::out_of_range& error) {
    CHECK_CONTAINS(error.what(), "'wbe'");
    CHECK_CONTAINS(error.what(), "queue()");
  }
  try {
    static_cast<void>(executor.stats("wbe"));
    FAIL("found");
  } catch (const std::out_of_range& error) {
    CHECK_CONTAINS(error.what(), "'wbe'");
    CHECK_CONTAINS(error.what(), "stats()");
  }
}

TEST_CASE("keys may be integers of any size") {
  auto executor = VirtualBuilder<std::uint64_t>{}
                      .with_queue(std::numeric_limits<std::uint64_t>::max(), 2)
                      .with_queue(std::uint64_t{0}, 1)
                      .build();
  CHECK(executor.queue(std::numeric_limits<std::uint64_t>::max()).name() == "18446744073709551615");
  try {
    static_cast<void>(executor.stats(std::uint64_t{77}));
    FAIL("found");
  } catch (const std::out_of_range& error) {
    CHECK_CONTAINS(error.what(), "'77'");
  }
}

TEST_CASE("keys may be types of the user's own, with a name for the texts") {
  auto executor = VirtualBuilder<Tenant>{}
                      .with_queue(Tenant{1, "a"}, cw::QueueOptions{.weight = 3, .name = "tenant a"})
                      .with_queue(Tenant{2, "a"}, 1)
                      .build();
  CHECK(executor.queue(Tenant{1, "a"}).name() == "tenant a");
  CHECK(executor.stats(Tenant{2, "a"}).weight == 1);
  CHECK_THROWS_AS(executor.queue(Tenant{1, "b"}), std::out_of_range);
  CHECK_THROWS_AS(executor.stats(Tenant{3, "a"}), std::out_of_range);
  executor.queue(Tenant{2, "a"}).spawn(steps, 1, 1us);
  executor.run_ready(unbounded);
  CHECK(executor.stats(Tenant{2, "a"}).service == 1us);
  CHECK(executor.stats(Tenant{1, "a"}).service == 0us);
}

TEST_CASE("a queue's name stands for its key in statistics, lists and texts") {
  auto executor =
      VirtualBuilder<>{}.with_queue(3, cw::QueueOptions{.name = "ingest"}).with_queue(4, 1).build();
  executor.queue(3).spawn(steps, 1, 1us);
  CHECK(executor.queue(3).name() == "ingest");
  CHECK(executor.stats(3).name == "ingest");
  CHECK(executor.tasks().at(0).queue == "ingest");
  try {
    executor.remove_queue(3);
    FAIL("removed");
  } catch (const std::logic_error& error) {
    CHECK_CONTAINS(error.what(), "'ingest'");
  }
}

TEST_CASE("a builder is used by name or in one expression, with and without a scheduler") {
  VirtualBuilder<> builder;
  builder.with_queue(0, 1, cw::LAS{})
      .with_queue(1, cw::QueueOptions{.weight = 1}, cw::ArrivalFifo{})
      .with_queue(2, 1);
  VirtualExecutor<> executor = builder.build();
  CHECK(executor.stats().queues == 3);
  VirtualExecutor<> other = VirtualBuilder<>{}
                                .with_queue(0, 1, cw::QuantizedLAS{})
                                .with_sched_latency(1ms)
                                .with_min_slice(50us)
                                .with_host_poll_interval(100us)
                                .with_max_polls_per_host_poll(10)
                                .with_exception_policy(cw::ExceptionPolicy::capture)
                                .with_unhandled_exception([](std::exception_ptr, cw::TaskInfo) {})
                                .build();
  CHECK(other.stats().queues == 1);
}

#include "catch.hpp"
#include "virtual_time.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;
using Catch::Matchers::WithinAbs;

namespace {

struct Party {
  std::uint64_t weight;
  std::function<Ns()> length;  // of its next resume
  std::optional<Ns> slice;
};

/// Queues whose tasks never wait. Runs them resume by resume, and holds the picker's guarantee against each.
class Contest {
 public:
  explicit Contest(std::vector<Party> parties, cw::Budget step = {10s, 1})
      : parties_{std::move(parties)},
        longest_(parties_.size(), Ns{0}),
        step_{step},
        executor_{build(parties_)} {
    for (std::size_t i = 0; i < parties_.size(); ++i) {
      cw::QueueHandle queue = executor_->queue(static_cast<int>(i));
      for (int tasks = 0; tasks < 2; ++tasks) {
        queue.spawn([this, i] { return busy([this, i] { return next_length(i); }); });
      }
    }
  }

  void run_for(Ns time) {
    Stopwatch watch;
    while (watch.elapsed() < time) {
      executor_->run_ready(step_);
      check_guarantee();
    }
  }

  [[nodiscard]] Ns service(std::size_t party) const {
    return executor_->stats(static_cast<int>(party)).service;
  }
  [[nodiscard]] double share(std::size_t party) const {
    return static_cast<double>(service(party).count()) /
           static_cast<double>(executor_->stats().service.count());
  }
  [[nodiscard]] bool holds() const { return violation_.empty(); }
  [[nodiscard]] const std::string& violation() const { return violation_; }
  VirtualExecutor<>& executor() { return *executor_; }

 private:
  static std::unique_ptr<VirtualExecutor<>> build(const std::vector<Party>& parties) {
    VirtualBuilder<> builder;
    for (std::size_t i = 0; i < parties.size(); ++i) {
      builder.with_queue(static_cast<int>(i), cw::QueueOptions{parties[i].weight, parties[i].slice, {}});
    }
    return std::unique_ptr<VirtualExecutor<>>{new VirtualExecutor<>(builder.build())};
  }

  Ns next_length(std::size_t party) {
    Ns length = parties_[party].length();
    longest_[party] = std::max(longest_[party], length);
    return length;
  }

  [[nodiscard]] Ns request(std::size_t party) const {
    if (parties_[party].slice) return *parties_[party].slice;
    if (executor_->stats().slices < 2) return 2ms;  // the first to join was alone
    return std::max<Ns>(100us, Ns{2ms} / static_cast<int>(parties_.size()));
  }

  /// -(r + p) < lag < max(r, q) + the other p, and lag is exactly what the weights promise less what was given.
  void check_guarantee() {
    Ns sum{0};
    Ns q = 2ms;  // the first request of the first to join
    std::uint64_t weights = 0;
    for (std::size_t i = 0; i < parties_.size(); ++i) {
      sum += longest_[i];
      q = std::max({q, longest_[i], request(i)});
      weights += parties_[i].weight;
    }
    const Ns all = executor_->stats().service;
    for (std::size_t i = 0; i < parties_.size(); ++i) {
      const cw::QueueStats stats = executor_->stats(static_cast<int>(i));
      const double due = static_cast<double>(all.count()) * static_cast<double>(parties_[i].weight) /
                         static_cast<double>(weights);
      const double owed = due - static_cast<double>(stats.service.count());
      const bool exact = std::abs(owed - static_cast<double>(stats.lag.count())) <= 2.0 + due * 1e-15;
      if (exact && -(std::max<Ns>(request(i), i == 0 ? 2ms : 0ms) + longest_[i]) < stats.lag &&
          stats.lag < std::max(request(i), q) + sum - longest_[i]) {
        continue;
      }
      if (violation_.empty()) {
        violation_ = "queue " + stats.name + " has lag " + std::to_string(stats.lag.count()) + ", is owed " +
                     std::to_string(owed) + " after " + std::to_string(all.count()) + " ns";
      }
    }
  }

  std::vector<Party> parties_;
  std::vector<Ns> longest_;
  cw::Budget step_;
  std::unique_ptr<VirtualExecutor<>> executor_;
  std::string violation_;
};

std::function<Ns()> constant(Ns length) {
  return [length] { return length; };
}
std::function<Ns()> uniform(std::uint64_t seed, Ns least, Ns most) {
  return [random = Random{seed}, least, most]() mutable {
    return least + Ns{static_cast<std::int64_t>(
                       random.below(static_cast<std::uint64_t>((most - least).count()) + 1))};
  };
}
/// Each doubling is half as frequent: no mean to speak of, up to 1024 times the least.
std::function<Ns()> heavy_tailed(std::uint64_t seed, Ns least) {
  return [random = Random{seed}, least]() mutable {
    Ns length = least;
    for (int doublings = 0; doublings < 10 && random.below(2) == 0; ++doublings) length *= 2;
    return length;
  };
}

}  // namespace

TEST_CASE("queues that are always runnable share the time by their weights, with resumes of one length") {
  Contest contest{{{1, constant(10us), {}}, {2, constant(10us), {}}, {5, constant(10us), {}}}};
  contest.run_for(400ms);
  INFO(contest.violation());
  CHECK(contest.holds());
  CHECK_THAT(contest.share(0), WithinAbs(1.0 / 8, 0.01));
  CHECK_THAT(contest.share(1), WithinAbs(2.0 / 8, 0.01));
  CHECK_THAT(contest.share(2), WithinAbs(5.0 / 8, 0.01));
}

TEST_CASE(
    "queues that are always runnable share the time by their weights, with resumes of uniform lengths") {
  Contest contest{
      {{3, uniform(1, 1us, 50us), {}}, {1, uniform(2, 1us, 200us), {}}, {4, uniform(3, 5us, 6us), {}}}};
  contest.run_for(600ms);
  INFO(contest.violation());
  CHECK(contest.holds());
  CHECK_THAT(contest.share(0), WithinAbs(3.0 / 8, 0.01));
  CHECK_THAT(contest.share(1), WithinAbs(1.0 / 8, 0.01));
}

TEST_CASE("queues that are always runnable share the time by their weights, with heavy-tailed resumes") {
  Contest contest{
      {{1, heavy_tailed(4, 2us), {}}, {7, heavy_tailed(5, 5us), {}}, {2, heavy_tailed(6, 20us), {}}}};
  contest.run_for(8s);
  INFO(contest.violation());
  CHECK(contest.holds());
  CHECK_THAT(contest.share(0), WithinAbs(0.1, 0.01));
  CHECK_THAT(contest.share(1), WithinAbs(0.7, 0.01));
}

TEST_CASE("queues of equal weight get equal time though one's resumes are a hundred times longer") {
  Contest contest{{{1, constant(2us), {}}, {1, constant(200us), {}}}};
  contest.run_for(500ms);
  INFO(contest.violation());
  CHECK(contest.holds());
  CHECK_THAT(contest.share(0), WithinAbs(0.5, 0.01));
}

TEST_CASE("the guarantee holds where readings of the clock are strides apart") {
  // A step of so many resumes ends where a stride does; a stride of 16 resumes of 300 ns counts as one of 4.8 us.
  Contest contest{{{1, constant(300ns), {}}, {3, uniform(7, 100ns, 4us), {}}}, cw::Budget{10s, 64}};
  contest.run_for(100ms);
  CHECK_THAT(contest.share(0), WithinAbs(0.25, 0.01));
  for (int queue : {0, 1}) {
    const cw::QueueStats stats = contest.executor().stats(queue);
    const Ns other = contest.executor().stats(1 - queue).longest_resume;
    CHECK(stats.worst_lag < 2ms + other);
    CHECK(stats.worst_debt > -(2ms + stats.longest_resume));
  }
}

TEST_CASE("a weight of 1 against 2^20 is served in time and gets no more than its due") {
  Contest contest{{{std::uint64_t{1} << 20U, constant(100us), {}}, {1, constant(1us), 10us}}};
  contest.run_for(25s);
  INFO(contest.violation());
  CHECK(contest.holds());
  CHECK(contest.service(1) >= 20us);  // two requests at least: it is due 23.8 us
  CHECK(contest.service(1) <= 23'841ns + 11us);
}

TEST_CASE("a queue with a short slice is served sooner, with the same share") {
  Contest contest{{{1, constant(10us), 500us}, {1, constant(10us), 50us}, {1, constant(10us), 500us}}};
  contest.run_for(600ms);
  INFO(contest.violation());
  CHECK(contest.holds());
  for (std::size_t i = 0; i < 3; ++i) CHECK_THAT(contest.share(i), WithinAbs(1.0 / 3, 0.01));
  const cw::QueueStats quick = contest.executor().stats(1);
  const cw::QueueStats slow = contest.executor().stats(0);
  CHECK(quick.slices == 10 * slow.slices);
  // It waits for one slice of another, not for one of each.
  CHECK(quick.waits.max() <= 500us + 10us);
  CHECK(slow.waits.max() > 500us + 10us);
}

TEST_CASE("a queue that overran pays for it later") {
  auto executor = VirtualBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build();
  RunLog log;
  executor.queue(0).spawn(logged, std::ref(log), 0, 10ms, 1);
  executor.queue(0).spawn(logged, std::ref(log), 0, 10us, 500);
  executor.queue(1).spawn(logged, std::ref(log), 1, 10us, 2'000);
  executor.run_ready(unbounded);
  REQUIRE(log.runs.size() > 3);
  CHECK(log.runs[0] ==
        RunLog::Run{1, 100, 1ms});  // alone for a moment, queue 0 began a request of 2 ms: a later deadline
  CHECK(log.runs[1] == RunLog::Run{0, 1, 10ms});
  CHECK(log.runs[2] == RunLog::Run{1, 900, 9ms});  // until it has had as much
  CHECK(log.runs[3].who == 0);
  CHECK(executor.stats(0).worst_debt == -4'500us);
}

/// \file
/// The random program of model.hpp: what its tasks do, and what is done to their executor from outside.
#pragma once

#include "model.hpp"

namespace model {

/// A stranger's awaitable: completes at once, declines to suspend, or keeps the handle until the world lets
/// it go.
struct World::Stranger {
  World& world;
  Record& record;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> handle) {
    world.suspends(record, Phase::abroad);
    record.woken = false;
    switch (world.below(4)) {
      case 0:
        world.not_suspended(record);
        return false;
      case 1:
        world.not_suspended(record);  // the task goes on at once
        handle.resume();
        return true;
      default:
        world.strangers_.push_back({handle, &record});
        return true;
    }
  }
  void await_resume() const noexcept {}
};

/// Lets time pass, strangers complete and wakers wake when the executor would sleep; stops it when there are
/// none.
struct World::Host {
  World& world;

  void poll(cw::PollTimeout timeout) {
    if (timeout && timeout->count() == 0) return;
    if (!world.strangers_.empty()) {
      world.let_go();
    } else if (timeout && world.chance(2)) {
      cw::ManualClock::advance(*timeout);
    } else if (!world.wakers_.empty() && world.chance(2)) {
      world.wake();
    } else {
      world.executor_->stop();
    }
  }
  void wake() noexcept {}
};

inline cw::Task<Value> World::body(Record& record, Sentinel, Tracked, int depth) {
  struct Frame {
    World& world;
    Record& record;
    int depth;
    ~Frame() { world.frame_gone(record, depth); }
  };
  if (depth == 0) {
    require(record.phase == Phase::unstarted, "has been started twice", record);
    goes_on(record);
    record.id = cw::this_task::id();
  }
  ++record.frames;
  Frame frame{*this, record, depth};
  Tracked local{*this};
  std::optional<cw::stop_callback<std::function<void()>>> on_stop;
  if (chance(6)) on_stop.emplace(cw::this_task::stop_token(), [this] { noise(); });
  while (step()) {
    if (chance(3)) cw::ManualClock::advance(std::chrono::nanoseconds{below(40'000)});
    switch (below(20)) {
      case 0:
      case 1:
        suspends(record, Phase::runnable);
        co_await cw::yield_now();
        goes_on(record);
        break;
      case 2:
        record.phase = Phase::maybe_runnable;
        co_await cw::yield_maybe();
        goes_on(record);
        break;
      case 3: {
        const std::chrono::nanoseconds d{below(100'000)};
        suspends(record, Phase::sleeping);
        record.deadline = now() + d.count();
        co_await cw::sleep_for(d);
        goes_on(record);
        break;
      }
      case 4:
      case 5:
      case 6:
        suspends(record, Phase::waiting);
        record.woken = false;
        ++record.suspension;
        try {
          auto keep = [&](cw::Waker waker) {
            if (wakers_.size() > 40) wakers_[below(wakers_.size())] = wakers_.back();
            if (wakers_.size() > 40) wakers_.pop_back();
            wakers_.push_back({std::move(waker), &record, record.suspension});
            if (chance(3)) {
              note_wake(wakers_.size() - 1);
              wakers_.back().waker.wake();
            }
            if (chance(6)) noise();
            if (chance(8)) throw Thrown{0};
          };
          co_await cw::suspend(keep);
          goes_on(record);
        } catch (const Thrown&) {
          not_suspended(record);
        }
        break;
      case 7:
      case 8: {
        Stranger stranger{*this, record};
        co_await stranger;
        goes_on(record);
        break;
      }
      case 9: {
        cw::QueueHandle to = executor_->queue(static_cast<int>(below(queues)));
        const bool stays = to.same_queue(cw::this_task::queue());
        if (!stays) suspends(record, Phase::runnable);
        co_await cw::switch_to(to);
        if (!stays) goes_on(record);
        break;
      }
      case 10:
      case 11:
        spawn();
        break;
      case 12:
        if (depth < 5) {
          bool failed = false;
          try {
            auto child = body(record, Sentinel{*this, record}, Tracked{*this}, depth + 1);
            Value value = co_await std::move(child);
            static_cast<void>(value);
          } catch (const Thrown& thrown) {
            if (chance(2)) {
              if (depth == 0) {
                record.threw = true;
                record.value = thrown.number;
              }
              throw;
            }
            failed = true;
          }
          static_cast<void>(failed);
        }
        break;
      case 13:
      case 14:
        if (!handles_.empty()) {
          OwnedHandle owned = take_handle();
          if (owned.record == &record) {
            handles_.push_back(std::move(owned));
            break;
          }
          const bool done = owned.handle.done();
          require(done == owned.record->gone, "is done before it is gone, or the other way round",
                  *owned.record);
          if (!done) {
            suspends(record, Phase::joining);
            record.joined = owned.record;
          }
          auto result = co_await owned.handle;
          if (!done) goes_on(record);
          check(*owned.record, result);
          if (chance(3)) handles_.push_back(std::move(owned));
        }
        break;
      case 15:
        wake();
        break;
      case 16:
        abort();
        break;
      case 17:
        noise();
        break;
      case 18:
        if (chance(4)) {
          if (depth == 0) {
            record.threw = true;
            record.value = record.index;
          }
          throw Thrown{record.index};
        }
        if (chance(100)) {
          const std::int64_t patience = static_cast<std::int64_t>(1 + below(200'000));
          patience_ends_ = std::min(patience_ends_, now() + patience);
          shut_down(cw::Shutdown::drain_for(std::chrono::nanoseconds{patience}), false);
        }
        if (chance(200)) executor_->stop();
        break;
      default:
        if (chance(2)) {
          const std::uint64_t number = random_();
          if (depth == 0) {
            record.returned = true;
            record.value = number;
          }
          co_return Value{Tracked{*this}, number};
        }
    }
  }
  if (depth == 0) {
    record.returned = true;
    record.value = 0;
  }
  co_return Value{Tracked{*this}, 0};
}

inline void World::begin() {
  records_.clear();
  refusing_ = false;
  patience_ends_ = cw::detail::never;
  executor_.reset(
      new Executor(cw::ExecutorBuilder<int, cw::ManualClock>{}
                       .with_queue(0, 1 + below(4))
                       .with_queue(1, 1 + below(4), cw::LAS{cw::LASOptions{.aging = chance(2) ? 3U : 0U}})
                       .with_queue(2, 1 + below(4), cw::QuantizedLAS{})
                       .with_queue(3, 1 + below(4), cw::ArrivalFifo{})
                       .build()));
  if (chance(2)) executor_->on_runnable([] {});
}

inline void World::act_from_outside() {
  if (!step()) return;
  switch (below(24)) {
    case 0:
    case 1:
    case 2:
      spawn();
      break;
    case 3:
      spawn_remotely();
      break;
    case 4:
      wake();
      break;
    case 5:
      abort();
      break;
    case 6:
      take_result();
      break;
    case 7:
      let_go();
      break;
    case 8:
      cw::ManualClock::advance(std::chrono::nanoseconds{below(200'000)});
      break;
    case 9:
      quiesce();
      break;
    case 10:
      if (chance(3)) run_until();
      break;
    case 11:
      if (chance(80)) {
        const bool aborts = chance(2);
        shut_down(aborts ? cw::Shutdown::abort() : cw::Shutdown::drain(), aborts);
      }
      if (chance(10)) executor_->stop();
      break;
    case 12:
      if (chance(60)) destroy();
      break;
    default:
      run_ready();
      break;
  }
}

inline void World::run_ready() {
  try {
    cw::Budget budget;
    if (chance(2)) budget.polls = static_cast<std::uint32_t>(1 + below(10));
    static_cast<void>(executor_->run_ready(budget));
  } catch (const Thrown& thrown) {
    ++records_[thrown.number]->thrown_by_run;
  }
}

inline void World::run_until() {
  Record& main = new_record();
  main.is_main = true;
  main.may_be_cancelled = true;  // by a stop, or another's exception
  Host host{*this};
  try {
    Value value = executor_->run_until(host, body(main, Sentinel{*this, main}, Tracked{*this}, 0));
    require(main.returned && value.number == main.value, "has lost its value", main);
  } catch (const Thrown& thrown) {
    if (!(main.threw && thrown.number == main.value)) ++records_[thrown.number]->thrown_by_run;
  } catch (const cw::JoinError& error) {
    require(error.code() == cw::JoinErrc::cancelled && !main.returned && !main.threw,
            "has not been cancelled", main);
  }
  require(main.gone, "is main, and outlives run_until", main);
}

/// Drives until nothing is runnable; then nobody may have a reason to be.
inline void World::quiesce() {
  for (int turns = 0;; ++turns) {
    if (turns > 1'000'000) return fail("it never comes to rest");
    try {
      if (!executor_->run_ready(cw::Budget{.time = std::chrono::hours{1}, .polls = 1'000}).runnable) break;
    } catch (const Thrown& thrown) {
      ++records_[thrown.number]->thrown_by_run;
    }
  }
  for (const auto& record : records_) {
    const Record& r = *record;
    if (r.gone) {
      require(r.returned || r.threw || cancellation_expected(r), "has ended for no reason", r);
      if (r.threw && !r.is_main) require(r.thrown_by_run == 1, "failed, and run has thrown that not once", r);
      continue;
    }
    require(!(r.may_not_resume && r.phase != Phase::abroad), "was aborted, and has been forgotten", r);
    switch (r.phase) {
      case Phase::unstarted:
      case Phase::running:
      case Phase::maybe_runnable:
      case Phase::runnable:
        require(false, "is runnable, and has been forgotten", r);
        break;
      case Phase::sleeping:
        require(r.deadline > now(), "has slept long enough, and has been forgotten", r);
        break;
      case Phase::waiting:
      case Phase::abroad:
        require(!r.woken, "has been woken, and forgotten", r);
        break;
      case Phase::joining:
        require(!r.joined->gone, "joins one that has ended, and has been forgotten", r);
        break;
    }
  }
  const cw::ExecutorStats stats = executor_->stats();
  if (stats.live_tasks != count_live()) fail("the number of live tasks is wrong");
  if (stats.runnable_tasks != 0) fail("the number of runnable tasks is wrong");
  if (executor_->tasks().size() != stats.live_tasks) fail("the list of live tasks is wrong");
}

/// The executor goes, in whatever state its tasks are; those that strangers hold go with the strangers.
inline void World::destroy() {
  if (!executor_) return;
  destroyed_alive += count_live();
  for (auto& record : records_) note_abort(*record);
  refusing_ = true;
  destroying_ = true;
  last_destroyed_ = ~cw::TaskId{0};
  std::unique_ptr<Executor> gone = std::move(executor_);
  executor_ = nullptr;
  gone.reset();
  destroying_ = false;
}

inline void World::end() {
  release_strangers();
  while (!handles_.empty() && failure.empty()) {
    OwnedHandle owned = take_handle();
    auto result = owned.handle.try_take();
    if (!result) {
      fail("a handle is not done after the end of its executor");
    } else {
      check(*owned.record, *result);
    }
  }
  handles_.clear();
  for (const OwnedWaker& waker : wakers_) waker.waker.wake();
  wakers_.clear();
  for (const auto& record : records_) require(record->gone, "outlives its executor", *record);
  if (tracked != 0) fail(std::to_string(tracked) + " objects are left");
}

}  // namespace model

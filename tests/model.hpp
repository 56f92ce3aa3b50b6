/// \file
/// A random program over one executor, and the simple model that says what must come of it.
///
/// Every task has a Record in which the program notes, before it does something, what that means for the task
/// by the rules of the library: what it waits for, whether that has come, whether it was aborted. When a task
/// goes on, ends or is destroyed, its record must allow it; when nothing is runnable, no record may call for
/// more.
#pragma once

#include <algorithm>
#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/clockworker.hpp>

namespace model {

namespace cw = clockworker;

enum class Phase { unstarted, running, maybe_runnable, runnable, sleeping, waiting, abroad, joining };

struct Record {
  std::size_t index = 0;
  Phase phase = Phase::unstarted;
  cw::TaskId id = 0;  // once it has started
  bool is_main = false;
  bool posted = false;  // spawned through a Remote: not on its queue before the executor looks at its inbox
  // The task
  int owners = 0;     // sentinels: in the callable, in the root frame
  int frames = 0;     // nested bodies that have begun and have not been destroyed
  bool gone = false;  // callable and frames are
  bool aborted_while_running = false;
  bool may_not_resume = false;  // aborted while it did not run, or suspended after
  bool may_be_cancelled = false;
  // What it waits for
  std::int64_t deadline = 0;
  std::uint64_t suspension = 0;
  bool woken = false;
  const Record* joined = nullptr;
  // Its end
  bool returned = false;
  bool threw = false;
  std::uint64_t value = 0;
  bool taken = false;
  int thrown_by_run = 0;
};

struct Thrown {
  std::uint64_t number;
};

class World;

/// Counts the living; the number must be zero in the end, and may never fall below.
class Tracked {
 public:
  explicit Tracked(World& in);
  Tracked(const Tracked& other);
  Tracked(Tracked&& other) noexcept;
  Tracked& operator=(const Tracked&) = default;
  Tracked& operator=(Tracked&&) = default;
  ~Tracked();

 private:
  World* world_;
};

/// The callable and the root frame of a task each have one; the task is gone when both are.
class Sentinel {
 public:
  Sentinel(World& in, Record& of) : world_{&in}, record_{&of} { ++record_->owners; }
  Sentinel(const Sentinel& other) : world_{other.world_}, record_{other.record_} {
    if (record_ != nullptr) ++record_->owners;
  }
  Sentinel(Sentinel&& other) noexcept
      : world_{other.world_}, record_{std::exchange(other.record_, nullptr)} {}
  Sentinel& operator=(const Sentinel&) = delete;
  ~Sentinel();

 private:
  World* world_;
  Record* record_;
};

struct Value {
  Tracked tracked;
  std::uint64_t number;
};

struct OwnedHandle {
  cw::JoinHandle<Value> handle;
  Record* record = nullptr;
};

class World {
 public:
  using Executor = cw::Executor<int, cw::ManualClock>;
  static constexpr int queues = 4;

  World(std::uint64_t seed, std::uint64_t steps) : steps_left{steps}, random_{seed} {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // --- For the test

  /// A whole life of an executor: a random program, its end, and everything that is left.
  void live_once() {
    begin();
    const std::uint64_t until = steps_left - std::min(steps_left, 500 + below(2'500));
    while (steps_left > until && executor_ && failure.empty()) act_from_outside();
    if (executor_) quiesce();
    if (executor_ && chance(3)) {
      shut_down(cw::Shutdown::abort(), true);
      quiesce();
      release_strangers();
      quiesce();
      if (count_live() != 0) fail("a task has survived shutdown(abort)");
    }
    destroy();
    end();
  }

  std::string failure;  // the first
  std::uint64_t steps_left;
  std::uint64_t tasks = 0;
  std::uint64_t destroyed_alive = 0;  // tasks that an executor's destructor ended

  // --- For the program's parts

  void fail(const std::string& what) {
    if (failure.empty()) failure = what;
  }
  void require(bool holds, const char* what, const Record& record) {
    if (!holds) fail("task " + std::to_string(record.index) + ": " + what);
  }
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  bool chance(std::uint64_t one_in) { return below(one_in) == 0; }
  bool step() {
    if (steps_left == 0) return false;
    --steps_left;
    return failure.empty();
  }
  static std::int64_t now() { return cw::ManualClock::now().time_since_epoch().count(); }
  static const char* thread() {
    static thread_local const char here = 0;
    return &here;
  }

  std::int64_t tracked = 0;
  const char* owner = thread();

  /// A Task is suspending for sure.
  void suspends(Record& record, Phase phase) {
    record.phase = phase;
    if (record.aborted_while_running) record.may_not_resume = true;
  }
  /// It has not, after all.
  void not_suspended(Record& record) {
    record.phase = Phase::running;
    if (std::exchange(record.may_not_resume, false)) record.aborted_while_running = true;
  }
  /// It has gone on after a suspension, or perhaps without one.
  void goes_on(Record& record) {
    require(thread() == owner, "has been resumed on another thread", record);
    require(!record.may_not_resume, "has been resumed though it was aborted", record);
    require(!record.gone, "has been resumed after its end", record);
    switch (record.phase) {
      case Phase::sleeping:
        require(now() >= record.deadline, "has slept too short", record);
        break;
      case Phase::waiting:
      case Phase::abroad:
        require(record.woken, "has been resumed without a wake", record);
        break;
      case Phase::joining:
        require(record.joined->gone, "has been resumed before the joined task's end", record);
        break;
      default:
        break;
    }
    record.phase = Phase::running;
  }

  /// What a result must be, seen by whoever takes it.
  void check(Record& record, cw::JoinResult<Value>& result) {
    if (record.taken) {
      require(!result && result.error().code() == cw::JoinErrc::result_taken, "has given its result twice",
              record);
    } else if (record.returned) {
      require(result.has_value() && result->number == record.value, "has lost its value", record);
    } else if (record.threw) {
      require(!result && result.error().code() == cw::JoinErrc::exception, "has lost its exception", record);
    } else {
      require(!result && result.error().code() == cw::JoinErrc::cancelled, "is not cancelled", record);
      require(cancellation_expected(record), "was cancelled for no reason", record);
    }
    if (record.returned || record.threw) record.taken = true;
  }

  // --- What program and noise do

  cw::Task<Value> body(Record& record, Sentinel sentinel, Tracked argument, int depth);

  Record& new_record() {
    records_.push_back(std::make_unique<Record>());
    records_.back()->index = records_.size() - 1;
    ++tasks;
    return *records_.back();
  }
  void spawn() {
    Record& record = new_record();
    OwnedHandle owned;
    owned.record = &record;
    cw::QueueHandle queue = executor_->queue(static_cast<int>(below(queues)));
    if (chance(3)) queue = queue.group(below(3));
    if (chance(2)) {
      owned.handle = queue.spawn(
          [this, &record, kept = Tracked{*this}, sentinel = Sentinel{*this, record}](Tracked argument) {
            return body(record, Sentinel{*this, record}, std::move(argument), 0);
          },
          Tracked{*this});
    } else {
      owned.handle = queue.spawn(body(record, Sentinel{*this, record}, Tracked{*this}, 0));
    }
    if (owned.handle.id() == 0) {
      require(refusing_, "was refused for no reason", record);
      require(record.gone, "was refused, but lives", record);
      record.may_be_cancelled = true;
    } else {
      require(!refusing_, "was not refused", record);
    }
    if (!chance(5)) handles_.push_back(std::move(owned));
  }
  void spawn_remotely() {
    Record& record = new_record();
    record.posted = true;
    record.may_be_cancelled = refusing_;
    auto handle = executor_->remote().spawn(
        static_cast<int>(below(queues)),
        [this, &record, sentinel = Sentinel{*this, record}](Tracked argument) {
          return body(record, Sentinel{*this, record}, std::move(argument), 0);
        },
        Tracked{*this});
    if (chance(4)) {
      note_abort(record);
      handle.abort();
    }
  }
  void wake() {
    if (wakers_.empty()) return;
    const std::size_t at = below(wakers_.size());
    note_wake(at);
    const cw::Waker waker = wakers_[at].waker;
    waker.wake();
    if (chance(4)) waker.wake();
  }
  void abort() {
    if (handles_.empty()) return;
    const std::size_t at = below(handles_.size());
    note_abort(*handles_[at].record);
    handles_[at].handle.abort();  // a stop callback may drop the handle in the midst of it
  }
  void drop_handle() {
    if (!handles_.empty()) static_cast<void>(take_handle());
  }
  void take_result() {
    if (handles_.empty()) return;
    OwnedHandle owned = take_handle();
    auto result = owned.handle.try_take();
    if (result) check(*owned.record, *result);
    if (chance(2)) handles_.push_back(std::move(owned));
  }
  void let_go() {
    if (strangers_.empty()) return;
    const std::size_t at = below(strangers_.size());
    std::swap(strangers_[at], strangers_.back());
    const Abroad abroad = strangers_.back();
    strangers_.pop_back();
    abroad.record->woken = true;
    abroad.handle.resume();
  }
  void shut_down(cw::Shutdown mode, bool aborts) {
    refusing_ = true;
    for (auto& record : records_) {
      if (record->posted && record->phase == Phase::unstarted) record->may_be_cancelled = true;
    }
    if (aborts) {
      for (auto& record : records_) note_abort(*record);
    }
    executor_->shutdown(mode);
  }
  /// What destructors of locals and stop callbacks do.
  void noise() {
    if (noise_depth_ >= 3 || !step()) return;
    ++noise_depth_;
    switch (below(6)) {
      case 0:
        wake();
        break;
      case 1:
        abort();
        break;
      case 2:
        drop_handle();
        break;
      case 3:
        let_go();
        break;
      case 4:
        if (executor_) spawn();
        break;
      default:
        take_result();
        break;
    }
    --noise_depth_;
  }
  void frame_gone(Record& record, int depth) {
    require(thread() == owner, "has been destroyed on another thread", record);
    require(record.frames == depth + 1, "has been destroyed outermost frame first", record);
    --record.frames;
    if (depth == 0 && destroying_ && !record.returned && !record.threw && record.phase != Phase::abroad) {
      require(record.id < last_destroyed_, "was not destroyed newest first", record);
      last_destroyed_ = record.id;
    }
    if (chance(8)) noise();
  }

 private:
  struct OwnedWaker {
    cw::Waker waker;
    Record* record;
    std::uint64_t suspension;
  };
  struct Abroad {
    std::coroutine_handle<> handle;
    Record* record;
  };
  struct Stranger;
  struct Host;

  OwnedHandle take_handle() {
    std::swap(handles_[below(handles_.size())], handles_.back());
    OwnedHandle owned = std::move(handles_.back());
    handles_.pop_back();
    return owned;
  }
  void note_wake(std::size_t at) {
    Record& record = *wakers_[at].record;
    if (record.phase == Phase::waiting && record.suspension == wakers_[at].suspension) record.woken = true;
  }
  void note_abort(Record& record) {
    if (record.gone || record.returned || record.threw) return;
    record.may_be_cancelled = true;
    if (record.phase == Phase::running || (record.phase == Phase::maybe_runnable && is_current(record))) {
      record.aborted_while_running = true;
    } else {
      record.may_not_resume = true;
    }
  }
  /// In yield_maybe() a timer may go off while the task has not yielded, and a stop callback abort just this
  /// one.
  [[nodiscard]] static bool is_current(const Record& record) {
    if (cw::detail::thread_state.ring == nullptr) return false;
    const cw::detail::TaskCell* cell = cw::detail::thread_state.ring->newest;
    while (cell != nullptr && cell->id != record.id) cell = cell->older;
    return cell != nullptr && cell->status == cw::detail::TaskStatus::running;
  }
  [[nodiscard]] bool cancellation_expected(const Record& record) const {
    return record.may_be_cancelled || now() >= patience_ends_;
  }
  [[nodiscard]] std::size_t count_live() const {
    return static_cast<std::size_t>(
        std::count_if(records_.begin(), records_.end(), [](const auto& record) { return !record->gone; }));
  }

  void begin();
  void act_from_outside();
  void run_ready();
  void run_until();
  void quiesce();
  void release_strangers() {
    while (!strangers_.empty()) let_go();
  }
  void destroy();
  void end();

  std::mt19937_64 random_;
  std::unique_ptr<Executor> executor_;
  std::vector<std::unique_ptr<Record>> records_;
  std::vector<OwnedHandle> handles_;
  std::vector<OwnedWaker> wakers_;
  std::vector<Abroad> strangers_;
  bool refusing_ = false;
  bool destroying_ = false;
  cw::TaskId last_destroyed_ = 0;
  std::int64_t patience_ends_ = cw::detail::never;
  int noise_depth_ = 0;
};

inline Tracked::Tracked(World& in) : world_{&in} { ++world_->tracked; }
inline Tracked::Tracked(const Tracked& other) : world_{other.world_} { ++world_->tracked; }
inline Tracked::Tracked(Tracked&& other) noexcept : world_{other.world_} { ++world_->tracked; }
inline Tracked::~Tracked() {
  if (--world_->tracked < 0) world_->fail("something has been destroyed twice");
}

inline Sentinel::~Sentinel() {
  if (record_ == nullptr || --record_->owners != 0) return;
  world_->require(!record_->gone, "has been destroyed twice", *record_);
  world_->require(record_->frames == 0, "has frames that outlive it", *record_);
  record_->gone = true;
}

}  // namespace model

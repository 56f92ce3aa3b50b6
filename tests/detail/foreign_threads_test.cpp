// Foreign awaitables that complete on other threads.

#include <clockworker/detail/foreign.hpp>

#include "catch.hpp"
#include "task_fixtures.hpp"

#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace clockworker_test;

cw::Executor<> real_executor() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build(); }

/// Resumes what it is given, in order, on a thread of its own.
class Pool {
 public:
  Pool() : thread_{[this] { run(); }} {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  ~Pool() { finish(); }

  /// Returns when all has been resumed.
  void finish() {
    {
      std::lock_guard lock{mutex_};
      closing_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

  void resume(std::coroutine_handle<> frame) {
    {
      std::lock_guard lock{mutex_};
      frames_.push_back(frame);
    }
    changed_.notify_one();
  }

  [[nodiscard]] std::thread::id id() const { return thread_.get_id(); }

  /// `co_await pool.hop()`: would go on on the pool's thread, were it not for clockworker.
  auto hop() {
    struct Hop {
      Pool& pool;
      [[nodiscard]] bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> frame) const { pool.resume(frame); }
      void await_resume() const noexcept {}
    };
    return Hop{*this};
  }

 private:
  void run() {
    std::unique_lock lock{mutex_};
    for (;;) {
      changed_.wait(lock, [this] { return closing_ || !frames_.empty(); });
      if (frames_.empty()) return;
      std::vector<std::coroutine_handle<>> now = std::exchange(frames_, {});
      lock.unlock();
      for (std::coroutine_handle<> frame : now) frame.resume();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::coroutine_handle<>> frames_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the others
};

TEST_CASE("foreign: completed on another thread, the task comes back on the executor's, on its own queue",
          "[foreign]") {
  auto executor = real_executor();
  Pool pool;
  int strayed = 0;
  for (int queue : {0, 1}) {
    static_cast<void>(
        executor.queue(queue).spawn([&, queue, home = std::this_thread::get_id()]() -> cw::Task<> {
          for (int i = 0; i < 200; ++i) {
            auto hop = pool.hop();
            co_await hop;
            strayed += std::this_thread::get_id() != home;
            strayed += !cw::this_task::queue().same_queue(executor.queue(queue));
          }
        }));
  }
  executor.run_until_idle();
  CHECK(strayed == 0);
}

TEST_CASE("foreign: what the completing thread wrote is seen by the task", "[foreign]") {
  struct Computes {
    int plain = 0;  // without a lock: the wake itself orders it
    std::thread worker;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> frame) {
      worker = std::thread{[this, frame] {
        plain = 42;
        frame.resume();
      }};
    }
    [[nodiscard]] int await_resume() const noexcept { return plain; }
  };
  auto executor = real_executor();
  auto main = []() -> cw::Task<int> {
    Computes computes;
    int got = co_await computes;
    computes.worker.join();
    co_return got;
  };
  CHECK(executor.run_until(main) == 42);
}

/// Completes on another thread before await_suspend has returned, and then says what it says.
struct Overtakes {
  enum How { returns, throws } how;
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> frame) const {
    std::thread{[frame] { frame.resume(); }}.join();
    if (how == throws) throw std::runtime_error("after all");
  }
  void await_resume() const noexcept {}
};

TEST_CASE("foreign: a completion on another thread may overtake the suspension", "[foreign]") {
  auto executor = real_executor();
  int caught = 0;
  cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
    for (int i = 0; i < 20; ++i) {
      Overtakes overtakes{i % 2 == 0 ? Overtakes::returns : Overtakes::throws};
      try {
        co_await overtakes;
      } catch (const std::runtime_error&) {
        ++caught;
      }
    }
  });
  executor.run_until_idle();
  CHECK(handle.done());
  CHECK(caught == 10);
}

TEST_CASE("foreign: an abort while another thread completes ends the task once, whoever is first",
          "[foreign]") {
  for (int round = 0; round < 200; ++round) {
    auto executor = real_executor();
    Census census;
    std::thread other;
    cw::JoinHandle<> handle = executor.queue(0).spawn([&]() -> cw::Task<> {
      struct Starts {
        std::thread& thread;
        [[nodiscard]] bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> frame) const {
          thread = std::thread{[frame] { frame.resume(); }};
        }
        void await_resume() const noexcept {}
      };
      Counted local{census};
      Starts starts{other};
      co_await starts;
    });
    executor.run_ready();
    handle.abort();
    executor.run_until_idle();
    CHECK(handle.done());
    CHECK(census.living == 0);
    other.join();
  }
}

/// Says on which thread it was destroyed.
struct TellsThread {
  explicit TellsThread(std::atomic<std::thread::id>& to) : where{&to} {}
  TellsThread(TellsThread&& from) noexcept : where{std::exchange(from.where, nullptr)} {}
  TellsThread& operator=(TellsThread&&) = delete;
  ~TellsThread() {
    if (where != nullptr) where->store(std::this_thread::get_id());
  }
  std::atomic<std::thread::id>* where;
};

TEST_CASE("foreign: frames that an executor's end left to a stranger are destroyed on the stranger's thread",
          "[foreign]") {
  std::atomic<std::thread::id> frame{std::this_thread::get_id()};
  std::atomic<std::thread::id> callable{std::this_thread::get_id()};
  Stranger stranger;
  cw::JoinHandle<> handle;
  {
    auto executor = real_executor();
    handle = executor.queue(0).spawn([&, kept = TellsThread{callable}]() -> cw::Task<> {
      TellsThread local{frame};
      co_await stranger;
    });
    executor.run_ready();
  }
  CHECK(handle.done());
  std::thread other{[&] { stranger.complete(); }};
  std::thread::id id = other.get_id();
  other.join();
  CHECK(frame.load() == id);
  CHECK(callable.load() == id);
}

TEST_CASE(
    "foreign: an executor's end while another thread completes destroys the frames once, whoever is first",
    "[foreign]") {
  for (int round = 0; round < 500; ++round) {
    Pool pool;
    std::atomic<int> destroyed{0};
    struct Counts {
      explicit Counts(std::atomic<int>& to) : count{to} {}
      Counts(const Counts&) = delete;
      Counts& operator=(const Counts&) = delete;
      ~Counts() { count.fetch_add(1); }
      std::atomic<int>& count;
    };
    std::vector<cw::JoinHandle<>> handles;
    {
      auto executor = real_executor();
      for (int i = 0; i < 4; ++i) {
        handles.push_back(executor.queue(i % 2).spawn([&]() -> cw::Task<> {
          Counts local{destroyed};
          auto hop = pool.hop();
          co_await hop;
          auto again = pool.hop();
          co_await again;
        }));
      }
      executor.run_ready();
    }
    if (round % 2 == 0) handles.clear();  // while the strangers may be burying
    pool.finish();
    CHECK(destroyed.load() == 4);
    for (const cw::JoinHandle<>& handle : handles) CHECK(handle.done());
  }
}

TEST_CASE("foreign: many tasks and two threads, each await completed once", "[foreign]") {
  auto executor = real_executor();
  Pool one;
  Pool two;
  constexpr int tasks = 200;
  constexpr int hops = 25;
  int done = 0;
  for (int i = 0; i < tasks; ++i) {
    static_cast<void>(executor.queue(i % 2).spawn([&]() -> cw::Task<> {
      for (int hop = 0; hop < hops; ++hop) {
        auto first = one.hop();
        co_await first;
        auto second = two.hop();
        co_await second;
        ++done;
      }
    }));
  }
  executor.run_until_idle();
  CHECK(done == tasks * hops);
}

}  // namespace

// Operations that end on other threads, and that outlive an executor or a context.
// starts threads
#include <clockworker/hosts/asio.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using asio::ip::tcp;
using cw::use_task;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

struct Alive {
  explicit Alive(std::atomic<int>& of) : count{&of} { ++of; }
  Alive(Alive&& other) noexcept : count{std::exchange(other.count, nullptr)} {}
  Alive& operator=(Alive&&) = delete;
  ~Alive() {
    if (count != nullptr) --*count;
  }
  std::atomic<int>* count;
};

/// A context that two threads run.
struct Threads {
  Threads() {
    for (int i = 0; i < 2; ++i) threads.emplace_back([this] { context.run(); });
  }
  ~Threads() { join(); }
  void join() {
    working.reset();
    for (std::thread& thread : threads) {
      if (thread.joinable()) thread.join();
    }
  }
  asio::io_context context;
  asio::executor_work_guard<asio::io_context::executor_type> working = asio::make_work_guard(context);
  std::vector<std::thread> threads;
};

std::pair<tcp::socket, tcp::socket> connection(asio::any_io_executor executor) {
  tcp::acceptor acceptor{executor, {asio::ip::address_v4::loopback(), 0}};
  tcp::socket near{asio::make_strand(executor)};
  near.connect(acceptor.local_endpoint());
  tcp::socket far = acceptor.accept(asio::make_strand(executor));
  return {std::move(near), std::move(far)};
}

TEST_CASE("use_task: operations that complete on other threads bring each task back to its executor",
          "[asio]") {
  Threads threads;
  auto executor = one_queue();
  const auto home = std::this_thread::get_id();
  int elsewhere = 0;
  for (int i = 0; i < 10; ++i) {
    executor.queue(0).spawn([&]() -> cw::Task<> {
      auto [near, far] = connection(threads.context.get_executor());
      std::array<char, 3> bytes{};
      for (int round = 0; round < 100; ++round) {
        co_await asio::async_write(near, asio::buffer("abc", 3), use_task);
        if (std::this_thread::get_id() != home) ++elsewhere;
        co_await asio::async_read(far, asio::buffer(bytes), use_task);
        if (std::this_thread::get_id() != home) ++elsewhere;
        CHECK(bytes == std::array{'a', 'b', 'c'});
      }
    });
  }
  executor.run_until_idle();
  CHECK(elsewhere == 0);
}

TEST_CASE("use_task: an abort that races with the completion on other threads ends the task, once",
          "[asio]") {
  Threads threads;
  auto executor = one_queue();
  std::atomic<int> alive = 0;
  executor.run_until([&]() -> cw::Task<> {
    for (int round = 0; round < 1000; ++round) {
      auto waiting = executor.queue(0).spawn([&, here = Alive{alive}]() -> cw::Task<> {
        asio::steady_timer timer{asio::make_strand(threads.context), std::chrono::microseconds{round % 50}};
        co_await timer.async_wait(use_task);
      });
      auto reading = executor.queue(0).spawn([&, here = Alive{alive}]() -> cw::Task<> {
        auto [near, far] = connection(threads.context.get_executor());
        std::array<char, 300> bytes{};
        const std::string sent(bytes.size(), 'x');
        auto writing = executor.queue(0).spawn([&]() -> cw::Task<> {
          co_await asio::async_write(far, asio::buffer(sent), cw::as_tuple(use_task));
        });
        (void)co_await writing;
        co_await asio::async_read(near, asio::buffer(bytes), use_task);
      });
      co_await cw::sleep_for(std::chrono::microseconds{round % 70});
      waiting.abort();
      reading.abort();
      (void)co_await waiting;
      (void)co_await reading;
    }
  });
  executor.run_until_idle();
  CHECK(alive == 0);
}

TEST_CASE(
    "use_task: an executor destroyed while operations are pending on other threads leaves nothing behind",
    "[asio]") {
  std::atomic<int> alive = 0;
  for (int round = 0; round < 100; ++round) {
    Threads threads;
    {
      auto executor = one_queue();
      for (int i = 0; i < 5; ++i) {
        executor.queue(0).spawn([&, here = Alive{alive}]() -> cw::Task<> {
          asio::steady_timer timer{asio::make_strand(threads.context), 1h};
          co_await timer.async_wait(use_task);
        });
        executor.queue(0).spawn([&, i, here = Alive{alive}]() -> cw::Task<> {
          asio::steady_timer timer{asio::make_strand(threads.context), std::chrono::microseconds{20 * i}};
          co_await timer.async_wait(use_task);
        });
      }
      while (executor.run_ready().runnable) {
      }
    }
    threads.join();
    CHECK(alive == 0);
  }
}

TEST_CASE("use_task: executor, host and context go in any order", "[asio]") {
  const int first = GENERATE(0, 1, 2, 3);
  const bool aborted_before = GENERATE(false, true);
  std::atomic<int> alive = 0;
  struct Holder {
    cw::Executor<> executor = one_queue();
  };
  auto context = std::make_unique<asio::io_context>();
  auto holder = std::make_unique<Holder>();
  auto host = std::make_unique<cw::AsioHost>(*context);
  auto task = holder->executor.queue(0).spawn([&, here = Alive{alive}]() -> cw::Task<> {
    try {
      co_await asio::post(*context, use_task);
    } catch (const std::system_error& error) {
      CHECK(error.code() == asio::error::operation_aborted);
    }
    co_await cw::sleep_for(1h);
  });
  while (holder->executor.run_ready().runnable) {
  }
  if (aborted_before) task.abort();
  switch (first) {
    case 0:
      holder.reset();  // then the context, with the handler in it
      host.reset();
      context.reset();
      break;
    case 1:
      host.reset();
      context.reset();  // the task goes on, if it may
      while (holder->executor.run_ready().runnable) {
      }
      holder.reset();
      break;
    case 2:
      holder.reset();
      context->poll();  // the handler is called, with no executor there
      CHECK(alive == 0);
      break;
    default:  // the executor goes with the task asleep
      host.reset();
      context->poll();
      holder.reset();
      context.reset();
  }
  host.reset();
  context.reset();
  CHECK(alive == 0);
}

}  // namespace

// In which order a task is aborted, its I/O object goes, its executor, and the context. Most of what could go
// wrong here is seen by AddressSanitizer.
#include <clockworker/hosts/asio.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <asio/bind_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using asio::ip::tcp;
using cw::use_task;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

/// On the heap, so that whoever looks at what is gone is seen.
struct Objects {
  Objects(asio::io_context& context, bool strand) {
    asio::any_io_executor executor = context.get_executor();
    if (strand) executor = asio::make_strand(context);
    tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
    socket.emplace(executor);
    socket->connect(acceptor.local_endpoint());
    peer.emplace(acceptor.accept());
    timer.emplace(executor, 1h);
  }
  std::optional<tcp::socket> socket;
  std::optional<tcp::socket> peer;
  std::optional<asio::steady_timer> timer;
};

/// Tasks that wait for an end of theirs: two plain operations and a composed one.
struct Waiting {
  Waiting(cw::Executor<>& executor, Objects& objects) {
    auto queue = executor.queue(0);
    handles[0] = queue.spawn(
        [](tcp::socket& socket) -> cw::Task<> {
          std::array<char, 8> bytes{};
          co_await socket.async_read_some(asio::buffer(bytes), use_task);
        },
        std::ref(*objects.socket));
    handles[1] =
        queue.spawn([](asio::steady_timer& timer) -> cw::Task<> { co_await timer.async_wait(use_task); },
                    std::ref(*objects.timer));
    handles[2] = queue.spawn(
        [](tcp::socket& socket) -> cw::Task<> {
          std::array<char, 8> bytes{};
          co_await asio::async_read(socket, asio::buffer(bytes), use_task);
        },
        std::ref(*objects.peer));
  }
  void abort() {
    for (auto& handle : handles) handle.abort();
  }
  std::array<cw::JoinHandle<>, 3> handles;
};

TEST_CASE("use_task: under an AsioHost a task and the object that it waits for may go in either order",
          "[asio]") {
  const bool strand = GENERATE(false, true);
  const bool object_first = GENERATE(false, true);
  const bool in_handler = GENERATE(false, true);
  asio::io_context context;
  auto executor = one_queue();
  cw::AsioHost host{context};
  auto objects = std::make_unique<Objects>(context, strand);
  Waiting waiting{executor, *objects};
  auto end = [&] {
    if (object_first) objects.reset();
    waiting.abort();
    objects.reset();
  };
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    if (in_handler) {
      co_await asio::post(context, use_task);
      asio::post(context, end);
    } else {
      end();
    }
    while (objects != nullptr) co_await cw::sleep_for(100us);
    for (auto& handle : waiting.handles) (void)co_await handle;
  });
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("use_task: an abort takes effect under an AsioHost whose context is never without handlers",
          "[asio]") {
  asio::io_context context;
  auto executor = one_queue();
  cw::AsioHost host{context};
  Objects objects{context, false};
  Waiting waiting{executor, objects};
  bool over = false;
  std::function<void()> again = [&] {
    if (!over) asio::post(context, again);
  };
  again();
  executor.run_until(host, [&]() -> cw::Task<> {
    co_await cw::sleep_for(1ms);
    waiting.abort();
    for (auto& handle : waiting.handles) (void)co_await handle;
  });
  over = true;
  context.poll();
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE("use_task: an abort between two runs, before or after the object goes, takes effect in the next",
          "[asio]") {
  const bool strand = GENERATE(false, true);
  const bool object_first = GENERATE(false, true);
  const bool by_host = GENERATE(false, true);
  asio::io_context context;
  auto executor = one_queue();
  cw::AsioHost host{context};
  auto objects = std::make_unique<Objects>(context, strand);
  Waiting waiting{executor, *objects};
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  if (object_first) objects.reset();
  waiting.abort();
  objects.reset();
  if (!by_host) context.poll();
  executor.run_until_idle(host);
  CHECK(executor.stats().live_tasks == 0);
}

TEST_CASE(
    "use_task: an executor and the objects that its tasks wait for go in either order, and the context runs "
    "on",
    "[asio]") {
  const bool strand = GENERATE(false, true);
  const bool object_first = GENERATE(false, true);
  const bool guest = GENERATE(false, true);
  const bool in_handler = GENERATE(false, true);
  struct Holder {
    cw::Executor<> executor = one_queue();
  };
  asio::io_context context;
  auto holder = std::make_unique<Holder>();
  auto objects = std::make_unique<Objects>(context, strand);
  std::optional<cw::AsioGuest> seat;
  {
    Waiting waiting{holder->executor, *objects};
    if (guest) {
      seat.emplace(holder->executor, context);
      context.poll();
    } else {
      cw::AsioHost host{context};
      holder->executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
    }
  }
  auto end = [&] {
    if (object_first) objects.reset();
    seat.reset();
    holder.reset();
    objects.reset();
  };
  if (in_handler) {
    asio::post(context, end);
  } else {
    end();
  }
  context.restart();
  CHECK(context.run_for(5s) > 0);
  CHECK(context.stopped());  // nothing is left in it
}

TEST_CASE("use_task: objects in the frames of tasks end with the executor, when the context runs on",
          "[asio]") {
  asio::io_context context;
  {
    auto executor = one_queue();
    cw::AsioHost host{context};
    executor.queue(0).spawn([&]() -> cw::Task<> {
      asio::steady_timer timer{context, 1h};
      co_await timer.async_wait(use_task);
    });
    executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(1ms); });
  }
  context.restart();
  context.run_for(5s);
  CHECK(context.stopped());
}

TEST_CASE("use_task: a task resumes after the end of the context, and keeps no executor of it", "[asio]") {
  auto executor = one_queue();
  auto context = std::make_unique<asio::io_context>();
  int ended = 0;
  auto ends_as_aborted = [&](auto operation) -> cw::Task<> {
    try {
      co_await std::move(operation);
    } catch (const std::system_error& error) {
      CHECK(error.code() == asio::error::operation_aborted);
      ++ended;
    }
  };
  auto on_strand = std::make_unique<asio::steady_timer>(asio::make_strand(*context), 1h);
  auto plain = std::make_unique<asio::steady_timer>(*context, 1h);
  auto queue = executor.queue(0);
  queue.spawn(ends_as_aborted, on_strand->async_wait(use_task));
  queue.spawn(ends_as_aborted, plain->async_wait(asio::bind_executor(asio::make_strand(*context), use_task)));
  queue.spawn(ends_as_aborted, asio::post(asio::make_strand(*context), use_task));
  while (executor.run_ready().runnable) {
  }
  on_strand.reset();  // before their context, as they must
  plain.reset();
  context.reset();
  executor.run_until_idle();
  CHECK(ended == 3);
}

}  // namespace

// An echo server and its clients, all tasks of one executor, over libuv's TCP on the loopback device.
#include <clockworker/hosts/uv.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"
#include "hosts/uv_streams.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <uv.h>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

enum Lane { servers, clients };

cw::Task<> serve(std::shared_ptr<UvConnection> connection) {
  std::array<char, 4096> bytes;
  for (;;) {
    const auto size = co_await read_some(*connection, bytes);
    if (size <= 0) co_return;
    if (co_await write(*connection, std::span{bytes}.first(static_cast<std::size_t>(size))) != 0) co_return;
  }
}

/// Listens, and spawns a task for each connection that comes.
class Server {
 public:
  Server(uv_loop_t* loop, cw::QueueHandle queue) : queue_{std::move(queue)} {
    std::signal(SIGPIPE,
                SIG_IGN);  // as every program with libuv: a write to a peer that has gone is an error
    REQUIRE(uv_tcp_init(loop, &listener_) == 0);
    sockaddr_in any{};
    REQUIRE(uv_ip4_addr("127.0.0.1", 0, &any) == 0);
    REQUIRE(uv_tcp_bind(&listener_, reinterpret_cast<const sockaddr*>(&any), 0) == 0);
    listener_.data = this;
    REQUIRE(uv_listen(reinterpret_cast<uv_stream_t*>(&listener_), 256, [](uv_stream_t* listener, int) {
              static_cast<Server*>(listener->data)->accept();
            }) == 0);
    int length = sizeof address_;
    REQUIRE(uv_tcp_getsockname(&listener_, reinterpret_cast<sockaddr*>(&address_), &length) == 0);
  }
  [[nodiscard]] const sockaddr* address() const { return reinterpret_cast<const sockaddr*>(&address_); }
  void close() { uv_close(reinterpret_cast<uv_handle_t*>(&listener_), nullptr); }
  int accepted = 0;

 private:
  void accept() {
    auto connection = std::make_shared<UvConnection>(listener_.loop);
    if (uv_accept(reinterpret_cast<uv_stream_t*>(&listener_), connection->stream()) != 0) return;
    ++accepted;
    queue_.spawn(serve, std::move(connection));
  }
  cw::QueueHandle queue_;
  uv_tcp_t listener_;
  sockaddr_in address_{};
};

enum class Fate { finishes, resets, is_aborted };
Fate fate_of(int client) {
  return client % 5 == 1 ? Fate::resets : client % 5 == 3 ? Fate::is_aborted : Fate::finishes;
}

struct Tally {
  int finished = 0;
  int reset = 0;
  int wrong_bytes = 0;
  int failed = 0;
};

/// What client `id` sends at place `i`: no two clients the same.
char byte_of(int id, std::size_t i) {
  const auto x = (static_cast<unsigned>(id) * 2654435761U) ^ (static_cast<unsigned>(i) * 40503U);
  return static_cast<char>(x >> 7);
}

cw::Task<> client(uv_loop_t* loop, const sockaddr* server, int id, Tally& tally) {
  constexpr std::size_t total = 60'000;
  UvConnection connection{loop};
  if (co_await connect(connection, server) != 0) {
    ++tally.failed;
    co_return;
  }
  std::string sent;
  std::array<char, 3000> got;
  for (std::size_t done = 0; done < total;) {
    sent.clear();
    const std::size_t chunk =
        std::min<std::size_t>(total - done, 1 + (static_cast<std::size_t>(id) * 977 + done) % 9000);
    for (std::size_t i = 0; i < chunk; ++i) sent += byte_of(id, done + i);
    if (co_await write(connection, sent) != 0) {
      ++tally.failed;
      co_return;
    }
    if (fate_of(id) == Fate::resets && done > total / 3) {
      connection.reset();
      ++tally.reset;
      co_return;
    }
    for (std::size_t back = 0; back < chunk;) {
      const auto size =
          co_await read_some(connection, std::span{got}.first(std::min(got.size(), chunk - back)));
      if (size <= 0) {
        ++tally.failed;
        co_return;
      }
      for (std::size_t i = 0; i < static_cast<std::size_t>(size); ++i) {
        if (got[i] != byte_of(id, done + back + i)) ++tally.wrong_bytes;
      }
      back += static_cast<std::size_t>(size);
    }
    done += chunk;
    if (fate_of(id) == Fate::is_aborted && done > total / 2) co_await cw::sleep_for(1h);
  }
  ++tally.finished;
}

/// All clients to their ends, some of them aborted on the way: in a read, a write, or asleep.
cw::Task<> run_clients(cw::Executor<Lane>& executor, uv_loop_t* loop, Server& server, Tally& tally,
                       int& cancelled) {
  std::vector<cw::JoinHandle<>> handles;
  for (int id = 0; id < 200; ++id)
    handles.push_back(executor.queue(clients).spawn(client(loop, server.address(), id, tally)));
  for (int id = 3; id < 200; id += 5) {
    co_await cw::sleep_for(1ms);
    handles[static_cast<std::size_t>(id)].abort();
  }
  for (auto& handle : handles) {
    const auto result = co_await handle;
    if (!result) ++cancelled;
  }
  server.close();
}

struct Test {
  Test() {
    REQUIRE(uv_loop_init(&loop) == 0);
    server.emplace(&loop, executor.queue(servers));
  }
  Test(const Test&) = delete;
  Test& operator=(const Test&) = delete;

  void check() {
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(tally.finished == 120);
    CHECK(tally.reset == 40);
    CHECK(tally.wrong_bytes == 0);
    CHECK(cancelled == 40 - tally.failed);  // a write that an abort has ended may return first
    CHECK(server->accepted > 160);          // some are aborted before
    CHECK(executor.stats().live_tasks == 0);
    CHECK(UvConnection::open == 0);
  }

  uv_loop_t loop;
  cw::Executor<Lane> executor =
      cw::ExecutorBuilder<Lane>{}.with_queue(servers, 1).with_queue(clients, 1).build();
  std::optional<Server> server;
  Tally tally;
  int cancelled = 0;
};

TEST_CASE("UvHost: 200 connections are echoed to the last byte, while others are reset and aborted", "[uv]") {
  Test test;
  {
    cw::UvHost host{&test.loop};
    test.executor.run_until(host,
                            run_clients(test.executor, &test.loop, *test.server, test.tally, test.cancelled));
    test.executor.run_until_idle(host);  // the servers see that their clients have gone
  }
  test.check();
  CHECK(uv_loop_close(&test.loop) == 0);
}

TEST_CASE("UvGuest: 200 connections are echoed to the last byte, while others are reset and aborted",
          "[uv]") {
  Test test;
  {
    cw::UvGuest guest{test.executor, &test.loop};
    test.executor.queue(clients).spawn(
        run_clients(test.executor, &test.loop, *test.server, test.tally, test.cancelled));
    uv_run(&test.loop, UV_RUN_DEFAULT);  // ends by itself
  }
  test.check();
  CHECK(uv_loop_close(&test.loop) == 0);
}

TEST_CASE("UvHost: an executor destroyed amid connections leaves nothing to libuv that is not there any more",
          "[uv]") {
  uv_loop_t loop;
  REQUIRE(uv_loop_init(&loop) == 0);
  {
    Tally tally;
    int cancelled = 0;
    std::optional<Server> server;
    cw::UvHost host{&loop};
    auto executor = cw::ExecutorBuilder<Lane>{}.with_queue(servers, 1).with_queue(clients, 1).build();
    server.emplace(&loop, executor.queue(servers));
    executor.queue(clients).spawn(run_clients(executor, &loop, *server, tally, cancelled));
    executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(15ms); });
    executor.shutdown(cw::Shutdown::abort());
    executor.run(host);
    CHECK(executor.stats().live_tasks == 0);
    server->close();
    host.poll(0ns);
  }
  uv_run(&loop, UV_RUN_DEFAULT);
  CHECK(UvConnection::open == 0);
  CHECK(uv_loop_close(&loop) == 0);
}

}  // namespace

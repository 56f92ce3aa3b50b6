// An echo server and its clients over Asio, both as tasks, in both directions.
#include <clockworker/hosts/asio.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <asio/buffer.hpp>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <random>
#include <string>
#include <system_error>
#include <utility>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using asio::ip::tcp;
using cw::use_task;

constexpr int connections = 200;
constexpr int rounds = 20;
constexpr bool is_reset(int number) { return number % 10 == 3; }

struct Echo {
  asio::io_context context;
  cw::Executor<> executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 1).build();
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  int served = 0;
  int broken = 0;    // seen by the server
  int finished = 0;  // clients whose every byte came back
  std::size_t bytes_checked = 0;

  cw::Task<> serve(tcp::socket socket) {
    std::array<char, 700> bytes{};
    for (;;) {
      const auto [error, size] = co_await socket.async_read_some(asio::buffer(bytes), cw::as_tuple(use_task));
      if (error == asio::error::eof) break;
      if (error) {
        ++broken;
        break;
      }
      try {
        co_await asio::async_write(socket, asio::buffer(bytes, size), use_task);
      } catch (const std::system_error&) {
        ++broken;
        break;
      }
    }
    ++served;
  }

  cw::Task<> accept() {
    for (int i = 0; i < connections; ++i) {
      executor.queue(0).spawn(&Echo::serve, this, co_await acceptor.async_accept(use_task));
    }
  }

  cw::Task<> client(int number) {
    tcp::socket socket{context};
    co_await socket.async_connect(acceptor.local_endpoint(), use_task);
    std::minstd_rand random{static_cast<unsigned>(number + 1)};
    for (int round = 0; round < rounds; ++round) {
      std::string sent(1 + random() % 5000, '\0');
      std::ranges::generate(sent, [&] { return static_cast<char>(random()); });
      if (is_reset(number) && round == rounds / 2) {
        co_await asio::async_write(socket, asio::buffer(sent), use_task);
        // Closing resets the connection; the destructor would not, as Asio's does not linger.
        socket.set_option(asio::socket_base::linger{true, 0});
        socket.close();
        co_return;
      }
      std::string received(sent.size(), '\0');
      auto writing = executor.queue(1).spawn(
          [&]() -> cw::Task<> { co_await asio::async_write(socket, asio::buffer(sent), use_task); });
      co_await asio::async_read(socket, asio::buffer(received), use_task);
      (co_await writing).value();
      if (received != sent) co_return;
      bytes_checked += sent.size();
    }
    ++finished;
  }

  void spawn_all() {
    executor.queue(0).spawn(&Echo::accept, this);
    for (int i = 0; i < connections; ++i) executor.queue(1).spawn(&Echo::client, this, i);
  }
  void check() const {
    constexpr int resets = connections / 10;
    CHECK(served == connections);
    CHECK(finished == connections - resets);
    CHECK(broken == resets);
    CHECK(bytes_checked > 5'000'000);
  }
};

TEST_CASE("Asio echo: 200 connections, every byte, some reset in the midst, driven by the executor",
          "[asio]") {
  Echo echo;
  cw::AsioHost host{echo.context};
  echo.spawn_all();
  echo.executor.run_until_idle(host);
  echo.check();
}

TEST_CASE("Asio echo: 200 connections, every byte, some reset in the midst, as a guest", "[asio]") {
  Echo echo;
  cw::AsioGuest guest{echo.executor, echo.context};
  echo.spawn_all();
  echo.context.run();  // until no task lives
  echo.check();
}

}  // namespace

// An Asio program with handlers of its own, and an executor as a guest in its io_context: connections are tasks.
#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/asio.hpp>

#include <asio.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <functional>
#include <utility>

namespace cw = clockworker;
using asio::ip::tcp;
using namespace std::chrono_literals;

cw::Task<> echo(tcp::socket socket) {
  std::array<char, 1024> bytes;
  for (;;) {
    auto [error, size] = co_await socket.async_read_some(asio::buffer(bytes), cw::as_tuple(cw::use_task));
    if (error) co_return;                                                         // closed
    co_await asio::async_write(socket, asio::buffer(bytes, size), cw::use_task);  // throws its errors
  }
}

cw::Task<> client(tcp::endpoint server, asio::io_context& context) {
  tcp::socket socket{context};
  co_await socket.async_connect(server, cw::use_task);
  std::array<char, 5> bytes;
  for (int i = 0; i < 3; ++i) {
    co_await asio::async_write(socket, asio::buffer("hello", 5), cw::use_task);
    co_await asio::async_read(socket, asio::buffer(bytes), cw::use_task);
    std::printf("echoed: %.5s\n", bytes.data());
    co_await cw::sleep_for(20ms);
  }
}

cw::Task<> compute() {
  for (;;) co_await cw::yield_maybe();  // gives way to the other queue, and to the io_context
}

int main() {
  asio::io_context context;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 9).with_queue(1, 1).build();
  cw::AsioGuest guest{executor, context};  // takes turns in the context from now on

  // The program's own: an accept loop and a timer, in plain Asio.
  tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
  std::function<void()> accept = [&] {
    acceptor.async_accept([&](asio::error_code error, tcp::socket socket) {
      if (error) return;
      executor.queue(0).spawn(echo, std::move(socket));
      accept();
    });
  };
  accept();
  asio::steady_timer timer{context, 200ms};
  timer.async_wait([&](asio::error_code) {
    std::puts("time is up");
    context.stop();
  });

  executor.queue(1).spawn(compute);
  executor.queue(0).spawn(client, acceptor.local_endpoint(), std::ref(context));
  context.run();
}

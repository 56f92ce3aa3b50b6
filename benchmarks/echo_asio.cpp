// How much of the throughput of an echo server of plain Asio coroutines is left with the Asio host?
#include "echo_load.hpp"

#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/asio.hpp>

#include <asio.hpp>

#include <array>
#include <cstddef>
#include <functional>
#include <system_error>
#include <utility>

namespace {

namespace cw = clockworker;
using asio::ip::tcp;

tcp::acceptor take_over(asio::io_context& context, int listener) {
  return tcp::acceptor{context, tcp::v4(), ::dup(listener)};
}

asio::awaitable<void> echo_back_plain(tcp::socket socket) {
  try {
    std::array<char, 4096> bytes;
    for (;;) {
      const std::size_t size = co_await socket.async_read_some(asio::buffer(bytes), asio::use_awaitable);
      co_await asio::async_write(socket, asio::buffer(bytes, size), asio::use_awaitable);
    }
  } catch (const std::system_error&) {  // the end
  }
}

asio::awaitable<void> serve_plain(tcp::acceptor& acceptor) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(asio::use_awaitable);
    socket.set_option(tcp::no_delay{true});
    asio::co_spawn(acceptor.get_executor(), echo_back_plain(std::move(socket)), asio::detached);
  }
}

template <class SetStop>
void serve_by_asio(int listener, SetStop set_stop) {
  asio::io_context context{1};  // the hint that one thread runs it
  tcp::acceptor acceptor = take_over(context, listener);
  set_stop([&context] { context.stop(); });
  asio::co_spawn(context, serve_plain(acceptor), asio::detached);
  context.run();
}

cw::Task<> echo_back(tcp::socket socket) {
  try {
    std::array<char, 4096> bytes;
    for (;;) {
      const std::size_t size = co_await socket.async_read_some(asio::buffer(bytes), cw::use_task);
      co_await asio::async_write(socket, asio::buffer(bytes, size), cw::use_task);
    }
  } catch (const std::system_error&) {  // the end
  }
}

cw::Task<> serve(tcp::acceptor& acceptor, cw::QueueHandle queue) {
  for (;;) {
    tcp::socket socket = co_await acceptor.async_accept(cw::use_task);
    socket.set_option(tcp::no_delay{true});
    queue.spawn(echo_back, std::move(socket));
  }
}

template <class SetStop>
void serve_on_host(int listener, SetStop set_stop) {
  asio::io_context context{1};
  tcp::acceptor acceptor = take_over(context, listener);
  cw::AsioHost host{context};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  set_stop([remote = executor.remote()] { remote.stop(); });
  executor.queue(0).spawn(serve, std::ref(acceptor), executor.queue(0));
  executor.run(host);
  executor.shutdown(cw::Shutdown::abort());
  executor.run(host);
}

void plain_asio(benchmark::State& state) {
  echo::measure(state, [](int listener, auto set_stop) { serve_by_asio(listener, set_stop); });
}
void asio_host(benchmark::State& state) {
  echo::measure(state, [](int listener, auto set_stop) { serve_on_host(listener, set_stop); });
}
BENCHMARK(plain_asio)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(asio_host)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace

BENCHMARK_MAIN();

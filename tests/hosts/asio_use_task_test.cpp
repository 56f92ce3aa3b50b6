// starts threads
#include <clockworker/hosts/asio.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <asio.hpp>
#include <asio/experimental/as_tuple.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <type_traits>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using asio::ip::tcp;
using cw::use_task;

struct World {
  asio::io_context context;
  cw::Executor<> executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).with_queue(1, 3).build();
  cw::AsioHost host{context};

  template <class F>
  auto run(F f) {
    return executor.run_until(host, executor.queue(0).spawn(std::move(f)));
  }
};

struct Connection {
  explicit Connection(asio::io_context& context) : near{context}, far{context} {
    tcp::acceptor acceptor{context, {asio::ip::address_v4::loopback(), 0}};
    near.connect(acceptor.local_endpoint());
    acceptor.accept(far);
  }
  tcp::socket near;
  tcp::socket far;
};

/// An operation of a signature of our choice, whose handler the test keeps.
template <class Signature, class... Values>
class Operation {
 public:
  template <class Token>
  auto start(Token&& token) {
    return asio::async_initiate<Token, Signature>(
        [this](auto handler) {
          ++begun;
          auto kept = std::make_shared<decltype(handler)>(std::move(handler));
          finish = [kept](Values... values) { std::move (*kept)(std::move(values)...); };
        },
        token);
  }
  int begun = 0;
  std::function<void(Values...)> finish;
};

struct Alive {
  explicit Alive(int& of) : count{&of} { ++of; }
  Alive(Alive&& other) noexcept : count{std::exchange(other.count, nullptr)} {}
  Alive& operator=(Alive&&) = delete;
  ~Alive() {
    if (count != nullptr) --*count;
  }
  int* count;
};

TEST_CASE("use_task: an operation gives nothing, its value, or a tuple", "[asio]") {
  World world;
  Operation<void()> nothing;
  Operation<void(std::error_code), std::error_code> only_error;
  Operation<void(std::error_code, std::unique_ptr<int>), std::error_code, std::unique_ptr<int>> move_only;
  Operation<void(int, std::string), int, std::string> two;
  Operation<void(std::exception_ptr, int), std::exception_ptr, int> exception;
  int ended = 0;
  auto watch = [&](auto body) { world.executor.queue(0).spawn(std::move(body)); };
  watch([&]() -> cw::Task<> {
    static_assert(std::is_void_v<decltype(nothing.start(use_task).operator co_await().await_resume())>);
    co_await nothing.start(use_task);
    ++ended;
  });
  watch([&]() -> cw::Task<> {
    co_await only_error.start(use_task);
    ++ended;
  });
  watch([&]() -> cw::Task<> {
    std::unique_ptr<int> value = co_await move_only.start(use_task);
    CHECK(*value == 7);
    ++ended;
  });
  watch([&]() -> cw::Task<> {
    std::tuple<int, std::string> value = co_await two.start(use_task);
    CHECK(value == std::tuple{1, std::string{"two"}});
    ++ended;
  });
  watch([&]() -> cw::Task<> {
    const int value = co_await exception.start(use_task);
    CHECK(value == 9);
    ++ended;
  });
  while (world.executor.run_ready().runnable) {
  }
  nothing.finish();
  only_error.finish({});
  move_only.finish({}, std::make_unique<int>(7));
  two.finish(1, "two");
  exception.finish(nullptr, 9);
  world.executor.run_until_idle(world.host);
  CHECK(ended == 5);
}

TEST_CASE("use_task: an error is thrown, or a result by choice", "[asio]") {
  World world;
  auto closed = [&] {  // anew each time: Asio need not report an end twice
    Connection pair{world.context};
    return std::move(pair.near);
  };
  world.run([&]() -> cw::Task<> {
    std::array<char, 4> bytes{};
    tcp::socket first = closed();
    try {
      co_await first.async_read_some(asio::buffer(bytes), use_task);
      FAIL("no error");
    } catch (const std::system_error& error) {
      CHECK(error.code() == asio::error::eof);
    }
    tcp::socket second = closed();
    const auto [error, size] = co_await second.async_read_some(asio::buffer(bytes), cw::as_tuple(use_task));
    CHECK(error == asio::error::eof);
    CHECK(size == 0);
    tcp::socket third = closed();
    const auto [error3, size3] =
        co_await asio::async_read(third, asio::buffer(bytes), asio::experimental::as_tuple(use_task));
    CHECK(error3 == asio::error::eof);
    CHECK(size3 == 0);
    tcp::socket fourth = closed();
    std::error_code error4;
    const std::size_t size4 =
        co_await asio::async_read(fourth, asio::buffer(bytes), asio::redirect_error(use_task, error4));
    CHECK(error4 == asio::error::eof);
    CHECK(size4 == 0);
  });
}

TEST_CASE("use_task: what an operation or its start throws comes out of the co_await", "[asio]") {
  World world;
  Operation<void(std::exception_ptr), std::exception_ptr> operation;
  asio::post(world.context, [&] { operation.finish(std::make_exception_ptr(std::runtime_error{"thrown"})); });
  world.run([&]() -> cw::Task<> {
    std::string what;
    try {
      co_await operation.start(use_task);
    } catch (const std::runtime_error& error) {
      what = error.what();
    }
    CHECK(what == "thrown");
    try {
      co_await asio::async_initiate<const cw::use_task_t&, void()>(
          [](auto handler) {
            auto dropped = std::move(handler);
            throw std::runtime_error{"not begun"};
          },
          use_task);
      FAIL("no error");
    } catch (const std::runtime_error& error) {
      CHECK(error.what() == std::string{"not begun"});
    }
    co_await cw::yield_now();
  });
}

TEST_CASE("use_task: the task comes back on its own queue, not within the handler", "[asio]") {
  World world;
  Operation<void()> operation;
  bool resumed = false;
  world.executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await operation.start(use_task);
    resumed = true;
    CHECK(cw::this_task::queue().weight() == 3);
  });
  asio::post(world.context, [&] {
    operation.finish();
    CHECK_FALSE(resumed);
  });
  world.executor.run_until_idle(world.host);
  CHECK(resumed);
}

TEST_CASE("use_task: an operation that completes within its start lets the task just go on", "[asio]") {
  World world;
  const int value = world.run([&]() -> cw::Task<int> {
    co_return co_await asio::async_initiate<const cw::use_task_t&, void(int)>(
        [](auto handler) { std::move(handler)(5); }, use_task);
  });
  CHECK(value == 5);
}

TEST_CASE("use_task: it begins at the co_await, and not if it is dropped", "[asio]") {
  World world;
  Operation<void()> operation;
  world.run([&]() -> cw::Task<> {
    { [[maybe_unused]] auto dropped = operation.start(use_task); }
    CHECK(operation.begun == 0);
    auto later = operation.start(use_task);
    co_await cw::yield_now();
    CHECK(operation.begun == 0);
    asio::post(world.context, [&] { operation.finish(); });
    co_await std::move(later);
    CHECK(operation.begun == 1);
  });
}

TEST_CASE("use_task: as the default token of a socket", "[asio]") {
  using Socket = cw::use_task_t::as_default_on_t<tcp::socket>;
  World world;
  world.run([&]() -> cw::Task<> {
    Connection pair{world.context};
    Socket near{std::move(pair.near)};
    auto far = cw::use_task_as_tuple_t::as_default_on(std::move(pair.far));
    const std::size_t sent = co_await asio::async_write(near, asio::buffer("abc", 3));
    CHECK(sent == 3);
    std::array<char, 3> bytes{};
    const auto [error, size] = co_await far.async_read_some(asio::buffer(bytes));
    CHECK(!error);
    CHECK(std::string{bytes.data(), size} == "abc");
  });
}

TEST_CASE("use_task: reading and writing one socket from two tasks", "[asio]") {
  World world;
  constexpr std::size_t total = 4'000'000;  // more than fits into the buffers of the system
  world.run([&]() -> cw::Task<> {
    Connection pair{world.context};
    auto write = [&](tcp::socket& socket) -> cw::Task<> {
      const std::string data(total, 'x');
      const std::size_t sent = co_await asio::async_write(socket, asio::buffer(data), use_task);
      CHECK(sent == total);
    };
    auto read = [&](tcp::socket& socket) -> cw::Task<> {
      std::string data(total, '\0');
      co_await asio::async_read(socket, asio::buffer(data), use_task);
      CHECK(data == std::string(total, 'x'));
    };
    auto queue = world.executor.queue(1);
    auto a = queue.spawn(write, std::ref(pair.near));
    auto b = queue.spawn(write, std::ref(pair.far));
    auto c = queue.spawn(read, std::ref(pair.near));
    auto d = queue.spawn(read, std::ref(pair.far));
    (co_await a).value();
    (co_await b).value();
    (co_await c).value();
    (co_await d).value();
  });
}

TEST_CASE("use_task: an abort cancels the operation, and the frame goes when that has ended", "[asio]") {
  World world;
  int alive = 0;
  std::array<char, 4> bytes{};
  Connection pair{world.context};
  asio::steady_timer timer{world.context, 1h};
  std::vector<cw::JoinHandle<>> tasks;
  auto queue = world.executor.queue(1);
  tasks.push_back(queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
    co_await pair.near.async_read_some(asio::buffer(bytes), use_task);
  }));
  tasks.push_back(queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
    co_await asio::async_read(pair.far, asio::buffer(bytes), use_task);
  }));
  tasks.push_back(queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
    co_await timer.async_wait(asio::bind_executor(asio::make_strand(world.context), use_task));
  }));
  tasks.push_back(queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
    std::error_code error;
    co_await timer.async_wait(asio::redirect_error(use_task, error));
  }));
  tasks.push_back(queue.spawn([&, here = Alive{alive}]() -> cw::Task<> {
    co_await timer.async_wait(asio::experimental::as_tuple(use_task));
  }));
  world.run([&]() -> cw::Task<> {
    co_await cw::sleep_for(2ms);
    CHECK(alive == 5);
    for (auto& task : tasks) {
      task.abort();
      task.abort();
    }
    CHECK(alive == 5);  // not before the operations have ended
    for (auto& task : tasks) {
      const auto result = co_await task;
      CHECK(result.error().code() == cw::JoinErrc::cancelled);
    }
    CHECK(alive == 0);
  });
}

TEST_CASE("use_task: a task that has aborted itself begins no operation", "[asio]") {
  World world;
  Operation<void()> operation;
  int alive = 0;
  bool went_on = false;
  std::optional<cw::JoinHandle<>> task;
  task = world.executor.queue(1).spawn([&, here = Alive{alive}]() -> cw::Task<> {
    task->abort();
    co_await operation.start(use_task);
    went_on = true;
  });
  world.executor.run_until_idle(world.host);
  CHECK(operation.begun == 0);
  CHECK(alive == 0);
  CHECK_FALSE(went_on);
  CHECK(task->try_take()->error().code() == cw::JoinErrc::cancelled);
}

TEST_CASE("use_task: an abort after the completion, before the task has resumed, destroys it once",
          "[asio]") {
  World world;
  Operation<void(int), int> operation;
  int alive = 0;
  bool went_on = false;
  auto task = world.executor.queue(1).spawn([&, here = Alive{alive}]() -> cw::Task<> {
    co_await operation.start(use_task);
    went_on = true;
  });
  asio::post(world.context, [&] {
    operation.finish(1);
    task.abort();
  });
  world.executor.run_until_idle(world.host);
  CHECK(alive == 0);
  CHECK_FALSE(went_on);
}

TEST_CASE("use_task: an operation that knows no cancellation keeps the frame of an aborted task to its end",
          "[asio]") {
  World world;
  Operation<void()> operation;
  int alive = 0;
  auto task = world.executor.queue(1).spawn(
      [&, here = Alive{alive}]() -> cw::Task<> { co_await operation.start(use_task); });
  asio::steady_timer timer{world.context, 5ms};
  timer.async_wait([&](std::error_code) {
    task.abort();
    timer.expires_after(5ms);
    timer.async_wait([&](std::error_code) {
      CHECK(alive == 1);
      operation.finish();
    });
  });
  world.executor.run_until_idle(world.host);
  CHECK(alive == 0);
}

TEST_CASE("use_task: a handler destroyed without a call ends the operation as aborted", "[asio]") {
  World world;
  Operation<void(std::error_code, int), std::error_code, int> first;
  Operation<void(std::error_code, int), std::error_code, int> second;
  Operation<void()> third;
  int seen = 0;
  world.executor.queue(0).spawn([&]() -> cw::Task<> {
    const auto [error, value] = co_await first.start(cw::as_tuple(use_task));
    CHECK(error == asio::error::operation_aborted);
    ++seen;
    for (int i = 0; i < 2; ++i) {
      try {
        i == 0 ? (void)co_await second.start(use_task) : co_await third.start(use_task);
      } catch (const std::system_error& thrown) {
        CHECK(thrown.code() == asio::error::operation_aborted);
        ++seen;
      }
    }
  });
  world.executor.queue(1).spawn([&]() -> cw::Task<> {
    co_await cw::sleep_for(2ms);
    first.finish = nullptr;
    co_await cw::sleep_for(2ms);
    second.finish = nullptr;
    co_await cw::sleep_for(2ms);
    third.finish = nullptr;
  });
  world.executor.run_until_idle(world.host);
  CHECK(seen == 3);
}

}  // namespace

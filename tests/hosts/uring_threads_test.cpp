// An io_uring host whose executor runs on one thread after the other: the kernel cancels what a thread has submitted
// when that ends.
#include <clockworker/hosts/uring.hpp>

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"
#include "posix_sockets.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

namespace {

namespace cw = clockworker;
using namespace clockworker_test;
using namespace std::chrono_literals;

auto one_queue() { return cw::ExecutorBuilder<>{}.with_queue(0, 1).build(); }

template <class Executor>
void settle(Executor& executor, cw::UringHost& host) {
  executor.run_until(host, []() -> cw::Task<> { co_await cw::sleep_for(5ms); });
}
template <class F>
void in_another_thread(F f) {
  std::thread thread{f};
  thread.join();
}

/// From now on the kernel takes nothing from this thread's rings, as if it were busy without end.
void keep_kernel_busy() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EBUSY),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{sizeof rules / sizeof rules[0], rules};
  check(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
  check(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "prctl");
}

TEST_CASE("io_uring: what tasks wait for goes on when the thread that began it ends", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  const int flags = GENERATE(0, O_NONBLOCK);
  auto to_read = Ends::socketpair(flags);
  auto to_fill = Ends::socketpair();
  auto ready = Ends::pipe();
  Listener listener;
  check(::fcntl(listener.fd.get(), F_SETFL, flags), "fcntl");
  fill(to_fill.a.get());
  check(::fcntl(to_fill.a.get(), F_SETFL, flags), "fcntl");
  std::error_code reading, writing;
  std::size_t read = 0, written = 0;
  bool was_ready = false;
  int accepted = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 16> buffer;
    read = co_await host.read_some(to_read.a.get(), buffer, reading);
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    written = co_await host.write_all(to_fill.a.get(), bytes_of("written"), writing);
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    co_await host.readable(ready.a.get());
    was_ready = true;
  });
  executor.queue(0).spawn([&]() -> cw::Task<> {
    const OwnedFd connection{co_await host.accept(listener.fd.get())};
    ++accepted;
  });
  for (int i = 0; i < 3; ++i) in_another_thread([&] { settle(executor, host); });
  settle(executor, host);
  CHECK((!reading && !writing && !was_ready && accepted == 0));
  put(to_read.b.get(), "hello");
  put(ready.b.get(), "x");
  drain(to_fill.b.get());
  const OwnedFd client{check(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")};
  check(::connect(client.get(), generic(listener.address), sizeof listener.address), "connect");
  executor.run_until_idle(host);
  CHECK((!reading && !writing));
  CHECK(read == 5);
  CHECK(written == 7);
  CHECK(was_ready);
  CHECK(accepted == 1);
}

TEST_CASE("io_uring: a task that is aborted after a change of threads ends", "[uring]") {
  cw::UringHost host;
  auto executor = one_queue();
  auto ends = Ends::socketpair(0);
  bool went_on = false;
  auto reader = executor.queue(0).spawn([&]() -> cw::Task<> {
    std::array<std::byte, 16> buffer;
    co_await host.read_some(ends.a.get(), buffer);
    went_on = true;
  });
  in_another_thread([&] { settle(executor, host); });
  const bool noticed = GENERATE(false, true);
  if (noticed) settle(executor, host);
  reader.abort();
  executor.run_until_idle(host);
  CHECK(reader.done());
  CHECK(!went_on);
}

TEST_CASE("UringHost: a watch goes on when the thread that set it up ends", "[host]") {
  cw::UringHost host;
  auto pipe = Ends::pipe();
  std::string seen;
  in_another_thread([&] {
    host.watch(pipe.a.get(), POLLIN, [&](unsigned events) {
      seen += events == POLLIN ? "in " : "refused ";
      drain(pipe.a.get());
    });
    host.poll(1ms);
  });
  for (int i = 0; i < 3; ++i) host.poll(1ms);
  CHECK(seen.empty());
  put(pipe.b.get(), "x");
  for (int i = 0; i < 100 && seen.empty(); ++i) host.poll(10ms);
  CHECK(seen == "in ");
}

TEST_CASE(
    "UringHost: a watch that the kernel has no room for is armed later, and what its callback threw is kept",
    "[host]") {
  cw::UringHost host{1};
  auto pipe = Ends::pipe(), other = Ends::pipe();
  int calls = 0, others = 0;
  std::string thrown;
  in_another_thread([&] {
    host.watch(pipe.a.get(), POLLIN, [&](unsigned) {
      drain(pipe.a.get());
      if (++calls > 1) return;
      host.watch(other.a.get(), POLLIN, [&](unsigned) {
        drain(other.a.get());
        ++others;
      });  // takes the only place
      throw std::runtime_error{"from the callback"};
    });
    host.poll(1ms);
    keep_kernel_busy();
    put(pipe.b.get(), "x");
    for (int i = 0; i < 3; ++i) {
      try {
        host.poll(0ns);
      } catch (const std::exception& e) {
        thrown += e.what();
      }
    }
  });
  CHECK(thrown == "from the callback");
  CHECK(calls == 1);
  put(pipe.b.get(), "x");
  put(other.b.get(), "x");
  for (int i = 0; i < 100 && (calls < 2 || others < 1); ++i) host.poll(10ms);
  CHECK(calls == 2);
  CHECK(others == 1);
}

}  // namespace

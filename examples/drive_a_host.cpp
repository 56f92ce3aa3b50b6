// The executor drives an event loop: here one over POSIX poll(). One task reads a pipe, another computes.
// Any type with the members poll(timeout) and wake() will do; the concept PollHook says what they must do.
#include <clockworker/clockworker.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace cw = clockworker;
using namespace std::chrono_literals;

void check(int result, const char* call) {
  if (result < 0 && errno != EINTR) throw std::system_error{errno, std::generic_category(), call};
}

class PollLoop {
 public:
  PollLoop() { check(::pipe(wake_), "pipe"); }
  PollLoop(const PollLoop&) = delete;
  ~PollLoop() { ::close(wake_[0]), ::close(wake_[1]); }

  // The executor's thread: now and then between tasks, with 0, and to sleep while none can run.
  void poll(cw::PollTimeout timeout) {
    using ms = std::chrono::milliseconds;  // rounded up: to return too early over and over would be to spin
    const ms longest = std::min(std::chrono::ceil<ms>(timeout.value_or(0ns)), ms{60'000});
    std::vector<pollfd> fds{{wake_[0], POLLIN, 0}};
    for (const auto& [fd, waker] : watches_) fds.push_back({fd, POLLIN, 0});
    const int ready = ::poll(fds.data(), fds.size(), timeout ? static_cast<int>(longest.count()) : -1);
    check(ready, "poll");
    if (ready <= 0) return;
    char byte;
    if (fds[0].revents != 0) (void)!::read(wake_[0], &byte, 1);
    for (std::size_t i = watches_.size(); i > 0; --i) {
      if (fds[i].revents == 0) continue;
      watches_[i - 1].second.wake();  // the task runs later, on its queue
      watches_.erase(watches_.begin() + static_cast<std::ptrdiff_t>(i - 1));
    }
  }
  // Any thread, once for each sleep: poll() is to return, or not to sleep. The pipe remembers it.
  void wake() noexcept { (void)!::write(wake_[1], "", 1); }

  // Awaited by a task, which goes on when `fd` has something to read, or has come to its end.
  cw::Task<> readable(int fd) {
    co_await cw::suspend([&](cw::Waker waker) { watches_.emplace_back(fd, std::move(waker)); });
  }

 private:
  int wake_[2];
  std::vector<std::pair<int, cw::Waker>> watches_;  // of a task aborted since, the waker just does nothing
};

cw::Task<> copy_to_stdout(PollLoop& loop, int fd) {
  char bytes[256];
  for (;;) {
    co_await loop.readable(fd);
    const auto size = ::read(fd, bytes, sizeof bytes);
    if (size <= 0) co_return;
    std::fwrite(bytes, 1, static_cast<std::size_t>(size), stdout);
  }
}

int main() {
  PollLoop loop;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  int words[2];
  check(::pipe(words), "pipe");
  std::thread writer{[fd = words[1]] {
    for (const char* word : {"one\n", "two\n"}) {
      std::this_thread::sleep_for(20ms);
      (void)!::write(fd, word, 4);
    }
    ::close(fd);
  }};
  executor.queue(0).spawn([]() -> cw::Task<> {
    for (;;) co_await cw::yield_maybe();
  });
  executor.run_until(loop, copy_to_stdout(loop, words[0]));
  writer.join();
  ::close(words[0]);
}

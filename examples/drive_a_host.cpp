// The executor drives somebody's event loop: here one over POSIX poll(), with a task that reads lines from a pipe while
// another computes. A PollHook is any type with these two members: poll(timeout) and wake().
#include <clockworker/clockworker.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <poll.h>
#include <unistd.h>

namespace cw = clockworker;
using namespace std::chrono_literals;

struct Pipe {
  Pipe() {
    if (::pipe(ends) != 0) throw std::system_error{errno, std::generic_category(), "pipe"};
  }
  Pipe(const Pipe&) = delete;
  ~Pipe() { close_write(), ::close(ends[0]); }
  void close_write() { if (ends[1] >= 0) ::close(std::exchange(ends[1], -1)); }
  int ends[2];  // to read, to write
};

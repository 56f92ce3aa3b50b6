/// \file
/// An epoll instance, and waiting on it to the nanosecond where the system can.
#pragma once

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>

#include <sys/epoll.h>

#include <clockworker/detail/posix_fd.hpp>
#include <clockworker/host.hpp>

#if defined(__GLIBC__) && defined(__GLIBC_PREREQ)
#if __GLIBC_PREREQ(2, 35)
#define CLOCKWORKER_DETAIL_EPOLL_PWAIT2 1
#endif
#endif
#ifndef CLOCKWORKER_DETAIL_EPOLL_PWAIT2
#define CLOCKWORKER_DETAIL_EPOLL_PWAIT2 0
#endif

namespace clockworker::detail {

class EpollSet {
 public:
  /// Throws std::system_error.
  EpollSet() : fd_{::epoll_create1(EPOLL_CLOEXEC)} {
    if (fd_.get() < 0) throw_system_error(errno, "epoll_create1()");
  }

  [[nodiscard]] int fd() const noexcept { return fd_.get(); }

  // 0 or an errno.
  [[nodiscard]] int add(int fd, std::uint32_t events, std::uint64_t tag) const noexcept {
    return control(EPOLL_CTL_ADD, fd, events, tag);
  }
  [[nodiscard]] int modify(int fd, std::uint32_t events, std::uint64_t tag) const noexcept {
    return control(EPOLL_CTL_MOD, fd, events, tag);
  }
  void remove(int fd) const noexcept { (void)control(EPOLL_CTL_DEL, fd, 0, 0); }

  /// Returns how many events there are; 0 if none came in time, or a signal. Throws std::system_error.
  [[nodiscard]] int wait(epoll_event* events, int room, PollTimeout timeout) {
    int count = -1;
    if (timeout && timeout->count() > 0) {
      count = wait_for(events, room, std::min<std::chrono::nanoseconds>(*timeout, longest_wait));
    } else {
      count = ::epoll_wait(fd_.get(), events, room, timeout ? 0 : -1);
    }
    if (count >= 0) return count;
    if (errno != EINTR) throw_system_error(errno, "epoll_wait()");
    return 0;
  }

  /// As on a system without epoll_pwait2(): for tests.
  void count_in_milliseconds() noexcept { in_milliseconds_ = true; }

 private:
  /// Returning early once a day is no spinning; and the sum with the present time stays countable.
  static constexpr std::chrono::hours longest_wait{24};

  [[nodiscard]] int control(int operation, int fd, std::uint32_t events, std::uint64_t tag) const noexcept {
    epoll_event event{};
    event.events = events;
    event.data.u64 = tag;
    return ::epoll_ctl(fd_.get(), operation, fd, &event) == 0 ? 0 : errno;
  }

  [[nodiscard]] int wait_for(epoll_event* events, int room, std::chrono::nanoseconds time) {
#if CLOCKWORKER_DETAIL_EPOLL_PWAIT2
    if (!in_milliseconds_) {
      const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
      timespec limit{};
      limit.tv_sec = static_cast<std::time_t>(seconds.count());
      limit.tv_nsec = static_cast<long>((time - seconds).count());
      const int count = ::epoll_pwait2(fd_.get(), events, room, &limit, nullptr);
      if (count >= 0 || errno != ENOSYS) return count;
      in_milliseconds_ = true;  // the kernel is older than the C library
    }
#endif
    // Rounded up: to wake before the deadline would be to spin for the rest of the millisecond.
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(time);
    return ::epoll_wait(fd_.get(), events, room, static_cast<int>(ms.count()));
  }

  OwnedFd fd_;
  bool in_milliseconds_ = false;
};

}  // namespace clockworker::detail

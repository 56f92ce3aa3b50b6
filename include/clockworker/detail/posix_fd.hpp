/// \file
/// File descriptors: owned, and named in errors.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

namespace clockworker::detail {

/// `error` is an errno, `call` what the user called.
[[noreturn]] inline void throw_system_error(int error, const char* call) {
  throw std::system_error{error, std::generic_category(), std::string{"clockworker: "} + call};
}
[[noreturn]] inline void throw_system_error(int error, const char* call, int fd) {
  throw std::system_error{error, std::generic_category(),
                          std::string{"clockworker: "} + call + "(fd " + std::to_string(fd) + ")"};
}

/// A read into nothing would return 0, which says that the end has come. Throws std::invalid_argument.
inline void check_has_room(std::size_t buffer_size, int fd) {
  if (buffer_size == 0) {
    throw std::invalid_argument("clockworker: read_some(fd " + std::to_string(fd) +
                                "): the buffer is empty, and 0 bytes would read as the end");
  }
}

/// Closes what it holds. -1 is nothing.
class OwnedFd {
 public:
  OwnedFd() noexcept = default;
  explicit OwnedFd(int fd) noexcept : fd_{fd} {}
  OwnedFd(OwnedFd&& other) noexcept : fd_{std::exchange(other.fd_, -1)} {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      close();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  ~OwnedFd() { close(); }

  [[nodiscard]] int get() const noexcept { return fd_; }
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  void close() noexcept {
    if (fd_ >= 0) ::close(fd_);  // also if it is interrupted: Linux has let go of the number by then
  }

  int fd_ = -1;
};

/// An eventfd: rung on any thread, and remembered until it is read or its edge has been reported.
class EventFd {
 public:
  /// Throws std::system_error.
  explicit EventFd(int flags) : fd_{::eventfd(0, EFD_CLOEXEC | flags)} {
    if (fd_.get() < 0) throw_system_error(errno, "eventfd()");
  }

  /// Any thread. Never blocks nor fails: a thread that rings once a nanosecond needs centuries to reach the
  /// counter's end. One system call. Leaves errno as it was.
  void ring() const noexcept {
    const int before = errno;
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
    errno = before;
  }
  [[nodiscard]] int get() const noexcept { return fd_.get(); }

 private:
  OwnedFd fd_;
};

}  // namespace clockworker::detail

namespace clockworker {

/// The last argument of an operation on a descriptor, where its errors go: by default they are thrown, as
/// std::system_error. Given a std::error_code, which has to live as long, it is set, or cleared if all went well.
class ErrorTo {
 public:
  ErrorTo() noexcept = default;
  ErrorTo(std::error_code& code) noexcept : code_{&code} {}

  void clear() const noexcept {
    if (code_ != nullptr) code_->clear();
  }
  /// `error` is an errno.
  void report(int error, const char* call, int fd) const {
    if (code_ == nullptr) detail::throw_system_error(error, call, fd);
    *code_ = std::error_code{error, std::generic_category()};
  }

 private:
  std::error_code* code_ = nullptr;
};

}  // namespace clockworker

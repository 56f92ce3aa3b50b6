/// \file
/// Awaitables over libuv's streams, for the echo test. Each is a foreign awaitable: libuv holds a pointer to
/// it, and the task's frame, in which it and the bytes lie, stays until libuv has called back, also if the
/// task is aborted.
#pragma once

#include <clockworker/clockworker.hpp>

#include <coroutine>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include <uv.h>

namespace clockworker_test {

namespace cw = clockworker;

/// A TCP connection. Its handle goes when libuv has closed it, which may be later than this object.
class UvConnection {
 public:
  explicit UvConnection(uv_loop_t* loop) : handle_{new uv_tcp_t} {
    uv_tcp_init(loop, handle_);
    ++open;
  }
  UvConnection(const UvConnection&) = delete;
  UvConnection& operator=(const UvConnection&) = delete;
  ~UvConnection() { close(); }

  [[nodiscard]] uv_tcp_t* tcp() const { return handle_; }
  [[nodiscard]] uv_stream_t* stream() const { return reinterpret_cast<uv_stream_t*>(handle_); }
  /// Writes that are pending end with UV_ECANCELED.
  void close() {
    if (!closing()) uv_close(reinterpret_cast<uv_handle_t*>(std::exchange(handle_, nullptr)), &closed);
  }
  /// The peer gets an RST.
  void reset() {
    if (!closing() && uv_tcp_close_reset(handle_, &closed) == 0) handle_ = nullptr;
  }
  [[nodiscard]] bool closing() const { return handle_ == nullptr; }

  inline static int open = 0;

 private:
  static void closed(uv_handle_t* handle) {
    delete reinterpret_cast<uv_tcp_t*>(handle);
    --open;
  }
  uv_tcp_t* handle_;
};

/// Awaits a request that ends with a callback (Request*, int status). A stop closes the connection, which has
/// libuv end its requests. The result is 0 or one of libuv's error codes.
template <class Request>
class UvRequest {
 public:
  using Start = std::function<int(Request*, void (*)(Request*, int))>;
  UvRequest(UvConnection& connection, Start start) : connection_{connection}, start_{std::move(start)} {}
  UvRequest(UvRequest&&) = default;

  [[nodiscard]] bool await_ready() {
    if (connection_.closing()) status_ = UV_ECANCELED;
    return connection_.closing();
  }
  bool await_suspend(std::coroutine_handle<> task) {
    task_ = task;
    request_.data = this;
    status_ = start_(&request_, [](Request* request, int status) {
      auto& self = *static_cast<UvRequest*>(request->data);
      self.status_ = status;
      self.task_.resume();
    });
    if (status_ == 0) stop_.emplace(cw::this_task::stop_token(), CloseIt{&connection_});
    return status_ == 0;
  }
  [[nodiscard]] int await_resume() const { return status_; }

 private:
  struct CloseIt {
    UvConnection* connection;
    void operator()() const { connection->close(); }
  };
  UvConnection& connection_;
  Start start_;
  Request request_{};
  std::coroutine_handle<> task_;
  int status_ = 0;
  std::optional<cw::stop_callback<CloseIt>> stop_;
};

[[nodiscard]] inline UvRequest<uv_connect_t> connect(UvConnection& connection, const sockaddr* address) {
  return {connection, [&connection, address](uv_connect_t* request, uv_connect_cb done) {
            return uv_tcp_connect(request, connection.tcp(), address, done);
          }};
}

/// All of `bytes`.
[[nodiscard]] inline UvRequest<uv_write_t> write(UvConnection& connection, std::span<char> bytes) {
  return {connection, [&connection, bytes](uv_write_t* request, uv_write_cb done) {
            const uv_buf_t buffer = uv_buf_init(bytes.data(), static_cast<unsigned>(bytes.size()));
            return uv_write(request, connection.stream(), &buffer, 1, done);
          }};
}

/// Awaits some bytes. The result is their number, UV_EOF, or another of libuv's error codes.
class UvRead {
 public:
  UvRead(UvConnection& connection, std::span<char> into) : connection_{connection}, into_{into} {}

  [[nodiscard]] bool await_ready() const { return connection_.closing(); }
  bool await_suspend(std::coroutine_handle<> task) {
    task_ = task;
    connection_.tcp()->data = this;
    const int started = uv_read_start(
        connection_.stream(),
        [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
          const auto into = static_cast<UvRead*>(handle->data)->into_;
          *buffer = uv_buf_init(into.data(), static_cast<unsigned>(into.size()));
        },
        [](uv_stream_t* stream, ssize_t size, const uv_buf_t*) {
          if (size != 0) static_cast<UvRead*>(stream->data)->end(size);
        });
    if (started != 0) result_ = started;
    if (started == 0) stop_.emplace(cw::this_task::stop_token(), EndIt{this});
    return started == 0;
  }
  [[nodiscard]] ssize_t await_resume() const { return result_; }

 private:
  struct EndIt {
    UvRead* read;
    void operator()() const { read->end(UV_ECANCELED); }
  };
  void end(ssize_t result) {
    if (!std::exchange(pending_, false)) return;
    uv_read_stop(connection_.stream());  // from here on libuv does not know of the buffer any more
    result_ = result;
    task_.resume();
  }

  UvConnection& connection_;
  std::span<char> into_;
  std::coroutine_handle<> task_;
  ssize_t result_ = UV_ECANCELED;
  bool pending_ = true;
  std::optional<cw::stop_callback<EndIt>> stop_;
};

[[nodiscard]] inline UvRead read_some(UvConnection& connection, std::span<char> into) {
  return {connection, into};
}

}  // namespace clockworker_test

/// \file
/// Which Asio: the standalone library or Boost's, and what the version at hand can do.
#pragma once

#include <clockworker/config.hpp>

// The standalone library does not see for itself that there is no RTTI.
#if !defined(__cpp_rtti) && !defined(ASIO_NO_TYPEID)
#define ASIO_NO_TYPEID 1
#endif

#if CLOCKWORKER_ASIO_BOOST
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/version.hpp>
#include <boost/system/system_error.hpp>
#define CLOCKWORKER_DETAIL_ASIO_VERSION BOOST_ASIO_VERSION
#else
#include <asio/associated_allocator.hpp>
#include <asio/async_result.hpp>
#include <asio/bind_executor.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/redirect_error.hpp>
#include <asio/system_error.hpp>
#include <asio/version.hpp>
#define CLOCKWORKER_DETAIL_ASIO_VERSION ASIO_VERSION
#endif

// Cancellation slots came with Asio 1.19.0, which is Boost 1.77.
#if CLOCKWORKER_DETAIL_ASIO_VERSION >= 101900
#define CLOCKWORKER_DETAIL_ASIO_SLOTS 1
#if CLOCKWORKER_ASIO_BOOST
#include <boost/asio/cancellation_signal.hpp>
#else
#include <asio/cancellation_signal.hpp>
#endif
#else
#define CLOCKWORKER_DETAIL_ASIO_SLOTS 0
#endif

#include <cstddef>
#include <new>

#include <clockworker/detail/frame_pool.hpp>

namespace clockworker::detail {

#if CLOCKWORKER_ASIO_BOOST
namespace net = boost::asio;
using AsioError = boost::system::error_code;
using AsioSystemError = boost::system::system_error;
#else
namespace net = ::asio;
using AsioError = ::asio::error_code;
using AsioSystemError = ::asio::system_error;
#endif

/// Memory for Asio's operations from the pool of frames: no call of malloc once the program has warmed up. It
/// lies in no frame, so it does not matter which of a frame and an operation's memory goes first.
template <class T>
class AsioAllocator {
 public:
  using value_type = T;

  AsioAllocator() noexcept = default;
  template <class U>
  AsioAllocator(const AsioAllocator<U>&) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    const std::size_t bytes = count * sizeof(T);
    if constexpr (alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
      return static_cast<T*>(::operator new (bytes, std::align_val_t{alignof(T)}));
    } else {
      return static_cast<T*>(pool_allocate(bytes));
    }
  }
  void deallocate(T* memory, std::size_t count) noexcept {
    if constexpr (alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
      ::operator delete (memory, std::align_val_t{alignof(T)});
    } else {
      pool_free(memory, count * sizeof(T));
    }
  }

  template <class U>
  [[nodiscard]] bool operator==(const AsioAllocator<U>&) const noexcept {
    return true;
  }
};

}  // namespace clockworker::detail

/// \file
/// How an awaitable finds, from within a task, the host whose events it is about.
#pragma once

#include <memory>
#include <type_traits>

namespace clockworker::detail {

/// Its address stands for the type. Not const, so that no linker folds two of them.
template <class H>
inline char host_type = 0;

/// Which object offers the events of its loop to the tasks of an executor: a host that drives or, for a
/// guest, what keeps it in the loop. By it an awaitable finds its host from within a task: by its type, or by
/// the base that it names as `clockworker_events`.
struct HostIdentity {
  const void* type = nullptr;
  void* object = nullptr;

  template <class H>
  [[nodiscard]] static HostIdentity of(H& host) noexcept {
    if constexpr (requires { typename H::clockworker_events; }) {
      typename H::clockworker_events& events = host;
      return {&host_type<typename H::clockworker_events>, std::addressof(events)};
    } else {
      return {&host_type<std::remove_cv_t<H>>,
              const_cast<void*>(static_cast<const volatile void*>(std::addressof(host)))};
    }
  }
  /// Null if it is not of this type.
  template <class H>
  [[nodiscard]] H* as() const noexcept {
    return type == &host_type<H> ? static_cast<H*>(object) : nullptr;
  }
};

}  // namespace clockworker::detail

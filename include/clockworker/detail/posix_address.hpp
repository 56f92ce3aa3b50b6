/// \file
/// A socket's address, held until it is needed.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include <sys/socket.h>

namespace clockworker::detail {

/// A copy, as a task begins only when it is awaited. Throws std::invalid_argument.
inline sockaddr_storage copy_of(const sockaddr* address, socklen_t size) {
  sockaddr_storage copy{};
  if (address == nullptr || size < sizeof(sa_family_t) || size > sizeof copy) {
    throw std::invalid_argument("clockworker: connect: an address of " + std::to_string(size) +
                                " bytes is none");
  }
  std::memcpy(&copy, address, size);
  return copy;
}

}  // namespace clockworker::detail

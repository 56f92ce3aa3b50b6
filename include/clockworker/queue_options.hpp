/// \file
/// What a queue is named by, and what it is given when it is added.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include <clockworker/eevdf.hpp>

namespace clockworker {

/// What names a queue: an enum, an integer, a string, any regular type. Looked up by comparing, never on a
/// hot path.
template <class K>
concept QueueKey = std::copyable<K> && std::equality_comparable<K>;

struct QueueOptions {
  /// The queue's share of the time, against the other queues': 1 to 2^20.
  std::uint64_t weight = 1;
  /// The length of its requests; a short one buys latency without buying share. Default: the executor's, see
  /// ExecutorBuilder.
  std::optional<std::chrono::nanoseconds> slice{};
  /// For statistics and error texts. Default: the key.
  std::string name{};
};

namespace detail {

/// A plain weight in place of options. Not just a parameter of type std::uint64_t, as `{}` would be taken for
/// that, and mean a weight of 0.
template <class W>
concept QueueWeight = std::convertible_to<W, std::uint64_t> && !std::is_same_v<W, bool>;

/// A negative weight becomes a huge one, and is refused like that.
template <QueueWeight W>
[[nodiscard]] QueueOptions options_of_weight(W weight) {
  return QueueOptions{.weight = static_cast<std::uint64_t>(weight)};
}

inline constexpr std::size_t no_position = static_cast<std::size_t>(-1);

/// A key as error texts and statistics show it: a text or number as it is, an enum by its number, another
/// type by its `to_string(key)`; if it has none, by where its queue stands.
template <class Key>
[[nodiscard]] std::string text_of(const Key& key, std::size_t position = no_position) {
  if constexpr (std::is_convertible_v<const Key&, std::string_view>) {
    return std::string{std::string_view{key}};
  } else if constexpr (std::is_enum_v<Key>) {
    return std::to_string(static_cast<std::underlying_type_t<Key>>(key));
  } else if constexpr (std::is_arithmetic_v<Key>) {
    return std::to_string(key);
  } else if constexpr (requires {
                         { to_string(key) } -> std::convertible_to<std::string>;
                       }) {
    return to_string(key);
  } else {
    return position == no_position ? "(a key whose type has no to_string)" : "#" + std::to_string(position);
  }
}

/// Throws std::invalid_argument; `call` and `queue` begin the text.
inline void check_queue_options(const QueueOptions& options, const std::string& queue, const char* call) {
  std::string text = std::string{"clockworker: "} + call + ": queue '" + queue + "': ";
  if (options.weight == 0 || options.weight > Eevdf::max_weight) {
    throw std::invalid_argument(text + "weight " + std::to_string(options.weight) +
                                " is not from 1 to 1048576 (2^20)");
  }
  if (options.slice && *options.slice <= std::chrono::nanoseconds::zero()) {
    throw std::invalid_argument(text + "slice " + std::to_string(options.slice->count()) +
                                " ns is not positive");
  }
}

}  // namespace detail

}  // namespace clockworker

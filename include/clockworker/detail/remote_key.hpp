/// \file
/// A queue's key on its way from another thread, where the executor's key type is not known.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>

#include <clockworker/queue_options.hpp>

namespace clockworker::detail {

/// Its address stands for the type, with and without RTTI. Not const, so that no linker folds two of them.
template <class K>
inline char type_tag = 0;

/// Names a queue whose key compares equal: an integer one of any integer type, a string one of any string
/// type, and else one of exactly the same type.
class RemoteKey {
 public:
  /// Throws what the copy throws.
  template <class K>
  requires(!std::is_same_v<std::remove_cvref_t<K>, RemoteKey>) explicit RemoteKey(const K& key)
      : key_{hold(key)} {}

  template <class Key>
  [[nodiscard]] bool names(const Key& key) const {
    if constexpr (std::is_integral_v<Key>) {
      if (const auto* number = std::get_if<std::int64_t>(&key_)) return std::cmp_equal(*number, widened(key));
      if (const auto* number = std::get_if<std::uint64_t>(&key_))
        return std::cmp_equal(*number, widened(key));
      return false;
    } else if constexpr (std::is_convertible_v<const Key&, std::string_view>) {
      const auto* text = std::get_if<std::string>(&key_);
      return text != nullptr && *text == std::string_view{key};
    } else {
      const auto* other = std::get_if<Opaque>(&key_);
      return other != nullptr && other->type == &type_tag<Key> &&
             *static_cast<const Key*>(other->value.get()) == key;
    }
  }

  /// For error texts.
  [[nodiscard]] std::string text() const {
    if (const auto* number = std::get_if<std::int64_t>(&key_)) return std::to_string(*number);
    if (const auto* number = std::get_if<std::uint64_t>(&key_)) return std::to_string(*number);
    if (const auto* text = std::get_if<std::string>(&key_)) return *text;
    return std::get<Opaque>(key_).text;
  }

 private:
  struct Opaque {
    const char* type;
    std::shared_ptr<const void> value;
    std::string text;
  };
  using Held = std::variant<std::int64_t, std::uint64_t, std::string, Opaque>;

  /// std::cmp_equal takes no bool and no character type.
  template <class Integer>
  static constexpr auto widened(Integer value) noexcept {
    if constexpr (std::is_signed_v<Integer>) {
      return static_cast<std::int64_t>(value);
    } else {
      return static_cast<std::uint64_t>(value);
    }
  }

  template <class K>
  static Held hold(const K& key) {
    if constexpr (std::is_integral_v<K>) {
      return widened(key);
    } else if constexpr (std::is_convertible_v<const K&, std::string_view>) {
      return std::string{std::string_view{key}};
    } else {
      return Opaque{&type_tag<K>, std::make_shared<const K>(key), text_of(key)};
    }
  }

  Held key_;
};

}  // namespace clockworker::detail

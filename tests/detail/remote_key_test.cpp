#include <clockworker/detail/remote_key.hpp>

#include "catch.hpp"

#include <cstdint>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace {

using clockworker::detail::RemoteKey;

enum class Lane : std::uint8_t { front = 1, back = 2 };
enum class Other : std::uint8_t { front = 1 };
enum Plain { plain_one = 1 };

struct Point {
  int x = 0;
  int y = 0;
  friend bool operator==(const Point&, const Point&) = default;
};
struct OtherPoint {
  int x = 0;
  int y = 0;
  friend bool operator==(const OtherPoint&, const OtherPoint&) = default;
};

/// Out of line, as g++ 12 warns of the alternative that a key just made is not.
template <class Given, class Key>
[[gnu::noinline]] bool names(const Given& given, const Key& key) {
  const auto remote = std::make_unique<RemoteKey>(given);
  return remote->names(key);
}

TEST_CASE("RemoteKey: an integer names an equal integer of any type and sign", "[remote]") {
  CHECK(names(7, 7));
  CHECK(names(7, 7L));
  CHECK(names(7U, 7));
  CHECK(names(7ULL, std::int8_t{7}));
  CHECK(names(-1, -1LL));
  CHECK(names('a', int{'a'}));
  CHECK(names(true, 1));
  CHECK_FALSE(names(7, 8));
}

TEST_CASE("RemoteKey: no two different integers are taken for one, whatever their width", "[remote]") {
  CHECK_FALSE(names(-1, std::numeric_limits<std::uint64_t>::max()));
  CHECK_FALSE(names(-1, std::numeric_limits<std::uint32_t>::max()));
  CHECK_FALSE(names(std::numeric_limits<std::uint64_t>::max(), -1));
  CHECK_FALSE(names(std::int64_t{1} << 32, 0));
  CHECK(names(std::numeric_limits<std::uint64_t>::max(), std::numeric_limits<std::uint64_t>::max()));
  CHECK(names(std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::min()));
}

TEST_CASE("RemoteKey: a string names an equal string of any string type", "[remote]") {
  CHECK(names("lane", std::string{"lane"}));
  CHECK(names(std::string{"lane"}, std::string_view{"lane"}));
  CHECK(names(std::string_view{"lane"}, std::string{"lane"}));
  const char* text = "lane";
  CHECK(names(text, std::string{"lane"}));
  CHECK_FALSE(names("lane", std::string{"lanes"}));
  CHECK_FALSE(names("", std::string{"lane"}));
}

TEST_CASE("RemoteKey: a string key is a copy", "[remote]") {
  std::string text(100, 'x');
  RemoteKey key{std::string_view{text}};
  text.assign(100, 'y');
  CHECK(key.names(std::string(100, 'x')));
}

TEST_CASE("RemoteKey: an enumerator names itself, and neither its number nor another enumeration's",
          "[remote]") {
  CHECK(names(Lane::front, Lane::front));
  CHECK_FALSE(names(Lane::front, Lane::back));
  CHECK_FALSE(names(Lane::front, Other::front));
  CHECK_FALSE(names(Lane::front, 1));
  CHECK_FALSE(names(1, Lane::front));
  CHECK(names(plain_one, plain_one));
}

TEST_CASE("RemoteKey: a type of the user's names an equal one of exactly that type", "[remote]") {
  CHECK(names(Point{1, 2}, Point{1, 2}));
  CHECK_FALSE(names(Point{1, 2}, Point{2, 1}));
  CHECK_FALSE(names(Point{1, 2}, OtherPoint{1, 2}));
  CHECK_FALSE(names(Point{1, 2}, 0));
  CHECK_FALSE(names(Point{1, 2}, std::string{}));
  CHECK_FALSE(names("1", 1));
  CHECK_FALSE(names("1", Point{}));
  CHECK_FALSE(names(1, std::string{"1"}));
  CHECK_FALSE(names(1, Point{}));
}

TEST_CASE("RemoteKey: error texts show it where it has a text", "[remote]") {
  CHECK(RemoteKey{-7}.text() == "-7");
  CHECK(RemoteKey{std::numeric_limits<std::uint64_t>::max()}.text() == "18446744073709551615");
  CHECK(RemoteKey{"lane"}.text() == "lane");
  CHECK(RemoteKey{Lane::back}.text() == "2");
  CHECK_FALSE(RemoteKey{Point{}}.text().empty());
}

TEST_CASE("RemoteKey: copies and moves name the same", "[remote]") {
  RemoteKey original{Point{1, 2}};
  RemoteKey copy{original};
  RemoteKey moved{std::move(original)};
  CHECK(copy.names(Point{1, 2}));
  CHECK(moved.names(Point{1, 2}));
}

struct ThrowsOnCopy {
  ThrowsOnCopy() = default;
  ThrowsOnCopy(const ThrowsOnCopy&) { throw std::runtime_error("no copy today"); }
  ThrowsOnCopy& operator=(const ThrowsOnCopy&) = default;
};

TEST_CASE("RemoteKey: what the copy of a key throws reaches the caller", "[remote]") {
  ThrowsOnCopy key;
  CHECK_THROWS_AS(RemoteKey{key}, std::runtime_error);
}

}  // namespace

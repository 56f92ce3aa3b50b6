// host: glib
#include <clockworker/detail/glib_support.hpp>

#include "catch.hpp"

namespace {

using clockworker::detail::GlibPace;

TEST_CASE("GlibPace: short turns follow each other until the budget is used, then as long a rest is due",
          "[glib]") {
  GlibPace pace{500};
  gint64 now = 1'000'000;
  for (int turn = 0; turn < 4; ++turn, now += 100) {
    CHECK(pace.rest_left(now) == 0);
    pace.took_turn(now, now + 100, false);
  }
  CHECK(pace.rest_left(now) == 0);
  pace.took_turn(now, now + 130, false);
  now += 130;
  CHECK(pace.rest_left(now) == 530);
  CHECK(pace.rest_left(now + 529) == 1);
  CHECK(pace.rest_left(now + 530) == 0);
}

TEST_CASE("GlibPace: a long turn is followed by as long a rest", "[glib]") {
  GlibPace pace{500};
  CHECK(pace.rest_left(0) == 0);
  pace.took_turn(0, 40'000, false);
  CHECK(pace.rest_left(40'000) == 40'000);
  CHECK(pace.rest_left(80'000) == 0);
}

TEST_CASE("GlibPace: of a turn with a nested loop 50 ms count, for this guest and for the others", "[glib]") {
  GlibPace nests{500};
  GlibPace other{500};
  other.took_turn(1'000'000, 1'000'500, false);  // in the loop nested in the next
  nests.took_turn(0, 2'000'000, false);
  CHECK(nests.rest_left(2'000'000) == 50'000);
  CHECK(nests.rest_left(2'050'000) == 0);
  CHECK(other.rest_left(2'050'500) == 0);
}

TEST_CASE("GlibPace: time that others had before a turn counts", "[glib]") {
  GlibPace pace{500};
  pace.took_turn(0, 400, false);
  pace.took_turn(700, 1000, false);  // 100 left of the first
  CHECK(pace.rest_left(1000) == 0);
  pace.took_turn(1000, 1100, false);
  CHECK(pace.rest_left(1100) == 500);
}

TEST_CASE("GlibPace: what the loop needs between short turns is no rest, but counts as used", "[glib]") {
  GlibPace pace{500};
  gint64 now = 1'000'000;
  int turns = 0;
  for (; turns < 1000 && pace.rest_left(now) == 0; ++turns, now += 6) {
    pace.took_turn(now, now + 1, false);  // and 5 until the next
  }
  CHECK(turns > 70);
  CHECK(turns < 90);
}

TEST_CASE("GlibPace: turns at the lowest priority leave no debt but the last", "[glib]") {
  GlibPace pace{500};
  gint64 now = 0;
  for (int turn = 0; turn < 1000; ++turn, now += 600) pace.took_turn(now, now + 600, true);
  CHECK(pace.rest_left(now) == 600);
}

TEST_CASE("GlibPace: one guest's turn is no rest for the other", "[glib]") {
  GlibPace one{500};
  GlibPace two{500};
  one.took_turn(0, 500, false);
  two.took_turn(500, 1000, false);
  CHECK(one.rest_left(1000) == 500);
  CHECK(two.rest_left(1000) == 500);
  CHECK(one.rest_left(1500) == 0);
  CHECK(two.rest_left(1500) == 0);
}

}  // namespace

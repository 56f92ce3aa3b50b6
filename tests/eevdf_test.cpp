#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

#include <clockworker/eevdf.hpp>

#include "catch.hpp"

namespace {

using clockworker::Eevdf;
using clockworker::EevdfEntity;
using ns = std::chrono::nanoseconds;
using std::chrono::hours;
using std::chrono::minutes;

constexpr std::uint64_t heaviest = Eevdf::max_weight;

static_assert(!std::is_copy_constructible_v<Eevdf> && !std::is_move_constructible_v<Eevdf>);
static_assert(!std::is_copy_constructible_v<EevdfEntity> && !std::is_move_constructible_v<EevdfEntity>);
static_assert(noexcept(std::declval<Eevdf&>().pick()));
static_assert(noexcept(std::declval<Eevdf&>().join(std::declval<EevdfEntity&>(), ns{})));
static_assert(noexcept(std::declval<Eevdf&>().leave(std::declval<EevdfEntity&>())));
static_assert(noexcept(std::declval<Eevdf&>().charge(std::declval<EevdfEntity&>(), ns{}, ns{})));

// A number from 0 to most, or from least to most; the same on every platform, as distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_{seed} {}
  std::uint64_t upto(std::uint64_t most) { return engine_() % (most + 1); }
  ns between(std::int64_t least, std::int64_t most) {
    return ns{least + static_cast<std::int64_t>(upto(static_cast<std::uint64_t>(most - least)))};
  }
  bool one_in(std::uint64_t n) { return upto(n - 1) == 0; }

 private:
  std::mt19937_64 engine_;
};

std::uint64_t any_weight(Random& random) {
  switch (random.upto(3)) {
    case 0:
      return 1;
    case 1:
      return heaviest;
    case 2:
      return 1 + random.upto(4);
    default:
      return 1 + random.upto(heaviest - 1);
  }
}

bool near(double value, double expected, double margin) {
  return value >= expected - margin && value <= expected + margin;
}

std::size_t index_of(const EevdfEntity* entity, const std::deque<EevdfEntity>& parties) {
  const auto found = std::find_if(parties.begin(), parties.end(),
                                  [entity](const EevdfEntity& party) { return &party == entity; });
  return static_cast<std::size_t>(found - parties.begin());
}

ns sum_of_lags(const Eevdf& picker, const std::deque<EevdfEntity>& parties) {
  ns sum{};
  for (const EevdfEntity& party : parties) {
    if (party.runnable()) sum += picker.lag(party);
  }
  return sum;
}

}  // namespace

TEST_CASE("nobody is picked when nobody is runnable", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  CHECK(picker.pick() == nullptr);
  picker.add(a, 1);
  CHECK(picker.pick() == nullptr);
  CHECK(picker.size() == 1);
  CHECK(picker.runnable_count() == 0);
  CHECK(picker.total_weight() == 0);
  picker.join(a, ns{10});
  CHECK(picker.pick() == &a);
  CHECK(picker.total_weight() == 1);
  picker.leave(a);
  CHECK(picker.pick() == nullptr);
}

TEST_CASE("a weight of 0 or above 2^20 is refused and nothing changes", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  CHECK_THROWS_AS(picker.add(a, 0), std::invalid_argument);
  CHECK_THROWS_AS(picker.add(a, heaviest + 1), std::invalid_argument);
  CHECK(picker.size() == 0);
  picker.add(a, heaviest);
  CHECK_THROWS_AS(picker.set_weight(a, 0), std::invalid_argument);
  CHECK_THROWS_AS(picker.set_weight(a, heaviest + 1), std::invalid_argument);
  CHECK(a.weight() == heaviest);
}

TEST_CASE("an entity is in one picker at a time and goes out of it with its own end", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  {
    Eevdf other;
    other.add(a, 1);
    CHECK_THROWS_AS(other.add(a, 1), std::logic_error);
    CHECK_THROWS_AS(picker.add(a, 1), std::logic_error);
    other.join(a, ns{1});
  }
  CHECK_FALSE(a.runnable());
  picker.add(a, 1);
  {
    EevdfEntity b;
    picker.add(b, 1);
    picker.join(b, ns{10});
    picker.join(a, ns{20});
    CHECK(picker.pick() == &b);
  }
  CHECK(picker.size() == 1);
  CHECK(picker.pick() == &a);
  picker.remove(a);
  CHECK(picker.size() == 0);
  CHECK(picker.check_invariants());
}

TEST_CASE("a request that is used up starts the next one where the charge ended, overrun included",
          "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  picker.add(a, 3);
  picker.join(a, ns{100});
  CHECK(picker.remaining(a) == ns{100});
  CHECK_FALSE(picker.charge(a, ns{99}, ns{1'000}));
  CHECK(picker.remaining(a) == ns{1});
  CHECK(picker.longest_overrun() == ns{0});
  CHECK(picker.charge(a, ns{31}, ns{50}));
  CHECK(picker.remaining(a) == ns{50});
  CHECK(picker.longest_overrun() == ns{30});
  CHECK(picker.charge(a, ns{50}, ns{0}));  // a request is at least 1 ns
  CHECK(picker.remaining(a) == ns{1});
  CHECK(picker.longest_overrun() == ns{30});
}

TEST_CASE("the eligible party with the earliest deadline is picked, and a short request buys latency",
          "[eevdf]") {
  Eevdf picker;
  EevdfEntity bulk;
  EevdfEntity brief;
  picker.add(bulk, 1);
  picker.add(brief, 1);
  picker.join(bulk, ns{100});
  picker.join(brief, ns{10});
  CHECK(picker.pick() == &brief);
  picker.charge(brief, ns{10},
                ns{10});  // V = 5: brief is ahead of it, so its earlier deadline counts for nothing
  CHECK_FALSE(picker.eligible(brief));
  CHECK(picker.pick() == &bulk);
  picker.charge(bulk, ns{9}, ns{100});
  CHECK(picker.pick() == &bulk);  // V = 9.5
  picker.charge(bulk, ns{1}, ns{100});
  CHECK(picker.eligible(brief));  // V = 10
  CHECK(picker.pick() == &brief);
}

TEST_CASE("equal deadlines go by order of joining", "[eevdf]") {
  Eevdf picker;
  std::array<EevdfEntity, 5> parties;
  for (EevdfEntity& party : parties) picker.add(party, 7);
  for (const std::size_t i : {3U, 0U, 4U, 1U, 2U}) picker.join(parties[i], ns{10});
  for (const std::size_t i : {3U, 0U, 4U, 1U, 2U, 3U, 0U, 4U, 1U, 2U}) {
    REQUIRE(picker.pick() == &parties[i]);
    picker.charge(parties[i], ns{10}, ns{10});
  }
}

TEST_CASE("a newcomer preempts only if it is eligible and its deadline is earlier", "[eevdf]") {
  Eevdf picker;
  EevdfEntity running;
  EevdfEntity candidate;
  picker.add(running, 1);
  picker.add(candidate, 1);
  picker.join(running, ns{100});
  picker.charge(running, ns{20}, ns{100});  // 80 left
  picker.join(candidate, ns{80});
  CHECK(picker.eligible(candidate));
  CHECK_FALSE(picker.would_preempt(candidate, running));  // the same deadline
  picker.leave(candidate);
  picker.join(candidate, ns{79});
  CHECK(picker.would_preempt(candidate, running));
  CHECK_FALSE(picker.would_preempt(running, candidate));
  picker.charge(candidate, ns{10}, ns{79});
  CHECK_FALSE(picker.eligible(candidate));
  CHECK_FALSE(picker.would_preempt(candidate, running));  // 69 left, but it is ahead of V
}

TEST_CASE("sleeping earns nothing", "[eevdf]") {
  Eevdf picker;
  EevdfEntity sleeper;
  EevdfEntity worker;
  EevdfEntity never_ran;
  picker.add(sleeper, 1);
  picker.add(worker, 3);
  picker.join(sleeper, ns{100});
  picker.charge(sleeper, ns{60}, ns{100});
  picker.join(worker, ns{100});  // at V: both have a lag of 0
  CHECK(picker.lag(sleeper) == ns{0});
  picker.leave(sleeper);
  picker.charge(worker, hours{1}, ns{100});
  picker.join(sleeper, ns{100});
  CHECK(picker.lag(sleeper) == ns{0});
  CHECK(picker.lag(worker) == ns{0});
  CHECK(picker.eligible(sleeper));
  picker.add(never_ran, heaviest);
  picker.join(never_ran, ns{100});
  CHECK(picker.lag(never_ran) == ns{0});
  CHECK(picker.lag(worker) == ns{0});
  CHECK(picker.check_invariants());
}

TEST_CASE("leaving does not wipe a debt, and V passing by does", "[eevdf]") {
  Eevdf picker;
  EevdfEntity debtor;
  EevdfEntity worker;
  picker.add(debtor, 1);
  picker.add(worker, 1);
  picker.join(debtor, ns{100});
  picker.join(worker, ns{100});
  picker.charge(debtor, ns{1'000}, ns{100});
  CHECK(picker.lag(debtor) == ns{-500});
  picker.leave(debtor);
  CHECK(picker.lag(debtor) == ns{-1'000});  // V went back to where worker is
  picker.charge(worker, ns{400}, ns{100});
  CHECK(picker.lag(debtor) == ns{-600});
  picker.join(debtor, ns{100});
  CHECK(picker.lag(debtor) == ns{-300});
  CHECK(picker.pick() == &worker);
  picker.leave(debtor);
  picker.charge(worker, ns{600}, ns{100});
  picker.join(debtor, ns{100});
  CHECK(picker.lag(debtor) == ns{0});
  picker.charge(debtor, ns{10}, ns{100});
  picker.leave(debtor);
  picker.charge(worker, ns{5'000}, ns{100});
  picker.join(debtor, ns{100});
  CHECK(picker.lag(debtor) == ns{0});
}

TEST_CASE("what was owed on leaving is the lag again once the placement has moved V", "[eevdf]") {
  Eevdf picker;
  std::deque<EevdfEntity> parties(3);
  const std::array<std::uint64_t, 3> weights{5, 2, 3};
  for (std::size_t i = 0; i < 3; ++i) {
    picker.add(parties[i], weights[i]);
    picker.join(parties[i], ns{1'000});
  }
  picker.charge(parties[1], ns{400}, ns{1'000});  // V = 40: lag of [0] is 200
  CHECK(picker.lag(parties[0]) == ns{200});
  picker.leave(parties[0]);
  picker.charge(parties[1], ns{7'777}, ns{1'000});
  picker.charge(parties[2], minutes{1}, ns{1'000});
  CHECK(picker.lag(parties[0]) == ns{200});
  picker.join(parties[0], ns{1'000});
  CHECK(picker.lag(parties[0]) == ns{200});
  CHECK(std::chrono::abs(sum_of_lags(picker, parties)) <= ns{3});
}

TEST_CASE("what is restored is at most the request and the longest overrun", "[eevdf]") {
  Eevdf picker;
  EevdfEntity owed;
  EevdfEntity worker;
  picker.add(owed, 1);
  picker.add(worker, 1);
  picker.join(owed, ns{1'000});
  picker.join(worker, ns{1'000});
  picker.charge(worker, ns{1'000}, ns{1'000});
  CHECK(picker.lag(owed) == ns{500});
  SECTION("with no overrun, the request") {
    picker.leave(owed);
    picker.join(owed, ns{30});
    CHECK(picker.lag(owed) == ns{30});
  }
  SECTION("with an overrun, as much more") {
    picker.charge(worker, ns{1'050}, ns{1'000});
    picker.leave(owed);
    picker.join(owed, ns{30});
    CHECK(picker.lag(owed) == ns{80});
  }
  SECTION("and what was cut off does not come back") {
    picker.leave(owed);
    picker.join(owed, ns{30});
    picker.leave(owed);
    picker.join(owed, ns{1'000});
    CHECK(picker.lag(owed) == ns{30});
  }
}

TEST_CASE("to leave and come back, with nobody run in between, changes nothing for anybody", "[eevdf]") {
  Random random{GENERATE(1U, 2U, 3U, 4U, 5U)};
  Eevdf picker;
  std::deque<EevdfEntity> parties(5);
  const ns long_request{1'000'000'000};
  for (EevdfEntity& party : parties) picker.add(party, 1 + random.upto(20));
  for (EevdfEntity& party : parties) picker.join(party, long_request);
  for (int step = 0; step < 50; ++step) {
    picker.charge(*picker.pick(), random.between(0, 5'000), random.between(1, 3'000));
  }
  std::vector<ns> before;
  for (const EevdfEntity& party : parties) before.push_back(picker.lag(party));
  for (int round = 0; round < 200; ++round) {
    std::vector<EevdfEntity*> away;  // never all of them
    for (std::size_t i = 1; i < parties.size(); ++i) {
      if (random.one_in(2)) away.push_back(&parties[i]);
    }
    for (EevdfEntity* party : away) picker.leave(*party);
    for (; !away.empty(); away.pop_back()) picker.join(*away.back(), long_request);
    for (std::size_t i = 0; i < parties.size(); ++i) {
      REQUIRE(std::chrono::abs(picker.lag(parties[i]) - before[i]) <= ns{1});
    }
    REQUIRE(picker.check_invariants());
  }
}

TEST_CASE("what joining rounds does not add up", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  EevdfEntity b;
  picker.add(a, 1);
  picker.add(b, 1);
  picker.join(a, ns{100});
  picker.join(b, ns{100});
  picker.charge(a, ns{1}, ns{100});
  for (int i = 0; i < 100'000; ++i) {
    picker.leave(b);
    picker.join(b, ns{100});
  }
  CHECK(picker.lag(b) == ns{0});  // 0.5 ns, rounded; 100'000 roundings would be more than 1 ns
  picker.charge(a, ns{1}, ns{100});
  CHECK(picker.lag(b) <= ns{1});
  CHECK(picker.check_invariants());
}

TEST_CASE("V stands still while nobody is runnable", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  EevdfEntity b;
  picker.add(a, 2);
  picker.add(b, 3);
  picker.join(a, ns{100});
  picker.charge(a, ns{1'001}, ns{100});
  picker.leave(a);
  CHECK(near(picker.virtual_time(), 500.5, 1e-3));
  picker.set_weight(a, 5);
  CHECK(near(picker.virtual_time(), 500.5, 1e-3));
  picker.join(b, ns{100});
  CHECK(near(picker.virtual_time(), 500.5, 1e-3));
  picker.join(a, ns{100});
  CHECK(near(picker.virtual_time(), 500.5, 1e-3));
  CHECK(picker.lag(a) == ns{0});
  CHECK(picker.lag(b) == ns{0});
}

TEST_CASE("a change of weight keeps the lag, the debt and what is left of the request", "[eevdf]") {
  Eevdf picker;
  std::deque<EevdfEntity> parties(3);
  for (EevdfEntity& party : parties) picker.add(party, 10);
  for (EevdfEntity& party : parties) picker.join(party, ns{1'000});
  picker.charge(parties[0], ns{600}, ns{1'000});  // lags -400, 200, 200
  const std::uint64_t weight = GENERATE(as<std::uint64_t>{}, 1, 7, 10, 999, heaviest);
  SECTION("of one that owes") {
    picker.set_weight(parties[0], weight);
    CHECK(picker.lag(parties[0]) == ns{-400});
    CHECK(picker.remaining(parties[0]) == ns{400});
    CHECK(picker.total_weight() == 20 + weight);
  }
  SECTION("of one that is owed, there and back") {
    picker.set_weight(parties[1], weight);
    CHECK(std::chrono::abs(picker.lag(parties[1]) - ns{200}) <= ns{1});
    picker.set_weight(parties[1], 10);
    CHECK(std::chrono::abs(picker.lag(parties[1]) - ns{200}) <= ns{1});
    CHECK(std::chrono::abs(picker.lag(parties[0]) - ns{-400}) <= ns{1});
  }
  SECTION("of one that sleeps and owes") {
    picker.leave(parties[0]);
    CHECK(picker.lag(parties[0]) == ns{-600});
    picker.set_weight(parties[0], weight);
    CHECK(picker.lag(parties[0]) == ns{-600});
  }
  SECTION("of one that sleeps and is owed") {
    picker.leave(parties[1]);
    picker.set_weight(parties[1], weight);
    CHECK(picker.lag(parties[1]) == ns{200});
    picker.join(parties[1], ns{1'000});
    // The joiner's own v never falls: with a greater weight, or V having gone on, all of it is restored.
    CHECK(picker.lag(parties[1]) <= ns{200});
    CHECK(picker.lag(parties[1]) >= ns{0});
  }
  CHECK(std::chrono::abs(sum_of_lags(picker, parties)) <= ns{3});
  CHECK(picker.check_invariants());
}

TEST_CASE("service is shared in proportion to weight", "[eevdf]") {
  Random random{GENERATE(11U, 12U, 13U)};
  Eevdf picker;
  std::deque<EevdfEntity> parties(6);
  std::array<std::int64_t, 6> service{};
  std::array<std::int64_t, 6> requests{};
  const std::array<std::uint64_t, 6> weights{1, 2, 4, 8, 16, 33};
  for (std::size_t i = 0; i < 6; ++i) {
    requests[i] = random.between(10'000, 3'000'000).count();
    picker.add(parties[i], weights[i]);
    picker.join(parties[i], ns{requests[i]});
  }
  std::int64_t total = 0;
  while (total < 20'000'000'000) {
    EevdfEntity* const picked = picker.pick();
    const std::size_t i = index_of(picked, parties);
    const std::int64_t used = picker.remaining(*picked).count() + random.between(0, 500'000).count();
    picker.charge(*picked, ns{used}, ns{requests[i]});
    service[i] += used;
    total += used;
  }
  for (std::size_t i = 0; i < 6; ++i) {
    // lag is entitled - received, so this is the lag bound once more, from outside.
    const std::int64_t entitled = total / 64 * static_cast<std::int64_t>(weights[i]);
    CHECK(std::abs(entitled - service[i] - picker.lag(parties[i]).count()) <= 64);
    CHECK(std::abs(entitled - service[i]) < 3'500'000 + 5 * 500'000 + 64);
  }
}

TEST_CASE("the lags of those who stay runnable keep their bounds, whoever overruns", "[eevdf]") {
  const bool repick_each_step = GENERATE(false, true);
  const unsigned seed = GENERATE(range(100U, 140U));
  CAPTURE(seed, repick_each_step);
  Random random{seed};
  const std::size_t n = 2 + random.upto(5);
  Eevdf picker;
  std::deque<EevdfEntity> parties(n);
  std::vector<ns> request(n);
  std::vector<ns> step(n);  // the longest that each runs uninterrupted
  ns longest{};
  ns steps{};
  const std::int64_t scale = random.one_in(2) ? 100 : 1'000'000;
  for (std::size_t i = 0; i < n; ++i) {
    picker.add(parties[i], any_weight(random));
    request[i] = random.between(1, scale);
    step[i] = random.between(1, random.one_in(3) ? 10 * scale : scale / 10);
    longest = std::max({longest, request[i], step[i]});
    steps += step[i];
    picker.join(parties[i], request[i]);
  }
  std::size_t broken = 0;
  for (int slice = 0; slice < 400; ++slice) {
    EevdfEntity* const picked = picker.pick();
    REQUIRE(picked != nullptr);
    const std::size_t p = index_of(picked, parties);
    int steps_of_slice = 0;
    for (bool ended = false; !ended;) {
      REQUIRE(++steps_of_slice < 1'000'000);
      const ns used = random.one_in(2) ? step[p] : random.between(1, step[p].count());
      ended = picker.charge(*picked, used, request[p]) || repick_each_step;
      for (std::size_t i = 0; i < n; ++i) {
        const ns lag =
            picker.lag(parties[i]);  // rounded towards 0, so the strict bounds are tested as they are
        if (lag <= -(request[i] + step[i])) ++broken;
        if (lag >= std::max(request[i], longest) + steps - step[i]) ++broken;
      }
      if (std::chrono::abs(sum_of_lags(picker, parties)) > ns{static_cast<std::int64_t>(n)}) ++broken;
    }
    if (!picker.check_invariants()) ++broken;
  }
  CHECK(broken == 0);
}

TEST_CASE("with weights of 2^20 to 1 the light one waits its time and no longer", "[eevdf]") {
  Eevdf picker;
  EevdfEntity heavy;
  EevdfEntity light;
  picker.add(heavy, heaviest);
  picker.add(light, 1);
  picker.join(heavy, ns{1'000});
  picker.join(light, ns{1});
  std::uint64_t light_ran = 0;
  for (std::uint64_t i = 0; i < 3 * (heaviest / 1'000 + 1); ++i) {
    EevdfEntity* const picked = picker.pick();
    light_ran += picked == &light ? 1U : 0U;
    picker.charge(*picked, picked == &light ? ns{1} : ns{1'000}, picked == &light ? ns{1} : ns{1'000});
    REQUIRE(std::chrono::abs(picker.lag(light)) <= ns{2});
  }
  CHECK(light_ran >= 2);
  CHECK(light_ran <= 4);
}

TEST_CASE("after a year the picker is as exact as on the first day", "[eevdf]") {
  struct Case {
    std::vector<std::uint64_t> weights;
    ns step;
  };
  const Case c = GENERATE(Case{{1}, minutes{10}}, Case{{heaviest}, minutes{10}}, Case{{1, 1}, minutes{10}},
                          Case{{heaviest, heaviest}, minutes{10}}, Case{{heaviest, 1, 3}, minutes{20}});
  const ns year = hours{24 * 365};
  Eevdf picker;
  std::deque<EevdfEntity> parties(c.weights.size());
  EevdfEntity sleeper;  // left on the first day
  picker.add(sleeper, heaviest);
  picker.join(sleeper, ns{1});
  picker.charge(sleeper, ns{1}, ns{1});
  picker.leave(sleeper);
  for (std::size_t i = 0; i < parties.size(); ++i) {
    picker.add(parties[i], c.weights[i]);
    picker.join(parties[i], c.step);
  }
  Random random{5};
  ns passed{};
  std::size_t broken = 0;
  double latest = picker.virtual_time();
  while (passed < year) {
    EevdfEntity& picked = *picker.pick();
    const ns used = picker.remaining(picked) + random.between(0, 1'000'000'000);
    picker.charge(picked, used, c.step);
    passed += used;
    for (const EevdfEntity& party : parties) {
      if (std::chrono::abs(picker.lag(party)) > c.step + std::chrono::seconds{3}) ++broken;
    }
    if (picker.virtual_time() < latest) ++broken;
    latest = picker.virtual_time();
    if (!picker.check_invariants()) ++broken;
  }
  CHECK(broken == 0);
  // All of it was accounted for: V has gone on by what was used, over the total weight.
  const double expected = static_cast<double>(passed.count()) / static_cast<double>(picker.total_weight());
  CHECK(near(picker.virtual_time(), expected, 2 + 1e-9 * expected));

  // And from here it goes on, nanosecond by nanosecond, as a new picker would.
  for (EevdfEntity& party : parties) picker.leave(party);
  Eevdf fresh;
  std::deque<EevdfEntity> twins(3);
  std::deque<EevdfEntity> late(3);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::uint64_t weight = 3 + 2 * i;
    fresh.add(twins[i], weight);
    picker.add(late[i], weight);
    fresh.join(twins[i], ns{5});
    picker.join(late[i], ns{5});
  }
  for (int step = 0; step < 200; ++step) {
    EevdfEntity* const theirs = fresh.pick();
    EevdfEntity* const ours = picker.pick();
    for (std::size_t i = 0; i < 3; ++i) REQUIRE((theirs == &twins[i]) == (ours == &late[i]));
    const ns used = random.between(0, 7);
    fresh.charge(*theirs, used, ns{5});
    picker.charge(*ours, used, ns{5});
    for (std::size_t i = 0; i < 3; ++i)
      REQUIRE(std::chrono::abs(fresh.lag(twins[i]) - picker.lag(late[i])) <= ns{1});
  }
  picker.join(sleeper, ns{1});
  CHECK(picker.lag(sleeper) == ns{0});
}

TEST_CASE("nothing overflows at the limits of charge, weight and debt", "[eevdf]") {
  Random random{GENERATE(21U, 22U, 23U, 24U)};
  Eevdf picker;
  std::deque<EevdfEntity> parties(8);
  for (EevdfEntity& party : parties) picker.add(party, random.one_in(2) ? 1 : heaviest);
  const auto any_time = [&] {
    switch (random.upto(5)) {
      case 0:
        return ns::max();
      case 1:
        return ns::min();
      case 2:
        return ns{0};
      case 3:
        return ns{1};
      default:
        return ns{Eevdf::max_charge};
    }
  };
  std::size_t broken = 0;
  for (int step = 0; step < 4'000; ++step) {
    EevdfEntity& party = parties[random.upto(parties.size() - 1)];
    switch (random.upto(4)) {
      case 0:
        if (!party.runnable()) picker.join(party, any_time());
        break;
      case 1:
        if (party.runnable() && random.one_in(2)) picker.leave(party);
        break;
      case 2:
        if (party.runnable()) picker.charge(party, any_time(), any_time());  // picked or not
        break;
      case 3:
        picker.set_weight(party, any_weight(random));
        break;
      default:
        break;
    }
    EevdfEntity* const picked = picker.pick();
    if ((picked == nullptr) != (picker.runnable_count() == 0)) ++broken;
    if (picked != nullptr && !picker.eligible(*picked)) ++broken;
    if (!picker.check_invariants()) ++broken;
    for (const EevdfEntity& each : parties) {
      if (std::chrono::abs(picker.lag(each)) > 2 * Eevdf::max_charge) ++broken;
    }
  }
  CHECK(broken == 0);
}

TEST_CASE("one charge of years to a weight of 1 leaves a newcomer of 2^20 at V", "[eevdf]") {
  Eevdf picker;
  EevdfEntity a;
  EevdfEntity b;
  EevdfEntity c;
  picker.add(a, 1);
  picker.add(b, 1);
  picker.add(c, heaviest);
  picker.join(a, ns{1});
  picker.join(b, ns{1});
  picker.charge(a, Eevdf::max_charge, ns{1});
  picker.leave(b);  // V jumps by a year at once
  picker.join(c, ns{1});
  CHECK(picker.lag(c) == ns{0});
  CHECK(picker.lag(a) == ns{0});
  CHECK(picker.eligible(c));
  CHECK(picker.pick() != nullptr);
}

#if defined(__SIZEOF_INT128__)

// The same rules once more, written down as in the paper: with fractions, and without heaps, sums or moving
// origins.
namespace {

__extension__ typedef __int128 Wide;

struct Fraction {
  Wide num;
  Wide den;  // > 0, and no common factor

  Fraction(Wide n = 0, Wide d = 1) : num{n}, den{d} {
    Wide a = num < 0 ? -num : num;
    Wide b = den;
    while (b != 0) a = std::exchange(b, a % b);
    num /= a;
    den /= a;
  }
  friend Fraction operator+(Fraction a, Fraction b) { return {a.num * b.den + b.num * a.den, a.den * b.den}; }
  friend Fraction operator-(Fraction a, Fraction b) { return {a.num * b.den - b.num * a.den, a.den * b.den}; }
  friend Fraction operator*(Fraction a, Fraction b) { return {a.num * b.num, a.den * b.den}; }
  friend bool operator<(Fraction a, Fraction b) { return a.num * b.den < b.num * a.den; }
  friend bool operator<=(Fraction a, Fraction b) { return !(b < a); }

  [[nodiscard]] Wide floor() const { return num / den - (num % den < 0 ? 1 : 0); }
  [[nodiscard]] Wide ceil() const { return -Fraction{-num, den}.floor(); }
  [[nodiscard]] ns truncated() const { return ns{static_cast<std::int64_t>(num / den)}; }
};

constexpr Wide grain = 1 << 16;  // what join and set_weight round to, per ns of service

struct ModelParty {
  Wide weight = 1;
  std::optional<Fraction> v;  // in ns of virtual time; none before the first join
  Fraction deadline;
  Fraction owed;
  bool runnable = false;
  std::uint64_t joined = 0;
};

struct Model {
  std::vector<ModelParty> parties;
  Fraction stopped_at;
  Fraction longest_overrun;
  std::uint64_t joins = 0;

  [[nodiscard]] Wide total_weight() const {
    Wide sum = 0;
    for (const ModelParty& p : parties) sum += p.runnable ? p.weight : 0;
    return sum;
  }
  [[nodiscard]] Fraction now() const {
    const Wide total = total_weight();
    if (total == 0) return stopped_at;
    Fraction sum;
    for (const ModelParty& p : parties) {
      if (p.runnable) sum = sum + *p.v * p.weight;
    }
    return sum * Fraction{1, total};
  }
  [[nodiscard]] Fraction lag(const ModelParty& p) const { return (now() - *p.v) * p.weight; }
  [[nodiscard]] Fraction left(const ModelParty& p) const { return (p.deadline - *p.v) * p.weight; }
  [[nodiscard]] bool eligible(const ModelParty& p) const { return p.runnable && *p.v <= now(); }

  [[nodiscard]] std::optional<std::size_t> pick() const {
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < parties.size(); ++i) {
      const ModelParty& p = parties[i];
      if (!eligible(p)) continue;
      if (!best || p.deadline < parties[*best].deadline ||
          (p.deadline <= parties[*best].deadline && p.joined < parties[*best].joined)) {
        best = i;
      }
    }
    return best;
  }
  void join(ModelParty& p, ns request) {
    const Wide total = total_weight();
    Fraction place = now();
    if (total > 0) {
      const Fraction most = Fraction{request.count()} + longest_overrun;
      const Fraction restored = p.owed < most ? p.owed : most;
      place = place - restored * Fraction{total + p.weight, total * p.weight};
    }
    place = Fraction{(place * Fraction{p.weight * grain}).floor(), p.weight * grain};
    if (!p.v || *p.v < place) p.v = place;
    p.deadline = *p.v + Fraction{request.count(), p.weight};
    p.owed = {};
    p.joined = ++joins;
    p.runnable = true;
  }
  void leave(ModelParty& p) {
    const Fraction owed{(lag(p) * Fraction{grain}).floor(), grain};
    p.owed = Fraction{} < owed ? owed : Fraction{};
    stopped_at = now();
    p.runnable = false;
  }
  void charge(ModelParty& p, ns used, ns next) {
    p.v = *p.v + Fraction{used.count(), p.weight};
    if (*p.v < p.deadline) return;
    const Fraction over = (*p.v - p.deadline) * p.weight;
    if (longest_overrun < over) longest_overrun = over;
    p.deadline = *p.v + Fraction{next.count(), p.weight};
  }
  void set_weight(ModelParty& p, Wide weight) {
    if (p.v) {
      const Fraction request = left(p);
      const Fraction middle = now();
      const Fraction v = middle - (middle - *p.v) * Fraction{p.weight, weight};
      p.v = Fraction{(v * Fraction{weight * grain}).ceil(), weight * grain};
      p.deadline = *p.v + request * Fraction{1, weight};
    }
    p.weight = weight;
  }
};

struct Pair {
  static constexpr std::size_t count = 7;
  Eevdf picker;
  std::array<EevdfEntity, count> entities;
  Model model;

  explicit Pair(Random& random) {
    model.parties.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t weight = 1 + random.upto(9);
      picker.add(entities[i], weight);
      model.parties[i].weight = static_cast<Wide>(weight);
    }
  }

  // The name of what differs, or nothing.
  const char* difference() {
    const Fraction middle = model.now();
    for (std::size_t i = 0; i < count; ++i) {
      const ModelParty& p = model.parties[i];
      const EevdfEntity& e = entities[i];
      if (e.runnable() != p.runnable) return "runnable";
      if (picker.eligible(e) != model.eligible(p)) return "eligible";
      if (!p.v) continue;
      const bool owes = middle < *p.v;
      const Fraction lag = p.runnable || owes ? model.lag(p) : p.owed;
      if (picker.lag(e) != lag.truncated()) return "lag";
      if (p.runnable && picker.remaining(e) != model.left(p).truncated()) return "remaining";
      for (std::size_t j = 0; p.runnable && j < count; ++j) {
        if (!model.parties[j].runnable) continue;
        const bool preempts = model.eligible(p) && p.deadline < model.parties[j].deadline;
        if (picker.would_preempt(e, entities[j]) != preempts) return "would_preempt";
      }
    }
    if (picker.longest_overrun() != model.longest_overrun.truncated()) return "longest_overrun";
    if (picker.total_weight() != static_cast<std::uint64_t>(model.total_weight())) return "total_weight";
    const auto expected = model.pick();
    EevdfEntity* const picked = picker.pick();
    if (picked != (expected ? &entities[*expected] : nullptr)) return "pick";
    if (!expected && picker.runnable_count() != 0) return "nobody eligible";
    if (picker.pick() != picked) return "second pick";
    if (!picker.check_invariants()) return "invariants";
    return nullptr;
  }
};

}  // namespace

TEST_CASE("the picker does at each step what exact fractions say", "[eevdf]") {
  const unsigned seed = GENERATE(range(1U, 61U));
  Random random{seed};
  // Small times make ties and exact equalities, great ones move the origin.
  const std::int64_t scale = std::array<std::int64_t, 4>{3, 100, 1'000'000, 20'000'000'000}[seed % 4];
  const std::uint64_t greatest_weight = seed % 3 == 0 ? 1'000 : 6;
  Pair pair{random};
  Fraction before;
  for (int step = 0; step < 400; ++step) {
    const std::size_t i = random.upto(Pair::count - 1);
    EevdfEntity& entity = pair.entities[i];
    ModelParty& party = pair.model.parties[i];
    bool membership_changed = true;
    const std::uint64_t what = random.upto(19);
    if (what < 4 || pair.picker.runnable_count() == 0) {
      if (!entity.runnable()) {
        const ns request = random.between(1, scale);
        pair.picker.join(entity, request);
        pair.model.join(party, request);
      }
    } else if (what < 6) {
      if (entity.runnable()) {
        pair.picker.leave(entity);
        pair.model.leave(party);
      }
    } else if (what == 6) {
      const std::uint64_t weight = 1 + random.upto(greatest_weight - 1);
      pair.picker.set_weight(entity, weight);
      pair.model.set_weight(party, static_cast<Wide>(weight));
    } else if (what == 7 && random.one_in(3)) {
      pair.picker.remove(entity);
      if (party.runnable) pair.model.leave(party);
      const std::uint64_t weight = 1 + random.upto(greatest_weight - 1);
      pair.picker.add(entity, weight);
      party = ModelParty{};
      party.weight = static_cast<Wide>(weight);
    } else {
      const auto picked = pair.model.pick();
      std::size_t p = picked.value();
      if (what == 7 && entity.runnable()) p = i;  // run out of turn
      const ns used = random.one_in(8) ? random.between(0, 3 * scale) : random.between(0, scale);
      const ns next = random.between(1, scale);
      pair.picker.charge(pair.entities[p], used, next);
      pair.model.charge(pair.model.parties[p], used, next);
      membership_changed = false;
    }
    const Fraction now = pair.model.now();
    if (!membership_changed) REQUIRE(before <= now);
    before = now;
    const char* const difference = pair.difference();
    CAPTURE(seed, step, what, difference);
    REQUIRE(difference == nullptr);
  }
}

#endif

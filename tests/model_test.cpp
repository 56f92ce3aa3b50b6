#include "catch.hpp"
#include "model_program.hpp"

#include <cstdint>
#include <cstdlib>
#include <string>

// A random program against a simple model, see model.hpp. CLOCKWORKER_TEST_SEED repeats a run,
// CLOCKWORKER_TEST_STEPS sets its length.

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

void run_program(std::uint64_t seed, std::uint64_t steps) {
  model::World world{seed, steps};
  while (world.steps_left != 0 && world.failure.empty()) world.live_once();
  INFO("CLOCKWORKER_TEST_SEED=" << seed << " CLOCKWORKER_TEST_STEPS=" << steps);
  INFO(world.failure);
  REQUIRE(world.failure.empty());
  // A program that does nothing finds nothing.
  CHECK(world.tasks > steps / 100);
  CHECK(world.destroyed_alive > 0);
}

}  // namespace

TEST_CASE("A random program of tasks does what a simple model says, whatever is done to it") {
  const std::uint64_t steps = from_environment("CLOCKWORKER_TEST_STEPS", 1'000'000);
  if (std::getenv("CLOCKWORKER_TEST_SEED") != nullptr) {
    run_program(from_environment("CLOCKWORKER_TEST_SEED", 0), steps);
  } else {
    for (std::uint64_t seed = 1; seed <= 8; ++seed) run_program(seed, steps / 8);
  }
}

#include <clockworker/remote.hpp>

#include <clockworker/clockworker.hpp>

#include "catch.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace cw = clockworker;
using namespace std::chrono_literals;
using Builder = cw::ExecutorBuilder<int, cw::ManualClock>;

cw::Task<int> seven() { co_return 7; }

TEST_CASE("Remote: under rethrow an exception reaches the handle, and run* throws it too", "[remote]") {
  auto executor = Builder{}.with_queue(0, 1).build();
  auto throws = []() -> cw::Task<> {
    throw std::runtime_error("task");
    co_return;
  };
  auto handle = executor.remote().spawn(0, throws);
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
  CHECK_THROWS_AS(handle.get().value(), std::runtime_error);
  static_cast<void>(executor.remote().spawn(0, throws));  // detached
  CHECK_THROWS_AS(executor.run_ready(), std::runtime_error);
}

TEST_CASE("Remote: under capture the hook hears of what nobody took, once", "[remote]") {
  std::vector<std::string> heard;
  auto hook = [&](std::exception_ptr exception, const cw::TaskInfo& info) {
    try {
      std::rethrow_exception(exception);
    } catch (const std::exception& error) {
      heard.push_back(info.queue + ": " + error.what());
    }
  };
  auto executor = Builder{}
                      .with_queue(0, 1)
                      .with_exception_policy(cw::ExceptionPolicy::capture)
                      .with_unhandled_exception(hook)
                      .build();
  auto throws = [](const char* text) -> cw::Task<> {
    throw std::runtime_error(text);
    co_return;
  };
  static_cast<void>(executor.remote().spawn(0, throws, "detached"));
  auto dropped = executor.remote().spawn(0, throws, "dropped");
  auto taken = executor.remote().spawn(0, throws, "taken");
  executor.run_ready();
  CHECK(heard == std::vector<std::string>{"0: detached"});
  CHECK_THROWS_AS(taken.get().value(), std::runtime_error);
  taken = {};
  dropped = {};
  CHECK(heard == std::vector<std::string>{"0: detached", "0: dropped"});
}

TEST_CASE("Remote: under capture the hook hears also of a spawn's own error that nobody took", "[remote]") {
  int heard = 0;
  auto executor = Builder{}
                      .with_queue(0, 1)
                      .with_exception_policy(cw::ExceptionPolicy::capture)
                      .with_unhandled_exception([&](std::exception_ptr, const cw::TaskInfo&) { ++heard; })
                      .build();
  auto kept = executor.remote().spawn(42, seven);
  auto taken = executor.remote().spawn(42, seven);
  static_cast<void>(executor.remote().spawn(42, seven));
  executor.run_ready();
  CHECK(heard == 1);
  CHECK(taken.get().error().code() == cw::JoinErrc::exception);
  taken = {};
  kept = {};
  CHECK(heard == 2);
}

}  // namespace

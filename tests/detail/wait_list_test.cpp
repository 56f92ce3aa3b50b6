#include <clockworker/detail/wait_list.hpp>

#include "catch.hpp"
#include "schedulers/fake_tasks.hpp"

#include <algorithm>
#include <cstddef>
#include <random>
#include <utility>
#include <vector>

namespace {

using clockworker::TaskRef;
using clockworker::detail::WaitList;

TEST_CASE("WaitList: the front is what was pushed first and not erased, and places are used again", "[wait_list]") {
  clockworker_test::FakeTasks tasks;
  std::mt19937 random{7};
  WaitList list;
  list.reserve(50);
  std::vector<std::pair<TaskRef, WaitList::Place>> model;
  WaitList::Place greatest = 0;
  for (int step = 0; step < 5000; ++step) {
    if (model.size() < 50 && random() % 2 == 0) {
      TaskRef task = tasks.spawn();
      model.emplace_back(task, list.push_back(task));
      greatest = std::max(greatest, model.back().second);
    } else if (!model.empty()) {
      auto gone = model.begin() + static_cast<std::ptrdiff_t>(random() % model.size());
      list.erase(gone->second);
      model.erase(gone);
    }
    REQUIRE(list.size() == model.size());
    if (!model.empty()) REQUIRE(list.front() == model.front().first);
  }
  CHECK(greatest <= 50);
}

TEST_CASE("WaitList: reserving keeps what is in the list", "[wait_list]") {
  clockworker_test::FakeTasks tasks;
  WaitList list;
  TaskRef a = tasks.spawn();
  TaskRef b = tasks.spawn();
  list.reserve(1);
  WaitList::Place place = list.push_back(a);
  list.reserve(1000);
  list.push_back(b);
  CHECK(list.front() == a);
  list.erase(place);
  CHECK(list.front() == b);
}

}  // namespace

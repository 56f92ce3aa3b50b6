// A game's frame loop: 60 frames a second, and what is left of each goes to the executor. Scripts of the game's
// characters are foreground tasks; searches for their ways, and what becomes of loaded files, background tasks.
#include <clockworker/clockworker.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <semaphore>
#include <string>
#include <thread>
#include <vector>

namespace cw = clockworker;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

enum class Lane { scripts, background };

// Cells of floor and wall, row by row; those at the edge are walls.
struct Map {
  static constexpr std::size_t width = 700, gate = width + 1, tower = width * (width - 1) - 2;
  std::vector<bool> floor;
};

Map make_map() {
  std::vector<bool> floor(Map::width * Map::width);
  std::uint32_t random = 1;
  for (std::size_t cell = Map::gate; cell <= Map::tower; ++cell) {
    random = random * 1664525U + 1013904223U;
    floor[cell] = random >> 30 != 0 && cell % Map::width % (Map::width - 1) != 0;  // three quarters
  }
  floor[Map::gate] = floor[Map::tower] = true;
  return {floor};
}

// The length of the shortest way, by breadth-first search. Takes many frames, and delays none.
cw::Task<int> find_way(const Map& map, std::size_t from, std::size_t to) {
  std::vector<int> steps(map.floor.size(), -1);
  std::deque<std::size_t> open{from};
  for (steps[from] = 0; !open.empty() && steps[to] < 0; open.pop_front()) {
    const std::size_t here = open.front();
    for (std::size_t next : {here - 1, here + 1, here - Map::width, here + Map::width}) {
      if (!map.floor[next] || steps[next] >= 0) continue;
      steps[next] = steps[here] + 1;
      open.push_back(next);
    }
    co_await cw::yield_maybe();  // to a script that has something to do, or to the frame when it is over
  }
  co_return steps[to];
}

int main() {
  auto executor =
      cw::ExecutorBuilder<Lane>{}.with_queue(Lane::scripts, 9).with_queue(Lane::background, 1).build();
  std::counting_semaphore<> tasks_due{0};
  executor.on_runnable([&] { tasks_due.release(); });  // called on any thread, when the executor was idle

  const Map map = make_map();
  std::string ground = "grey";
  int guards_at_tower = 0;
  for (int guard = 1; guard <= 3; ++guard) {
    executor.queue(Lane::scripts).spawn([&, guard]() -> cw::Task<> {
      auto search = executor.queue(Lane::background).spawn(find_way, std::ref(map), Map::gate, Map::tower);
      const int way = (co_await search).value();
      for (int walked = 0; walked < way; walked += 300) co_await cw::sleep_for(16ms);
      std::printf("guard %d has walked %d steps\n", guard, way);
      ++guards_at_tower;
    });
  }
  // Files are read on a thread of their own; what is made of them belongs to the game's thread.
  std::thread loader{[&, remote = executor.remote()]() mutable {
    std::this_thread::sleep_for(50ms);  // a slow disk
    remote.spawn(Lane::background, [&]() -> cw::Task<> {
      ground = "grass";
      co_return;
    });
  }};

  int frames = 0;
  auto frame_end = Clock::now();
  for (; guards_at_tower < 3 || ground == "grey"; ++frames) {
    frame_end = std::max(frame_end + 16'667us, Clock::now());
    // Here: input, physics, drawing. Then, until the next frame is due:
    for (auto now = Clock::now(); now < frame_end; now = Clock::now()) {
      const cw::Progress progress = executor.run_ready({.time = frame_end - now});
      if (progress.runnable) continue;
      // All tasks wait. So does this thread, for the next of their timers or a wake from another thread.
      const auto timer = progress.next_timer.value_or(1h);
      (void)tasks_due.try_acquire_until(std::min(frame_end, Clock::now() + timer));
    }
  }
  loader.join();
  std::printf("%d frames, and the ground is %s\n", frames, ground.c_str());
}

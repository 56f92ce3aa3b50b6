// The executor as a guest in an event loop that is there already: its turns are short events among others.
#include <clockworker/clockworker.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

namespace cw = clockworker;
using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

enum class Event { key_pressed, tasks_due, closed };

// The loop's own queue of events. It knows nothing of the executor.
class EventQueue {
 public:
  void post(Event event) {  // any thread
    std::lock_guard lock{mutex_};
    events_.push_back(event);
    changed_.notify_one();
  }
  Event wait(std::optional<Clock::time_point> alarm) {  // when the alarm goes off first: tasks_due
    std::unique_lock lock{mutex_};
    const auto any = [this] { return !events_.empty(); };
    if (!alarm) {
      changed_.wait(lock, any);
    } else if (!changed_.wait_until(lock, *alarm, any)) {
      return Event::tasks_due;
    }
    const Event event = events_.front();
    events_.pop_front();
    return event;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
};

int main() {
  EventQueue events;
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  // Called when the executor turns from idle to runnable, on the thread that causes it: asks for a turn.
  executor.on_runnable([&] { events.post(Event::tasks_due); });

  int answered = 0;
  const auto answer = [&]() -> cw::Task<> {
    co_await cw::sleep_for(2ms);
    ++answered;
  };
  long steps = 0;
  executor.queue(0).spawn([&]() -> cw::Task<> {
    for (;; ++steps) co_await cw::yield_maybe();  // never done: the budget lets other events in
  });

  std::thread keyboard{[&] {
    for (Event event : {Event::key_pressed, Event::key_pressed, Event::key_pressed, Event::closed}) {
      std::this_thread::sleep_for(50ms);
      events.post(event);
    }
  }};
  std::optional<Clock::time_point> alarm;
  for (bool open = true; open;) {
    switch (events.wait(alarm)) {
      case Event::key_pressed: executor.queue(0).spawn(answer); break;
      case Event::closed: open = false; break;
      case Event::tasks_due:
        const cw::Progress progress = executor.run_ready({.time = 1ms, .polls = 100});
        if (progress.runnable) events.post(Event::tasks_due);  // behind what has come in meanwhile
        alarm.reset();
        if (progress.next_timer) alarm = Clock::now() + *progress.next_timer;
    }
  }
  keyboard.join();
  std::printf("%d keys answered, beside %s\n", answered, steps > 0 ? "other work" : "nothing");
}

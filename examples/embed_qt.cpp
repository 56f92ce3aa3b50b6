// An executor in a Qt application: a QObject gives it turns in the event loop, beside Qt's own timers and events.
// Tasks, slots and QObjects are all on the one thread, so they may use each other without locks.
#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/qt.hpp>

#include <chrono>
#include <cstdio>

#include <QtCore/QCoreApplication>
#include <QtCore/QTimer>

namespace cw = clockworker;
using namespace std::chrono_literals;

enum class Lane { interactive, batch };

// Background work, as it might be of a document's statistics: the longest Collatz chain from below `limit`.
cw::Task<int> longest_chain(int limit) {
  int longest = 0, from = 0;
  for (int start = 1; start < limit; ++start) {
    int length = 0;
    for (long n = start; n != 1; n = n % 2 == 0 ? n / 2 : 3 * n + 1) ++length;
    if (length > longest) longest = length, from = start;
    co_await cw::yield_maybe();  // Qt's events come in between, too
  }
  co_return from;
}

int main(int argc, char** argv) {
  QCoreApplication app{argc, argv};
  auto executor =
      cw::ExecutorBuilder<Lane>{}.with_queue(Lane::interactive, 9).with_queue(Lane::batch, 1).build();
  cw::QtGuest guest{executor};  // from here on the event loop runs its tasks; give it a parent if you like

  QTimer clock;  // Qt's own, on time although the batch task never sleeps
  int ticks = 0;
  QObject::connect(&clock, &QTimer::timeout, [&] { ++ticks; });
  clock.start(10ms);

  executor.queue(Lane::interactive).spawn([&]() -> cw::Task<> {
    auto chain = executor.queue(Lane::batch).spawn(longest_chain, 300'000);
    co_await cw::sleep_for(30ms);
    std::printf("interactive: awake again\n");
    const int from = (co_await chain).value();
    while (ticks < 5) co_await cw::sleep_for(1ms);
    std::printf("batch: the longest chain starts from %d\n", from);
    app.quit();
  });

  const int status = app.exec();
  std::printf("Qt's timer ticked beside it: %s\n", ticks >= 5 ? "yes" : "no");
  return status;
}

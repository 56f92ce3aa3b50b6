// host: qt
#include "../heap_under_test.hpp"

#include "qt_loop.hpp"

#include <clockworker/clockworker.hpp>

#include "../catch.hpp"

#include <cstddef>
#include <functional>

namespace {

namespace cw = clockworker;
using clockworker_test::Dispatcher;
using clockworker_test::QtApplication;
using heap_under_test::heap;

cw::Task<> wait_for(cw::Waker& waker, int& resumed) {
  auto keep = [&](cw::Waker given) { waker = std::move(given); };
  for (;; ++resumed) co_await cw::suspend(keep);
}

TEST_CASE("Qt: a wake and a ring of the bell allocate nothing", "[hosts]") {
  QtApplication application{GENERATE(Dispatcher::of_glib, Dispatcher::of_unix)};
  auto executor = cw::ExecutorBuilder<>{}.with_queue(0, 1).build();
  const cw::QtGuest guest{executor};
  cw::QtHost host;
  cw::Waker waker;
  int resumed = 0;
  executor.queue(0).spawn(wait_for, std::ref(waker), std::ref(resumed));
  for (int i = 0; i < 10; ++i) {
    while (resumed < i) QCoreApplication::processEvents();
    while (executor.run_ready().runnable) {
    }
    const std::size_t before = heap.allocations;
    waker.wake();
    host.wake();
    CHECK(heap.allocations == before);
  }
}

}  // namespace

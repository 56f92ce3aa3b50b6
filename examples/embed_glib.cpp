// An executor in a GLib program: a guest in its main loop. In a GTK application it is the same, and a redraw is not
// starved by tasks that never sleep.
#include <clockworker/clockworker.hpp>
#include <clockworker/hosts/glib.hpp>

#include <chrono>
#include <cstdio>

#include <glib.h>

namespace cw = clockworker;
using namespace std::chrono_literals;

enum class Lane { interactive, batch };

cw::Task<> spin(long& steps) {
  for (;; ++steps) co_await cw::yield_maybe();  // GLib's events come in between, too
}

int main() {
  GMainLoop* loop = g_main_loop_new(nullptr, FALSE);
  auto executor =
      cw::ExecutorBuilder<Lane>{}.with_queue(Lane::interactive, 9).with_queue(Lane::batch, 1).build();
  cw::GlibGuest guest{executor,
                      g_main_loop_get_context(loop)};  // from here on the loop runs the executor's tasks

  int ticks = 0;
  g_timeout_add(  // the program's own, on time although the batch task never sleeps
      5,
      [](gpointer data) -> gboolean {
        ++*static_cast<int*>(data);
        return G_SOURCE_CONTINUE;
      },
      &ticks);

  long steps = 0;
  executor.queue(Lane::batch).spawn(spin(steps));
  executor.queue(Lane::interactive).spawn([&]() -> cw::Task<> {
    while (ticks < 3) co_await cw::sleep_for(1ms);
    std::printf("GLib's timeout has come %d times, the batch task has made %s\n", ticks,
                steps > 1000 ? "thousands of steps" : "hardly a step");
    g_main_loop_quit(loop);
  });

  g_main_loop_run(loop);
  g_main_loop_unref(loop);
}

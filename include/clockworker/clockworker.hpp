/// \file
/// All of clockworker that needs only the standard library. Hosts for other event loops are included by name,
/// from `clockworker/hosts/`.
#pragma once

#include <clockworker/clock.hpp>
#include <clockworker/eevdf.hpp>
#include <clockworker/executor.hpp>
#include <clockworker/executor_builder.hpp>
#include <clockworker/host.hpp>
#include <clockworker/hosts/thread.hpp>
#include <clockworker/join.hpp>
#include <clockworker/queue.hpp>
#include <clockworker/queue_options.hpp>
#include <clockworker/remote.hpp>
#include <clockworker/schedulers/arrival_fifo.hpp>
#include <clockworker/schedulers/las.hpp>
#include <clockworker/schedulers/quantized_las.hpp>
#include <clockworker/schedulers/runnable_fifo.hpp>
#include <clockworker/shutdown.hpp>
#include <clockworker/stats.hpp>
#include <clockworker/stop_token.hpp>
#include <clockworker/task.hpp>
#include <clockworker/task_scheduler.hpp>
#include <clockworker/this_task.hpp>
#include <clockworker/timer.hpp>
#include <clockworker/version.hpp>
#include <clockworker/waker.hpp>
#include <clockworker/yield.hpp>

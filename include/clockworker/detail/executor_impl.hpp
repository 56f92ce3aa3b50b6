/// \file
/// The members of `Executor`.
#pragma once

#include <clockworker/executor.hpp>

namespace clockworker {

template <QueueKey Key, Clock C>
Executor<Key, C>::Executor(detail::ExecutorSettings settings, std::vector<NewQueue>& queues)
    : ring_{settings.ring, std::make_shared<const detail::ExceptionRules>(std::move(settings.exceptions)), &clock_now},
      main_lane_{make_queue(ring_, QueueOptions{}, "(main)", RunnableFifo{})} {
  main_lane_->is_main = true;
  ring_.main_lane = main_lane_.get();
  ring_.owner = this;
  ring_.find_queue = &find_for_remote;
  lanes_.reserve(queues.size());
  for (NewQueue& queue : queues) {
    std::string name = queue.options.name.empty() ? detail::text_of(queue.key, lanes_.size()) : queue.options.name;
    take_in(std::move(queue.key), queue.make(ring_, queue.options, std::move(name)), queue.options.weight);
  }
}

template <QueueKey Key, Clock C>
Executor<Key, C>::~Executor() {
  CLOCKWORKER_ASSERT(!ring_.driven, "an executor is destroyed while it is running");
  ring_.closing = true;
  main_lane_->tells_scheduler = false;
  for (Lane& lane : lanes_) lane.queue->tells_scheduler = false;
  // On the executor's thread still, for the destructors of locals; and nobody rings any more.
  detail::ThreadState before = std::exchange(detail::thread_state, detail::ThreadState{nullptr, &ring_, 0});
  detail::InboxNode* node = ring_.mailbox().inbox.close();
  ring_.mailbox().clear_notify();
  while (node != nullptr) {
    auto& letter = static_cast<detail::Letter&>(*node);
    node = node->next_posted;
    letter.deliver(letter, nullptr);
  }
  while (ring_.newest != nullptr) {
    detail::TaskCell& cell = *ring_.newest;
    ring_.abort(cell);  // its stop callbacks may hurry a stranger
    if (!detail::leave_to_stranger(ring_, cell)) ring_.end_now(cell);
  }
  ring_.disarm(patience_);
  for (Lane& lane : lanes_) ring_.picker.remove(*lane.queue);
  lanes_.clear();
  main_lane_.reset();
  detail::thread_state = before;
}

template <QueueKey Key, Clock C>
QueueHandle Executor<Key, C>::take_in(Key key, detail::QueuePointer queue, std::uint64_t weight) {
  detail::WorkQueueBase& added = *queue;
  lanes_.push_back(Lane{std::move(key), std::move(queue)});
  try {
    ring_.picker.add(added, weight);
  } catch (...) {
    lanes_.pop_back();
    throw;
  }
  return detail_queue_access::make(added);
}

template <QueueKey Key, Clock C>
QueueHandle Executor<Key, C>::add_queue(Key key, QueueOptions options, TaskScheduler auto scheduler) {
  std::string name = options.name.empty() ? detail::text_of(key, lanes_.size()) : options.name;
  detail::check_queue_options(options, name, "add_queue()");
  if (look_up(key) != nullptr) {
    throw std::invalid_argument("clockworker: add_queue(): there is a queue '" + detail::text_of(key, lanes_.size()) +
                                "' already");
  }
  auto queue = make_queue(ring_, options, std::move(name), std::move(scheduler));
  return take_in(std::move(key), std::move(queue), options.weight);
}

template <QueueKey Key, Clock C>
void Executor<Key, C>::remove_queue(const Key& key) {
  detail::WorkQueueBase& queue = find(key, "remove_queue()");
  if (queue.live_tasks != 0) {
    throw std::logic_error("clockworker: remove_queue(): " + std::to_string(queue.live_tasks) +
                           " task(s) live on queue '" + queue.name + "'; abort them and let them end first");
  }
  if (lanes_.size() == 1) {
    throw std::logic_error("clockworker: remove_queue(): '" + queue.name + "' is the executor's last queue");
  }
  auto lane = std::find_if(lanes_.begin(), lanes_.end(), [&](const Lane& l) { return l.queue.get() == &queue; });
  service_of_removed_ += queue.record.service;
  removed_resumes_ += queue.record.resumes;
  ring_.picker.remove(queue);
  lanes_.erase(lane);
}

template <QueueKey Key, Clock C>
template <PollHook H, class A>
auto Executor<Key, C>::run_until(H& host, A&& main) {
  using Main = std::decay_t<A>;
  // Before anything is spawned: a refused call leaves all as it was.
  detail::check_may_drive(ring_, "run_until()");
  if constexpr (detail::is_join_handle<Main>) {
    auto* cell = detail_join_access::cell(main);
    if (!main.valid()) throw std::invalid_argument("clockworker: run_until() of an empty JoinHandle");
    if (cell != nullptr && cell->status != detail::TaskStatus::done && cell->queue->ring != &ring_) {
      throw std::invalid_argument("clockworker: run_until() of a JoinHandle that belongs to another executor");
    }
    if (!drive(host, "run_until()", [&] { return main.done(); }, false)) {
      throw JoinError{JoinErrc::cancelled, nullptr, "clockworker: run_until() was stopped before the task had ended"};
    }
    auto result = main.try_take();
    // Thrown from here, and not again by the next run.
    if (!result->has_value() && result->error().exception() != nullptr) ring_.forget_exception(result->error().exception());
    return result->value();
  } else {
    auto spawn = [&] {
      if constexpr (detail::is_task<Main>) {
        static_assert(!std::is_lvalue_reference_v<A>, "clockworker: run_until() takes a Task by move: std::move(task)");
        using T = typename Main::value_type;
        return detail_join_access::make<T>(
            detail::spawn_task<T>(*main_lane_, nullptr, nullptr, detail::run_until_main, main));
      } else {
        using Returned = detail::CalledResult<A>;
        static_assert(detail::is_task<Returned>,
                      "clockworker: run_until() takes a Task, a JoinHandle, or a callable without arguments that returns a Task");
        using T = typename Returned::value_type;
        return detail_join_access::make<T>(detail::spawn_callable<T>(*main_lane_, nullptr, nullptr,
                                                                     detail::run_until_main, std::forward<A>(main)));
      }
    };
    return run_main(host, spawn());
  }
}

template <QueueKey Key, Clock C>
template <class T, PollHook H>
T Executor<Key, C>::run_main(H& host, JoinHandle<T> main) {
  detail::TaskCell* cell = detail_join_access::cell(main);
  try {
    if (!drive(host, "run_until()", [&] { return main.done(); }, false)) {
      throw JoinError{JoinErrc::cancelled, nullptr, "clockworker: run_until() was stopped before its main had ended"};
    }
  } catch (...) {
    if (cell != nullptr && !main.done()) end_main(host, *cell);
    throw;
  }
  return main.try_take()->value();
}

/// Main must be gone before the caller's locals are. If a stranger holds on to its frames there is nothing for it but to poll the host until
/// it lets go; should that throw again, they are left to the stranger.
template <QueueKey Key, Clock C>
template <PollHook H>
void Executor<Key, C>::end_main(H& host, detail::TaskCell& main) noexcept {
  detail::DriveScope scope{ring_, "run_until()"};
  ring_.abort(main);
  detail::HostRef reference = detail::HostRef::of(host);
  ring_.mailbox().attach_host(reference.host, reference.wake);
  try {
    while (main.has(detail::stranger_pending) && main.status == detail::TaskStatus::suspended) {
      ring_.drain_inbox();
      if (main.status != detail::TaskStatus::suspended) break;
      detail::sleep_in_host(ring_, reference);
      ring_.set_time(ring_.now());
      ring_.fire_timers();
    }
  } catch (...) {
    ring_.keep_exception(std::current_exception());
  }
  ring_.mailbox().detach_host();
  if (!detail::leave_to_stranger(ring_, main)) ring_.end_now(main);
}

template <QueueKey Key, Clock C>
Progress Executor<Key, C>::run_ready(Budget budget) {
  return detail::run_ready(ring_, budget);
}

template <QueueKey Key, Clock C>
void Executor<Key, C>::on_runnable(std::function<void()> notify) {
  ring_.mailbox().set_notify(std::move(notify));
  if (!ring_.driven) {
    ring_.mailbox().inbox.unpark();
    detail::listen_as_guest(ring_);
  }
}

template <QueueKey Key, Clock C>
void Executor<Key, C>::shutdown(Shutdown mode) {
  ring_.shutting_down = true;
  if (mode.patience_ == 0) {
    ring_.disarm(patience_);
    abort_all();
  } else if (mode.patience_ != detail::never) {
    std::int64_t deadline = detail::saturated_end(ring_.now(), mode.patience_);
    if (patience_.linked() && patience_.deadline <= deadline) return;
    ring_.disarm(patience_);
    ring_.arm(patience_, deadline);
  }
}

template <QueueKey Key, Clock C>
ExecutorStats Executor<Key, C>::stats() const {
  ExecutorStats stats;
  stats.main_service = std::chrono::nanoseconds{main_lane_->record.service};
  stats.resumes = main_lane_->record.resumes + removed_resumes_;
  stats.service = std::chrono::nanoseconds{service_of_removed_};
  stats.runnable_tasks = main_lane_->runnable_tasks;
  for (const Lane& lane : lanes_) {
    stats.service += std::chrono::nanoseconds{lane.queue->record.service};
    stats.resumes += lane.queue->record.resumes;
    stats.runnable_tasks += lane.queue->runnable_tasks;
  }
  stats.slices = ring_.slices;
  stats.preemptions = ring_.preemptions;
  stats.spawned = ring_.spawned;
  stats.ended = ring_.spawned - ring_.live_tasks;
  stats.host_polls = ring_.host_polls;
  stats.parks = ring_.parks;
  stats.timers_fired = ring_.timers_fired;
  stats.remote_deliveries = ring_.remote_deliveries;
  stats.live_tasks = ring_.live_tasks;
  stats.armed_timers = ring_.timers.size();
  stats.queues = lanes_.size();
  return stats;
}

template <QueueKey Key, Clock C>
QueueStats Executor<Key, C>::stats(const Key& key) const {
  const detail::WorkQueueBase& queue = find(key, "stats()");
  const detail::QueueRecord& record = queue.record;
  QueueStats stats;
  stats.name = queue.name;
  stats.weight = queue.weight();
  stats.service = std::chrono::nanoseconds{record.service};
  stats.resumes = record.resumes;
  stats.slices = record.slices;
  stats.preemptions = record.preemptions;
  stats.live_tasks = queue.live_tasks;
  stats.runnable_tasks = queue.runnable_tasks;
  stats.longest_resume = std::chrono::nanoseconds{record.longest_resume};
  stats.waits = record.waits;
  stats.resume_lengths = record.resume_lengths;
  std::int64_t of_all = record.service_of_all;
  std::int64_t growth = record.lag_growth;
  std::int64_t lag = queue.active ? ring_.picker.lag(queue).count() : 0;
  if (queue.active) {
    of_all += ring_.service_of_all - record.service_of_all_at_join;
    growth += lag - record.lag_at_join;
  }
  if (of_all > 0) {
    stats.share_entitled = static_cast<double>(record.service + growth) / static_cast<double>(of_all);
    stats.share_received = static_cast<double>(record.service) / static_cast<double>(of_all);
  }
  stats.lag = std::chrono::nanoseconds{lag};
  stats.worst_lag = std::chrono::nanoseconds{std::max(record.worst_lag, lag)};
  stats.worst_debt = std::chrono::nanoseconds{std::min(record.worst_debt, lag)};
  return stats;
}

template <QueueKey Key, Clock C>
std::vector<TaskInfo> Executor<Key, C>::tasks() const {
  std::vector<TaskInfo> tasks;
  tasks.reserve(ring_.live_tasks);
  for (const detail::TaskCell* cell = ring_.newest; cell != nullptr; cell = cell->older) {
    tasks.push_back(detail::describe(*cell));
  }
  std::reverse(tasks.begin(), tasks.end());
  return tasks;
}

template <QueueKey Key, Clock C>
detail::WorkQueueBase* Executor<Key, C>::find_for_remote(detail::Ring& ring, const detail::RemoteKey& key) {
  auto& self = *static_cast<Executor*>(ring.owner);
  for (const Lane& lane : self.lanes_) {
    if (key.names(lane.key)) return lane.queue.get();
  }
  return nullptr;
}

}  // namespace clockworker

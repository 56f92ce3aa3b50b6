/// \file
/// `ExecutorBuilder`: what an executor is made of.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <clockworker/executor.hpp>
#include <clockworker/timer.hpp>

namespace clockworker {

/// Collects queues and options; `build()` checks them all and makes the executor in place. One thread at a
/// time.
template <QueueKey Key, Clock C>
class ExecutorBuilder {
 public:
  ExecutorBuilder() = default;
  ExecutorBuilder(ExecutorBuilder&&) = default;  // not copied: schedulers need not be copyable
  ExecutorBuilder& operator=(ExecutorBuilder&&) = default;

  /// A queue of that weight (1 to 2^20) and that order of tasks.
  template <class Scheduler = RunnableFifo, detail::QueueWeight Weight>
  ExecutorBuilder& with_queue(Key key, Weight weight, Scheduler scheduler = Scheduler{}) & {
    detail::explain_scheduler<Scheduler>();
    return with_queue(std::move(key), detail::options_of_weight(weight), std::move(scheduler));
  }
  template <class Scheduler = RunnableFifo, detail::QueueWeight Weight>
  ExecutorBuilder&& with_queue(Key key, Weight weight, Scheduler scheduler = Scheduler{}) && {
    detail::explain_scheduler<Scheduler>();  // ahead of what else the compiler finds
    return std::move(with_queue(std::move(key), weight, std::move(scheduler)));
  }
  template <class Scheduler = RunnableFifo>
  ExecutorBuilder& with_queue(Key key, QueueOptions options, Scheduler scheduler = Scheduler{}) & {
    detail::explain_scheduler<Scheduler>();
    if constexpr (TaskScheduler<Scheduler>) {
      // Shared, as std::function copies; moved out when the queue is made, which happens once.
      auto kept = std::make_shared<Scheduler>(std::move(scheduler));
      queues_.push_back({std::move(key), std::move(options),
                         [kept](detail::Ring& ring, const QueueOptions& with, std::string name) {
                           return Executor<Key, C>::make_queue(ring, with, std::move(name), std::move(*kept));
                         }});
    }
    return *this;
  }
  template <class Scheduler = RunnableFifo>
  ExecutorBuilder&& with_queue(Key key, QueueOptions options, Scheduler scheduler = Scheduler{}) && {
    detail::explain_scheduler<Scheduler>();
    return std::move(with_queue(std::move(key), std::move(options), std::move(scheduler)));
  }

  /// The period in which every runnable queue gets a slice: without a `slice` of its own a queue's request is
  /// the larger of the least slice and this, divided by the number of runnable queues. Default 2 ms.
  template <class Rep, class Period>
  ExecutorBuilder& with_sched_latency(std::chrono::duration<Rep, Period> period) & {
    return set(&detail::RingOptions::sched_latency, period);
  }
  template <class Rep, class Period>
  ExecutorBuilder&& with_sched_latency(std::chrono::duration<Rep, Period> period) && {
    return std::move(with_sched_latency(period));
  }

  /// Default 100 us.
  template <class Rep, class Period>
  ExecutorBuilder& with_min_slice(std::chrono::duration<Rep, Period> least) & {
    return set(&detail::RingOptions::min_slice, least);
  }
  template <class Rep, class Period>
  ExecutorBuilder&& with_min_slice(std::chrono::duration<Rep, Period> least) && {
    return std::move(with_min_slice(least));
  }

  /// The longest the host goes unpolled while tasks are runnable and give way. Default 500 us.
  template <class Rep, class Period>
  ExecutorBuilder& with_host_poll_interval(std::chrono::duration<Rep, Period> interval) & {
    return set(&detail::RingOptions::host_poll_interval, interval);
  }
  template <class Rep, class Period>
  ExecutorBuilder&& with_host_poll_interval(std::chrono::duration<Rep, Period> interval) && {
    return std::move(with_host_poll_interval(interval));
  }

  /// After how many resumes the host is polled, if that is before the interval is over, and if they have
  /// taken at least eight times as long as a poll of it. Default 61.
  ExecutorBuilder& with_max_polls_per_host_poll(std::uint32_t polls) & {
    settings_.ring.max_polls_per_host_poll = polls;
    return *this;
  }
  ExecutorBuilder&& with_max_polls_per_host_poll(std::uint32_t polls) && {
    return std::move(with_max_polls_per_host_poll(polls));
  }

  /// Default: ExceptionPolicy::rethrow.
  ExecutorBuilder& with_exception_policy(ExceptionPolicy policy) & {
    settings_.exceptions.policy = policy;
    return *this;
  }
  ExecutorBuilder&& with_exception_policy(ExceptionPolicy policy) && {
    return std::move(with_exception_policy(policy));
  }

  /// Under `capture`: called with an exception that nobody took, when its handle is dropped, or at the task's
  /// end if there is none. It may outlive the executor, as handles do, and runs where the handle
  /// is dropped: of a RemoteHandle, on any thread. It must not throw. Default:
  /// std::terminate.
  ExecutorBuilder& with_unhandled_exception(std::function<void(std::exception_ptr, TaskInfo)> hook) & {
    settings_.exceptions.unhandled = std::move(hook);
    return *this;
  }
  ExecutorBuilder&& with_unhandled_exception(std::function<void(std::exception_ptr, TaskInfo)> hook) && {
    return std::move(with_unhandled_exception(std::move(hook)));
  }

  /// Makes the executor; the builder is spent. Throws std::invalid_argument, with a text that names the queue
  /// or option and the rule: no queue, a key given twice, a weight of 0 or above 2^20, a duration that is not
  /// positive, a limit of 0; and std::bad_alloc.
  [[nodiscard]] Executor<Key, C> build() {
    check();
    spent_ = true;
    return Executor<Key, C>{std::move(settings_), queues_};
  }

 private:
  template <class Rep, class Period>
  ExecutorBuilder& set(std::chrono::nanoseconds detail::RingOptions::*option,
                       std::chrono::duration<Rep, Period> value) {
    settings_.ring.*option = std::chrono::nanoseconds{detail::saturated_ns(value)};
    return *this;
  }

  void check() const {
    if (spent_) throw std::logic_error("clockworker: build() was called twice on one ExecutorBuilder");
    if (queues_.empty())
      throw std::invalid_argument(
          "clockworker: build(): an executor needs at least one queue; use with_queue()");
    for (std::size_t i = 0; i < queues_.size(); ++i) {
      std::string key = detail::text_of(queues_[i].key, i);
      detail::check_queue_options(queues_[i].options,
                                  queues_[i].options.name.empty() ? key : queues_[i].options.name, "build()");
      for (std::size_t j = 0; j < i; ++j) {
        if (queues_[j].key == queues_[i].key) {
          throw std::invalid_argument("clockworker: build(): queue '" + key + "' was given twice");
        }
      }
    }
    check_positive("sched_latency", settings_.ring.sched_latency);
    check_positive("min_slice", settings_.ring.min_slice);
    check_positive("host_poll_interval", settings_.ring.host_poll_interval);
    if (settings_.ring.max_polls_per_host_poll == 0) {
      throw std::invalid_argument(
          "clockworker: build(): max_polls_per_host_poll is 0; it must be at least 1");
    }
  }

  static void check_positive(const char* option, std::chrono::nanoseconds value) {
    if (value > std::chrono::nanoseconds::zero()) return;
    throw std::invalid_argument(std::string{"clockworker: build(): "} + option + " of " +
                                std::to_string(value.count()) + " ns is not positive");
  }

  detail::ExecutorSettings settings_;
  std::vector<typename Executor<Key, C>::NewQueue> queues_;
  bool spent_ = false;
};

}  // namespace clockworker

#include <clockworker/detail/mailbox.hpp>

#include "catch.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace {

using clockworker::detail::InboxNode;
using clockworker::detail::Letter;
using clockworker::detail::Mailbox;
using clockworker::detail::Ring;

struct Release {
  void operator()(Mailbox* mailbox) const noexcept { mailbox->release(); }
};
using Owned = std::unique_ptr<Mailbox, Release>;

struct CountingHost {
  std::atomic<int> wakes = 0;
  static void wake(void* self) noexcept { ++static_cast<CountingHost*>(self)->wakes; }
};

struct Noted : Letter {
  explicit Noted(std::vector<int>& to, int what) : Letter{&delivered}, note{&to}, number{what} {}
  static void delivered(Letter& letter, Ring*) noexcept {
    auto& self = static_cast<Noted&>(letter);
    self.note->push_back(self.number);
  }
  std::vector<int>* note;
  int number;
};

void deliver_all(Mailbox& mailbox, InboxNode* node) {
  static_cast<void>(mailbox);
  while (node != nullptr) {
    auto& letter = static_cast<Letter&>(*node);
    node = node->next_posted;
    letter.deliver(letter, nullptr);
  }
}
void deliver_all(Mailbox& mailbox) { deliver_all(mailbox, mailbox.inbox.drain()); }

TEST_CASE("Mailbox: letters are delivered in the order of posting", "[mailbox]") {
  Owned mailbox{new Mailbox};
  std::vector<int> note;
  Noted one{note, 1}, two{note, 2};
  CHECK(mailbox->post(one));
  CHECK(mailbox->post(two));
  deliver_all(*mailbox);
  CHECK(note == std::vector<int>{1, 2});
}

TEST_CASE("Mailbox: the bell is rung only over a sleeping owner, once", "[mailbox]") {
  Owned mailbox{new Mailbox};
  CountingHost host;
  std::vector<int> note;
  Noted one{note, 1}, two{note, 2}, three{note, 3};
  mailbox->attach_host(&host, &CountingHost::wake);
  mailbox->post(one);
  CHECK(host.wakes == 0);
  deliver_all(*mailbox);
  mailbox->inbox.try_park();
  mailbox->post(two);
  mailbox->post(three);
  CHECK(host.wakes == 1);
  mailbox->detach_host();
}

TEST_CASE("Mailbox: the host's bell goes before the guest's, without either nobody is rung", "[mailbox]") {
  Owned mailbox{new Mailbox};
  CountingHost host;
  int notified = 0;
  std::vector<int> note;
  Noted one{note, 1};
  auto post_to_sleeper = [&] {
    deliver_all(*mailbox);
    mailbox->inbox.try_park();
    return mailbox->post(one);
  };
  CHECK(post_to_sleeper());
  CHECK_FALSE(mailbox->has_notify());
  mailbox->set_notify([&] { ++notified; });
  CHECK(mailbox->has_notify());
  CHECK(post_to_sleeper());
  CHECK(notified == 1);
  mailbox->attach_host(&host, &CountingHost::wake);
  CHECK(post_to_sleeper());
  CHECK(notified == 1);
  CHECK(host.wakes == 1);
  mailbox->detach_host();
  CHECK(post_to_sleeper());
  CHECK(notified == 2);
  CHECK(host.wakes == 1);
  mailbox->clear_notify();
  CHECK(post_to_sleeper());
  CHECK(notified == 2);
}

TEST_CASE("Mailbox: an empty callback is none", "[mailbox]") {
  Owned mailbox{new Mailbox};
  mailbox->set_notify([] {});
  mailbox->set_notify(nullptr);
  CHECK_FALSE(mailbox->has_notify());
  mailbox->notify_from_owner();
}

TEST_CASE("Mailbox: a callback that is replaced is destroyed", "[mailbox]") {
  Owned mailbox{new Mailbox};
  auto token = std::make_shared<int>();
  mailbox->set_notify([token] {});
  CHECK(token.use_count() == 2);
  mailbox->set_notify([] {});
  CHECK(token.use_count() == 1);
  mailbox->set_notify([token] {});
  mailbox->clear_notify();
  CHECK(token.use_count() == 1);
}

TEST_CASE("Mailbox: a closed one refuses, and the letter stays the poster's", "[mailbox]") {
  Owned mailbox{new Mailbox};
  CountingHost host;
  std::vector<int> note;
  Noted before{note, 1}, after{note, 2};
  mailbox->attach_host(&host, &CountingHost::wake);
  mailbox->post(before);
  deliver_all(*mailbox, mailbox->inbox.close());
  CHECK(note == std::vector<int>{1});
  CHECK_FALSE(mailbox->post(after));
  CHECK(host.wakes == 0);
  mailbox->detach_host();
}

std::atomic<int> stops = 0;

TEST_CASE("Mailbox: stops posted before the first is delivered count as one", "[mailbox]") {
  Owned mailbox{new Mailbox};
  stops = 0;
  auto stopped = [](Letter&, Ring*) noexcept { ++stops; };
  mailbox->post_stop(stopped);
  mailbox->post_stop(stopped);
  deliver_all(*mailbox);
  CHECK(stops == 1);
  mailbox->post_stop(stopped);
  deliver_all(*mailbox);
  CHECK(stops == 2);
  mailbox->inbox.close();
  mailbox->post_stop(stopped);
  mailbox->post_stop(stopped);
  CHECK(stops == 2);
}

/// A bell in which a thread is held until it is let go.
class Gate {
 public:
  void pass() {
    std::unique_lock lock{mutex_};
    inside_ = true;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    passed_ = true;
  }
  void wait_for_visitor() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return inside_; });
  }
  void open() {
    std::lock_guard lock{mutex_};
    open_ = true;
    changed_.notify_all();
  }
  bool passed() {
    std::lock_guard lock{mutex_};
    return passed_;
  }
  static void wake(void* self) noexcept { static_cast<Gate*>(self)->pass(); }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool inside_ = false;
  bool open_ = false;
  bool passed_ = false;
};

/// Has the bell rung by another thread, which is held in it; then `leave` is called, which must not return
/// before the visitor has.
void leaves_only_when_the_visitor_has(Mailbox& mailbox, Gate& gate, const std::function<void()>& leave) {
  std::vector<int> note;
  Noted letter{note, 1};
  mailbox.inbox.try_park();
  std::thread poster{[&] { mailbox.post(letter); }};
  gate.wait_for_visitor();
  std::thread opener{[&] { gate.open(); }};
  leave();
  bool passed = gate.passed();
  poster.join();
  opener.join();
  CHECK(passed);
  deliver_all(mailbox);
}

TEST_CASE("Mailbox: a host is not let go while a thread is in its wake()", "[mailbox]") {
  Owned mailbox{new Mailbox};
  Gate gate;
  mailbox->attach_host(&gate, &Gate::wake);
  leaves_only_when_the_visitor_has(*mailbox, gate, [&] { mailbox->detach_host(); });
}

TEST_CASE("Mailbox: a callback is not replaced while another thread is in it", "[mailbox]") {
  Owned mailbox{new Mailbox};
  Gate gate;
  mailbox->set_notify([&] { gate.pass(); });
  leaves_only_when_the_visitor_has(*mailbox, gate, [&] { mailbox->set_notify([] {}); });
}

TEST_CASE("Mailbox: a callback is not removed while another thread is in it", "[mailbox]") {
  Owned mailbox{new Mailbox};
  Gate gate;
  mailbox->set_notify([&] { gate.pass(); });
  leaves_only_when_the_visitor_has(*mailbox, gate, [&] { mailbox->clear_notify(); });
}

TEST_CASE("Mailbox: a callback may ask the mailbox what it likes: it is called outside of its lock",
          "[mailbox]") {
  Owned mailbox{new Mailbox};
  std::vector<int> note;
  Noted one{note, 1}, two{note, 2};
  bool had = false;
  mailbox->set_notify([&] {
    had = mailbox->has_notify();
    mailbox->post(two);
  });
  mailbox->inbox.try_park();
  mailbox->post(one);
  CHECK(had);
  deliver_all(*mailbox);
  CHECK(note == std::vector<int>{1, 2});
}

TEST_CASE("Mailbox: threads that post, stop and let go at once leave nothing behind", "[mailbox]") {
  stops = 0;
  constexpr int threads = 4;
  constexpr int rounds = 2000;
  auto* mailbox = new Mailbox;
  CountingHost host;
  mailbox->attach_host(&host, &CountingHost::wake);
  std::atomic<int> delivered = 0;
  struct Counted : Letter {
    explicit Counted(std::atomic<int>& in) : Letter{&arrived}, count{&in} {}
    static void arrived(Letter& letter, Ring*) noexcept {
      auto& self = static_cast<Counted&>(letter);
      ++*self.count;
      delete &self;
    }
    std::atomic<int>* count;
  };
  std::vector<std::thread> posters;
  for (int t = 0; t < threads; ++t) {
    mailbox->acquire();
    posters.emplace_back([&, mailbox] {
      for (int i = 0; i < rounds; ++i) {
        mailbox->post(*new Counted{delivered});
        mailbox->post_stop([](Letter&, Ring*) noexcept { ++stops; });
      }
      mailbox->release();
    });
  }
  int parks = 0;
  while (delivered < threads * rounds) {
    parks += mailbox->inbox.try_park() && !mailbox->inbox.unpark();
    deliver_all(*mailbox);
  }
  for (std::thread& poster : posters) poster.join();
  deliver_all(*mailbox);
  mailbox->detach_host();
  CHECK(delivered == threads * rounds);
  CHECK(stops >= 1);
  CHECK(stops <= threads * rounds);
  CHECK(host.wakes == parks);
  mailbox->release();
}

}  // namespace

#include <clockworker/detail/inbox.hpp>

#include "catch.hpp"

#include <vector>

namespace {

using clockworker::detail::Inbox;
using clockworker::detail::InboxNode;
using clockworker::detail::Posted;

std::vector<InboxNode*> listed(InboxNode* node) {
  std::vector<InboxNode*> nodes;
  for (; node != nullptr; node = node->next_posted) nodes.push_back(node);
  return nodes;
}

TEST_CASE("Inbox: what is posted comes out once, oldest first", "[inbox]") {
  Inbox inbox;
  InboxNode a, b, c;
  CHECK_FALSE(inbox.has_mail());
  CHECK(inbox.drain() == nullptr);
  CHECK(inbox.push(a) == Posted::queued);
  CHECK(inbox.push(b) == Posted::queued);
  CHECK(inbox.has_mail());
  CHECK(listed(inbox.drain()) == std::vector<InboxNode*>{&a, &b});
  CHECK_FALSE(inbox.has_mail());
  CHECK(inbox.push(c) == Posted::queued);
  CHECK(inbox.push(a) == Posted::queued);
  CHECK(listed(inbox.drain()) == std::vector<InboxNode*>{&c, &a});
}

TEST_CASE("Inbox: the first push after a park is told to ring, the next is not", "[inbox]") {
  Inbox inbox;
  InboxNode a, b;
  CHECK(inbox.try_park());
  CHECK_FALSE(inbox.has_mail());
  CHECK(inbox.push(a) == Posted::owner_slept);
  CHECK(inbox.push(b) == Posted::queued);
  CHECK(listed(inbox.drain()) == std::vector<InboxNode*>{&a, &b});
  CHECK(inbox.push(a) == Posted::queued);  // the mark is gone until the next park
}

TEST_CASE("Inbox: nobody parks over mail, and nobody parks twice", "[inbox]") {
  Inbox inbox;
  InboxNode a;
  inbox.push(a);
  CHECK_FALSE(inbox.try_park());
  CHECK(listed(inbox.drain()) == std::vector<InboxNode*>{&a});
  CHECK(inbox.try_park());
  CHECK_FALSE(inbox.try_park());
}

TEST_CASE("Inbox: unpark tells whether the mark was still there", "[inbox]") {
  Inbox inbox;
  InboxNode a;
  CHECK_FALSE(inbox.unpark());
  inbox.try_park();
  CHECK(inbox.unpark());
  CHECK_FALSE(inbox.unpark());
  CHECK(inbox.push(a) == Posted::queued);
  inbox.drain();
  inbox.try_park();
  inbox.push(a);
  CHECK_FALSE(inbox.unpark());
  CHECK(listed(inbox.drain()) == std::vector<InboxNode*>{&a});
}

TEST_CASE("Inbox: close gives back what was queued and refuses the rest, parked or not", "[inbox]") {
  Inbox inbox;
  InboxNode a, b;
  SECTION("with mail") {
    inbox.push(a);
    CHECK(listed(inbox.close()) == std::vector<InboxNode*>{&a});
  }
  SECTION("empty") { CHECK(inbox.close() == nullptr); }
  SECTION("parked") {
    inbox.try_park();
    CHECK(inbox.close() == nullptr);
  }
  CHECK(inbox.push(b) == Posted::refused);
  CHECK_FALSE(inbox.has_mail());
  CHECK(inbox.drain() == nullptr);
  CHECK(inbox.push(b) == Posted::refused);  // draining does not open it again
  CHECK_FALSE(inbox.try_park());
}

}  // namespace

/// \file
/// The picker: which of several weighted parties has the processor next. Earliest Eligible Virtual Deadline
/// First, after Stoica and Abdel-Wahab, "Earliest Eligible Virtual Deadline First" (Old Dominion University,
/// TR-95-22, 1995), and Linux since 6.6. It knows nothing of tasks or clocks: time comes in as an argument.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include <clockworker/config.hpp>
#include <clockworker/detail/indexed_heap.hpp>
#include <clockworker/detail/int128.hpp>

namespace clockworker {

class Eevdf;

/// One party to an `Eevdf`: a base or member of whatever is scheduled. Owned by the caller, in a place that
/// does not change while it is in a picker; its destructor takes it out.
class EevdfEntity {
 public:
  EevdfEntity() noexcept = default;
  EevdfEntity(const EevdfEntity&) = delete;
  EevdfEntity& operator=(const EevdfEntity&) = delete;
  inline ~EevdfEntity();

  /// 0 before it was ever added.
  [[nodiscard]] std::uint64_t weight() const noexcept { return weight_; }
  /// Whether it competes now: joined, and has not left.
  [[nodiscard]] bool runnable() const noexcept { return place_ != Place::asleep; }

 private:
  friend class Eevdf;

  // asleep: in neither heap and not in the sums. Else in the sums and in exactly the heap named: `due` by
  // deadline, `early` by virtual time. These say where it was put last: `Eevdf::sort_out` makes it true of
  // today's V.
  enum class Place : std::uint8_t { asleep, due, early };

  detail::int128 position_{};      // weight * (v - origin), in units; see `Eevdf`
  detail::int128 owed_{};          // asleep: lag at leaving, in units, rounded down, >= 0. Else 0.
  std::int64_t request_left_ = 1;  // ns until the deadline, of its own service; > 0
  std::uint64_t weight_ = 0;
  std::uint64_t joined_ = 0;  // serial number of its last join; breaks ties
  std::size_t member_ = 0;    // index in Eevdf::members_
  std::size_t slot_ = 0;      // index in its heap
  Eevdf* picker_ = nullptr;   // not null: it is in that picker's members_
  Place place_ = Place::asleep;
};

/// Chooses, among the runnable, the eligible one whose deadline is earliest.
///
/// Party i of weight w_i has a virtual time v_i, which grows by used / w_i; V is the mean of all runnable v_i
/// by weight; lag_i = w_i (V - v_i) is what i is owed; i is eligible while v_i <= V. A request of r ns that
/// starts at v_i has the deadline v_i + r / w_i, and keeps it until it is used up. As lags sum to 0, someone
/// is always eligible.
///
/// All of it is exact, in integers: nothing is rounded when time is charged. Only `join` and `set_weight`
/// round, by less than 2^-16 ns of service. Nothing but `add` allocates or throws (`set_weight` refuses bad
/// weights), and equal deadlines go by order of joining: the same calls always lead to the same choices.
///
/// On parties that stay runnable and are run as they are picked, in steps that cannot be cut short, with p_j
/// the longest step of j and q the longest of all requests and steps: -(r_i + p_i) < lag_i < max(r_i, q) +
/// sum of p_j over the others.
///
/// Not thread-safe. Times are nanoseconds of service, capped to [0, max_charge] (requests: at least 1 ns).
class Eevdf {
 public:
  using Duration = std::chrono::nanoseconds;

  static constexpr std::uint64_t max_weight = std::uint64_t{1} << 20U;
  static constexpr std::size_t max_size = static_cast<std::size_t>(std::uint64_t{1} << 31U);
  static constexpr Duration max_charge{std::int64_t{1} << 56U};  // 2.3 years

  Eevdf() noexcept = default;
  Eevdf(const Eevdf&) = delete;
  Eevdf& operator=(const Eevdf&) = delete;
  ~Eevdf() {
    for (EevdfEntity* member : members_) forget(*member);
  }

  /// Makes `entity` known, asleep, and owing and owed nothing. Throws std::invalid_argument if the weight is
  /// 0 or above max_weight, std::logic_error if it is in a picker already, std::length_error past max_size,
  /// std::bad_alloc; and then has changed nothing. Amortized O(1).
  void add(EevdfEntity& entity, std::uint64_t weight) {
    check_weight(weight);
    if (entity.picker_ != nullptr)
      throw std::logic_error("clockworker::Eevdf: the entity is in a picker already");
    if (members_.size() >= max_size) throw std::length_error("clockworker::Eevdf: too many entities");
    if (members_.size() == members_.capacity())
      members_.reserve(std::max<std::size_t>(4, 2 * members_.size()));
    due_.reserve(members_.size() + 1);
    early_.reserve(members_.size() + 1);
    entity.picker_ = this;
    entity.weight_ = weight;
    entity.position_ = -limit();  // long passed: it is placed at V when it joins
    entity.owed_ = nothing();
    entity.member_ = members_.size();
    members_.push_back(&entity);
  }

  /// Takes `entity` out, runnable or not; what it owes or is owed is forgotten. O(log n).
  void remove(EevdfEntity& entity) noexcept {
    CLOCKWORKER_ASSERT(entity.picker_ == this, "Eevdf::remove: the entity is not in this picker");
    if (entity.runnable()) leave(entity);
    members_[entity.member_] = members_.back();
    members_[entity.member_]->member_ = entity.member_;
    members_.pop_back();
    forget(entity);
  }

  /// `entity` has become runnable and starts a request of `request`. Precondition: it is in this picker,
  /// asleep.
  ///
  /// Its v never falls by it. If v is past V, it keeps v: a debt lasts until V has passed it by. Else what it
  /// was owed when it left, but no more than `request` + longest_overrun(), is its lag again, after the
  /// placement, which itself moves V; and if it was owed nothing it is placed at V, whatever time went by.
  /// With nobody else runnable there is no lag: nothing is restored, and a debtor's v is V, so that others who
  /// come back after it find the debt passed by, and those who came before it did not. O(log n).
  void join(EevdfEntity& entity, Duration request) noexcept {
    CLOCKWORKER_ASSERT(entity.picker_ == this && !entity.runnable(), "Eevdf::join: not a sleeping member");
    entity.request_left_ = request_length(request);
    entity.position_ = within_limit(std::max(entity.position_, place_for(entity)));
    entity.owed_ = nothing();
    entity.joined_ = ++joins_;
    if (runnable_++ == 0) {  // until now the sums told where V had stopped
      sum_ = nothing();
      total_weight_ = 0;
    }
    sum_ += entity.position_;
    total_weight_ += entity.weight_;
    insert(entity);
    rebase_if_far();
  }

  /// `entity` has nothing to run any more. It keeps v, and is remembered what it was owed. When the last one
  /// leaves, V stops where it is. Precondition: it is runnable here. O(log n).
  void leave(EevdfEntity& entity) noexcept {
    CLOCKWORKER_ASSERT(entity.picker_ == this && entity.runnable(), "Eevdf::leave: not a runnable member");
    const detail::int128 lag = lag_times_total_weight(entity);
    if (lag > nothing()) entity.owed_ = detail::floor_divide(lag, total_weight_).quotient;
    extract(entity);
    if (--runnable_ > 0) {
      sum_ -= entity.position_;
      total_weight_ -= entity.weight_;
      rebase_if_far();
    }
  }

  /// `entity` has run for `used`. If that ends its request the next one, of `next_request`, starts from
  /// there, overrun included, and true is returned. Precondition: it is runnable here; so charge before
  /// `leave`. O(log n).
  bool charge(EevdfEntity& entity, Duration used, Duration next_request) noexcept {
    CLOCKWORKER_ASSERT(entity.picker_ == this && entity.runnable(), "Eevdf::charge: not a runnable member");
    const std::int64_t ran = std::clamp<std::int64_t>(used.count(), 0, max_charge.count());
    move_to(entity, entity.position_ + units(ran));
    entity.request_left_ -= ran;
    const bool ended = entity.request_left_ <= 0;
    if (ended) {
      longest_overrun_ = std::max(longest_overrun_, -entity.request_left_);
      entity.request_left_ = request_length(next_request);
    }
    if (runnable_ > 1) reinsert(entity);
    rebase_if_far();
    return ended;
  }

  /// The eligible entity with the earliest deadline; nullptr if nobody is runnable. It stays where it is:
  /// asked again, the answer is the same. Amortized O(log n): an entity that V has passed since the last
  /// choice, or that a change of membership has put ahead of V, is moved from one heap to the other.
  [[nodiscard]] EevdfEntity* pick() noexcept {
    if (runnable_ == 0) return nullptr;
    if (runnable_ > 1) sort_out();
    return due_.empty() ? &early_.top() : &due_.top();  // the former only if it is alone
  }

  /// Whether `candidate`, which has become runnable, should run rather than `running`: it is eligible and its
  /// deadline is earlier. What `running` has used and was not charged with is not seen. Precondition: both
  /// are runnable here. O(1).
  [[nodiscard]] bool would_preempt(const EevdfEntity& candidate, const EevdfEntity& running) const noexcept {
    return eligible(candidate) && compare_deadlines(candidate, running) < 0;
  }

  /// Runnable, and not ahead of V. O(1).
  [[nodiscard]] bool eligible(const EevdfEntity& entity) const noexcept {
    return entity.runnable() && entity.position_ * total_weight_ <= sum_ * entity.weight_;
  }

  /// What `entity` is owed (> 0) or owes (< 0), rounded towards 0. Of one asleep: what it still owes, or else
  /// was owed on leaving. O(1).
  [[nodiscard]] Duration lag(const EevdfEntity& entity) const noexcept {
    detail::int128 lag = lag_times_total_weight(entity);
    const bool owes = lag < nothing();
    if (owes) lag = -lag;
    const auto whole = detail::floor_divide(lag, total_weight_).quotient;
    const auto amount = !owes && !entity.runnable() ? entity.owed_ : whole;
    const std::int64_t rounded =
        detail::to_int64(detail::floor_divide(std::min(amount, limit()), unit).quotient);
    return Duration{owes ? -rounded : rounded};
  }

  /// What is left of the current request, at least 1 ns: the longest to run before the next choice. O(1).
  [[nodiscard]] Duration remaining(const EevdfEntity& entity) const noexcept {
    return Duration{entity.request_left_};
  }

  /// Changes the weight, keeping lag (debt, if asleep) and what is left of the request. Throws
  /// std::invalid_argument as `add` does. Precondition: it is in this picker. O(log n).
  void set_weight(EevdfEntity& entity, std::uint64_t weight) {
    CLOCKWORKER_ASSERT(entity.picker_ == this, "Eevdf::set_weight: the entity is not in this picker");
    check_weight(weight);
    // lag = w V - position, so position has to move by (w' - w) V. Rounded up, so at the cost of the
    // reweighted.
    const bool grows = weight > entity.weight_;
    const std::uint64_t change = grows ? weight - entity.weight_ : entity.weight_ - weight;
    const detail::int128 product = sum_ * change;
    const detail::int128 moved = detail::floor_divide(grows ? -product : product, total_weight_).quotient;
    if (entity.runnable()) total_weight_ += weight - entity.weight_;  // modulo 2^64
    entity.weight_ = weight;
    move_to(entity, entity.position_ - moved);
    if (entity.runnable()) reinsert(entity);
    rebase_if_far();
  }

  [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }
  [[nodiscard]] std::size_t runnable_count() const noexcept { return runnable_; }
  /// Of the runnable.
  [[nodiscard]] std::uint64_t total_weight() const noexcept { return runnable_ == 0 ? 0 : total_weight_; }
  /// The furthest that a charge has ever gone past the end of its request.
  [[nodiscard]] Duration longest_overrun() const noexcept { return Duration{longest_overrun_}; }

  /// V in ns of service by a weight of 1, for display. It moves on as time is charged, may fall when someone
  /// joins or leaves, and stands still while nobody is runnable.
  [[nodiscard]] double virtual_time() const noexcept {
    const auto mean = detail::floor_divide(sum_, total_weight_).quotient;
    return detail::to_double(origin_) + detail::to_double(mean) / static_cast<double>(unit);
  }

  /// For tests: whether everything that this class relies on holds. O(n).
  [[nodiscard]] bool check_invariants() const noexcept {
    detail::int128 sum{};
    std::uint64_t weight = 0;
    std::size_t runnable = 0;
    bool some_eligible = false;
    for (std::size_t at = 0; at < members_.size(); ++at) {
      const EevdfEntity& member = *members_[at];
      if (member.picker_ != this || member.member_ != at || member.request_left_ <= 0) return false;
      if (member.position_ > limit() || member.position_ < -limit() || member.owed_ < nothing()) return false;
      if (!member.runnable()) continue;
      if (member.owed_ != nothing()) return false;
      sum += member.position_;
      weight += member.weight_;
      ++runnable;
      some_eligible = some_eligible || eligible(member);
    }
    if (runnable != runnable_ || due_.size() + early_.size() != runnable) return false;
    if (!due_.valid() || !early_.valid()) return false;
    return runnable == 0 || (sum == sum_ && weight == total_weight_ && some_eligible);
  }

 private:
  // Positions. v_i itself would be a fraction; kept is the whole number position_i = w_i (v_i - origin) in
  // units of 2^-16 ns, to which a charge is added as it is. V - origin = S / W, S the sum of positions and W
  // of weights. Whether i is eligible, and whose deadline is earlier, is then asked of products, without a
  // division.
  //
  // Bounds. Positions are held within 2^73 units. With w <= 2^20 and n <= 2^31, then W <= 2^51, |S| <= 2^104,
  // and:
  //   position W <= 2^124 ;  S w <= 2^124 ;  their difference <= 2^125    (eligible, lag, leave, set_weight)
  //   L (W + w) <= 2^73 2^52 = 2^125, as L is cut to request + overrun <= 2^57 ns ;  S w - that <= 2^126
  //                                                                                             (place_for)
  //   deadlines: (position + 2^56 2^16) w <= 2^94 ;  step w <= 2^57 2^16 2^20 = 2^93 ;  step W <= 2^124
  //                                                                                                (rebase)
  // and origin_, which is at most 2^57 ns further with each rebase, is a 128-bit sum. So nothing overflows,
  // ever. For the limit to be no hindrance either, the origin moves to V as soon as |V - origin| >= 2^35 ns:
  // so w |V - origin| < 2^71 units, and every lag up to 2^57 - 2^55 ns, 3.4 years of service, has room. A
  // greater one is cut down to that. A sleeper's position that falls to the limit says that V has long passed
  // it by, and stays there.
  //
  // Why nobody gains by rounding, or by leaving and coming back. v never falls in join (it is the greater of
  // its own and the place found), so with nobody charged in between, to leave and join is to stand still. The
  // place is rounded down, so that one placed at V is eligible at once, but the lag that it makes too great
  // by less than one unit is rounded down again in leave: it cannot add up. A change of weight is rounded at
  // the changed one's cost.

  static constexpr std::uint64_t unit = std::uint64_t{1} << 16U;  // units in a ns

  struct EarlierDeadline {
    bool operator()(const EevdfEntity& a, const EevdfEntity& b) const noexcept {
      const int order = compare_deadlines(a, b);
      return order != 0 ? order < 0 : a.joined_ < b.joined_;
    }
  };
  struct EarlierVirtualTime {
    bool operator()(const EevdfEntity& a, const EevdfEntity& b) const noexcept {
      const detail::int128 left = a.position_ * b.weight_;
      const detail::int128 right = b.position_ * a.weight_;
      return left != right ? left < right : a.joined_ < b.joined_;
    }
  };

  static constexpr detail::int128 nothing() noexcept { return detail::int128{}; }
  static constexpr detail::int128 units(std::int64_t ns) noexcept { return detail::int128(ns) * unit; }
  static constexpr detail::int128 limit() noexcept { return units(std::int64_t{1} << 57U); }
  static constexpr detail::int128 within_limit(detail::int128 position) noexcept {
    return std::clamp(position, -limit(), limit());
  }
  static constexpr std::int64_t request_length(Duration request) noexcept {
    return std::clamp<std::int64_t>(request.count(), 1, max_charge.count());
  }
  static void check_weight(std::uint64_t weight) {
    if (weight == 0 || weight > max_weight)
      throw std::invalid_argument("clockworker: a weight is from 1 to 2^20");
  }

  // < 0 if a's deadline is earlier, 0 if they are the same.
  static int compare_deadlines(const EevdfEntity& a, const EevdfEntity& b) noexcept {
    const detail::int128 left = (a.position_ + units(a.request_left_)) * b.weight_;
    const detail::int128 right = (b.position_ + units(b.request_left_)) * a.weight_;
    return left < right ? -1 : static_cast<int>(right < left);
  }

  static void forget(EevdfEntity& entity) noexcept {
    entity.picker_ = nullptr;
    entity.place_ = EevdfEntity::Place::asleep;
  }

  [[nodiscard]] detail::int128 lag_times_total_weight(const EevdfEntity& entity) const noexcept {
    return sum_ * entity.weight_ - entity.position_ * total_weight_;
  }

  // Where a joiner goes that has no debt. To have the lag L once it has joined it must be L (W + w) / W
  // behind the V of before, as V itself goes back by L / W.
  [[nodiscard]] detail::int128 place_for(const EevdfEntity& entity) const noexcept {
    detail::int128 place = sum_ * entity.weight_;
    if (runnable_ > 0) {
      const detail::int128 most = units(entity.request_left_ + longest_overrun_);
      place -= std::min(entity.owed_, most) * (total_weight_ + entity.weight_);
    }
    return detail::floor_divide(place, total_weight_).quotient;
  }

  // A sleeper at the lower limit: V has passed it by at least 2^37 ns ago, and it stays there, however V may
  // fall.
  static bool long_passed(const EevdfEntity& entity) noexcept {
    return !entity.runnable() && entity.position_ == -limit();
  }

  void move_to(EevdfEntity& entity, detail::int128 position) noexcept {
    if (long_passed(entity)) return;
    const detail::int128 before = entity.position_;
    entity.position_ = within_limit(position);
    if (entity.runnable()) sum_ += entity.position_ - before;
  }

  void insert(EevdfEntity& entity) noexcept {
    entity.place_ = EevdfEntity::Place::due;  // runnable, so that eligible() can tell
    if (eligible(entity)) return due_.push(entity);
    entity.place_ = EevdfEntity::Place::early;
    early_.push(entity);
  }

  void extract(EevdfEntity& entity) noexcept {
    if (entity.place_ == EevdfEntity::Place::due) {
      due_.erase(entity);
    } else {
      early_.erase(entity);
    }
    entity.place_ = EevdfEntity::Place::asleep;
  }

  void reinsert(EevdfEntity& entity) noexcept {
    extract(entity);
    insert(entity);
  }

  // Makes the top of `due_` the one to choose. V moves on between changes of membership, so as a rule there
  // are only a few in `early_` that it has passed; where V has fallen, some in `due_` may be ahead of it, and
  // matter once on top.
  void sort_out() noexcept {
    while (!early_.empty() && eligible(early_.top())) reinsert(early_.top());
    while (!due_.empty() && !eligible(due_.top())) reinsert(due_.top());
  }

  void rebase_if_far() noexcept {
    const detail::int128 far = detail::int128(total_weight_) * (unit << 35U);
    if (sum_ >= far || sum_ <= -far) rebase();
  }

  // Moves the origin to V, rounded down to a whole ns. O(n), once in at least 2^35 ns of virtual time, i.e.
  // in 34 s of service by a weight of 1; but for jumps of V as large, by a change of membership.
  void rebase() noexcept {
    const detail::int128 mean = detail::floor_divide(sum_, total_weight_).quotient;
    const detail::int128 shift = detail::floor_divide(mean, unit).quotient;
    const detail::int128 step = shift * unit;
    origin_ += shift;
    sum_ -= step * total_weight_;
    for (EevdfEntity* member : members_) {
      if (long_passed(*member)) continue;
      const detail::int128 position = member->position_ - step * member->weight_;
      member->position_ = within_limit(position);
      if (member->runnable()) sum_ += member->position_ - position;  // nothing, but for lags of years
    }
    due_.rebuild();  // the order is as it was, but for such lags
    early_.rebuild();
  }

  std::vector<EevdfEntity*> members_;
  detail::IndexedHeap<EevdfEntity, &EevdfEntity::slot_, EarlierDeadline> due_;
  detail::IndexedHeap<EevdfEntity, &EevdfEntity::slot_, EarlierVirtualTime> early_;
  detail::int128 sum_{};  // of positions of the runnable; while there are none, of the last one to leave
  std::uint64_t total_weight_ = 1;  // of weights, likewise; never 0
  detail::int128 origin_{};         // what v counts from, in ns of virtual time; for display only
  std::size_t runnable_ = 0;        // how many are in the sums and in the heaps
  std::int64_t longest_overrun_ = 0;
  std::uint64_t joins_ = 0;
};

inline EevdfEntity::~EevdfEntity() {
  if (picker_ != nullptr) picker_->remove(*this);
}

}  // namespace clockworker

// test-args: --seconds 0.3
//
// One thread, two lanes. In the background eight tasks index every word of every file below a directory, over and
// over. In the foreground 1,000 word queries a second arrive, each about 100 us of ranking over that index. What do
// the queries suffer from the indexing? The program answers for three settings: the queries alone; both lanes on
// one FIFO queue, as most executors have it; each lane on a queue of its own, weighted 99 : 1.
//
// What makes the three comparable:
// - The directory is indexed once before anything is measured, so all three rank over the same index. The
//   background then reads file after file again, and each count it arrives at is in the index at once.
// - All three get the same queries at the same moments, drawn beforehand from fixed seeds.
// - A query's clock starts at the moment it was scheduled to arrive, even if nobody had time to notice: a lane that is
//   held up cannot hide it. `wait` ends at the query's first instruction, `latency` with its answer; all are counted.
// - The tasks are the same code in all three. Only the queues differ: compare the three functions named below
//   "The three settings".
// One thing is not: alone, the thread sleeps between queries, and each first waits for it to wake up (on Linux some
// 70 us) and then finds cold caches. With indexing going on it is awake, so the weighted queues may even do better.
#include <clockworker/clockworker.hpp>

#include "foreground_background/index.hpp"
#include "foreground_background/options.hpp"
#include "foreground_background/queries.hpp"
#include "foreground_background/report.hpp"
#include "foreground_background/text_files.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <deque>
#include <exception>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cw = clockworker;
using namespace std::chrono_literals;

namespace {

using Clock = std::chrono::steady_clock;
using demo::FileId;

// --- The background: indexing -------------------------------------------------------------------------------------

/// What the indexing tasks of one setting share.
struct Indexing {
  demo::Index& index;
  const std::vector<std::filesystem::path>& paths;  // by FileId
  demo::Complaints& complaints;
  bool start_over;                // when all files are done
  std::deque<FileId> files;       // to be read; one that a task is reading is not among them
  std::vector<FileId> done = {};  // unless start_over
  std::uint64_t files_indexed = 0;
  std::uint64_t bytes_indexed = 0;
};

/// Every 2 KiB, some 15 us, the task asks whether it should give way: that costs next to nothing, and on weighted
/// queues lets a query in at once. After each chunk of up to 32 KiB, some 250 us, it goes to the back of its queue,
/// asked or not: nobody is better there who could ask, and FIFO queues are to be shown as one would really use them.
cw::Task<> index_file(Indexing& work, FileId file) {
  constexpr std::size_t step = 2 * 1024;
  const auto add = [&](std::string_view word) { work.index.add(file, word); };
  demo::TextReader text{work.paths[file]};
  demo::Tokeniser tokeniser;
  work.index.begin_reading(file);
  do {
    std::string_view chunk = text.next_chunk();
    while (!chunk.empty()) {
      const std::string_view piece = chunk.substr(0, step);
      chunk.remove_prefix(piece.size());
      tokeniser.feed(piece, add);
      work.bytes_indexed += piece.size();
      co_await cw::yield_maybe();
    }
    co_await cw::yield_now();  // after an empty file too, or a directory of such would hang the program
  } while (!text.at_end());
  tokeniser.finish(add);
  work.index.finish_reading(file);
  ++work.files_indexed;
}

cw::Task<> index_files(Indexing& work) {
  while (!work.files.empty()) {
    const FileId file = work.files.front();
    work.files.pop_front();
    try {
      co_await index_file(work, file);
      if (work.start_over) {
        work.files.push_back(file);
      } else {
        work.done.push_back(file);
      }
    } catch (const demo::Unreadable& problem) {  // the file is not listed again, so this is said once
      work.complaints.skipped(work.paths[file], problem.what());
    }
  }
}

void spawn_indexing(cw::QueueHandle queue, Indexing& work) {
  for (int i = 0; i < 8; ++i) queue.spawn(index_files, std::ref(work));
}

// --- The foreground: queries --------------------------------------------------------------------------------------

/// What is asked in every setting.
struct Load {
  const demo::QuerySource& source;
  std::size_t words_per_query;
  std::vector<std::chrono::nanoseconds> arrivals;  // from the start
};

/// The queries of one setting, and what is measured of them.
struct Queries {
  const Load& load;
  demo::Ranker ranker;
  Clock::time_point start = {};
  std::vector<std::chrono::nanoseconds> waits = {};
  std::vector<std::chrono::nanoseconds> latencies = {};
  std::size_t without_hit = 0;
  cw::Waker all_answered = {};
};

cw::Task<> answer(Queries& queries, std::size_t number) {
  const Clock::time_point began = Clock::now();
  const Clock::time_point arrival = queries.start + queries.load.arrivals[number];
  const auto hits = queries.ranker.best(queries.load.source.query(number, queries.load.words_per_query));
  if (hits.empty()) ++queries.without_hit;
  queries.waits.push_back(began - arrival);
  queries.latencies.push_back(Clock::now() - arrival);
  if (queries.latencies.size() == queries.load.arrivals.size()) queries.all_answered.wake();
  co_return;
}

/// Spawns every query when it is due. Where this task itself comes late, all that are due by then are spawned at once.
cw::Task<> let_queries_arrive(Queries& queries, cw::QueueHandle queue) {
  for (std::size_t number = 0; number < queries.load.arrivals.size(); ++number) {
    const Clock::time_point arrival = queries.start + queries.load.arrivals[number];
    if (Clock::now() < arrival) co_await cw::sleep_until(arrival);
    queue.spawn(answer, std::ref(queries), number);
  }
}

// --- Measuring one setting ----------------------------------------------------------------------------------------

/// What stays the same from setting to setting.
struct World {
  demo::Index& index;
  const std::vector<std::filesystem::path>& paths;
  const std::vector<FileId>& readable;
  demo::Complaints& complaints;
  const Load& load;
};

/// How long the load ran, and how much of that this program had a processor, in seconds.
struct Elapsed {
  double wall, cpu;
};

class Stopwatch {
 public:
  [[nodiscard]] Elapsed elapsed() const {
    return {std::chrono::duration<double>(Clock::now() - start_).count(),
            static_cast<double>(std::clock() - cpu_start_) / CLOCKS_PER_SEC};
  }

 private:
  Clock::time_point start_ = Clock::now();
  std::clock_t cpu_start_ = std::clock();
};

demo::IndexingRate rate_of(const Indexing& indexing, Elapsed time, bool always_busy) {
  return {.files = static_cast<double>(indexing.files_indexed) / time.wall,
          .bytes = static_cast<double>(indexing.bytes_indexed) / time.wall,
          .hindered = always_busy ? 1 - time.cpu / time.wall : 0};
}

/// Runs queries in the foreground, and indexing in the background if there is one, until the last query is answered.
template <class Executor>
demo::Result measure(std::string setting, World& world, Executor& executor, cw::QueueHandle foreground,
                     std::optional<cw::QueueHandle> background) {
  Queries queries{.load = world.load, .ranker = demo::Ranker{world.index}};
  queries.waits.reserve(world.load.arrivals.size());
  queries.latencies.reserve(world.load.arrivals.size());
  Indexing indexing{.index = world.index,
                    .paths = world.paths,
                    .complaints = world.complaints,
                    .start_over = true,
                    .files = {world.readable.begin(), world.readable.end()}};

  const Stopwatch watch;
  executor.run_until([&]() -> cw::Task<> {
    queries.start = Clock::now();
    foreground.spawn(let_queries_arrive, std::ref(queries), foreground);
    if (background) spawn_indexing(*background, indexing);
    co_await cw::suspend([&](cw::Waker waker) { queries.all_answered = std::move(waker); });
  });
  const Elapsed time = watch.elapsed();
  const bool indexing_goes_on = !executor.tasks().empty();  // unless the files are gone by now

  executor.shutdown(cw::Shutdown::abort());
  executor.run();
  if (queries.without_hit > 0) {
    std::fprintf(stderr, "foreground_background: %zu queries found nothing\n", queries.without_hit);
  }
  demo::Result result{
      std::move(setting), demo::percentiles(queries.waits), demo::percentiles(queries.latencies), {}};
  if (background) result.indexing = rate_of(indexing, time, indexing_goes_on);
  return result;
}

// --- The three settings -------------------------------------------------------------------------------------------

enum class Lane { foreground, background, both };

demo::Result foreground_alone(World& world) {
  auto executor = cw::ExecutorBuilder<Lane>{}.with_queue(Lane::foreground, 1, cw::RunnableFifo{}).build();
  return measure("foreground alone", world, executor, executor.queue(Lane::foreground), std::nullopt);
}

demo::Result one_fifo_queue(World& world) {
  auto executor = cw::ExecutorBuilder<Lane>{}.with_queue(Lane::both, 1, cw::RunnableFifo{}).build();
  return measure("one FIFO queue", world, executor, executor.queue(Lane::both), executor.queue(Lane::both));
}

demo::Result weighted_queues(World& world) {
  auto executor = cw::ExecutorBuilder<Lane>{}
                      .with_queue(Lane::foreground, 99, cw::RunnableFifo{})
                      .with_queue(Lane::background, 1, cw::RunnableFifo{})
                      .build();
  return measure("weighted 99 : 1", world, executor, executor.queue(Lane::foreground),
                 executor.queue(Lane::background));
}

// --- The program --------------------------------------------------------------------------------------------------

/// Reads every file once; returns those that could be read.
std::vector<FileId> index_once(demo::Index& index, const std::vector<std::filesystem::path>& paths,
                               demo::Complaints& complaints) {
  Indexing work{.index = index,
                .paths = paths,
                .complaints = complaints,
                .start_over = false,
                .files = std::deque<FileId>(paths.size())};
  std::iota(work.files.begin(), work.files.end(), FileId{0});
  auto executor = cw::ExecutorBuilder<Lane>{}.with_queue(Lane::background, 1, cw::RunnableFifo{}).build();
  spawn_indexing(executor.queue(Lane::background), work);
  executor.run_until_idle();
  std::printf("%s, %.1f MB, %s words, %s of them different\n",
              demo::counted(static_cast<double>(work.files_indexed), "file").c_str(),
              static_cast<double>(work.bytes_indexed) * 1e-6,
              demo::grouped(static_cast<double>(index.total_words())).c_str(),
              demo::grouped(static_cast<double>(index.distinct_words())).c_str());
  return std::move(work.done);
}

void describe_load(const demo::Options& options, demo::QueryCost cost) {
  const double microseconds = static_cast<double>(cost.time.count()) * 1e-3;
  std::printf("%s a second for %g s, each of %zu words, ranked in about %.0f us\n",
              demo::counted(options.rate, "query", "queries").c_str(), options.seconds, cost.words,
              microseconds);
  if (const double demand = options.rate * microseconds * 1e-6; demand > 1) {
    std::fprintf(stderr,
                 "foreground_background: the queries ask for %.1f s of CPU a second, so they will pile up\n",
                 demand);
  }
}

void compare_settings(World& world) {
  demo::print_table_head();
  const demo::Result alone = foreground_alone(world);
  demo::print_table_row(alone);
  const demo::Result fifo = one_fifo_queue(world);
  demo::print_table_row(fifo);
  const demo::Result weighted = weighted_queues(world);
  demo::print_table_row(weighted);
  demo::print_comparison(alone, fifo, weighted);
  demo::warn_if_hindered({fifo, weighted});
}

std::vector<std::filesystem::path> find_files(const demo::Options& options, demo::Complaints& complaints) {
  demo::FileFinder finder{complaints};
  if (options.places.empty()) {
    const std::filesystem::path headers = demo::newest_cxx_headers();
    if (headers.empty()) throw demo::UsageError("no C++ headers found in the usual places: name a directory");
    std::printf("indexing %s\n", headers.c_str());
    finder.add(headers);
  } else {
    for (const auto& place : options.places) finder.add(place);
  }
  return finder.files();
}

int run(const demo::Options& options) {
  demo::Complaints complaints;
  const auto paths = find_files(options, complaints);
  if (paths.empty()) throw demo::UsageError("no files to index");
  demo::Index index{paths.size()};
  const std::vector<FileId> readable = index_once(index, paths, complaints);
  if (index.distinct_words() == 0) throw demo::UsageError("no words to index");

  const demo::QuerySource source{index.words_by_popularity(), 1};
  demo::Ranker ranker{index};
  const demo::QueryCost cost = demo::calibrate(source, ranker, 100us);
  describe_load(options, cost);
  const Load load{source, cost.words, demo::poisson_arrivals(options.rate, options.seconds, 2)};
  World world{index, paths, readable, complaints, load};
  compare_settings(world);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw std::runtime_error{"the table could not be written"};
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const demo::Options options = demo::parse_options({argv + 1, argv + argc});
    if (options.help) {
      std::fputs(demo::usage_text, stdout);
      return 0;
    }
    return run(options);
  } catch (const demo::UsageError& error) {
    std::fprintf(stderr, "foreground_background: %s (see --help)\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "foreground_background: %s\n", error.what());
    return 1;
  }
}

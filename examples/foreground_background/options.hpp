// The command line of the example foreground_background.
#pragma once

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace demo {

struct Options {
  double seconds = 3;                         ///< of load, in each setting
  double rate = 1000;                         ///< queries a second
  std::vector<std::filesystem::path> places;  ///< directories (or files) to index; none: the C++ headers
  bool help = false;
};

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline constexpr const char* usage_text =
    "usage: foreground_background [--seconds S] [--rate QPS] [DIRECTORY...]\n"
    "\n"
    "Answers word queries in the foreground while the background indexes the text files below the\n"
    "directories, in three settings: the foreground alone, both on one FIFO queue, both on weighted\n"
    "queues. Prints how long the queries took and how fast the indexing went.\n"
    "\n"
    "  --seconds S   how long queries arrive in each setting, in seconds (default 3)\n"
    "  --rate QPS    queries a second (default 1000)\n"
    "  DIRECTORY     what to index (default: the C++ headers of the newest compiler found);\n"
    "                links to directories are not followed, binary files are left out\n";

/// A positive, finite number of at most `limit`; anything else is a UsageError that names the option.
inline double positive_number(const std::string& option, const std::string& text, double limit) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !std::isfinite(value) || value <= 0) {
    throw UsageError(option + " needs a positive number, not '" + text + "'");
  }
  if (value > limit) throw UsageError(option + " may be " + std::to_string(std::llround(limit)) + " at most");
  return value;
}

inline Options parse_options(const std::vector<std::string>& arguments) {
  Options options;
  bool only_places = false;  // after "--"
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const auto number_after = [&](double limit) {
      if (i + 1 == arguments.size()) throw UsageError(argument + " needs a number after it");
      return positive_number(argument, arguments[++i], limit);
    };
    if (only_places || !argument.starts_with('-')) {
      options.places.emplace_back(argument);
    } else if (argument == "--") {
      only_places = true;
    } else if (argument == "--help" || argument == "-h") {
      options.help = true;
    } else if (argument == "--seconds") {
      options.seconds = number_after(3600);
    } else if (argument == "--rate") {
      options.rate = number_after(100'000);
    } else {
      throw UsageError("unknown option '" + argument + "'");
    }
  }
  if (const double queries = options.rate * options.seconds; queries < 1 || queries > 1e7) {
    throw UsageError("--rate times --seconds must give between 1 and 10 million queries");
  }
  return options;
}

}  // namespace demo

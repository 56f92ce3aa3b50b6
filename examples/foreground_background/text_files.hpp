// Finding text files and reading them piece by piece; what cannot be read is named on stderr and left out.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace demo {

namespace fs = std::filesystem;

/// Tells the user, once for each file or directory, what is left out and why.
class Complaints {
 public:
  void skipped(const fs::path& path, std::string_view reason) {
    if (!skipped_.insert(path).second) return;
    if (skipped_.size() <= named_at_most) say(path, reason, "skipped");
    if (skipped_.size() == named_at_most)
      std::fputs("foreground_background: whatever else is skipped is not named\n", stderr);
  }
  void shortened(const fs::path& path, std::string_view reason) { say(path, reason, "the rest is ignored"); }
  [[nodiscard]] std::size_t skipped_count() const { return skipped_.size(); }

 private:
  static constexpr std::size_t named_at_most = 50;  // a tree of images must not flood the terminal

  static void say(const fs::path& path, std::string_view reason, const char* consequence) {
    std::fprintf(stderr, "foreground_background: %s: %.*s; %s\n", path.c_str(), static_cast<int>(reason.size()),
                 reason.data(), consequence);
  }
  std::set<fs::path> skipped_;
};

/// Why a file cannot be indexed.
struct Unreadable : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Reads one text file in chunks. Throws Unreadable where the file cannot be opened or read, or is no text.
class TextReader {
 public:
  static constexpr std::size_t chunk_bytes = 32 * 1024;
  static constexpr std::uintmax_t most_bytes = 64 * 1024 * 1024;  // of a file; what follows is ignored

  explicit TextReader(const fs::path& path) : file_(std::fopen(path.c_str(), "rb")) {
    if (!file_) throw Unreadable(errno_text());
    std::setvbuf(file_.get(), nullptr, _IONBF, 0);  // chunks are buffers already
  }

  /// The next chunk, valid until the next call; may be empty at the end.
  std::string_view next_chunk() {
    const std::size_t got = std::fread(chunk_.data(), 1, chunk_.size(), file_.get());
    if (std::ferror(file_.get())) throw Unreadable(errno_text());
    const std::string_view chunk{chunk_.data(), got};
    if (bytes_ == 0 && chunk.find('\0') != std::string_view::npos) throw Unreadable("binary, not text");
    bytes_ += got;
    return chunk;
  }

  [[nodiscard]] bool at_end() const { return std::feof(file_.get()) != 0 || bytes_ >= most_bytes; }

 private:
  struct Close {
    void operator()(std::FILE* file) const noexcept { std::fclose(file); }
  };
  static std::string errno_text() { return std::generic_category().message(errno); }

  std::unique_ptr<std::FILE, Close> file_;
  std::uintmax_t bytes_ = 0;
  std::array<char, chunk_bytes> chunk_;
};

/// Walks directories and gathers the regular files below them, each once however many names lead to it.
class FileFinder {
 public:
  explicit FileFinder(Complaints& complaints) : complaints_(complaints) {}

  /// `place`: a directory, or a single file. What cannot be read is complained about; the rest is gathered.
  void add(const fs::path& place) {
    std::error_code error;
    const fs::file_status status = fs::status(place, error);
    if (fs::is_directory(status)) {
      const std::size_t complaints_before = complaints_.skipped_count();
      const bool any = walk(place);
      if (!any && complaints_.skipped_count() == complaints_before) complaints_.skipped(place, "no files below it");
    } else if (fs::is_regular_file(status)) {
      add_file(place);
    } else {
      complaints_.skipped(place, error ? error.message() : "neither a directory nor a file");
    }
  }

  /// In order of their paths.
  [[nodiscard]] std::vector<fs::path> files() const { return {files_.begin(), files_.end()}; }

 private:
  // Says whether there were any files. Not with recursive_directory_iterator: that one gives up the whole walk at the
  // first directory it may not read.
  bool walk(const fs::path& root) {
    bool any = false;
    std::vector<fs::path> directories{root};
    while (!directories.empty()) {
      const fs::path directory = std::move(directories.back());
      directories.pop_back();
      std::error_code error;
      for (fs::directory_iterator entry{directory, error}; !error && entry != fs::directory_iterator{};
           entry.increment(error)) {
        any |= add_entry(*entry, directories);
      }
      if (error) complaints_.skipped(directory, error.message());
    }
    return any;
  }

  // Says whether it is a file.
  bool add_entry(const fs::directory_entry& entry, std::vector<fs::path>& directories) {
    std::error_code error;
    const fs::file_status status = entry.status(error);  // of what a link points to
    if (error) {
      complaints_.skipped(entry.path(), error.message());
    } else if (fs::is_regular_file(status)) {
      add_file(entry.path());
      return true;
    } else if (fs::is_directory(status) && !entry.is_symlink(error)) {  // a link may lead round in a circle
      directories.push_back(entry.path());
    }
    return false;
  }

  void add_file(const fs::path& path) {
    std::error_code error;
    fs::path real = fs::canonical(path, error);
    const std::uintmax_t size = error ? 0 : fs::file_size(real, error);
    if (error) {
      complaints_.skipped(path, error.message());
    } else if (files_.insert(std::move(real)).second && size > TextReader::most_bytes) {
      complaints_.shortened(path,
                            "only the first " + std::to_string(TextReader::most_bytes >> 20) + " MiB are indexed");
    }
  }

  Complaints& complaints_;
  std::set<fs::path> files_;
};

/// The C++ headers of the newest compiler found in the usual places; empty where there are none.
inline fs::path newest_cxx_headers() {
  const auto version = [](const fs::path& directory) {
    const std::string name = directory.filename().string();  // "12", "13.2.0"; not a number, like libc++'s "v1": 0
    int number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    return number;
  };
  fs::path newest;
  std::error_code error;  // only says that a place does not exist
  for (const char* place : {"/usr/include/c++", "/usr/local/include/c++",
                            "/Library/Developer/CommandLineTools/SDKs/MacOSX.sdk/usr/include/c++"}) {
    for (const fs::directory_entry& entry : fs::directory_iterator{place, error}) {
      if (!fs::exists(entry.path() / "vector", error)) continue;
      if (newest.empty() || version(entry.path()) > version(newest)) newest = entry.path();
    }
  }
  return newest;
}

}  // namespace demo

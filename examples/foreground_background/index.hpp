// An inverted index: for every word, the files it stands in and how often.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace demo {

using FileId = std::uint32_t;

/// That a word stands in a file.
struct Posting {
  FileId file;
  std::uint32_t reading;  ///< the reading of the file in which `count` was counted
  std::uint32_t count;
};

/// Filled word by word and asked at any time in between: the answer is what is indexed so far.
///
/// A file may be read again. Each of its words keeps its old count until the new reading comes to it; words that
/// the new reading did not come to are out of the index when it finishes. So a reading may also be broken off.
class Index {
 public:
  explicit Index(std::size_t files) : files_(files) {}

  void begin_reading(FileId file) {
    ++files_[file].reading;
    files_[file].words_now = 0;
  }

  void add(FileId file, std::string_view word) {
    FileState& state = files_[file];
    ++state.words_now;
    Posting& posting = posting_of(postings_of(word), file);
    if (posting.reading != state.reading) posting = {file, state.reading, 0};
    ++posting.count;
  }

  void finish_reading(FileId file) {
    FileState& state = files_[file];
    if (state.complete == 0) ++complete_files_;
    total_words_ += state.words_now;
    total_words_ -= state.words;
    state.words = state.words_now;
    state.complete = state.reading;
  }

  /// Ordered by file; not all of them count any more, see is_current().
  [[nodiscard]] std::span<const Posting> postings(std::string_view word) const {
    const auto found = words_.find(word);
    return found == words_.end() ? std::span<const Posting>{} : std::span<const Posting>{found->second};
  }
  [[nodiscard]] bool is_current(const Posting& posting) const {
    return posting.reading >= files_[posting.file].complete;
  }

  [[nodiscard]] std::size_t file_count() const { return files_.size(); }
  [[nodiscard]] std::size_t distinct_words() const { return words_.size(); }
  /// Of the files read to their end at least once, as are the two below.
  [[nodiscard]] std::size_t complete_files() const { return complete_files_; }
  [[nodiscard]] std::uint64_t total_words() const { return total_words_; }
  [[nodiscard]] double average_words() const {
    return complete_files_ == 0 ? 1 : static_cast<double>(total_words_) / static_cast<double>(complete_files_);
  }
  [[nodiscard]] std::uint64_t words_in(FileId file) const {
    return files_[file].complete == 0 ? files_[file].words_now : files_[file].words;
  }

  /// The words in most files first.
  [[nodiscard]] std::vector<std::string> words_by_popularity() const {
    std::vector<std::pair<std::size_t, std::string_view>> ranked;
    ranked.reserve(words_.size());
    for (const auto& [word, postings] : words_) ranked.emplace_back(postings.size(), word);
    std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) {
      return a.first != b.first ? a.first > b.first : a.second < b.second;  // ties too: the same in every run
    });
    std::vector<std::string> words;
    words.reserve(ranked.size());
    for (const auto& entry : ranked) words.emplace_back(entry.second);
    return words;
  }

 private:
  using Postings = std::vector<Posting>;
  struct FileState {
    std::uint32_t reading = 0;    // the latest one begun
    std::uint32_t complete = 0;   // the latest one finished; 0: none
    std::uint64_t words = 0;      // in that one
    std::uint64_t words_now = 0;  // in the latest one begun, so far
  };
  struct WordHash {
    using is_transparent = void;  // no std::string is made to look up a std::string_view
    std::size_t operator()(std::string_view word) const noexcept { return std::hash<std::string_view>{}(word); }
  };

  Postings& postings_of(std::string_view word) {
    const auto found = words_.find(word);
    return found != words_.end() ? found->second : words_.emplace(std::string{word}, Postings{}).first->second;
  }

  static Posting& posting_of(Postings& postings, FileId file) {
    const auto at = std::lower_bound(postings.begin(), postings.end(), file,
                                     [](const Posting& posting, FileId wanted) { return posting.file < wanted; });
    return at != postings.end() && at->file == file ? *at : *postings.insert(at, Posting{file, 0, 0});
  }

  std::unordered_map<std::string, Postings, WordHash, std::equal_to<>> words_;
  std::vector<FileState> files_;
  std::size_t complete_files_ = 0;
  std::uint64_t total_words_ = 0;
};

/// Cuts text, which comes in pieces, into words: runs of letters, digits, '_' and bytes beyond ASCII (UTF-8),
/// with A-Z made small. Runs longer than `longest` are data rather than words and left out.
class Tokeniser {
 public:
  static constexpr std::size_t longest = 64;

  /// Calls word(std::string_view) for every word that ends in `text`.
  void feed(std::string_view text, auto&& word) {
    for (const char c : text) {
      if (const char small = word_character(c); small == '\0') {
        finish(word);
      } else {
        if (length_ < longest) word_[length_] = small;
        ++length_;
      }
    }
  }

  /// The text ends here: so does its last word.
  void finish(auto&& word) {
    if (length_ > 0 && length_ <= longest) word(std::string_view{word_, length_});
    length_ = 0;
  }

 private:
  // What stands for c in a word; 0: c belongs to none. Not <cctype>: the locale must not matter.
  static char word_character(char c) {
    if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
    const bool belongs =
        (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || static_cast<unsigned char>(c) >= 0x80;
    return belongs ? c : '\0';
  }

  char word_[longest] = {};
  std::size_t length_ = 0;  // of the run so far; beyond `longest` only counted
};

}  // namespace demo

#include "train/dataset.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/error.h"
#include "core/sha256.h"
#include "train/example_maker.h"
#include "train/rows.h"
#include "train/sample.h"
#include "train/shuffle.h"

namespace llmhost::train {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxNotes = 5;
// Streams of the seed: epochs count from 0, packing has the last.
constexpr uint64_t kSplitStream = ~uint64_t{0} - 1;

class Loader {
 public:
  Loader(const fs::path& model, const DatasetOptions& options, int64_t vocab_size, Dataset& dataset)
      : model_(model), options_(options), vocab_size_(vocab_size), dataset_(dataset) {}

  void read(const fs::path& file) {
    format_ = options_.format;
    read_rows(file, [this](const Row& row) { add(row); });
    if (dataset_.format == DataFormat::kAuto) dataset_.format = format_;
  }

 private:
  void add(const Row& row) {
    ++dataset_.n_rows;
    if (format_ == DataFormat::kAuto) first(row);
    const Sample sample = read(row);
    if (format_ != DataFormat::kTokens && !maker_) maker_.emplace(model_, options_);
    std::vector<Example> examples;
    try {
      examples = maker_ ? maker_->make(sample) : std::vector<Example>{{sample.ids, sample.labels}};
    } catch (const Error& e) {
      if (options_.bad_rows == BadRow::kRefuse) throw Error(e.code(), row.where + ": " + e.what());
      ++dataset_.n_bad;
      return note(row, e.what());
    }
    for (Example& example : examples) keep(row, std::move(example));
  }

  void first(const Row& row) {
    format_ = recognise(row.fields);
    first_ = row.where;
    if (format_ == DataFormat::kAuto)
      throw_invalid(
          "{}: the row is of no known form; it has {}; expected messages, conversations, instruction and "
          "output, "
          "prompt and completion, text, segments, or input_ids",
          row.where, field_names(row.fields));
  }

  // What is wrong with a row of another form is that the forms are mixed.
  Sample read(const Row& row) const {
    try {
      return read_sample(row, format_);
    } catch (const Error&) {
      const DataFormat own = recognise(row.fields);
      if (options_.format == DataFormat::kAuto && own != format_ && own != DataFormat::kAuto)
        throw_invalid(
            "{}: the row is of the form {}, the first one ({}) of the form {}; it has {}; keep forms in "
            "files of their own",
            row.where, format_name(own), first_, format_name(format_), field_names(row.fields));
      throw;
    }
  }

  void keep(const Row& row, Example example) {
    if (static_cast<int64_t>(example.ids.size()) > options_.max_length && !shorten(row, example)) return;
    check_ids(row, example);
    if (example.n_targets() == 0) {
      ++dataset_.n_without_targets;
      return note(row, "nothing in it is learnt");
    }
    example.ids.shrink_to_fit();
    example.labels.shrink_to_fit();
    dataset_.examples.push_back(std::move(example));
  }

  bool shorten(const Row& row, Example& example) {
    const std::string what =
        fmt::format("{} tokens, data.max_length is {}", example.ids.size(), options_.max_length);
    if (options_.too_long == TooLong::kRefuse) throw_invalid("{}: {}", row.where, what);
    if (options_.too_long == TooLong::kSkip) {
      ++dataset_.n_skipped;
      note(row, what);
      return false;
    }
    ++dataset_.n_truncated;
    example.ids.resize(static_cast<size_t>(options_.max_length));
    example.labels.resize(static_cast<size_t>(options_.max_length));
    return true;
  }

  void check_ids(const Row& row, const Example& example) const {
    for (size_t i = 0; i < example.ids.size(); ++i) {
      const int32_t id = example.ids[i], label = example.labels[i];
      if (id < 0 || id >= vocab_size_)
        throw_invalid("{}: token {} at position {} is none of the model's {}", row.where, id, i, vocab_size_);
      if (label != kNoLabel && (label < 0 || label >= vocab_size_))
        throw_invalid("{}: label {} at position {} is neither {} nor one of the model's {} tokens", row.where,
                      label, i, kNoLabel, vocab_size_);
    }
  }

  void note(const Row& row, std::string_view what) {
    if (dataset_.notes.size() < kMaxNotes) dataset_.notes.push_back(fmt::format("{}: {}", row.where, what));
  }

  const fs::path& model_;
  std::optional<ExampleMaker> maker_;  // tokens need neither tokenizer nor template
  const DatasetOptions& options_;
  int64_t vocab_size_;
  Dataset& dataset_;
  DataFormat format_ = DataFormat::kAuto;
  std::string first_;  // where the format was recognised
};

void add_ids(Sha256& sum, const std::vector<int32_t>& ids) {
  sum.add(fmt::format("{}:", ids.size()));
  sum.add(std::as_bytes(std::span(ids)));
}

// The tokens say all that the files, options, tokenizer and template decide.
std::string hash_of(const std::vector<Example>& examples) {
  Sha256 sum;
  for (const Example& example : examples) {
    add_ids(sum, example.ids);
    add_ids(sum, example.labels);
  }
  return to_hex(sum.digest());
}

}  // namespace

int64_t Dataset::n_targets() const {
  int64_t n = 0;
  for (const Example& example : examples) n += example.n_targets();
  return n;
}

int64_t Dataset::n_tokens() const {
  int64_t n = 0;
  for (const Example& example : examples) n += static_cast<int64_t>(example.ids.size());
  return n;
}

Dataset load_dataset(const fs::path& path, const fs::path& model, const DatasetOptions& options,
                     int64_t vocab_size) {
  if (options.max_length < 2) throw_invalid("data.max_length is {}, expected at least 2", options.max_length);
  if (options.stride < 0 || options.stride >= options.max_length)
    throw_invalid("data.stride is {}, expected less than data.max_length", options.stride);
  const std::vector<fs::path> files = data_files(path);
  Dataset dataset;
  Loader loader(model, options, vocab_size, dataset);
  for (const fs::path& file : files) loader.read(file);
  if (dataset.n_rows == 0) throw_invalid("{}: there are no rows", path.string());
  dataset.hash = hash_of(dataset.examples);
  return dataset;
}

Dataset split_off(Dataset& dataset, double fraction, uint64_t seed) {
  const size_t n = dataset.examples.size();
  // A tenth of 30 is 3, whatever the product of the two rounds to.
  const auto share = static_cast<size_t>(std::ceil(fraction * static_cast<double>(n) - 1e-9));
  const size_t count = std::max<size_t>(share, 1);
  if (n < 2 || count >= n)
    throw_invalid("{} example(s) cannot be split: {} of them would be held back for evaluation", n, count);
  const std::vector<uint32_t> order = shuffled(n, seed, kSplitStream);
  std::vector<bool> is_held(n, false);
  for (size_t i = 0; i < count; ++i) is_held[order[i]] = true;
  Dataset held;
  held.format = dataset.format;
  std::vector<Example> rest;
  for (size_t i = 0; i < n; ++i)
    (is_held[i] ? held.examples : rest).push_back(std::move(dataset.examples[i]));
  dataset.examples = std::move(rest);
  dataset.hash = hash_of(dataset.examples);
  held.hash = hash_of(held.examples);
  return held;
}

}  // namespace llmhost::train

// One vector for a text, from the hidden states of its tokens: how is what sentence-transformers writes
// beside a model, in modules.json and the Pooling module's config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace llmhost::engine {

struct PoolingOptions {
  enum class Mode { kLast, kFirst, kMean, kWeightedMean, kMeanSqrtLength, kMax };

  // Without those files: the last token, which alone has seen the whole text in a model that reads from left
  // to right, at length 1, as clients of embedding endpoints compare vectors by their dot product.
  Mode mode = Mode::kLast;
  bool normalise = true;
  std::string unsupported;  // why the model's vectors cannot be made; empty: they can

  // Whether the hidden state of the last token is all that is needed.
  bool needs_last_only() const { return mode == Mode::kLast; }
};

// Throws kInvalidArgument for files that are there and cannot be read. What they ask for that is not
// supported is named in `unsupported`.
PoolingOptions read_pooling(const std::filesystem::path& model_folder);

// Takes the rows of one text in the order of its tokens; the vector does not depend on how they are cut up.
class Pooler {
 public:
  Pooler(const PoolingOptions& options, int64_t hidden_size);

  void add(std::span<const float> rows);  // [n, hidden_size]
  // The vector of at least one row. Of its first `dimensions` numbers, when that is not 0.
  std::vector<float> finish(int64_t dimensions = 0) const;

 private:
  void add_row(std::span<const float> row);

  PoolingOptions options_;
  size_t hidden_size_;
  int64_t n_rows_ = 0;
  std::vector<double> values_;  // [D] what the rows so far give
};

}  // namespace llmhost::engine

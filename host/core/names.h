// Names that people type: the nearest known one for a typo, and foreign text made fit for a one-line error.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace llmhost {

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment). Anything further
// apart than `limit` counts as limit + 1.
size_t edit_distance(std::string_view a, std::string_view b, size_t limit);

// The candidate that `name` most probably meant, ignoring case; empty when none is near (a third of the
// letters, at most 3). Ties go to the earlier candidate. The result refers to the candidate's own text.
std::string_view nearest_name(std::string_view name, std::span<const std::string> candidates);

// "; did you mean 'x'?", or the known names when few, or nothing: to be put at the end of an error.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

// `text` in quotes on one line: control characters escaped, cut after max_bytes.
std::string quote_name(std::string_view text, size_t max_bytes = 80);

}  // namespace llmhost

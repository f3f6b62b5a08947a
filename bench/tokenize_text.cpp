// Encodes documents with one tokenizer; bench/tokenize_speed.py runs it beside another implementation.
//
// tokenize_text TOKENIZER DOCUMENTS: DOCUMENTS holds texts that end in a NUL byte. For every line on standard
// input all of them are encoded once, and a line says {"cpu_s", "wall_s", "tokens", "hash"}; the hash is of
// the ids.
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace {

double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::vector<std::string> read_documents(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> documents;
  for (size_t begin = 0, end; (end = all.find('\0', begin)) != std::string::npos; begin = end + 1)
    documents.push_back(all.substr(begin, end - begin));
  return documents;
}

// The hash of tokenize_speed.py: a polynomial over all ids modulo a prime.
uint64_t hash_of(uint64_t hash, const std::vector<int32_t>& ids) {
  constexpr uint64_t kPrime = (uint64_t{1} << 31) - 1;
  for (const int32_t id : ids) hash = (hash * 1'000'003 + static_cast<uint64_t>(id) + 1) % kPrime;
  return hash;
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 3) throw std::runtime_error("usage: tokenize_text TOKENIZER DOCUMENTS");
  const auto tokenizer = llmhost::text::load_tokenizer(argv[1]);
  const auto documents = read_documents(argv[2]);
  for (std::string line; std::getline(std::cin, line);) {
    std::vector<std::vector<int32_t>> ids(documents.size());
    const double wall = wall_seconds();
    const double cpu = cpu_seconds();
    for (size_t i = 0; i < documents.size(); ++i) ids[i] = tokenizer->encode(documents[i], {false, true});
    const double cpu_s = cpu_seconds() - cpu;
    const double wall_s = wall_seconds() - wall;
    size_t tokens = 0;
    uint64_t hash = 0;
    for (const auto& each : ids) {
      tokens += each.size();
      hash = hash_of(hash, each);
    }
    fmt::print("{{\"cpu_s\": {}, \"wall_s\": {}, \"tokens\": {}, \"hash\": {}}}\n", cpu_s, wall_s, tokens,
               hash);
    std::fflush(stdout);
  }
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "tokenize_text: {}\n", e.what());
  return 1;
}

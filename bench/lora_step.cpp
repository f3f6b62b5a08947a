// What adapters cost a step of a decoder of 135 million weights (q4_1, activations rounded to 8 bits): 32
// sequences that decode at position 128, and a prompt of 512 tokens, with 1 to 32 different adapters of rank
// 16 on all linears or on q and v, beside the same step without. Ratios are throughput with / without. The
// limit beside them: bytes of A and B that the step reads once at the bandwidth measured, and the
// multiplications. usage: lora_step [--isa NAME] [--threads N] [--seconds S] [--clock wall|cpu] [--rank R]
// [--exact 1]
// [--only COUNT]
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "backend_bench.h"
#include "decoder_graph.h"
#include "graph/adapter_sites.h"
#include "plugin/status.h"

namespace llmhost::bench {
namespace {

constexpr int32_t kSequences = 32;
constexpr int32_t kPosition = 128;
constexpr int32_t kPrompt = 512;
constexpr int32_t kPages = kPrompt / kPageTokens + 1;

struct AdapterOptions {
  int32_t rank = 16;
  bool exact = true;  // values that bf16 holds, as of adapters that were trained in it
  int32_t only = 0;   // this many adapters on all linears alone; 0: all cases
};

bool is_query_or_value(const std::string& path) {
  return path.ends_with(".q") || path.ends_with(".v");
}

// Adapters for the sites, random, small.
class Adapters {
 public:
  Adapters(Model& model, const std::vector<graph::AdapterSite>& sites, const AdapterOptions& options,
           int32_t count, bool all)
      : model_(model),
        table_(*static_cast<const llmh_adapters*>(
            model.backend().get_extension(LLMH_STR(LLMH_ADAPTERS_EXTENSION)))) {
    std::vector<llmh_site_delta> deltas;
    size_t most = 0;
    for (const graph::AdapterSite& site : sites) {
      if (site.site == 0 || (!all && !is_query_or_value(site.path))) continue;
      llmh_site_delta delta{};
      delta.struct_size = sizeof delta;
      delta.site = site.site;
      delta.kind = site.kind;
      delta.in_features = site.in_features;
      delta.out_features = site.out_features;
      delta.rank = options.rank;
      delta.scale = 2;
      most =
          std::max(most, static_cast<size_t>(options.rank * std::max(site.in_features, site.out_features)));
      flops_per_row += 2.0 * options.rank * static_cast<double>(site.in_features + site.out_features);
      deltas.push_back(delta);
    }
    std::vector<float> values(most);
    std::minstd_rand random(1);
    for (float& value : values) {
      value = (static_cast<float>(random() % 20001) - 10000.0F) * 1e-6F;
      if (options.exact) value = static_cast<float>(static_cast<int32_t>(value * 12800)) / 12800.0F * 0.5F;
      uint32_t bits = 0;
      std::memcpy(&bits, &value, sizeof bits);
      if (options.exact) bits &= 0xFFFF0000U;
      std::memcpy(&value, &bits, sizeof bits);
    }
    std::vector<const llmh_site_delta*> pointers;
    for (llmh_site_delta& delta : deltas) {
      delta.a = delta.b = values.data();
      pointers.push_back(&delta);
    }
    const auto n = static_cast<uint32_t>(pointers.size());
    plugin::check(table_.adapter_bytes(model.instance(), pointers.data(), n, &bytes));
    for (int32_t i = 0; i < count; ++i) {
      handles.push_back(nullptr);
      plugin::check(table_.prepare_adapter(model.instance(), pointers.data(), n, &handles.back()));
    }
  }
  ~Adapters() {
    for (llmh_adapter* adapter : handles) table_.release_adapter(model_.instance(), adapter);
  }
  Adapters(const Adapters&) = delete;
  Adapters& operator=(const Adapters&) = delete;

  std::vector<llmh_adapter*> handles;
  uint64_t bytes = 0;  // of one
  double flops_per_row = 0;

 private:
  Model& model_;
  const llmh_adapters& table_;
};

// `n_sequences` of `n_tokens` each that begin at `position`; sequence s has adapter s modulo their number.
struct Step {
  Step(int32_t n_sequences, int32_t n_tokens, int32_t position, const std::vector<llmh_adapter*>& adapters)
      : tokens(adapters.size()), outputs(adapters.size()) {
    sequence_begin.push_back(0);
    for (int32_t s = 0; s < n_sequences; ++s) {
      for (int32_t i = 0; i < n_tokens; ++i) {
        if (!adapters.empty())
          tokens[static_cast<size_t>(s) % adapters.size()].push_back(static_cast<int32_t>(ids.size()));
        ids.push_back(s + i);
        positions.push_back(position + i);
        lengths.push_back(position + n_tokens);
        sequence.push_back(s);
      }
      if (!adapters.empty()) outputs[static_cast<size_t>(s) % adapters.size()].push_back(s);
      output_rows.push_back(static_cast<int32_t>(ids.size()) - 1);
      sequence_begin.push_back(static_cast<int32_t>(ids.size()));
      states.push_back(position + n_tokens);
      for (int32_t p = 0; p < kPages; ++p) pages.push_back(s * kPages + p);
    }
    for (size_t a = 0; a < adapters.size(); ++a)
      segments.push_back({adapters[a], tokens[a].data(), outputs[a].data(),
                          static_cast<int32_t>(tokens[a].size()), static_cast<int32_t>(outputs[a].size())});
    step.struct_size = sizeof step;
    step.n_tokens = static_cast<int32_t>(ids.size());
    step.n_sequences = step.n_outputs = n_sequences;
    step.page_table_stride = kPages;
    step.n_state = int64_t{n_sequences} * (position + n_tokens);
    step.token_ids = ids.data();
    step.positions = positions.data();
    step.rope_lengths = lengths.data();
    step.token_sequence = sequence.data();
    step.output_rows = output_rows.data();
    step.sequence_begin = sequence_begin.data();
    step.state_lengths = states.data();
    step.page_table = pages.data();
    step.adapter_segments = segments.data();
    step.n_adapter_segments = static_cast<int32_t>(segments.size());
  }
  std::vector<int32_t> ids, positions, lengths, sequence, output_rows, sequence_begin, states, pages;
  std::vector<std::vector<int32_t>> tokens, outputs;
  std::vector<llmh_adapter_segment> segments;
  llmh_step step{};
};

// Bytes a second that one thread reads from memory.
double bandwidth(double seconds) {
  std::vector<uint64_t> words(size_t{32} << 20, 1);
  volatile uint64_t sink = 0;
  const double taken = best_time(seconds, [&] {
    uint64_t sums[8] = {};
    for (size_t i = 0; i < words.size(); i += 8)
      for (size_t lane = 0; lane < 8; ++lane) sums[lane] += words[i + lane];
    for (const uint64_t sum : sums) sink = sink + sum;
  });
  return static_cast<double>(words.size() * sizeof(uint64_t)) / taken;
}

// The step with and without adapters in turn, so that what else the machine does meets both.
void compare(const Options& options, Model& plain, Model& sited, const Adapters& adapters,
             const char* modules, double bytes_per_second, bool is_prompt) {
  const int32_t sequences = is_prompt ? 1 : kSequences;
  const int32_t tokens = is_prompt ? kPrompt : 1;
  const int32_t position = is_prompt ? 0 : kPosition;
  const Step base(sequences, tokens, position, {});
  const Step with(sequences, tokens, position, adapters.handles);
  double best[3] = {1e30, 1e30, 1e30};
  for (int round = 0; round < 5; ++round) {
    best[0] = std::min(best[0], best_time(options.seconds / 5, [&] { plain.run(base.step); }));
    best[1] = std::min(best[1], best_time(options.seconds / 5, [&] { sited.run(base.step); }));
    best[2] = std::min(best[2], best_time(options.seconds / 5, [&] { sited.run(with.step); }));
  }
  const auto n = static_cast<double>(adapters.handles.size());
  const double read = n * static_cast<double>(adapters.bytes);
  std::printf(
      "{\"bench\":\"lora_step\",\"step\":\"%s\",\"modules\":\"%s\",\"adapters\":%d,\"base_ms\":%.3f,"
      "\"sites_ms\":%.3f,\"adapters_ms\":%.3f,\"sites_ratio\":%.3f,\"ratio\":%.3f,\"read_mb\":%.1f,"
      "\"read_ms_one_thread\":%.2f,\"gflop\":%.3f}\n",
      is_prompt ? "prompt" : "decode", modules, static_cast<int>(n), best[0] * 1e3, best[1] * 1e3,
      best[2] * 1e3, best[0] / best[1], best[0] / best[2], read * 1e-6, read / bytes_per_second * 1e3,
      adapters.flops_per_row * sequences * tokens * 1e-9);
  std::fflush(stdout);
}

void measure(const Options& options, const AdapterOptions& adapter_options) {
  const graph::Graph graph = decoder_graph();
  std::vector<graph::AdapterSite> sites;
  const graph::Graph sited_graph = graph::with_adapter_sites(
      graph, [](const graph::AdapterSite& site) { return site.kind == LLMH_MODULE_LINEAR; }, sites);
  llmh_limits limits{sizeof(llmh_limits), kPrompt, kSequences, kSequences, kPrompt, 0, 0};
  const StateShape state{kDecoderLayers, kDecoderKvHeads, kDecoderHeadDim};
  Model plain(options, graph, limits, state);
  limits.max_adapter_rank = adapter_options.rank;
  Model sited(options, sited_graph, limits, state);
  const double bytes_per_second = bandwidth(options.seconds);
  for (const bool all : {true, false})
    for (const int32_t count : {1, 8, 32}) {
      if (adapter_options.only != 0 && (!all || count != adapter_options.only)) continue;
      const Adapters adapters(sited, sites, adapter_options, count, all);
      const char* modules = all ? "all" : "q,v";
      compare(options, plain, sited, adapters, modules, bytes_per_second, false);
      if (count == 1) compare(options, plain, sited, adapters, modules, bytes_per_second, true);
    }
}

}  // namespace
}  // namespace llmhost::bench

int main(int argc, char** argv) {
  llmhost::bench::Options options = llmhost::bench::parse_options(argc, argv);
  options.precision = LLMH_PRECISION_NATIVE;
  llmhost::bench::AdapterOptions adapters;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--rank") == 0) adapters.rank = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--only") == 0) adapters.only = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--exact") == 0) adapters.exact = std::atoi(argv[i + 1]) != 0;
  }
  llmhost::bench::measure(options, adapters);
  return 0;
}

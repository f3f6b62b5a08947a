#include "regions.h"

#include <algorithm>

#include "ops/sites.h"

namespace llmhost::cpu {
namespace {

// --- Which calls go together

struct Extent {
  const uint8_t* begin = nullptr;
  const uint8_t* end = nullptr;

  bool overlaps(const Extent& other) const { return begin < other.end && other.begin < end; }
};

// The memory that the largest step uses of it; empty for what steps do not write.
Extent extent_of(const Operand& operand, const llmh_limits& limits) {
  if (!operand.present || operand.weight != nullptr || operand.input_kind != 0) return {};
  int64_t elements = 1;
  for (int32_t i = 0; i < operand.rank; ++i) elements *= largest_size(operand.dims[i], limits);
  const llmh_dtype_layout layout = llmh_dtype_layout_of(operand.dtype);
  return {operand.data, operand.data + elements / layout.block_elements * layout.block_bytes};
}

// Blocks of rows run through all calls of a region, so a later call must not write where an earlier one, at
// other rows, still reads or has written: tensors that never live together share memory.
bool writes_into(const Call& later, const Call& earlier, const llmh_limits& limits) {
  for (const Operand& output : later.outputs) {
    const Extent written = extent_of(output, limits);
    const auto meets = [&](const Operand& operand) { return written.overlaps(extent_of(operand, limits)); };
    if (std::ranges::any_of(earlier.inputs, meets) || std::ranges::any_of(earlier.outputs, meets))
      return true;
  }
  return false;
}

// The symbol that all operands of a row-wise call have as their rows; LLMH_DIM_CONST when it is none.
int32_t row_symbol_of(const Call& call) {
  if (!call.entry->is_row_wise) return LLMH_DIM_CONST;
  const Operand& result = call.outputs[0];
  for (const Operand& output : call.outputs)
    if (output.row_symbol != result.row_symbol) return LLMH_DIM_CONST;
  for (const Operand& input : call.inputs) {
    if (!input.present) continue;
    const bool is_constant = std::all_of(input.dims, input.dims + input.rank,
                                         [](const llmh_dim& dim) { return dim.symbol == LLMH_DIM_CONST; });
    const bool has_rows = input.row_symbol == result.row_symbol && input.rank == result.rank &&
                          input.dims[0].size == result.dims[0].size;
    // These read their operands unit by unit, whatever the shapes are.
    const bool is_by_unit = input.row_symbol == result.row_symbol &&
                            (call.node->op == LLMH_OP_ROPE || call.node->op == LLMH_OP_RESHAPE);
    if (!has_rows && !is_by_unit && !is_constant) return LLMH_DIM_CONST;
  }
  return result.row_symbol;
}

bool joins_rows(const Region& region, const Call& call, int32_t symbol, const llmh_limits& limits) {
  if (region.rows.empty() || !region.products.empty() || region.row_symbol != symbol) return false;
  return std::ranges::none_of(region.rows,
                              [&](const Call* earlier) { return writes_into(call, *earlier, limits); });
}

bool is_product(const Call& call) {
  return call.entry->is_product != nullptr && call.entry->is_product(call);
}

llmh_tensor input_of(const Call& call, uint32_t i) {
  return i < call.node->n_inputs ? call.node->inputs[i] : LLMH_NO_TENSOR;
}

// Products of a region run at the same time: none may read what another one makes.
bool reads_from(const Call& later, const Call& earlier, const llmh_limits& limits) {
  return std::ranges::any_of(later.inputs, [&](const Operand& input) {
    const Extent read = extent_of(input, limits);
    return std::ranges::any_of(
        earlier.outputs, [&](const Operand& output) { return read.overlaps(extent_of(output, limits)); });
  });
}

// A third input that is the choice of experts must be shared, too; that of LINEAR is the bias.
bool joins_products(const Region& region, const Call& call, const llmh_limits& limits) {
  if (region.products.empty()) return false;
  const auto meets = [&](const Call* earlier) {
    return reads_from(call, *earlier, limits) || writes_into(call, *earlier, limits);
  };
  if (std::ranges::any_of(region.products, meets)) return false;
  const Call& first = *region.products[0];
  if (first.entry->run_products != call.entry->run_products || input_of(first, 0) != input_of(call, 0))
    return false;
  return call.node->op != LLMH_OP_EXPERT_LINEAR || input_of(first, 2) == input_of(call, 2);
}

int64_t elements_of_unit(const Operand& operand) {
  int64_t n = 1;
  for (int32_t i = 0; i < operand.rank; ++i) n *= operand.dims[i].size;
  return n;
}

// --- Running

constexpr int64_t kWindowElements =
    32 * 1024;  // of one tensor: what a block of rows makes stays in the caches

bool has_changes(const RunContext& context, const Region& region) {
  return region.has_sites && context.step.n_adapter_segments > 0;
}

void run_window(const RunContext& context, const Region& region, const Window& window) {
  const RunContext part = context.through(window);
  for (const Call* call : region.rows) call->entry->run(part, *call);
  if (region.rounded.is_needed()) region.rounded.round(part);
  if (has_changes(context, region) && !changes_by_rows(context, region.row_symbol))
    shrink(part, region.products);
}

void run_rows(const RunContext& context, const Region& region) {
  const int64_t n = context.units(region.row_symbol);
  const int64_t each = std::max<int64_t>(region.row_elements, 1);
  const int64_t block = std::max<int64_t>(1, kWindowElements / each);
  // With adapters a row is more work than its elements are.
  const bool shrinks = has_changes(context, region) && !changes_by_rows(context, region.row_symbol);
  const int64_t grain = shrinks ? 1 : kGrain / each + 1;
  context.parallel_ranges(n, grain, [&](int64_t begin, int64_t end, int32_t thread) {
    for (int64_t row = begin; row < end; row += block)
      run_window(context, region, {region.row_symbol, row, std::min(block, end - row), thread});
  });
}

// One u after the other, behind the rounded input.
void place_sites(Region& region, std::vector<Call>& calls, const llmh_limits& limits) {
  uint64_t place = region.rounded.reserved_bytes();
  for (const Call* product : region.products) {
    if (product->site.number == 0) continue;
    Site& site = calls[static_cast<size_t>(product - calls.data())].site;
    site.stride = low_rank_stride(limits);
    site.scratch = place;
    place += low_rank_bytes(region.rounded.most_rows(), limits);
    region.has_sites = true;
  }
}

}  // namespace

std::vector<Region> make_regions(std::vector<Call>& calls, const llmh_limits& limits) {
  std::vector<Region> regions;
  for (size_t i = 0; i < calls.size(); ++i) {
    const Call& call = calls[i];
    const int32_t symbol = row_symbol_of(call);
    if (is_product(call)) {
      if (!regions.empty() && joins_products(regions.back(), call, limits)) {
        regions.back().products.push_back(&call);
        continue;
      }
      const bool follows = !regions.empty() && !regions.back().rows.empty() &&
                           regions.back().products.empty() &&
                           regions.back().row_symbol == call.inputs[0].row_symbol;
      if (!follows) regions.emplace_back();
      regions.back().products.push_back(&call);
    } else if (symbol != LLMH_DIM_CONST) {
      if (regions.empty() || !joins_rows(regions.back(), call, symbol, limits)) regions.emplace_back();
      Region& region = regions.back();
      region.rows.push_back(&call);
      region.row_symbol = symbol;
      for (const Operand& output : call.outputs)
        region.row_elements = std::max(region.row_elements, elements_of_unit(output));
    } else {
      regions.emplace_back().single = &call;
    }
  }
  for (Region& region : regions) {
    if (region.products.empty()) continue;
    const Operand& x = region.products[0]->inputs[0];
    const int64_t most_rows = largest_rows({x.dims, static_cast<size_t>(x.rank)}, limits);
    region.rounded = RoundedInput(x, most_rows, region.products);
    region.row_symbol = x.row_symbol;
    region.row_elements = std::max(region.row_elements, elements_of_unit(x));
    place_sites(region, calls, limits);
  }
  return regions;
}

void run_region(const RunContext& context, const Region& region) {
  if (region.single != nullptr) return region.single->entry->run(context, *region.single);
  const bool is_changed = has_changes(context, region);
  const bool is_by_rows = is_changed && changes_by_rows(context, region.row_symbol);
  if (!region.rows.empty() || region.rounded.is_needed() || (is_changed && !is_by_rows))
    run_rows(context, region);
  if (region.products.empty()) return;
  region.products[0]->entry->run_products(context, region.products, region.rounded);
  if (is_by_rows) change_rows(context, region.products);
}

}  // namespace llmhost::cpu

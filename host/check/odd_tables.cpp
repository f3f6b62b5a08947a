#include "check/odd_tables.h"

#include <fmt/core.h>

#include <algorithm>
#include <limits>
#include <string_view>

#include "check/child.h"
#include "plugin/status.h"

namespace llmhost::check {
namespace {

std::string_view view(llmh_str text) {
  return text.ptr == nullptr ? std::string_view() : std::string_view(text.ptr, text.len);
}

template <typename Table, typename Owner>
void fill(Table& table, const OddContext& context, Owner* owner) {
  table.base.struct_size = static_cast<uint32_t>(sizeof table.base + context.faults.extra);
  table.unknown.fill(std::byte{0xA5});
  table.owner = owner;
}

llmh_status* refusal(OddContext& context, std::string_view call, int64_t number) {
  context.failed = true;
  return plugin::new_status({}, LLMH_RESOURCE_EXHAUSTED,
                            fmt::format("call {} ({}) fails to see what comes of it", number, call));
}

}  // namespace

struct OddModel::Thunks {
  static OddModel& self(const llmh_model* model) {
    return *reinterpret_cast<const OddTable<llmh_model, OddModel>*>(model)->owner;
  }

  // The answer to a read of this key; LLMH_VALUE_OK stands for: ask the real table. All reads of one key get
  // the same.
  static int32_t fault(OddModel& self, llmh_str key) {
    const Faults& faults = self.context_.faults;
    at(fmt::format("reading '{}'", view(key)));
    self.context_.keys.emplace(view(key));
    if (!faults.faulty_key.empty() && faults.faulty_key != view(key)) return LLMH_VALUE_OK;
    if (faults.value_fault == ValueFault::kAbsent) return LLMH_VALUE_ABSENT;
    return faults.value_fault == ValueFault::kWrongType ? LLMH_VALUE_WRONG_TYPE : LLMH_VALUE_OK;
  }

  static int32_t get_int(const llmh_model* model, llmh_str key, int64_t* out) {
    const int32_t result = fault(self(model), key);
    return result != LLMH_VALUE_OK ? result : self(model).real_->get_int(self(model).real_, key, out);
  }
  static int32_t get_float(const llmh_model* model, llmh_str key, double* out) {
    const int32_t result = fault(self(model), key);
    return result != LLMH_VALUE_OK ? result : self(model).real_->get_float(self(model).real_, key, out);
  }
  static int32_t get_bool(const llmh_model* model, llmh_str key, int32_t* out) {
    const int32_t result = fault(self(model), key);
    return result != LLMH_VALUE_OK ? result : self(model).real_->get_bool(self(model).real_, key, out);
  }
  static int32_t get_string(const llmh_model* model, llmh_str key, llmh_str* out) {
    const int32_t result = fault(self(model), key);
    return result != LLMH_VALUE_OK ? result : self(model).real_->get_string(self(model).real_, key, out);
  }
  static int32_t get_size(const llmh_model* model, llmh_str key, int64_t* out) {
    const int32_t result = fault(self(model), key);
    if (result == LLMH_VALUE_WRONG_TYPE) *out = 0;  // an empty object, as kind_of says
    if (result != LLMH_VALUE_OK) return result == LLMH_VALUE_WRONG_TYPE ? LLMH_VALUE_OK : result;
    return self(model).real_->get_size(self(model).real_, key, out);
  }
  static int32_t get_floats(const llmh_model* model, llmh_str key, double* out, int64_t capacity,
                            int64_t* n) {
    const int32_t result = fault(self(model), key);
    if (result != LLMH_VALUE_OK) return result;
    return self(model).real_->get_floats(self(model).real_, key, out, capacity, n);
  }
  static int32_t has_key(const llmh_model* model, llmh_str key) {
    const int32_t result = fault(self(model), key);
    if (result != LLMH_VALUE_OK) return result == LLMH_VALUE_WRONG_TYPE ? 1 : 0;
    return self(model).real_->has_key(self(model).real_, key);
  }
  static void ignore_key(const llmh_model* model, llmh_str key) {
    self(model).real_->ignore_key(self(model).real_, key);
  }
  static int32_t has_tensor(const llmh_model* model, llmh_str name, int64_t* shape, int32_t* rank) {
    const TensorFault fault = self(model).context_.faults.tensor_fault;
    at(fmt::format("asking for the tensor '{}'", view(name)));
    if (fault == TensorFault::kNone)
      return self(model).real_->has_tensor(self(model).real_, name, shape, rank);
    if (fault == TensorFault::kAllAbsent) return 0;
    const int64_t size = fault == TensorFault::kHuge ? std::numeric_limits<int64_t>::max()
                                                     : (fault == TensorFault::kNegative ? -8 : 2);
    if (rank != nullptr) *rank = 2;
    if (shape != nullptr) std::fill_n(shape, 2, size);
    return 1;
  }
  static int64_t n_tensors(const llmh_model* model) {
    return self(model).real_->n_tensors(self(model).real_);
  }
  static llmh_str tensor_name(const llmh_model* model, int64_t index) {
    return self(model).real_->tensor_name(self(model).real_, index);
  }
  static llmh_str key_name(const llmh_model* model, llmh_str object, int64_t index) {
    return self(model).real_->key_name(self(model).real_, object, index);
  }
  static int32_t kind_of(const llmh_model* model, llmh_str key) {
    const int32_t result = fault(self(model), key);
    if (result != LLMH_VALUE_OK)
      return result == LLMH_VALUE_WRONG_TYPE ? LLMH_KIND_OF_OBJECT : LLMH_KIND_OF_NOTHING;
    return self(model).real_->kind_of(self(model).real_, key);
  }
};

OddModel::OddModel(const llmh_model* real, OddContext& context) : real_(real), context_(context) {
  table_.base = {0,
                 real->format,
                 Thunks::get_int,
                 Thunks::get_float,
                 Thunks::get_bool,
                 Thunks::get_string,
                 Thunks::get_size,
                 Thunks::get_floats,
                 Thunks::has_key,
                 Thunks::ignore_key,
                 Thunks::has_tensor,
                 Thunks::n_tensors,
                 Thunks::tensor_name,
                 Thunks::key_name,
                 Thunks::kind_of};
  fill(table_, context, this);
}

struct OddBuilder::Thunks {
  static OddBuilder& self(llmh_builder* table) {
    return *reinterpret_cast<OddTable<llmh_builder, OddBuilder>*>(table)->owner;
  }

  // Null: the call is to be passed on.
  static llmh_status* fault(llmh_builder* table, std::string_view call, std::string_view what) {
    OddContext& context = self(table).context_;
    const int64_t number = context.counts.builder++;
    at(fmt::format("build, call {} of the builder: {} {}", number, call, what));
    return number == context.faults.failing_builder ? refusal(context, call, number) : nullptr;
  }

  static llmh_status* input(llmh_builder* table, int32_t kind, llmh_tensor* out) {
    llmh_status* status = fault(table, "input", fmt::format("{}", kind));
    return status != nullptr ? status : self(table).real_->input(self(table).real_, kind, out);
  }
  static llmh_status* weight(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                             uint32_t flags, llmh_tensor* out) {
    llmh_status* status = fault(table, "weight", view(name));
    if (status != nullptr) return status;
    return self(table).real_->weight(self(table).real_, name, shape, rank, flags, out);
  }
  static llmh_status* constant(llmh_builder* table, llmh_str name, llmh_dtype dtype, const int64_t* shape,
                               int32_t rank, const void* data, uint64_t bytes, llmh_tensor* out) {
    llmh_status* status = fault(table, "constant", view(name));
    if (status != nullptr) return status;
    return self(table).real_->constant(self(table).real_, name, dtype, shape, rank, data, bytes, out);
  }
  static llmh_status* parameter(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                                int32_t init, float init_value, llmh_tensor* out) {
    llmh_status* status = fault(table, "parameter", view(name));
    if (status != nullptr) return status;
    return self(table).real_->parameter(self(table).real_, name, shape, rank, init, init_value, out);
  }
  static llmh_status* parameter_data(llmh_builder* table, llmh_str name, const int64_t* shape, int32_t rank,
                                     const float* data, llmh_tensor* out) {
    llmh_status* status = fault(table, "parameter_data", view(name));
    if (status != nullptr) return status;
    return self(table).real_->parameter_data(self(table).real_, name, shape, rank, data, out);
  }
  static llmh_status* add_node(llmh_builder* table, llmh_op op, llmh_str path, const llmh_tensor* inputs,
                               uint32_t n_inputs, const void* attrs, uint32_t attrs_size,
                               llmh_tensor* outputs, uint32_t n_outputs) {
    llmh_status* status = fault(table, fmt::format("op {}", op), view(path));
    if (status != nullptr) return status;
    return self(table).real_->add_node(self(table).real_, op, path, inputs, n_inputs, attrs, attrs_size,
                                       outputs, n_outputs);
  }
  static llmh_status* name(llmh_builder* table, llmh_tensor tensor, llmh_str text) {
    llmh_status* status = fault(table, "name", view(text));
    return status != nullptr ? status : self(table).real_->name(self(table).real_, tensor, text);
  }
  static llmh_status* output(llmh_builder* table, int32_t kind, llmh_tensor tensor) {
    llmh_status* status = fault(table, "output", fmt::format("{}", kind));
    return status != nullptr ? status : self(table).real_->output(self(table).real_, kind, tensor);
  }
  static const llmh_tensor_info* info(llmh_builder* table, llmh_tensor tensor) {
    return self(table).real_->info(self(table).real_, tensor);
  }
};

OddBuilder::OddBuilder(llmh_builder* real, OddContext& context) : real_(real), context_(context) {
  table_.base = {0,
                 real->opset_version,
                 Thunks::input,
                 Thunks::weight,
                 Thunks::constant,
                 Thunks::parameter,
                 Thunks::add_node,
                 Thunks::name,
                 Thunks::output,
                 Thunks::info,
                 Thunks::parameter_data};
  fill(table_, context, this);
}

struct OddNames::Thunks {
  static OddNames& self(llmh_name_sink* table) {
    return *reinterpret_cast<OddTable<llmh_name_sink, OddNames>*>(table)->owner;
  }
  static llmh_status* fault(llmh_name_sink* table, std::string_view call) {
    OddContext& context = self(table).context_;
    const int64_t number = context.counts.sink++;
    return number == context.faults.failing_sink ? refusal(context, call, number) : nullptr;
  }
  static llmh_status* map(llmh_name_sink* table, const llmh_name_rule* rule) {
    at(fmt::format("names, the rule for '{}'", view(rule->hub_name)));
    llmh_status* status = fault(table, "map");
    return status != nullptr ? status : self(table).real_->map(self(table).real_, rule);
  }
  static llmh_status* ignore(llmh_name_sink* table, llmh_str name) {
    llmh_status* status = fault(table, "ignore");
    return status != nullptr ? status : self(table).real_->ignore(self(table).real_, name);
  }
};

OddNames::OddNames(llmh_name_sink* real, OddContext& context) : real_(real), context_(context) {
  table_.base = {0, Thunks::map, Thunks::ignore};
  fill(table_, context, this);
}

OddStates::OddStates(llmh_state_sink* real, OddContext& context) : real_(real), context_(context) {
  table_.base = {0, &OddStates::add};
  fill(table_, context, this);
}

llmh_status* OddStates::add(llmh_state_sink* sink, const llmh_state_spec* spec) {
  OddStates& self = *reinterpret_cast<OddTable<llmh_state_sink, OddStates>*>(sink)->owner;
  at(fmt::format("describe, the state of slot {}", spec->slot));
  const int64_t number = self.context_.counts.sink++;
  if (number == self.context_.faults.failing_sink) return refusal(self.context_, "add state", number);
  return self.real_->add(self.real_, spec);
}

}  // namespace llmhost::check

// The host's tables as an architecture sees them, with faults: calls that fail, values that are not there,
// structs of a newer host. Each passes calls on to the real table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "llmhost/arch.h"

namespace llmhost::check {

enum class ValueFault { kNone, kAbsent, kWrongType };
enum class TensorFault { kNone, kAllAbsent, kAllPresent, kHuge, kNegative };

struct Faults {
  static constexpr int64_t kNever = -1;

  size_t extra = 0;                  // bytes of fields that the plugin does not know, behind every struct
  int64_t failing_builder = kNever;  // the call, from 0, that returns an error
  int64_t failing_sink = kNever;     // of both sinks together
  ValueFault value_fault = ValueFault::kNone;
  std::string faulty_key = {};                    // the key of the config with value_fault; empty: every one
  TensorFault tensor_fault = TensorFault::kNone;  // has_tensor lies
};

struct CallCounts {
  int64_t builder = 0;
  int64_t sink = 0;
};

// What the three tables share. Tables carry a pointer to their owner behind the unknown fields.
struct OddContext {
  Faults faults;
  CallCounts counts;
  std::set<std::string> keys;  // of the config, that were read
  bool failed = false;         // an error was returned to the plugin
};

inline constexpr size_t kMaxExtra = 128;

template <typename Base, typename Owner>
struct OddTable {
  Base base;
  std::array<std::byte, kMaxExtra> unknown;
  Owner* owner;
};

class OddModel {
 public:
  OddModel(const llmh_model* real, OddContext& context);
  OddModel(const OddModel&) = delete;
  OddModel& operator=(const OddModel&) = delete;
  const llmh_model* table() const { return &table_.base; }

 private:
  struct Thunks;
  const llmh_model* real_;
  OddContext& context_;
  OddTable<llmh_model, OddModel> table_{};
};

class OddBuilder {
 public:
  OddBuilder(llmh_builder* real, OddContext& context);
  OddBuilder(const OddBuilder&) = delete;
  OddBuilder& operator=(const OddBuilder&) = delete;
  llmh_builder* table() { return &table_.base; }

 private:
  struct Thunks;
  llmh_builder* real_;
  OddContext& context_;
  OddTable<llmh_builder, OddBuilder> table_{};
};

class OddNames {
 public:
  OddNames(llmh_name_sink* real, OddContext& context);
  OddNames(const OddNames&) = delete;
  OddNames& operator=(const OddNames&) = delete;
  llmh_name_sink* table() { return &table_.base; }

 private:
  struct Thunks;
  llmh_name_sink* real_;
  OddContext& context_;
  OddTable<llmh_name_sink, OddNames> table_{};
};

class OddStates {
 public:
  OddStates(llmh_state_sink* real, OddContext& context);
  OddStates(const OddStates&) = delete;
  OddStates& operator=(const OddStates&) = delete;
  llmh_state_sink* table() { return &table_.base; }

 private:
  static llmh_status* add(llmh_state_sink* sink, const llmh_state_spec* spec);
  llmh_state_sink* real_;
  OddContext& context_;
  OddTable<llmh_state_sink, OddStates> table_{};
};

}  // namespace llmhost::check

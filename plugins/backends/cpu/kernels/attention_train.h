// Attention of whole sequences over their own tokens, and its gradient, by tiles of keys.
//
// Rows are the queries that read one key/value head: row r is token r / group of the sequence, of query head
// kv_head * group + r % group. What a row gives depends on its sequence alone: tiles begin at fixed places of
// the sequence, and every sum is in ascending order of rows or keys. Scores are exponents of two.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "llmhost/op.h"

namespace llmhost::cpu {

enum {
  kTrainRows = 48,   // rows whose scores are held at once
  kTrainKeys = 64,   // of a tile
  kTrainTask = 384,  // most rows of one task of `forward`
};

// With top_k_ratio a row keeps the keys whose score is above this one's, and of equal ones those up to `key`.
struct TrainCutoff {
  float score;
  int32_t key;
};

// Rows [begin, end) of one key/value head of one sequence. Pointers are at the sequence's first token; arrays
// have the layout of the op's operands.
struct TrainTask {
  llmh_attention_attrs attrs;
  int64_t tokens;
  int64_t position;  // of the first token
  int64_t kv_head;
  int64_t begin;
  int64_t end;
  const float* q;
  const float* k;
  const float* v;
  const float* slopes;   // null or [H]
  const float* sinks;    // null or [H]
  TrainCutoff* cutoffs;  // null or [T, H]
  float* scratch;        // train_scratch_floats, aligned to 64 bytes
  // Written by forward, read by grad.
  float* out;
  float* lse;  // [T, H]
  // Of grad.
  const float* dout;
  float* delta;  // [T, H]: sum over v_dim of dout * out
  float* dq;
  // At this head's gradient of the first key; keys that no row of the task may see are left alone.
  float* dk;
  float* dv;
  int64_t dk_stride;
  int64_t dv_stride;
};

// `tokens`: most of one sequence; counts with top_k_ratio alone.
constexpr int64_t train_scratch_floats(int64_t k_dim, int64_t v_dim, int64_t tokens, bool has_top_k) {
  const int64_t k = padded_lanes(k_dim);
  const int64_t v = padded_lanes(v_dim);
  const int64_t forward = kTrainTask * (k + v + 2) + kTrainRows * kTrainKeys + kTrainKeys * (k + v);
  const int64_t grad = kTrainRows * (2 * k + v + 2 * kTrainKeys) + kTrainKeys * (3 * k + 2 * v);
  const int64_t columns = (tokens + kTrainKeys - 1) / kTrainKeys * kTrainKeys;
  const int64_t top_k = kTrainRows * (k + columns) + kTrainKeys * k + columns;
  const int64_t most = forward > grad ? forward : grad;
  return (has_top_k && top_k > most ? top_k : most) + 16;
}

struct KeyRange {
  int64_t begin;
  int64_t end;
};

struct TrainAttentionKernels {
  // Fills the task's cutoffs.
  void (*cutoffs)(const TrainTask& task) = nullptr;
  // Writes out and lse.
  void (*forward)(const TrainTask& task) = nullptr;
  // Writes delta.
  void (*delta)(const TrainTask& task) = nullptr;
  // Writes dq of the rows, and of dk and dv the sums over the rows of this task.
  void (*grad)(const TrainTask& task) = nullptr;
  // Of a task's keys: those that grad writes.
  KeyRange (*keys)(const TrainTask& task) = nullptr;
};

TrainAttentionKernels train_attention_kernels();

}  // namespace llmhost::cpu

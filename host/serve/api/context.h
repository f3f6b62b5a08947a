// What all endpoints share.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "serve/api/parameters.h"

namespace llmhost::text {
class GrammarCache;
}

namespace llmhost::serve {

class ModelPool;
class Metrics;
class ResponseStore;
class TextMetrics;

struct ApiOptions {
  Compat compat = Compat::kStrict;
  std::string default_model;  // of requests that name none; empty: the first of the pool
  std::string version;        // in /info and the OpenAPI document
  size_t grammar_cache_bytes = size_t{64} << 20;
  size_t stored_responses = 256;  // for previous_response_id
  // Runs a job on a worker thread; false: too many wait. Empty: whoever answers the request does the work.
  std::function<bool(std::function<void()>)> run_on_worker;
};

struct ApiContext {
  ApiContext(ModelPool& models, Metrics& counts, ApiOptions settings);
  ~ApiContext();

  ModelPool& pool;
  Metrics& metrics;
  ApiOptions options;
  std::unique_ptr<text::GrammarCache> grammars;
  std::unique_ptr<ResponseStore> responses;
  std::unique_ptr<TextMetrics> counts;
};

}  // namespace llmhost::serve

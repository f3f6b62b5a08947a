// A loaded model as the endpoints see it: tokenizer, chat template, adapters, and an engine on a thread of
// its own. All const functions are [thread-safe]. Whoever holds the shared_ptr keeps it loaded.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "engine/engine.h"
#include "engine/memory_plan.h"
#include "engine/request.h"
#include "text/tokenizer.h"

namespace llmhost::engine {
class AdapterStore;
struct PoolingOptions;
}  // namespace llmhost::engine

namespace llmhost::text {
class TokenVocabulary;
struct ToolFormat;
}  // namespace llmhost::text

namespace llmhost::serve {

struct TrainingBase;

// What does not change while a model is loaded.
struct ModelCard {
  std::string id;      // the name that requests use
  std::string digest;  // SHA-256 of what identifies its content (hex); keys caches
  int64_t context_length = 0;
  int64_t vocab_size = 0;
  int64_t longest_piece = 0;  // bytes of text that one token stands for, at most; 0: not known
  int64_t created = 0;        // seconds since 1970, of its loading
  int32_t n_replicas = 1;
  bool has_chat_template = false;
  bool takes_adapters = false;
  std::string arch;         // id of the architecture plugin
  std::string tool_format;  // name of the family of tool calls; empty: none is known
  engine::MemoryPlan memory;
};

struct ModelLoad {
  int32_t running = 0;
  int32_t waiting = 0;
  int64_t requests = 0;  // taken since it was loaded
  uint64_t adapter_bytes = 0;
  engine::EngineStats stats;
};

class ServedModel {
 public:
  virtual ~ServedModel() = default;

  virtual const ModelCard& card() const = 0;
  virtual ModelLoad load() const = 0;

  virtual const text::Tokenizer& tokenizer() const = 0;
  // The exact prompt for a conversation: variables as render_chat (text/template/chat_prompt.h) takes them;
  // special tokens are added. Throws kFailedPrecondition without a template, jinja::TemplateError with line
  // and column.
  virtual std::string render_chat(const OrderedJson& variables) const = 0;
  // The prompt's tokens: text of a template has its special tokens already, plain text gets the
  // tokenizer's.
  virtual std::vector<int32_t> encode(std::string_view text, bool is_rendered) const = 0;
  // Ids that end an answer.
  virtual const std::vector<int32_t>& stop_tokens() const = 0;
  // Sampling defaults of the model's generation_config.
  virtual engine::SamplingParams default_sampling() const = 0;
  virtual const text::ToolFormat* tool_format() const = 0;  // null: none is known
  // Made at the first call; throws kUnimplemented for a tokenizer that grammars cannot go by.
  virtual std::shared_ptr<const text::TokenVocabulary> grammar_vocabulary() const = 0;
  virtual const engine::PoolingOptions& pooling() const = 0;

  // Null when the model takes no adapters.
  virtual engine::AdapterStore* adapters() = 0;
  // What fine-tuning stands on; null when the model cannot be tuned here.
  virtual const TrainingBase* training_base() const { return nullptr; }

  // Hands a request to the least loaded replica; its callbacks run on the engine's thread and must not block.
  // Throws kInvalidArgument for a request that can never run (the message has both numbers when it does not
  // fit into the context), kResourceExhausted when too many wait. `scope` of the request (what its cached
  // prefixes are kept for) is filled in here from model, adapter and `tenant`, `salt`.
  struct Ticket {
    int32_t replica = 0;
    uint64_t id = 0;
  };
  virtual Ticket submit(engine::Request request, uint64_t tenant, std::string_view salt) = 0;
  // Ends it with kCancelled between two steps. Unknown and finished tickets are ignored. Never blocks.
  virtual void cancel(const Ticket& ticket) = 0;
};

}  // namespace llmhost::serve

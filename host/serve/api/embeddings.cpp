// POST /v1/embeddings
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <mutex>
#include <optional>

#include "core/log.h"
#include "engine/pooling.h"
#include "serve/api/answer_json.h"
#include "serve/api/endpoints.h"
#include "serve/api/json_text.h"
#include "serve/api/prompts.h"
#include "serve/api/text_metrics.h"

namespace llmhost::serve {
namespace {

void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t n = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; ++j)
      group = group << 8U | (j < n ? static_cast<unsigned char>(bytes[i + j]) : 0U);
    for (size_t j = 0; j < 4; ++j) out += j <= n ? kDigits[group >> (18 - 6 * j) & 63U] : '=';
  }
}

void append_vector(std::string& out, std::span<const float> vector, bool as_base64) {
  if (as_base64) {
    static_assert(std::endian::native == std::endian::little);
    std::string bytes(vector.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), vector.data(), bytes.size());
    out += '"';
    append_base64(out, bytes);
    out += '"';
    return;
  }
  out += '[';
  for (size_t i = 0; i < vector.size(); ++i) {
    if (i > 0) out += ',';
    std::array<char, 32> text;
    const auto end = std::to_chars(text.data(), text.data() + text.size(), vector[i]).ptr;
    out.append(text.data(), end);
  }
  out += ']';
}

// The texts of one request: each is a prompt that is run, and pooled as it comes.
class EmbeddingJob : public std::enable_shared_from_this<EmbeddingJob> {
 public:
  EmbeddingJob(std::shared_ptr<Call> call, ModelUse use, std::vector<PromptInput> prompts, int64_t dimensions,
               bool as_base64, std::vector<std::string> ignored)
      : call_(std::move(call)),
        use_(std::move(use)),
        prompts_(std::move(prompts)),
        dimensions_(dimensions),
        as_base64_(as_base64),
        ignored_(std::move(ignored)),
        texts_(prompts_.size()) {}

  void start() {
    call_->when_client_leaves([weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->cancel();
    });
    for (size_t i = 0; i < prompts_.size(); ++i) submit(i);
  }

 private:
  struct Text {
    std::optional<engine::Pooler> pooler;
    std::vector<float> vector;
  };

  void submit(size_t i) {
    const engine::PoolingOptions& pooling = use_.model->pooling();
    engine::Request request;
    request.prompt = prompts_[i].tokens;
    request.max_tokens = 0;
    request.adapter = use_.adapter;
    request.hidden_of_last = pooling.needs_last_only();
    const auto self = shared_from_this();
    request.on_prompt_hidden = [self, i](const engine::PromptHidden& hidden) {
      std::optional<engine::Pooler>& pooler = self->texts_[i].pooler;
      const auto width = static_cast<int64_t>(hidden.rows.size()) / std::max<int64_t>(1, hidden.n_rows);
      if (!pooler) pooler.emplace(self->use_.model->pooling(), width);
      pooler->add(hidden.rows);
    };
    request.on_finish = [self, i](const engine::Result& result) { self->on_finish(i, result); };
    try {
      const auto ticket = use_.model->submit(std::move(request), call_->request().caller.tenant, {});
      bool is_over = false;
      {
        const std::lock_guard lock(mutex_);
        tickets_.push_back(ticket);
        is_over = is_over_;
      }
      if (is_over) use_.model->cancel(ticket);
    } catch (...) {
      cancel();
      throw;
    }
  }

  void cancel() {
    std::vector<ServedModel::Ticket> tickets;
    {
      const std::lock_guard lock(mutex_);
      is_over_ = true;
      tickets = tickets_;
    }
    for (const auto& ticket : tickets) use_.model->cancel(ticket);
  }

  void on_finish(size_t i, const engine::Result& result) {
    AnswerUsage used;
    used.prompt_tokens = result.usage.prompt_tokens;
    call_->exchange().charge_tokens(used.prompt_tokens);
    call_->context().counts->tokens_used(use_, used);
    {
      const std::lock_guard lock(mutex_);
      if (is_over_) return;
      if (result.reason == engine::FinishReason::kError ||
          result.reason == engine::FinishReason::kCancelled || !texts_[i].pooler) {
        is_over_ = true;
        spdlog::error("{}: {}", call_->request().id, result.error);
      } else {
        texts_[i].vector = texts_[i].pooler->finish();
        texts_[i].pooler.reset();
        if (++n_done_ < texts_.size()) return;
      }
    }
    call_->run([this] { answer(); });
  }

  void answer() {
    if (is_over_) {
      ApiError error(500, "server_error", "the model failed; the log has the reason under this request's id");
      error.code = "internal_error";
      throw error;
    }
    const auto width = static_cast<int64_t>(texts_.front().vector.size());
    if (dimensions_ != 0 && dimensions_ != width)
      throw bad_field("dimensions", fmt::format("the model's vectors have {}", width));
    AnswerUsage usage;
    std::string out = "{\"object\":\"list\",\"data\":[";
    for (size_t i = 0; i < texts_.size(); ++i) {
      usage.prompt_tokens += static_cast<int64_t>(prompts_[i].tokens.size());
      out += i > 0 ? ",{\"object\":\"embedding\",\"index\":" : "{\"object\":\"embedding\",\"index\":";
      append_json_integer(out, static_cast<int64_t>(i));
      out += ",\"embedding\":";
      append_vector(out, texts_[i].vector, as_base64_);
      out += '}';
    }
    out += "],\"model\":";
    append_json_string(out, use_.shown_name());
    out += fmt::format(",\"usage\":{{\"prompt_tokens\":{0},\"total_tokens\":{0}}}", usage.prompt_tokens);
    append_ignored(out, ignored_);
    out += '}';
    Response response;
    response.body = std::move(out);
    call_->exchange().send(std::move(response));
    const auto now = std::chrono::steady_clock::now();
    call_->context().counts->request_done(use_, usage, call_->start(), now, now);
  }

  std::shared_ptr<Call> call_;
  ModelUse use_;
  std::vector<PromptInput> prompts_;
  int64_t dimensions_;
  bool as_base64_;
  std::vector<std::string> ignored_;

  std::mutex mutex_;
  std::vector<Text> texts_;
  std::vector<ServedModel::Ticket> tickets_;
  size_t n_done_ = 0;
  bool is_over_ = false;
};

void run_embeddings(const std::shared_ptr<Call>& call, const CheckedBody& checked, ModelUse use) {
  const engine::PoolingOptions& pooling = use.model->pooling();
  if (!pooling.unsupported.empty())
    throw bad_field("model", fmt::format("has no embeddings: {}", pooling.unsupported), "unsupported");
  std::vector<PromptInput> prompts = read_prompts(*use.model, *checked.find("input"), "input");
  std::make_shared<EmbeddingJob>(call, std::move(use), std::move(prompts), checked.integer("dimensions", 0),
                                 checked.text("encoding_format") == "base64", checked.ignored)
      ->start();
}

}  // namespace

void embeddings(const std::shared_ptr<Call>& call) {
  auto checked =
      std::make_shared<CheckedBody>(check_body(kEmbeddingBody, call->request().body, call->compat()));
  with_model(call, checked->text("model"), {},
             [call, checked](ModelUse use) { run_embeddings(call, *checked, std::move(use)); });
}

}  // namespace llmhost::serve

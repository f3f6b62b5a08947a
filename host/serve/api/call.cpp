#include "serve/api/call.h"

#include "core/error.h"

namespace llmhost::serve {
namespace {

ApiError no_such_model(std::string_view name) {
  ApiError error(404, "invalid_request_error",
                 fmt::format("the model '{}' does not exist or this key may not use it",
                             name.size() > 200 ? std::string_view("with that long name") : name));
  error.param = "model";
  error.code = "model_not_found";
  return error;
}

std::string_view base_of(std::string_view name) {
  return name.substr(0, name.find(':'));
}

bool may_use(const Caller& caller, std::string_view name) {
  return caller.may_use(name) || caller.may_use(base_of(name));
}

std::string default_model(const ApiContext& context, const Caller& caller) {
  const std::string& configured = context.options.default_model;
  if (!configured.empty() && may_use(caller, configured)) return configured;
  for (const ModelStatus& model : context.pool.list())
    if (may_use(caller, model.id)) return model.id;
  throw bad_field("model", "this server has no models that this key may use", "model_not_found");
}

void with_adapter(const std::shared_ptr<Call>& call, ModelUse use, AdapterChoice choice,
                  std::function<void(ModelUse)> next) {
  if (choice.name.empty() && choice.merged.is_null()) return next(std::move(use));
  engine::AdapterStore* store = use.model->adapters();
  if (store == nullptr)
    throw bad_field("model", fmt::format("the model '{}' takes no adapters", use.model->card().id),
                    "adapters_unsupported");
  use.adapter_name = choice.merged.is_null() ? choice.name : "merged";
  auto ready = [call, use, next = std::move(next)](std::shared_ptr<const engine::Adapter> adapter,
                                                   const std::exception_ptr& error) mutable {
    if (error) return call->fail(std::make_exception_ptr(to_adapter_error(error, call->request().id)));
    use.adapter = std::move(adapter);
    call->go_on([next = std::move(next), use = std::move(use)] { next(use); });
  };
  get_adapter(*store, choice, std::move(ready));
}

}  // namespace

std::shared_ptr<Call> Call::make(std::shared_ptr<Exchange> exchange, std::shared_ptr<ApiContext> context,
                                 ErrorStyle style) {
  std::shared_ptr<Call> call(new Call(std::move(exchange), std::move(context), style));
  call->exchange_->on_close([weak = std::weak_ptr<Call>(call)] {
    if (const auto alive = weak.lock()) alive->client_left();
  });
  return call;
}

Call::Call(std::shared_ptr<Exchange> exchange, std::shared_ptr<ApiContext> context, ErrorStyle style)
    : exchange_(std::move(exchange)), context_(std::move(context)), style_(style) {}

void Call::run(const std::function<void()>& work) {
  try {
    work();
  } catch (...) {
    fail(std::current_exception());
  }
}

void Call::go_on(std::function<void()> work) {
  auto job = [self = shared_from_this(), work = std::move(work)] {
    if (self->exchange_->is_open()) self->run(work);
  };
  const auto& run_on_worker = context_->options.run_on_worker;
  if (!run_on_worker || std::this_thread::get_id() == asked_on_) return job();
  if (!run_on_worker(std::move(job)))
    fail(std::make_exception_ptr(
        Error(ErrorCode::kResourceExhausted, "too many requests wait; try again later")));
}

void Call::when_client_leaves(std::function<void()> action) {
  {
    const std::lock_guard lock(mutex_);
    if (!is_gone_) {
      action_ = std::move(action);
      return;
    }
  }
  if (action) action();
}

void Call::set_ticket(uint64_t ticket) {
  bool is_gone = false;
  {
    const std::lock_guard lock(mutex_);
    ticket_ = ticket;
    is_gone = is_gone_;
  }
  if (is_gone) context_->pool.forget(ticket);
}

void Call::client_left() {
  std::function<void()> action;
  uint64_t ticket = 0;
  {
    const std::lock_guard lock(mutex_);
    is_gone_ = true;
    action = std::move(action_);
    ticket = ticket_;
  }
  if (ticket != 0) context_->pool.forget(ticket);
  if (action) action();
}

std::string ModelUse::shown_name() const {
  const std::string& id = model->card().id;
  return adapter_name.empty() ? id : id + ':' + adapter_name;
}

void with_model(const std::shared_ptr<Call>& call, std::string name, AdapterChoice adapter,
                std::function<void(ModelUse)> next) {
  const Caller& caller = call->request().caller;
  if (name.empty()) name = default_model(call->context(), caller);
  if (!may_use(caller, name)) throw no_such_model(name);

  auto ready = [call, name, adapter = std::move(adapter), next = std::move(next)](
                   std::shared_ptr<ServedModel> model, const std::string& named_adapter,
                   const std::exception_ptr& error) {
    if (error) {
      const bool is_unknown = to_api_error(error, call->request().id).status == 404;
      return call->fail(is_unknown ? std::make_exception_ptr(no_such_model(name)) : error);
    }
    call->go_on([call, name, adapter, next, model = std::move(model), named_adapter]() mutable {
      if (!may_use(call->request().caller, model->card().id) && !call->request().caller.may_use(name))
        throw no_such_model(name);
      if (!named_adapter.empty() && !adapter.name.empty() && adapter.name != named_adapter)
        throw bad_field("adapter_id", "the model's name says another adapter");
      if (!named_adapter.empty()) adapter.name = named_adapter;
      with_adapter(call, {std::move(model), nullptr, {}}, std::move(adapter), std::move(next));
    });
  };
  call->set_ticket(call->context().pool.acquire(name, std::move(ready)));
}

}  // namespace llmhost::serve

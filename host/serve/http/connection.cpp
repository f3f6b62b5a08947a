// The only file that includes Beast (beast_request.h is a part of it): it takes 15 s to compile.
#include "serve/http/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <limits>
#include <optional>
#include <utility>  // before Asio 1.74, which forgets it

#include "serve/http/beast_request.h"
#include "serve/http/request_log.h"

namespace llmhost::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

using Clock = Connection::Clock;
using Socket = asio::generic::stream_protocol::socket;
using boost::system::error_code;
using Parser = RequestParser;

constexpr auto kLingerTime = std::chrono::milliseconds(2000);  // for a client that still sends when refused
constexpr size_t kReadAhead = 64 << 10;
constexpr int kRetrySeconds = 1;

class HttpConnection final : public Connection,
                             public AnswerSink,
                             public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(asio::io_context& context, Socket socket, ServerState& state)
      : socket_(std::move(socket)),
        fd_(socket_.native_handle()),
        state_(state),
        answered_(context),
        buffer_(state.options.max_header_bytes + kReadAhead) {}

  void start(std::function<void()> ended) override;
  void on_ready() override;
  void tick(Clock::time_point now) override;
  void close_if_idle() override;
  void close() override;

 private:
  enum class Phase { kIdle, kRead, kAnswer, kLinger };

  asio::awaitable<void> run();
  asio::awaitable<bool> serve_one(bool is_first);
  asio::awaitable<bool> read_body(Parser& parser, BodyBytes& bytes);
  asio::awaitable<bool> refuse(const HttpError& error);
  std::optional<HttpError> read_failure(const error_code& ec);
  asio::awaitable<bool> answer(Admission admission, const Parser* parser, bool keep_alive);
  asio::awaitable<void> linger();
  void watch();
  void on_input();
  void dispatch();
  void finish_answer(bool is_complete);
  void set_deadline(Phase phase, std::chrono::milliseconds time) {
    phase_ = phase;
    deadline_ = Clock::now() + time;
  }

  Socket socket_;
  int fd_;
  ServerState& state_;
  asio::steady_timer answered_;  // cancelled when the answer is over
  beast::flat_buffer buffer_;
  Phase phase_ = Phase::kIdle;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool has_timed_out_ = false;
  bool must_linger_ = false;

  std::shared_ptr<Answer> answer_;
  bool was_complete_ = false;
  std::string unsent_;
  size_t sent_of_it_ = 0;
  bool is_last_ = false;
  bool keeps_alive_ = false;  // as the answer's head said
  bool waits_to_write_ = false;
  bool is_watching_ = false;
  bool has_read_ahead_ = false;  // bytes of a next request lie in the kernel: only a poll sees the end now
  uint64_t sent_bytes_ = 0;
  Clock::time_point begun_;
};

void HttpConnection::start(std::function<void()> ended) {
  asio::co_spawn(socket_.get_executor(), run(),
                 [self = shared_from_this(), ended = std::move(ended)](std::exception_ptr) {
                   self->close();
                   ended();
                 });
}

asio::awaitable<void> HttpConnection::run() {
  bool goes_on = true;
  for (bool is_first = true; goes_on && socket_.is_open(); is_first = false)
    goes_on = co_await serve_one(is_first);
  if (must_linger_ && socket_.is_open()) co_await linger();
  close();
}

// What a client still sends is read for a while: closed at once, it would lose the answer.
asio::awaitable<void> HttpConnection::linger() {
  set_deadline(Phase::kLinger, kLingerTime);
  error_code ec;
  socket_.shutdown(Socket::shutdown_send, ec);
  buffer_.clear();
  while (!ec) {
    const size_t size = co_await socket_.async_read_some(buffer_.prepare(kReadAhead),
                                                         asio::redirect_error(asio::use_awaitable, ec));
    if (size == 0) break;
  }
}

asio::awaitable<bool> HttpConnection::serve_one(bool is_first) {
  error_code ec;
  const ServerOptions& options = state_.options;
  if (buffer_.size() == 0) {
    set_deadline(Phase::kIdle, is_first ? options.header_time : options.idle_time);
    co_await socket_.async_wait(Socket::wait_read, asio::redirect_error(asio::use_awaitable, ec));
    if (ec || !socket_.is_open()) co_return false;
  }
  set_deadline(Phase::kRead, options.header_time);
  Parser parser;
  parser.header_limit(static_cast<uint32_t>(options.max_header_bytes));
  parser.body_limit(std::numeric_limits<uint64_t>::max());  // check_framing knows better what to say
  co_await http::async_read_header(socket_, buffer_, parser, asio::redirect_error(asio::use_awaitable, ec));
  begun_ = Clock::now();
  auto failure = read_failure(ec);
  if (!failure && ec) co_return false;

  RequestHead head = head_of(parser);
  if (!failure) failure = check_framing(head, {options.max_header_fields, options.max_body_bytes});
  if (failure) co_return co_await refuse(*failure);
  const bool has_body = parser.chunked() || parser.content_length().value_or(0) > 0;
  const bool keep_alive = parser.keep_alive();
  Admission admission = state_.gate->admit(std::move(head), new_request_id());
  if (admission.route == nullptr) {
    must_linger_ = has_body;
    co_return co_await answer(std::move(admission), nullptr, keep_alive && !has_body);
  }
  std::optional<Running> running;
  if (!admission.route->while_draining) running.emplace(state_);
  BodyBytes body_bytes(state_);
  if (has_body) {
    if (!co_await read_body(parser, body_bytes)) co_return false;
    admission.request.body = std::move(parser.get().body());
  }
  co_return co_await answer(std::move(admission), &parser, keep_alive);
}

// False: refused or gone.
asio::awaitable<bool> HttpConnection::read_body(Parser& parser, BodyBytes& bytes) {
  const ServerOptions& options = state_.options;
  error_code ec;
  set_deadline(Phase::kRead, options.body_time);
  const HttpError too_much{503, "overloaded", "too many large requests at once", {}, kRetrySeconds};
  if (parser.get().count(http::field::expect) > 0 && parser.get().version() >= 11 && buffer_.size() == 0) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(socket_, asio::buffer(kContinue),
                               asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return false;
  }
  ChunkCount chunks;
  std::optional<HttpError> refusal;
  auto on_chunk = [&](uint64_t size, beast::string_view, error_code& stop) {
    if (!chunks.add(size))
      refusal = HttpError{400, "chunks_too_small", "the chunks of the body are too small"};
    else if (chunks.bytes() > options.max_body_bytes)
      refusal = body_too_large(options.max_body_bytes);
    if (refusal) stop = http::error::body_limit;
  };
  parser.on_chunk_header(on_chunk);
  parser.body_limit(options.max_body_bytes);
  parser.eager(true);
  for (size_t counted = 0; !ec && !refusal && !parser.is_done();) {
    co_await http::async_read_some(socket_, buffer_, parser, asio::redirect_error(asio::use_awaitable, ec));
    const size_t arrived = parser.get().body().size();  // what is only announced holds no memory
    if (!bytes.add(arrived - std::exchange(counted, arrived)) && !refusal) refusal = too_much;
  }
  if (!refusal) refusal = read_failure(ec);
  if (refusal) co_return co_await refuse(*refusal);
  co_return !ec;
}

// What to tell a client about a read that failed; nothing when it went.
std::optional<HttpError> HttpConnection::read_failure(const error_code& ec) {
  if (std::exchange(has_timed_out_, false))
    return HttpError{408, "timeout", "the request took too long to come"};
  if (is_malformed(ec)) return read_error(ec, state_.options);
  return std::nullopt;
}

// The error is a reference: GCC 12 destroys what is made within a co_await expression twice.
asio::awaitable<bool> HttpConnection::refuse(const HttpError& error) {
  Admission admission;
  admission.request.id = new_request_id();
  admission.answer_headers.emplace_back("x-request-id", admission.request.id);
  admission.refusal = to_response(error, admission.request.id);
  must_linger_ = true;
  co_return co_await answer(std::move(admission), nullptr, false);
}

// Runs the handler (or sends the refusal, without a parser) until the last byte is sent. True: another
// request may follow.
asio::awaitable<bool> HttpConnection::answer(Admission admission, const Parser* parser, bool keep_alive) {
  if (!socket_.is_open()) co_return false;  // closed while the end of the request was on its way
  AnswerForm form;
  form.is_head = admission.request.method == "HEAD";
  form.may_chunk = parser != nullptr && parser->get().version() >= 11;
  form.keep_alive = keep_alive && !state_.gate->is_draining();
  form.max_queued = state_.options.max_queued_bytes;
  phase_ = Phase::kAnswer;
  deadline_ = Clock::time_point::max();
  sent_bytes_ = 0;
  sent_of_it_ = 0;
  unsent_.clear();
  was_complete_ = is_last_ = keeps_alive_ = false;
  const bool is_refusal = admission.route == nullptr;
  Response refusal = std::move(admission.refusal);
  answer_ = std::make_shared<Answer>(std::move(admission), form, state_.waker, weak_from_this());
  watch();
  if (is_refusal)
    answer_->send(std::move(refusal));
  else
    dispatch();
  answered_.expires_at(Clock::time_point::max());
  error_code ec;
  if (answer_ != nullptr) co_await answered_.async_wait(asio::redirect_error(asio::use_awaitable, ec));
  co_return was_complete_&& keeps_alive_ && !state_.gate->is_draining();
}

void HttpConnection::dispatch() {
  if (answer_->is_at_once()) return run_handler(answer_->handler(), answer_->handle());
  const auto run = [exchange = answer_->handle(), &handler = answer_->handler()]() mutable {
    run_handler(handler, std::move(exchange));
  };
  if (state_.workers->submit(run)) return;
  answer_->send(
      to_response({503, "overloaded", "too many requests wait", {}, kRetrySeconds}, answer_->request().id));
}

// While a request runs, its client may go: the end of its input is noticed.
void HttpConnection::watch() {
  has_read_ahead_ = buffer_.size() > 0;
  if (is_watching_ || has_read_ahead_) return;
  is_watching_ = true;
  socket_.async_wait(Socket::wait_read, [self = shared_from_this()](const error_code& ec) {
    self->is_watching_ = false;
    if (!ec && self->answer_ != nullptr) self->on_input();
  });
}

void HttpConnection::on_input() {
  char byte = 0;
  const ssize_t size = ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (size > 0) {
    has_read_ahead_ = true;
  } else if (size == 0) {
    answer_->client_left();
  } else if (errno == EAGAIN || errno == EINTR) {
    watch();
  } else {
    answer_->client_gone();
    finish_answer(false);
  }
}

void HttpConnection::on_ready() {
  if (answer_ != nullptr && answer_->is_broken()) return finish_answer(false);
  bool has_taken = false;
  while (answer_ != nullptr && !waits_to_write_) {
    if (sent_of_it_ == unsent_.size()) {
      has_taken = true;
      const Answer::Progress progress = answer_->take(unsent_);
      sent_of_it_ = 0;
      is_last_ = progress == Answer::Progress::kComplete;
      if (progress == Answer::Progress::kBroken) return finish_answer(false);
    }
    if (!unsent_.empty()) {
      const ssize_t size = ::send(fd_, unsent_.data() + sent_of_it_, unsent_.size() - sent_of_it_,
                                  MSG_DONTWAIT | MSG_NOSIGNAL);
      if (size >= 0) {
        sent_of_it_ += static_cast<size_t>(size);
        sent_bytes_ += static_cast<uint64_t>(size);
      } else if (errno != EAGAIN && errno != EINTR) {
        return finish_answer(false);
      }
    }
    if (sent_of_it_ == unsent_.size()) {
      answer_->mark_sent();
      deadline_ = Clock::time_point::max();
      if (is_last_) return finish_answer(true);
      if (has_taken) return;
      continue;
    }
    waits_to_write_ = true;
    set_deadline(Phase::kAnswer, state_.options.write_time);
    socket_.async_wait(Socket::wait_write, [self = shared_from_this()](const error_code& ec) {
      self->waits_to_write_ = false;
      if (!ec) self->on_ready();
    });
  }
}

void HttpConnection::finish_answer(bool is_complete) {
  const std::shared_ptr<Answer> answer = std::exchange(answer_, nullptr);
  if (answer == nullptr) return;
  if (!is_complete) answer->client_gone();
  was_complete_ = is_complete;
  keeps_alive_ = answer->keep_alive();
  if (answer->is_slow_client()) state_.metrics.slow_clients.add();
  answer->release_slot();
  RequestRecord record{answer->request(), answer->label(), is_complete ? answer->status() : kClientGone,
                       Clock::now() - begun_, sent_bytes_};
  state_.metrics.request_done(record.route, record.request.method, record.status, record.seconds(),
                              sent_bytes_, !is_complete);
  log_request(record);
  if (!is_complete) close();
  answered_.cancel();
}

void HttpConnection::tick(Clock::time_point now) {
  if (answer_ != nullptr && has_read_ahead_) {
    pollfd state{fd_, POLLRDHUP, 0};
    if (::poll(&state, 1, 0) > 0) {
      has_read_ahead_ = false;
      answer_->client_left();
    }
  }
  if (now < deadline_) return;
  deadline_ = Clock::time_point::max();
  if (phase_ == Phase::kRead) {
    has_timed_out_ = true;
    error_code ec;
    socket_.cancel(ec);
  } else if (answer_ != nullptr) {
    finish_answer(false);
  } else {
    close();
  }
}

void HttpConnection::close_if_idle() {
  if (phase_ == Phase::kIdle && socket_.available() == 0) close();
}

void HttpConnection::close() {
  if (answer_ != nullptr) return finish_answer(false);
  error_code ec;
  if (socket_.is_open()) socket_.close(ec);
}

}  // namespace

std::shared_ptr<Connection> make_connection(asio::io_context& context, int fd, int family,
                                            ServerState& state) {
  Socket socket(context, asio::generic::stream_protocol(family, 0), fd);
  return std::make_shared<HttpConnection>(context, std::move(socket), state);
}

}  // namespace llmhost::serve

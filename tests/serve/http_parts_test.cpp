#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"
#include "serve/http/access.h"
#include "serve/http/answer.h"
#include "serve/http/framing.h"
#include "serve/http/gate.h"
#include "serve/http/metrics.h"
#include "serve/http/router.h"
#include "serve/http/target.h"
#include "serve/http/worker_pool.h"

using namespace llmhost;
using namespace llmhost::serve;

namespace {

Route route(std::string method, std::string pattern, Scope scope = Scope::kInfer) {
  return {std::move(method), std::move(pattern), scope, [](std::shared_ptr<Exchange>) {}, "a route", false};
}

std::string matched(const Router& router, std::string_view method, const std::string& path) {
  const TargetResult target = parse_target(path);
  const Router::Match match = router.match(method, target.target.segments);
  std::string text = match.route == nullptr ? "none" : match.route->pattern;
  for (const auto& [name, value] : match.parameters) text += " " + name + "=" + value;
  for (const std::string& name : match.allowed) text += " " + name;
  return text;
}

struct Sink : AnswerSink {
  void on_ready() override { ++count; }
  int count = 0;
};

struct AnswerFixture {
  AnswerFixture() {
    waker = std::make_shared<Waker>([this] { ++posts; });
  }
  std::shared_ptr<Answer> make(AnswerForm form = {}) {
    Admission admission;
    admission.request.id = "req-1";
    return std::make_shared<Answer>(std::move(admission), form, waker, sink);
  }
  std::string taken(Answer& answer) {
    std::string bytes;
    answer.take(bytes);
    return bytes;
  }
  int posts = 0;
  std::shared_ptr<Waker> waker;
  std::shared_ptr<Sink> sink = std::make_shared<Sink>();
};

}  // namespace

TEST_CASE("target: paths are decoded, joined and cleaned") {
  CHECK(parse_target("/").target.path() == "/");
  CHECK(parse_target("//v1///models/").target.path() == "/v1/models");
  CHECK(parse_target("/a%2Fb/%C3%A9").target.segments == std::vector<std::string>{"a/b", "\xC3\xA9"});
  CHECK(parse_target("http://Host:80/x").target.authority == "Host:80");
  CHECK(parse_target("http://host").target.path() == "/");
  CHECK(parse_target("http://host?a=1").target.query.size() == 1);
  CHECK(parse_target("*").target.is_asterisk);
  const Target target = parse_target("/x?a=1&b=%26+c&&d&=e").target;
  REQUIRE(target.query.size() == 4);
  CHECK(target.query[1] == std::pair<std::string, std::string>("b", "& c"));
  CHECK(target.query[2] == std::pair<std::string, std::string>("d", ""));
  CHECK(target.query[3] == std::pair<std::string, std::string>("", "e"));
}

TEST_CASE("target: what can be read in two ways is refused") {
  for (const char* bad :
       {"",          "x",           "?a",          "/..",     "/a/../b", "/.",      "/%2e",    "/%2E%2e/x",
        "/a%2f..",   "/a%5c..",     "/%00",        "/%0a",    "/%7f",    "/%",      "/%1",     "/%g1",
        "/%c3",      "/%ed%a0%80",  "/%c0%af",     "/a b",    "/a\\b",   "/a#b",    "/\x80",   "ftp://host/",
        "http:///x", "http://a b/", "http://u@h/", "host:80", "/?%",     "/?a=%00", "/?a=%ff", "**"})
    CHECK_MESSAGE(!parse_target(bad).error.empty(), bad);
  CHECK(parse_target("/" + std::string(8191, 'a')).error.empty());
  CHECK(!parse_target("/" + std::string(8192, 'a')).error.empty());
}

TEST_CASE("authority") {
  CHECK(parse_authority("LocalHost:80")->host == "localhost");
  CHECK(parse_authority("[::1]:80")->host == "[::1]");
  CHECK(parse_authority("[::1]:80")->port == "80");
  CHECK(parse_authority("a.b-c_d")->port.empty());
  for (const char* bad :
       {"", ":80", "a:80x", "a:123456", "a@b", "a b", "::1", "[::1", "[::1]80", "[]x", "a/b", "a,b"})
    CHECK_MESSAGE(!parse_authority(bad), bad);
}

TEST_CASE("router: literals win, methods of a path are told") {
  Router router;
  router.add(route("GET", "/"));
  router.add(route("GET", "/models/{id}"));
  router.add(route("GET", "/models/list"));
  router.add(route("DELETE", "/models/{id}"));
  router.add(route("GET", "/files/{path*}"));
  router.add(route("POST", "/files/{id}/content"));
  CHECK(matched(router, "GET", "/") == "/ GET HEAD");
  CHECK(matched(router, "HEAD", "/models/list") == "/models/list GET HEAD DELETE");
  CHECK(matched(router, "GET", "/models/a%2Fb") == "/models/{id} id=a/b GET HEAD DELETE");
  CHECK(matched(router, "DELETE", "/models/list") == "/models/{id} id=list GET HEAD DELETE");
  CHECK(matched(router, "PUT", "/models/x") == "none GET HEAD DELETE");
  CHECK(matched(router, "GET", "/models") == "none");
  CHECK(matched(router, "GET", "/models/a/b") == "none");
  CHECK(matched(router, "GET", "/files/a/b/c") == "/files/{path*} path=a/b/c GET HEAD");
  CHECK(matched(router, "POST", "/files/a/content") == "/files/{id}/content id=a GET HEAD POST");
  CHECK(matched(router, "GET", "/Models/x") == "none");
  CHECK(router.routes().size() == 6);
}

TEST_CASE("router: a route without a policy, a handler or a line of documentation is none") {
  Router router;
  router.add(route("GET", "/a/{id}"));
  CHECK_THROWS_AS(router.add(route("GET", "/a/{id}")), Error);
  for (const char* bad : {"", "a", "/a//b", "/{", "/{}", "/{x", "/{a*}/b"})
    CHECK_THROWS_AS(router.add(route("GET", bad)), Error);
  Route no_doc = route("GET", "/b");
  no_doc.doc.clear();
  CHECK_THROWS_AS(router.add(no_doc), Error);
  Route no_handler = route("GET", "/b");
  no_handler.handler = nullptr;
  CHECK_THROWS_AS(router.add(no_handler), Error);
  CHECK(Route().scope == Scope::kAdmin);
}

TEST_CASE("access: tenants are stable, keys are told apart") {
  const auto keys = parse_keys(
      "keys: [{name: a, key: key-number-one}, {name: b, key: key-number-two, models: [m]}]", "test");
  const Access access(keys);
  const auto a = access.authenticate({{"authorization", "Bearer key-number-one"}});
  const auto b = access.authenticate({{"x-api-key", "key-number-two"}});
  REQUIRE((a && b));
  CHECK(access.caller(*a).tenant == Access(keys).caller(0).tenant);
  CHECK(access.caller(*a).tenant != access.caller(*b).tenant);
  CHECK(access.caller(*a).may_use("anything"));
  CHECK(access.caller(*b).may_use("m"));
  CHECK(!access.caller(*b).may_use("n"));
  CHECK(access.caller(*a).may(Scope::kInfer));
  CHECK(!access.caller(*a).may(Scope::kAdmin));
  CHECK(!access.authenticate({}));
  CHECK(Access().caller(*Access().authenticate({})).may(Scope::kAdmin));
}

TEST_CASE("framing: chunks may be small or many, not both") {
  ChunkCount few;
  for (int i = 0; i < 1000; ++i) REQUIRE(few.add(1));
  CHECK(!few.add(1));
  ChunkCount large;
  for (int i = 0; i < 100'000; ++i) REQUIRE(large.add(64));
  CHECK(large.bytes() == 6'400'000);
  ChunkCount huge;
  for (int i = 0; i < 100; ++i) REQUIRE(huge.add(~uint64_t{0}));
  CHECK(huge.bytes() == uint64_t{1} << 62);
}

TEST_CASE_FIXTURE(AnswerFixture,
                  "answer: what is written between two turns is taken at once, after one wake") {
  const auto answer = make();
  answer->start_stream(200, "text/plain", {{"Good", "a"}, {"Bad", "a\r\nInjected: b"}, {"Bad name", "a"}});
  for (int i = 0; i < 3; ++i) CHECK(answer->write("abc"));
  answer->finish();
  CHECK(posts == 1);
  CHECK(!answer->write("late"));
  const std::string bytes = taken(*answer);
  CHECK(bytes.ends_with("\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n"));
  CHECK(bytes.find("Good: a\r\n") != std::string::npos);
  CHECK(bytes.find("Injected") == std::string::npos);
  CHECK(bytes.find("Bad") == std::string::npos);
  waker->drain();
  CHECK(sink->count == 1);
}

TEST_CASE_FIXTURE(AnswerFixture, "answer: a thousand streams wake the I/O thread once") {
  std::vector<std::shared_ptr<Answer>> answers;
  for (int i = 0; i < 1000; ++i) answers.push_back(make());
  for (const auto& answer : answers) answer->start_stream(200, "text/plain", {});
  CHECK(posts == 1);
  waker->drain();
  CHECK(sink->count == 1000);
}

TEST_CASE_FIXTURE(AnswerFixture, "answer: the bytes that wait are bounded, also those half sent") {
  AnswerForm form;
  form.max_queued = 1000;
  const auto answer = make(form);
  answer->start_stream(200, "text/plain", {});
  taken(*answer);
  answer->mark_sent();
  const std::string piece(400, 'x');
  CHECK(answer->write(piece));
  taken(*answer);  // with the kernel not yet
  CHECK(answer->write(piece));
  CHECK(!answer->write(piece));
  CHECK(answer->is_slow_client());
  CHECK(!answer->is_open());
  std::string bytes;
  CHECK(answer->take(bytes) == Answer::Progress::kBroken);
  int closes = 0;
  answer->on_close([&] { ++closes; });
  answer->client_gone();
  answer->client_gone();
  CHECK(closes == 1);
  answer->on_close([&] { ++closes; });
  CHECK(closes == 2);
}

TEST_CASE_FIXTURE(AnswerFixture, "answer: on_close is not called after the answer is complete") {
  const auto answer = make();
  int closes = 0;
  answer->on_close([&] { ++closes; });
  answer->send({});
  answer->client_gone();
  answer->on_close([&] { ++closes; });
  CHECK(closes == 0);
}

TEST_CASE_FIXTURE(AnswerFixture,
                  "answer: a handler that lets go of its exchange has answered with an error") {
  const auto answer = make();
  {
    auto handle = answer->handle();
    const auto second = handle;
    handle.reset();
    CHECK(answer->status() == 0);
  }
  CHECK(answer->status() == 500);
  const auto stream = make();
  stream->handle()->start_stream(200, "text/plain", {});
  std::string bytes;
  CHECK(stream->take(bytes) == Answer::Progress::kBroken);
}

TEST_CASE("worker pool: the queue is bounded") {
  std::mutex gate;
  std::atomic<int> done{0};
  {
    WorkerPool pool(1, 2);
    const std::lock_guard hold(gate);
    int taken = 0;
    for (int i = 0; i < 20; ++i)
      taken += pool.submit([&] {
        const std::lock_guard wait(gate);
        ++done;
      });
    CHECK(taken >= 2);
    CHECK(taken <= 3);
  }
  CHECK(done <= 3);
}

TEST_CASE("metrics: series are bounded and the text is Prometheus'") {
  Metrics metrics;
  for (int i = 0; i < 10; ++i)
    metrics.counter("tokens_total", "Tokens", {{"model", "m" + std::to_string(i)}}, 3).add(2);
  metrics.gauge("queue", "Waiting").set(7);
  metrics.histogram("seconds", "Time", {0.1, 1}).observe(0.5);
  int updates = 0;
  metrics.before_text([&] { ++updates; });
  const std::string text = metrics.text();
  CHECK(updates == 1);
  CHECK(text.find("llmhost_tokens_total{model=\"m2\"} 2") != std::string::npos);
  CHECK(text.find("llmhost_tokens_total{model=\"other\"} 14") != std::string::npos);
  CHECK(text.find("m3") == std::string::npos);
  CHECK(text.find("llmhost_queue 7") != std::string::npos);
  CHECK(text.find("llmhost_seconds_bucket{le=\"1\"} 1") != std::string::npos);
  CHECK_THROWS_AS(metrics.gauge("tokens_total", "", {{"model", "x"}}), Error);
  CHECK_THROWS_AS(metrics.counter("tokens_total", "", {{"adapter", "x"}}), Error);
}

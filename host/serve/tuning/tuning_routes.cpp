#include "serve/tuning/tuning_routes.h"

#include <charconv>
#include <string>
#include <utility>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "serve/api/api_error.h"
#include "serve/http/router.h"
#include "serve/status_json.h"
#include "serve/tuning/multipart.h"
#include "serve/tuning/tuning_jobs.h"

namespace llmhost::serve {
namespace {

using Shared = std::shared_ptr<Exchange>;

constexpr int64_t kDefaultLimit = 20;
constexpr int64_t kMaxLimit = 1000;

int64_t limit_of(const HttpRequest& request) {
  const std::string_view text = request.query_value("limit");
  if (text.empty()) return kDefaultLimit;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1 || value > kMaxLimit)
    throw bad_field("limit", fmt::format("'limit' must be a number from 1 to {}", kMaxLimit));
  return value;
}

OrderedJson file_json(const UploadedFile& file) {
  return {{"id", file.id},
          {"object", "file"},
          {"bytes", file.bytes},
          {"created_at", file.created},
          {"filename", file.filename},
          {"purpose", file.purpose},
          {"status", "processed"}};
}

OrderedJson upload(TuningJobs& jobs, const HttpRequest& request) {
  const FormPart* file = nullptr;
  std::string purpose;
  const std::vector<FormPart> parts = parse_multipart(request.header("content-type"), request.body);
  for (const FormPart& part : parts) {
    if (part.name == "file")
      file = &part;
    else if (part.name == "purpose")
      purpose = part.content;
    else
      throw unknown_field("the form", part.name, "file, purpose");
  }
  if (file == nullptr || !file->filename) throw bad_field("file", "'file' is missing");
  if (purpose != "fine-tune") throw bad_field("purpose", "'purpose' must be \"fine-tune\"");
  return file_json(jobs.files().add(*file->filename, purpose, file->content, request.caller.tenant));
}

OrderedJson list_files(TuningJobs& jobs, const HttpRequest& request) {
  OrderedJson data = OrderedJson::array();
  const std::string_view purpose = request.query_value("purpose");
  for (const UploadedFile& file : jobs.files().list(request.caller.tenant))
    if (purpose.empty() || purpose == file.purpose) data.push_back(file_json(file));
  return {{"object", "list"}, {"data", std::move(data)}, {"has_more", false}};
}

OrderedJson get_file(TuningJobs& jobs, const HttpRequest& request) {
  return file_json(jobs.files().get(request.parameter("id"), request.caller.tenant));
}

OrderedJson delete_file(TuningJobs& jobs, const HttpRequest& request) {
  const std::string id(request.parameter("id"));
  jobs.files().remove(id, request.caller.tenant);
  return {{"id", id}, {"object", "file"}, {"deleted", true}};
}

OrderedJson create_job(TuningJobs& jobs, const HttpRequest& request) {
  const TuningRequest asked = parse_tuning_request(request.body);
  if (!request.caller.may_use(asked.model))
    throw_error(ErrorCode::kNotFound, "there is no model {}", shown_name(asked.model));
  return jobs.create(asked, request.body, request.caller.tenant);
}

OrderedJson list_jobs(TuningJobs& jobs, const HttpRequest& request) {
  return jobs.list(request.caller.tenant, request.query_value("after"), limit_of(request));
}

OrderedJson get_job(TuningJobs& jobs, const HttpRequest& request) {
  return jobs.get(request.parameter("id"), request.caller.tenant);
}

OrderedJson cancel_job(TuningJobs& jobs, const HttpRequest& request) {
  return jobs.cancel(request.parameter("id"), request.caller.tenant);
}

OrderedJson list_events(TuningJobs& jobs, const HttpRequest& request) {
  return jobs.events(request.parameter("id"), request.caller.tenant, request.query_value("after"),
                     limit_of(request));
}

OrderedJson list_checkpoints(TuningJobs& jobs, const HttpRequest& request) {
  return jobs.checkpoints(request.parameter("id"), request.caller.tenant, request.query_value("after"),
                          limit_of(request));
}

Response file_content(TuningJobs& jobs, const HttpRequest& request) {
  Response response;
  response.content_type = "application/octet-stream";
  response.body = read_file(jobs.files().get(request.parameter("id"), request.caller.tenant).path);
  return response;
}

}  // namespace

void add_tuning_routes(Router& router, TuningJobs* jobs) {
  const auto add = [&](const char* method, const char* pattern, const char* doc, auto work) {
    const auto handler = [jobs, work](const Shared& exchange) {
      try {
        if (jobs == nullptr)
          throw_error(ErrorCode::kFailedPrecondition, "fine-tuning is off: the server has no tuning.folder");
        if constexpr (std::is_same_v<decltype(work(*jobs, exchange->request())), Response>)
          exchange->send(work(*jobs, exchange->request()));
        else
          exchange->send(json_response(work(*jobs, exchange->request())));
      } catch (const std::exception&) {
        send_error(*exchange, std::current_exception(), ErrorStyle::kOpenAi);
      }
    };
    router.add({method, pattern, Scope::kAdmin, handler, doc});
  };
  add("POST", "/v1/files", "Upload a file: a form with file and purpose=fine-tune", &upload);
  add("GET", "/v1/files", "The caller's files", &list_files);
  add("GET", "/v1/files/{id}", "One file", &get_file);
  add("GET", "/v1/files/{id}/content", "A file's bytes", &file_content);
  add("DELETE", "/v1/files/{id}", "Delete a file", &delete_file);
  add("POST", "/v1/fine_tuning/jobs", "Begin a fine-tuning job", &create_job);
  add("GET", "/v1/fine_tuning/jobs", "The caller's jobs", &list_jobs);
  add("GET", "/v1/fine_tuning/jobs/{id}", "One job", &get_job);
  add("POST", "/v1/fine_tuning/jobs/{id}/cancel", "End a job", &cancel_job);
  add("GET", "/v1/fine_tuning/jobs/{id}/events", "What happened in a job, newest first", &list_events);
  add("GET", "/v1/fine_tuning/jobs/{id}/checkpoints", "Adapters that a job published on its way",
      &list_checkpoints);
}

}  // namespace llmhost::serve

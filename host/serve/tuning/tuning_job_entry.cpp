#include "serve/tuning/tuning_job_entry.h"

#include <array>
#include <cstdio>
#include <fstream>

#include "core/error.h"
#include "core/file.h"
#include "serve/api/endpoints.h"

namespace llmhost::serve {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kStatusNames = {"queued", "running", "succeeded", "failed",
                                                          "cancelled"};

TuningStatus status_of(std::string_view name) {
  for (size_t i = 0; i < kStatusNames.size(); ++i)
    if (kStatusNames[i] == name) return static_cast<TuningStatus>(i);
  throw_invalid("job.json: unknown status '{}'", name);
}

std::string compact(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

// False behind a line that the end of a process or a full disk cut off.
bool ends_with_line(const fs::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in || in.tellg() == std::streamoff(0)) return true;
  in.seekg(-1, std::ios::end);
  return in.get() == '\n';
}

OrderedJson or_null(const std::string& text) {
  return text.empty() ? OrderedJson() : OrderedJson(text);
}

}  // namespace

std::string_view to_text(TuningStatus status) {
  return kStatusNames.at(static_cast<size_t>(status));
}

TuningJobs::Entry::Entry(fs::path of_job, const TuningRequest& asked, std::string_view text, uint64_t of)
    : folder(std::move(of_job)),
      id(folder.filename().string()),
      request(asked),
      body(text),
      owner(of),
      created(unix_time()) {
  fs::create_directories(folder);
}

TuningJobs::Entry::Entry(fs::path of_job) : folder(std::move(of_job)), id(folder.filename().string()) {
  const Json json = read_json_file(folder / "job.json");
  body = json.at("request").get<std::string>();
  request = parse_tuning_request(body);
  owner = json.at("owner").get<uint64_t>();
  created = json.at("created").get<int64_t>();
  status = status_of(json.at("status").get<std::string>());
  is_cancelled = json.value("is_cancelled", false);
  finished = json.at("finished").get<int64_t>();
  trained_tokens = json.at("trained_tokens").get<int64_t>();
  fine_tuned_model = json.at("fine_tuned_model").get<std::string>();
  error = json.at("error").get<std::string>();
  for (const Json& point : json.at("checkpoints"))
    checkpoints.push_back({point.at("step").get<int64_t>(), point.at("created").get<int64_t>(),
                           point.at("model").get<std::string>(), point.at("train_loss").get<double>(),
                           point.at("valid_loss").get<double>()});
  n_events = static_cast<int64_t>(read_events().size());
  if (status == TuningStatus::kRunning)  // when the process ended
    status = is_cancelled ? TuningStatus::kCancelled : TuningStatus::kQueued;
  if (is_cancelled && finished == 0) finished = unix_time();
}

void TuningJobs::Entry::save() const {
  const std::scoped_lock lock(mutex);
  OrderedJson points = OrderedJson::array();
  for (const Checkpoint& point : checkpoints)
    points.push_back({{"step", point.step},
                      {"created", point.created},
                      {"model", point.model},
                      {"train_loss", point.train_loss},
                      {"valid_loss", point.valid_loss}});
  const OrderedJson json = {{"request", body},
                            {"owner", owner},
                            {"created", created},
                            {"status", to_text(status)},
                            {"is_cancelled", is_cancelled.load()},
                            {"finished", finished},
                            {"trained_tokens", trained_tokens},
                            {"fine_tuned_model", fine_tuned_model},
                            {"error", error},
                            {"checkpoints", std::move(points)}};
  write_file_atomically(folder / "job.json", compact(json));
}

OrderedJson TuningJobs::Entry::json() const {
  const std::scoped_lock lock(mutex);
  const bool has_ended = status != TuningStatus::kQueued && status != TuningStatus::kRunning;
  OrderedJson fault;
  if (status == TuningStatus::kFailed)
    fault = {{"code", "training_failed"}, {"message", error}, {"param", nullptr}};
  OrderedJson json = {
      {"id", id},
      {"object", "fine_tuning.job"},
      {"model", request.model},
      {"created_at", created},
      {"finished_at", has_ended ? OrderedJson(finished) : OrderedJson()},
      {"fine_tuned_model", status == TuningStatus::kSucceeded ? or_null(fine_tuned_model) : OrderedJson()},
      {"organization_id", "llmhost"},
      {"result_files", OrderedJson::array()},
      {"status", to_text(status)},
      {"training_file", request.training_file},
      {"validation_file", or_null(request.validation_file)},
      {"hyperparameters", request.hyperparameters},
      {"method", {{"type", "supervised"}, {"supervised", {{"hyperparameters", request.hyperparameters}}}}},
      {"tuning", request.tuning},
      {"trained_tokens", has_ended ? OrderedJson(trained_tokens) : OrderedJson()},
      {"error", std::move(fault)},
      {"seed", request.seed},
      {"suffix", or_null(request.suffix)},
      {"integrations", OrderedJson::array()},
      {"metadata", request.metadata}};
  json["estimated_finish"] = status == TuningStatus::kRunning && eta_s > 0
                                 ? OrderedJson(unix_time() + static_cast<int64_t>(eta_s))
                                 : OrderedJson();
  return json;
}

void TuningJobs::Entry::add_event(std::string_view level, const std::string& message, OrderedJson data) {
  const std::scoped_lock lock(mutex);
  OrderedJson event = {{"object", "fine_tuning.job.event"},
                       {"id", fmt::format("ftevent-{}-{}", id, n_events)},
                       {"created_at", unix_time()},
                       {"level", level},
                       {"message", message},
                       {"type", data.is_null() ? "message" : "metrics"},
                       {"data", std::move(data)}};
  const fs::path path = folder / "events.jsonl";
  std::ofstream out(path, std::ios::app | std::ios::binary);
  if (!ends_with_line(path)) out << '\n';
  out << compact(event) << '\n';
  if (!out.flush()) throw_error(ErrorCode::kUnavailable, "the job's events cannot be written");
  ++n_events;
}

std::vector<OrderedJson> TuningJobs::Entry::read_events() const {
  std::vector<OrderedJson> events;
  std::ifstream in(folder / "events.jsonl", std::ios::binary);
  for (std::string line; std::getline(in, line);) {
    // The last line may have been cut off by the end of the process.
    OrderedJson event = OrderedJson::parse(line, nullptr, false);
    if (!event.is_discarded()) events.push_back(std::move(event));
  }
  return events;
}

std::string TuningJobs::Entry::adapter_name(std::string_view step) const {
  std::string name = "ft-";
  if (!request.suffix.empty()) name += request.suffix + "-";
  name += id.substr(id.size() - 8);
  if (!step.empty()) name += fmt::format("-step-{}", step);
  return name;
}

}  // namespace llmhost::serve

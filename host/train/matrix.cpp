#include "train/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "core/error.h"
#include "core/registry_files.h"
#include "graph/autodiff/autodiff.h"
#include "train/method.h"

namespace llmhost::train {
namespace {

constexpr const char* kYes = "yes";
constexpr const char* kWarning = "warning";
constexpr const char* kNo = "no";

OrderedJson cell(const char* verdict, const std::string& reason) {
  return {{"verdict", verdict}, {"reason", reason}};
}

OrderedJson try_method(const plugin::Registry& registry, const std::string& name,
                       const model::LoadedModel& model, uint64_t n_weights) {
  try {
    const auto method = Method::open(registry, name, YamlNode(), "the defaults");
    const auto [fit, reason] = method->fit(model, n_weights);
    if (fit == LLMH_FIT_NO) return cell(kNo, reason);
    graph::differentiate(graph::with_training_loss(method->apply(model).graph), {});
    return cell(fit == LLMH_FIT_YES ? kYes : kWarning, reason);
  } catch (const Error& error) {
    return cell(kNo, error.what());
  }
}

std::vector<std::string> methods_of(const OrderedJson& rows) {
  std::vector<std::string> methods;
  for (const OrderedJson& row : rows)
    for (const auto& [name, found] : row.at("methods").items())
      if (std::find(methods.begin(), methods.end(), name) == methods.end()) methods.push_back(name);
  return methods;
}

}  // namespace

OrderedJson matrix_row(const plugin::Registry& registry, const model::LoadedModel& model,
                       uint64_t n_weights) {
  OrderedJson methods = OrderedJson::object();
  std::vector<std::string> names;
  for (const plugin::Plugin* plugin : registry.all(plugin::Kind::kFinetune))
    names.push_back(plugin->manifest().id);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) methods[name] = try_method(registry, name, model, n_weights);
  return {{"architecture", model.arch_id()}, {"methods", std::move(methods)}};
}

OrderedJson known_matrix() {
  for (const RegistryFile& file : registry_files())
    if (file.subject == "finetune" && file.name == "matrix") {
      // The file is JSON below its comment.
      const size_t begin = std::min(file.text.find('['), file.text.size());
      return parse_ordered_json(file.text.substr(begin), "registry/finetune/matrix.yaml");
    }
  throw_error(ErrorCode::kInternal, "the program has no registry/finetune/matrix.yaml");
}

std::string matrix_text(const OrderedJson& rows) {
  const std::vector<std::string> methods = methods_of(rows);
  std::string text = fmt::format("{:<20}", "architecture");
  for (const std::string& method : methods) text += fmt::format(" {:<8}", method);
  text += "\n";
  std::vector<std::string> reasons;  // numbered from 1
  for (const OrderedJson& row : rows) {
    text += fmt::format("{:<20}", row.at("architecture").get<std::string>());
    for (const std::string& method : methods) {
      const OrderedJson found = row.at("methods").value(method, OrderedJson(cell(kNo, "not installed")));
      const std::string reason = found.at("reason").get<std::string>();
      std::string shown = found.at("verdict") == kNo ? "-" : "yes";
      if (!reason.empty()) {
        const auto known = std::find(reasons.begin(), reasons.end(), reason);
        shown += fmt::format(" [{}]", known - reasons.begin() + 1);
        if (known == reasons.end()) reasons.push_back(reason);
      }
      text += fmt::format(" {:<8}", shown);
    }
    text += "\n";
  }
  for (size_t i = 0; i < reasons.size(); ++i) text += fmt::format("[{}] {}\n", i + 1, reasons[i]);
  return text;
}

}  // namespace llmhost::train

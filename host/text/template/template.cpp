#include "text/template/template.h"

#include <algorithm>
#include <new>

#include "text/template/interpreter.h"
#include "text/template/parser.h"
#include "text/template/unicode.h"

namespace llmhost::text::jinja {
namespace {

constexpr size_t kMaxSource = size_t{4} << 20;
constexpr int kMaxJsonDepth = 380;

Value convert(const OrderedJson& json, int depth) {
  if (depth > kMaxJsonDepth) throw_invalid("template variables: nested more than {} deep", kMaxJsonDepth);
  switch (json.type()) {
    case OrderedJson::value_t::boolean:
      return Value::boolean(json.get<bool>());
    case OrderedJson::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case OrderedJson::value_t::number_unsigned:
      return Value::integer(json.get<uint64_t>());
    case OrderedJson::value_t::number_float:
      return Value::real(json.get<double>());
    case OrderedJson::value_t::string:
      return text_value(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      Values items;
      items.reserve(json.size());
      for (const auto& item : json) items.push_back(convert(item, depth + 1));
      return Value::list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      std::vector<DictNode::Entry> entries;
      entries.reserve(json.size());
      for (const auto& item : json.items())
        entries.emplace_back(text_value(item.key()), convert(item.value(), depth + 1));
      return Value::dict(std::make_shared<DictNode>(std::move(entries)));
    }
    default:
      return Value::none();
  }
}

}  // namespace

struct Template::State {
  std::string name;
  std::string source;
  ParsedTemplate parsed;

  [[noreturn]] void report(const PlacedFault& fault) const {
    const std::string_view before =
        std::string_view(source).substr(0, std::min(fault.offset(), source.size()));
    const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
    const size_t start = before.rfind('\n');
    const size_t column = 1 + char_count(start == std::string_view::npos ? before : before.substr(start + 1));
    std::string message = fault.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    throw TemplateError(fmt::format("{}:{}:{}: {}", name, line, column, message), false);
  }
};

Template Template::parse(std::string_view source, std::string name) {
  auto state = std::make_shared<State>();
  state->name = std::move(name);
  if (source.size() > kMaxSource)
    throw TemplateError(fmt::format("{}: the template is larger than {} bytes", state->name, kMaxSource),
                        false);
  if (!valid_utf8(source))
    throw TemplateError(fmt::format("{}: the template is not UTF-8", state->name), false);
  state->source = normalize_source(source);
  try {
    state->parsed = Parser(tokenize(state->source)).parse();
  } catch (const PlacedFault& fault) {
    state->report(fault);
  } catch (const Fault& fault) {
    state->report(PlacedFault(fault.what(), 0));
  }
  Template out;
  out.state_ = std::move(state);
  return out;
}

const std::string& Template::name() const {
  return state_->name;
}

std::string Template::render(const Value& variables, const RenderOptions& options) const {
  if (!variables.is(Kind::kDict))
    throw_invalid("{}: the variables of a template are a mapping", state_->name);
  Meter meter(options.limits);
  const MeterScope scope(meter);
  Interpreter interpreter(state_->parsed, variables, meter, options.clock, options.generation);
  try {
    return interpreter.render();
  } catch (const PlacedFault& fault) {
    state_->report(fault);
  } catch (const Fault& fault) {
    state_->report(PlacedFault(fault.what(), 0));
  }
}

Value to_value(const OrderedJson& json) {
  return convert(json, 0);
}

}  // namespace llmhost::text::jinja

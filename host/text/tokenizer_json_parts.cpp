#include "text/tokenizer_json_parts.h"

#include <variant>

#include "core/error.h"
#include "text/base64.h"

namespace llmhost::text {
namespace {

std::string type_of(const JsonAt& json) {
  return json.string("type");
}

[[noreturn]] void refuse_type(const JsonAt& json, std::string_view what) {
  json.refuse(fmt::format("the {} '{}' is not supported", what, type_of(json)));
}

// {"String": "…"} or {"Regex": "…"}; old files have a bare string.
std::variant<std::string, Regex> read_pattern(const JsonAt& json) {
  if (json.value.is_string()) return json.value.get<std::string>();
  if (json.has("String")) return json.string("String");
  if (json.has("Regex")) return Regex(json.string("Regex"), RegexFlavor::kOniguruma, json.where);
  json.refuse("a pattern of the form String or Regex was expected");
}

SplitBehavior read_behavior(const JsonAt& json, std::string_view otherwise) {
  const std::string name = json.string_or("behavior", otherwise);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  json.refuse(fmt::format("the behavior '{}' is not supported", name));
}

NormalizerPtr read_charsmap(const JsonAt& json) {
  const JsonAt field = json.at("precompiled_charsmap");
  const auto blob = decode_base64(json.string("precompiled_charsmap"));
  if (!blob) field.refuse("not valid base64; the file is damaged");
  return make_charsmap_normalizer(*blob, field.where);
}

NormalizerPtr read_replace(const JsonAt& json) {
  auto pattern = read_pattern(json.at("pattern"));
  std::string content = json.string("content");
  if (auto* regex = std::get_if<Regex>(&pattern))
    return make_replace_normalizer(std::move(*regex), std::move(content));
  return make_replace_normalizer(std::get<std::string>(std::move(pattern)), std::move(content));
}

NormalizerPtr read_bert_normalizer(const JsonAt& json) {
  BertNormalizerOptions options;
  options.clean_text = json.flag_or("clean_text", true);
  options.handle_chinese_chars = json.flag_or("handle_chinese_chars", true);
  options.lowercase = json.flag_or("lowercase", true);
  options.strip_accents = json.flag_or("strip_accents", options.lowercase);
  return make_bert_normalizer(options);
}

PrependScheme read_prepend_scheme(const JsonAt& json) {
  const std::string name =
      json.string_or("prepend_scheme", json.flag_or("add_prefix_space", true) ? "always" : "never");
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  json.refuse(fmt::format("the prepend_scheme '{}' is not supported", name));
}

PreTokenizerPtr read_split(const JsonAt& json) {
  auto pattern = read_pattern(json.at("pattern"));
  const SplitBehavior behavior = read_behavior(json, "Isolated");
  const bool invert = json.flag_or("invert", false);
  if (auto* regex = std::get_if<Regex>(&pattern))
    return make_regex_split(std::move(*regex), behavior, invert);
  return make_string_split(std::get<std::string>(std::move(pattern)), behavior, invert);
}

void read_sequence(const JsonAt& json, std::vector<PreTokenizerPtr>& out) {
  for (const JsonAt& item : json.items("pretokenizers")) out.push_back(read_pre_tokenizer(item));
}

DecoderSpec read_replace_decoder(const JsonAt& json) {
  auto pattern = read_pattern(json.at("pattern"));
  DecoderSpec spec{.kind = DecoderSpec::Kind::kReplace, .to = json.string("content")};
  if (auto* regex = std::get_if<Regex>(&pattern)) {
    spec.kind = DecoderSpec::Kind::kReplaceRegex;
    spec.regex = std::make_shared<Regex>(std::move(*regex));
  } else {
    spec.from = std::get<std::string>(std::move(pattern));
  }
  return spec;
}

int32_t token_id(const JsonAt& json) {
  if (!json.value.is_number_integer()) json.refuse("a token id was expected");
  const auto id = json.value.get<int64_t>();
  if (id < 0 || id > INT32_MAX) json.refuse(fmt::format("{} is not a token id", id));
  return static_cast<int32_t>(id);
}

// {"type": "TemplateProcessing", "single": [...], "special_tokens": {name: {"ids": [...]}}}
void read_template(const JsonAt& json, PostProcess& out) {
  PostProcess added;
  bool seen_text = false;
  for (const JsonAt& item : json.items("single")) {
    if (item.has("Sequence")) {
      seen_text = true;
    } else if (item.has("SpecialToken")) {
      const JsonAt token = json.at("special_tokens").at(item.at("SpecialToken").string("id"));
      for (const JsonAt& id : token.items("ids"))
        (seen_text ? added.suffix : added.prefix).push_back(token_id(id));
    } else {
      item.refuse("Sequence or SpecialToken was expected");
    }
  }
  out.drops_text = out.drops_text || !seen_text;
  out.prefix.insert(out.prefix.begin(), added.prefix.begin(), added.prefix.end());
  out.suffix.insert(out.suffix.end(), added.suffix.begin(), added.suffix.end());
}

// ["[SEP]", 102]
int32_t named_token(const JsonAt& json, std::string_view key) {
  const std::vector<JsonAt> pair = json.items(key);
  if (pair.size() != 2) json.refuse(fmt::format("'{}' must be a token and its id", key));
  return token_id(pair[1]);
}

}  // namespace

NormalizerPtr read_normalizer(const JsonAt& json) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    std::vector<NormalizerPtr> steps;
    for (const JsonAt& item : json.items("normalizers")) steps.push_back(read_normalizer(item));
    return make_normalizer_sequence(std::move(steps));
  }
  if (type == "NFC") return make_unicode_normalizer(NormalForm::kNfc);
  if (type == "NFD") return make_unicode_normalizer(NormalForm::kNfd);
  if (type == "NFKC") return make_unicode_normalizer(NormalForm::kNfkc);
  if (type == "NFKD") return make_unicode_normalizer(NormalForm::kNfkd);
  if (type == "Lowercase") return make_lowercase_normalizer();
  if (type == "StripAccents") return make_strip_accents_normalizer();
  if (type == "Strip")
    return make_strip_normalizer(json.flag_or("strip_left", true), json.flag_or("strip_right", true));
  if (type == "Replace") return read_replace(json);
  if (type == "Prepend") return make_prepend_normalizer(json.string("prepend"));
  if (type == "BertNormalizer") return read_bert_normalizer(json);
  if (type == "Nmt") return make_nmt_normalizer();
  if (type == "ByteLevel") return make_byte_level_normalizer();
  if (type == "Precompiled") return read_charsmap(json);
  refuse_type(json, "normalizer");
}

PreTokenizerPtr read_pre_tokenizer(const JsonAt& json) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    std::vector<PreTokenizerPtr> steps;
    read_sequence(json, steps);
    return make_pre_tokenizer_sequence(std::move(steps));
  }
  if (type == "ByteLevel")
    return make_byte_level(json.flag_or("add_prefix_space", true), json.flag_or("use_regex", true));
  if (type == "Split") return read_split(json);
  if (type == "Metaspace")
    return make_metaspace(json.string_or("replacement", "\u2581"), read_prepend_scheme(json),
                          json.flag_or("split", true));
  if (type == "Whitespace") return make_whitespace();
  if (type == "WhitespaceSplit") return make_whitespace_split();
  if (type == "Punctuation") return make_punctuation(read_behavior(json, "Isolated"));
  if (type == "Digits") return make_digits(json.flag_or("individual_digits", false));
  if (type == "BertPreTokenizer") return make_bert_pre_tokenizer();
  if (type == "CharDelimiterSplit")
    return make_string_split(json.string("delimiter"), SplitBehavior::kRemoved, false);
  if (type == "UnicodeScripts") return make_unicode_scripts();
  if (type == "FixedLength") {
    const size_t length = json.count_or("length", 5);
    if (length == 0) json.refuse("'length' must be at least 1");
    return make_fixed_length(length);
  }
  refuse_type(json, "pre-tokenizer");
}

void read_decoder(const JsonAt& json, std::vector<DecoderSpec>& out) {
  using Kind = DecoderSpec::Kind;
  const std::string type = type_of(json);
  if (type == "Sequence") {
    for (const JsonAt& item : json.items("decoders")) read_decoder(item, out);
  } else if (type == "ByteLevel") {
    out.push_back({.kind = Kind::kByteLevel});
  } else if (type == "ByteFallback") {
    out.push_back({.kind = Kind::kByteFallback});
  } else if (type == "Fuse") {
    out.push_back({.kind = Kind::kFuse});
  } else if (type == "Metaspace") {
    out.push_back({.kind = Kind::kMetaspace,
                   .from = json.string_or("replacement", "\u2581"),
                   .flag = read_prepend_scheme(json) != PrependScheme::kNever});
  } else if (type == "Replace") {
    out.push_back(read_replace_decoder(json));
  } else if (type == "Strip") {
    const std::string content = json.string("content");
    if (content.empty()) json.refuse("'content' must be one character");
    out.push_back({.kind = Kind::kStrip,
                   .from = content,
                   .strip_start = json.count_or("start", 0),
                   .strip_stop = json.count_or("stop", 0)});
  } else if (type == "WordPiece") {
    out.push_back({.kind = Kind::kWordPiece,
                   .from = json.string_or("prefix", "##"),
                   .flag = json.flag_or("cleanup", true)});
  } else if (type == "BPEDecoder") {
    out.push_back({.kind = Kind::kBpe, .from = json.string_or("suffix", "</w>")});
  } else if (type == "CTC") {
    out.push_back({.kind = Kind::kCtc,
                   .from = json.string_or("pad_token", "<pad>"),
                   .to = json.string_or("word_delimiter_token", "|"),
                   .flag = json.flag_or("cleanup", true)});
  } else {
    refuse_type(json, "decoder");
  }
}

std::vector<AddedToken> read_added_tokens(const JsonAt& json) {
  if (!json.value.is_array()) json.refuse("a list was expected");
  std::vector<AddedToken> out;
  for (size_t i = 0; i < json.value.size(); ++i) {
    const JsonAt item{json.value[i], fmt::format("{}[{}]", json.where, i)};
    AddedToken token;
    token.content = item.string("content");
    token.id = token_id(item.at("id"));
    token.special = item.flag_or("special", false);
    token.lstrip = item.flag_or("lstrip", false);
    token.rstrip = item.flag_or("rstrip", false);
    token.single_word = item.flag_or("single_word", false);
    token.normalized = item.flag_or("normalized", !token.special);
    if (!token.content.empty()) out.push_back(std::move(token));
  }
  return out;
}

void read_post_processor(const JsonAt& json, PostProcess& out) {
  const std::string type = type_of(json);
  if (type == "Sequence") {
    for (const JsonAt& item : json.items("processors")) read_post_processor(item, out);
  } else if (type == "TemplateProcessing") {
    read_template(json, out);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    out.prefix.insert(out.prefix.begin(), named_token(json, "cls"));
    out.suffix.push_back(named_token(json, "sep"));
  } else if (type != "ByteLevel") {  // which only trims offsets
    refuse_type(json, "post-processor");
  }
}

}  // namespace llmhost::text

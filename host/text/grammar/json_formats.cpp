// Formats of JSON schema's strings, as regular expressions a little stricter than the standards.
#include <map>
#include <string>

#include "text/grammar/json_text.h"
#include "text/grammar/sources.h"

namespace llmhost::text::grammar {
namespace {

std::map<std::string, std::string, std::less<>> patterns() {
  // Days of the month are right in every year but for 29 February, which is left out.
  const std::string date =
      "[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|"
      "02-(?:0[1-9]|1[0-9]|2[0-8]))";
  const std::string clock = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?";
  const std::string zone = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])";
  const std::string octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  const std::string label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";
  const std::string host = label + "(?:\\." + label + "){0,3}";
  const std::string group = "[0-9a-fA-F]{1,4}";
  const std::string ipv6 = "(?:(?:" + group + ":){7}" + group + "|::(?:" + group + ":){0,6}" + group +
                           "|(?:" + group + ":){1,6}:" + group + "|::)";
  const std::string atom = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,30}";
  const std::string path = "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*";
  const std::string time_parts = "(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))";
  const std::string date_parts = "(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)";
  const std::string uri = "[A-Za-z][A-Za-z0-9+.-]{0,15}://" + host + "(?::[0-9]{1,4})?(?:/" + path +
                          ")?(?:\\?" + path + ")?(?:#" + path + ")?";
  return {{"date", date},
          {"time", clock + zone},
          {"date-time", date + "T" + clock + zone},
          {"duration", "P(?:" + date_parts + time_parts + "?|" + time_parts + "|[0-9]+W)"},
          {"byte", "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"},
          {"password", "[\\s\\S]*"},
          {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
          {"email", atom + "(?:\\." + atom + ")?@" + host},
          {"hostname", host},
          {"ipv4", octet + "(?:\\." + octet + "){3}"},
          {"ipv6", ipv6},
          {"uri", uri}};
}

}  // namespace

Expr format_texts(std::string_view name) {
  static const auto kPatterns = patterns();
  const auto found = kPatterns.find(name);
  if (found == kPatterns.end()) return nullptr;
  return read_regex(found->second, RegexMatch::kWhole, "format");
}

}  // namespace llmhost::text::grammar

// Cuts where the Unicode script changes. Hiragana and Katakana count as Han, a space belongs to any script.
#include <fmt/format.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <map>

#include "text/pre_tokenizer_split.h"
#include "text/tokenizer_utf8.h"
#include "text/unicode_age.h"

namespace llmhost::text {
namespace {

constexpr const char* kScripts[] = {"Han",
                                    "Common",
                                    "Inherited",
                                    "Latin",
                                    "Hiragana",
                                    "Katakana",
                                    "Adlam",
                                    "Ahom",
                                    "Anatolian_Hieroglyphs",
                                    "Arabic",
                                    "Armenian",
                                    "Avestan",
                                    "Balinese",
                                    "Bamum",
                                    "Bassa_Vah",
                                    "Batak",
                                    "Bengali",
                                    "Bhaiksuki",
                                    "Bopomofo",
                                    "Brahmi",
                                    "Braille",
                                    "Buginese",
                                    "Buhid",
                                    "Canadian_Aboriginal",
                                    "Carian",
                                    "Caucasian_Albanian",
                                    "Chakma",
                                    "Cham",
                                    "Cherokee",
                                    "Chorasmian",
                                    "Coptic",
                                    "Cuneiform",
                                    "Cypriot",
                                    "Cypro_Minoan",
                                    "Cyrillic",
                                    "Deseret",
                                    "Devanagari",
                                    "Dives_Akuru",
                                    "Dogra",
                                    "Duployan",
                                    "Egyptian_Hieroglyphs",
                                    "Elbasan",
                                    "Elymaic",
                                    "Ethiopic",
                                    "Georgian",
                                    "Glagolitic",
                                    "Gothic",
                                    "Grantha",
                                    "Greek",
                                    "Gujarati",
                                    "Gunjala_Gondi",
                                    "Gurmukhi",
                                    "Hangul",
                                    "Hanifi_Rohingya",
                                    "Hanunoo",
                                    "Hatran",
                                    "Hebrew",
                                    "Imperial_Aramaic",
                                    "Inscriptional_Pahlavi",
                                    "Inscriptional_Parthian",
                                    "Javanese",
                                    "Kaithi",
                                    "Kannada",
                                    "Kayah_Li",
                                    "Kharoshthi",
                                    "Khitan_Small_Script",
                                    "Khmer",
                                    "Khojki",
                                    "Khudawadi",
                                    "Lao",
                                    "Lepcha",
                                    "Limbu",
                                    "Linear_A",
                                    "Linear_B",
                                    "Lisu",
                                    "Lycian",
                                    "Lydian",
                                    "Mahajani",
                                    "Makasar",
                                    "Malayalam",
                                    "Mandaic",
                                    "Manichaean",
                                    "Marchen",
                                    "Masaram_Gondi",
                                    "Medefaidrin",
                                    "Meetei_Mayek",
                                    "Mende_Kikakui",
                                    "Meroitic_Cursive",
                                    "Meroitic_Hieroglyphs",
                                    "Miao",
                                    "Modi",
                                    "Mongolian",
                                    "Mro",
                                    "Multani",
                                    "Myanmar",
                                    "Nabataean",
                                    "Nandinagari",
                                    "New_Tai_Lue",
                                    "Newa",
                                    "Nko",
                                    "Nushu",
                                    "Nyiakeng_Puachue_Hmong",
                                    "Ogham",
                                    "Ol_Chiki",
                                    "Old_Hungarian",
                                    "Old_Italic",
                                    "Old_North_Arabian",
                                    "Old_Permic",
                                    "Old_Persian",
                                    "Old_Sogdian",
                                    "Old_South_Arabian",
                                    "Old_Turkic",
                                    "Old_Uyghur",
                                    "Oriya",
                                    "Osage",
                                    "Osmanya",
                                    "Pahawh_Hmong",
                                    "Palmyrene",
                                    "Pau_Cin_Hau",
                                    "Phags_Pa",
                                    "Phoenician",
                                    "Psalter_Pahlavi",
                                    "Rejang",
                                    "Runic",
                                    "Samaritan",
                                    "Saurashtra",
                                    "Sharada",
                                    "Shavian",
                                    "Siddham",
                                    "SignWriting",
                                    "Sinhala",
                                    "Sogdian",
                                    "Sora_Sompeng",
                                    "Soyombo",
                                    "Sundanese",
                                    "Syloti_Nagri",
                                    "Syriac",
                                    "Tagalog",
                                    "Tagbanwa",
                                    "Tai_Le",
                                    "Tai_Tham",
                                    "Tai_Viet",
                                    "Takri",
                                    "Tamil",
                                    "Tangsa",
                                    "Tangut",
                                    "Telugu",
                                    "Thaana",
                                    "Thai",
                                    "Tibetan",
                                    "Tifinagh",
                                    "Tirhuta",
                                    "Toto",
                                    "Ugaritic",
                                    "Vai",
                                    "Vithkuqi",
                                    "Wancho",
                                    "Warang_Citi",
                                    "Yezidi",
                                    "Yi",
                                    "Zanabazar_Square"};
constexpr int kAnyScript = -1;
constexpr int kHan = 0;
constexpr int kHiragana = 4;
constexpr int kKatakana = 5;

// PCRE2 is the only library here that knows scripts: one alternative with one group for each.
class ScriptTable {
 public:
  ScriptTable() {
    std::string pattern;
    for (const char* name : kScripts)
      pattern += fmt::format("{}(\\p{{sc:{}}})", pattern.empty() ? "" : "|", name);
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_ =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED, &error, &offset, nullptr);
    if (code_ != nullptr) pcre2_jit_compile(code_, PCRE2_JIT_COMPLETE);
  }
  ~ScriptTable() { pcre2_code_free(code_); }
  ScriptTable(const ScriptTable&) = delete;
  ScriptTable& operator=(const ScriptTable&) = delete;

  int script_of(std::string_view character, pcre2_match_data* data) const {
    const int rc = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(character.data()), character.size(), 0,
                               PCRE2_NO_UTF_CHECK, data, nullptr);
    return rc < 2 ? kAnyScript : rc - 2;  // rc is the number of the highest group plus one
  }
  pcre2_match_data* new_data() const { return pcre2_match_data_create_from_pattern(code_, nullptr); }

 private:
  pcre2_code* code_ = nullptr;
};

class UnicodeScripts final : public PreTokenizer {
  static constexpr int kUnicode = 9;  // of the reference's table

 public:
  void apply(Pieces& pieces) const override {
    const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(table_.new_data(),
                                                                                   pcre2_match_data_free);
    std::map<char32_t, int> known;
    split_pieces(pieces, SplitBehavior::kIsolated, false,
                 [&](std::string_view text, std::vector<Match>& out) {
                   // "None so far" differs from every script, so that the first character opens a piece
                   // unless it fits any script.
                   int last = kAnyScript - 1;
                   for (size_t i = 0; i < text.size();) {
                     const Utf8Char c = utf8_at(text, i);
                     auto [entry, is_new] = known.try_emplace(c.code, kAnyScript);
                     if (is_new) entry->second = script(c.code, text.substr(i, c.length), data.get());
                     const int now = entry->second;
                     if (now != kAnyScript && now != last) out.push_back({i, i, true});
                     if (now != kAnyScript) last = now;
                     i += c.length;
                     if (!out.empty()) out.back().end = i;
                   }
                 });
  }

 private:
  int script(char32_t code, std::string_view character, pcre2_match_data* data) const {
    if (code == 0x30FC) return kHan;
    if (code == ' ' || is_newer_than(code, kUnicode)) return kAnyScript;
    const int found = table_.script_of(character, data);
    return found == kHiragana || found == kKatakana ? kHan : found;
  }
  ScriptTable table_;
};

}  // namespace

PreTokenizerPtr make_unicode_scripts() {
  return std::make_unique<UnicodeScripts>();
}

}  // namespace llmhost::text

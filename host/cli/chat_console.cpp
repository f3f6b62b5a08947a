// The terminal side of chat_input.h, on libedit.
#include <histedit.h>
#include <langinfo.h>
#include <unistd.h>

#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <system_error>

#include "cli/chat_input.h"

namespace llmhost::cli {
namespace {

constexpr int kHistoryLines = 1000;

// libedit edits characters: without a UTF-8 locale it would break those that have several bytes.
void use_utf8_locale() {
  std::setlocale(LC_CTYPE, "");
  if (std::strcmp(nl_langinfo(CODESET), "UTF-8") != 0) std::setlocale(LC_CTYPE, "C.UTF-8");
}

}  // namespace

struct Console::Editor {
  EditLine* line = nullptr;
  History* history = nullptr;
  std::filesystem::path history_file;
  const char* prompt = "";
  bool interrupted = false;

  static Editor& of(EditLine* line) {
    void* self = nullptr;
    el_get(line, EL_CLIENTDATA, &self);
    return *static_cast<Editor*>(self);
  }
  static char* show_prompt(EditLine* line) { return const_cast<char*>(of(line).prompt); }
  static unsigned char interrupt(EditLine* line, int) {
    of(line).interrupted = true;
    return CC_EOF;
  }
  static unsigned char suspend(EditLine*, int) {
    std::raise(SIGTSTP);  // libedit gives the terminal back and takes it again
    return CC_REDISPLAY;
  }
};

Console::Console(std::filesystem::path history_file) : editor_(std::make_unique<Editor>()) {
  use_utf8_locale();
  Editor& editor = *editor_;
  editor.history_file = std::move(history_file);
  // Prompts are for the person: when the answers go elsewhere they go to standard error.
  FILE* const screen = isatty(STDOUT_FILENO) != 0 ? stdout : stderr;
  editor.line = el_init("llmhost", stdin, screen, stderr);
  editor.history = history_init();
  HistEvent event{};
  history(editor.history, &event, H_SETSIZE, kHistoryLines);
  history(editor.history, &event, H_SETUNIQUE, 1);
  history(editor.history, &event, H_LOAD, editor.history_file.c_str());
  el_set(editor.line, EL_CLIENTDATA, &editor);
  el_set(editor.line, EL_PROMPT, &Editor::show_prompt);
  el_set(editor.line, EL_HIST, history, editor.history);
  el_set(editor.line, EL_EDITOR, "emacs");
  el_set(editor.line, EL_SIGNAL, 1);  // window size, suspension
  // Ctrl-C and Ctrl-Z are keys while a line is edited; at all other times the terminal makes them signals.
  el_set(editor.line, EL_SETTY, "-d", "-isig", nullptr);
  el_set(editor.line, EL_ADDFN, "llmhost-interrupt", "Drop what was typed", &Editor::interrupt);
  el_set(editor.line, EL_BIND, "^C", "llmhost-interrupt", nullptr);
  el_set(editor.line, EL_ADDFN, "llmhost-suspend", "Stop the program until it is continued",
         &Editor::suspend);
  el_set(editor.line, EL_BIND, "^Z", "llmhost-suspend", nullptr);
  el_source(editor.line, nullptr);
}

Console::~Console() {
  HistEvent event{};
  std::error_code failed;  // no history is no reason to complain
  std::filesystem::create_directories(editor_->history_file.parent_path(), failed);
  history(editor_->history, &event, H_SAVE, editor_->history_file.c_str());
  history_end(editor_->history);
  el_end(editor_->line);
}

InputEvent Console::read_line(const char* prompt, std::string& line) {
  editor_->prompt = prompt;
  editor_->interrupted = false;
  int n_bytes = 0;
  el_set(editor_->line, EL_PREP_TERM, 1);  // before the prompt is seen, so that no key falls in between
  const char* const text = el_gets(editor_->line, &n_bytes);
  if (editor_->interrupted) {
    el_reset(editor_->line);
    std::fputs("^C\n", stderr);
    return InputEvent::kInterrupt;
  }
  if (text == nullptr || n_bytes <= 0) return InputEvent::kEnd;
  line.assign(text, static_cast<size_t>(n_bytes));
  while (line.ends_with('\n') || line.ends_with('\r')) line.pop_back();
  HistEvent event{};
  if (!line.empty()) history(editor_->history, &event, H_ENTER, line.c_str());
  return InputEvent::kText;
}

}  // namespace llmhost::cli

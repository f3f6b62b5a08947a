// The conversation on a terminal: messages, and commands that begin with a slash.
#pragma once

#include <string>
#include <vector>

#include "cli/chat_input.h"
#include "cli/chat_model.h"
#include "cli/chat_output.h"

namespace llmhost::cli {

struct ChatOptions {
  std::string system;
  AnswerLimits limits;
  bool show_prompt = false;
};

class ChatRepl {
 public:
  ChatRepl(ChatModel& model, Settings settings, ChatOptions options, LineSource input);

  // Until /bye or Ctrl-D; the exit code.
  int run();

 private:
  struct Command {
    const char* name;
    const char* usage;
    const char* doc;
    void (ChatRepl::*action)(const std::string& argument);
  };
  static const std::vector<Command>& commands();

  void handle(const std::string& message);
  void run_command(const std::string& line);
  void say(const std::string& text);
  void answer();
  std::vector<Message> conversation() const;

  void help(const std::string&);
  void set(const std::string& argument);
  void show(const std::string& what);
  void set_system(const std::string& text);
  void clear(const std::string&);
  void save(const std::string& file);
  void load(const std::string& file);
  void regenerate(const std::string&);
  void leave(const std::string&);

  void show_settings();
  void show_prompt();
  void show_model();

  ChatModel& model_;
  Settings settings_;
  ChatOptions options_;
  LineSource input_;
  StandardOutput output_;
  engine::Sampling sampling_;
  std::vector<Message> messages_;  // without the system message
  bool leaving_ = false;
};

}  // namespace llmhost::cli

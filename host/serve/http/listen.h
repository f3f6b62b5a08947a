// Listening sockets and limits of the process, plain POSIX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace llmhost::serve {

struct Listener {
  int fd = -1;
  bool is_local = false;  // the loopback device or a Unix socket
  uint16_t port = 0;
  std::string address;
};

// Both throw Error. Before anything listens, `has_keys` is checked: without, only the loopback device.
Listener listen_tcp(const std::string& host, uint16_t port, bool has_keys);
// Only for the user (mode 0600). A socket file that nobody serves any more is replaced.
Listener listen_unix(const std::filesystem::path& path);

// Raises the number of open files to the hard limit and returns it.
size_t raise_file_limit();

// Small writes go out at once, and a peer that vanished without a word is found.
void tune_connection(int fd);

}  // namespace llmhost::serve

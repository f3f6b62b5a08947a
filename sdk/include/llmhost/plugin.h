/* The boundary between host and plugin: entry table, errors, logging, extensions. Plain C11.
 *
 * A plugin is a shared object that exports exactly one symbol, *data*, not a function:
 *
 *     const llmh_plugin llmhost_plugin_v1
 *
 * and carries its manifest (plugin.yaml) in the ELF section ".llmhost". Scanning reads the manifest only; no code of
 * the plugin runs before a run needs it. It is then loaded once (RTLD_NOW | RTLD_LOCAL) and never unloaded.
 *
 * Rules that hold for every function of every table:
 *  - Growth: structs start with `struct_size` and are only appended to. A reader tests LLMH_HAS(ptr, field) before it
 *    reads a field that was added after minor 0; a writer writes no field beyond the struct_size it was given. Such a
 *    struct crosses by pointer only: a list of them is an array of pointers, a copy takes struct_size bytes and zeroes
 *    the rest, and tables are never copied.
 *  - Frozen: llmh_str, llmh_dim, llmh_option, llmh_range, llmh_layout_step, llmh_dtype_layout, llmh_adapter_segment
 *    have no struct_size. These values may lie in arrays and in other structs, and never change.
 *  - Enum values and bits are appended to as well. What a side does with one that it does not know is said where the
 *    enum is used; where nothing is said, it is an error that names the value.
 *  - Errors: `llmh_status*`, NULL for success, created with llmh_host.status_new and owned by the host from then on.
 *    Functions of the hot path return an int32_t code and may leave one message in their llmh_call.
 *  - No C++ exception, abort, exit or longjmp crosses the boundary. No type of any C++ library crosses it.
 *  - Ownership: what one side allocates the other never frees. A pointer argument is valid during the call unless the
 *    function says otherwise; strings are UTF-8, not NUL-terminated.
 *  - Threads: each function has a tag.
 *      [control]      one call at a time for the whole plugin; may allocate, read files and take long
 *      [engine]       one call at a time for one instance; no allocation after the first call, no blocking I/O
 *      [worker]       called on the host's pool threads, many at once, inside an [engine] call
 *      [thread-safe]  any thread, any time
 *    A host built with LLMHOST_CHECK_THREADS checks [control] and [engine] on its calls. */
#ifndef LLMHOST_PLUGIN_H
#define LLMHOST_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#include "llmhost/version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A string of `len` bytes. {NULL, 0} is the empty string. Lifetime is the owner's, stated where it is used. */
typedef struct llmh_str {
  const char* ptr;
  uint64_t len;
} llmh_str;

/* True when the struct behind `ptr` is large enough to hold `field`: it was filled by a side that knows the field. */
#define LLMH_HAS(ptr, field) \
  ((ptr)->struct_size >= (size_t)((const char*)&(ptr)->field - (const char*)(ptr)) + sizeof((ptr)->field))

/* Error codes, numbered as in gRPC. 0 is success. */
enum {
  LLMH_OK = 0,
  LLMH_CANCELLED = 1,
  LLMH_UNKNOWN = 2,
  LLMH_INVALID_ARGUMENT = 3,
  LLMH_DEADLINE_EXCEEDED = 4,
  LLMH_NOT_FOUND = 5,
  LLMH_ALREADY_EXISTS = 6,
  LLMH_PERMISSION_DENIED = 7,
  LLMH_RESOURCE_EXHAUSTED = 8,
  LLMH_FAILED_PRECONDITION = 9,
  LLMH_ABORTED = 10,
  LLMH_OUT_OF_RANGE = 11,
  LLMH_UNIMPLEMENTED = 12,
  LLMH_INTERNAL = 13,
  LLMH_UNAVAILABLE = 14,
  LLMH_DATA_LOSS = 15
};

/* An error: code, message, source. Opaque; created by the host for whoever reports it. */
typedef struct llmh_status llmh_status;

/* Log levels of llmh_host.log. */
enum { LLMH_LOG_DEBUG = 1, LLMH_LOG_INFO = 2, LLMH_LOG_WARN = 3, LLMH_LOG_ERROR = 4 };

/* What the host offers a plugin. One object per plugin, valid until the process ends. */
typedef struct llmh_host llmh_host;
struct llmh_host {
  uint32_t struct_size;
  uint32_t minor; /* the negotiated minor: min(host, plugin) */

  /* A new error. `message` is one line: what is wrong, where, what to do. Both strings are copied. Never NULL: when
   * memory is short a preallocated status is returned. `code` LLMH_OK is turned into LLMH_INTERNAL. [thread-safe] */
  llmh_status* (*status_new)(const llmh_host* host, int32_t code, llmh_str message);

  /* One log line, copied; the host adds the plugin's id. [thread-safe] */
  void (*log)(const llmh_host* host, int32_t level, llmh_str message);

  /* A host extension by id and revision ("llmhost.reference/1"), or NULL when the host has none: then the caller
   * takes the default that the extension's documentation states. Valid until the process ends. [thread-safe] */
  const void* (*get_extension)(const llmh_host* host, llmh_str id);
};

/* Plugin kinds. */
enum { LLMH_KIND_ARCH = 1, LLMH_KIND_BACKEND = 2, LLMH_KIND_FINETUNE = 3 };

/* The exported table. Fill it with LLMH_PLUGIN (C) or the macros of plugin.hpp (C++). */
typedef struct llmh_plugin {
  uint32_t struct_size;
  uint32_t sdk_minor;      /* minor of the headers it was compiled with */
  uint32_t min_host_minor; /* oldest host minor it can work with */
  int32_t kind;            /* LLMH_KIND_*; equal to the manifest's */
  llmh_str id;             /* equal to the manifest's; static lifetime */
  llmh_str version;        /* of the plugin, "1.2.3"; static lifetime */

  /* Called once before anything else; may be called again, counted (init, init, quiesce, quiesce). `host` stays valid
   * for ever. NULL: nothing to initialise. [control] */
  llmh_status* (*init)(const llmh_host* host);

  /* The host is done: join threads, free what init made. No call follows but init. NULL: nothing to do. [control] */
  void (*quiesce)(void);

  /* The plugin's interfaces by id and revision; NULL for an unknown id. A plugin of kind arch answers
   * LLMH_ARCH_INTERFACE with a llmh_arch*, a backend LLMH_BACKEND_INTERFACE with a llmh_backend*, a fine-tuning method
   * LLMH_FINETUNE_INTERFACE with a llmh_finetune*; further ids are optional. Static lifetime. [thread-safe] */
  const void* (*get_extension)(llmh_str id);
} llmh_plugin;

#define LLMH_PLUGIN_SYMBOL "llmhost_plugin_v1"
#define LLMH_MANIFEST_SECTION ".llmhost"

#if defined(__GNUC__)
#define LLMH_EXPORT __attribute__((visibility("default")))
#else
#define LLMH_EXPORT
#endif

/* A llmh_str from a string literal; a constant expression in C and C++. */
#define LLMH_STR(literal) \
  { (literal), sizeof(literal) - 1 }

extern LLMH_EXPORT const llmh_plugin llmhost_plugin_v1;

/* Defines the exported table. The id and version come from the manifest through llmhost_add_plugin(), which defines
 * LLMH_PLUGIN_ID and LLMH_PLUGIN_VERSION; sizes and minors are filled in here. `init`, `quiesce` may be NULL. */
#define LLMH_PLUGIN(kind, init, quiesce, get_extension)                                                             \
  const llmh_plugin llmhost_plugin_v1 = {                                                                           \
      (uint32_t)sizeof(llmh_plugin), LLMH_SDK_MINOR, LLMH_MIN_HOST_MINOR, (kind),         LLMH_STR(LLMH_PLUGIN_ID), \
      LLMH_STR(LLMH_PLUGIN_VERSION), (init),         (quiesce),           (get_extension)}

/* What one call on the hot path may report or look at. Owned by the caller, valid during the call. */
typedef struct llmh_call {
  uint32_t struct_size;
  uint32_t message_capacity; /* bytes behind `message` */
  uint32_t message_len;      /* set by the callee when it fails */
  uint32_t reserved;
  char* message;                  /* one line; may stay empty */
  const volatile int32_t* cancel; /* not 0: stop soon and return LLMH_CANCELLED; NULL: cannot be cancelled */
} llmh_call;

/* The host's threads, lent to plugins, which start none of their own: a backend is given them when it opens a device
 * (llmh_open_args.thread_pool). */
typedef struct llmh_thread_pool llmh_thread_pool;
struct llmh_thread_pool {
  uint32_t struct_size;
  int32_t n_threads; /* the caller's included; `thread` below is in [0, n_threads) */

  /* Runs body(context, i, thread) for every i in [0, n_items) and returns when all have returned. Which thread takes
   * which item is not fixed, so results must not depend on it. [control] or [engine], never from a body: it is not
   * re-entrant. */
  void (*parallel_for)(const llmh_thread_pool* pool, int64_t n_items,
                       void (*body)(void* context, int64_t item, int32_t thread), void* context);
};

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_PLUGIN_H */

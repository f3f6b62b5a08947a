/* An architecture plugin in C11 that does nothing; SAMPLE_* macros give each test plugin its one fault. */
#include <stdlib.h>
#include <string.h>

#include "llmhost/arch.h"

#ifndef SAMPLE_SYMBOL
#define SAMPLE_SYMBOL llmhost_plugin_v1
#endif
#ifndef SAMPLE_TABLE_SIZE
#define SAMPLE_TABLE_SIZE sizeof(llmh_plugin)
#endif
#ifndef SAMPLE_SDK_MINOR
#define SAMPLE_SDK_MINOR LLMH_SDK_MINOR
#endif
#ifndef SAMPLE_MIN_HOST_MINOR
#define SAMPLE_MIN_HOST_MINOR 0
#endif
#ifndef SAMPLE_KIND
#define SAMPLE_KIND LLMH_KIND_ARCH
#endif
#ifndef SAMPLE_ID
#define SAMPLE_ID LLMH_PLUGIN_ID
#endif
#ifndef SAMPLE_INIT
#define SAMPLE_INIT init_ok
#endif
#ifndef SAMPLE_BUILD
#define SAMPLE_BUILD sample_build
#endif
#ifndef SAMPLE_ARCH_SIZE
#define SAMPLE_ARCH_SIZE sizeof(llmh_arch)
#endif
#ifndef SAMPLE_INTERFACE
#define SAMPLE_INTERFACE LLMH_ARCH_INTERFACE
#endif

int sample_from_a_library_that_is_gone(void);

static const llmh_host* the_host;

static inline llmh_status* init_ok(const llmh_host* host) {
  const llmh_str message = LLMH_STR("hello");
  the_host = host;
  host->log(host, LLMH_LOG_DEBUG, message);
  return NULL;
}
static inline llmh_status* init_error(const llmh_host* host) {
  const llmh_str message = LLMH_STR("no such device; switch it on");
  return host->status_new(host, LLMH_UNAVAILABLE, message);
}
static inline llmh_status* init_abort(const llmh_host* host) {
  (void)host;
  abort();
}

/* Declared for every plugin and linked only by the one that uses it. */
#define init_gone(host) (sample_from_a_library_that_is_gone() ? init_ok(host) : NULL)
static llmh_status* init(const llmh_host* host) {
  return SAMPLE_INIT(host);
}

static int32_t sample_match(const llmh_model* model) {
  (void)model;
  return LLMH_MATCH_NONE;
}
static llmh_status* sample_open(const llmh_model* model, llmh_arch_model** out) {
  const llmh_str message = LLMH_STR("sample models cannot be opened");
  (void)model;
  (void)out;
  return the_host->status_new(the_host, LLMH_UNIMPLEMENTED, message);
}
static void sample_close(llmh_arch_model* self) {
  (void)self;
}
static llmh_status* sample_describe(llmh_arch_model* self, llmh_model_info* info, llmh_state_sink* states) {
  (void)self;
  (void)info;
  (void)states;
  return NULL;
}
static llmh_status* sample_names(llmh_arch_model* self, const llmh_model* model, llmh_name_sink* sink) {
  (void)self;
  (void)model;
  (void)sink;
  return NULL;
}
static inline llmh_status* sample_build(llmh_arch_model* self, llmh_builder* builder) {
  (void)self;
  (void)builder;
  return NULL;
}

static const llmh_arch kArch = {(uint32_t)SAMPLE_ARCH_SIZE,
                                sample_match,
                                sample_open,
                                sample_close,
                                sample_describe,
                                sample_names,
                                SAMPLE_BUILD};

static int is_own_interface(llmh_str id) {
  static const char kInterface[] = SAMPLE_INTERFACE;
  return id.len == sizeof(kInterface) - 1 && memcmp(id.ptr, kInterface, sizeof(kInterface) - 1) == 0;
}

/* What it does not have itself it asks the host for, so that a test sees what reaches a plugin. */
static const void* get_extension(llmh_str id) {
  if (is_own_interface(id)) return &kArch;
  return the_host != NULL ? the_host->get_extension(the_host, id) : NULL;
}

extern LLMH_EXPORT const llmh_plugin SAMPLE_SYMBOL;
const llmh_plugin SAMPLE_SYMBOL = {(uint32_t)SAMPLE_TABLE_SIZE,
                                   SAMPLE_SDK_MINOR,
                                   SAMPLE_MIN_HOST_MINOR,
                                   SAMPLE_KIND,
                                   LLMH_STR(SAMPLE_ID),
                                   LLMH_STR(LLMH_PLUGIN_VERSION),
                                   init,
                                   NULL,
                                   get_extension};

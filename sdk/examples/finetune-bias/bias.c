/* BitFit (Ben Zaken et al. 2022): adds a trainable bias, zero at first, to the linears whose path ends in one
 * of target_modules. The C tables without any C++. */
#include <stdlib.h>
#include <string.h>

#include "llmhost/finetune.h"

static const llmh_host* the_host;

static llmh_str text(const char* literal) {
  const llmh_str str = {literal, strlen(literal)};
  return str;
}

static llmh_status* fail(int32_t code, const char* message) {
  return the_host->status_new(the_host, code, text(message));
}

struct llmh_method {
  uint32_t n_targets;
  llmh_str* targets; /* the config's own text */
};

static llmh_status* schema(llmh_schema_sink* sink) {
  llmh_key_spec key = {0};
  key.struct_size = sizeof key;
  key.type = LLMH_KEY_STRING_LIST;
  key.name = text("target_modules");
  key.documentation = text("names of the modules that get a bias");
  key.default_value = text("[q_proj, v_proj]");
  key.minimum = 1;
  return sink->add(sink, &key);
}

static void close_method(llmh_method* self) {
  free(self->targets);
  free(self);
}

static llmh_status* open_method(const llmh_config* config, llmh_method** out) {
  const llmh_str key = text("target_modules");
  llmh_method* self = calloc(1, sizeof *self);
  if (self == NULL) return fail(LLMH_RESOURCE_EXHAUSTED, "out of memory");
  llmh_status* status = config->get_size(config, key, &self->n_targets);
  if (status == NULL && self->n_targets > 0) {
    self->targets = calloc(self->n_targets, sizeof *self->targets);
    if (self->targets == NULL) status = fail(LLMH_RESOURCE_EXHAUSTED, "out of memory");
  }
  for (uint32_t i = 0; status == NULL && i < self->n_targets; ++i)
    status = config->get_list(config, key, i, &self->targets[i]);
  if (status != NULL) {
    close_method(self);
    return status;
  }
  *out = self;
  return NULL;
}

static int is_last_part(llmh_str path, llmh_str name) {
  if (name.len > path.len || memcmp(path.ptr + (path.len - name.len), name.ptr, name.len) != 0) return 0;
  return name.len == path.len || path.ptr[path.len - name.len - 1] == '.';
}

static llmh_status* select_modules(llmh_method* self, const llmh_base_model* model, uint32_t* choices) {
  for (uint32_t i = 0; i < model->n_modules; ++i)
    for (uint32_t k = 0; k < self->n_targets; ++k)
      if (model->modules[i]->kind == LLMH_MODULE_LINEAR &&
          is_last_part(model->modules[i]->path, self->targets[k]))
        choices[i] = LLMH_TUNE_REWRITE;
  return NULL;
}

static llmh_status* rewrite(llmh_method* self, llmh_builder* builder, const llmh_linear_info* linear,
                            llmh_tensor* out) {
  static const char kSuffix[] = ".delta_bias";
  const size_t path_len = (size_t)linear->path.len;
  llmh_tensor inputs[2] = {linear->y, LLMH_NO_TENSOR};
  llmh_status* status = NULL;
  char* name = malloc(path_len + sizeof kSuffix);
  (void)self;
  if (name == NULL) return fail(LLMH_RESOURCE_EXHAUSTED, "out of memory");
  memcpy(name, linear->path.ptr, path_len);
  memcpy(name + path_len, kSuffix, sizeof kSuffix);
  status =
      builder->parameter(builder, text(name), &linear->out_features, 1, LLMH_INIT_ZEROS, 0.0f, &inputs[1]);
  free(name);
  if (status != NULL) return status;
  return builder->add_node(builder, LLMH_OP_ADD, linear->path, inputs, 2, NULL, 0, out, 1);
}

static llmh_status* file_name(llmh_method* self, llmh_str parameter, char* name, uint64_t capacity,
                              uint64_t* len) {
  (void)self;
  if (parameter.len > capacity) return fail(LLMH_OUT_OF_RANGE, "the tensor's name does not fit");
  memcpy(name, parameter.ptr, (size_t)parameter.len);
  *len = parameter.len;
  return NULL;
}

static llmh_status* config_json(llmh_method* self, llmh_str* out) {
  (void)self;
  *out = text("{\"method\": \"bias\"}\n");
  return NULL;
}

static const llmh_finetune kFinetune = {
    .struct_size = sizeof(llmh_finetune),
    .schema = schema,
    .open = open_method,
    .close = close_method,
    .select = select_modules,
    .rewrite = rewrite,
    .file_name = file_name,
    .config_json = config_json,
};

static llmh_status* init(const llmh_host* host) {
  the_host = host;
  return NULL;
}

static const void* get_extension(llmh_str id) {
  const llmh_str own = text(LLMH_FINETUNE_INTERFACE);
  return id.len == own.len && memcmp(id.ptr, own.ptr, own.len) == 0 ? &kFinetune : NULL;
}

LLMH_PLUGIN(LLMH_KIND_FINETUNE, init, NULL, get_extension);

/* Fine-tuning plugins: methods that rewrite linear layers and own what is trainable. Plain C11.
 *
 * A method declares its YAML keys (that is their validation, their documentation and their --help), chooses modules,
 * and rewrites each chosen linear node into a subgraph with new trainable tensors. Gradients are the host's: the
 * rewritten graph is differentiated like any other. What it trains is written in the layout that PEFT reads. */
#ifndef LLMHOST_FINETUNE_H
#define LLMHOST_FINETUNE_H

#include "llmhost/op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMH_FINETUNE_INTERFACE "llmhost.finetune/1"

enum { LLMH_KEY_BOOL = 1, LLMH_KEY_INT = 2, LLMH_KEY_FLOAT = 3, LLMH_KEY_STRING = 4, LLMH_KEY_STRING_LIST = 5 };

/* One config key. Strings are copied. */
typedef struct llmh_key_spec {
  uint32_t struct_size;
  int32_t type;           /* LLMH_KEY_* */
  llmh_str name;          /* "r", "target_modules" */
  llmh_str documentation; /* one line with the unit */
  llmh_str default_value; /* as written in YAML; empty: the key is required */
  double minimum;         /* of INT and FLOAT; minimum > maximum: no range */
  double maximum;
  llmh_str choices; /* of STRING: "a|b|c"; empty: any */
} llmh_key_spec;

typedef struct llmh_schema_sink llmh_schema_sink;
struct llmh_schema_sink {
  uint32_t struct_size;
  llmh_status* (*add)(llmh_schema_sink*, const llmh_key_spec* key); /* [control] */
};

/* The validated config of a job; absent keys have their defaults. Strings live until close. Every function [control];
 * asking for an undeclared key is LLMH_INTERNAL. */
typedef struct llmh_config llmh_config;
struct llmh_config {
  uint32_t struct_size;
  llmh_status* (*get_int)(const llmh_config*, llmh_str key, int64_t* out); /* BOOL too: 0 or 1 */
  llmh_status* (*get_float)(const llmh_config*, llmh_str key, double* out);
  llmh_status* (*get_string)(const llmh_config*, llmh_str key, llmh_str* out);
  /* Of STRING_LIST: the number of items, and one of them; an index past the end is an error. */
  llmh_status* (*get_size)(const llmh_config*, llmh_str key, uint32_t* out);
  llmh_status* (*get_list)(const llmh_config*, llmh_str key, uint32_t index, llmh_str* out);
};

/* A linear node that a method may rewrite. */
typedef struct llmh_linear_info {
  uint32_t struct_size;
  int32_t has_bias;
  llmh_str path;           /* "model.layers.3.self_attn.q_proj" */
  int64_t in_features;     /* K */
  int64_t out_features;    /* N */
  llmh_dtype weight_dtype; /* of the stored base weight */
  llmh_tensor x;           /* [...,K] */
  llmh_tensor weight;      /* [N,K] */
  llmh_tensor bias;        /* [N] or LLMH_NO_TENSOR */
  llmh_tensor y;           /* [...,N]: the output of the untouched linear */
} llmh_linear_info;

typedef struct llmh_method llmh_method; /* a method with its config; the plugin's own object */

/* The interface of a fine-tuning plugin. Every function [control]. */
typedef struct llmh_finetune {
  uint32_t struct_size;

  /* Declares the config keys. */
  llmh_status* (*schema)(llmh_schema_sink* sink);

  /* Checks the config as a whole (contradictions between keys) and makes the method. `config` is valid until close. */
  llmh_status* (*open)(const llmh_config* config, llmh_method** out);
  void (*close)(llmh_method* self);

  /* *out = 1 when this linear is to be rewritten. */
  llmh_status* (*selects)(llmh_method* self, const llmh_linear_info* linear, int32_t* out);

  /* Adds the subgraph that replaces linear->y and returns its output, of the same shape. New tensors are made with
   * builder->parameter and named below the module path ("<path>.lora_A.weight"). */
  llmh_status* (*rewrite)(llmh_method* self, llmh_builder* builder, const llmh_linear_info* linear, llmh_tensor* out);

  /* The name a trained tensor has in the adapter file, written into `name` ([capacity], *len set; OUT_OF_RANGE when it
   * does not fit). `parameter` is the name given to builder->parameter. */
  llmh_status* (*file_name)(llmh_method* self, llmh_str parameter, char* name, uint64_t capacity, uint64_t* len);

  /* The adapter's config file (JSON text), valid until close. */
  llmh_status* (*config_json)(llmh_method* self, llmh_str* out);
} llmh_finetune;

/* --- Serving ------------------------------------------------------------------------------------------------------
 *
 * Extension of a fine-tuning plugin: reads an adapter folder of its method and says what the adapter does to each module
 * of a model, so that an engine can serve many adapters in one batch without knowing the method. */
#define LLMH_SERVING_DELTA_EXTENSION "llmhost.serving_delta/1"

/* What else is known of a module's weight. Bits. */
enum {
  LLMH_MODULE_TRANSPOSED = 1, /* files of this module hold the weight as [K,N] */
  LLMH_MODULE_LOSSY = 2       /* the base's weight is stored in fewer bits than it was made with */
};

/* A module of the model that an adapter is for. */
typedef struct llmh_base_module {
  uint32_t struct_size;
  int32_t kind;         /* LLMH_MODULE_*; FIXED: it has weights that no adapter of the engine can change */
  llmh_str path;        /* Hub module path ("model.layers.3.self_attn.q_proj") */
  int64_t in_features;  /* K; rows of the table of an embedding; D of a norm */
  int64_t out_features; /* N; D of an embedding or a norm */
  int32_t has_bias;
  uint32_t flags; /* LLMH_MODULE_TRANSPOSED, LLMH_MODULE_LOSSY */
} llmh_base_module;

typedef struct llmh_base_model llmh_base_model;
struct llmh_base_model {
  uint32_t struct_size;
  uint32_t n_modules;
  const llmh_base_module* const* modules; /* [n_modules], paths are unique */
  /* The module's base weight, decoded to f32: [N,K], a table [K,N], or [D]; `out` has room for it. */
  llmh_status* (*weight)(const llmh_base_model*, uint32_t module, float* out);
};

/* A tensor of the adapter's file, decoded to f32 and finite. */
typedef struct llmh_adapter_tensor {
  uint32_t struct_size;
  int32_t rank;
  int64_t shape[LLMH_MAX_RANK];
  llmh_str name; /* as in the file ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight") */
  const float* data;
} llmh_adapter_tensor;

typedef struct llmh_adapter_source {
  uint32_t struct_size;
  uint32_t n_tensors;
  const llmh_adapter_tensor* const* tensors; /* [n_tensors], names are unique */
  llmh_str config_json;                      /* adapter_config.json as it is */
} llmh_adapter_source;

/* What the adapter does to one module: the fields of llmh_site_delta (backend.h), by module. Data is copied. */
typedef struct llmh_module_delta {
  uint32_t struct_size;
  uint32_t module; /* index in modules; each at most once */
  int32_t rank;
  float scale;
  const float* a;
  const float* b;
  const float* b_bias;
  const float* row_scale;
  const float* weight;
  const float* bias;
} llmh_module_delta;

typedef struct llmh_delta_sink llmh_delta_sink;
struct llmh_delta_sink {
  uint32_t struct_size;
  llmh_status* (*add)(llmh_delta_sink*, const llmh_module_delta* delta);
  llmh_status* (*note)(llmh_delta_sink*, llmh_str text); /* one line for the log: a field that was ignored, and why */
};

/* Both functions [thread-safe]. */
typedef struct llmh_serving_delta {
  uint32_t struct_size;
  /* *out = 1 when this plugin's method made such an adapter, by its config file; a text that is no JSON object: 0. */
  llmh_status* (*claims)(llmh_str config_json, int32_t* out);
  /* Checks the whole adapter against the model, then adds its deltas. Refuses with the field or tensor, its value and
   * what was expected: a field that is not understood, a tensor without a place, a target without its tensors. */
  llmh_status* (*read)(const llmh_adapter_source* source, const llmh_base_model* model, llmh_delta_sink* sink);
} llmh_serving_delta;

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_FINETUNE_H */

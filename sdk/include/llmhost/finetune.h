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

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_FINETUNE_H */

/* Architecture plugins: how a family of models turns its config and checkpoint into a graph. Plain C11.
 *
 * The host reads the files; the plugin sees a read-only view of the config and of the tensors' names and shapes. It
 * never sees a file handle. For one model the host calls, in this order: match, open, names, describe, build (any
 * number of times), close. The same graph serves prefill, decode, every backend, every quantisation and every adapter.
 *
 * Config keys have the names of a Hub config.json whatever the file format (GGUF metadata is translated). Keys that
 * the plugin reads through llmh_model count as understood; every other key that may change the maths makes the load
 * fail with the list, unless the plugin names it with ignore_key. */
#ifndef LLMHOST_ARCH_H
#define LLMHOST_ARCH_H

#include "llmhost/op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMH_ARCH_INTERFACE "llmhost.arch/1"

/* Where the checkpoint comes from. */
enum { LLMH_FORMAT_HUB = 1 /* config.json and safetensors */, LLMH_FORMAT_GGUF = 2 };

/* Results of the typed getters. */
enum {
  LLMH_VALUE_ABSENT = 0, /* no such key, or null: `out` is untouched */
  LLMH_VALUE_OK = 1,
  LLMH_VALUE_WRONG_TYPE = -1 /* the key holds another type; the host has noted it and fails the load with it */
};

/* Read-only view of one checkpoint. Keys may be dotted paths into nested objects ("rope_scaling.factor") and may index
 * lists ("layer_types.3"). Strings and arrays stay valid until close. Every function [control]. */
typedef struct llmh_model llmh_model;
struct llmh_model {
  uint32_t struct_size;
  int32_t format; /* LLMH_FORMAT_* */

  int32_t (*get_int)(const llmh_model*, llmh_str key, int64_t* out);
  int32_t (*get_float)(const llmh_model*, llmh_str key, double* out); /* integers are accepted */
  int32_t (*get_bool)(const llmh_model*, llmh_str key, int32_t* out);
  int32_t (*get_string)(const llmh_model*, llmh_str key, llmh_str* out);
  /* Number of elements of a list, or of keys of an object. */
  int32_t (*get_size)(const llmh_model*, llmh_str key, int64_t* out);
  /* A list of numbers, copied into `out` ([capacity]); *n is its real length. */
  int32_t (*get_floats)(const llmh_model*, llmh_str key, double* out, int64_t capacity, int64_t* n);
  /* 1 when the key is there and not null, else 0. Asking does not count as reading. */
  int32_t (*has_key)(const llmh_model*, llmh_str key);
  /* Marks a key (and what is below it) as understood to have no effect on the maths. */
  void (*ignore_key)(const llmh_model*, llmh_str key);

  /* Whether the checkpoint holds the tensor with this name: the Hub's once names() has given the rules, before that (in
   * match and open) the stored one. Shape row-major, rank up to LLMH_MAX_RANK; both outputs may be NULL. Returns 1 or
   * 0. */
  int32_t (*has_tensor)(const llmh_model*, llmh_str name, int64_t* shape, int32_t* rank);

  /* For architectures that read a recipe off the checkpoint. The stored tensors, in the checkpoint's order: their
   * number, and the name of one (empty beyond the end). */
  int64_t (*n_tensors)(const llmh_model*);
  llmh_str (*tensor_name)(const llmh_model*, int64_t index);
  /* Key number `index` of the object at `object` (empty: the whole config); an empty string beyond the end. Does not count
   * as reading. */
  llmh_str (*key_name)(const llmh_model*, llmh_str object, int64_t index);
  /* LLMH_KIND_OF_*: what the key holds. Does not count as reading. */
  int32_t (*kind_of)(const llmh_model*, llmh_str key);
};

/* What kind_of returns. */
enum {
  LLMH_KIND_OF_NOTHING = 0, /* absent, or null */
  LLMH_KIND_OF_BOOL = 1,
  LLMH_KIND_OF_INT = 2,
  LLMH_KIND_OF_FLOAT = 3,
  LLMH_KIND_OF_STRING = 4,
  LLMH_KIND_OF_LIST = 5,
  LLMH_KIND_OF_OBJECT = 6
};

/* The score that match returns. */
enum {
  LLMH_MATCH_NONE = 0,
  LLMH_MATCH_INFERRED = 10, /* nobody described the model type; its recipe may be read off the checkpoint */
  LLMH_MATCH_ALIAS = 50,    /* another name for a family that this plugin covers */
  LLMH_MATCH_EXACT = 100
};

/* Kinds of per-sequence state. */
enum { LLMH_STATE_PAGED_KV = 1 /* keys and values of every token, in pages */ };

typedef struct llmh_state_spec {
  uint32_t struct_size;
  int32_t kind; /* LLMH_STATE_* */
  int32_t slot; /* the number that attention nodes use; usually the layer's index */
  int32_t n_kv_heads;
  int32_t k_head_dim;
  int32_t v_head_dim;
  int32_t window; /* tokens that attention looks back; 0: all */
} llmh_state_spec;

/* Filled by describe. Counts are those of the text model. */
typedef struct llmh_model_info {
  uint32_t struct_size;
  int32_t n_layers;
  int64_t hidden_size;
  int64_t vocab_size;
  int64_t context_length; /* tokens the checkpoint says it can attend to, rope scaling included */
  int32_t n_heads;
  int32_t n_kv_heads;
  int32_t head_dim;
  int32_t tied_embeddings; /* the output head is the embedding table */
} llmh_model_info;

/* One change on the way from the stored tensor to the Hub's. The host applies them when it loads. */
enum {
  LLMH_LAYOUT_SAME = 0, /* no change */
  /* Rows of each head are stored with rotary pairs adjacent (2i, 2i+1) where the Hub has halves (i, i + Dh/2).
   * arg0: number of heads; the row count must be a multiple of 2 * arg0. Of a vector the elements are the rows. */
  LLMH_LAYOUT_ROTARY_PAIRS = 1,
  LLMH_LAYOUT_TRANSPOSED = 2, /* stored [in,out]; the Hub name wants [out,in]. A vector stays as it is. */
  LLMH_LAYOUT_ROWS = 3,       /* rows [arg0, arg1) of a fused tensor; of a vector the elements are the rows */
  LLMH_LAYOUT_STRIDED_ROWS =
      4,                /* of each arg0 consecutive rows those in [arg1, arg2): one part of a tensor that is fused
                                   head by head */
  LLMH_LAYOUT_SPLIT = 5 /* [arg0 * R, ...] becomes [arg0, R, ...]: experts stored one below the other */
};
/* Of a stack of matrices [E,R,C], TRANSPOSED, ROWS and STRIDED_ROWS change each matrix. */

/* A LLMH_LAYOUT_* with its arguments. A frozen value: a layout that needs more gets a struct of its own. */
typedef struct llmh_layout_step {
  int32_t layout;   /* LLMH_LAYOUT_*; one that the host does not know is an error */
  int32_t reserved; /* 0 */
  int64_t arg0;     /* 0 where the layout has none, as the next two */
  int64_t arg1;
  int64_t arg2;
} llmh_layout_step;

/* How a stored tensor is found and what becomes of it. Names are patterns: each may hold "{i}" (the layer) and "{j}" (the
 * expert) once, which stand for the same decimal index on both sides; the Hub's holds none that the stored one lacks.
 * Where only the stored one has "{j}", the tensors with indices 0, 1, 2 … are stacked along a new first dimension (after
 * their steps); a gap is an error. What follows an index in a pattern is not a digit. Everything is copied. */
typedef struct llmh_name_rule {
  uint32_t struct_size;
  uint32_t n_steps;
  llmh_str hub_name;             /* "model.layers.{i}.mlp.experts.{j}.up_proj.weight" */
  llmh_str stored_name;          /* "blk.{i}.ffn_up.{j}.weight" */
  const llmh_layout_step* steps; /* [n_steps], applied one after the other, the first to the stored tensor; none: as
                                    stored */
} llmh_name_rule;

/* Receives the name rules. Every rule that fits a stored name applies, so that a fused tensor serves several Hub names; a
 * stored name that no rule fits is itself the Hub name. [control] */
typedef struct llmh_name_sink llmh_name_sink;
struct llmh_name_sink {
  uint32_t struct_size;
  llmh_status* (*map)(llmh_name_sink*, const llmh_name_rule* rule);
  /* Stored tensors, by pattern, that may be there and are not needed (masks, inv_freq, a second copy of tied
   * embeddings). */
  llmh_status* (*ignore)(llmh_name_sink*, llmh_str stored_name);
};

/* Receives the per-sequence state the model needs. [control] */
typedef struct llmh_state_sink llmh_state_sink;
struct llmh_state_sink {
  uint32_t struct_size;
  llmh_status* (*add)(llmh_state_sink*, const llmh_state_spec* spec);
};

/* A parsed config; the plugin's own object. */
typedef struct llmh_arch_model llmh_arch_model;

/* The interface of an architecture plugin. */
typedef struct llmh_arch {
  uint32_t struct_size;

  /* How well this plugin fits the checkpoint: LLMH_MATCH_*. Reads "model_type" and whatever else it needs; what it
   * reads does not count as understood yet. [control] */
  int32_t (*match)(const llmh_model* model);

  /* Parses and checks the config once. `model` stays valid until close. On success *out is the plugin's. An
   * unsupported variant is an error that names the key and its value. [control] */
  llmh_status* (*open)(const llmh_model* model, llmh_arch_model** out);
  void (*close)(llmh_arch_model* self);

  /* Hyperparameters (`info` is zeroed, struct_size set) and state. [control] */
  llmh_status* (*describe)(llmh_arch_model* self, llmh_model_info* info, llmh_state_sink* states);

  /* How stored names map to Hub names, for the checkpoint's format (model->format). Called right after open, before
   * describe: from then on has_tensor goes by Hub names. [control] */
  llmh_status* (*names)(llmh_arch_model* self, const llmh_model* model, llmh_name_sink* sink);

  /* Adds the whole model to the graph and marks its outputs (at least LLMH_OUTPUT_LOGITS). [control] */
  llmh_status* (*build)(llmh_arch_model* self, llmh_builder* builder);
} llmh_arch;

/* --- Recipes -------------------------------------------------------------------------------------------------------
 *
 * An architecture plugin that works out how a model is built, rather than knowing it, answers LLMH_RECIPE_INTERFACE in
 * llmhost_plugin_v1.get_extension as well. Absent: there is nothing to tell. */

#define LLMH_RECIPE_INTERFACE "llmhost.recipe/1"

/* One choice of a recipe. Valid during the call. */
typedef struct llmh_recipe_choice {
  uint32_t struct_size;
  int32_t
      certainty;   /* percent: 100 is stated by the checkpoint, below 60 is a common default that nothing contradicts */
  llmh_str what;   /* "attention.rope.style" */
  llmh_str value;  /* "halves" */
  llmh_str source; /* where it comes from: "config: rope_theta", "tensor: model.layers.0.mlp.gate_proj.weight" */
} llmh_recipe_choice;

typedef struct llmh_recipe {
  uint32_t struct_size;
  /* Calls `take` once for each choice, in a readable order. Of an opened model, after names. [control] */
  llmh_status* (*choices)(llmh_arch_model* self, void* context,
                          void (*take)(void* context, const llmh_recipe_choice* choice));
  /* The recipe as a declarative architecture (YAML), given to `take` in one piece. [control] */
  llmh_status* (*text)(llmh_arch_model* self, void* context, void (*take)(void* context, llmh_str text));
} llmh_recipe;

/* --- Documents -----------------------------------------------------------------------------------------------------
 *
 * Text files that plugins of a kind read, kept by the host: those that came with it and those of the user. A host
 * extension (llmh_host.get_extension). Absent: there are none. */

#define LLMH_DOCUMENTS_INTERFACE "llmhost.documents/1"

typedef struct llmh_document {
  uint32_t struct_size;
  llmh_str name;   /* file name without folder and ending */
  llmh_str origin; /* for messages: the file's path, or "built in: <path in the project>" */
  llmh_str text;
} llmh_document;

/* The documents of a subject ("archs"), the user's first. Valid until the process ends. [control] */
typedef struct llmh_documents {
  uint32_t struct_size;
  int64_t (*count)(const llmh_host* host, llmh_str subject);
  llmh_status* (*get)(const llmh_host* host, llmh_str subject, int64_t index, llmh_document* out);
} llmh_documents;

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_ARCH_H */

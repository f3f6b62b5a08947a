/* Fine-tuning plugins: methods that choose what is trained and rewrite modules. Plain C11.
 *
 * A method declares its YAML keys (that is their validation, their documentation and their --help), looks at the
 * modules of the model, chooses those whose own weights are trained, and rewrites others into subgraphs with new
 * trainable tensors. Gradients are the host's: the rewritten graph is differentiated like any other. What it trains is
 * written in the layout that PEFT reads, or as a whole model. */
#ifndef LLMHOST_FINETUNE_H
#define LLMHOST_FINETUNE_H

#include "llmhost/op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMH_FINETUNE_INTERFACE "llmhost.finetune/1"

enum {
  LLMH_KEY_BOOL = 1,
  LLMH_KEY_INT = 2,
  LLMH_KEY_FLOAT = 3,
  LLMH_KEY_STRING = 4,
  LLMH_KEY_STRING_LIST = 5,
  LLMH_KEY_STRING_OR_LIST = 6, /* one text, or a list of them: get_kind tells which was written */
  LLMH_KEY_MAP = 7             /* texts by name, in the order of the file: get_list gives a name, get_value its text */
  /* Texts of lists and maps are scalars as they were written: "4" may be a number. */
};

/* One config key. Strings are copied. */
typedef struct llmh_key_spec {
  uint32_t struct_size;
  int32_t type;           /* LLMH_KEY_* */
  llmh_str name;          /* "r", "target_modules" */
  llmh_str documentation; /* one line with the unit */
  llmh_str default_value; /* as written in YAML ("[]", "{}", "''"); empty: the key is required */
  double minimum;         /* of INT and FLOAT; minimum > maximum: no range */
  double maximum;
  llmh_str choices; /* of STRING: "a|b|c"; empty: any */
  llmh_str
      aliases; /* other names of the key: "lora_rank|rank"; empty: none. Two names of one key in a file are an error */
} llmh_key_spec;

typedef struct llmh_schema_sink llmh_schema_sink;
struct llmh_schema_sink {
  uint32_t struct_size;
  llmh_status* (*add)(llmh_schema_sink*, const llmh_key_spec* key); /* [control] */
};

/* The validated config of a job; absent keys have their defaults. Keys are asked for by their names, not by aliases.
 * Strings live until close. Every function [control]; asking for an undeclared key is LLMH_INTERNAL. */
typedef struct llmh_config llmh_config;
struct llmh_config {
  uint32_t struct_size;
  llmh_status* (*get_int)(const llmh_config*, llmh_str key, int64_t* out); /* BOOL too: 0 or 1 */
  llmh_status* (*get_float)(const llmh_config*, llmh_str key, double* out);
  llmh_status* (*get_string)(const llmh_config*, llmh_str key, llmh_str* out);
  /* Of STRING_LIST, STRING_OR_LIST and MAP: the number of items, and one of them; an index past the end is an error. A
   * STRING_OR_LIST that is one text has one item. */
  llmh_status* (*get_size)(const llmh_config*, llmh_str key, uint32_t* out);
  llmh_status* (*get_list)(const llmh_config*, llmh_str key, uint32_t index, llmh_str* out);
  /* Of STRING_OR_LIST: LLMH_KEY_STRING or LLMH_KEY_STRING_LIST. */
  llmh_status* (*get_kind)(const llmh_config*, llmh_str key, int32_t* out);
  llmh_status* (*get_value)(const llmh_config*, llmh_str key, uint32_t index, llmh_str* out); /* of MAP */
  /* *out = 1 when the key was written, 0 when it has its default. */
  llmh_status* (*is_given)(const llmh_config*, llmh_str key, int32_t* out);
};

/* --- The base model as methods see it ------------------------------------------------------------------------------ */

/* What else is known of a module's weight. Bits. */
enum {
  LLMH_MODULE_TRANSPOSED = 1, /* files of this module hold the weight as [K,N] */
  LLMH_MODULE_LOSSY = 2,      /* the base's weight is stored in fewer bits than it was made with */
  LLMH_MODULE_HEAD = 4,       /* gives the logits */
  LLMH_MODULE_IN_BLOCK = 8,   /* of one of the model's repeated layers */
  LLMH_MODULE_EXPERTS = 16    /* FIXED: the stacked weights of routed experts */
};

/* A module of the model. */
typedef struct llmh_base_module {
  uint32_t struct_size;
  int32_t kind;        /* LLMH_MODULE_LINEAR, _EMBEDDING, _NORM; FIXED: it has weights that no adapter of the engine can
                           change */
  llmh_str path;       /* Hub module path ("model.layers.3.self_attn.q_proj") */
  int64_t in_features; /* K; rows of the table of an embedding; D of a norm; 0 of FIXED */
  int64_t out_features; /* N; D of an embedding or a norm; 0 of FIXED */
  int32_t has_bias;
  uint32_t flags;     /* LLMH_MODULE_* bits */
  uint64_t n_weights; /* elements of its weight and bias, or of all its weights; 0: not known */
} llmh_base_module;

typedef struct llmh_base_model llmh_base_model;
struct llmh_base_model {
  uint32_t struct_size;
  uint32_t n_modules;
  const llmh_base_module* const* modules; /* [n_modules], paths are unique */
  /* The module's base weight as it is held (with what `base` asked for), decoded to f32: [N,K], a table [K,N], or [D];
   * `out` has room for it. Not of FIXED. A model that is only described (a support matrix) has none:
   * LLMH_FAILED_PRECONDITION. */
  llmh_status* (*weight)(const llmh_base_model*, uint32_t module, float* out);
  llmh_str name; /* what the user calls the model: a path or an id */
};

/* What is trained of a module. Bits. */
enum {
  LLMH_TUNE_REWRITE = 1, /* LINEAR and EMBEDDING: rewrite() is called for each node of it */
  LLMH_TUNE_WEIGHT = 2,  /* its weight, under the Hub name of the weight; of FIXED: all its weights */
  LLMH_TUNE_BIAS = 4,    /* its bias; nothing when it has none */
  LLMH_TUNE_UNTIED = 8   /* with WEIGHT: a weight that other modules share becomes this module's own copy,
                            "<path>.weight"; without, the sharing modules must all choose WEIGHT and stay tied */
};

/* A node that a method is to rewrite. */
typedef struct llmh_linear_info {
  uint32_t struct_size;
  int32_t kind;            /* LLMH_MODULE_LINEAR or LLMH_MODULE_EMBEDDING */
  uint32_t module;         /* index in the modules */
  llmh_dtype weight_dtype; /* of the stored base weight */
  llmh_str path;           /* "model.layers.3.self_attn.q_proj" */
  int64_t in_features;     /* K; rows of the table */
  int64_t out_features;    /* N; D of a table */
  llmh_tensor x;           /* [...,K]; of an embedding ids i32 [T] */
  llmh_tensor weight;      /* [N,K]; of an embedding [K,N] */
  llmh_tensor bias;        /* [N] or LLMH_NO_TENSOR */
  llmh_tensor y;           /* [...,N]: the output of the untouched module */
} llmh_linear_info;

/* How the frozen base is to be held. Comes zeroed with struct_size set: as it is stored. */
typedef struct llmh_base_request {
  uint32_t struct_size;
  llmh_dtype linear_dtype;  /* LLMH_DTYPE_NF4 or _FP4: linears inside the blocks whose weights are not quantised yet are
                               quantised at load; INVALID: they stay */
  int32_t double_quant;     /* 1: the block maxima are quantised to 8 bits too (Dettmers et al. 2023, section 3) */
  llmh_dtype compute_dtype; /* LLMH_DTYPE_F32, _BF16 or _F16: what products with the base round activations to; INVALID:
                               as the job says */
} llmh_base_request;

typedef struct llmh_method llmh_method; /* a method with its config; the plugin's own object */

/* The adapter files, as methods get and give them. */

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

/* A tensor that goes into the adapter's file besides what is trained: a copy of a frozen weight, or the method's own. */
typedef struct llmh_file_tensor {
  uint32_t struct_size;
  int32_t module;   /* the base weight of this module, in the layout of the base's files; -1: what follows */
  llmh_dtype dtype; /* LLMH_DTYPE_F32 or _I32 */
  int32_t rank;
  int64_t shape[LLMH_MAX_RANK];
  const void* data; /* valid until close */
  llmh_str name;    /* in the file; valid until close. Empty: there is no tensor of this index */
} llmh_file_tensor;

/* What `applies` answers. */
enum {
  LLMH_FIT_YES = 0,
  LLMH_FIT_WARNING = 1, /* it applies, and the reason says what to mind */
  LLMH_FIT_NO = 2       /* it does not, for this reason */
};

/* The interface of a fine-tuning plugin. Every function [control]. The order is schema; open or open_adapter; base and
 * applies; select, then rewrite for each node and attention for each attention, all of it once for every graph that is
 * made (the same model gives the same graph); file_name, config_json and file_tensor after the first of them. */
typedef struct llmh_finetune {
  uint32_t struct_size;

  /* Declares the config keys. */
  llmh_status* (*schema)(llmh_schema_sink* sink);

  /* Checks the config as a whole (contradictions between keys) and makes the method. `config` is valid until close. */
  llmh_status* (*open)(const llmh_config* config, llmh_method** out);
  void (*close)(llmh_method* self);

  /* The choice for each module, LLMH_TUNE_* bits in choices [model->n_modules], zeroed. Refuses names that match no module
   * and modules that the method cannot train. The model is valid until the next select or close. */
  llmh_status* (*select)(llmh_method* self, const llmh_base_model* model, uint32_t* choices);

  /* Adds the subgraph that replaces linear->y and returns its output, of the same shape. New tensors are made with
   * builder->parameter or parameter_data and named below the module path ("<path>.lora_A.weight"); nodes that use
   * linear->y, or linear->weight and linear->bias, keep the base's part. A module that runs twice is rewritten twice; the
   * same name and shape give the same parameter. */
  llmh_status* (*rewrite)(llmh_method* self, llmh_builder* builder, const llmh_linear_info* linear, llmh_tensor* out);

  /* The name a trained tensor has in the adapter file, written into `name` ([capacity], *len set; OUT_OF_RANGE when it
   * does not fit). `parameter` is the name given to builder->parameter, or that of a trained weight or bias. */
  llmh_status* (*file_name)(llmh_method* self, llmh_str parameter, char* name, uint64_t capacity, uint64_t* len);

  /* The adapter's config file (JSON text), valid until the next call of it or close. Empty: the method makes no adapter
   * but a whole model, the checkpoint with the trained weights in it; file_name then gives the names of the checkpoint. */
  llmh_status* (*config_json)(llmh_method* self, llmh_str* out);

  /* --- Optional: NULL when the method has no use for it --- */

  /* Makes the method from an adapter that it wrote, or that PEFT did, to go on training it or to differentiate with it.
   * The host reads the values of what is trained by file_name. `source` is valid during the call. */
  llmh_status* (*open_adapter)(const llmh_adapter_source* source, llmh_method** out);
  /* What the method asks of the base. */
  llmh_status* (*base)(llmh_method* self, llmh_base_request* request);
  /* The top_k_ratio of the attention at `path` (llmh_attention_attrs); comes as the model has it. */
  llmh_status* (*attention)(llmh_method* self, llmh_str path, float* top_k_ratio);
  /* Frozen tensors of the adapter's file, asked for with index 0, 1, ... until the name stays empty. Comes zeroed with
   * struct_size set and module -1. */
  llmh_status* (*file_tensor)(llmh_method* self, uint32_t index, llmh_file_tensor* out);
  /* Whether the method, with its config, fits this architecture: *verdict LLMH_FIT_*, `reason` one line that is valid until
   * the next call of it or close. Asked by the support matrix, with the defaults as config, and before a job. */
  llmh_status* (*applies)(llmh_method* self, const llmh_base_model* model, int32_t* verdict, llmh_str* reason);
} llmh_finetune;

/* --- Steps ---------------------------------------------------------------------------------------------------------
 *
 * Extension of a fine-tuning plugin that looks at weights and gradients between the backward pass and the optimiser. */
#define LLMH_TUNING_STEPS_EXTENSION "llmhost.tuning_steps/1"

/* A trained tensor with its gradient and what the optimiser remembers of it. Memory is the host's. */
typedef struct llmh_tuned_tensor {
  uint32_t struct_size;
  int32_t rank;
  int64_t shape[LLMH_MAX_RANK];
  llmh_str name;
  uint64_t n;      /* elements */
  float* value;    /* [n] */
  float* gradient; /* [n], of the mean loss of the step, before clipping; NULL in start */
  /* Moments of the optimiser, [n] each, or NULL where it keeps none of this shape. */
  float* first_moment;
  float* second_moment;
} llmh_tuned_tensor;

typedef struct llmh_step_info {
  uint32_t struct_size;
  int32_t reserved; /* 0 */
  int64_t step;     /* from 1; counts steps that the optimiser leaves out, too */
  int64_t n_steps;  /* of the job */
} llmh_step_info;

/* Every function [control]; tensors come in the same order each time. */
typedef struct llmh_tuning_steps {
  uint32_t struct_size;
  /* Once, when the values are those that the job starts from (not after a resume). */
  llmh_status* (*start)(llmh_method* self, const llmh_tuned_tensor* const* tensors, uint32_t n);
  /* May change values, gradients and moments. *updates = 0: the optimiser leaves this step out (its own count stands
   * still; the schedule of the rate goes on). Gradient norms are taken and clipped after it. */
  llmh_status* (*before_update)(llmh_method* self, const llmh_step_info* step, const llmh_tuned_tensor* const* tensors,
                                uint32_t n, int32_t* updates);
  llmh_status* (*after_update)(llmh_method* self, const llmh_step_info* step, const llmh_tuned_tensor* const* tensors,
                               uint32_t n);
  /* What the method remembers from step to step, for checkpoints; load_state comes in place of start when a job is
   * resumed, and refuses a state that is not its own. */
  llmh_status* (*state_bytes)(llmh_method* self, uint64_t* out);
  llmh_status* (*save_state)(llmh_method* self, void* out, uint64_t bytes);
  llmh_status* (*load_state)(llmh_method* self, const void* state, uint64_t bytes);
} llmh_tuning_steps;

/* --- Serving ------------------------------------------------------------------------------------------------------
 *
 * Extension of a fine-tuning plugin: reads an adapter folder of its method and says what the adapter does to each module
 * of a model, so that an engine can serve many adapters in one batch without knowing the method. */
#define LLMH_SERVING_DELTA_EXTENSION "llmhost.serving_delta/1"

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

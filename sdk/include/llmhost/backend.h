/* Backend plugins: devices that hold weights and state and run whole graphs. Plain C11.
 *
 * For one model the host calls: device_count, device_info, open, supports (while it decomposes and fuses the graph), weight_bytes and
 * state_page_bytes (to plan memory before anything is loaded), prepare_weight for each weight, buffer_alloc for state
 * and arena, scratch_bytes, compile, then run once a step. Whole graphs are handed over, not single ops, so that a
 * backend is free to fuse, to capture and to plan threads.
 *
 * A backend that claims few ops gets decompositions, and may run what is left through the host's reference evaluator
 * (LLMH_REFERENCE_EXTENSION); simple_backend.hpp has that loop ready. */
#ifndef LLMHOST_BACKEND_H
#define LLMHOST_BACKEND_H

#include "llmhost/arch.h"
#include "llmhost/op.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMH_BACKEND_INTERFACE "llmhost.backend/1"

typedef struct llmh_instance llmh_instance; /* an opened device */
typedef struct llmh_buffer llmh_buffer;     /* an allocation on a device */
typedef struct llmh_weight llmh_weight;     /* a weight in the backend's own layout */
typedef struct llmh_program llmh_program;   /* a compiled graph */

typedef struct llmh_device_info {
  uint32_t struct_size;
  int32_t host_visible;  /* 1: buffer_map gives pointers that the CPU may use */
  llmh_str name;         /* "AMD EPYC 9B14, avx512"; static lifetime */
  uint64_t memory_bytes; /* in all; 0: unknown */
  uint64_t memory_free;  /* now; 0: unknown */
} llmh_device_info;

/* One option from the config, as text; the backend parses it and refuses what it does not know. */
typedef struct llmh_option {
  llmh_str key;
  llmh_str value;
} llmh_option;

/* How products with stored weights are computed. */
enum {
  LLMH_PRECISION_F32 = 0,   /* activations stay f32, whatever the weights' type */
  LLMH_PRECISION_NATIVE = 1 /* activations may be rounded to what the device multiplies fastest with the weights' type,
                               but not below: 8 bits with a scale for each 32 elements where weights are of 8 bits or
                               fewer, bf16 where they are bf16, f32 elsewhere */
};

typedef struct llmh_open_args {
  uint32_t struct_size;
  uint32_t device;            /* below device_count() */
  const llmh_option* options; /* [n_options]; valid during open */
  uint32_t n_options;
  uint32_t precision;                  /* LLMH_PRECISION_*; what a backend does not know or have means F32 */
  const llmh_thread_pool* thread_pool; /* valid until close; NULL: run on the calling thread */
} llmh_open_args;

/* What a buffer will hold. Bits; a hint for where to put it: any buffer may still be written, read and mapped. */
enum {
  LLMH_BUFFER_WEIGHTS = 1,
  LLMH_BUFFER_STATE = 2,   /* pages that outlive a step */
  LLMH_BUFFER_ARENA = 4,   /* activations of one step */
  LLMH_BUFFER_SCRATCH = 8, /* a program's own */
  LLMH_BUFFER_STAGING = 16 /* bytes on their way between host and device */
};

typedef struct llmh_buffer_args {
  uint32_t struct_size;
  uint32_t uses; /* LLMH_BUFFER_*; bits that the backend does not know are ignored */
  uint64_t bytes;
} llmh_buffer_args;

/* How a weight is used, which decides how a backend may lay it out. Bits. */
enum {
  LLMH_USE_LINEAR = 1,  /* second input of LINEAR, MATMUL or EXPERT_LINEAR, whose is [E,N,K] */
  LLMH_USE_TABLE = 2,   /* first input of EMBEDDING or GATHER */
  LLMH_USE_VECTOR = 4,  /* anything else: norms, biases, slopes; dequantised to f32 by the host before */
  LLMH_USE_TRAINING = 8 /* besides: read in both directions by a few large steps; better kept as stored, in place where
                           data_outlives, than in a second layout */
};

/* What else is known of a weight's data. Bits. */
enum {
  LLMH_SOURCE_MAPPED = 1 /* data is a private, read-only mapping of a file: whole pages that are wanted no more may be
                            taken off resident memory (MADV_DONTNEED), they are read again when they are */
};

typedef struct llmh_weight_source {
  uint32_t struct_size;
  llmh_dtype dtype;
  int32_t rank;
  uint32_t uses;                /* LLMH_USE_* */
  int64_t shape[LLMH_MAX_RANK]; /* row-major */
  llmh_str name;                /* Hub name */
  const void* data;             /* [bytes], rows contiguous; NULL when only sizes are asked for */
  uint64_t bytes;
  int32_t data_outlives; /* 1: data stays valid and unchanged until release_weight, so it may be used in place */
  uint32_t flags;        /* LLMH_SOURCE_*; bits that the backend does not know are ignored */
} llmh_weight_source;

/* The most that one step will hold; buffers are sized by it. */
typedef struct llmh_limits {
  uint32_t struct_size;
  int32_t max_tokens;       /* T */
  int32_t max_sequences;    /* S */
  int32_t max_outputs;      /* R */
  int64_t max_state;        /* positions of one sequence */
  int32_t max_adapter_rank; /* largest rank of a low-rank change; 0: steps have no adapters */
  int32_t reserved;         /* 0 */
} llmh_limits;

/* Where a range of device memory lies. */
typedef struct llmh_range {
  llmh_buffer* buffer;
  uint64_t offset;
  uint64_t bytes;
} llmh_range;

/* The paged state of one slot. Page p starts at range.offset + p * page_bytes; its inner layout is the backend's. */
typedef struct llmh_state_view {
  uint32_t struct_size;
  int32_t slot;
  int32_t page_tokens; /* positions a page holds */
  llmh_dtype dtype;    /* of the stored keys and values: f32, f16, bf16, or q8_0: 8 bits with a scale for each 32
                          elements of a row, laid out as the backend likes */
  uint64_t page_bytes;
  llmh_range range;
} llmh_state_view;

typedef struct llmh_compile_args {
  uint32_t struct_size;
  uint32_t n_states;
  const llmh_graph* graph;       /* valid until release_program */
  const llmh_limits* limits;     /* valid during compile */
  llmh_weight* const* weights;   /* [graph->n_tensors]; NULL where the tensor is no weight; valid as the graph */
  const uint64_t* arena_offsets; /* [n_tensors] bytes from arena.offset at which an activation of the largest size
                                         has its place while it lives; UINT64_MAX for other tensors; valid during
                                         compile */
  llmh_range arena;              /* activations */
  llmh_range scratch;            /* of scratch_bytes() bytes, the program's own */
  const llmh_state_view* const* states; /* [n_states]; valid during compile */
  const llmh_range*
      parameters; /* [n_tensors]: the memory of tensors of role PARAMETER, dense f32; may be NULL when there
                                   are none. The host reads and writes it between steps; valid during compile */
} llmh_compile_args;

/* --- Adapters: changes to single modules, for the tokens of some sequences ---------------------------------------- */

typedef struct llmh_adapter llmh_adapter; /* an adapter in the backend's own layout */

/* What an adapter does at one site (llmh_site_attrs). Of a linear, for a row x:
 *     y = g o (x W^T + s ((x A^T) B^T + beta)) + b
 * with W and b the base's unless they are replaced; g is 1, beta 0 and the middle term absent where not given. Of an
 * embedding, for id t: y = E[t] + s (B A[:,t]). Of a norm: its weight and bias replaced. Fields without a meaning for
 * the kind are NULL and 0. All data is f32, row-major. */
typedef struct llmh_site_delta {
  uint32_t struct_size;
  int32_t site;
  int32_t kind;           /* LLMH_MODULE_LINEAR, _EMBEDDING or _NORM: says what `weight` holds */
  int32_t reserved;       /* 0 */
  int64_t in_features;    /* K; rows of the table for an embedding; D for a norm */
  int64_t out_features;   /* N; D for an embedding and a norm */
  int32_t rank;           /* r; 0: no low-rank term */
  float scale;            /* s */
  const float* a;         /* [r,K], or NULL */
  const float* b;         /* [N,r], or NULL */
  const float* b_bias;    /* beta [N], or NULL */
  const float* row_scale; /* g [N], or NULL */
  const float* weight;    /* W [N,K], a table [K,N] or a norm's [D], or NULL: the base's */
  const float* bias;      /* b [N], or NULL: the base's */
} llmh_site_delta;

/* The rows of one adapter in a step: those of the tokens, and those of the outputs (which of the R output rows). */
typedef struct llmh_adapter_segment {
  const llmh_adapter* adapter;
  const int32_t* token_rows;  /* [n_token_rows] ascending */
  const int32_t* output_rows; /* [n_output_rows] ascending, in [0,R) */
  int32_t n_token_rows;
  int32_t n_output_rows;
} llmh_adapter_segment;

/* One step: ragged tokens of several sequences. Sequence s owns tokens [sequence_begin[s], sequence_begin[s+1]), which
 * have ascending consecutive positions. All arrays are the host's, valid during run, in host memory. */
typedef struct llmh_step {
  uint32_t struct_size;
  int32_t n_tokens;
  int32_t n_sequences;
  int32_t n_outputs;
  int32_t page_table_stride;     /* pages a row of page_table holds */
  int32_t reserved;              /* 0 */
  int64_t n_state;               /* L: sum of state_lengths */
  const int32_t* token_ids;      /* [T] */
  const int32_t* positions;      /* [T] */
  const int32_t* rope_lengths;   /* [T] */
  const int32_t* token_sequence; /* [T] index of the token's sequence */
  const int32_t* output_rows;    /* [R] */
  const int32_t* sequence_begin; /* [S+1] */
  const int32_t* state_lengths;  /* [S] positions in the state once this step's tokens are written */
  const int32_t* page_table;     /* [S, page_table_stride] page of positions [i*page_tokens, (i+1)*page_tokens) */
  const llmh_adapter_segment* adapter_segments; /* [n_adapter_segments]; each adapter once; rows in none of them are the
                                                   base's. Made once a step, for all layers */
  int32_t n_adapter_segments;
  int32_t reserved2;     /* 0 */
  const int32_t* labels; /* [R] of LLMH_INPUT_LABELS; may be NULL when the graph has no such input */
  uint64_t dropout_seed; /* of LLMH_OP_DROPOUT; 0: nothing is dropped */
} llmh_step;

/* The interface of a backend plugin. */
typedef struct llmh_backend {
  uint32_t struct_size;

  /* How many devices there are; none is not an error: *n is 0. [control] */
  llmh_status* (*device_count)(uint32_t* n);
  /* Describes a device below device_count(). `out` comes zeroed with struct_size set; nothing beyond it is written.
   * [control] */
  llmh_status* (*device_info)(uint32_t index, llmh_device_info* out);

  llmh_status* (*open)(const llmh_open_args* args, llmh_instance** out); /* [control] */
  void (*close)(llmh_instance*);                                         /* after everything made from it [control] */

  /* 1 when the backend runs this node of the graph itself, else 0. It looks at dtypes and at every attribute: 0 for an
   * op or an enum value that it does not know. [thread-safe] */
  int32_t (*supports)(llmh_instance*, const llmh_graph* graph, uint32_t node);

  /* Device memory, aligned to at least 256 bytes, zeroed. 0 bytes is allowed. [control] */
  llmh_status* (*buffer_alloc)(llmh_instance*, const llmh_buffer_args* args, llmh_buffer** out);
  void (*buffer_free)(llmh_instance*, llmh_buffer*); /* [control] */
  /* A pointer for the CPU to offset 0, or NULL when the device's memory is not host visible. [thread-safe] */
  void* (*buffer_map)(llmh_instance*, llmh_buffer*);
  /* Copies between host memory and a buffer; done on return. [engine] */
  llmh_status* (*buffer_write)(llmh_instance*, llmh_buffer*, uint64_t offset, const void* data, uint64_t bytes);
  llmh_status* (*buffer_read)(llmh_instance*, llmh_buffer*, uint64_t offset, void* data, uint64_t bytes);

  /* Bytes the backend will allocate for this weight (0 when it uses the source in place). [control] */
  llmh_status* (*weight_bytes)(llmh_instance*, const llmh_weight_source* source, uint64_t* out);
  /* Takes a weight over, in the backend's layout; unsupported dtypes are an error. [control] */
  llmh_status* (*prepare_weight)(llmh_instance*, const llmh_weight_source* source, llmh_weight** out);
  void (*release_weight)(llmh_instance*, llmh_weight*); /* [control] */

  /* Bytes of one page of a slot's state. [control] */
  llmh_status* (*state_page_bytes)(llmh_instance*, const llmh_state_spec* spec, llmh_dtype dtype, int32_t page_tokens,
                                   uint64_t* out);

  /* Bytes of scratch that a program of this graph needs. [control] */
  llmh_status* (*scratch_bytes)(llmh_instance*, const llmh_graph* graph, const llmh_limits* limits, uint64_t* out);

  /* Makes a program. Every node of the graph is one that `supports` accepted. [control] */
  llmh_status* (*compile)(llmh_instance*, const llmh_compile_args* args, llmh_program** out);
  void (*release_program)(llmh_instance*, llmh_program*); /* [control] */

  /* Runs one step; the outputs lie at their tensors' arena offsets on return. Returns LLMH_OK or a code, with a message
   * in `call`. On CPU backends the numbers of one sequence do not depend on the others, on chunking or on the thread
   * count, bit for bit. [engine] */
  int32_t (*run)(llmh_program*, const llmh_step* step, llmh_call* call);

  /* Optional extensions of this backend by id; NULL for an unknown id. May be NULL itself. [thread-safe] */
  const void* (*get_extension)(llmh_str id);
} llmh_backend;

/* Extension of a backend that runs LORA_LINEAR, LORA_EMBEDDING and norms with a site. Without it adapters are refused. */
#define LLMH_ADAPTERS_EXTENSION "llmhost.adapters/1"

typedef struct llmh_adapters {
  uint32_t struct_size;
  /* Bytes that prepare_adapter will allocate; the data pointers may be NULL or not (only which are), and are not read.
   * [thread-safe] */
  llmh_status* (*adapter_bytes)(llmh_instance*, const llmh_site_delta* const* deltas, uint32_t n_deltas, uint64_t* out);
  /* Takes an adapter over, in the backend's layout and precision; sites are different, data is copied. A step may run
   * meanwhile. [thread-safe] */
  llmh_status* (*prepare_adapter)(llmh_instance*, const llmh_site_delta* const* deltas, uint32_t n_deltas,
                                  llmh_adapter** out);
  void (*release_adapter)(llmh_instance*, llmh_adapter*); /* no step that runs has it [thread-safe] */
} llmh_adapters;

#define LLMH_REFERENCE_EXTENSION "llmhost.reference/1"

/* The host's f32 reference evaluator, for ops that a host-visible backend does not run itself. Slow and obvious. */
typedef struct llmh_reference {
  uint32_t struct_size;
  /* 1 when the evaluator runs this op: every primitive op, and composite ops through their decomposition. */
  int32_t (*supports)(llmh_op op);
  /* Runs one node. tensors[i] points at the elements of tensor i of the graph (dense, row-major; f32 unless the
   * tensor's dtype says otherwise; weights as stored); it may be NULL for constants and step inputs, which the graph
   * and the step have. `states` as in compile, in host memory, with the layout that state_page_bytes describes;
   * state_data[i] points at page 0 of states[i]. Returns a code. [engine] */
  int32_t (*eval)(const llmh_graph* graph, uint32_t node, void* const* tensors, const llmh_step* step,
                  const llmh_state_view* const* states, uint32_t n_states, void* const* state_data, llmh_call* call);
  /* Page size of the evaluator's own state layout: keys then values, [page_tokens, Hkv*Dk], [page_tokens, Hkv*Dv], of
   * f32, whatever the dtype asked for. [thread-safe] */
  uint64_t (*state_page_bytes)(const llmh_state_spec* spec, int32_t page_tokens);
} llmh_reference;

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_BACKEND_H */

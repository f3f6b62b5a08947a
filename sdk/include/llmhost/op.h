/* The op set: the contract between architectures, which build graphs, and backends, which run them. Plain C11.
 *
 * A graph is a list of nodes in an order in which every input is made before it is used. A node has an op id, input
 * and output tensors, an attribute struct of its op and the Hub module path it stands for. Token count, sequence
 * count, output-row count and state length are symbols, so one graph serves every step of a model.
 *
 * Composite ops (marked C) have a decomposition into simpler ops that the host owns: a backend that does not know one
 * gets its parts. Primitive ops (P) are the vocabulary of the decompositions; the host's reference interpreter runs
 * them, and through them every op, in f32. "Reference" below is the meaning a backend has to reproduce.
 *
 * Shapes are row-major, innermost dimension last. T tokens of a step (all sequences, one after another), S sequences,
 * R output rows, L the state lengths of all sequences summed. */
#ifndef LLMHOST_OP_H
#define LLMHOST_OP_H

#include <stdint.h>

#include "llmhost/dtype.h"
#include "llmhost/plugin.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- Dimensions and tensors ------------------------------------------------------------------------------------- */

enum { LLMH_MAX_RANK = 6 };

/* Symbols whose value is known only when a step runs. */
enum {
  LLMH_DIM_CONST = 0,
  LLMH_DIM_TOKENS = 1,    /* T */
  LLMH_DIM_SEQUENCES = 2, /* S */
  LLMH_DIM_OUTPUTS = 3,   /* R */
  LLMH_DIM_STATE = 4      /* L */
};

/* One dimension: `size` when symbol is LLMH_DIM_CONST, else size * value of the symbol. */
typedef struct llmh_dim {
  int64_t size;
  int32_t symbol;
  int32_t reserved; /* 0 */
} llmh_dim;

typedef int32_t llmh_tensor;  /* index of a tensor in its graph */
enum { LLMH_NO_TENSOR = -1 }; /* an optional input that is absent */

enum {
  LLMH_TENSOR_ACTIVATION = 1, /* made by a node */
  LLMH_TENSOR_WEIGHT = 2,     /* from the checkpoint, by its Hub name */
  LLMH_TENSOR_INPUT = 3,      /* given by each step, see LLMH_INPUT_* */
  LLMH_TENSOR_CONSTANT = 4,   /* data held by the graph */
  LLMH_TENSOR_PARAMETER = 5 /* f32 memory that outlives a step: what is trained (new tensors of a fine-tuning method, or
                                 weights of the checkpoint under their Hub name) and the sums of gradients */
};

typedef struct llmh_tensor_info {
  uint32_t struct_size;
  int32_t role;     /* LLMH_TENSOR_* */
  llmh_dtype dtype; /* of the elements; a weight's is that of the checkpoint once it is bound, else f32 */
  int32_t rank;     /* 0 (a scalar) to LLMH_MAX_RANK */
  llmh_dim dims[LLMH_MAX_RANK];
  int32_t producer;   /* node that makes it; -1 for other roles */
  int32_t input_kind; /* LLMH_INPUT_* for role INPUT, else 0 */
  llmh_str name;      /* unique in the graph; a weight's is its Hub name ("model.norm.weight") */
  const void* data;   /* role CONSTANT: its elements, aligned to 64 bytes; else NULL */
  uint64_t data_bytes;
} llmh_tensor_info;

/* What each step provides. All are i32. */
enum {
  LLMH_INPUT_TOKEN_IDS = 1,    /* [T] */
  LLMH_INPUT_POSITIONS = 2,    /* [T] position of the token in its sequence, from 0 */
  LLMH_INPUT_OUTPUT_ROWS = 3,  /* [R] which of the T rows reach the output head, ascending */
  LLMH_INPUT_ROPE_LENGTHS = 4, /* [T] max(prompt length, position + 1): what length-dependent rotary scalings go by */
  LLMH_INPUT_LABELS = 5        /* [R] training: the token that each output row is to predict; -100: none */
};

/* What a graph gives back. */
enum {
  LLMH_OUTPUT_LOGITS = 1, /* f32 [R, V] */
  LLMH_OUTPUT_HIDDEN = 2, /* f32 [R, D]: the last hidden state, after the final norm */
  LLMH_OUTPUT_LOSS = 3    /* f32 [R]: training: -log softmax(logits)[label] of each output row; 0 where there is none */
};

/* --- Ops -------------------------------------------------------------------------------------------------------- */

typedef int32_t llmh_op;

/* Ids are appended to, never renumbered. Notation: inputs -> outputs; `?` optional; attributes in the struct named. */
enum {
  LLMH_OP_INVALID = 0,

  /* Composite, weight-bearing. */
  LLMH_OP_EMBEDDING = 1,  /* C  table [N,D], ids i32 [...] -> [...,D] f32. Row `id` of the table. No attributes. */
  LLMH_OP_LINEAR = 2,     /* C  x [...,K], weight [N,K], bias? [N] -> [...,N]. y = x W^T + b. No attributes. */
  LLMH_OP_RMS_NORM = 3,   /* C  x [...,D], weight? [D] -> [...,D]. x / sqrt(mean(x^2) + eps) * (w + weight_offset).
                             llmh_norm_attrs. (Zhang, Sennrich 2019) */
  LLMH_OP_LAYER_NORM = 4, /* C  x [...,D], weight? [D], bias? [D] -> [...,D].
                             (x - mean) / sqrt(var + eps) * (w + weight_offset) + b. llmh_norm_attrs. (Ba et al. 2016) */

  /* Composite, without weights. */
  LLMH_OP_ROPE = 5,       /* C  x [T,H*Dh], cos [T,Dr/2], sin [T,Dr/2] -> [T,H*Dh]. Rotates the first Dr of each head's
                             Dh elements. llmh_rope_attrs. (Su et al. 2021) */
  LLMH_OP_ATTENTION = 6,  /* C  q [T,H*Dk], k [T,Hkv*Dk], v [T,Hkv*Dv], alibi_slopes? [H], sinks? [H] -> [T,H*Dv].
                             Appends k and v to the layer's state, then attends over it. llmh_attention_attrs. */
  LLMH_OP_ACTIVATION = 7, /* C  x -> same shape. llmh_activation_attrs. */
  LLMH_OP_GATED_ACTIVATION = 8, /* C  gate, up -> same shape. act(gate) * up. llmh_activation_attrs. (Shazeer 2020) */
  LLMH_OP_SOFTCAP = 9,          /* C  x -> same shape. cap * tanh(x / cap). llmh_scalar_attrs: value = cap > 0. */
  LLMH_OP_SCALE = 10,           /* C  x -> same shape. x * value. llmh_scalar_attrs. */
  LLMH_OP_SOFTMAX = 11,         /* C  x [...,N] -> same shape. Over the last dimension; a row of -inf gives zeros. */
  LLMH_OP_ADD_RMS_NORM = 12,    /* C  a, b [...,D], weight? [D] -> sum = a + b, rms_norm(sum). llmh_norm_attrs. */
  LLMH_OP_EXPERT_LINEAR = 13,  /* C  x [T,K] or [T,S,K], weight [E,N,K], ids i32 [T,S], bias? [E,N] -> [T,S,N]. Row s of
                             token t goes through the matrix of expert ids[t,s]: y[t,s] = W[ids[t,s]] x[t] (or x[t,s])
                             + b[ids[t,s]]. An id outside [0,E) is an error. No attributes. (Shazeer et al. 2017) */
  LLMH_OP_LORA_LINEAR = 14,    /* P  x [T,K] or [R,K], weight [N,K], bias? [N] -> [...,N]. LINEAR with the adapter of
                             each row's sequence, see llmh_site_delta (backend.h). Rows without one are those of
                             LINEAR, bit for bit. llmh_site_attrs. (Hu et al. 2021) */
  LLMH_OP_LORA_EMBEDDING = 15, /* P  table [N,D], ids i32 [T] -> [T,D]. EMBEDDING likewise. llmh_site_attrs. */

  /* Primitive. Elementwise binary ops broadcast as numpy does: dimensions align at the end, 1 or absent stretches.
   * Arithmetic takes floating types and gives f32; data movement keeps the dtype. */
  LLMH_OP_ADD = 32,       /* P  a, b -> a + b */
  LLMH_OP_SUB = 33,       /* P  a, b -> a - b */
  LLMH_OP_MUL = 34,       /* P  a, b -> a * b */
  LLMH_OP_DIV = 35,       /* P  a, b -> a / b */
  LLMH_OP_UNARY = 36,     /* P  x -> f(x). llmh_unary_attrs. */
  LLMH_OP_REDUCE = 37,    /* P  x [...,N] -> [...,1]. Over the last dimension. llmh_reduce_attrs. */
  LLMH_OP_MATMUL = 38,    /* P  a [...,M,K], b [...,K,N] or, with transpose_b, [...,N,K] -> [...,M,N]. Leading
                             dimensions broadcast. With transpose_b, b may be a weight of any stored type, quantised
                             ones included. llmh_matmul_attrs. */
  LLMH_OP_RESHAPE = 39,   /* P  x -> same elements, new dims. llmh_shape_attrs. */
  LLMH_OP_PERMUTE = 40,   /* P  x -> dimension i of the result is dimension axes[i] of x. llmh_permute_attrs. */
  LLMH_OP_SLICE = 41,     /* P  x -> elements [begin, end) along `axis`, whose size is constant. llmh_slice_attrs. */
  LLMH_OP_CONCAT = 42,    /* P  1 to 16 tensors -> joined along `axis`, whose sizes are constant. llmh_axis_attrs. */
  LLMH_OP_BROADCAST = 43, /* P  x -> dims, stretching dimensions of size 1. llmh_shape_attrs. */
  LLMH_OP_GATHER = 44,    /* P  x [N,...], ids i32 [M] -> [M,...]. Rows by index, of x's dtype (quantised ones
                             too); an id outside [0,N) is an error. */
  LLMH_OP_CAST = 45,      /* P  x -> same shape, other dtype. llmh_cast_attrs. Casting a quantised weight decodes it. */
  LLMH_OP_ROPE_ANGLES = 46, /* P  positions i32 [T], rope_lengths i32 [T], freq_factors? f32 [Dr/2] -> cos [T,Dr/2],
                             sin [T,Dr/2], both times the scaling's attention factor. llmh_rope_angles_attrs. */
  LLMH_OP_STATE_WRITE = 47, /* P  k [T,Hkv*Dk], v [T,Hkv*Dv] -> (no output). Stores the rows at their tokens' positions
                             in the state of `slot`. llmh_state_attrs. */
  LLMH_OP_STATE_READ = 48,  /* P  -> f32 [L,Hkv*D]. The state's keys or values, sequence after sequence, positions
                             ascending. llmh_state_attrs. Runs after the STATE_WRITE of the same slot. */
  LLMH_OP_ATTENTION_MASK = 49,     /* P  -> f32 [T,L], or [H,T,L] with heads. 0 where the query may see the key, -inf
                             elsewhere: same sequence, causal, window, chunk, blocks. llmh_mask_attrs. */
  LLMH_OP_ATTENTION_DISTANCE = 50, /* P  -> f32 [T,L]. Key position minus query position; 0 in other sequences. */
  LLMH_OP_TOP_K = 51,      /* P  x [...,N] -> values [...,k], ids i32 [...,k]: the k largest of each row, descending; of
                             equal ones the lower index comes first; NaN is below all. llmh_top_k_attrs. */
  LLMH_OP_TOP_K_MASK = 52, /* P  x [...,N] -> same shape: 1 at the k elements that TOP_K takes, 0 elsewhere.
                             llmh_top_k_attrs. */
  LLMH_OP_TAKE = 53,       /* P  x [...,N], ids i32 [...,M] -> [...,M]: element ids[...,m] of each row of x. The leading
                             dimensions are equal; an id outside [0,N) is an error. */
  LLMH_OP_CLAMP = 54,      /* P  x -> same shape: the nearest value in [min, max]. llmh_clamp_attrs. */

  /* Training. A backend that runs none of these 64 and above can serve and cannot train. "dy" is the gradient of the
   * loss with respect to y; gradients are f32. Ops marked C have a decomposition here too. */
  LLMH_OP_REDUCE_TO = 64, /* P  x -> dims, which broadcast to x's: the sum over what was stretched (dims may have fewer
                             dimensions than x). The transpose of BROADCAST. llmh_shape_attrs. */
  LLMH_OP_PAD = 65,       /* P  x -> zeros, with x at [begin, begin + its size) along `axis`, whose size becomes `size`.
                             The transpose of SLICE. llmh_pad_attrs. */
  LLMH_OP_SCATTER_ADD = 66, /* P  x [M,...], ids i32 [M] -> dims [N,...]: row i of x is added to row ids[i] of zeros, in
                             ascending i. The transpose of GATHER. llmh_shape_attrs (the result's dims). */
  LLMH_OP_SCATTER_LAST =
      67,               /* P  x [...,M], ids i32 [...,M] -> [...,N]: element ids[...,m] of a row of zeros += x[...,m].
                             The transpose of TAKE and TOP_K. llmh_width_attrs: width = N. */
  LLMH_OP_DETACH = 68,  /* P  x -> x, f32. No gradient goes through. */
  LLMH_OP_DROPOUT = 69, /* P  x [T or R,...] -> same shape: each element times 0 or 1 / (1 - p), by a random number of
                             llmh_step.dropout_seed, attrs.site, the row and the element in the row (see llmh_dropout_keep);
                             x itself when the step's seed is 0. llmh_dropout_attrs. (Srivastava et al. 2014) */
  LLMH_OP_LOW_RANK_ROW_NORMS =
      70, /* P  weight [N,K] of any stored type, a [r,K], b [N,r] -> [N]: the Euclidean norms of
                             the rows of W + value * b a; a and b may be absent. No gradient goes through: DoRA's magnitude
                             rule (Liu et al. 2024, section 4.3). llmh_scalar_attrs. */
  LLMH_OP_ACCUMULATE =
      71, /* P  sum (role PARAMETER, f32), x of its shape -> (no output). Adds x to the memory of `sum`. */
  LLMH_OP_ATTENTION_TRAIN =
      72, /* P  q, k, v, alibi_slopes?, sinks? as ATTENTION -> out [T,H*Dv], lse [T,H]. ATTENTION of each
                             sequence over its own tokens of this step; no state is read or written, `slot` means nothing.
                             lse: log of the sum of exp over the visible scores (and the sink); -inf for a query that sees
                             nothing, whose row of `out` is 0. llmh_attention_attrs. */
  LLMH_OP_ATTENTION_GRAD =
      73, /* P  q, k, v, alibi_slopes?, sinks?, out, lse, dout -> dq, dk, dv, dsinks [H] (zeros without
                             sinks). llmh_attention_attrs. (Dao et al. 2022, appendix B) */
  LLMH_OP_CROSS_ENTROPY =
      74, /* P  logits [R,V], labels i32 [R] -> loss f32 [R]: -log softmax(logits)[label]; 0 for label
                             -100. A label outside [0,V) that is not -100 is an error. No attributes. */
  LLMH_OP_CROSS_ENTROPY_GRAD =
      75, /* P  logits [R,V], labels i32 [R], dloss [R] -> dlogits [R,V]; rows of label -100 are 0. */
  LLMH_OP_LINEAR_CROSS_ENTROPY =
      76,                         /* P  x [R,D], weight [V,D] of any stored type, bias? [V], labels i32 [R] -> loss [R],
                             dx [R,D]. CROSS_ENTROPY of softcap(value * (x W^T + b)) without all logits in memory at once;
                             dx is the gradient of the sum of the losses. llmh_head_attrs. */
  LLMH_OP_LINEAR_INPUT_GRAD = 77, /* C  dy [...,N], weight [N,K] of any stored type -> dx [...,K] = dy W. */
  LLMH_OP_LINEAR_WEIGHT_GRAD = 78, /* P  dy [...,N], x [...,K] of equal leading dims -> [N,K] = dy^T x over all rows. */
  LLMH_OP_EXPERT_LINEAR_INPUT_GRAD =
      79, /* P  dy [T,S,N], weight [E,N,K], ids i32 [T,S] -> [T,S,K]: dy[t,s] W[ids[t,s]]. */
  LLMH_OP_EXPERT_LINEAR_WEIGHT_GRAD = 80, /* P  dy [T,S,N], x [T,K] or [T,S,K], ids i32 [T,S] -> [E,N,K].
                             llmh_width_attrs: width = E. */
  LLMH_OP_RMS_NORM_GRAD = 81,             /* C  x [...,D], weight? [D], dy -> dx. llmh_norm_attrs. */
  LLMH_OP_RMS_NORM_WEIGHT_GRAD = 82,      /* C  x [...,D], dy -> [D]: over all rows, dy * x / rms. llmh_norm_attrs. */
  LLMH_OP_LAYER_NORM_GRAD = 83,           /* C  x [...,D], weight? [D], dy -> dx. llmh_norm_attrs. */
  LLMH_OP_LAYER_NORM_WEIGHT_GRAD =
      84,                       /* C  x [...,D], dy -> [D]: over all rows, dy * (x - mean) / std. llmh_norm_attrs. */
  LLMH_OP_ACTIVATION_GRAD = 85, /* C  x, dy -> dx. llmh_activation_attrs. */
  LLMH_OP_GATED_ACTIVATION_GRAD = 86, /* C  gate, up, dy -> dgate, dup. llmh_activation_attrs. */
  LLMH_OP_SOFTMAX_GRAD = 87           /* C  y = softmax(x), dy -> dx = y (dy - sum(y dy)). */
};

/* --- Attributes. Each struct starts with its size and is only appended to; fields not present read as 0. ----------
 *
 * A reader takes the fields that it knows (node_attrs() of op.hpp), so a field appended later must mean "as before" when
 * it is 0. A backend may be older than the host: the host never offers it a node whose attributes hold a byte other
 * than 0 beyond the struct as it was in the backend's minor. Such a node is decomposed, or the model is refused. Enum
 * values are not covered by this: `supports` answers 0 for a node with one that the backend does not know. */

typedef struct llmh_norm_attrs {
  uint32_t struct_size;
  float eps;            /* added to the mean square or the variance */
  float weight_offset;  /* added to the weight; 1 for checkpoints that store weight - 1 */
  int32_t adapter_site; /* rows [T,D] or [R,D] of an adapter that replaces this site's weight (and bias) take the
                           adapter's; 0: there is none that could */
} llmh_norm_attrs;

/* What a module of the model is to adapters. FIXED: it has weights that no adapter can change. */
enum { LLMH_MODULE_LINEAR = 1, LLMH_MODULE_EMBEDDING = 2, LLMH_MODULE_NORM = 3, LLMH_MODULE_FIXED = 4 };

/* Which module of the model a node is, for adapters: sites are numbered from 1 over the graph. */
typedef struct llmh_site_attrs {
  uint32_t struct_size;
  int32_t adapter_site;
} llmh_site_attrs;

enum {
  LLMH_ROPE_HALVES = 1,     /* element i pairs with i + Dr/2 (Hub checkpoints of most families) */
  LLMH_ROPE_INTERLEAVED = 2 /* element 2i pairs with 2i + 1 */
};

typedef struct llmh_rope_attrs {
  uint32_t struct_size;
  int32_t n_heads;
  int32_t head_dim;   /* Dh */
  int32_t rotary_dim; /* Dr, even, at most Dh */
  int32_t style;      /* LLMH_ROPE_HALVES or LLMH_ROPE_INTERLEAVED */
} llmh_rope_attrs;

enum {
  LLMH_ROPE_SCALING_NONE = 0,
  LLMH_ROPE_SCALING_LINEAR = 1,  /* angles / factor (Chen et al. 2023) */
  LLMH_ROPE_SCALING_DYNAMIC = 2, /* NTK-aware base that grows with the length beyond original_context */
  LLMH_ROPE_SCALING_BANDS = 3,   /* frequency bands by wavelength (model card of the family that introduced it) */
  LLMH_ROPE_SCALING_YARN = 4,    /* Peng et al. 2023 */
  LLMH_ROPE_SCALING_LONGROPE = 5 /* Ding et al. 2024: one factor a frequency, short or long by the length */
};

typedef struct llmh_rope_angles_attrs {
  uint32_t struct_size;
  int32_t rotary_dim;         /* Dr, even */
  float theta;                /* base of the geometric series of frequencies: theta^(-2i/Dr) */
  int32_t scaling;            /* LLMH_ROPE_SCALING_* */
  float factor;               /* linear, dynamic, bands, yarn: how much the context is stretched */
  float original_context;     /* tokens the model was trained on before stretching */
  float low_freq_factor;      /* bands */
  float high_freq_factor;     /* bands */
  float beta_fast;            /* yarn: rotations at which interpolation begins */
  float beta_slow;            /* yarn: rotations at which it is complete */
  float attention_factor;     /* multiplies cos and sin; 0 means 1 */
  int32_t truncate;           /* yarn: 1 rounds the correction range to whole dimensions */
  const float* short_factors; /* longrope: [Dr/2], copied by add_node; NULL otherwise */
  const float* long_factors;  /* longrope: [Dr/2], copied by add_node; NULL otherwise */
} llmh_rope_angles_attrs;

typedef struct llmh_attention_attrs {
  uint32_t struct_size;
  int32_t slot;       /* the layer's state, as declared by the architecture */
  int32_t n_heads;    /* H */
  int32_t n_kv_heads; /* Hkv; head h reads key/value head h / (H / Hkv) */
  int32_t k_head_dim; /* Dk */
  int32_t v_head_dim; /* Dv */
  float scale;        /* multiplies q k^T, usually 1/sqrt(Dk) */
  float softcap;      /* cap * tanh(score / cap) before the mask; 0: none */
  int32_t causal;     /* 1: a query sees keys at its own and earlier positions */
  int32_t window;     /* a query at p sees keys at positions > p - window; 0: no limit */
  int32_t chunk;      /* a query at p sees keys at positions >= p / chunk * chunk; 0: no chunks */
  /* Block-sparse attention (Abdin et al. 2024): positions in blocks of block_size; head h sees key block k
   * from query block q when q - k < local_blocks or (k + h * head_step + 1) is a multiple of vertical_stride. */
  int32_t block_size; /* 0: not sparse, and the next three mean nothing */
  int32_t local_blocks;
  int32_t vertical_stride;
  int32_t head_step;
  /* Of the n visible keys of a query each head keeps the llmh_top_k_kept(top_k_ratio, n) of largest score (in f32, with
   * softcap and slopes), of equal ones those at lower positions; the others are as if not seen, and the choice counts as
   * constant in the gradient. 0: all. */
  float top_k_ratio;
} llmh_attention_attrs;

/* max(1, ceil(ratio * n)) for the decimal number of up to seven places that `ratio` stands for: 0.3F and n = 10 give 3,
 * though 0.3F is a little more than 0.3. */
static inline int64_t llmh_top_k_kept(float ratio, int64_t n) {
  const int64_t places = 10000000;
  const int64_t kept = ((int64_t)((double)ratio * (double)places + 0.5) * n + places - 1) / places;
  return kept < 1 ? 1 : kept;
}

enum {
  LLMH_ACT_SILU = 1,      /* x * sigmoid(x) */
  LLMH_ACT_GELU = 2,      /* x * Phi(x), exact with erf (Hendrycks, Gimpel 2016) */
  LLMH_ACT_GELU_TANH = 3, /* the same with tanh(sqrt(2/pi) (x + 0.044715 x^3)) */
  LLMH_ACT_RELU = 4,
  LLMH_ACT_RELU_SQUARED = 5,
  LLMH_ACT_SIGMOID = 6,
  LLMH_ACT_TANH = 7,
  LLMH_ACT_GELU_QUICK = 8 /* x * sigmoid(1.702 x) */
};

typedef struct llmh_activation_attrs {
  uint32_t struct_size;
  int32_t kind; /* LLMH_ACT_* */
} llmh_activation_attrs;

typedef struct llmh_scalar_attrs {
  uint32_t struct_size;
  float value;
} llmh_scalar_attrs;

enum {
  LLMH_UNARY_NEG = 1,
  LLMH_UNARY_EXP = 2,
  LLMH_UNARY_LOG = 3,
  LLMH_UNARY_SQRT = 4,
  LLMH_UNARY_RSQRT = 5, /* 1 / sqrt(x) */
  LLMH_UNARY_TANH = 6,
  LLMH_UNARY_SIGMOID = 7,
  LLMH_UNARY_ERF = 8,
  LLMH_UNARY_RELU = 9,
  LLMH_UNARY_ABS = 10,
  LLMH_UNARY_SQUARE = 11,
  LLMH_UNARY_SIN = 12,
  LLMH_UNARY_COS = 13,
  LLMH_UNARY_STEP = 14 /* 1 where x > 0, else 0 */
};

typedef struct llmh_unary_attrs {
  uint32_t struct_size;
  int32_t kind; /* LLMH_UNARY_* */
} llmh_unary_attrs;

enum { LLMH_REDUCE_SUM = 1, LLMH_REDUCE_MEAN = 2, LLMH_REDUCE_MAX = 3 };

typedef struct llmh_reduce_attrs {
  uint32_t struct_size;
  int32_t kind; /* LLMH_REDUCE_* */
} llmh_reduce_attrs;

typedef struct llmh_matmul_attrs {
  uint32_t struct_size;
  int32_t transpose_b;
} llmh_matmul_attrs;

typedef struct llmh_shape_attrs {
  uint32_t struct_size;
  int32_t rank;
  llmh_dim dims[LLMH_MAX_RANK];
} llmh_shape_attrs;

typedef struct llmh_permute_attrs {
  uint32_t struct_size;
  int32_t rank;
  int32_t axes[LLMH_MAX_RANK];
} llmh_permute_attrs;

typedef struct llmh_slice_attrs {
  uint32_t struct_size;
  int32_t axis; /* from 0 */
  int64_t begin;
  int64_t end;
} llmh_slice_attrs;

typedef struct llmh_axis_attrs {
  uint32_t struct_size;
  int32_t axis; /* from 0 */
} llmh_axis_attrs;

typedef struct llmh_top_k_attrs {
  uint32_t struct_size;
  int32_t k; /* 1 to N */
} llmh_top_k_attrs;

typedef struct llmh_clamp_attrs {
  uint32_t struct_size;
  float min; /* at most max; may be -infinity */
  float max; /* may be infinity */
} llmh_clamp_attrs;

typedef struct llmh_pad_attrs {
  uint32_t struct_size;
  int32_t axis; /* from 0 */
  int64_t begin;
  int64_t size; /* of the result's axis; constant, as x's is */
} llmh_pad_attrs;

typedef struct llmh_width_attrs {
  uint32_t struct_size;
  int32_t reserved; /* 0 */
  int64_t width;
} llmh_width_attrs;

typedef struct llmh_head_attrs {
  uint32_t struct_size;
  float value;   /* multiplies the product; 0 means 1 */
  float softcap; /* cap * tanh(logit / cap); 0: none */
} llmh_head_attrs;

typedef struct llmh_dropout_attrs {
  uint32_t struct_size;
  float p;      /* of dropping an element, in [0, 1) */
  int32_t site; /* different for nodes that are to draw differently */
} llmh_dropout_attrs;

/* Whether dropout keeps element `column` of row `row`: a counter-based generator (two rounds of the 64-bit finaliser of
 * SplitMix64, Steele et al. 2014) whose 32 upper bits are compared with p. Every backend draws the same numbers. */
static inline int llmh_dropout_keep(uint64_t seed, int32_t site, int64_t row, int64_t column, float p) {
  uint64_t z = seed + 0x9E3779B97F4A7C15ULL * (uint64_t)(uint32_t)site;
  int round;
  for (round = 0; round < 2; ++round) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    z ^= z >> 31;
    if (round == 0) z += 0x9E3779B97F4A7C15ULL * (((uint64_t)row << 32) ^ (uint64_t)column);
  }
  return (double)(z >> 32) >= (double)p * 4294967296.0;
}

typedef struct llmh_cast_attrs {
  uint32_t struct_size;
  llmh_dtype dtype;
} llmh_cast_attrs;

enum { LLMH_PART_KEYS = 1, LLMH_PART_VALUES = 2 };

typedef struct llmh_state_attrs {
  uint32_t struct_size;
  int32_t slot;
  int32_t part;  /* STATE_READ: LLMH_PART_KEYS or LLMH_PART_VALUES */
  int32_t width; /* STATE_READ: elements of a row, Hkv * D */
} llmh_state_attrs;

/* The fields of llmh_attention_attrs that say what is seen. */
typedef struct llmh_mask_attrs {
  uint32_t struct_size;
  int32_t causal;
  int32_t window;
  int32_t chunk;
  int32_t n_heads; /* with block_size: H of the [H,T,L] result; else 0 */
  int32_t block_size;
  int32_t local_blocks;
  int32_t vertical_stride;
  int32_t head_step;
} llmh_mask_attrs;

/* --- Graphs as backends see them -------------------------------------------------------------------------------- */

typedef struct llmh_node {
  uint32_t struct_size;
  llmh_op op;
  const llmh_tensor* inputs;  /* [n_inputs]; LLMH_NO_TENSOR for an absent optional input */
  const llmh_tensor* outputs; /* [n_outputs] */
  uint32_t n_inputs;
  uint32_t n_outputs;
  const void* attrs; /* the op's attribute struct, or NULL for ops without */
  uint32_t attrs_size;
  uint32_t reserved; /* 0 */
  llmh_str path;     /* Hub module path ("model.layers.3.self_attn.q_proj"); may be empty */
} llmh_node;

typedef struct llmh_graph_output {
  uint32_t struct_size;
  int32_t kind; /* LLMH_OUTPUT_* */
  llmh_tensor tensor;
} llmh_graph_output;

/* A finished graph, read-only, valid as long as the host says (for a program: until it is released). */
typedef struct llmh_graph {
  uint32_t struct_size;
  uint32_t n_tensors;
  const llmh_tensor_info* const* tensors;
  const llmh_node* const* nodes;
  const llmh_graph_output* const* outputs;
  uint32_t n_nodes;
  uint32_t n_outputs;
} llmh_graph;

/* --- Building graphs -------------------------------------------------------------------------------------------- */

enum {
  LLMH_WEIGHT_REQUIRED = 0,
  LLMH_WEIGHT_OPTIONAL = 1 /* absent in the checkpoint: the tensor is LLMH_NO_TENSOR, no error */
};

/* How a fine-tuning method's new tensor starts. */
enum {
  LLMH_INIT_ZEROS = 1,
  LLMH_INIT_ONES = 2,
  LLMH_INIT_NORMAL = 3,         /* mean 0, standard deviation `init_value` */
  LLMH_INIT_KAIMING_UNIFORM = 4, /* bound sqrt(6 / ((1 + init_value^2) fan_in)) (He et al. 2015); fan_in is the last size */
  LLMH_INIT_DATA = 5             /* of parameter_data */
};

/* The host's side of graph building; passed to build() and rewrite(). Every function [control]; the errors name op and
 * module path. Outputs are written only on success. */
typedef struct llmh_builder llmh_builder;
struct llmh_builder {
  uint32_t struct_size;
  int32_t opset_version; /* of the host: an op newer than this is refused */

  /* The step input of this kind (LLMH_INPUT_*); the same tensor each time. */
  llmh_status* (*input)(llmh_builder*, int32_t kind, llmh_tensor* out);

  /* The checkpoint's tensor with this Hub name and shape (row-major). A wrong shape is an error with both shapes. */
  llmh_status* (*weight)(llmh_builder*, llmh_str name, const int64_t* shape, int32_t rank, uint32_t flags,
                         llmh_tensor* out);

  /* A tensor held by the graph; `data` ([bytes], of plain dtype) is copied. */
  llmh_status* (*constant)(llmh_builder*, llmh_str name, llmh_dtype dtype, const int64_t* shape, int32_t rank,
                           const void* data, uint64_t bytes, llmh_tensor* out);

  /* A new trainable f32 tensor (fine-tuning methods only). `init` is LLMH_INIT_*, but not _DATA. The same name, shape and
   * init give the same tensor. */
  llmh_status* (*parameter)(llmh_builder*, llmh_str name, const int64_t* shape, int32_t rank, int32_t init,
                            float init_value, llmh_tensor* out);

  /* Adds a node of any op. `path` is the Hub module path or empty; `attrs` is copied. Shapes and dtypes of the outputs
   * follow from the op. `n_outputs` must be the op's. */
  llmh_status* (*add_node)(llmh_builder*, llmh_op op, llmh_str path, const llmh_tensor* inputs, uint32_t n_inputs,
                           const void* attrs, uint32_t attrs_size, llmh_tensor* outputs, uint32_t n_outputs);

  /* Gives an activation a name ("model.layers.0.attn_out") for dumps and layer-by-layer comparison. */
  llmh_status* (*name)(llmh_builder*, llmh_tensor tensor, llmh_str name);

  /* Makes the tensor an output of the graph. */
  llmh_status* (*output)(llmh_builder*, int32_t kind, llmh_tensor tensor);

  /* The description of a tensor, valid until the next call on this builder; NULL for a bad index. */
  const llmh_tensor_info* (*info)(llmh_builder*, llmh_tensor tensor);

  /* As `parameter`; starts at `data`, as many elements as the shape has, all finite. Copied. */
  llmh_status* (*parameter_data)(llmh_builder*, llmh_str name, const int64_t* shape, int32_t rank, const float* data,
                                 llmh_tensor* out);
};

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_OP_H */

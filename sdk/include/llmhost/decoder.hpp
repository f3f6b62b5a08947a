// The block vocabulary of decoder language models, in small builders that an architecture composes: each reads its
// settings from a plain struct, adds nodes to the graph that its tensors belong to, and throws what the host reports of them
// (a weight that is missing or of another shape, with its name). Readers of configs throw with the key. Header-only.
// [control]: called while a model is opened or built, never in a step.
//
// In the shapes T is the tokens of a step, R the rows whose logits are wanted, D the hidden size, V the vocabulary. A layer
// of a usual decoder:
//
//   llmh::Tensor h = llmh::norm(at, "input_layernorm", x, c.norm);
//   x = x + llmh::self_attention(at.scope("self_attn"), h, attention, angles);
//   h = llmh::norm(at, "post_attention_layernorm", x, c.norm);
//   x = x + llmh::gated_mlp(at.scope("mlp"), h, intermediate_size, act);
#pragma once

#include "llmhost/decoder/attention.hpp"         // projections, heads, attention
#include "llmhost/decoder/config.hpp"            // sizes, states, refusals
#include "llmhost/decoder/gguf.hpp"              // names and layouts in GGUF files
#include "llmhost/decoder/head.hpp"              // output rows and head
#include "llmhost/decoder/latent_attention.hpp"  // MLA
#include "llmhost/decoder/mlp.hpp"               // gated and plain feed-forward
#include "llmhost/decoder/moe.hpp"               // routing, experts
#include "llmhost/decoder/norm.hpp"              // RMS and layer norms, norms of heads
#include "llmhost/decoder/positions.hpp"         // learned, sinusoidal, ALiBi
#include "llmhost/decoder/rope.hpp"              // rotary embeddings
#include "llmhost/decoder/stack.hpp"             // a whole decoder under the usual names
#include "llmhost/decoder/text_part.hpp"         // the text model of a checkpoint with a vision tower

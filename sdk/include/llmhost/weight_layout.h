/* Weights as a backend has laid them out, as bytes: the host may keep them in a file and hand them back at the next
 * start, mapped, in place of preparing them again. An extension that backends may have. Plain C11. */
#ifndef LLMHOST_WEIGHT_LAYOUT_H
#define LLMHOST_WEIGHT_LAYOUT_H

#include "llmhost/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define LLMH_WEIGHT_LAYOUT_EXTENSION "llmhost.weight_layout/1"

typedef struct llmh_weight_layout {
  uint32_t struct_size;

  /* The layout that this weight has, or could have, on this device: a text that is another one whenever the bytes would
   * be. Empty: it has none of its own. source->data may be NULL. Static lifetime. [control] */
  llmh_str (*name)(llmh_instance*, const llmh_weight_source* source);
  /* The bytes of a weight that was made; NULL and 0 when it is used as stored. Valid until release_weight. [control] */
  const void* (*bytes)(llmh_instance*, const llmh_weight*, uint64_t* n);
  /* prepare_weight by bytes that `bytes` gave for the same data in the layout of this name, used in place: valid until
   * release_weight, at a multiple of 4096. source->data may be NULL unless the weight is a LLMH_USE_TABLE. Another
   * number of bytes than the layout has is an error. [control] */
  llmh_status* (*adopt)(llmh_instance*, const llmh_weight_source* source, const void* bytes, uint64_t n,
                        llmh_weight** out);
} llmh_weight_layout;

#ifdef __cplusplus
}
#endif

#endif /* LLMHOST_WEIGHT_LAYOUT_H */

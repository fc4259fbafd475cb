/* card: the README.md of an exported model, as Hugging Face's model cards are laid out. */
#ifndef GF_RECIPES_CARD_H
#define GF_RECIPES_CARD_H

#include "core/text.h"
#include "model/model.h"

/* What the model is, its tasks and labels, how to use it; and, where PATH is a run folder, its
 * metrics and its recipe. Holds no time and no place. */
bool gf_card_write(const gf_model *m, const char *path, gf_text *out, gf_err *e);

#endif

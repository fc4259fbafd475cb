/* care_parts: what the files of care share. Private to recipes/care*.c. */
#ifndef GF_RECIPES_CARE_PARTS_H
#define GF_RECIPES_CARE_PARTS_H

#include "recipes/care.h"

void gf_care_hash_row(gf_care_row *row, const char *text);
/* Room for one row more. */
bool gf_care_grow(gf_split *s, int64_t n_tasks, gf_err *e);
const gf_care_label *gf_care_label_of(const gf_care *c, const gf_care_key *key, int64_t task);

#endif

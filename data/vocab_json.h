/* vocab_json: the vocabulary of a tokenizer.json, read without a tree of its 30,000 members, which
 * takes twenty times as long.
 *
 *     gf_text rest = {0};
 *     if (!gf_vocab_take_json(&vocab, text, size, "tokenizer.json", &rest, e)) goto done;
 *     if (rest.length) ... `rest` is the text with "vocab": {}, for gf_json_parse() ...
 *     else ... nothing was taken: parse the text itself ...
 *
 * Taken is an object "vocab" in an object "model" whose members are all of the plain form
 * "token": id, with any escape but those of surrogates and of 0. Anything else, be it an error or
 * only unusual, is left to the parser of the whole text, so that there is one set of rules and of
 * messages. `rest` is valid JSON if and only if the text is, and says the same but for the members
 * that were taken. One pass, no recursion; the caller frees `rest` with gf_text_free(). */
#ifndef GF_DATA_VOCAB_JSON_H
#define GF_DATA_VOCAB_JSON_H

#include "data/vocab.h"

/* Fills an empty vocabulary. False when memory is out; v may then hold some tokens. */
bool gf_vocab_take_json(gf_vocab *v, const char *text, size_t size, const char *where,
                        gf_text *rest, gf_err *e);

#endif

/* fields: JSON objects read into structs, and written from them, by one table of known keys.
 *
 *     static const gf_field batch_fields[] = {
 *         {.key = "size", .kind = GF_FIELD_COUNT, .at = offsetof(batch, size),
 *          .low = 1, .high = 65536, .range = "from 1 to 65536"},
 *         {0}};
 *     batch b = {.size = 32};                                        (the defaults)
 *     ok = gf_fields_read(&reader, j, batch_fields, &b, e);
 *     ...
 *     gf_fields_free(batch_fields, &b);
 *
 * Strict: an unknown key is an error that proposes the nearest known one; a key that begins with
 * '_' is a comment. Every error is GF_E_INVALID and starts with "FILE: PATH.OF.KEY". Keys are
 * read in the table's order. */
#ifndef GF_RECIPES_FIELDS_H
#define GF_RECIPES_FIELDS_H

#include "core/err.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gf_field_kind {
    GF_FIELD_STRING,  /* char *, not empty */
    GF_FIELD_PATH,    /* char *, a relative one is joined to the reader's folder */
    GF_FIELD_CHOICE,  /* char *, one of `choices` */
    GF_FIELD_ENUM,    /* int (or an enum), the index of one of `choices` */
    GF_FIELD_NUMBER,  /* double in [low, high] */
    GF_FIELD_PAIR,    /* two doubles side by side, each in [low, high]: a list of two */
    GF_FIELD_COUNT,   /* int64_t, a whole number in [low, high] */
    GF_FIELD_BOOL,    /* bool */
    GF_FIELD_MAYBE,   /* int: 0, 1, or -1 for null */
    GF_FIELD_SECTION, /* an object whose `fields` lie in the same struct */
    GF_FIELD_LIST,    /* low to high elements, each a copy of `blank` filled by `fields` */
    GF_FIELD_MAP      /* the same, from an object; an element begins with a char *, its key */
} gf_field_kind;

typedef struct gf_field {
    const char *key; /* "" in a table of its own: the element itself, not a key in it */
    gf_field_kind kind;
    size_t at;         /* where it lies in the struct */
    double low, high;  /* as the kind says */
    const char *range; /* the same in words, for messages: "it must be RANGE" */
    bool nullable;     /* null stands for `null`, NULL, -1, no elements or the defaults */
    double null;
    const char *required;          /* what it is; NULL when it may be left out */
    const char *fallback;          /* strings: the value when it is left out */
    const char *const *choices;    /* ends with NULL */
    const struct gf_field *fields; /* SECTION, LIST, MAP */
    size_t count_at;               /* LIST, MAP: where their int64_t count lies */
    size_t size;                   /* LIST, MAP: of an element */
    const void *blank;             /* LIST, MAP: an element with its defaults */
    const char *word;              /* MAP: a string that may stand in its place, NULL: none */
    size_t word_at;                /* where a bool says that it did */
} gf_field;

typedef struct gf_reader {
    const char *file;   /* for messages */
    const char *folder; /* what relative paths are relative to; NULL: the working folder */
} gf_reader;

/* Reads object j into target, which holds the defaults. What was read is freed by gf_fields_free(),
 * after a failure too. */
bool gf_fields_read(const gf_reader *r, const cJSON *j, const gf_field *fields, void *target,
                    gf_err *e);
/* Adds every key with its value to `object`; relative paths are made absolute. */
bool gf_fields_write(cJSON *object, const gf_field *fields, const void *target, gf_err *e);
/* Frees the strings and lists; the struct itself is the caller's. */
void gf_fields_free(const gf_field *fields, void *target);

#endif

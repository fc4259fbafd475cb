/* pickle: a machine for Python pickles of protocol 2 that executes nothing.
 *
 *     static const gf_pickle_global globals[] = {{"collections.OrderedDict", GF_PICKLE_DICT},
 *                                                {"torch._utils._rebuild_tensor_v2",
 *                                                 GF_PICKLE_CALL}};
 *     gf_pickle p = {0};
 *     if (!gf_pickle_read(&p, bytes, size, globals, 2, "model.bin", e)) goto done;
 *     if (p.top->kind == GF_PICKLE_DICT) ...      (p.top->items[0] is the first key, [1] its value)
 *     gf_pickle_free(&p);
 *
 * A pickle is a program for a stack machine (CPython, Lib/pickletools.py describes it); Python's
 * own machine calls whatever function the program names, which is how a pickle takes a computer
 * over. This one builds a tree of plain values. A call becomes a value that says which function
 * was wanted with which arguments, and only the globals of the caller's table may be named at all;
 * any other is refused by its name ("os.system"), and so is every operation that torch.save does
 * not write ("INST", "STACK_GLOBAL").
 *
 * The bytes may be hostile. The machine is a loop without recursion; numbers of values, marks,
 * stack and memo entries, and the depth of nesting are bounded. A memo makes values shared, and a
 * dict can be made to hold itself, so walk the tree only as deep as you know its shape. Texts are
 * valid UTF-8; they point into the bytes, which must outlive p, and no 0 byte ends them.
 * Failures are GF_E_MODEL and say at which byte of the pickle. */
#ifndef GF_CHECKPOINTS_PICKLE_H
#define GF_CHECKPOINTS_PICKLE_H

#include "core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum gf_pickle_kind {
    GF_PICKLE_NONE,
    GF_PICKLE_BOOL,   /* n is 0 or 1 */
    GF_PICKLE_INT,    /* n */
    GF_PICKLE_FLOAT,  /* number */
    GF_PICKLE_TEXT,   /* text [n bytes] */
    GF_PICKLE_TUPLE,  /* items [n] */
    GF_PICKLE_LIST,   /* items [n] */
    GF_PICKLE_DICT,   /* items [n]: a key, its value, the next key, ...; a key may come twice */
    GF_PICKLE_GLOBAL, /* a name of the caller's table, at place `global` */
    GF_PICKLE_CALL,   /* of the global at place `global` with the arguments items [n] */
    GF_PICKLE_PERSID, /* items [1]: what names an object that lies outside of the pickle */
} gf_pickle_kind;

typedef struct gf_pickle_value {
    gf_pickle_kind kind;
    int global;
    int depth; /* of the tree below it: 0 for what has no items */
    int64_t n, capacity;
    double number;
    const char *text;
    struct gf_pickle_value **items;
} gf_pickle_value;

/* A global that a pickle may name, and what a call of it makes: GF_PICKLE_CALL, recorded; an empty
 * GF_PICKLE_DICT, without arguments; GF_PICKLE_TUPLE, its one argument, which must be a tuple;
 * GF_PICKLE_NONE, it may not be called. */
typedef struct gf_pickle_global {
    const char *name; /* "module.name" */
    gf_pickle_kind makes;
} gf_pickle_global;

typedef struct gf_pickle {
    const gf_pickle_value *top;
    struct gf_pickle_block *blocks; /* all values */
    int64_t n_values;
} gf_pickle;

/* p must be zeroed; free it also after a failure. `where` names the bytes in errors. */
bool gf_pickle_read(gf_pickle *p, const unsigned char *bytes, size_t size,
                    const gf_pickle_global *globals, int n_globals, const char *where, gf_err *e);
void gf_pickle_free(gf_pickle *p);

/* "a tuple", "a dict", ..., for messages. */
const char *gf_pickle_kind_name(const gf_pickle_value *v);
bool gf_pickle_is_text(const gf_pickle_value *v, const char *text);

#endif

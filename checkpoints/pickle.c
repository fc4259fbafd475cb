#include "checkpoints/pickle.h"

#include "core/mem.h"

#include <string.h>
#include <utf8proc.h>

enum {
    BLOCK = 256,          /* values allocated at once */
    MAX_VALUES = 1 << 20, /* a tensor takes some 17 */
    MAX_STACK = 1 << 16,  /* Python's pickler hands a dict over in pieces of 1000 pairs */
    MAX_MEMO = 1 << 22,   /* it numbers its memo from 0 */
    MAX_MARKS = 64,
    MAX_DEPTH = 32,
    MAX_NAME = 256 /* bytes of a global's module, and of its name */
};

typedef gf_pickle_value value;

struct gf_pickle_block {
    struct gf_pickle_block *next;
    value values[BLOCK];
};

typedef struct machine {
    const unsigned char *bytes;
    size_t size, at;
    const gf_pickle_global *globals;
    int n_globals;
    const char *where;
    gf_err *e;
    gf_pickle *out;
    value **stack; /* [height] */
    int64_t height, stack_capacity;
    int64_t marks[MAX_MARKS]; /* [n_marks] heights of the stack at which a MARK was set */
    int n_marks;
    value **memo; /* [n_memo] NULL where nothing was put */
    int64_t n_memo;
    bool stopped;
} machine;

/* m->at is at, or just behind, the operation that fails. */
static bool wrong(machine *m, const char *what) {
    return gf_fail(m->e, GF_E_MODEL,
                   "%s: byte %zu of its pickle: %s; the file is damaged, or not what torch.save "
                   "writes for a state_dict()",
                   m->where, m->at, what);
}

/* The next n bytes, or NULL. */
static const unsigned char *next(machine *m, size_t n) {
    const unsigned char *p = m->bytes + m->at;
    if (n > m->size - m->at) {
        wrong(m, "it ends within an operation");
        return NULL;
    }
    m->at += n;
    return p;
}

/* An unsigned number of up to 8 bytes, little endian. */
static bool next_number(machine *m, size_t n, uint64_t *out) {
    const unsigned char *p = next(m, n);
    *out = 0;
    for (size_t i = 0; p && i < n; i++) *out |= (uint64_t)p[i] << 8 * i;
    return p != NULL;
}

static value *make(machine *m, gf_pickle_kind kind) {
    struct gf_pickle_block *block = m->out->blocks;
    int64_t i = m->out->n_values % BLOCK;
    if (m->out->n_values == MAX_VALUES) {
        wrong(m, "it makes more values than a model needs");
        return NULL;
    }
    if (i == 0) {
        if (!(block = gf_alloc_array(1, sizeof *block, m->e))) return NULL;
        block->next = m->out->blocks;
        m->out->blocks = block;
    }
    m->out->n_values++;
    block->values[i].kind = kind;
    return &block->values[i];
}

static bool push(machine *m, value *v) {
    if (!v) return false;
    if (m->height == MAX_STACK) return wrong(m, "its stack grows higher than a model needs");
    if (!gf_grow(&m->stack, m->height, &m->stack_capacity, sizeof(value *), m->e)) return false;
    m->stack[m->height++] = v;
    return true;
}

/* How many values lie above the last mark: no operation reaches below it. */
static int64_t reach(const machine *m) {
    return m->height - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static value *pop(machine *m) {
    if (reach(m) > 0) return m->stack[--m->height];
    wrong(m, "it takes a value from an empty stack");
    return NULL;
}

/* Forgets the last mark; how many values lay above it, or -1. */
static int64_t pop_mark(machine *m) {
    int64_t n = reach(m);
    if (m->n_marks == 0) {
        wrong(m, "it goes back to a mark that was not set");
        return -1;
    }
    m->n_marks--;
    return n;
}

static bool push_number(machine *m, gf_pickle_kind kind, int64_t n) {
    value *v = make(m, kind);
    if (v) v->n = n;
    return push(m, v);
}

/* Puts the top n values of the stack behind the items of v, and takes them from the stack. */
static bool move_items(machine *m, value *v, int64_t n) {
    int64_t total = v->n + n;
    if (total > v->capacity) {
        int64_t capacity = v->n ? 2 * total : total; /* a tuple is made once, a dict in pieces */
        value **items = gf_realloc_array(v->items, capacity, sizeof(value *), m->e);
        if (!items) return false;
        v->items = items;
        v->capacity = capacity;
    }
    for (int64_t i = m->height - n; i < m->height; i++) {
        v->items[v->n++] = m->stack[i];
        if (m->stack[i]->depth >= v->depth) v->depth = m->stack[i]->depth + 1;
    }
    m->height -= n;
    return v->depth <= MAX_DEPTH || wrong(m, "its values nest deeper than a model needs");
}

/* ---- operations: each is run with m->at behind its code ---- */

static bool op_proto(machine *m) {
    const unsigned char *p = next(m, 1);
    if (!p || *p == 2) return p != NULL;
    return gf_fail(m->e, GF_E_MODEL,
                   "%s: it is pickled with protocol %d; 2, the default of torch.save, can be read",
                   m->where, *p);
}

static bool op_stop(machine *m) {
    value *v = pop(m);
    if (!v) return false;
    if (m->height || m->n_marks) return wrong(m, "it stops with values left on its stack");
    if (m->at != m->size) return wrong(m, "bytes follow its end");
    m->out->top = v;
    return m->stopped = true;
}

static bool op_mark(machine *m) {
    if (m->n_marks == MAX_MARKS) return wrong(m, "it nests more marks than a model needs");
    m->marks[m->n_marks++] = m->height;
    return true;
}

static bool op_none(machine *m) { return push(m, make(m, GF_PICKLE_NONE)); }
static bool op_true(machine *m) { return push_number(m, GF_PICKLE_BOOL, 1); }
static bool op_false(machine *m) { return push_number(m, GF_PICKLE_BOOL, 0); }

static bool op_binint(machine *m) {
    uint64_t n;
    return next_number(m, 4, &n) && push_number(m, GF_PICKLE_INT, (int32_t)(uint32_t)n);
}

static bool op_binint1(machine *m) {
    uint64_t n;
    return next_number(m, 1, &n) && push_number(m, GF_PICKLE_INT, (int64_t)n);
}

static bool op_binint2(machine *m) {
    uint64_t n;
    return next_number(m, 2, &n) && push_number(m, GF_PICKLE_INT, (int64_t)n);
}

/* Two's complement in as many bytes as it takes. */
static bool op_long1(machine *m) {
    uint64_t bytes, n;
    if (!next_number(m, 1, &bytes)) return false;
    if (bytes > 8) return wrong(m, "an integer has more than 64 bits");
    if (!next_number(m, (size_t)bytes, &n)) return false;
    if (bytes > 0 && bytes < 8 && n >> (8 * bytes - 1)) n |= ~(uint64_t)0 << 8 * bytes;
    return push_number(m, GF_PICKLE_INT, (int64_t)n);
}

static bool op_binfloat(machine *m) {
    const unsigned char *p = next(m, 8);
    uint64_t bits = 0;
    value *v;
    if (!p || !(v = make(m, GF_PICKLE_FLOAT))) return false;
    for (int i = 0; i < 8; i++) bits = bits << 8 | p[i]; /* the one big endian number */
    memcpy(&v->number, &bits, sizeof bits);
    return push(m, v);
}

static bool is_utf8(const unsigned char *p, size_t n) {
    utf8proc_int32_t c;
    for (utf8proc_ssize_t used = 0; n > 0; p += used, n -= (size_t)used)
        if ((used = utf8proc_iterate(p, (utf8proc_ssize_t)n, &c)) <= 0) return false;
    return true;
}

static bool push_text(machine *m, size_t length_bytes) {
    uint64_t n;
    const unsigned char *p;
    value *v;
    if (!next_number(m, length_bytes, &n) || !(p = next(m, (size_t)n))) return false;
    if (!is_utf8(p, (size_t)n)) return wrong(m, "a text is not UTF-8");
    if (!(v = make(m, GF_PICKLE_TEXT))) return false;
    v->text = (const char *)p;
    v->n = (int64_t)n;
    return push(m, v);
}

static bool op_binunicode(machine *m) { return push_text(m, 4); }
static bool op_short_binstring(machine *m) { return push_text(m, 1); }

static bool put(machine *m, size_t bytes) {
    int64_t wanted;
    uint64_t n;
    if (!next_number(m, bytes, &n)) return false;
    if (n >= MAX_MEMO) return wrong(m, "its memo grows larger than a model needs");
    if (reach(m) == 0) return wrong(m, "it remembers a value of an empty stack");
    if ((int64_t)n >= m->n_memo) {
        wanted = 2 * (int64_t)n + 64;
        value **memo = gf_realloc_array(m->memo, wanted, sizeof *memo, m->e);
        if (!memo) return false;
        memset(memo + m->n_memo, 0, (size_t)(wanted - m->n_memo) * sizeof *memo);
        m->memo = memo;
        m->n_memo = wanted;
    }
    m->memo[n] = m->stack[m->height - 1];
    return true;
}

static bool get(machine *m, size_t bytes) {
    uint64_t n;
    if (!next_number(m, bytes, &n)) return false;
    if ((int64_t)n >= m->n_memo || !m->memo[n])
        return wrong(m, "it recalls a value that it did not remember");
    return push(m, m->memo[n]);
}

static bool op_binput(machine *m) { return put(m, 1); }
static bool op_long_binput(machine *m) { return put(m, 4); }
static bool op_binget(machine *m) { return get(m, 1); }
static bool op_long_binget(machine *m) { return get(m, 4); }

static bool op_empty_dict(machine *m) { return push(m, make(m, GF_PICKLE_DICT)); }
static bool op_empty_list(machine *m) { return push(m, make(m, GF_PICKLE_LIST)); }
static bool op_empty_tuple(machine *m) { return push(m, make(m, GF_PICKLE_TUPLE)); }

/* A tuple, call or persistent identity of the top n values. */
static bool push_of(machine *m, gf_pickle_kind kind, int64_t n) {
    value *v;
    if (reach(m) < n) return wrong(m, "it takes a value from an empty stack");
    return (v = make(m, kind)) && move_items(m, v, n) && push(m, v);
}

static bool op_tuple(machine *m) {
    int64_t n = pop_mark(m);
    return n >= 0 && push_of(m, GF_PICKLE_TUPLE, n);
}

static bool op_tuple1(machine *m) { return push_of(m, GF_PICKLE_TUPLE, 1); }
static bool op_tuple2(machine *m) { return push_of(m, GF_PICKLE_TUPLE, 2); }
static bool op_tuple3(machine *m) { return push_of(m, GF_PICKLE_TUPLE, 3); }
static bool op_binpersid(machine *m) { return push_of(m, GF_PICKLE_PERSID, 1); }

/* Adds the top n values to the list or dict below them. */
static bool add_to(machine *m, gf_pickle_kind kind, int64_t n) {
    value *target = reach(m) > n ? m->stack[m->height - n - 1] : NULL;
    if (!target || target->kind != kind)
        return wrong(m, kind == GF_PICKLE_DICT ? "it sets an item of what is no dict"
                                               : "it appends to what is no list");
    if (kind == GF_PICKLE_DICT && n % 2) return wrong(m, "a key of a dict has no value");
    return move_items(m, target, n);
}

static bool op_append(machine *m) { return add_to(m, GF_PICKLE_LIST, 1); }
static bool op_setitem(machine *m) { return add_to(m, GF_PICKLE_DICT, 2); }

static bool op_appends(machine *m) {
    int64_t n = pop_mark(m);
    return n >= 0 && add_to(m, GF_PICKLE_LIST, n);
}

static bool op_setitems(machine *m) {
    int64_t n = pop_mark(m);
    return n >= 0 && add_to(m, GF_PICKLE_DICT, n);
}

/* A line of at most MAX_NAME bytes. */
static const char *next_line(machine *m, int *length) {
    const char *p = (const char *)m->bytes + m->at;
    size_t rest = m->size - m->at, most = rest < MAX_NAME ? rest : MAX_NAME;
    const char *end = most ? memchr(p, '\n', most) : NULL;
    if (!end) {
        wrong(m, "the name of a global does not end");
        return NULL;
    }
    *length = (int)(end - p);
    m->at += (size_t)(end - p) + 1;
    return p;
}

static bool is_global(const char *full, const char *module, int n, const char *name, int k) {
    return strlen(full) == (size_t)n + 1 + (size_t)k && memcmp(full, module, (size_t)n) == 0 &&
           full[n] == '.' && memcmp(full + n + 1, name, (size_t)k) == 0;
}

static bool op_global(machine *m) {
    int n, k, i = 0;
    const char *module = next_line(m, &n), *name = module ? next_line(m, &k) : NULL;
    value *v;
    if (!name) return false;
    while (i < m->n_globals && !is_global(m->globals[i].name, module, n, name, k)) i++;
    if (i == m->n_globals)
        return gf_fail(m->e, GF_E_MODEL,
                       "%s: its pickle names \"%.*s.%.*s\", and graft runs no code of a file: only "
                       "a dict of tensors can be read; save the model's state_dict(), best as "
                       "safetensors",
                       m->where, n, module, k, name);
    if (!(v = make(m, GF_PICKLE_GLOBAL))) return false;
    v->global = i;
    return push(m, v);
}

static bool op_reduce(machine *m) {
    value *args = pop(m), *what = args ? pop(m) : NULL, *v;
    if (!what) return false;
    if (what->kind != GF_PICKLE_GLOBAL || args->kind != GF_PICKLE_TUPLE)
        return wrong(m, "it calls what is no function");
    switch (m->globals[what->global].makes) {
    case GF_PICKLE_DICT:
        if (args->n) return wrong(m, "it makes a dict of arguments");
        return push(m, make(m, GF_PICKLE_DICT));
    case GF_PICKLE_TUPLE:
        if (args->n != 1 || args->items[0]->kind != GF_PICKLE_TUPLE)
            return wrong(m, "it makes a shape of what is no tuple");
        return push(m, args->items[0]);
    case GF_PICKLE_CALL:
        for (int64_t i = 0; i < args->n; i++)
            if (!push(m, args->items[i])) return false;
        if (!(v = make(m, GF_PICKLE_CALL)) || !move_items(m, v, args->n)) return false;
        v->global = what->global;
        return push(m, v);
    default: return wrong(m, "it calls a type of storage");
    }
}

/* Attributes of a dict: an OrderedDict of PyTorch has _metadata, which tensors do not need. */
static bool op_build(machine *m) {
    if (!pop(m)) return false;
    if (reach(m) == 0 || m->stack[m->height - 1]->kind != GF_PICKLE_DICT)
        return wrong(m, "it sets attributes of what is no dict");
    return true;
}

/* Every operation by its code, as Lib/pickletools.py names them; those without a function are
 * refused by name. */
static const struct {
    const char *name;
    bool (*run)(machine *m);
} ops[256] = {
    [0x80] = {"PROTO", op_proto},
    ['.'] = {"STOP", op_stop},
    ['('] = {"MARK", op_mark},
    ['N'] = {"NONE", op_none},
    [0x88] = {"NEWTRUE", op_true},
    [0x89] = {"NEWFALSE", op_false},
    ['J'] = {"BININT", op_binint},
    ['K'] = {"BININT1", op_binint1},
    ['M'] = {"BININT2", op_binint2},
    [0x8a] = {"LONG1", op_long1},
    ['G'] = {"BINFLOAT", op_binfloat},
    ['X'] = {"BINUNICODE", op_binunicode},
    ['U'] = {"SHORT_BINSTRING", op_short_binstring},
    ['q'] = {"BINPUT", op_binput},
    ['r'] = {"LONG_BINPUT", op_long_binput},
    ['h'] = {"BINGET", op_binget},
    ['j'] = {"LONG_BINGET", op_long_binget},
    ['}'] = {"EMPTY_DICT", op_empty_dict},
    [']'] = {"EMPTY_LIST", op_empty_list},
    [')'] = {"EMPTY_TUPLE", op_empty_tuple},
    ['t'] = {"TUPLE", op_tuple},
    [0x85] = {"TUPLE1", op_tuple1},
    [0x86] = {"TUPLE2", op_tuple2},
    [0x87] = {"TUPLE3", op_tuple3},
    ['Q'] = {"BINPERSID", op_binpersid},
    ['a'] = {"APPEND", op_append},
    ['e'] = {"APPENDS", op_appends},
    ['s'] = {"SETITEM", op_setitem},
    ['u'] = {"SETITEMS", op_setitems},
    ['c'] = {"GLOBAL", op_global},
    ['R'] = {"REDUCE", op_reduce},
    ['b'] = {"BUILD", op_build},
    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['P'] = {"PERSID", NULL},
    ['d'] = {"DICT", NULL},
    ['l'] = {"LIST", NULL},
    ['g'] = {"GET", NULL},
    ['p'] = {"PUT", NULL},
    ['i'] = {"INST", NULL},
    ['o'] = {"OBJ", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x8b] = {"LONG4", NULL},
    [0x8c] = {"SHORT_BINUNICODE", NULL},
    [0x8d] = {"BINUNICODE8", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x93] = {"STACK_GLOBAL", NULL},
    [0x94] = {"MEMOIZE", NULL},
    [0x95] = {"FRAME", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static bool step(machine *m) {
    const unsigned char *code = next(m, 1);
    if (!code) return false;
    if (ops[*code].run) return ops[*code].run(m);
    return gf_fail(m->e, GF_E_MODEL,
                   "%s: byte %zu of its pickle is the operation %s (0x%02x), which a state_dict() "
                   "does not need and graft does not run; save the weights as safetensors",
                   m->where, m->at - 1, ops[*code].name ? ops[*code].name : "of no name", *code);
}

bool gf_pickle_read(gf_pickle *p, const unsigned char *bytes, size_t size,
                    const gf_pickle_global *globals, int n_globals, const char *where, gf_err *e) {
    machine m = {.bytes = bytes,
                 .size = size,
                 .globals = globals,
                 .n_globals = n_globals,
                 .where = where,
                 .e = e,
                 .out = p};
    bool ok = true;
    while (ok && !m.stopped) ok = step(&m);
    gf_free(m.stack);
    gf_free(m.memo);
    return ok;
}

void gf_pickle_free(gf_pickle *p) {
    for (struct gf_pickle_block *block = p->blocks, *following; block; block = following) {
        following = block->next;
        for (int i = 0; i < BLOCK; i++) gf_free(block->values[i].items);
        gf_free(block);
    }
    *p = (gf_pickle){0};
}

const char *gf_pickle_kind_name(const gf_pickle_value *v) {
    static const char *const names[] = {
        "None",   "a bool", "an integer",         "a float",   "a text",   "a tuple",
        "a list", "a dict", "a type or function", "an object", "a storage"};
    return names[v->kind];
}

bool gf_pickle_is_text(const gf_pickle_value *v, const char *text) {
    return v->kind == GF_PICKLE_TEXT && (size_t)v->n == strlen(text) &&
           memcmp(v->text, text, (size_t)v->n) == 0;
}

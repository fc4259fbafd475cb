/* disk: what a disk may hold after a power loss, made from a record of what was written to it
 * (core/io_fault.h).
 *
 *     disk d = {0};
 *     disk_load(&d, "records", FOLDER);
 *     disk_lose_power(&d, 712, seed);          behind the first 712 records
 *     int node = disk_find(&d, "run/metrics.json");
 *     char *bytes = node < 0 ? NULL : disk_content(&d, node, &size);
 *
 * The model is as weak as POSIX allows: of the writes to a file since its last sync each is there,
 * or not, or in part by sectors of 512 bytes; of a folder's changes since its last sync any number
 * of the first are there. A file's sync says nothing of its name. */
#ifndef GF_TESTS_DISK_H
#define GF_TESTS_DISK_H

/* After <cmocka.h>. */
#include "core/io_fault.h"
#include "tests/scratch.h"

typedef struct disk_op { /* a change of a file's bytes, or of a folder's names */
    int64_t record;
    int node; /* the file or the folder */
    bool is_names, is_cut;
    int64_t offset, size; /* is_cut: the file ends at offset */
    const char *bytes;
    const char *name[2]; /* is_names: each now means node to[], -1 for none */
    int to[2];
} disk_op;

typedef struct disk_node {
    bool is_folder;
    int64_t *syncs, n_syncs; /* records */
} disk_node;

typedef struct disk {
    char *text; /* all records */
    int64_t records;
    disk_op *ops;
    disk_node *nodes; /* 0 is the root */
    int64_t n_ops, n_nodes, most_ops, most_nodes;
    size_t skip; /* bytes of the root's path */
    int64_t at;  /* records that were written before the power was lost */
    uint64_t seed;
    bool *applied; /* [n_ops] names only: whether the change is there */
} disk;

static inline int disk_add_node(disk *d, bool is_folder) {
    assert_true(gf_grow(&d->nodes, d->n_nodes, &d->most_nodes, sizeof *d->nodes, NULL));
    d->nodes[d->n_nodes] = (disk_node){.is_folder = is_folder};
    return (int)d->n_nodes++;
}

static inline disk_op *disk_add_op(disk *d, int node) {
    assert_true(gf_grow(&d->ops, d->n_ops, &d->most_ops, sizeof *d->ops, NULL));
    d->ops[d->n_ops] = (disk_op){.record = d->records, .node = node, .to = {-1, -1}};
    return &d->ops[d->n_ops++];
}

static inline void disk_set(disk *d, int folder_node, const char *a, int to_a, const char *b,
                            int to_b) {
    disk_op *op = disk_add_op(d, folder_node);
    op->is_names = true;
    op->name[0] = a, op->to[0] = to_a;
    op->name[1] = b, op->to[1] = to_b;
}

/* What a name in a folder means; -1 nothing. */
static inline int disk_look(const disk *d, int folder_node, const char *name, size_t length) {
    for (int64_t i = d->n_ops - 1; i >= 0; i--) {
        const disk_op *op = &d->ops[i];
        if (!op->is_names || op->node != folder_node || (d->applied && !d->applied[i])) continue;
        for (int k = 0; k < 2; k++)
            if (op->name[k] && strlen(op->name[k]) == length &&
                memcmp(op->name[k], name, length) == 0)
                return op->to[k];
    }
    return -1;
}

/* The node of a path below the root, -1 without one. With `last` the one of its folder, and the
 * last part of the path. */
static inline int disk_walk(const disk *d, const char *path, const char **last) {
    int node = 0;
    while (node >= 0 && *path) {
        size_t n = strcspn(path, "/");
        if (last && !path[n]) {
            *last = path;
            return node;
        }
        if (n) node = disk_look(d, node, path, n);
        path += n + (path[n] == '/');
    }
    return node;
}

static inline int disk_find(const disk *d, const char *path) { return disk_walk(d, path, NULL); }

static inline void disk_note_sync(disk *d, int node) {
    disk_node *n = &d->nodes[node];
    n->syncs = realloc(n->syncs, (size_t)(n->n_syncs + 1) * sizeof *n->syncs);
    n->syncs[n->n_syncs++] = d->records;
}

static inline void disk_note_bytes(disk *d, const gf_io_record_head *h, const char *path,
                                   const char *bytes) {
    const char *name = NULL;
    int parent = disk_walk(d, path, &name), node = disk_find(d, path);
    bool is_new = node < 0;
    disk_op *op;
    assert_true(parent >= 0);
    if (is_new) {
        assert_true(h->op == GF_IO_CREATE || h->op == GF_IO_WRITE);
        node = disk_add_node(d, false);
        disk_set(d, parent, name, node, NULL, -1);
    }
    if (is_new && h->op == GF_IO_CREATE) return;
    op = disk_add_op(d, node);
    op->is_cut = h->op != GF_IO_WRITE;
    op->offset = h->offset;
    op->size = h->size;
    op->bytes = bytes;
}

static inline void disk_note_names(disk *d, int op, const char *path, const char *second) {
    const char *a = NULL, *b = NULL;
    int parent = disk_walk(d, path, &a), node = disk_find(d, path), other = -1;
    if (second) {
        assert_int_equal(disk_walk(d, second, &b), parent);
        other = disk_find(d, second);
    }
    assert_true(parent >= 0);
    if (op == GF_IO_MAKE_FOLDER) node = disk_add_node(d, true);
    assert_true(node >= 0);
    switch (op) {
    case GF_IO_RENAME: disk_set(d, parent, a, -1, b, node); break;
    case GF_IO_EXCHANGE: disk_set(d, parent, a, other, b, node); break;
    case GF_IO_LINK: disk_set(d, parent, b, node, NULL, -1); break;
    case GF_IO_REMOVE: disk_set(d, parent, a, -1, NULL, -1); break;
    default: disk_set(d, parent, a, node, NULL, -1);
    }
}

static inline void disk_note(disk *d, const gf_io_record_head *h, const char *path,
                             const char *second, const char *bytes) {
    if (h->op == GF_IO_CREATE || h->op == GF_IO_WRITE || h->op == GF_IO_TRUNCATE)
        disk_note_bytes(d, h, path, bytes);
    else if (h->op != GF_IO_SYNC)
        disk_note_names(d, h->op, path, second);
    else if (disk_find(d, path) >= 0)
        disk_note_sync(d, disk_find(d, path));
}

/* A path below the root, without it. */
static inline const char *disk_below(const disk *d, const char *path) {
    assert_memory_equal(path, folder, d->skip - 1);
    return path[d->skip - 1] ? path + d->skip : "";
}

/* The root, FOLDER, was there and empty where the records begin. */
static inline void disk_load(disk *d, const char *file) {
    gf_err e = {0};
    size_t size = 0, at = 0;
    if (!(d->text = gf_io_read_all(file, (size_t)1 << 30, &size, &e))) fail_msg("%s", e.text);
    d->skip = strlen(folder) + 1;
    disk_add_node(d, true);
    while (at < size) {
        gf_io_record_head h;
        const char *path = d->text + at + sizeof h, *second;
        memcpy(&h, d->text + at, sizeof h);
        second = h.second_size ? disk_below(d, path + h.path_size) : NULL;
        disk_note(d, &h, disk_below(d, path), second, path + h.path_size + h.second_size);
        at += sizeof h + (size_t)h.path_size + (size_t)h.second_size + (size_t)h.size;
        d->records++;
    }
    assert_int_equal(at, size);
}

static inline void disk_free(disk *d) {
    for (int64_t i = 0; i < d->n_nodes; i++) free(d->nodes[i].syncs);
    gf_free(d->nodes);
    gf_free(d->ops);
    gf_free(d->text);
    free(d->applied);
    *d = (disk){0};
}

/* ---- the power is lost ---- */

/* SplitMix64's finalizer: a choice is a function of the seed and of what it is about. */
static inline uint64_t disk_choose(const disk *d, uint64_t about, uint64_t part) {
    uint64_t z = d->seed + 0x9e3779b97f4a7c15u * (about * 1000003 + part + 1);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The last sync of a node among the first d->at records; what was before it is on the disk. */
static inline int64_t disk_synced(const disk *d, int node) {
    const disk_node *n = &d->nodes[node];
    int64_t last = -1;
    for (int64_t i = 0; i < n->n_syncs && n->syncs[i] < d->at; i++) last = n->syncs[i];
    return last;
}

/* Behind the first `records`. Seed 0 drops all that was not synced, 1 keeps it. */
static inline void disk_lose_power(disk *d, int64_t records, uint64_t seed) {
    d->at = records;
    d->seed = seed;
    free(d->applied);
    d->applied = calloc((size_t)d->n_ops + 1, sizeof *d->applied);
    for (int64_t f = 0; f < d->n_nodes; f++) {
        int64_t synced = disk_synced(d, (int)f), later = 0, kept;
        if (!d->nodes[f].is_folder) continue;
        for (int64_t i = 0; i < d->n_ops; i++)
            later += d->ops[i].is_names && d->ops[i].node == f && d->ops[i].record >= synced &&
                     d->ops[i].record < d->at;
        kept = (int64_t)(disk_choose(d, (uint64_t)f, 1) % (uint64_t)(later + 1));
        if (seed < 2) kept = seed ? later : 0;
        for (int64_t i = 0; i < d->n_ops; i++) {
            const disk_op *op = &d->ops[i];
            if (!op->is_names || op->node != f || op->record >= d->at) continue;
            d->applied[i] = op->record < synced || kept-- > 0;
        }
    }
}

typedef struct disk_bytes {
    char *data;
    int64_t size, capacity;
} disk_bytes;

static inline void disk_resize(disk_bytes *b, int64_t size) {
    if (size > b->capacity) {
        b->capacity = 2 * size;
        b->data = realloc(b->data, (size_t)b->capacity);
    }
    if (size > b->size) memset(b->data + b->size, 0, (size_t)(size - b->size));
    b->size = size;
}

/* How much of a change that was not synced got to the disk. */
static inline void disk_apply(const disk *d, disk_bytes *b, const disk_op *op, bool synced) {
    uint64_t fate = d->seed < 2 ? d->seed : disk_choose(d, (uint64_t)op->record, 2) % 3;
    if (!synced && fate == 0) return;
    if (op->is_cut) {
        disk_resize(b, op->offset);
        return;
    }
    if (op->offset + op->size > b->size) disk_resize(b, op->offset + op->size);
    for (int64_t i = 0, n; i < op->size; i += n) {
        int64_t sector = (op->offset + i) / 512;
        n = (sector + 1) * 512 - (op->offset + i);
        if (n > op->size - i) n = op->size - i;
        if (synced || fate == 1 || disk_choose(d, (uint64_t)op->record, 3 + (uint64_t)sector) & 1)
            memcpy(b->data + op->offset + i, op->bytes + i, (size_t)n);
    }
}

/* For free(). */
static inline char *disk_content(const disk *d, int node, size_t *size) {
    disk_bytes b = {calloc(1, 1), 0, 1};
    int64_t synced = disk_synced(d, node);
    for (int64_t i = 0; i < d->n_ops && d->ops[i].record < d->at; i++)
        if (d->ops[i].node == node && !d->ops[i].is_names)
            disk_apply(d, &b, &d->ops[i], d->ops[i].record < synced);
    *size = (size_t)b.size;
    return b.data;
}

/* The next name of a folder, each once; *at begins as 0. NULL at the end. */
static inline const char *disk_next(const disk *d, int folder_node, int64_t *at) {
    while (*at < 2 * d->n_ops) {
        const disk_op *op = &d->ops[*at / 2];
        const char *name = op->name[*at % 2];
        bool seen = false;
        (*at)++;
        if (!op->is_names || op->node != folder_node || !name) continue;
        for (int64_t i = 0; !seen && i < *at - 1; i++) {
            const disk_op *other = &d->ops[i / 2];
            seen = other->is_names && other->node == folder_node && other->name[i % 2] &&
                   strcmp(other->name[i % 2], name) == 0;
        }
        if (!seen && disk_look(d, folder_node, name, strlen(name)) >= 0) return name;
    }
    return NULL;
}

/* Writes what the disk holds below a folder to the real one. */
static inline void disk_write_out(const disk *d, int folder_node, const char *path) {
    gf_err e = {0};
    const char *name;
    if (!gf_io_make_folder(path, &e)) fail_msg("%s", e.text);
    for (int64_t at = 0; (name = disk_next(d, folder_node, &at));) {
        int node = disk_look(d, folder_node, name, strlen(name));
        char *below = gf_io_join(path, name, &e), *bytes;
        size_t size = 0;
        if (d->nodes[node].is_folder)
            disk_write_out(d, node, below);
        else {
            bytes = disk_content(d, node, &size);
            if (!gf_io_replace_file(below, bytes, size, &e)) fail_msg("%s", e.text);
            free(bytes);
        }
        gf_free(below);
    }
}

/* ---- the checkpoints that were published ---- */

typedef struct history {
    struct {
        char name[32];  /* step-000000123.h5 */
        int64_t record; /* of the folder's sync that published it */
        char *bytes;
        size_t size;
    } items[64];
    int count;
} history;

static inline void disk_take_history(disk *d, history *h) {
    int checkpoints = disk_find(d, "run/checkpoints");
    assert_true(checkpoints > 0);
    for (int64_t i = 0; i < d->n_ops; i++) {
        const disk_op *op = &d->ops[i];
        if (op->node != checkpoints || !op->is_names || !op->name[1]) continue;
        if (strncmp(op->name[1], "step-", 5) != 0) continue;
        assert_true(h->count < 64);
        snprintf(h->items[h->count].name, sizeof h->items->name, "%s", op->name[1]);
        d->at = op->record;
        d->seed = 1;
        h->items[h->count].bytes = disk_content(d, op->to[1], &h->items[h->count].size);
        d->at = INT64_MAX;
        for (int64_t k = 0; k < d->nodes[checkpoints].n_syncs; k++)
            if (d->nodes[checkpoints].syncs[k] > op->record) {
                h->items[h->count].record = d->nodes[checkpoints].syncs[k];
                break;
            }
        h->count++;
    }
}

/* Whether these are the bytes of a checkpoint that was published, under this name unless NULL. */
static inline bool is_in_history(const history *h, const char *name, const char *bytes,
                                 size_t size) {
    for (int i = 0; i < h->count; i++)
        if ((!name || strcmp(h->items[i].name, name) == 0) && h->items[i].size == size &&
            memcmp(h->items[i].bytes, bytes, size) == 0)
            return true;
    return false;
}

static inline void free_history(history *h) {
    for (int i = 0; i < h->count; i++) free(h->items[i].bytes);
    h->count = 0;
}

#endif

/* care, of what is cleaned: mending, deciding, writing. */
#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/care_parts.h"

#include <string.h>

/* ---- mending ---- */

bool gf_care_mend(gf_care *c, gf_cleaning *done, gf_err *e) {
    bool ok = true;
    for (int i = 0; ok && i < GF_PARTS; i++) {
        gf_split *s = &c->split[i];
        for (int64_t k = 0; ok && k < s->rows; k++) {
            gf_care_row *row = &s->row[k];
            gf_text mended = {0};
            gf_damage d = gf_damage_of(gf_care_text(c, s, k), row->size);
            if (!gf_damage_is_mendable(&d)) continue;
            done->invalid += d.invalid > 0;
            done->doubled += d.doubled > 0;
            done->controls += d.controls > 0;
            ok = gf_text_mend(&mended, gf_care_text(c, s, k), row->size, e);
            row->text = c->bytes.length;
            row->size = mended.length;
            ok = ok && gf_text_add_bytes(&c->bytes, mended.data, mended.length, e);
            if (ok) gf_care_hash_row(row, gf_care_text(c, s, k));
            gf_text_free(&mended);
        }
    }
    return ok;
}

/* ---- deciding ---- */

static void drop(gf_care *c, const gf_care_key *key, gf_drop why) {
    gf_drop *now = &c->split[key->split].row[key->row].drop;
    if (*now == GF_KEPT) *now = why;
}

static bool mark_near_empty(gf_care *c, const gf_tokenizer *t, gf_err *e) {
    gf_ids ids = {0};
    bool ok = true;
    for (int i = 0; i < GF_PARTS; i++)
        for (int64_t k = 0; ok && k < c->split[i].rows; k++) {
            gf_care_row *row = &c->split[i].row[k];
            const char *text = gf_care_text(c, &c->split[i], k);
            gf_encoding encoding = {0};
            ids.count = 0;
            row->drop = GF_KEPT;
            ok = gf_tokenizer_encode(t, text, row->size, 3, &ids, &encoding, e);
            if (encoding.pieces < 2 || gf_care_is_blank(text, row->size))
                row->drop = GF_DROP_NEAR_EMPTY;
        }
    gf_free(ids.id);
    return ok;
}

/* Keys of one split and one text: where a task has two labels, rows with a label of it go. */
static void mark_conflicts(gf_care *c, const gf_care_key *keys, int64_t n, gf_drop why) {
    for (int64_t t = 0; t < c->recipe->n_tasks; t++) {
        const gf_care_label *first = NULL;
        bool conflict = false;
        for (int64_t i = 0; i < n; i++) {
            const gf_care_label *label = gf_care_label_of(c, &keys[i], t);
            if (label->class < 0) continue;
            conflict |= first && label->same != first->same;
            first = label;
        }
        for (int64_t i = 0; conflict && gf_care_task_can_conflict(c, t) && i < n; i++)
            if (gf_care_label_of(c, &keys[i], t)->class >= 0) drop(c, &keys[i], why);
    }
}

/* The rows of an equal text, in the order of splits. */
static void mark_group(gf_care *c, const gf_care_key *keys, int64_t n, bool folded) {
    for (int64_t first = 0, end; first < n; first = end) {
        end = first + 1;
        while (end < n && keys[end].split == keys[first].split) end++;
        mark_conflicts(c, keys + first, end - first,
                       folded ? GF_DROP_NEAR_CONFLICT : GF_DROP_CONFLICT);
        for (int64_t i = first; !folded && i < end; i++) {
            if (end < n) drop(c, &keys[i], GF_DROP_SHARED);
            if (gf_care_find_repeat(c, keys, first, i) >= 0) drop(c, &keys[i], GF_DROP_REPEAT);
        }
    }
}

static bool mark_equal(gf_care *c, bool folded, gf_err *e) {
    gf_care_key *keys = gf_care_sort(c, folded, e);
    for (int64_t first = 0, end; keys && first < c->rows; first = end) {
        end = gf_care_group_end(c, keys, first);
        mark_group(c, keys + first, end - first, folded);
    }
    gf_free(keys);
    return keys != NULL;
}

bool gf_care_mark(gf_care *c, const gf_tokenizer *t, gf_cleaning *done, gf_err *e) {
    if (!mark_near_empty(c, t, e) || !mark_equal(c, false, e) || !mark_equal(c, true, e))
        return false;
    for (int i = 0; i < GF_PARTS; i++)
        for (int64_t k = 0; k < c->split[i].rows; k++) done->dropped[i][c->split[i].row[k].drop]++;
    return true;
}

/* ---- writing ---- */

/* PREFIX "KEY": VALUE, the value in JSON. */
static bool add_member(gf_text *out, const char *prefix, const char *key, const char *value,
                       size_t size, gf_err *e) {
    char *quoted = gf_json_quote(prefix, key, e);
    bool ok = quoted && gf_text_add_bytes(out, quoted, strlen(quoted), e) &&
              gf_text_add(out, e, ": ") && gf_text_add_bytes(out, value, size, e);
    gf_free(quoted);
    return ok;
}

/* Whether an earlier task of the file has its labels in the same field. */
static bool is_written(const gf_care *c, const gf_care_file *f, int64_t task) {
    for (int64_t t = 0; t < task; t++)
        if (gf_care_file_has(c, f, t) &&
            strcmp(c->recipe->tasks[t].label, c->recipe->tasks[task].label) == 0)
            return true;
    return false;
}

static bool add_row(const gf_care *c, const gf_split *s, int64_t row, gf_text *out, gf_err *e) {
    const gf_care_file *f = &c->file[s->row[row].file];
    char *text = gf_strndup(gf_care_text(c, s, row), s->row[row].size, e);
    char *quoted = text ? gf_json_quote("", text, e) : NULL;
    bool ok = quoted && add_member(out, "{", f->text, quoted, strlen(quoted), e);
    for (int64_t t = 0; ok && t < c->recipe->n_tasks; t++) {
        const gf_care_label *l = &s->label[t][row];
        if (l->size > 0 && gf_care_file_has(c, f, t) && !is_written(c, f, t))
            ok = add_member(out, ", ", c->recipe->tasks[t].label, c->bytes.data + l->raw, l->size,
                            e);
    }
    gf_free(quoted);
    gf_free(text);
    return ok && gf_text_add_bytes(out, "}\n", 2, e);
}

static bool write_file(const gf_care *c, int32_t file, const char *path, gf_err *e) {
    const gf_split *s = &c->split[c->file[file].split];
    gf_text out = {0};
    bool ok = true;
    for (int64_t k = 0; ok && k < s->rows; k++)
        if (s->row[k].file == file && s->row[k].drop == GF_KEPT) ok = add_row(c, s, k, &out, e);
    ok = ok && gf_io_replace_file(path, out.data, out.length, e);
    gf_text_free(&out);
    return ok;
}

/* FOLDER/train.jsonl ..., checked before anything is written. */
static bool check_target(const gf_care *c, int32_t file, const char *path, bool force, gf_err *e) {
    const gf_split *s = &c->split[c->file[file].split];
    int64_t kept = 0;
    for (int64_t k = 0; k < s->rows; k++)
        kept += s->row[k].file == file && s->row[k].drop == GF_KEPT;
    if (kept == 0)
        return gf_fail(e, GF_E_INVALID, "%s: cleaning would leave no row of %s; check the file",
                       c->file[file].path, s->name);
    if (!force && gf_io_exists(path))
        return gf_fail(e, GF_E_IO, "%s: it is there already; name another folder, or use --force",
                       path);
    return true;
}

char *gf_care_name(const gf_care *c, const gf_care_file *f, gf_err *e) {
    const char *split = c->split[f->split].name;
    return f->own ? gf_format(e, "%s.%s.jsonl", c->recipe->tasks[f->task].name, split)
                  : gf_format(e, "%s.jsonl", split);
}

static bool fail_odd(const gf_care *c, gf_err *e) {
    return gf_fail(e, c->odd.code, "%s (%lld %s in all, which cleaning would lose)", c->odd.text,
                   (long long)c->odd_labels, c->odd_labels == 1 ? "label" : "labels");
}

bool gf_care_write(const gf_care *c, const char *folder, bool force, gf_err *e) {
    char **paths = gf_alloc_array(c->files, sizeof *paths, e);
    bool ok = paths && (c->odd_labels == 0 || fail_odd(c, e));
    for (int32_t i = 0; ok && i < c->files; i++) {
        char *name = gf_care_name(c, &c->file[i], e);
        ok = name && (paths[i] = gf_io_join(folder, name, e)) &&
             check_target(c, i, paths[i], force, e);
        gf_free(name);
    }
    ok = ok && gf_io_make_folder(folder, e);
    for (int32_t i = 0; ok && i < c->files; i++) ok = write_file(c, i, paths[i], e);
    for (int64_t i = 0; paths && i < c->files; i++) gf_free(paths[i]);
    gf_free(paths);
    return ok;
}

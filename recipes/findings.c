#include "recipes/findings.h"

#include "core/json.h"
#include "core/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 80 };

gf_finding *gf_findings_add(gf_findings *f, const char *kind, bool problem, int64_t count,
                            gf_err *e) {
    gf_finding *n;
    if (!gf_grow(&f->list, f->count, &f->capacity, sizeof *f->list, e)) return NULL;
    if (!(n = gf_alloc_array(1, sizeof *n, e))) return NULL;
    *n = (gf_finding){.kind = kind, .problem = problem, .count = count};
    f->list[f->count++] = n;
    f->problems += problem;
    return n;
}

void gf_findings_free(gf_findings *f) {
    for (int64_t i = 0; i < f->count; i++) {
        gf_finding *n = f->list[i];
        for (int64_t k = 0; k < n->n_places; k++) gf_free(n->place[k]);
        gf_text_free(&n->what);
        gf_text_free(&n->fix);
        gf_free(n);
    }
    gf_free(f->list);
    *f = (gf_findings){0};
}

static bool add_formatted(gf_text *t, gf_err *e, const char *format, va_list args) {
    char line[2048];
    int n = vsnprintf(line, sizeof line, format, args);
    size_t size = n < 0 ? 0 : n < (int)sizeof line ? (size_t)n : sizeof line - 1;
    return gf_text_add_bytes(t, line, size, e);
}

bool gf_finding_place(gf_finding *f, gf_err *e, const char *format, ...) {
    gf_text place = {0};
    va_list args;
    bool ok;
    if (f->all_places++ >= GF_PLACES) return true;
    va_start(args, format);
    ok = add_formatted(&place, e, format, args);
    va_end(args);
    if (ok) f->place[f->n_places++] = place.data, place.data = NULL; /* the finding's now */
    gf_text_free(&place);
    return ok;
}

/* ---- lines ---- */

/* Columns of a word: bytes that do not continue a character. */
static int width_of(const char *p, size_t n) {
    int width = 0;
    for (size_t i = 0; i < n; i++) width += ((unsigned char)p[i] & 0xC0) != 0x80;
    return width;
}

bool gf_text_add_wrapped(gf_text *out, const char *first, const char *rest, const char *text,
                         gf_err *e) {
    bool ok = gf_text_add(out, e, "%s", first), fresh = true;
    int column = width_of(first, strlen(first));
    while (ok && *text) {
        size_t n = strcspn(text, " ");
        int width = width_of(text, n);
        if (!fresh && column + 1 + width > COLUMNS) {
            ok = gf_text_add(out, e, "\n%s", rest);
            column = width_of(rest, strlen(rest));
            fresh = true;
        }
        ok = ok && gf_text_add(out, e, "%s%.*s", fresh ? "" : " ", (int)n, text);
        column += !fresh + width;
        fresh = false;
        text += n;
        text += strspn(text, " ");
    }
    return ok && gf_text_add(out, e, "\n");
}

bool gf_text_add_shell_word(gf_text *out, const char *word, gf_err *e) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-./=,:@%+";
    bool ok = true;
    if (*word && word[strspn(word, plain)] == 0) return gf_text_add(out, e, "%s", word);
    ok = gf_text_add(out, e, "'");
    for (; ok && *word; word++)
        ok = *word == '\'' ? gf_text_add(out, e, "'\\''") : gf_text_add_bytes(out, word, 1, e);
    return ok && gf_text_add(out, e, "'");
}

static bool print_places(const gf_finding *f, gf_text *out, gf_err *e) {
    gf_text list = {0};
    bool ok = true;
    for (int64_t i = 0; ok && i < f->n_places; i++)
        ok = gf_text_add(&list, e, "%s%s", i ? ", " : "", f->place[i]);
    if (ok && f->all_places > f->n_places) ok = gf_text_add(&list, e, ", ...");
    ok = ok && (!list.length || gf_text_add_wrapped(out, "    ", "    ", list.data, e));
    gf_text_free(&list);
    return ok;
}

bool gf_findings_print(const gf_findings *f, gf_text *out, gf_err *e) {
    bool ok = true;
    for (int64_t i = 0; ok && i < f->count; i++) {
        const gf_finding *n = f->list[i];
        ok = gf_text_add_wrapped(out, n->problem ? "! " : "- ", "  ", n->what.data, e) &&
             print_places(n, out, e) &&
             (!n->fix.length || gf_text_add(out, e, "    fix: %s\n", n->fix.data));
    }
    return ok;
}

/* ---- JSON ---- */

static bool add_name(cJSON *j, const char *key, const char *value, gf_err *e) {
    return value ? gf_json_string(j, key, value, e) != NULL : gf_json_null(j, key, e) != NULL;
}

static bool add_finding(const gf_finding *f, cJSON *list, gf_err *e) {
    cJSON *j = gf_json_object(list, NULL, e), *places;
    bool ok = j && add_name(j, "kind", f->kind, e) && gf_json_bool(j, "problem", f->problem, e) &&
              add_name(j, "split", f->split, e) && add_name(j, "task", f->task, e) &&
              gf_json_number(j, "count", (double)f->count, e) &&
              add_name(j, "what", f->what.data, e) && add_name(j, "fix", f->fix.data, e) &&
              (places = gf_json_array(j, "places", e));
    for (int64_t i = 0; ok && i < f->n_places; i++)
        ok = gf_json_string(places, NULL, f->place[i], e) != NULL;
    return ok;
}

bool gf_findings_to_json(const gf_findings *f, cJSON *parent, gf_err *e) {
    cJSON *list = gf_json_array(parent, "findings", e);
    bool ok = list != NULL;
    for (int64_t i = 0; ok && i < f->count; i++) ok = add_finding(f->list[i], list, e);
    return ok;
}

#include "recipes/fields.h"

#include "core/io.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/suggest.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where in the file a value stands: a list of keys and indices, linked towards the root. */
typedef struct place {
    const struct place *up;
    const char *key; /* NULL: the index counts */
    int64_t index;
} place;

enum { DEEPEST = 16, MOST_KEYS = 32 };

/* ---- messages ---- */

static const char *place_text(const place *at, char *text, size_t size) {
    const place *path[DEEPEST];
    size_t used = 0;
    int n = 0;
    for (; at->up && n < DEEPEST; at = at->up) path[n++] = at;
    snprintf(text, size, n ? "" : "the file");
    while (n-- > 0 && used < size) {
        const char *dot = used ? "." : "";
        int length = path[n]->key
                         ? snprintf(text + used, size - used, "%s%s", dot, path[n]->key)
                         : snprintf(text + used, size - used, "[%lld]", (long long)path[n]->index);
        used += (size_t)length;
    }
    return text;
}

/* "FILE: PLACE WHAT" */
static bool fail_at(const gf_reader *r, const place *at, gf_err *e, const char *what) {
    char text[256];
    return gf_fail(e, GF_E_INVALID, "%s: %s %s", r->file, place_text(at, text, sizeof text), what);
}

static bool fail_kind(const gf_reader *r, const place *at, const cJSON *j, const char *wanted,
                      gf_err *e) {
    char what[128];
    snprintf(what, sizeof what, "is %s; it must be %s", gf_json_kind(j), wanted);
    return fail_at(r, at, e, what);
}

static bool fail_range(const gf_reader *r, const place *at, double value, const char *range,
                       gf_err *e) {
    char what[128];
    snprintf(what, sizeof what, "is %.15g; it must be %s", value, range);
    return fail_at(r, at, e, what);
}

static bool fail_choice(const gf_reader *r, const place *at, const char *value,
                        const char *const *choices, gf_err *e) {
    char what[512], tail[256];
    int n = 0;
    while (choices[n]) n++;
    snprintf(what, sizeof what, "is \"%.120s\", which is not supported yet by this version; %s",
             value, gf_suggest(value, choices, n, tail, sizeof tail));
    return fail_at(r, at, e, what);
}

static bool fail_unknown_key(const gf_reader *r, const place *at, const gf_field *fields,
                             gf_err *e) {
    const char *keys[MOST_KEYS];
    char path[256], tail[256];
    int n = 0;
    for (; fields[n].key && n < MOST_KEYS; n++) keys[n] = fields[n].key;
    return gf_fail(e, GF_E_INVALID, "%s: unknown key \"%s\"; %s", r->file,
                   place_text(at, path, sizeof path),
                   gf_suggest(at->key, keys, n, tail, sizeof tail));
}

/* ---- reading ---- */

static bool read_object(const gf_reader *r, const place *at, const cJSON *j, const gf_field *fields,
                        void *target, gf_err *e);

/* Keys of a struct's member without breaking its type: all access goes through memcpy. */
static void *member(const void *target, size_t at) { return (char *)(uintptr_t)target + at; }

static bool set_string(void *to, char *text) {
    if (text) memcpy(to, &text, sizeof text);
    return text != NULL;
}

static bool read_string(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                        void *to, gf_err *e) {
    if (!cJSON_IsString(j)) return fail_kind(r, at, j, "a string", e);
    if (!*j->valuestring) return fail_at(r, at, e, "is empty; give it a value or leave it out");
    if (f->kind == GF_FIELD_PATH) return set_string(to, gf_io_join(r->folder, j->valuestring, e));
    return set_string(to, gf_strdup(j->valuestring, e));
}

static bool read_choice(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                        void *to, gf_err *e) {
    int i = 0;
    if (!cJSON_IsString(j)) return fail_kind(r, at, j, "a string", e);
    while (f->choices[i] && strcmp(f->choices[i], j->valuestring) != 0) i++;
    if (!f->choices[i]) return fail_choice(r, at, j->valuestring, f->choices, e);
    if (f->kind == GF_FIELD_CHOICE) return set_string(to, gf_strdup(f->choices[i], e));
    memcpy(to, &i, sizeof i);
    return true;
}

static bool read_number(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                        void *to, gf_err *e) {
    double value = j->valuedouble;
    int64_t whole;
    if (!cJSON_IsNumber(j)) return fail_kind(r, at, j, "a number", e);
    if (!(value >= f->low && value <= f->high)) return fail_range(r, at, value, f->range, e);
    if (f->kind != GF_FIELD_COUNT) {
        memcpy(to, &value, sizeof value);
        return true;
    }
    if (value != floor(value)) return fail_range(r, at, value, "a whole number", e);
    whole = (int64_t)value;
    memcpy(to, &whole, sizeof whole);
    return true;
}

static bool read_pair(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                      void *to, gf_err *e) {
    if (!cJSON_IsArray(j)) return fail_kind(r, at, j, "a list of two numbers", e);
    if (cJSON_GetArraySize(j) != 2)
        return fail_range(r, at, cJSON_GetArraySize(j), "a list of two numbers", e);
    for (int i = 0; i < 2; i++) {
        place here = {at, NULL, i};
        if (!read_number(r, &here, cJSON_GetArrayItem(j, i), f,
                         member(to, (size_t)i * sizeof(double)), e))
            return false;
    }
    return true;
}

static bool read_bool(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                      void *to, gf_err *e) {
    bool yes = cJSON_IsTrue(j);
    int maybe = yes;
    if (!cJSON_IsBool(j)) return fail_kind(r, at, j, "true or false", e);
    if (f->kind == GF_FIELD_BOOL)
        memcpy(to, &yes, sizeof yes);
    else
        memcpy(to, &maybe, sizeof maybe);
    return true;
}

static bool read_value(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                       void *target, gf_err *e);

/* A table whose key is "" describes the element itself. */
static bool read_element(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                         void *element, gf_err *e) {
    if (*f->fields[0].key) return read_object(r, at, j, f->fields, element, e);
    return read_value(r, at, j, &f->fields[0], element, e);
}

static bool is_comment(const char *key) { return key && key[0] == '_'; }

/* The array is made whole first, so that what is read can be freed whenever reading stops. */
static bool read_elements(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                          void *target, gf_err *e) {
    const cJSON *item;
    int64_t n = 0;
    char *items;
    cJSON_ArrayForEach(item, j) n += f->kind == GF_FIELD_LIST || !is_comment(item->string);
    if (!((double)n >= f->low && (double)n <= f->high)) {
        char what[128];
        snprintf(what, sizeof what, "has %lld entries; it must have %s", (long long)n, f->range);
        return fail_at(r, at, e, what);
    }
    if (!(items = gf_alloc_array(n, f->size, e))) return false;
    set_string(member(target, f->at), items);
    n = 0;
    cJSON_ArrayForEach(item, j) {
        place here = {at, item->string, n};
        char *element = items + (size_t)n * f->size;
        if (f->kind == GF_FIELD_MAP && is_comment(item->string)) continue;
        memcpy(element, f->blank, f->size);
        memcpy(member(target, f->count_at), &(int64_t){++n}, sizeof n);
        if (f->kind == GF_FIELD_MAP && !set_string(element, gf_strdup(item->string, e)))
            return false;
        if (!read_element(r, &here, item, f, element, e)) return false;
    }
    return true;
}

/* The word in place of a map. */
static bool read_word(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                      void *target, gf_err *e) {
    const char *const words[] = {f->word, NULL};
    if (strcmp(j->valuestring, f->word) != 0) return fail_choice(r, at, j->valuestring, words, e);
    memcpy(member(target, f->word_at), &(bool){true}, sizeof(bool));
    return true;
}

static void set_null(const gf_field *f, void *to) {
    int64_t whole = (int64_t)(isnan(f->null) ? 0 : f->null);
    int maybe = -1;
    if (f->kind == GF_FIELD_NUMBER) memcpy(to, &f->null, sizeof f->null);
    if (f->kind == GF_FIELD_COUNT) memcpy(to, &whole, sizeof whole);
    if (f->kind == GF_FIELD_MAYBE) memcpy(to, &maybe, sizeof maybe);
}

static bool read_value(const gf_reader *r, const place *at, const cJSON *j, const gf_field *f,
                       void *target, gf_err *e) {
    void *to = member(target, f->at);
    if (cJSON_IsNull(j) && f->nullable) {
        if (f->kind == GF_FIELD_SECTION) return read_object(r, at, NULL, f->fields, target, e);
        set_null(f, to);
        return true;
    }
    switch (f->kind) {
    case GF_FIELD_STRING:
    case GF_FIELD_PATH: return read_string(r, at, j, f, to, e);
    case GF_FIELD_CHOICE:
    case GF_FIELD_ENUM: return read_choice(r, at, j, f, to, e);
    case GF_FIELD_NUMBER:
    case GF_FIELD_COUNT: return read_number(r, at, j, f, to, e);
    case GF_FIELD_PAIR: return read_pair(r, at, j, f, to, e);
    case GF_FIELD_BOOL:
    case GF_FIELD_MAYBE: return read_bool(r, at, j, f, to, e);
    case GF_FIELD_SECTION: return read_object(r, at, j, f->fields, target, e);
    case GF_FIELD_LIST:
        if (!cJSON_IsArray(j)) return fail_kind(r, at, j, "a list", e);
        return read_elements(r, at, j, f, target, e);
    case GF_FIELD_MAP:
        if (f->word && cJSON_IsString(j)) return read_word(r, at, j, f, target, e);
        if (!cJSON_IsObject(j)) return fail_kind(r, at, j, "an object", e);
        return read_elements(r, at, j, f, target, e);
    }
    return false;
}

static bool read_absent(const gf_reader *r, const place *at, const gf_field *f, void *target,
                        gf_err *e) {
    char what[128];
    if (f->kind == GF_FIELD_SECTION) return read_object(r, at, NULL, f->fields, target, e);
    if (f->fallback) return set_string(member(target, f->at), gf_strdup(f->fallback, e));
    if (!f->required) return true;
    snprintf(what, sizeof what, "is missing; it is %s", f->required);
    return fail_at(r, at, e, what);
}

static bool check_keys(const gf_reader *r, const place *at, const cJSON *j, const gf_field *fields,
                       gf_err *e) {
    const cJSON *item;
    cJSON_ArrayForEach(item, j) {
        const gf_field *f = fields;
        place here = {at, item->string, 0};
        if (is_comment(item->string)) continue;
        while (f->key && strcmp(f->key, item->string) != 0) f++;
        if (!f->key) return fail_unknown_key(r, &here, fields, e);
    }
    return true;
}

/* j NULL is an object that was left out. */
static bool read_object(const gf_reader *r, const place *at, const cJSON *j, const gf_field *fields,
                        void *target, gf_err *e) {
    if (j && !cJSON_IsObject(j)) return fail_kind(r, at, j, "an object", e);
    if (!check_keys(r, at, j, fields, e)) return false;
    for (const gf_field *f = fields; f->key; f++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(j, f->key);
        place here = {at, f->key, 0};
        if (item ? !read_value(r, &here, item, f, target, e) : !read_absent(r, &here, f, target, e))
            return false;
    }
    return true;
}

bool gf_fields_read(const gf_reader *r, const cJSON *j, const gf_field *fields, void *target,
                    gf_err *e) {
    place root = {0};
    return read_object(r, &root, j, fields, target, e);
}

/* ---- writing ---- */

static bool write_path(cJSON *parent, const char *key, const char *path, gf_err *e) {
    char folder[PATH_MAX], *absolute;
    bool ok;
    if (path[0] != '/' && !getcwd(folder, sizeof folder))
        return gf_fail(e, GF_E_IO,
                       "the working folder cannot be told; change into one that exists");
    absolute = gf_io_join(path[0] == '/' ? NULL : folder, path, e);
    ok = absolute && gf_json_string(parent, key, absolute, e);
    gf_free(absolute);
    return ok;
}

static bool write_string(cJSON *parent, const char *key, const gf_field *f, const void *from,
                         gf_err *e) {
    const char *text;
    memcpy(&text, from, sizeof text);
    if (!text) return gf_json_null(parent, key, e);
    if (f->kind == GF_FIELD_PATH) return write_path(parent, key, text, e);
    return gf_json_string(parent, key, text, e);
}

static bool write_number(cJSON *parent, const char *key, const gf_field *f, const void *from,
                         gf_err *e) {
    double value;
    int64_t whole;
    memcpy(&value, from, sizeof value);
    memcpy(&whole, from, sizeof whole);
    if (f->kind == GF_FIELD_COUNT) value = (double)whole;
    if (f->nullable && (value == f->null || isnan(value))) return gf_json_null(parent, key, e);
    return gf_json_exact(parent, key, value, e);
}

static bool write_pair(cJSON *parent, const char *key, const void *from, gf_err *e) {
    cJSON *list = gf_json_array(parent, key, e);
    double pair[2];
    memcpy(pair, from, sizeof pair);
    return list && gf_json_exact(list, NULL, pair[0], e) && gf_json_exact(list, NULL, pair[1], e);
}

static bool write_int(cJSON *parent, const char *key, const gf_field *f, const void *from,
                      gf_err *e) {
    int value;
    memcpy(&value, from, sizeof value);
    if (f->kind == GF_FIELD_ENUM) return gf_json_string(parent, key, f->choices[value], e);
    if (value < 0) return gf_json_null(parent, key, e);
    return gf_json_bool(parent, key, value, e);
}

static bool write_value(cJSON *parent, const char *key, const gf_field *f, const void *target,
                        gf_err *e);

static bool write_element(cJSON *parent, const char *key, const gf_field *f, const void *element,
                          gf_err *e) {
    cJSON *object;
    if (!*f->fields[0].key) return write_value(parent, key, &f->fields[0], element, e);
    return (object = gf_json_object(parent, key, e)) &&
           gf_fields_write(object, f->fields, element, e);
}

static bool write_elements(cJSON *parent, const char *key, const gf_field *f, const void *target,
                           gf_err *e) {
    bool is_list = f->kind == GF_FIELD_LIST;
    cJSON *all;
    int64_t n;
    char *items;
    memcpy(&n, member(target, f->count_at), sizeof n);
    memcpy(&items, member(target, f->at), sizeof items);
    if (f->word && *(const bool *)member(target, f->word_at))
        return gf_json_string(parent, key, f->word, e);
    if (f->nullable && n == 0) return gf_json_null(parent, key, e);
    if (!(all = is_list ? gf_json_array(parent, key, e) : gf_json_object(parent, key, e)))
        return false;
    for (int64_t i = 0; i < n; i++) {
        const char *element = items + (size_t)i * f->size, *name = NULL;
        if (!is_list) memcpy(&name, element, sizeof name);
        if (!write_element(all, name, f, element, e)) return false;
    }
    return true;
}

static bool write_value(cJSON *parent, const char *key, const gf_field *f, const void *target,
                        gf_err *e) {
    const void *from = member(target, f->at);
    cJSON *object;
    switch (f->kind) {
    case GF_FIELD_STRING:
    case GF_FIELD_PATH:
    case GF_FIELD_CHOICE: return write_string(parent, key, f, from, e);
    case GF_FIELD_NUMBER:
    case GF_FIELD_COUNT: return write_number(parent, key, f, from, e);
    case GF_FIELD_PAIR: return write_pair(parent, key, from, e);
    case GF_FIELD_BOOL: return gf_json_bool(parent, key, *(const bool *)from, e);
    case GF_FIELD_ENUM:
    case GF_FIELD_MAYBE: return write_int(parent, key, f, from, e);
    case GF_FIELD_SECTION:
        return (object = gf_json_object(parent, key, e)) &&
               gf_fields_write(object, f->fields, target, e);
    case GF_FIELD_LIST:
    case GF_FIELD_MAP: return write_elements(parent, key, f, target, e);
    }
    return false;
}

bool gf_fields_write(cJSON *object, const gf_field *fields, const void *target, gf_err *e) {
    for (const gf_field *f = fields; f->key; f++)
        if (!write_value(object, f->key, f, target, e)) return false;
    return true;
}

/* ---- freeing ---- */

static void free_pointer(void *at) {
    void *p;
    memcpy(&p, at, sizeof p);
    gf_free(p);
    memset(at, 0, sizeof p);
}

static void free_elements(const gf_field *f, void *target) {
    int64_t n;
    char *items;
    memcpy(&n, member(target, f->count_at), sizeof n);
    memcpy(&items, member(target, f->at), sizeof items);
    for (int64_t i = 0; i < n; i++) {
        char *element = items + (size_t)i * f->size;
        gf_fields_free(f->fields, element);
        if (f->kind == GF_FIELD_MAP) free_pointer(element);
    }
    memset(member(target, f->count_at), 0, sizeof n);
    free_pointer(member(target, f->at));
}

void gf_fields_free(const gf_field *fields, void *target) {
    for (const gf_field *f = fields; f->key; f++) {
        if (f->kind == GF_FIELD_SECTION) gf_fields_free(f->fields, target);
        if (f->kind == GF_FIELD_LIST || f->kind == GF_FIELD_MAP) free_elements(f, target);
        if (f->kind == GF_FIELD_STRING || f->kind == GF_FIELD_PATH || f->kind == GF_FIELD_CHOICE)
            free_pointer(member(target, f->at));
    }
}

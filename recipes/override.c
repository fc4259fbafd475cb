#include "recipes/override.h"

#include "core/json.h"
#include "core/mem.h"

#include <string.h>

/* The value as JSON, or as a string when it is none: `output=runs/a` needs no quotes. */
static cJSON *parse_value(const char *text, gf_err *e) {
    gf_err why = {0};
    cJSON *j = gf_json_parse(text, strlen(text), "--set", 1, GF_E_USAGE, &why);
    if (j) return j;
    if (why.code == GF_E_USAGE) return gf_json_string(NULL, NULL, text, e);
    gf_fail(e, why.code, "%s", why.text);
    return NULL;
}

static bool ends_step(char c) { return c == 0 || c == '.' || c == '['; }

/* The child whose key the path starts with, the longest if there are several: keys may hold dots.
 * *length is set to what it takes of the path. */
static cJSON *child_by_key(const cJSON *object, const char *path, size_t *length) {
    cJSON *best = NULL, *item;
    cJSON_ArrayForEach(item, object) {
        size_t n = strlen(item->string);
        if (strncmp(item->string, path, n) != 0 || !ends_step(path[n])) continue;
        if (best && n <= *length) continue;
        best = item;
        *length = n;
    }
    if (!best) *length = strcspn(path, ".[");
    return best;
}

/* The element that "1" or "[1]" at the start of the path picks. */
static cJSON *child_by_index(const cJSON *list, const char *path, size_t *length) {
    bool in_brackets = *path == '[';
    const char *p = path + in_brackets;
    int index = 0;
    size_t digits = strspn(p, "0123456789");
    for (size_t i = 0; i < digits && index < 1000000; i++) index = index * 10 + (p[i] - '0');
    if (digits == 0 || (in_brackets && p[digits] != ']')) return NULL;
    *length = digits + 2u * in_brackets;
    return ends_step(path[*length]) ? cJSON_GetArrayItem(list, index) : NULL;
}

/* Puts the value where `old` was. The old key moves over, which needs no memory. */
static bool replace(cJSON *parent, cJSON *old, cJSON *value) {
    value->string = old->string;
    old->string = NULL;
    return cJSON_ReplaceItemViaPointer(parent, old, value);
}

/* Adds the item under the first `length` bytes of the path; owns it; NULL fails too. */
static bool add(cJSON *object, const char *path, size_t length, cJSON *item, gf_err *e) {
    char *key = item ? gf_strndup(path, length, e) : NULL;
    bool ok = key && cJSON_AddItemToObject(object, key, item);
    if (key && !ok) gf_fail(e, GF_E_NOMEM, "out of memory while applying --set");
    if (!ok) cJSON_Delete(item);
    gf_free(key);
    return ok;
}

static bool fail_step(const cJSON *node, const char *set, const char *path, gf_err *e) {
    if (cJSON_IsArray(node))
        return gf_fail(e, GF_E_USAGE, "--set %s: \"%s\" is not in a list of %d; count from 0", set,
                       path, cJSON_GetArraySize(node));
    return gf_fail(e, GF_E_USAGE, "--set %s: \"%s\" cannot be looked up in %s; check the path", set,
                   path, gf_json_kind(node));
}

/* Walks to the end of the path and puts the value there; owns it. */
static bool put(cJSON *node, const char *set, const char *path, cJSON *value, gf_err *e) {
    for (;;) {
        size_t length = 0;
        cJSON *child = cJSON_IsArray(node) ? child_by_index(node, path, &length)
                                           : child_by_key(node, path, &length);
        bool is_last = path[length] == 0;
        if (length == 0 || (!child && !cJSON_IsObject(node))) {
            cJSON_Delete(value);
            return fail_step(node, set, path, e);
        }
        if (is_last) return child ? replace(node, child, value) : add(node, path, length, value, e);
        if (!child && !add(node, path, length, child = gf_json_object(NULL, NULL, e), e)) {
            cJSON_Delete(value);
            return false;
        }
        path += length + (path[length] == '.');
        node = child;
    }
}

bool gf_override_apply(cJSON *root, const char *set, gf_err *e) {
    const char *equals = strchr(set, '=');
    char *path;
    cJSON *value;
    bool ok;
    if (!equals || equals == set)
        return gf_fail(e, GF_E_USAGE,
                       "--set %s: it has no KEY=VALUE; write --set phases.0.epochs=3", set);
    if (!(value = parse_value(equals + 1, e))) return false;
    if (!(path = gf_strndup(set, (size_t)(equals - set), e))) {
        cJSON_Delete(value);
        return false;
    }
    ok = put(root, set, path, value, e);
    gf_free(path);
    return ok;
}

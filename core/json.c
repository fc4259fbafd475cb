#include "core/json.h"

#include "core/io.h"
#include "core/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEEPEST = 200 };

void gf_json_use_core_memory(void) {
    cJSON_Hooks hooks = {gf_alloc_hook, gf_free};
    cJSON_InitHooks(&hooks);
}

/* Where a byte offset lies, counted from `line` and column 1. */
static bool fail_at(gf_err *e, gf_code code, const char *where, int64_t line, const char *text,
                    size_t offset, const char *what) {
    int64_t column = 1;
    for (size_t i = 0; i < offset; i++) {
        column = text[i] == '\n' ? 1 : column + 1;
        line += text[i] == '\n';
    }
    return gf_fail(e, code, "%s:%lld:%lld: %s", where, (long long)line, (long long)column, what);
}

/* Depth is checked before cJSON recurses over it; strings are skipped. */
static bool check_depth(const char *text, size_t size, size_t *offset) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < size; i++) {
        if (in_string && text[i] == '\\')
            i++;
        else if (text[i] == '"')
            in_string = !in_string;
        else if (!in_string && (text[i] == '[' || text[i] == '{'))
            depth++;
        else if (!in_string && (text[i] == ']' || text[i] == '}'))
            depth--;
        *offset = i;
        if (depth > DEEPEST) return false;
    }
    return true;
}

static void replace_escaped_nul(char *text, size_t size) {
    for (size_t i = 0; i + 5 < size; i++) {
        if (text[i] != '\\') continue;
        if (memcmp(text + i, "\\u0000", 6) == 0) memcpy(text + i, "\\ufffd", 6);
        i++;
    }
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(cJSON *const *)a)->string, (*(cJSON *const *)b)->string);
}

/* The first key that stands twice in one object anywhere below j; NULL in *twice if none. */
static bool find_repeated_key(const cJSON *j, const char **twice, gf_err *e) {
    int n = cJSON_GetArraySize(j), k = 0;
    const cJSON **items = NULL, *item;
    bool ok = true;
    if (cJSON_IsObject(j) && n > 1) {
        if (!(items = gf_alloc_array(n, sizeof *items, e))) return false;
        cJSON_ArrayForEach(item, j) items[k++] = item;
        qsort(items, (size_t)n, sizeof *items, by_name);
        for (k = 1; k < n && !*twice; k++)
            if (by_name(&items[k - 1], &items[k]) == 0) *twice = items[k]->string;
        gf_free(items);
    }
    cJSON_ArrayForEach(item, j) {
        if (*twice || !ok) break;
        ok = find_repeated_key(item, twice, e);
    }
    return ok;
}

static cJSON *parse_copy(char *text, size_t size, const char *where, int64_t line, gf_code code,
                         gf_err *e) {
    const char *end = NULL, *twice = NULL;
    const char *zero = memchr(text, 0, size); /* cJSON would end a string there, or skip it */
    size_t offset = 0;
    int64_t failures = gf_mem_get_stats().failures;
    cJSON *j;
    if (zero) {
        fail_at(e, code, where, line, text, (size_t)(zero - text),
                "a byte 0 is no part of JSON; write \\u0000");
        return NULL;
    }
    if (!check_depth(text, size, &offset)) {
        fail_at(e, code, where, line, text, offset, "nested too deeply; 200 levels are allowed");
        return NULL;
    }
    replace_escaped_nul(text, size);
    j = cJSON_ParseWithLengthOpts(text, size + 1, &end, false);
    if (!j) {
        /* cJSON itself does not tell bad text from lack of memory. */
        if (gf_mem_get_stats().failures != failures)
            gf_fail(e, GF_E_NOMEM, "%s: out of memory", where);
        fail_at(
            e, code, where, line, text, end ? (size_t)(end - text) : 0,
            "this is not valid JSON; a comma, quote or bracket is missing or too many near here");
        return NULL;
    }
    while (*end == ' ' || *end == '\n' || *end == '\r' || *end == '\t') end++;
    if ((size_t)(end - text) < size)
        fail_at(e, code, where, line, text, (size_t)(end - text),
                "something follows the JSON value; remove it");
    else if (find_repeated_key(j, &twice, e)) {
        if (!twice) return j;
        gf_fail(e, code, "%s:%lld: the key \"%s\" stands twice in one object; keep one", where,
                (long long)line, twice);
    }
    cJSON_Delete(j);
    return NULL;
}

cJSON *gf_json_parse(const char *text, size_t size, const char *where, int64_t line, gf_code code,
                     gf_err *e) {
    char *copy = gf_strndup(text, size, e);
    cJSON *j = copy ? parse_copy(copy, size, where, line, code, e) : NULL;
    gf_free(copy);
    return j;
}

cJSON *gf_json_read(const char *path, size_t limit, gf_err *e) {
    size_t size = 0;
    char *text = gf_io_read_all(path, limit, &size, e);
    cJSON *j = text ? parse_copy(text, size, path, 1, GF_E_MODEL, e) : NULL;
    gf_free(text);
    return j;
}

char *gf_json_print(const cJSON *j, gf_err *e) {
    char *text = cJSON_Print(j), *line;
    if (!text) {
        gf_fail(e, GF_E_NOMEM, "out of memory while writing JSON");
        return NULL;
    }
    line = gf_format(e, "%s\n", text);
    cJSON_free(text);
    return line;
}

char *gf_json_quote(const char *prefix, const char *text, gf_err *e) {
    cJSON *j = gf_json_string(NULL, NULL, text, e);
    char *quoted = j ? cJSON_PrintUnformatted(j) : NULL, *whole = NULL;
    if (quoted)
        whole = gf_format(e, "%s%s", prefix, quoted);
    else
        gf_fail(e, GF_E_NOMEM, "out of memory while writing JSON");
    cJSON_free(quoted);
    cJSON_Delete(j);
    return whole;
}

const char *gf_json_kind(const cJSON *j) {
    if (!j) return "missing";
    if (cJSON_IsNull(j)) return "null";
    if (cJSON_IsBool(j)) return "true or false";
    if (cJSON_IsNumber(j)) return "a number";
    if (cJSON_IsString(j)) return "a string";
    return cJSON_IsArray(j) ? "a list" : "an object";
}

static cJSON *attach(cJSON *parent, const char *name, cJSON *item, gf_err *e) {
    bool ok = item != NULL;
    if (ok && parent)
        ok = name ? cJSON_AddItemToObject(parent, name, item) : cJSON_AddItemToArray(parent, item);
    if (ok) return item;
    cJSON_Delete(item);
    gf_fail(e, GF_E_NOMEM, "out of memory while building JSON");
    return NULL;
}

cJSON *gf_json_object(cJSON *parent, const char *name, gf_err *e) {
    return attach(parent, name, cJSON_CreateObject(), e);
}

cJSON *gf_json_array(cJSON *parent, const char *name, gf_err *e) {
    return attach(parent, name, cJSON_CreateArray(), e);
}

cJSON *gf_json_string(cJSON *parent, const char *name, const char *value, gf_err *e) {
    return attach(parent, name, cJSON_CreateString(value), e);
}

cJSON *gf_json_number(cJSON *parent, const char *name, double value, gf_err *e) {
    return attach(parent, name, cJSON_CreateNumber(value), e);
}

/* cJSON prints 15 digits and takes a neighbour of the number for the same; 17 always do. */
cJSON *gf_json_exact(cJSON *parent, const char *name, double value, gf_err *e) {
    char text[64];
    snprintf(text, sizeof text, "%.15g", value);
    if (!isfinite(value) || strtod(text, NULL) == value)
        return gf_json_number(parent, name, value, e);
    snprintf(text, sizeof text, "%.17g", value);
    return attach(parent, name, cJSON_CreateRaw(text), e);
}

cJSON *gf_json_bool(cJSON *parent, const char *name, bool value, gf_err *e) {
    return attach(parent, name, cJSON_CreateBool(value), e);
}

cJSON *gf_json_null(cJSON *parent, const char *name, gf_err *e) {
    return attach(parent, name, cJSON_CreateNull(), e);
}

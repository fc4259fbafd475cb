#include "recipes/inputs.h"

#include "checkpoints/folder.h"
#include "checkpoints/open.h"
#include "core/io.h"
#include "core/mem.h"
#include "core/sha256.h"
#include "core/text.h"

#include <stdio.h>
#include <string.h>

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static bool add_file(cJSON *list, const char *path, const char *name, gf_err *e) {
    char hex[GF_SHA256_HEX];
    return gf_sha256_of_file(path, hex, e) && gf_json_string(list, name, hex, e);
}

/* What makes a model: not its README, nor the same weights in further formats. */
static bool is_part(const char *folder, const char *name) {
    static const char *const ends[] = {".json", ".txt", ".safetensors", ".bin"};
    const char *dot = strrchr(name, '.');
    bool is = false;
    for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++) is |= strcmp(dot, ends[i]) == 0;
    return is && !(strncmp(name, "pytorch_model", 13) == 0 &&
                   gf_folder_holds(folder, "model.safetensors"));
}

/* The folder's files, and those of sentence-transformers' module folders ("1_Pooling"). */
static bool add_folder(cJSON *list, const char *folder, const char *prefix, gf_err *e) {
    int64_t n = 0;
    char **names = gf_io_list(folder, &n, e);
    bool ok = names != NULL;
    for (int64_t i = 0; ok && i < n; i++) {
        char *path = gf_io_join(folder, names[i], e);
        char *shown = path ? gf_format(e, "%s%s", prefix, names[i]) : NULL;
        ok = shown != NULL;
        if (ok && gf_io_is_folder(path) && !*prefix && names[i][0] >= '0' && names[i][0] <= '9') {
            gf_free(shown);
            ok = (shown = gf_format(e, "%s/", names[i])) && add_folder(list, path, shown, e);
        } else if (ok && gf_io_is_file(path) && is_part(folder, names[i]))
            ok = add_file(list, path, shown, e);
        gf_free(shown);
        gf_free(path);
    }
    gf_io_free_names(names, n);
    return ok;
}

static bool add_base(cJSON *list, const char *base, gf_err *e) {
    char *part = NULL;
    bool ok;
    if (!gf_io_is_folder(base)) return add_file(list, base, name_of(base), e);
    if (gf_place_find(base) != GF_PLACE_RUN) return add_folder(list, base, "", e);
    ok = (part = gf_io_join(base, "model", e)) != NULL;
    if (ok && gf_io_is_folder(part))
        ok = add_folder(list, part, "", e);
    else if (ok) {
        gf_free(part);
        ok = (part = gf_io_join(base, "checkpoints/best.h5", e)) &&
             add_file(list, part, "best.h5", e);
    }
    gf_free(part);
    return ok;
}

cJSON *gf_inputs_digest(const gf_recipe *r, gf_err *e) {
    int64_t n = 0;
    gf_recipe_file *files = gf_recipe_files(r, &n, e);
    cJSON *j = files ? gf_json_object(NULL, NULL, e) : NULL;
    cJSON *list = j ? gf_json_object(j, "base", e) : NULL;
    bool ok = list && add_base(list, r->base, e);
    for (int64_t i = 0; ok && i < n; i++)
        ok = (list = gf_json_object(j, files[i].name, e)) &&
             add_file(list, files[i].path, name_of(files[i].path), e);
    gf_free(files);
    if (ok) return j;
    cJSON_Delete(j);
    return NULL;
}

enum { MOST_SHOWN = 6, DEPTH = 16 };

typedef struct changes {
    gf_text text;
    int64_t count;
    gf_err *e;
} changes;

/* Adds a line's worth: "phases.1.epochs: 1 is now 3". */
static void note(changes *c, const char *path, const cJSON *then, const cJSON *now) {
    char *a = then ? cJSON_PrintUnformatted(then) : NULL;
    char *b = now ? cJSON_PrintUnformatted(now) : NULL;
    if (c->count++ < MOST_SHOWN)
        gf_text_add(&c->text, c->e, "%s%s: %.60s is now %.60s", c->text.length ? ", " : "", path,
                    a ? a : "absent", b ? b : "absent");
    cJSON_free(a);
    cJSON_free(b);
}

static void compare_values(changes *c, const char *path, const cJSON *then, const cJSON *now,
                           int depth);

/* Members by key, elements by place. */
static void compare_members(changes *c, const char *path, const cJSON *then, const cJSON *now,
                            int depth) {
    char at[256];
    const cJSON *item, *other;
    int i = 0;
    for (item = then->child; item; item = item->next, i++) {
        if (item->string)
            snprintf(at, sizeof at, "%s%s%s", path, *path ? "." : "", item->string);
        else
            snprintf(at, sizeof at, "%s.%d", path, i);
        other = item->string ? cJSON_GetObjectItemCaseSensitive(now, item->string)
                             : cJSON_GetArrayItem(now, i);
        compare_values(c, at, item, other, depth + 1);
    }
    for (item = now->child, i = 0; item; item = item->next, i++) {
        if (item->string ? cJSON_GetObjectItemCaseSensitive(then, item->string) != NULL
                         : cJSON_GetArrayItem(then, i) != NULL)
            continue;
        snprintf(at, sizeof at, "%s%s%s", path, *path ? "." : "",
                 item->string ? item->string : "further");
        note(c, at, NULL, item);
    }
}

static void compare_values(changes *c, const char *path, const cJSON *then, const cJSON *now,
                           int depth) {
    bool nested = depth < DEPTH && now && (cJSON_IsObject(then) || cJSON_IsArray(then)) &&
                  (then->type & 0xff) == (now->type & 0xff);
    if (nested)
        compare_members(c, path, then, now, depth);
    else if (!now || !cJSON_Compare(then, now, true))
        note(c, path, then, now);
}

/* A file counts by its digest; its name may have changed where only one stands for the input. */
static void compare_inputs(changes *c, const cJSON *then, const cJSON *now) {
    const cJSON *part, *file;
    cJSON_ArrayForEach(part, then) {
        const cJSON *other = cJSON_GetObjectItemCaseSensitive(now, part->string);
        bool single = cJSON_GetArraySize(part) == 1 && cJSON_GetArraySize(other) == 1;
        cJSON_ArrayForEach(file, part) {
            const cJSON *same =
                single ? other->child : cJSON_GetObjectItemCaseSensitive(other, file->string);
            if (same && cJSON_Compare(file, same, true)) continue;
            if (c->count++ < MOST_SHOWN)
                gf_text_add(&c->text, c->e, "%s%s file %s %s", c->text.length ? ", " : "",
                            part->string, file->string, same ? "has other bytes" : "is gone");
        }
        if (cJSON_GetArraySize(other) > cJSON_GetArraySize(part) && c->count++ < MOST_SHOWN)
            gf_text_add(&c->text, c->e, "%s%s has further files", c->text.length ? ", " : "",
                        part->string);
    }
}

bool gf_inputs_compare(const cJSON *then, const cJSON *now, const char *recipe_then,
                       const char *recipe_now, const char *where, gf_err *e) {
    changes c = {.e = e};
    cJSON *a = gf_json_parse(recipe_then, strlen(recipe_then), where, 1, GF_E_MODEL, e);
    cJSON *b = a ? gf_json_parse(recipe_now, strlen(recipe_now), where, 1, GF_E_MODEL, e) : NULL;
    bool ok = b != NULL;
    cJSON_DeleteItemFromObjectCaseSensitive(a, "cache"); /* checkpoints of old hold it */
    cJSON_DeleteItemFromObjectCaseSensitive(b, "cache");
    if (ok) {
        compare_values(&c, "", a, b, 0);
        compare_inputs(&c, then, now);
        ok = c.count == 0 ||
             gf_fail(e, GF_E_INVALID,
                     "%s: changed since the run began: %s%s; go on regardless with --force, or "
                     "start a new run",
                     where, c.text.data ? c.text.data : "", c.count > MOST_SHOWN ? ", ..." : "");
    }
    gf_text_free(&c.text);
    cJSON_Delete(a);
    cJSON_Delete(b);
    return ok;
}

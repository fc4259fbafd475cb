#include "checkpoints/heads.h"

#include "checkpoints/weights.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, MAX_JSON = 1 << 26 };

static bool add_task(cJSON *tasks, const gf_head *h, gf_err *e) {
    cJSON *task = gf_json_object(tasks, NULL, e), *classes, *thresholds;
    bool ok = task && gf_json_string(task, "name", h->name, e) &&
              gf_json_string(task, "type", gf_task_type_names[h->type], e) &&
              (classes = gf_json_array(task, "classes", e));
    for (int64_t i = 0; ok && i < h->n_classes; i++)
        ok = gf_json_string(classes, NULL, h->classes[i], e);
    if (!ok || !h->thresholds) return ok;
    ok = (thresholds = gf_json_array(task, "thresholds", e));
    for (int64_t i = 0; ok && i < h->n_classes; i++)
        ok = gf_json_number(thresholds, NULL, (double)h->thresholds[i], e);
    return ok;
}

cJSON *gf_heads_to_json(const gf_model *m, gf_err *e) {
    cJSON *j = gf_json_object(NULL, NULL, e), *tasks;
    bool ok =
        j && gf_json_number(j, "version", VERSION, e) && (tasks = gf_json_array(j, "tasks", e));
    for (int64_t i = 0; ok && i < m->n_heads; i++) ok = add_task(tasks, &m->heads[i], e);
    if (ok) return j;
    cJSON_Delete(j);
    return NULL;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Fails when a class stands twice in the list. */
static bool check_distinct(const char *const *classes, int64_t n, const char *where,
                           const char *task, gf_err *e) {
    const char **sorted = gf_alloc_array(n, sizeof *sorted, e);
    bool ok = sorted != NULL;
    if (!ok) return false;
    memcpy(sorted, classes, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, by_text);
    for (int64_t i = 1; ok && i < n; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            ok = gf_fail(e, GF_E_MODEL, "%s: task \"%s\": the class \"%s\" stands twice", where,
                         task, sorted[i]);
    gf_free(sorted);
    return ok;
}

static bool read_classes(gf_model *m, const char *task, gf_task_type type, const cJSON *list,
                         const char *where, gf_err *e) {
    int64_t n = cJSON_GetArraySize(list), k = 0;
    const char **classes = gf_alloc_array(n, sizeof *classes, e);
    const cJSON *item;
    bool ok = classes != NULL;
    if (!ok) return false;
    cJSON_ArrayForEach(item, list) {
        if (ok && !cJSON_IsString(item))
            ok = gf_fail(e, GF_E_MODEL, "%s: task \"%s\": a class is %s; strings are wanted", where,
                         task, gf_json_kind(item));
        classes[k++] = item->valuestring;
    }
    ok = ok && check_distinct(classes, n, where, task, e) &&
         gf_model_add_task_head(m, task, type, classes, n, e);
    gf_free(classes);
    return ok;
}

/* One in (0, 1) a class. */
static bool read_thresholds(const gf_model *m, const cJSON *list, const char *where, gf_err *e) {
    gf_head *h = &m->heads[m->n_heads - 1];
    const cJSON *item;
    int64_t k = 0;
    if (!list) return true;
    if (!h->thresholds || !cJSON_IsArray(list) || cJSON_GetArraySize(list) != h->n_classes)
        return gf_fail(e, GF_E_MODEL,
                       "%s: task \"%s\": \"thresholds\" does not fit; a multi_label task has one "
                       "number a class",
                       where, h->name);
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble <= 1))
            return gf_fail(e, GF_E_MODEL,
                           "%s: task \"%s\": a threshold is %s; numbers from 0 to 1 are wanted",
                           where, h->name, gf_json_kind(item));
        h->thresholds[k++] = (gf_real)item->valuedouble;
    }
    return true;
}

/* How many classes a type must have. */
static int least_classes(gf_task_type type) {
    if (type == GF_TASK_REGRESSION) return 0;
    return type == GF_TASK_ORDINAL ? 2 : 1;
}

static bool check_classes(const cJSON *classes, const char *task, gf_task_type type,
                          const char *where, gf_err *e) {
    int least = least_classes(type), n = cJSON_GetArraySize(classes);
    if (!cJSON_IsArray(classes) || n < least)
        return gf_fail(e, GF_E_MODEL,
                       "%s: task \"%s\": \"classes\" is %s; a list of at least %s is wanted", where,
                       task,
                       !cJSON_IsArray(classes) ? gf_json_kind(classes)
                       : n == 0                ? "empty"
                                               : "too short",
                       least == 2 ? "two" : "one");
    if (type == GF_TASK_REGRESSION && n > 0)
        return gf_fail(e, GF_E_MODEL, "%s: task \"%s\": a regression has no classes", where, task);
    return true;
}

static bool read_task(gf_model *m, const cJSON *task, const char *where, gf_err *e) {
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(task, "name");
    const cJSON *type = cJSON_GetObjectItemCaseSensitive(task, "type");
    const cJSON *classes = cJSON_GetObjectItemCaseSensitive(task, "classes");
    gf_task_type kind = GF_TASK_CLASSIFICATION;
    if (!cJSON_IsString(name) || !name->valuestring[0])
        return gf_fail(e, GF_E_MODEL, "%s: a task's \"name\" is %s; a string is wanted", where,
                       cJSON_IsString(name) ? "empty" : gf_json_kind(name));
    if (!cJSON_IsString(type) || !gf_task_type_find(type->valuestring, &kind))
        return gf_fail(e, GF_E_MODEL,
                       "%s: task \"%s\": its \"type\" is %s; \"classification\", \"multi_label\", "
                       "\"regression\" and \"ordinal\" are supported",
                       where, name->valuestring,
                       cJSON_IsString(type) ? type->valuestring : gf_json_kind(type));
    if (!check_classes(classes, name->valuestring, kind, where, e)) return false;
    if (gf_model_find_head(m, name->valuestring))
        return gf_fail(e, GF_E_MODEL, "%s: task \"%s\" stands twice", where, name->valuestring);
    return read_classes(m, name->valuestring, kind, classes, where, e) &&
           read_thresholds(m, cJSON_GetObjectItemCaseSensitive(task, "thresholds"), where, e);
}

bool gf_heads_from_json(gf_model *m, const cJSON *j, const char *where, gf_err *e) {
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(j, "version");
    const cJSON *tasks = cJSON_GetObjectItemCaseSensitive(j, "tasks"), *task;
    if (!cJSON_IsNumber(version) || version->valuedouble != VERSION)
        return gf_fail(e, GF_E_MODEL, "%s: its \"version\" is not %d; a newer graft may read it",
                       where, VERSION);
    if (!cJSON_IsArray(tasks))
        return gf_fail(e, GF_E_MODEL, "%s: \"tasks\" is %s; a list is wanted", where,
                       gf_json_kind(tasks));
    cJSON_ArrayForEach(task, tasks) if (!read_task(m, task, where, e)) return false;
    return true;
}

bool gf_heads_read(gf_model *m, const char *folder, const gf_log *log, gf_err *e) {
    char *list = gf_io_join(folder, "heads.json", e);
    char *values = list ? gf_io_join(folder, "heads.safetensors", e) : NULL;
    cJSON *j = NULL;
    bool ok = values != NULL;
    if (!ok || (!gf_io_exists(list) && !gf_io_exists(values))) goto done;
    if (!gf_io_exists(list) || !gf_io_exists(values))
        ok = gf_fail(e, GF_E_MODEL, "%s: it is missing beside its twin; heads need both files",
                     gf_io_exists(list) ? values : list);
    ok = ok && (j = gf_json_read(list, MAX_JSON, e)) && gf_heads_from_json(m, j, list, e) &&
         gf_weights_read_heads(m, values, log, e);
done:
    cJSON_Delete(j);
    gf_free(values);
    gf_free(list);
    return ok;
}

bool gf_heads_write(const gf_model *m, const char *folder, gf_err *e) {
    char *list = gf_io_join(folder, "heads.json", e), *text = NULL;
    char *values = list ? gf_io_join(folder, "heads.safetensors", e) : NULL;
    cJSON *j = values && m->n_heads ? gf_heads_to_json(m, e) : NULL;
    bool ok = values && (m->n_heads == 0 || (j && (text = gf_json_print(j, e)) &&
                                             gf_io_replace_file(list, text, strlen(text), e) &&
                                             gf_weights_write(m, true, GF_DTYPE_F32, values, e)));
    cJSON_Delete(j);
    gf_free(text);
    gf_free(values);
    gf_free(list);
    return ok;
}

bool gf_heads_init_read(gf_model *m, const char *path, gf_err *e) {
    return gf_weights_read_heads(m, path, NULL, e);
}

#include "checkpoints/classifier.h"

#include "checkpoints/heads.h"
#include "checkpoints/weights.h"
#include "core/mem.h"

#include <stdio.h>
#include <string.h>

enum { MAX_JSON = 1 << 24 };

typedef enum declared { OTHER_TASK, CLASSIFIER, NO_TASK } declared;

/* Whose weights "architectures" says these are. */
static declared read_architectures(const cJSON *config) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(config, "architectures"), *item;
    declared found = NO_TASK;
    cJSON_ArrayForEach(item, list) {
        const char *name = cJSON_IsString(item) ? item->valuestring : "";
        if (strcmp(name, "BertForSequenceClassification") == 0) return CLASSIFIER;
        if (strcmp(name, "BertModel") != 0) found = OTHER_TASK;
    }
    return found;
}

/* The rows of classifier.weight; 0 when this is no classifier over a pooler. */
static bool count_classes(declared d, const char *weights, int64_t *rows, gf_err *e) {
    int64_t pooler = 1;
    *rows = 0;
    if (d == OTHER_TASK) return true;
    return gf_weights_rows(weights, "classifier.weight", rows, e) &&
           (*rows == 0 || d == CLASSIFIER ||
            gf_weights_rows(weights, "pooler.dense.weight", &pooler, e)) &&
           (pooler > 0 || (*rows = 0, true));
}

static bool check_problem(const cJSON *config, int64_t classes, const char *where, gf_err *e) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(config, "problem_type");
    const char *type = cJSON_IsString(item) ? item->valuestring : NULL;
    if (type && strcmp(type, "single_label_classification") != 0)
        return gf_fail(
            e, GF_E_MODEL,
            "%s: \"problem_type\" is \"%s\"; \"single_label_classification\" is supported, "
            "and of other models the encoder alone (model.bert.save_pretrained(d))",
            where, type);
    if (classes != 1) return true;
    return gf_fail(
        e, GF_E_MODEL,
        "%s: it has one label, which makes it a \"regression\"; a classification is "
        "supported, and of other models the encoder alone (model.bert.save_pretrained(d))",
        where);
}

/* The number that a key of id2label is, -1 if it is none below n. */
static int64_t read_id(const char *key, int64_t n) {
    int64_t id = 0;
    size_t length = strlen(key);
    if (length == 0 || length > 9 || (key[0] == '0' && length > 1)) return -1;
    for (; *key; key++) {
        if (*key < '0' || *key > '9') return -1;
        id = 10 * id + (*key - '0');
    }
    return id < n ? id : -1;
}

/* names [n] from id2label, which must number exactly the classes 0 to n - 1. */
static bool read_names(const cJSON *labels, const char **names, int64_t n, const char *where,
                       gf_err *e) {
    const cJSON *item;
    int64_t found = 0;
    cJSON_ArrayForEach(item, labels) {
        int64_t id = read_id(item->string ? item->string : "", n);
        if (id < 0 || names[id] || !cJSON_IsString(item))
            return gf_fail(e, GF_E_MODEL,
                           "%s: \"id2label\": \"%s\" does not give one of the %lld classes of "
                           "classifier.weight a name",
                           where, item->string ? item->string : "", (long long)n);
        names[id] = item->valuestring;
        found++;
    }
    return found == n ||
           gf_fail(e, GF_E_MODEL,
                   "%s: \"id2label\" has %lld of the %lld classes of classifier.weight", where,
                   (long long)found, (long long)n);
}

/* The classes as transformers names them where config.json does not. */
static bool add_default_names(cJSON *classes, int64_t n, gf_err *e) {
    char name[32];
    bool ok = true;
    for (int64_t i = 0; ok && i < n; i++) {
        snprintf(name, sizeof name, "LABEL_%lld", (long long)i);
        ok = gf_json_string(classes, NULL, name, e);
    }
    return ok;
}

static bool add_names(cJSON *classes, const cJSON *labels, int64_t n, const char *where,
                      gf_err *e) {
    const char **names = gf_alloc_array(n, sizeof *names, e);
    bool ok = names && read_names(labels, names, n, where, e);
    for (int64_t i = 0; ok && i < n; i++) ok = gf_json_string(classes, NULL, names[i], e);
    gf_free(names);
    return ok;
}

/* What heads.json would say. */
static bool list_head(gf_classifier *c, const cJSON *config, int64_t n, const char *where,
                      gf_err *e) {
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(config, "id2label");
    cJSON *tasks, *task, *classes;
    bool ok =
        (c->heads = gf_json_object(NULL, NULL, e)) && gf_json_number(c->heads, "version", 1, e) &&
        (tasks = gf_json_array(c->heads, "tasks", e)) && (task = gf_json_object(tasks, NULL, e)) &&
        gf_json_string(task, "name", GF_CLASSIFIER, e) &&
        gf_json_string(task, "type", "classification", e) &&
        (classes = gf_json_array(task, "classes", e));
    if (!ok) return false;
    return cJSON_IsObject(labels) ? add_names(classes, labels, n, where, e)
                                  : add_default_names(classes, n, e);
}

bool gf_classifier_find(gf_classifier *c, const char *folder, const char *weights, gf_err *e) {
    char *path = gf_io_join(folder, "config.json", e);
    cJSON *config = path ? gf_json_read(path, MAX_JSON, e) : NULL;
    declared d = config ? read_architectures(config) : OTHER_TASK;
    int64_t rows = 0;
    bool ok = config && (!weights || count_classes(d, weights, &rows, e));
    c->present = d == CLASSIFIER || rows > 0;
    if (ok && c->present && weights && rows == 0)
        ok = gf_fail(e, GF_E_MODEL, "%s: tensor \"classifier.weight\" is missing; %s names it",
                     weights, path);
    ok = ok && (!c->present || check_problem(config, rows, path, e)) &&
         (rows == 0 || list_head(c, config, rows, path, e));
    cJSON_Delete(config);
    gf_free(path);
    return ok;
}

bool gf_classifier_apply(const gf_classifier *c, gf_model *m, gf_err *e) {
    if (!c->present) return true;
    m->normalize = false;
    return gf_model_set_pooling(m, GF_POOL_POOLER, e) &&
           (!c->heads || gf_heads_from_json(m, c->heads, "config.json", e));
}

bool gf_classifier_read(const gf_classifier *c, gf_model *m, const char *weights, gf_err *e) {
    if (!c->heads) return true;
    return gf_weights_read_linear(m, &m->dense, "pooler.dense", weights, e) &&
           gf_weights_read_linear(m, &m->heads[0].linear, "classifier", weights, e);
}

void gf_classifier_free(gf_classifier *c) {
    cJSON_Delete(c->heads);
    *c = (gf_classifier){0};
}

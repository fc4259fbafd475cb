/* recipes/keys: every key of the table misspelt, of the wrong kind and out of range, derived from
 * the table itself; every key written and read again. */
#include "core/json.h"
#include "core/mem.h"
#include "core/text.h"
#include "recipes/keys.h"
#include "recipes/recipe.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static gf_recipe must_parse(const char *text) {
    gf_recipe r = {0};
    gf_err e = {0};
    if (!gf_recipe_parse(&r, text, strlen(text), "dir/recipe.json", NULL, 0, &e))
        fail_msg("%s", e.text);
    return r;
}

/* Every key with its value. */
static cJSON *resolved(const char *text) {
    gf_recipe r = must_parse(text);
    gf_err e = {0};
    cJSON *j = gf_recipe_to_json(&r, &e);
    if (!j) fail_msg("%s", e.text);
    gf_recipe_free(&r);
    return j;
}

/* ---- every key misspelt, of another kind, out of range: derived from the table ---- */

/* One element at least in every list and map. */
static const char all_lists[] =
    "{\"model\": {\"base\": \"b\"}, \"data\": {\"train\": \"t\"}, \"tasks\": [{\"name\": \"a\","
    " \"classes\": [\"x\", \"y\"], \"class_weights\": {\"x\": 2}}], \"phases\": [{\"trainable\":"
    " {\"*\": {\"lr\": 1}}, \"loss_weights\": {\"a\": 2}}]}";

typedef struct walk {
    cJSON *root;
    int keys, misspelt, kinds, ranges, nulls, missing;
} walk;

static void assert_says(const walk *w, const char *path, const char *want) {
    gf_recipe r;
    gf_err e = {0};
    char *text = cJSON_PrintUnformatted(w->root);
    if (gf_recipe_parse(&r, text, strlen(text), "r.json", NULL, 0, &e))
        fail_msg("%s was taken where \"%s\" was due", path, want);
    if (e.code != GF_E_INVALID || strncmp(e.text, "r.json: ", 8) != 0 || !strstr(e.text, want))
        fail_msg("%s: \"%s\" instead of \"%s\"", path, e.text, want);
    assert_null(r.path);
    cJSON_free(text);
}

/* Puts a value in a key's place, checks what is said, and puts back what was there. A list's or
 * map's element is held by its place, an object's member by its name. */
static void try_value(walk *w, cJSON *item, const char *path, const char *json, const char *want) {
    cJSON *parsed = cJSON_Parse(json), kept = *item;
    assert_non_null(parsed);
    item->type = parsed->type;
    item->child = parsed->child;
    item->valuestring = parsed->valuestring;
    item->valuedouble = parsed->valuedouble;
    assert_says(w, path, want);
    *item = kept;
    cJSON_Delete(parsed);
}

static void try_misspelt(walk *w, cJSON *item, const gf_field *f, const char *path) {
    char *right = item->string, wrong[64], want[320];
    snprintf(wrong, sizeof wrong, "%sx", f->key);
    snprintf(want, sizeof want, "unknown key \"%sx\"; ", path);
    item->string = wrong;
    assert_says(w, path, want);
    snprintf(want, sizeof want, "; did you mean \"%s\"?", f->key);
    if (strlen(f->key) > 3) assert_says(w, path, want);
    item->string = right;
    w->misspelt++;
}

static void try_kind(walk *w, cJSON *item, const gf_field *f, const char *path) {
    static const char *const wrong[][2] = {
        [GF_FIELD_STRING] = {"7", "is a number; it must be a string"},
        [GF_FIELD_PATH] = {"7", "is a number; it must be a string"},
        [GF_FIELD_CHOICE] = {"7", "is a number; it must be a string"},
        [GF_FIELD_ENUM] = {"7", "is a number; it must be a string"},
        [GF_FIELD_NUMBER] = {"\"7\"", "is a string; it must be a number"},
        [GF_FIELD_PAIR] = {"7", "is a number; it must be a list of two numbers"},
        [GF_FIELD_COUNT] = {"[7]", "is a list; it must be a number"},
        [GF_FIELD_BOOL] = {"\"true\"", "is a string; it must be true or false"},
        [GF_FIELD_MAYBE] = {"1", "is a number; it must be true or false"},
        [GF_FIELD_SECTION] = {"7", "is a number; it must be an object"},
        [GF_FIELD_LIST] = {"{}", "is an object; it must be a list"},
        [GF_FIELD_MAP] = {"[]", "is a list; it must be an object"}};
    char want[320];
    snprintf(want, sizeof want, ": %s %s", path, wrong[f->kind][1]);
    try_value(w, item, path, wrong[f->kind][0], want);
    w->kinds++;
}

/* "FILE: PATH...; it must be RANGE" for JSON that holds this number or so many entries. */
static void try_range(walk *w, cJSON *item, const gf_field *f, const char *path, const char *json,
                      const char *verb) {
    char want[320];
    snprintf(want, sizeof want, "; it must %s %s", verb, f->range);
    try_value(w, item, path, json, want);
    snprintf(want, sizeof want, ": %s", path);
    try_value(w, item, path, json, want);
    w->ranges++;
}

static void try_number(walk *w, cJSON *item, const gf_field *f, const char *path) {
    double below = f->low > 0 ? f->low - 1 : -1;
    double above = f->high < 1 && f->high > 0.99 ? 1 : f->high * 2;
    char json[64];
    if (f->kind == GF_FIELD_NUMBER && f->low > 0) below = 0;
    snprintf(json, sizeof json, f->kind == GF_FIELD_PAIR ? "[%.17g, 0.5]" : "%.17g", below);
    try_range(w, item, f, path, json, "be");
    snprintf(json, sizeof json, f->kind == GF_FIELD_PAIR ? "[0.5, %.17g]" : "%.17g", above);
    try_range(w, item, f, path, json, "be");
    if (f->kind != GF_FIELD_COUNT) return;
    snprintf(json, sizeof json, "%.17g", f->low + 0.5);
    try_value(w, item, path, json, "; it must be a whole number");
    w->ranges++;
}

enum { MOST_BUILT = 20000 };

static void try_entries(walk *w, cJSON *item, const gf_field *f, const char *path) {
    char *json = malloc(20 * MOST_BUILT), *at = json;
    bool list = f->kind == GF_FIELD_LIST;
    assert_non_null(json);
    if (f->low > 0) try_range(w, item, f, path, list ? "[]" : "{}", "have");
    if (f->high < MOST_BUILT) {
        *at++ = list ? '[' : '{';
        for (int i = 0; i <= (int)f->high; i++)
            at += sprintf(at, list ? "%s7" : "%s\"%d\": 7", i ? "," : "", i);
        snprintf(at, 2, list ? "]" : "}");
        try_range(w, item, f, path, json, "have");
    }
    free(json);
}

/* What a key of its kind can hold that is not in its range. */
static void try_ranges(walk *w, cJSON *item, const gf_field *f, const char *path) {
    char want[320];
    switch (f->kind) {
    case GF_FIELD_NUMBER:
    case GF_FIELD_COUNT:
    case GF_FIELD_PAIR: try_number(w, item, f, path); return;
    case GF_FIELD_LIST:
    case GF_FIELD_MAP: try_entries(w, item, f, path); return;
    case GF_FIELD_CHOICE:
    case GF_FIELD_ENUM:
        snprintf(want, sizeof want, ": %s is \"zzzzzz\", which is not supported", path);
        try_value(w, item, path, "\"zzzzzz\"", want);
        break;
    case GF_FIELD_STRING:
    case GF_FIELD_PATH:
        snprintf(want, sizeof want, ": %s is empty; give it a value", path);
        try_value(w, item, path, "\"\"", want);
        break;
    case GF_FIELD_BOOL:
    case GF_FIELD_MAYBE:
    case GF_FIELD_SECTION: return; /* these have no range */
    }
    w->ranges++;
}

static void try_missing(walk *w, cJSON *item, const gf_field *f, const char *path) {
    char *name = item->string, want[320], comment[] = "_";
    snprintf(want, sizeof want, ": %s is missing; it is %.40s", path, f->required);
    item->string = comment; /* as if it were not there */
    assert_says(w, path, want);
    item->string = name;
    w->missing++;
}

static void walk_keys(walk *w, cJSON *object, const gf_field *fields, const char *path);

static void walk_element(walk *w, cJSON *item, const gf_field *f, const char *path) {
    if (*f->fields[0].key) {
        walk_keys(w, item, f->fields, path);
        return;
    }
    try_kind(w, item, &f->fields[0], path);
    try_ranges(w, item, &f->fields[0], path);
}

static void walk_key(walk *w, cJSON *item, const gf_field *f, const char *path) {
    char want[320], *below;
    w->keys++;
    try_misspelt(w, item, f, path);
    try_kind(w, item, f, path);
    try_ranges(w, item, f, path);
    if (f->required) try_missing(w, item, f, path);
    if (!f->nullable && f->kind != GF_FIELD_SECTION) {
        snprintf(want, sizeof want, ": %s is null; it must be", path);
        try_value(w, item, path, "null", want);
        w->nulls++;
    }
    if (f->kind == GF_FIELD_SECTION) walk_keys(w, item, f->fields, path);
    if (f->kind != GF_FIELD_LIST && f->kind != GF_FIELD_MAP) return;
    assert_non_null(item->child);
    below = f->kind == GF_FIELD_LIST ? gf_format(NULL, "%s[0]", path)
                                     : gf_format(NULL, "%s.%s", path, item->child->string);
    walk_element(w, item->child, f, below);
    gf_free(below);
}

static void walk_keys(walk *w, cJSON *object, const gf_field *fields, const char *path) {
    for (const gf_field *f = fields; f->key; f++) {
        cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->key);
        char *below = gf_format(NULL, "%s%s%s", path, *path ? "." : "", f->key);
        if (!item) fail_msg("%s is not written", below);
        walk_key(w, item, f, below);
        gf_free(below);
    }
}

static void every_key_is_checked(void **state) {
    walk w = {.root = resolved(all_lists)};
    (void)state;
    walk_keys(&w, w.root, gf_recipe_keys, "");
    /* a key that is added must be added here */
    assert_int_equal(w.keys, 111);
    assert_int_equal(w.misspelt, w.keys);
    assert_int_equal(w.kinds, w.keys + 3); /* the elements of classes and of the maps of weights */
    assert_int_equal(w.ranges, 165);
    assert_int_equal(w.nulls, 60);
    assert_int_equal(w.missing, 6);
    cJSON_Delete(w.root);
}

/* ---- every key written and read again ---- */

/* Between them they set every key to something that is not its default. */
static const char *const rich[] = {
    "{\"model\": {\"base\": \"b2\", \"init\": \"random\", \"heads_init\": \"h.st\", "
    "\"max_length\": "
    "77,"
    " \"pooling\": \"cls\", \"normalize\": false, \"dropout\": 0.25}, \"data\": {\"train\": \"t2\","
    " \"dev\": \"d\", \"test\": \"e\", \"text\": \"body\"}, \"tasks\": [{\"name\": \"a\","
    " \"type\": \"multi_label\", \"label\": \"tags\", \"classes\": [\"x\", \"y\"], \"weight\": 0.5,"
    " \"class_weights\": {\"x\": 2, \"y\": 0.5}, \"focal_gamma\": 2, \"separator\": \";\","
    " \"threshold\": 0.25, \"data\": {\"train\": \"a.csv\", \"dev\": \"a2.csv\","
    " \"test\": \"a3.csv\", \"text\": \"words\"}}, {\"name\": \"b\","
    " \"class_weights\": \"balanced\", \"label_smoothing\": 0.1}, {\"name\": \"c\","
    " \"type\": \"ordinal\"}, {\"name\": \"d\", \"type\": \"regression\"}],"
    " \"mix\": {\"type\": \"temperature\", \"temperature\": 2, \"cap\": 1000},"
    " \"batch\": {\"size\": 8, \"tokens\": 4096, \"accumulate\": 2, \"bucket\": false,"
    " \"gradient_checkpointing\": true},"
    " \"optimizer\": {\"betas\": [0.8, 0.99], \"eps\": 1e-6, \"weight_decay\": 0.1,"
    " \"ema\": 0.99, \"clip_norm\": 2}, \"phases\": ["
    "{\"name\": \"m\", \"objective\": \"mlm\", \"epochs\": 2, \"trainable\": {\"*\": {\"lr\": 1e-4,"
    " \"weight_decay\": 0.2, \"layer_decay\": 0.9, \"l2_sp\": 0.01}}, \"schedule\":"
    " {\"type\": \"polynomial\", \"warmup\": 0.1, \"power\": 2, \"end\": 0.1},"
    " \"unfreeze\": {\"layers\": 1, \"every_epochs\": 2}},"
    "{\"name\": \"n\", \"trainable\": {\"heads.*\": {\"lr\": 1e-3}, \"*\": {\"lr\": 1e-5}},"
    " \"schedule\": {\"type\": \"cosine_with_restarts\", \"cycles\": 3},"
    " \"unfreeze\": {\"layers\": 2, \"every_steps\": 5}, \"loss_weights\": {\"a\": 0, \"c\": 2}},"
    "{\"name\": \"o\", \"trainable\": {\"*\": {\"lr\": 1e-5}}, \"schedule\":"
    " {\"type\": \"inverse_sqrt\", \"timescale\": 100}},"
    "{\"name\": \"p\", \"trainable\": {\"*\": {\"lr\": 1e-5}}, \"schedule\":"
    " {\"type\": \"reduce_on_plateau\", \"factor\": 0.5, \"patience\": 4}},"
    "{\"name\": \"q\", \"trainable\": {\"*\": {\"lr\": 1e-5}}, \"schedule\":"
    " {\"type\": \"one_cycle\", \"peak\": 0.5, \"start_divisor\": 10, \"final_divisor\": 100}}],"
    " \"mlm\": {\"data\": \"m.txt\", \"text\": \"line\", \"probability\": 0.2,"
    " \"whole_word\": true}, \"balance\": {\"method\": \"uncertainty\", \"lr\": 0.1},"
    " \"surgery\": {\"method\": \"cagrad\", \"c\": 0.25}, \"conflicts\": {\"every_steps\": 7},"
    " \"select\": {\"metric\": \"mean(a.map, b.mcc)\", \"patience\": 3},"
    " \"save\": {\"every_steps\": 100, \"keep\": 4}, \"log\": {\"every_steps\": 5},"
    " \"cache\": {\"memory_mb\": 0, \"disk_mb\": 8, \"folder\": \"c\", \"keep\": true},"
    " \"seed\": 7, \"precision\": \"bf16\", \"output\": \"runs/x\"}",
    "{\"model\": {\"base\": \"b2\"}, \"data\": {\"train\": \"t\", \"split\": {\"dev\": 0.125,"
    " \"test\": 0.25}}, \"tasks\": [{\"name\": \"a\"}, {\"name\": \"b\"}], \"optimizer\":"
    " {\"name\": \"sgd\", \"momentum\": 0.5, \"nesterov\": true}, \"phases\":"
    " [{\"trainable\": {\"*\": {\"lr\": 1}}}],"
    " \"balance\": {\"method\": \"dwa\", \"temperature\": 3}}",
    "{\"model\": {\"base\": \"b2\"}, \"data\": {\"train\": \"t\"}, \"tasks\": [{\"name\": \"a\"},"
    " {\"name\": \"b\", \"data\": {\"train\": \"u\"}}], \"mix\": {\"type\": \"annealed\","
    " \"start\": 0.875, \"end\": 0.25}, \"phases\": [{\"trainable\": {\"*\": {\"lr\": 1}}}],"
    " \"balance\": {\"method\": \"gradnorm\", \"alpha\": 0.5}}",
    "{\"model\": {\"base\": \"b2\"}, \"data\": {\"train\": \"t\"}, \"tasks\": [{\"name\": \"a\"},"
    " {\"name\": \"b\"}], \"phases\": [{\"trainable\": {\"*\": {\"lr\": 1}}}],"
    " \"balance\": {\"method\": \"famo\", \"decay\": 0.5}}"};
enum { N_RICH = sizeof rich / sizeof *rich, MOST_KEYS = 256 };

/* What was given stands in what is written; a path may have got a folder before it. */
static void assert_holds(const cJSON *given, const cJSON *got, const char *key) {
    const cJSON *item, *other = got ? got->child : NULL;
    if (!got) fail_msg("%s is not written", key);
    if (cJSON_IsString(given)) {
        size_t n = strlen(given->valuestring), m = got->valuestring ? strlen(got->valuestring) : 0;
        if (m < n || strcmp(got->valuestring + m - n, given->valuestring) != 0)
            fail_msg("%s is not \"%s\"", key, given->valuestring);
    } else if (cJSON_IsArray(given)) {
        assert_int_equal(cJSON_GetArraySize(given), cJSON_GetArraySize(got));
        for (item = given->child; item; item = item->next, other = other->next)
            assert_holds(item, other, key);
    } else if (cJSON_IsObject(given)) {
        cJSON_ArrayForEach(item, given) {
            assert_holds(item, cJSON_GetObjectItemCaseSensitive(got, item->string), item->string);
        }
    } else if (!cJSON_Compare(given, got, true))
        fail_msg("%s is not what was given", key);
}

static void what_is_written_is_what_was_given(void **state) {
    (void)state;
    for (int i = 0; i < N_RICH; i++) {
        cJSON *given = cJSON_Parse(rich[i]), *first = resolved(rich[i]), *second;
        char *text = cJSON_Print(first), *again;
        assert_holds(given, first, "all");
        second = resolved(text);
        again = cJSON_Print(second);
        assert_string_equal(text, again);
        cJSON_free(text);
        cJSON_free(again);
        cJSON_Delete(given);
        cJSON_Delete(first);
        cJSON_Delete(second);
    }
}

/* Keys by their place in the tables, in the order of a walk over all of them. */
typedef struct seen {
    const gf_field *field[MOST_KEYS];
    bool changed[MOST_KEYS];
    int n;
} seen;

static bool *place_of(seen *s, const gf_field *f) {
    int i = 0;
    while (i < s->n && s->field[i] != f) i++;
    if (i == s->n) {
        assert_true(s->n < MOST_KEYS);
        s->field[s->n++] = f;
    }
    return &s->changed[i];
}

/* Marks the keys whose values are not the defaults', over all elements of lists and maps. */
static void compare_keys(seen *s, const cJSON *got, const cJSON *plain, const gf_field *fields) {
    for (const gf_field *f = fields; f->key; f++) {
        const cJSON *a = *f->key ? cJSON_GetObjectItemCaseSensitive(got, f->key) : got;
        const cJSON *b = *f->key ? cJSON_GetObjectItemCaseSensitive(plain, f->key) : NULL;
        const cJSON *item;
        if (f->kind == GF_FIELD_SECTION) {
            compare_keys(s, a, b, f->fields);
        } else {
            *place_of(s, f) |= a && !(b && cJSON_Compare(a, b, true));
            if (f->kind == GF_FIELD_LIST || f->kind == GF_FIELD_MAP)
                cJSON_ArrayForEach(item, a) compare_keys(s, item, b ? b->child : NULL, f->fields);
        }
    }
}

static void every_key_can_differ_from_its_default(void **state) {
    static const char plain[] = "{\"model\": {\"base\": \"b\"}, \"data\": {\"train\": \"t\"},"
                                " \"tasks\": [{\"name\": \"z\"}], \"phases\": [{\"trainable\":"
                                " {\"*\": {\"lr\": 9}}}]}";
    cJSON *defaults = resolved(plain);
    seen s = {0};
    (void)state;
    for (int i = 0; i < N_RICH; i++) {
        cJSON *got = resolved(rich[i]);
        compare_keys(&s, got, defaults, gf_recipe_keys);
        cJSON_Delete(got);
    }
    assert_true(s.n > 80);
    for (int i = 0; i < s.n; i++)
        if (!s.changed[i]) fail_msg("\"%s\" is at its default in each recipe", s.field[i]->key);
    cJSON_Delete(defaults);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_checked),
        cmocka_unit_test(what_is_written_is_what_was_given),
        cmocka_unit_test(every_key_can_differ_from_its_default),
    };
    return cmocka_run_group_tests_name("recipe keys", tests, NULL, NULL);
}

#include "recipes/saver.h"

#include "checkpoints/store.h"
#include "core/io.h"
#include "core/mem.h"

#include <stdlib.h>
#include <string.h>

int64_t gf_checkpoint_step(const char *name) {
    char *end = NULL;
    long long step;
    if (strncmp(name, "step-", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    step = strtoll(name + 5, &end, 10);
    return strcmp(end, ".h5") == 0 ? step : -1;
}

/* Their digits make byte order their order. */
char **gf_checkpoint_list(const char *folder, int64_t *count, gf_err *e) {
    int64_t n = 0;
    char **names = gf_io_list(folder, count, e);
    for (int64_t i = 0; names && i < *count; i++) {
        if (gf_checkpoint_step(names[i]) >= 0)
            names[n++] = names[i];
        else
            gf_free(names[i]);
    }
    if (names) *count = n;
    return names;
}

bool gf_checkpoint_prune(const char *folder, int64_t keep, int64_t step, bool later, gf_err *e) {
    int64_t count = 0, end;
    char **names = gf_checkpoint_list(folder, &count, e);
    bool ok = names != NULL;
    for (end = count; ok && end > 0 && gf_checkpoint_step(names[end - 1]) > step;) end--;
    for (int64_t i = 0; ok && i < count; i++) {
        char *path = NULL;
        if (i < end ? i >= end - keep : !later) continue;
        path = gf_io_join(folder, names[i], e);
        ok = path && gf_io_remove(path, e);
        gf_free(path);
    }
    gf_io_free_names(names, count);
    return ok;
}

typedef struct work {
    const char *path;
    const gf_save_job *job;
} work;

static bool write_and_prune(void *context, gf_err *e) {
    const work *w = context;
    const gf_save_job *j = w->job;
    return gf_store_write(w->path, j->also, j->model, j->recipe_json, j->state_json, e) &&
           (!j->spare || gf_io_remove(j->spare, e)) &&
           gf_checkpoint_prune(j->folder, j->keep, j->step, true, e);
}

static bool check_space(const char *folder, int64_t needed, gf_err *e) {
    int64_t there = gf_io_free_space(folder);
    if (there < 0 || there >= needed) return true;
    return gf_fail(e, GF_E_IO, "%s: a checkpoint takes %lld MiB and %lld MiB are free; free some",
                   folder, (long long)(needed >> 20), (long long)(there >> 20));
}

bool gf_saver_start(gf_saver *s, const char *path, const gf_save_job *job, gf_err *e) {
    work w = {path, job};
    if (!check_space(job->folder, gf_store_size(job->model), e)) return false;
    if (!(s->path = gf_strdup(path, e))) return false;
    if (gf_child_start(&s->child, write_and_prune, &w, e)) return true;
    gf_free(s->path);
    s->path = NULL;
    return false;
}

bool gf_saver_has_news(const gf_saver *s) { return s->path && gf_child_is_done(&s->child); }

bool gf_saver_settle(gf_saver *s, gf_err *e) {
    bool ok;
    if (!s->path) return true;
    ok = gf_child_wait(&s->child, s->path, e);
    gf_free(s->path);
    s->path = NULL;
    return ok;
}

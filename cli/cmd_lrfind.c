#include "cli/train.h"

#include "cli/watch.h"
#include "core/json.h"
#include "core/mem.h"
#include "recipes/journal.h"
#include "recipes/lrfind.h"

#include <stdio.h>

enum { REDRAWS_A_SECOND = 10 };

/* The moving line, on a terminal only. */
static void show_step(void *context, int64_t done, int64_t all, const gf_lr_point *p) {
    gf_screen *s = context;
    double now = gf_seconds();
    if (s->quiet || !s->live) return;
    if (now - s->last_draw < 1.0 / REDRAWS_A_SECOND && done < all) return;
    s->last_draw = now;
    fprintf(stderr, "\r\033[K%lld/%lld", (long long)done, (long long)all);
    if (p) fprintf(stderr, "  lr %.2e  loss %.4g", p->rate, p->smoothed);
    fflush(stderr);
    s->line_shown = s->transient = true;
}

static void show_encoding(void *context, int64_t done, int64_t rows) {
    gf_screen_watch(context).encoding(context, done, rows);
}

static gf_code stop(void *context) {
    (void)context;
    return gf_signals_seen();
}

static bool print(const gf_args *a, const gf_lrfind *f, gf_err *e) {
    gf_text table = {0};
    cJSON *j = NULL;
    char *json = NULL;
    bool ok;
    if (a->json)
        ok = (j = gf_lrfind_to_json(f, e)) && (json = gf_json_print(j, e)) &&
             gf_io_printf(a->out, e, "%s", json);
    else
        ok = gf_lrfind_table(f, &table, e) && gf_io_printf(a->out, e, "%s", table.data);
    gf_free(json);
    cJSON_Delete(j);
    gf_text_free(&table);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_screen screen = {.live = gf_terminal_is_live(), .quiet = a->quiet};
    gf_lrfind_options o = {.phase = a->phase,
                           .start = a->start > 0 ? a->start : 1e-7,
                           .end = a->end > 0 ? a->end : 10,
                           .steps = a->steps ? a->steps : 100,
                           .threads = (int)a->threads,
                           .pin = a->pin,
                           .watch = {&screen, show_step, show_encoding, stop},
                           .log = a->log};
    gf_recipe r = {0};
    gf_lrfind f = {0};
    bool ok;
    gf_signals_catch();
    ok = gf_cli_read_recipe(&r, a, a->words[0], e) && gf_lrfind_run(&f, &r, &o, e);
    gf_screen_free(&screen);
    ok = ok && print(a, &f, e);
    gf_lrfind_free(&f);
    gf_recipe_free(&r);
    return ok;
}

const gf_command gf_cmd_lrfind = {
    .name = "lrfind",
    .summary = "a learning rate for a phase, by a short test; writes nothing",
    .options = "--phase --start --end --steps --set --threads --pin --json --quiet",
    .least = 1,
    .most = 1,
    .run = run,
    .help = "usage: graft lrfind RECIPE [options]\n"
            "\n"
            "A learning-rate range test (Smith 2017): trains a phase from the base's weights\n"
            "while its largest lr rises, the ratios between the patterns' rates kept, until\n"
            "the smoothed loss is 4 times its lowest. Prints the curve, three suggestions as\n"
            "fastai makes them, and --set options to paste. Writes nothing and reads no run,\n"
            "so a run of the recipe, before or after, is not touched.\n"
            "\n"
            "  --phase P      its name, or its number from 0 as in --set phases.0 (default:\n"
            "                 the first that trains something)\n"
            "  --start LR     default 1e-7\n"
            "  --end LR       default 10\n"
            "  --steps N      updates, default 100\n"
            "  --set a.b=v    override a key; repeatable\n"
            "  --json         all points and suggestions as one object\n"
            "  --threads N    default: a processor of each core\n"
            "  --pin          keep each thread on one processor\n"
            "  --quiet        no notes, no moving line\n"
            "\n"
            "example: graft lrfind demo/two-phase.json --phase all --start 1e-5\n",
};

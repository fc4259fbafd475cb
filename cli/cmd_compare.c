#include "cli/cli.h"

#include "cli/watch.h"
#include "core/child.h"
#include "core/mem.h"
#include "recipes/boundary.h"
#include "recipes/compare.h"
#include "recipes/journal.h"
#include "recipes/plan.h"
#include "recipes/spread.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SECONDS_BETWEEN_NOTES = 10 };

/* ---- in the run's own process: one training ---- */

/* The screen is first: the watch's context is the address of both. */
typedef struct job {
    gf_screen screen;
    const gf_recipe *recipe;
    gf_compare_run *run;
    const gf_args *a;
    const char *cache;
    double start, last_note; /* clock */
} job;

/* Ctrl-C in a terminal reaches this process too, and then the parent sends it once more: only the
 * first counts. A second one ends the parent, and with it this process. */
static volatile sig_atomic_t told;

static void remember_first(int number) {
    if (!told) told = number;
}

static bool note_time(job *j, gf_err *e) {
    struct rusage u;
    double peak, now = gf_seconds();
    getrusage(RUSAGE_SELF, &u);
    peak = (double)u.ru_maxrss / 1024;
    if (peak < j->run->peak_mib) peak = j->run->peak_mib;
    j->last_note = now;
    return gf_compare_note(j->run, j->run->seconds + now - j->start, peak, NULL, e);
}

/* Called after each step and while texts are encoded: the time so far is written now and then, so
 * that a kill loses little of it. */
static gf_code stop(void *context) {
    job *j = context;
    if (gf_seconds() - j->last_note >= SECONDS_BETWEEN_NOTES) note_time(j, NULL);
    if (told == SIGINT) return GF_E_SIGINT;
    return told == SIGTERM ? GF_E_SIGTERM : GF_OK;
}

static bool train(void *context, gf_err *e) {
    job *j = context;
    struct sigaction action = {.sa_handler = remember_first, .sa_flags = SA_RESTART};
    gf_trainer_options o = {.threads = (int)j->a->threads,
                            .pin = j->a->pin,
                            .force = j->run->state == GF_COMPARE_REPLACE,
                            .resume = j->run->state == GF_COMPARE_STARTED,
                            .at_step = -1,
                            .cache_folder = j->cache,
                            .log = j->a->log};
    bool ok;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    j->screen = (gf_screen){.live = gf_terminal_is_live(), .quiet = j->a->quiet};
    o.watch = gf_screen_watch(&j->screen);
    o.watch.stop = stop;
    o.watch.finished = NULL; /* the table has it */
    ok = note_time(j, e) && gf_train(j->recipe, &o, e);
    gf_screen_free(&j->screen);
    return note_time(j, e) && ok;
}

/* ---- here: one run after the other ---- */

typedef struct session {
    gf_args *a;
    gf_compare compare;
    char *cache;      /* what runs keep of the texts for each other, until all are done */
    int64_t at;       /* the present run's number, from 1 */
    gf_err first;     /* the first failure */
    int64_t failures; /* runs that failed */
} session;

/* Waits for the run, and hands signals on to it. */
static bool wait_for(gf_child *child, const char *what, gf_err *e) {
    gf_code seen = GF_OK;
    while (!gf_child_is_done(child)) {
        struct pollfd p = {.fd = child->fd, .events = POLLIN};
        if (seen == GF_OK && (seen = gf_signals_seen()) != GF_OK)
            kill(child->pid, seen == GF_E_SIGINT ? SIGINT : SIGTERM);
        poll(&p, 1, 200);
    }
    return gf_child_wait(child, what, e);
}

/* *why says how the run ended; false when the comparison cannot go on. */
static bool run_child(session *s, const gf_compare_entry *entry, gf_compare_run *run, gf_err *why,
                      gf_err *e) {
    gf_recipe r = {0};
    gf_child child = {0};
    job j = {.recipe = &r, .run = run, .a = s->a, .cache = s->cache, .start = gf_seconds()};
    bool ok =
        gf_compare_read(&s->compare, entry, run, &r, e) && gf_child_start(&child, train, &j, e);
    if (ok) wait_for(&child, run->folder, why);
    gf_recipe_free(&r);
    return ok;
}

static bool is_interruption(gf_code code) { return code == GF_E_SIGINT || code == GF_E_SIGTERM; }

static bool say_how_to_go_on(session *s, const gf_compare_entry *entry, const gf_compare_run *run,
                             gf_code code, gf_err *e) {
    return gf_fail(e, code,
                   "%s: interrupted in run %lld of %lld (%s, seed %llu); go on by the same command "
                   "again",
                   s->compare.output, (long long)s->at,
                   (long long)(s->compare.n * s->compare.n_seeds), entry->name,
                   (unsigned long long)run->seed);
}

/* Takes down a failure, and goes on. */
static bool note_failure(session *s, gf_compare_run *run, const gf_err *why, gf_err *e) {
    if (s->failures++ == 0) s->first = *why;
    if (!s->a->quiet) fprintf(stderr, "graft: failed: %s\n", why->text);
    return gf_compare_collect(run, true, e) &&
           gf_compare_note(run, run->seconds, run->peak_mib, why, e) &&
           gf_compare_collect(run, true, e);
}

static bool write_report(const session *s, gf_err *e) {
    cJSON *j = gf_spread_report(&s->compare, e);
    char *text = j ? gf_json_print(j, e) : NULL;
    char *path = text ? gf_io_join(s->compare.output, "compare.json", e) : NULL;
    bool ok = path && gf_io_replace_file(path, text, strlen(text), e);
    gf_free(path);
    gf_free(text);
    cJSON_Delete(j);
    return ok;
}

static bool do_run(session *s, const gf_compare_entry *entry, gf_compare_run *run, gf_err *e) {
    gf_err why = {0};
    bool done = run->state == GF_COMPARE_DONE;
    s->at++;
    if (!s->a->quiet)
        fprintf(stderr, "run %lld of %lld: %s, seed %llu%s\n", (long long)s->at,
                (long long)(s->compare.n * s->compare.n_seeds), entry->name,
                (unsigned long long)run->seed, done ? ": done already" : "");
    if (done) return gf_compare_collect(run, s->a->keep, e);
    if (gf_signals_seen()) return say_how_to_go_on(s, entry, run, gf_signals_seen(), e);
    if (!run_child(s, entry, run, &why, e)) return false;
    if (is_interruption(why.code)) return say_how_to_go_on(s, entry, run, why.code, e);
    if (why.code != GF_OK) return note_failure(s, run, &why, e) && write_report(s, e);
    run->state = GF_COMPARE_DONE;
    return gf_compare_collect(run, s->a->keep, e) && write_report(s, e);
}

static bool do_all(session *s, gf_err *e) {
    gf_compare *c = &s->compare;
    char *path = gf_io_join(c->output, "lock", e);
    gf_lock lock = {0};
    bool ok = path && (s->cache = gf_io_join(c->output, "cache", e)) &&
              gf_io_make_folder(c->output, e) && gf_io_lock(&lock, path, 5, e);
    gf_signals_catch();
    for (int64_t i = 0; ok && i < c->n; i++)
        for (int64_t k = 0; ok && k < c->n_seeds; k++)
            ok = do_run(s, &c->entries[i], &c->entries[i].runs[k], e);
    ok = ok && write_report(s, e) && gf_boundary_clean(s->cache, e);
    gf_io_unlock(&lock);
    gf_free(s->cache);
    gf_free(path);
    return ok;
}

/* ---- what is printed ---- */

static bool stdout_is_bold(void) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

static bool print_report(const session *s, gf_err *e) {
    cJSON *j = gf_spread_report(&s->compare, e);
    char *json = NULL;
    gf_text table = {0};
    bool ok = j != NULL;
    if (ok && s->a->json)
        ok = (json = gf_json_print(j, e)) && gf_io_printf(s->a->out, e, "%s", json);
    else
        ok = ok && gf_spread_table(j, stdout_is_bold(), &table, e) &&
             gf_io_printf(s->a->out, e, "%s\nall figures: %s/compare.json\n", table.data,
                          s->compare.output);
    gf_free(json);
    gf_text_free(&table);
    cJSON_Delete(j);
    return ok;
}

static bool list(gf_args *a, gf_err *e) {
    const gf_strategy *s;
    bool ok = true;
    for (int64_t i = 0; ok && (s = gf_strategy_at(i)); i++) {
        char *summary = gf_strategy_summary(s, e);
        ok = summary && gf_io_printf(a->out, e, "%-16s %s\n", s->name, summary);
        gf_free(summary);
    }
    return ok;
}

/* Seconds of the whole recipe on this machine, by its plan. */
static bool estimate(const session *s, const gf_compare_entry *entry, double *seconds, gf_err *e) {
    gf_recipe r = {0};
    gf_run run = {0};
    gf_engine engine = {0};
    bool ok = gf_compare_read(&s->compare, entry, entry->runs, &r, e) &&
              gf_engine_start(&engine, (int)s->a->threads, e) &&
              (!s->a->pin || gf_pool_pin(engine.pool, e)) &&
              gf_engine_precision(&engine, r.precision, e) &&
              gf_run_open(&run, &r, NULL, &s->a->log, e) &&
              gf_run_estimate(&run, &engine, seconds, e);
    if (run.recipe) gf_run_close(&run);
    gf_engine_stop(&engine);
    gf_recipe_free(&r);
    return ok;
}

static bool print_plan(const session *s, gf_err *e) {
    static const char *const states[] = {"to do", "to do anew", "to go on with", "done"};
    const gf_compare *c = &s->compare;
    double all = 0;
    bool ok = gf_io_printf(s->a->out, e, "%s:\n", c->output);
    for (int64_t i = 0; ok && i < c->n; i++) {
        double each = 0;
        ok = estimate(s, &c->entries[i], &each, e);
        for (int64_t k = 0; ok && k < c->n_seeds; k++) {
            const gf_compare_run *run = &c->entries[i].runs[k];
            bool done = run->state == GF_COMPARE_DONE;
            all += done ? 0 : each;
            ok = gf_io_printf(s->a->out, e, "  %-16s seed %-6llu ", c->entries[i].name,
                              (unsigned long long)run->seed) &&
                 (done ? gf_io_printf(s->a->out, e, "done\n")
                       : gf_io_printf(s->a->out, e, "%-14s about %.1f minutes in all\n",
                                      states[run->state], each / 60));
        }
    }
    return ok && gf_io_printf(s->a->out, e, "what is left: at most about %.1f minutes\n", all / 60);
}

/* ---- the command ---- */

static bool add_recipes(session *s, gf_err *e) {
    gf_args *a = s->a;
    bool ok = true;
    if (a->n_words == 0)
        return gf_fail(e, GF_E_USAGE,
                       "compare: no recipe is given; graft compare RECIPE RECIPE, or graft compare "
                       "RECIPE --strategies all");
    if (a->strategies && a->n_words > 1)
        return gf_fail(
            e, GF_E_USAGE,
            "compare: --strategies takes model, data and tasks from one recipe, and %lld "
            "are given",
            (long long)a->n_words);
    if (a->strategies)
        return gf_compare_add_strategies(&s->compare, a->words[0], a->strategies, &a->log, e);
    for (int64_t i = 0; ok && i < a->n_words; i++)
        ok = gf_compare_add_recipe(&s->compare, a->words[i], e);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    session s = {.a = a, .compare = {.sets = a->sets, .n_sets = a->n_sets}};
    gf_compare_options o = {
        .output = a->output, .seeds = a->seeds ? a->seeds : 3, .force = a->force, .log = a->log};
    bool ok;
    if (a->list) return list(a, e);
    ok = add_recipes(&s, e) && gf_compare_plan(&s.compare, &o, e);
    if (ok && a->dry_run)
        ok = print_plan(&s, e);
    else
        ok = ok && do_all(&s, e) && print_report(&s, e);
    if (ok && s.failures)
        ok = gf_fail(e, s.first.code, "%lld of %lld runs failed, the first: %s",
                     (long long)s.failures, (long long)(s.compare.n * s.compare.n_seeds),
                     s.first.text);
    gf_compare_free(&s.compare);
    return ok;
}

const gf_command gf_cmd_compare = {
    .name = "compare",
    .summary = "recipes or strategies with several seeds each, in one table",
    .options =
        "--seeds --strategies --list --dry-run --keep --set --output --force --threads --pin "
        "--json --quiet",
    .least = 0,
    .most = -1,
    .run = run,
    .help = "usage: graft compare RECIPE... [options]\n"
            "       graft compare RECIPE --strategies all [options]\n"
            "\n"
            "Trains each recipe with several seeds, a process each, and prints per task the\n"
            "metric on dev and test as mean and spread, parameters, time and memory; all\n"
            "runs' figures go to compare.json. The same command again goes on where it was\n"
            "stopped. Of a finished run only the best checkpoint stays.\n"
            "\n"
            "  --strategies S  the phases of all ready recipes, or of NAME,NAME, in the\n"
            "                 place of the recipe's own\n"
            "  --list         the strategies, a line each\n"
            "  --seeds N      default 3: the recipe's seed and the next\n"
            "  --output DIR   default: runs/compare beside the first recipe\n"
            "  --dry-run      what is to do and done, and about how long it takes\n"
            "  --keep         all checkpoints of finished runs\n"
            "  --force        replace runs of other recipes in that folder\n"
            "  --set a.b=v    override a key in every recipe; repeatable\n"
            "  --threads N, --pin, --json, --quiet\n"
            "\n"
            "example: graft compare demo/two-phase.json --strategies all --seeds 2\n",
};

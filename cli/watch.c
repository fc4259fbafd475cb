#include "cli/watch.h"

#include "cli/cli.h"
#include "recipes/journal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum { REDRAWS_A_SECOND = 10 };

void gf_screen_finish_line(gf_screen *s) {
    if (s->line_shown) fputs(s->transient ? "\r\033[K" : "\n", stderr);
    s->line_shown = s->transient = false;
}

void gf_screen_free(gf_screen *s) {
    gf_screen_finish_line(s);
    gf_text_free(&s->line);
}

static double peak_mebibytes(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024;
}

/* "1h02m", "3m10s" or "12s". */
static const char *duration(double seconds, char text[24]) {
    long long s = seconds > 0 && seconds < 1e9 ? llround(seconds) : 0;
    if (s >= 3600)
        snprintf(text, 24, "%lldh%02lldm", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(text, 24, "%lldm%02llds", s / 60, s % 60);
    else
        snprintf(text, 24, "%llds", s);
    return text;
}

static bool add_rates(gf_text *t, const gf_step_view *v, gf_err *e) {
    bool ok = gf_text_add(t, e, "lr");
    for (int64_t i = 0; ok && i < v->phase->recipe->n_rules; i++)
        ok = gf_text_add(t, e, "%s%.2g", i ? "/" : " ",
                         gf_phase_rate(v->phase, i) * v->update->factor);
    return ok && gf_text_add(t, e, "  ");
}

/* What matters most comes first: a narrow terminal cuts the end off. */
static bool write_line(gf_text *t, const gf_step_view *v, gf_err *e) {
    char left[24];
    bool ok = gf_text_add(t, e, "%s %lld/%lld  step %lld/%lld  %s left  ", v->phase->recipe->name,
                          (long long)v->phase->index + 1, (long long)v->recipe->n_phases,
                          (long long)v->at->phase_update, (long long)v->phase->updates,
                          duration(v->seconds_left, left));
    for (int64_t i = 0; ok && i < v->phase->n_losses; i++) {
        ok = gf_text_add(t, e, "%s ", gf_phase_loss_name(v->phase, v->recipe, i));
        ok = ok && (isnan(v->mean_loss[i]) ? gf_text_add(t, e, "-  ")
                                           : gf_text_add(t, e, "%.4f  ", v->mean_loss[i]));
    }
    return ok && add_rates(t, v, e) &&
           gf_text_add(t, e, "%.0f %s/s  %.0f MiB", v->tokens_per_second,
                       v->update->tokens ? "tokens" : "rows", peak_mebibytes());
}

/* Cuts to the terminal's width, never inside a character of UTF-8. */
static void cut(gf_text *t, size_t width) {
    if (t->length <= width) return;
    while (width > 0 && ((unsigned char)t->data[width] & 0xc0) == 0x80) width--;
    t->data[t->length = width] = 0;
}

/* Puts s->line in place of the moving line. */
static void draw(gf_screen *s) {
    cut(&s->line, (size_t)gf_terminal_width() - 1);
    fprintf(stderr, "\r\033[K%s", s->line.data);
    fflush(stderr);
    s->line_shown = true;
    s->transient = false;
}

/* Whether it is time to draw again. */
static bool is_due(gf_screen *s, bool last) {
    double now = gf_seconds();
    if (now - s->last_draw < 1.0 / REDRAWS_A_SECOND && !last) return false;
    s->last_draw = now;
    return true;
}

static void show_step(void *context, const gf_step_view *v) {
    gf_screen *s = context;
    gf_err e = {0};
    bool last = v->at->phase_update == v->phase->updates;
    if (s->quiet || (s->live ? !is_due(s, last) : !v->logged)) return;
    s->line.length = 0;
    if (!write_line(&s->line, v, &e)) return;
    if (s->live)
        draw(s);
    else
        fprintf(stderr, "%s\n", s->line.data);
}

static void show_encoding(void *context, int64_t done, int64_t rows) {
    gf_screen *s = context;
    gf_err e = {0};
    if (s->quiet || !s->live || done == rows || !is_due(s, false)) return;
    s->line.length = 0;
    if (gf_text_add(&s->line, &e, "encoding texts: %lld of %lld (%.0f %%)", (long long)done,
                    (long long)rows, 100 * (double)done / (double)rows))
        draw(s);
    s->transient = true;
}

static void show_phase(void *context, const gf_recipe *r, const gf_phase *p) {
    gf_screen *s = context;
    if (s->quiet) return;
    gf_screen_finish_line(s);
    fprintf(stderr, "phase %lld of %lld, \"%s\": ", (long long)p->index + 1, (long long)r->n_phases,
            p->recipe->name);
    if (!p->trains)
        fputs("nothing trains, so it only evaluates\n", stderr);
    else
        fprintf(stderr, "epochs %lld, updates in each %lld%s\n", (long long)p->recipe->epochs,
                (long long)p->updates_per_epoch,
                p->encoder_frozen ? "; the encoder stands still, encoding the texts once" : "");
}

static void print_table(gf_screen *s, const gf_metrics *m, const gf_metrics *before) {
    gf_err e = {0};
    s->line.length = 0;
    if (gf_metrics_table(m, before, &s->line, &e)) fputs(s->line.data, stderr);
}

static void show_evaluation(void *context, const gf_eval_view *v) {
    gf_screen *s = context;
    if (s->quiet) return;
    gf_screen_finish_line(s);
    fprintf(stderr, "dev after epoch %lld of \"%s\", step %lld: ",
            (long long)v->at->epoch + (v->phase->trains ? 1 : 0), v->phase->recipe->name,
            (long long)v->at->step);
    if (isnan(v->mlm))
        fprintf(stderr, "%s %.4f%s\n", v->recipe->select_metric, v->value,
                v->is_best ? ", the best yet" : "");
    else
        fprintf(stderr, "masked language model %.4f, perplexity %.1f%s\n", v->mlm, exp(v->mlm),
                v->is_best ? ", the best yet" : "");
    if (v->dev->n_tasks) print_table(s, v->dev, v->before);
}

static void show_end(void *context, const gf_end_view *v) {
    gf_screen *s = context;
    if (s->quiet) return;
    gf_screen_finish_line(s);
    if (v->dev) {
        fputs("best model on dev\n", stderr);
        print_table(s, v->dev, NULL);
    }
    if (v->test) {
        fputs("best model on test\n", stderr);
        print_table(s, v->test, NULL);
    }
    fprintf(stderr, "%s%s", v->forgetting, v->conflicts);
    fprintf(stderr, "done: the model is in %s/model, the figures in %s/metrics.json\n", v->folder,
            v->folder);
}

static gf_code stop(void *context) {
    (void)context;
    return gf_signals_seen();
}

gf_watch gf_screen_watch(gf_screen *s) {
    return (gf_watch){s, show_phase, show_step, show_encoding, show_evaluation, show_end, stop};
}

#include "cli/jsonl.h"
#include "cli/texts.h"
#include "core/mem.h"
#include "recipes/score.h"

#include <math.h>
#include <string.h>

typedef struct prediction {
    gf_texts texts;
    gf_real **logits; /* [n_heads][GF_TEXTS_ROWS, outputs] */
    gf_real *scores;  /* of one row and head; see model/task.h */
    gf_text line;
} prediction;

static bool open_heads(prediction *p, gf_err *e) {
    const gf_model *m = &p->texts.runner.model;
    int64_t most = 1;
    if (!(p->logits = gf_alloc_array(m->n_heads, sizeof *p->logits, e))) return false;
    for (int64_t h = 0; h < m->n_heads; h++) {
        int64_t count;
        if (!gf_mul_i64(GF_TEXTS_ROWS, m->heads[h].outputs, &count))
            return gf_fail(e, GF_E_NOMEM, "%s: too many classes", m->heads[h].name);
        if (!(p->logits[h] = gf_alloc_array(count, sizeof **p->logits, e))) return false;
        if (m->heads[h].n_classes > most) most = m->heads[h].n_classes;
    }
    return (p->scores = gf_alloc_array(most, sizeof *p->scores, e)) != NULL;
}

static bool add_string(gf_text *line, const char *text, gf_err *e) {
    return gf_jsonl_add_string(line, text, strlen(text), e);
}

static bool add_scores(gf_text *line, const gf_head *head, const gf_real *score, gf_err *e) {
    bool ok = gf_text_add(line, e, ", \"scores\": {");
    for (int64_t c = 0; ok && c < head->n_classes; c++)
        ok = (c == 0 || gf_text_add(line, e, ", ")) && add_string(line, head->classes[c], e) &&
             gf_text_add(line, e, ": %.9g", (double)score[c]);
    return ok && gf_text_add(line, e, "}");
}

/* "label": "beer", "score": 0.98 */
static bool add_label(gf_text *line, const gf_head *head, const gf_real *score, bool all,
                      gf_err *e) {
    int64_t best = gf_score_pick(head->type, head->n_classes, score);
    return gf_text_add(line, e, "\"label\": ") && add_string(line, head->classes[best], e) &&
           gf_text_add(line, e, ", \"score\": %.9g", (double)score[best]) &&
           (!all || add_scores(line, head, score, e));
}

/* "labels": ["beer", "dear"], "scores": {...} */
static bool add_labels(gf_text *line, const gf_head *head, const gf_real *score, gf_err *e) {
    bool ok = gf_text_add(line, e, "\"labels\": ["), first = true;
    for (int64_t c = 0; ok && c < head->n_classes; c++) {
        if (score[c] < head->thresholds[c]) continue;
        ok = (first || gf_text_add(line, e, ", ")) && add_string(line, head->classes[c], e);
        first = false;
    }
    return ok && gf_text_add(line, e, "]") && add_scores(line, head, score, e);
}

static bool add_result(gf_text *line, const gf_head *head, const gf_real *score, bool all,
                       gf_err *e) {
    if (head->type == GF_TASK_REGRESSION)
        return gf_text_add(line, e, "\"value\": %.9g", (double)score[0]);
    if (head->type == GF_TASK_MULTI_LABEL) return add_labels(line, head, score, e);
    return add_label(line, head, score, all, e);
}

/* , "category": {...} */
static bool add_task(prediction *p, int64_t row, const gf_head *head, const gf_real *logits,
                     bool all, gf_err *e) {
    int64_t n = gf_task_score_count(head->type, head->n_classes), line;
    const char *path;
    gf_dataset_place(&p->texts.window, row, &path, &line);
    gf_task_scores(head->type, head->n_classes, p->texts.runner.engine.vec, logits, p->scores);
    for (int64_t c = 0; c < n; c++)
        if (!isfinite(p->scores[c]))
            return gf_fail(
                e, GF_E_NUMERIC,
                "%s:%lld: task \"%s\" gives NaN or infinity; the head's weights are damaged", path,
                (long long)line, head->name);
    return gf_text_add(&p->line, e, ", ") && add_string(&p->line, head->name, e) &&
           gf_text_add(&p->line, e, ": {") && add_result(&p->line, head, p->scores, all, e) &&
           gf_text_add(&p->line, e, "}");
}

static bool print_row(prediction *p, int64_t row, const gf_args *a, gf_err *e) {
    const gf_model *m = &p->texts.runner.model;
    size_t size;
    const char *text = gf_texts_text(&p->texts, row, &size);
    bool ok;
    p->line.length = 0;
    ok = gf_text_add(&p->line, e, "{\"text\": ") && gf_jsonl_add_string(&p->line, text, size, e);
    for (int64_t h = 0; ok && h < m->n_heads; h++)
        ok = add_task(p, row, &m->heads[h], p->logits[h] + row * m->heads[h].outputs, a->scores, e);
    return ok && gf_text_add(&p->line, e, "}\n") &&
           gf_io_write(a->out, p->line.data, p->line.length, e);
}

static bool run(gf_args *a, gf_err *e) {
    prediction p = {0};
    gf_texts *t = &p.texts;
    bool ok = gf_texts_open(t, GF_RUNNER_PREDICTS, a, e) && open_heads(&p, e);
    int got = 0;
    while (ok && (got = gf_texts_next(t, e)) == 1) {
        ok = gf_engine_heads(&t->runner.engine, &t->runner.model, t->window.rows, t->embeddings.x,
                             p.logits, e);
        for (int64_t i = 0; ok && i < t->window.rows; i++) ok = print_row(&p, i, a, e);
    }
    for (int64_t h = 0; p.logits && h < t->runner.model.n_heads; h++) gf_free(p.logits[h]);
    gf_free(p.logits);
    gf_free(p.scores);
    gf_text_free(&p.line);
    gf_texts_close(t);
    return ok && got == 0;
}

const gf_command gf_cmd_predict = {
    .name = "predict",
    .summary = "labels and scores of texts, for all heads at once",
    .options = "--model --input --text --scores --threads --pin --precision --max-length --batch "
               "--quiet",
    .most = -1,
    .run = run,
    .help = "usage: graft predict --model M [--input FILE] [TEXT...] [options]\n"
            "\n"
            "Prints a JSON object a line, in the order of the input:\n"
            "  {\"text\": \"...\", \"TASK\": {\"label\": \"...\", \"score\": 0.98}, ...}\n"
            "with {\"labels\": [...], \"scores\": {...}} for a multi_label task and\n"
            "{\"value\": 3.2} for a regression.\n"
            "Texts are arguments, the rows of FILE, or lines of standard input.\n"
            "\n"
            "  --model M       a model folder with heads, a run folder or a checkpoint\n"
            "  --input FILE    .jsonl, .csv, .tsv, .h5, or plain text, one a line; - is\n"
            "                  standard input\n"
            "  --text NAME     the field that holds the text (default: text)\n"
            "  --scores        adds \"scores\": {\"LABEL\": 0.98, ...} with all classes\n"
            "  --threads N     default: a processor of each core\n"
            "  --pin           keep each thread on one processor\n"
            "  --precision P   fp32, or bf16 where the processor has it (default: fp32)\n"
            "  --max-length N  cut texts at N tokens (default: the model's)\n"
            "  --batch N       at most N texts at once (default: 512)\n"
            "  --quiet         no notes\n"
            "\n"
            "example: graft predict --model demo/runs/two-phase \"The cheese was tasty\"\n",
};

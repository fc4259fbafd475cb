#include "recipes/step.h"

#include "core/mem.h"

#include <string.h>

static bool assign(gf_phase *p, gf_run *r, gf_err *e) {
    const gf_recipe_phase *c = p->recipe;
    gf_rule *rules = gf_alloc_array(c->n_rules, sizeof *rules, e);
    bool ok = rules != NULL;
    for (int64_t i = 0; ok && i < c->n_rules; i++)
        rules[i] = (gf_rule){c->rules[i].pattern, c->rules[i].lr, c->rules[i].weight_decay,
                             c->rules[i].layer_decay, 0};
    ok = ok && gf_groups_assign(&p->groups, &r->model.params, rules, c->n_rules,
                                r->model.config.num_hidden_layers, -1, r->recipe->weight_decay, e);
    gf_free(rules);
    if (!ok) gf_err_prefix(e, "%s: phases[%lld].trainable", r->recipe->path, (long long)p->index);
    return ok;
}

bool gf_phase_assign(gf_phase *p, gf_run *r, int64_t index, gf_err *e) {
    int64_t rows = r->train.rows, each = r->recipe->batch_size * r->recipe->accumulate;
    gf_phase_end(p);
    p->recipe = &r->recipe->phases[index];
    p->index = index;
    if (!assign(p, r, e)) return false;
    p->trains = p->groups.count > 0;
    p->encoder_frozen = gf_model_encoder_frozen(&r->model);
    p->updates_per_epoch = p->trains ? (rows + each - 1) / each : 0;
    p->updates = p->updates_per_epoch * p->recipe->epochs;
    p->warmup = gf_schedule_warmup(p->recipe->warmup, p->updates);
    return true;
}

bool gf_phase_begin(gf_phase *p, gf_run *r, int64_t index, gf_err *e) {
    return gf_phase_assign(p, r, index, e) &&
           gf_groups_reserve(&r->model.params, GF_OPTIMIZER_ADAMW, e) &&
           gf_blocks_cut(&p->blocks, &r->model.params, e);
}

bool gf_phase_make_features(gf_phase *p, gf_run *r, gf_engine *n, const gf_tell *tell, gf_err *e) {
    int64_t each = r->model.embedding_size * (int64_t)sizeof(gf_real);
    if (!p->encoder_frozen || (r->train.rows + r->dev.rows) * each > r->recipe->cache_mb << 20)
        return true;
    if (p->trains && !gf_features_make(&p->train, n, &r->model, &r->train, GF_EVAL_ROWS, tell, e))
        return false;
    return !r->dev.rows || gf_features_make(&p->dev, n, &r->model, &r->dev, GF_EVAL_ROWS, tell, e);
}

void gf_phase_end(gf_phase *p) {
    gf_groups_free(&p->groups);
    gf_blocks_free(&p->blocks);
    gf_features_free(&p->train);
    gf_features_free(&p->dev);
    *p = (gf_phase){0};
}

double gf_phase_rate(const gf_phase *p, int64_t rule) {
    double largest = 0;
    for (int64_t i = 0; i < p->groups.count; i++) {
        const gf_group *g = &p->groups.items[i];
        if (strcmp(g->pattern, p->recipe->rules[rule].pattern) == 0 && g->lr > largest)
            largest = g->lr;
    }
    return largest;
}

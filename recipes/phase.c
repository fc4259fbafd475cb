#include "recipes/phase.h"

#include "core/mem.h"
#include "optim/anchor.h"
#include "optim/average.h"

#include <string.h>

/* What trains in a stage. Heads stand still in an mlm phase, and its decoder in all others: they
 * get no gradient there, and decay alone must not move them. */
static bool assign(gf_phase *p, gf_run *r, int64_t lowest_layer, gf_err *e) {
    const gf_recipe_phase *c = p->recipe;
    gf_rule *rules = gf_alloc_array(c->n_rules, sizeof *rules, e);
    bool ok = rules != NULL;
    for (int64_t i = 0; ok && i < c->n_rules; i++)
        rules[i] = (gf_rule){c->rules[i].pattern, c->rules[i].lr, c->rules[i].weight_decay,
                             c->rules[i].layer_decay, c->rules[i].l2_sp};
    ok = ok && gf_groups_assign(&p->groups, &r->model.params, rules, c->n_rules,
                                r->model.config.num_hidden_layers, lowest_layer,
                                r->recipe->weight_decay, e);
    gf_free(rules);
    if (!ok) gf_err_prefix(e, "%s: phases[%lld].trainable", r->recipe->path, (long long)p->index);
    if (ok)
        gf_groups_freeze(&p->groups, &r->model.params,
                         c->objective == GF_OBJECTIVE_MLM ? "heads." : "cls.predictions.");
    return ok;
}

static int64_t lowest_at(const gf_phase *p, const gf_run *r, int64_t stage) {
    if (p->recipe->unfreeze_layers == 0) return -1;
    return gf_unfreeze_lowest(r->model.config.num_hidden_layers, p->recipe->unfreeze_layers, stage);
}

static gf_epoch_rule rule_of(const gf_phase *p, const gf_run *r, int64_t epoch) {
    const gf_recipe *c = r->recipe;
    return (gf_epoch_rule){.batch_size = c->batch_size,
                           .batch_tokens = c->batch_tokens,
                           .bucket = c->bucket,
                           .mix = c->mix,
                           .seed = c->seed,
                           .phase = p->index,
                           .epoch = epoch,
                           .epochs = p->recipe->epochs};
}

bool gf_phase_make_epoch(const gf_phase *p, const gf_run *r, int64_t epoch, gf_epoch *out,
                         gf_err *e) {
    gf_epoch_rule rule = rule_of(p, r, epoch);
    return gf_epoch_make(out, p->data, &rule, e);
}

/* Where batches hold a budget of tokens, or tasks are mixed, each epoch has to be laid out to know
 * how many there are. */
static bool count_updates(gf_phase *p, const gf_run *r, gf_err *e) {
    const gf_recipe *c = r->recipe;
    int64_t each = c->batch_size * c->accumulate;
    gf_epoch epoch = {0};
    bool ok = true;
    if (!c->batch_tokens && c->mix.kind == GF_MIX_PROPORTIONAL) {
        p->updates_per_epoch = (p->data->rows + each - 1) / each;
        p->updates = p->updates_per_epoch * p->recipe->epochs;
        return true;
    }
    p->epoch_updates = gf_alloc_array(p->recipe->epochs, sizeof *p->epoch_updates, e);
    ok = p->epoch_updates != NULL;
    for (int64_t i = 0; ok && i < p->recipe->epochs; i++) {
        ok = gf_phase_make_epoch(p, r, i, &epoch, e);
        p->epoch_updates[i] = (epoch.batches + c->accumulate - 1) / c->accumulate;
        p->updates += p->epoch_updates[i];
    }
    if (ok) p->updates_per_epoch = p->epoch_updates[0];
    gf_epoch_free(&epoch);
    return ok;
}

bool gf_phase_assign(gf_phase *p, gf_run *r, int64_t index, gf_err *e) {
    bool mlm;
    gf_phase_end(p);
    p->recipe = &r->recipe->phases[index];
    p->index = index;
    mlm = p->recipe->objective == GF_OBJECTIVE_MLM;
    p->data = mlm && r->unlabelled.rows ? &r->unlabelled : &r->train;
    p->n_losses = mlm ? 1 : r->recipe->n_tasks;
    if (!assign(p, r, -1, e)) return false;
    p->trains = p->groups.count > 0;
    p->encoder_frozen = gf_model_encoder_frozen(&r->model);
    p->moves_encoder = !p->encoder_frozen;
    if (p->trains && !count_updates(p, r, e)) return false;
    p->warmup = gf_schedule_warmup(p->recipe->schedule.warmup, p->updates);
    return true;
}

int64_t gf_phase_stage_at(const gf_phase *p, const gf_progress *at) {
    if (p->recipe->unfreeze_layers == 0) return 0;
    return p->recipe->unfreeze_steps ? at->phase_update / p->recipe->unfreeze_steps
                                     : at->epoch / p->recipe->unfreeze_epochs;
}

static bool reserve(gf_phase *p, gf_run *r, gf_err *e) {
    return gf_groups_reserve(&r->model.params, r->recipe->optimizer, e) &&
           gf_anchor_reserve(&r->model.params, &p->groups, e) &&
           (r->recipe->ema == 0 || gf_average_start(&r->model.params, e)) &&
           gf_blocks_cut(&p->blocks, &r->model.params, e);
}

static void free_features(gf_phase *p) {
    gf_features_free(&p->train);
    gf_features_free(&p->dev);
}

bool gf_phase_open(gf_phase *p, gf_run *r, int64_t stage, gf_err *e) {
    p->stage = stage;
    if (!assign(p, r, lowest_at(p, r, stage), e)) return false;
    p->encoder_frozen = gf_model_encoder_frozen(&r->model);
    free_features(p);
    return reserve(p, r, e);
}

/* What was open when the last update was made: a run that was not interrupted opens a stage before
 * its first update and no sooner, and a checkpoint tells of it. */
static int64_t stage_left(const gf_phase *p, const gf_progress *at) {
    gf_progress last = *at;
    if (last.phase_update > 0) last.phase_update--;
    if (last.update == 0 && last.epoch > 0) last.epoch--;
    return gf_phase_stage_at(p, &last);
}

bool gf_phase_is_over(const gf_phase *p, const gf_progress *at) {
    return at->epoch >= p->recipe->epochs || at->phase_over;
}

bool gf_phase_begin(gf_phase *p, gf_run *r, int64_t index, const gf_progress *at, gf_err *e) {
    if (!gf_phase_assign(p, r, index, e)) return false;
    return gf_phase_is_over(p, at) || gf_phase_open(p, r, stage_left(p, at), e);
}

int64_t gf_phase_visits(const gf_phase *p, const gf_progress *at) {
    const gf_recipe_phase *c = p->recipe;
    int64_t left = c->epochs - at->epoch, stage = left;
    if (c->unfreeze_layers && c->unfreeze_epochs)
        stage = (p->stage + 1) * c->unfreeze_epochs - at->epoch;
    else if (c->unfreeze_layers && p->updates_per_epoch)
        stage = ((p->stage + 1) * c->unfreeze_steps - at->phase_update) / p->updates_per_epoch;
    return stage < left ? stage : left;
}

/* Texts of masked language modelling are others in every epoch. Hidden states for a single epoch
 * cost the passes that they save, and room; embeddings cost next to none. */
int64_t gf_phase_point(const gf_phase *p, const gf_run *r, int64_t visits) {
    int64_t point = gf_boundary_point_of(&r->model);
    if (p->recipe->objective == GF_OBJECTIVE_MLM) return GF_POINT_NONE;
    return visits < 2 && point != GF_POINT_EMBEDDING ? GF_POINT_NONE : point;
}

int64_t gf_phase_stages(const gf_phase *p, const gf_run *r) {
    const gf_recipe_phase *c = p->recipe;
    int64_t all = 1, until;
    if (c->unfreeze_layers == 0) return 1;
    while (lowest_at(p, r, all - 1) >= 0) all++;
    until = c->unfreeze_epochs ? (c->epochs + c->unfreeze_epochs - 1) / c->unfreeze_epochs
                               : (p->updates + c->unfreeze_steps - 1) / c->unfreeze_steps;
    return until < all ? until : all;
}

bool gf_phase_assign_stage(gf_phase *p, gf_run *r, int64_t stage, gf_progress *begin, gf_err *e) {
    const gf_recipe_phase *c = p->recipe;
    p->stage = stage;
    *begin = (gf_progress){.epoch = stage * c->unfreeze_epochs,
                           .phase_update = stage * c->unfreeze_steps};
    if (c->unfreeze_steps && p->updates_per_epoch)
        begin->epoch = begin->phase_update / p->updates_per_epoch;
    if (!assign(p, r, lowest_at(p, r, stage), e)) return false;
    p->encoder_frozen = gf_model_encoder_frozen(&r->model);
    return true;
}

bool gf_phase_make_features(gf_phase *p, gf_run *r, gf_engine *n, gf_boundary *b, int64_t visits,
                            const gf_tell *tell, gf_err *e) {
    free_features(p);
    if (!gf_boundary_prepare(b, r, n, gf_phase_point(p, r, visits), p->trains, tell, e))
        return false;
    p->train = b->train;
    p->dev = b->dev;
    p->train.owned = p->dev.owned = NULL; /* both stay with b */
    p->train.map = p->dev.map = (gf_map){0};
    return true;
}

void gf_phase_end(gf_phase *p) {
    gf_groups_free(&p->groups);
    gf_blocks_free(&p->blocks);
    gf_free(p->epoch_updates);
    free_features(p);
    *p = (gf_phase){0};
}

int64_t gf_phase_updates_in(const gf_phase *p, int64_t epoch) {
    return p->epoch_updates ? p->epoch_updates[epoch] : p->updates_per_epoch;
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

const char *gf_phase_loss_name(const gf_phase *p, const gf_recipe *r, int64_t i) {
    return p->recipe->objective == GF_OBJECTIVE_MLM ? "mlm" : r->tasks[i].name;
}

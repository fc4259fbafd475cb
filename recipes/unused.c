#include "recipes/unused.h"

#include "recipes/keys.h"

#include <stdio.h>
#include <string.h>

/* A key with what it goes with, in words. */
typedef struct use {
    const char *key;
    bool given, used; /* not at its default; looked at */
    const char *with;
} use;

/* "FILE: WHEREKEY goes with WITH; ..." for the first key that is given and not used. */
static bool check(const gf_recipe *r, const char *where, const use *uses, size_t n, gf_err *e) {
    for (size_t i = 0; i < n; i++)
        if (uses[i].given && !uses[i].used)
            return gf_fail(e, GF_E_INVALID, "%s: %s%s goes with %s; set that or leave it out",
                           r->path, where, uses[i].key, uses[i].with);
    return true;
}
#define CHECK(r, where, uses, e) check(r, where, uses, sizeof(uses) / sizeof *(uses), e)

static bool check_schedule(const gf_recipe *r, int64_t i, gf_err *e) {
    const gf_schedule *s = &r->phases[i].schedule, *d = &gf_recipe_phase_defaults.schedule;
    bool waves = s->kind == GF_SCHEDULE_COSINE || s->kind == GF_SCHEDULE_COSINE_WITH_RESTARTS;
    bool plateau = s->kind == GF_SCHEDULE_REDUCE_ON_PLATEAU;
    bool cycle = s->kind == GF_SCHEDULE_ONE_CYCLE;
    static const char waves_with[] = "the types \"cosine\" and \"cosine_with_restarts\"";
    static const char plateau_with[] = "the type \"reduce_on_plateau\"";
    static const char cycle_with[] = "the type \"one_cycle\"";
    const use uses[] = {{"cycles", s->cycles != d->cycles, waves, waves_with},
                        {"power", s->power != d->power, s->kind == GF_SCHEDULE_POLYNOMIAL,
                         "the type \"polynomial\""},
                        {"end", s->end != d->end, s->kind != GF_SCHEDULE_CONSTANT,
                         "a type other than \"constant\""},
                        {"timescale", s->timescale != d->timescale,
                         s->kind == GF_SCHEDULE_INVERSE_SQRT, "the type \"inverse_sqrt\""},
                        {"factor", s->factor != d->factor, plateau, plateau_with},
                        {"patience", s->patience != d->patience, plateau, plateau_with},
                        {"peak", s->peak != d->peak, cycle, cycle_with},
                        {"start_divisor", s->start_divisor != d->start_divisor, cycle, cycle_with},
                        {"final_divisor", s->final_divisor != d->final_divisor, cycle, cycle_with}};
    char where[64];
    snprintf(where, sizeof where, "phases[%lld].schedule.", (long long)i);
    return CHECK(r, where, uses, e);
}

static bool check_optimizer(const gf_recipe *r, gf_err *e) {
    const gf_recipe *d = &gf_recipe_defaults;
    bool sgd = r->optimizer == GF_OPTIMIZER_SGD;
    const use uses[] = {{"momentum", r->momentum != d->momentum, sgd, "\"sgd\""},
                        {"nesterov", r->nesterov, sgd, "\"sgd\""},
                        {"betas", r->beta1 != d->beta1 || r->beta2 != d->beta2, !sgd, "\"adamw\""},
                        {"eps", r->eps != d->eps, !sgd, "\"adamw\""}};
    return CHECK(r, "optimizer.", uses, e);
}

static bool check_balance(const gf_recipe *r, gf_err *e) {
    const char *method = gf_balance_names[r->balance_method];
    const gf_balance_settings *s = &r->balance, own = gf_balance_defaults(method);
    bool dwa = strcmp(method, "dwa") == 0, learns = r->balance_method != 0 && !dwa;
    const use uses[] = {
        {"lr", s->lr != own.lr, learns, "the methods \"uncertainty\", \"gradnorm\" and \"famo\""},
        {"temperature", s->temperature != own.temperature, dwa, "the method \"dwa\""},
        {"alpha", s->alpha != own.alpha, strcmp(method, "gradnorm") == 0,
         "the method \"gradnorm\""},
        {"decay", s->decay != own.decay, strcmp(method, "famo") == 0, "the method \"famo\""}};
    return CHECK(r, "balance.", uses, e);
}

static bool check_mix(const gf_recipe *r, gf_err *e) {
    const gf_mix *m = &r->mix, *d = &gf_recipe_defaults.mix;
    bool hot = m->kind == GF_MIX_TEMPERATURE, annealed = m->kind == GF_MIX_ANNEALED;
    static const char annealed_with[] = "the type \"annealed\"";
    const use uses[] = {
        {"cap", m->cap != d->cap, hot, "the type \"temperature\""},
        {"temperature", m->temperature != d->temperature, hot, "the type \"temperature\""},
        {"start", m->start != d->start, annealed, annealed_with},
        {"end", m->end != d->end, annealed, annealed_with}};
    return CHECK(r, "mix.", uses, e);
}

static bool check_surgery(const gf_recipe *r, gf_err *e) {
    const use uses[] = {{"c", r->cagrad_c != gf_recipe_defaults.cagrad_c,
                         r->surgery == GF_SURGERY_CAGRAD, "the method \"cagrad\""}};
    return CHECK(r, "surgery.", uses, e);
}

static bool check_mlm(const gf_recipe *r, gf_err *e) {
    const gf_recipe *d = &gf_recipe_defaults;
    static const char with[] = "a phase whose objective is \"mlm\"";
    bool used = gf_recipe_has_mlm(r);
    const use uses[] = {{"data", r->mlm_data != NULL, used, with},
                        {"text", r->mlm_text != NULL, used && r->mlm_data, "mlm.data"},
                        {"probability", r->mlm_probability != d->mlm_probability, used, with},
                        {"whole_word", r->mlm_whole_word != d->mlm_whole_word, used, with}};
    return CHECK(r, "mlm.", uses, e);
}

bool gf_recipe_check_unused(const gf_recipe *r, gf_err *e) {
    for (int64_t i = 0; i < r->n_phases; i++)
        if (!check_schedule(r, i, e)) return false;
    return check_optimizer(r, e) && check_balance(r, e) && check_mix(r, e) && check_surgery(r, e) &&
           check_mlm(r, e);
}

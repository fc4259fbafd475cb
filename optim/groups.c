#include "optim/groups.h"

#include "core/mem.h"
#include "core/text.h"
#include "optim/pattern.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const gf_optimizer_names[] = {"adamw", "sgd", NULL};

static const char layer_prefix[] = "encoder.layer.";

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_spared_from_decay(const char *name) {
    return gf_text_ends_with(name, ".bias") || strstr(name, "LayerNorm.");
}

static int64_t layer_of(const char *name) {
    return strtol(name + sizeof layer_prefix - 1, NULL, 10);
}

static bool is_below(const char *name, int64_t lowest_layer) {
    if (starts_with(name, "embeddings.")) return lowest_layer >= 0;
    return starts_with(name, layer_prefix) && layer_of(name) < lowest_layer;
}

int64_t gf_unfreeze_lowest(int64_t layers, int64_t per_stage, int64_t stage) {
    int64_t to_open_all = layers / per_stage + (layers % per_stage > 0);
    if (stage > to_open_all) return -1;
    return stage == to_open_all ? 0 : layers - stage * per_stage;
}

/* How many factors of layer_decay slow this parameter down. */
static int64_t depth_below_heads(const char *name, int64_t layers) {
    if (starts_with(name, "embeddings.")) return layers;
    if (!starts_with(name, layer_prefix)) return 0;
    return layers - 1 - layer_of(name);
}

/* By multiplication: pow() may differ in its last bit from one libm to the next. */
static double decayed_lr(const gf_rule *rule, const char *name, int64_t layers) {
    double lr = rule->lr;
    for (int64_t i = depth_below_heads(name, layers); i > 0; i--) lr *= rule->layer_decay;
    return lr;
}

static double weight_decay_of(const gf_rule *rule, const char *name, double default_decay) {
    if (!isnan(rule->weight_decay)) return rule->weight_decay;
    return is_spared_from_decay(name) ? 0 : default_decay;
}

/* The rule that decides for this parameter, -1 if none. */
static int64_t deciding_rule(const char *name, const gf_rule *rules, int64_t n_rules,
                             int64_t layers) {
    for (int64_t r = 0; r < n_rules; r++)
        if (gf_pattern_matches(rules[r].pattern, name, layers)) return r;
    return -1;
}

/* The start of `name` with as many dots as stand in the first `stem` bytes of the pattern. */
static size_t start_like(const char *name, const char *pattern, size_t stem) {
    size_t dots = 0, n = 0;
    for (size_t i = 0; i < stem; i++) dots += pattern[i] == '.';
    while (name[n] && (name[n] != '.' || dots-- > 0)) n++;
    return n;
}

/* The name's start that is nearest to what the pattern spells out before its first '*', "" if none
 * is near; NULL when memory is out. */
static char *nearest_start(const gf_params *params, const char *pattern, size_t stem, gf_err *e) {
    char **starts = gf_alloc_array(params->count, sizeof *starts, e);
    char *wanted = starts ? gf_strndup(pattern, stem, e) : NULL, *out = NULL;
    const char *nearest;
    bool ok = wanted != NULL;
    for (int64_t i = 0; ok && i < params->count; i++) {
        const char *name = params->items[i]->name;
        ok = (starts[i] = gf_strndup(name, start_like(name, pattern, stem), e)) != NULL;
    }
    if (ok) {
        nearest = gf_text_nearest(wanted, (const char *const *)starts, params->count);
        out = gf_strdup(nearest ? nearest : "", e);
    }
    for (int64_t i = 0; starts && i < params->count; i++) gf_free(starts[i]);
    gf_free(starts);
    gf_free(wanted);
    return out;
}

static bool fail_unmatched(const gf_params *params, const char *pattern, int64_t layers,
                           gf_err *e) {
    size_t stem = strcspn(pattern, "*[");
    const char *rest = pattern + stem;
    char *nearest;
    if (*rest == '*' && stem > 0 && pattern[stem - 1] == '.') rest = pattern + --stem;
    if (!(nearest = nearest_start(params, pattern, stem, e))) return false;
    if (strchr(pattern, '['))
        gf_fail(e, GF_E_INVALID,
                "the pattern \"%s\" matches no parameter; the encoder has %lld layers, counted "
                "from 0",
                pattern, (long long)layers);
    else if (*nearest)
        gf_fail(e, GF_E_INVALID, "the pattern \"%s\" matches no parameter; did you mean \"%s%s\"?",
                pattern, nearest, rest);
    else
        gf_fail(e, GF_E_INVALID,
                "the pattern \"%s\" matches no parameter; parameters have names like \"%s\"",
                pattern, params->count ? params->items[0]->name : "(there are none)");
    gf_free(nearest);
    return false;
}

static bool check_rule(const gf_params *params, const gf_rule *rules, int64_t r, int64_t layers,
                       gf_err *e) {
    bool matches = false;
    if (!gf_pattern_check(rules[r].pattern, e)) return false;
    for (int64_t i = 0; i < params->count; i++) {
        const char *name = params->items[i]->name;
        if (!gf_pattern_matches(rules[r].pattern, name, layers)) continue;
        if (deciding_rule(name, rules, r, layers) < 0) return true;
        matches = true;
    }
    if (!matches) return fail_unmatched(params, rules[r].pattern, layers, e);
    return gf_fail(e, GF_E_INVALID,
                   "the pattern \"%s\" matches only parameters that earlier patterns already took; "
                   "write the most specific first",
                   rules[r].pattern);
}

/* The index of the group with these settings, made if need be; -1: no memory. A rule has one l2_sp.
 */
static int64_t find_group(gf_groups *g, const gf_group *wanted, gf_err *e) {
    for (int64_t i = 0; i < g->count; i++) {
        const gf_group *have = &g->items[i];
        if (have->pattern == wanted->pattern && have->lr == wanted->lr &&
            have->weight_decay == wanted->weight_decay)
            return i;
    }
    if (!gf_grow(&g->items, g->count, &g->capacity, sizeof *g->items, e)) return -1;
    g->items[g->count] = *wanted;
    return g->count++;
}

static bool add_to_group(gf_groups *g, gf_param *p, const gf_rule *rule, int64_t layers,
                         double default_decay, gf_err *e) {
    gf_group wanted = {.pattern = rule->pattern,
                       .lr = decayed_lr(rule, p->name, layers),
                       .weight_decay = weight_decay_of(rule, p->name, default_decay),
                       .l2_sp = rule->l2_sp};
    int64_t i = find_group(g, &wanted, e);
    if (i < 0) return false;
    p->trainable = true;
    p->group = (int)i;
    g->items[i].params++;
    g->items[i].elements += gf_param_count(p);
    return true;
}

static void freeze_all(gf_params *params) {
    for (int64_t i = 0; i < params->count; i++) {
        params->items[i]->trainable = false;
        params->items[i]->group = -1;
    }
}

bool gf_groups_assign(gf_groups *g, gf_params *params, const gf_rule *rules, int64_t n_rules,
                      int64_t layers, int64_t lowest_layer, double default_decay, gf_err *e) {
    bool ok = true;
    g->count = 0;
    freeze_all(params);
    for (int64_t r = 0; ok && r < n_rules; r++) ok = check_rule(params, rules, r, layers, e);
    for (int64_t r = 0; r < n_rules; r++)
        for (int64_t i = 0; ok && i < params->count; i++) {
            gf_param *p = params->items[i];
            if (!is_below(p->name, lowest_layer) &&
                deciding_rule(p->name, rules, n_rules, layers) == r)
                ok = add_to_group(g, p, &rules[r], layers, default_decay, e);
        }
    if (!ok) freeze_all(params);
    return ok;
}

void gf_groups_freeze(gf_groups *g, gf_params *params, const char *prefix) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        if (!p->trainable || strncmp(p->name, prefix, strlen(prefix)) != 0) continue;
        g->items[p->group].params--;
        g->items[p->group].elements -= gf_param_count(p);
        p->trainable = false;
        p->group = -1;
    }
}

void gf_groups_free(gf_groups *g) {
    gf_free(g->items);
    *g = (gf_groups){0};
}

static bool zeroed(gf_real **array, int64_t count, gf_err *e) {
    return (*array = gf_alloc_array(count, sizeof **array, e)) != NULL;
}

/* A new gradient rather than a cleared one: pages of zeros take no memory until written to. */
static bool reserve(gf_param *p, gf_optimizer optimizer, gf_err *e) {
    int64_t count = gf_param_count(p);
    gf_free(p->grad);
    p->grad = NULL;
    if (!gf_param_own(p, e) || !zeroed(&p->grad, count, e)) return false;
    return (p->moment1 || zeroed(&p->moment1, count, e)) &&
           (optimizer == GF_OPTIMIZER_SGD || p->moment2 || zeroed(&p->moment2, count, e));
}

bool gf_groups_reserve(gf_params *params, gf_optimizer optimizer, gf_err *e) {
    for (int64_t i = 0; i < params->count; i++) {
        gf_param *p = params->items[i];
        if (p->trainable && !reserve(p, optimizer, e)) return false;
        if (p->trainable) continue;
        gf_free(p->grad);
        p->grad = NULL;
    }
    return true;
}

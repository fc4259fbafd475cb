#include "optim/balance.h"

#include "core/mem.h"
#include "core/text.h"

#include <math.h>
#include <string.h>

struct gf_balance_method {
    const char *name;
    int64_t columns;         /* of state per task */
    double initial;          /* of column 0; the others start at 0 */
    bool sums_to_count;      /* column 0 is a weight, and the active ones sum to their count */
    gf_balance_settings own; /* defaults */
    bool wants_losses, wants_norms, wants_after;
    /* NULL: 1. Written for tasks that take part only, without the fixed weight. */
    void (*weights)(const gf_balance *b, const double *losses, double *weights);
    /* NULL: the weighted sum of the losses. */
    double (*total)(const gf_balance *b, const double *losses);
    void (*see)(gf_balance *b, const double *losses, const double *norms, const double *after);
    void (*end_epoch)(gf_balance *b);
};

/* Columns 1 to 3 of the methods that learn by Adam. */
enum { VALUE, MOMENT1, MOMENT2, UPDATES, ADAM_COLUMNS, FIRST_LOSS = ADAM_COLUMNS, HAS_FIRST };
/* Columns of dwa. */
enum { WEIGHT, SUM, COUNT, LAST, BEFORE, EPOCHS, DWA_COLUMNS };

static double *row(const gf_balance *b, int64_t k) { return b->state + k * b->method->columns; }

static bool is_present(const gf_balance *b, const double *values, int64_t k) {
    return b->fixed[k] > 0 && isfinite(values[k]);
}

/* torch.optim.Adam's update of one number. */
static void adam(double *state, double lr, double decay, double gradient) {
    const double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double g = gradient + decay * state[VALUE];
    double t = state[UPDATES] += 1;
    state[MOMENT1] += (1 - beta1) * (g - state[MOMENT1]);
    state[MOMENT2] = beta2 * state[MOMENT2] + (1 - beta2) * g * g;
    double root = sqrt(state[MOMENT2]) / sqrt(1 - pow(beta2, t)) + eps;
    state[VALUE] -= lr / (1 - pow(beta1, t)) * state[MOMENT1] / root;
}

/* ---- uncertainty ---- */

static double half_if_regression(const gf_balance *b, int64_t k) {
    return b->regression[k] ? 0.5 : 1;
}

static void uncertainty_weights(const gf_balance *b, const double *losses, double *weights) {
    (void)losses;
    for (int64_t k = 0; k < b->tasks; k++)
        weights[k] = half_if_regression(b, k) * exp(-row(b, k)[VALUE]);
}

static double uncertainty_total(const gf_balance *b, const double *losses) {
    double sum = 0;
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!is_present(b, losses, k)) continue;
        double s = row(b, k)[VALUE];
        sum += b->fixed[k] * (half_if_regression(b, k) * exp(-s) * losses[k] + s / 2);
    }
    return sum;
}

static void uncertainty_see(gf_balance *b, const double *losses, const double *norms,
                            const double *after) {
    const double bound = 20;
    (void)norms;
    (void)after;
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!is_present(b, losses, k)) continue;
        double *state = row(b, k);
        double slope = 0.5 - half_if_regression(b, k) * exp(-state[VALUE]) * losses[k];
        adam(state, b->settings.lr, 0, b->fixed[k] * slope);
        state[VALUE] = fmin(fmax(state[VALUE], -bound), bound);
    }
}

/* ---- dwa ---- */

static void column0_weights(const gf_balance *b, const double *losses, double *weights) {
    (void)losses;
    for (int64_t k = 0; k < b->tasks; k++) weights[k] = row(b, k)[0];
}

static void dwa_see(gf_balance *b, const double *losses, const double *norms, const double *after) {
    (void)norms;
    (void)after;
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!is_present(b, losses, k)) continue;
        row(b, k)[SUM] += losses[k];
        row(b, k)[COUNT] += 1;
    }
}

static double dwa_ratio(const double *state) {
    const double least = 1e-12, most = 1e3; /* of a mean, of a ratio: a loss may reach 0 */
    if (state[EPOCHS] < 2) return 1;
    return fmin(state[LAST] / fmax(state[BEFORE], least), most);
}

static void dwa_end_epoch(gf_balance *b) {
    double sum = 0, largest = 0, temperature = b->settings.temperature;
    for (int64_t k = 0; k < b->tasks; k++) {
        double *state = row(b, k);
        if (b->fixed[k] > 0 && state[COUNT] > 0) {
            state[BEFORE] = state[LAST];
            state[LAST] = state[SUM] / state[COUNT];
            state[EPOCHS] += 1;
        }
        state[SUM] = state[COUNT] = 0;
        if (b->fixed[k] > 0) largest = fmax(largest, dwa_ratio(state));
    }
    for (int64_t k = 0; k < b->tasks; k++)
        if (b->fixed[k] > 0) sum += exp((dwa_ratio(row(b, k)) - largest) / temperature);
    for (int64_t k = 0; k < b->tasks; k++) {
        double *state = row(b, k);
        double share = exp((dwa_ratio(state) - largest) / temperature) / sum;
        if (b->fixed[k] > 0) state[WEIGHT] = (double)b->active * share;
    }
}

/* ---- gradnorm ---- */

static bool gradnorm_present(const gf_balance *b, const double *losses, const double *norms,
                             int64_t k) {
    return is_present(b, losses, k) && isfinite(norms[k]);
}

/* The paper's loss ratio, L / L(0). */
static double loss_ratio(const double *state, double loss) {
    const double least = 1e-12;
    return fmax(loss, 0) / fmax(state[FIRST_LOSS], least);
}

static void gradnorm_see(gf_balance *b, const double *losses, const double *norms,
                         const double *after) {
    const double least = 1e-3, tiny = 1e-300;
    double count = 0, norm = 0, ratio = 0, before = 0, behind = 0;
    (void)after;
    if (!norms) return;
    for (int64_t k = 0; k < b->tasks; k++) {
        double *state = row(b, k);
        if (!gradnorm_present(b, losses, norms, k)) continue;
        if (state[HAS_FIRST] == 0) state[FIRST_LOSS] = losses[k];
        state[HAS_FIRST] = 1;
        count++;
        norm += norms[k];
        ratio += loss_ratio(state, losses[k]);
        before += state[VALUE];
    }
    for (int64_t k = 0; k < b->tasks; k++) {
        double *state = row(b, k);
        if (!gradnorm_present(b, losses, norms, k)) continue;
        double rate = loss_ratio(state, losses[k]) / fmax(ratio / count, tiny);
        double excess = norms[k] - norm / count * pow(rate, b->settings.alpha);
        double sign = (excess > 0) - (excess < 0);
        adam(state, b->settings.lr, 0, sign * norms[k] / state[VALUE]);
        state[VALUE] = fmax(state[VALUE], least);
        behind += state[VALUE];
    }
    for (int64_t k = 0; k < b->tasks; k++)
        if (gradnorm_present(b, losses, norms, k)) row(b, k)[VALUE] *= before / behind;
}

/* ---- famo ---- */

/* L - its least value + 1e-8, as in the authors' code. */
static double famo_distance(double loss) { return fmax(loss, 0) + 1e-8; }

/* Of softmax(w) over the tasks that take part: weights[k] gets exp(w - largest), unscaled. */
static double famo_exponentials(const gf_balance *b, const double *losses, const double *after,
                                double *weights) {
    double largest = -INFINITY, sum = 0;
    for (int64_t k = 0; k < b->tasks; k++) {
        weights[k] = is_present(b, losses, k) && is_present(b, after, k) ? 1 : 0;
        if (weights[k] > 0) largest = fmax(largest, row(b, k)[VALUE]);
    }
    for (int64_t k = 0; k < b->tasks; k++) {
        if (weights[k] > 0) weights[k] = exp(row(b, k)[VALUE] - largest);
        sum += weights[k];
    }
    return sum;
}

static void famo_weights(const gf_balance *b, const double *losses, double *weights) {
    double sum = 0;
    if (!(famo_exponentials(b, losses, losses, weights) > 0)) return;
    for (int64_t k = 0; k < b->tasks; k++) {
        if (weights[k] > 0) weights[k] /= famo_distance(losses[k]);
        sum += weights[k];
    }
    for (int64_t k = 0; k < b->tasks; k++) weights[k] /= sum;
}

static double famo_total(const gf_balance *b, const double *losses) {
    double sum = 0;
    famo_weights(b, losses, b->scratch);
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!(b->scratch[k] > 0)) continue;
        double distance = famo_distance(losses[k]);
        sum += b->fixed[k] * b->scratch[k] * distance * log(distance);
    }
    return sum;
}

static void famo_see(gf_balance *b, const double *losses, const double *norms,
                     const double *after) {
    double *z = b->scratch, mean = 0, sum;
    (void)norms;
    if (!after) return;
    sum = famo_exponentials(b, losses, after, z);
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!(z[k] > 0)) continue;
        z[k] /= sum;
        mean += z[k] * (log(famo_distance(losses[k])) - log(famo_distance(after[k])));
    }
    for (int64_t k = 0; k < b->tasks; k++) {
        if (!(z[k] > 0)) continue;
        double delta = log(famo_distance(losses[k])) - log(famo_distance(after[k]));
        adam(row(b, k), b->settings.lr, b->settings.decay, z[k] * (delta - mean));
    }
}

/* ---- the table ---- */

enum { METHODS = 5 };

const char *const gf_balance_names[] = {"fixed", "uncertainty", "dwa", "gradnorm", "famo", NULL};

/* In the order of the names. */
static const gf_balance_method methods[METHODS] = {
    {.name = "fixed", .own = {0.025, 1.5, 2, 0.01}},
    {.name = "uncertainty",
     .columns = ADAM_COLUMNS,
     .own = {0.01, 1.5, 2, 0.01},
     .weights = uncertainty_weights,
     .total = uncertainty_total,
     .see = uncertainty_see},
    {.name = "dwa",
     .columns = DWA_COLUMNS,
     .initial = 1,
     .sums_to_count = true,
     .own = {0.025, 1.5, 2, 0.01},
     .weights = column0_weights,
     .see = dwa_see,
     .end_epoch = dwa_end_epoch},
    {.name = "gradnorm",
     .columns = HAS_FIRST + 1,
     .initial = 1,
     .sums_to_count = true,
     .own = {0.025, 1.5, 2, 0.01},
     .wants_norms = true,
     .weights = column0_weights,
     .see = gradnorm_see},
    {.name = "famo",
     .columns = ADAM_COLUMNS,
     .own = {0.025, 1.5, 2, 0.01},
     .wants_losses = true,
     .wants_after = true,
     .weights = famo_weights,
     .total = famo_total,
     .see = famo_see},
};

static const gf_balance_method *find(const char *name) {
    for (int i = 0; i < METHODS; i++)
        if (strcmp(methods[i].name, name) == 0) return &methods[i];
    return NULL;
}

gf_balance_settings gf_balance_defaults(const char *method) {
    const gf_balance_method *found = find(method);
    return found ? found->own : methods[0].own;
}

static bool find_method(gf_balance *b, const char *name, gf_err *e) {
    const char *near = gf_text_nearest(name, gf_balance_names, METHODS);
    b->method = find(name);
    if (b->method) return true;
    if (!near)
        return gf_fail(e, GF_E_INVALID,
                       "balance: there is no method \"%s\"; there are fixed, uncertainty, dwa, "
                       "gradnorm and famo",
                       name);
    return gf_fail(e, GF_E_INVALID, "balance: there is no method \"%s\"; did you mean \"%s\"?",
                   name, near);
}

static bool check_settings(const gf_balance_settings *s, gf_err *e) {
    const struct {
        const char *name;
        double value;
        bool may_be_0;
    } all[] = {{"lr", s->lr, false},
               {"alpha", s->alpha, true},
               {"temperature", s->temperature, false},
               {"decay", s->decay, true}};
    for (int i = 0; i < 4; i++)
        if (!isfinite(all[i].value) || all[i].value < 0 || (all[i].value == 0 && !all[i].may_be_0))
            return gf_fail(e, GF_E_INVALID, "balance: %s is %g; give a number %s 0", all[i].name,
                           all[i].value, all[i].may_be_0 ? "of at least" : "above");
    return true;
}

static bool check_fixed(int64_t tasks, const double *fixed, gf_err *e) {
    for (int64_t k = 0; k < tasks; k++)
        if (!isfinite(fixed[k]) || fixed[k] < 0)
            return gf_fail(e, GF_E_INVALID,
                           "balance: the weight of task %lld is %g; give a number of at least 0",
                           (long long)k, fixed[k]);
    return true;
}

/* Copies the weights; true when other tasks are active than before. */
static bool take_fixed(gf_balance *b, const double *fixed) {
    bool other = false;
    b->active = 0;
    for (int64_t k = 0; k < b->tasks; k++) {
        if ((fixed[k] > 0) != (b->fixed[k] > 0)) other = true;
        b->fixed[k] = fixed[k];
        b->active += fixed[k] > 0;
    }
    return other;
}

static bool reserve(gf_balance *b, gf_err *e) {
    int64_t count;
    if (!gf_mul_i64(b->tasks, b->method->columns, &count))
        return gf_fail(e, GF_E_NOMEM, "balance: %lld tasks are too many", (long long)b->tasks);
    return (b->fixed = gf_alloc_array(b->tasks, sizeof *b->fixed, e)) &&
           (b->regression = gf_alloc_array(b->tasks, sizeof *b->regression, e)) &&
           (b->state = gf_alloc_array(count, sizeof *b->state, e)) &&
           (b->scratch = gf_alloc_array(b->tasks, sizeof *b->scratch, e));
}

bool gf_balance_start(gf_balance *b, const char *method, const gf_balance_settings *settings,
                      int64_t tasks, const double *fixed, const bool *regression, gf_err *e) {
    *b = (gf_balance){.tasks = tasks, .settings = gf_balance_defaults(method)};
    if (settings) b->settings = *settings;
    if (!find_method(b, method, e) || !check_settings(&b->settings, e) ||
        !check_fixed(tasks, fixed, e) || !reserve(b, e)) {
        gf_balance_free(b);
        return false;
    }
    take_fixed(b, fixed);
    if (regression) memcpy(b->regression, regression, (size_t)tasks * sizeof *regression);
    for (int64_t k = 0; k < tasks && b->method->columns > 0; k++) row(b, k)[0] = b->method->initial;
    return true;
}

void gf_balance_free(gf_balance *b) {
    gf_free(b->fixed);
    gf_free(b->regression);
    gf_free(b->state);
    gf_free(b->scratch);
    *b = (gf_balance){0};
}

bool gf_balance_set_fixed(gf_balance *b, const double *fixed, gf_err *e) {
    double sum = 0;
    if (!check_fixed(b->tasks, fixed, e)) return false;
    if (!take_fixed(b, fixed) || !b->method->sums_to_count) return true;
    for (int64_t k = 0; k < b->tasks; k++)
        if (b->fixed[k] > 0) sum += row(b, k)[0];
    for (int64_t k = 0; k < b->tasks; k++)
        if (b->fixed[k] > 0) row(b, k)[0] *= (double)b->active / sum;
    return true;
}

/* ---- the methods' front ---- */

static bool is_on(const gf_balance *b) { return b->active > 1; }

bool gf_balance_wants_losses(const gf_balance *b) { return is_on(b) && b->method->wants_losses; }

bool gf_balance_wants_norms(const gf_balance *b) { return is_on(b) && b->method->wants_norms; }

bool gf_balance_wants_after(const gf_balance *b) { return is_on(b) && b->method->wants_after; }

void gf_balance_weights(const gf_balance *b, const double *losses, double *weights) {
    for (int64_t k = 0; k < b->tasks; k++) weights[k] = 1;
    if (is_on(b) && b->method->weights) b->method->weights(b, losses, weights);
    for (int64_t k = 0; k < b->tasks; k++) weights[k] *= b->fixed[k];
}

double gf_balance_total(const gf_balance *b, const double *losses) {
    double sum = 0;
    if (is_on(b) && b->method->total) return b->method->total(b, losses);
    gf_balance_weights(b, losses, b->scratch);
    for (int64_t k = 0; k < b->tasks; k++)
        if (is_present(b, losses, k)) sum += b->scratch[k] * losses[k];
    return sum;
}

void gf_balance_see(gf_balance *b, const double *losses, const double *norms, const double *after) {
    if (is_on(b) && b->method->see) b->method->see(b, losses, norms, after);
}

void gf_balance_end_epoch(gf_balance *b) {
    if (is_on(b) && b->method->end_epoch) b->method->end_epoch(b);
}

void gf_balance_state(gf_balance *b, double **values, int64_t *count) {
    *values = b->state;
    *count = b->tasks * b->method->columns;
}

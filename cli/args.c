#include "cli/cli.h"

#include "core/mem.h"
#include "core/text.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef enum kind { FLAG, TEXT, COUNT, RATE, LIST } kind;

static const struct {
    const char *name;
    kind kind;
    size_t offset;
    int64_t extra; /* of a COUNT the least value, of a LIST the offset of its own count */
} options[] = {
    {"--set", LIST, offsetof(gf_args, sets), offsetof(gf_args, n_sets)},
    {"--label", LIST, offsetof(gf_args, labels), offsetof(gf_args, n_labels)},
    {"--output", TEXT, offsetof(gf_args, output), 0},
    {"--model", TEXT, offsetof(gf_args, model), 0},
    {"--input", TEXT, offsetof(gf_args, input), 0},
    {"--format", TEXT, offsetof(gf_args, format), 0},
    {"--to", TEXT, offsetof(gf_args, to), 0},
    {"--dtype", TEXT, offsetof(gf_args, dtype), 0},
    {"--text", TEXT, offsetof(gf_args, text), 0},
    {"--separator", TEXT, offsetof(gf_args, separator), 0},
    {"--pairs", TEXT, offsetof(gf_args, pairs), 0},
    {"--fix", TEXT, offsetof(gf_args, fix), 0},
    {"--base", TEXT, offsetof(gf_args, base), 0},
    {"--precision", TEXT, offsetof(gf_args, precision), 0},
    {"--threads", COUNT, offsetof(gf_args, threads), 1},
    {"--pin", FLAG, offsetof(gf_args, pin), 0},
    {"--max-length", COUNT, offsetof(gf_args, max_length), 3},
    {"--batch", COUNT, offsetof(gf_args, batch), 1},
    {"--at", COUNT, offsetof(gf_args, at), 0},
    {"--without-heads", FLAG, offsetof(gf_args, without_heads), 0},
    {"--resume", FLAG, offsetof(gf_args, resume), 0},
    {"--force", FLAG, offsetof(gf_args, force), 0},
    {"--quiet", FLAG, offsetof(gf_args, quiet), 0},
    {"--profile", FLAG, offsetof(gf_args, profile), 0},
    {"--json", FLAG, offsetof(gf_args, json), 0},
    {"--scores", FLAG, offsetof(gf_args, scores), 0},
    {"--strategies", TEXT, offsetof(gf_args, strategies), 0},
    {"--seeds", COUNT, offsetof(gf_args, seeds), 1},
    {"--list", FLAG, offsetof(gf_args, list), 0},
    {"--dry-run", FLAG, offsetof(gf_args, dry_run), 0},
    {"--keep", FLAG, offsetof(gf_args, keep), 0},
    {"--phase", TEXT, offsetof(gf_args, phase), 0},
    {"--start", RATE, offsetof(gf_args, start), 0},
    {"--end", RATE, offsetof(gf_args, end), 0},
    {"--steps", COUNT, offsetof(gf_args, steps), 10},
};
enum { N_OPTIONS = sizeof options / sizeof *options };

/* Whether the command takes this option: its list holds the name as a whole word. */
static bool takes(const gf_command *c, const char *name) {
    size_t n = strlen(name);
    for (const char *p = c->options; (p = strstr(p, name)); p += n)
        if (p[n] == 0 || p[n] == ' ') return true;
    return false;
}

static int find_option(const gf_command *c, const char *name, size_t n) {
    for (int i = 0; i < N_OPTIONS; i++)
        if (strlen(options[i].name) == n && strncmp(options[i].name, name, n) == 0 &&
            takes(c, options[i].name))
            return i;
    return -1;
}

static bool unknown(const gf_command *c, const char *name, size_t n, gf_err *e) {
    const char *known[N_OPTIONS + 1], *nearest;
    char given[64];
    int64_t count = 0;
    size_t shown = n < sizeof given ? n : sizeof given - 1;
    memcpy(given, name, shown);
    given[shown] = 0;
    for (int i = 0; i < N_OPTIONS; i++)
        if (takes(c, options[i].name)) known[count++] = options[i].name;
    known[count++] = "--help";
    nearest = gf_text_nearest(given, known, count);
    if (nearest)
        return gf_fail(e, GF_E_USAGE, "%s: unknown option %s; did you mean %s?", c->name, given,
                       nearest);
    return gf_fail(e, GF_E_USAGE, "%s: unknown option %s; see graft %s --help", c->name, given,
                   c->name);
}

static bool read_count(const gf_command *c, int option, const char *value, int64_t *out,
                       gf_err *e) {
    char *end = NULL;
    errno = 0;
    long long v = strtoll(value, &end, 10);
    if (errno || end == value || *end || v < options[option].extra || v > INT32_MAX)
        return gf_fail(e, GF_E_USAGE, "%s: %s is \"%s\"; a whole number from %lld is wanted",
                       c->name, options[option].name, value, (long long)options[option].extra);
    *out = v;
    return true;
}

static bool read_rate(const gf_command *c, int option, const char *value, double *out, gf_err *e) {
    char *end = NULL;
    double v = strtod(value, &end);
    if (end == value || *end || !isfinite(v) || v <= 0)
        return gf_fail(e, GF_E_USAGE, "%s: %s is \"%s\"; a number above 0 is wanted, like 1e-5",
                       c->name, options[option].name, value);
    *out = v;
    return true;
}

static bool set_option(gf_args *a, const gf_command *c, int option, const char *value, gf_err *e) {
    char *target = (char *)a + options[option].offset;
    if (options[option].kind == COUNT) return read_count(c, option, value, (int64_t *)target, e);
    if (options[option].kind == RATE) return read_rate(c, option, value, (double *)target, e);
    if (options[option].kind == TEXT) *(const char **)target = value;
    if (options[option].kind == LIST) {
        int64_t *count = (int64_t *)(void *)((char *)a + options[option].extra);
        (*(const char ***)(void *)target)[(*count)++] = value;
    }
    return true;
}

/* One option at argv[*i], its value inline (--name=value) or behind it. */
static bool read_option(gf_args *a, const gf_command *c, int argc, char **argv, int *i, gf_err *e) {
    const char *name = argv[*i], *equals = strchr(name, '=');
    size_t n = equals ? (size_t)(equals - name) : strlen(name);
    int option = find_option(c, name, n);
    if (option < 0) return unknown(c, name, n, e);
    if (options[option].kind == FLAG) {
        if (equals)
            return gf_fail(e, GF_E_USAGE, "%s: %s takes no value", c->name, options[option].name);
        *(bool *)((char *)a + options[option].offset) = true;
        return true;
    }
    if (equals) return set_option(a, c, option, equals + 1, e);
    if (*i + 1 >= argc)
        return gf_fail(e, GF_E_USAGE, "%s: %s wants a value behind it", c->name,
                       options[option].name);
    return set_option(a, c, option, argv[++*i], e);
}

static bool count_words(const gf_args *a, const gf_command *c, gf_err *e) {
    if (a->n_words < c->least)
        return gf_fail(e, GF_E_USAGE,
                       "%s: %lld of at least %d arguments given; see graft %s --help", c->name,
                       (long long)a->n_words, c->least, c->name);
    if (c->most >= 0 && a->n_words > c->most)
        return gf_fail(e, GF_E_USAGE, "%s: \"%s\" is one argument too many; see graft %s --help",
                       c->name, a->words[c->most], c->name);
    return true;
}

bool gf_args_parse(gf_args *a, const gf_command *c, int argc, char **argv, bool *help, gf_err *e) {
    const char **words = gf_alloc_array(argc + 1, sizeof *words, e);
    bool only_words = false;
    *help = false;
    a->at = -1;
    a->words = words;
    if (!words || !(a->sets = gf_alloc_array(argc + 1, sizeof *a->sets, e)) ||
        !(a->labels = gf_alloc_array(argc + 1, sizeof *a->labels, e)))
        return false;
    for (int i = 0; i < argc; i++) {
        if (only_words || argv[i][0] != '-' || argv[i][1] == 0)
            words[a->n_words++] = argv[i];
        else if (strcmp(argv[i], "--") == 0)
            only_words = true;
        else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *help = true;
        else if (!read_option(a, c, argc, argv, &i, e))
            return *help;
    }
    return *help || count_words(a, c, e);
}

void gf_args_free(gf_args *a) {
    gf_free((void *)(uintptr_t)a->words);
    gf_free(a->sets);
    gf_free(a->labels);
}

/* cli: what the commands share. A command is one file cmd_NAME.c with one gf_command, and one line
 * in commands.def; it parses nothing itself, calls the library, and writes results to a->out and
 * everything else to standard error. */
#ifndef GF_CLI_CLI_H
#define GF_CLI_CLI_H

#include "core/err.h"
#include "core/io.h"
#include "core/log.h"

#include <stdbool.h>
#include <stdint.h>

/* The options of all commands, in one place. Unset: NULL, false, 0; at: -1. */
typedef struct gf_args {
    const char *const *words; /* [n_words] what is no option */
    int64_t n_words;
    const char **sets; /* [n_sets] of --set */
    int64_t n_sets;
    const char **labels; /* [n_labels] of --label */
    int64_t n_labels;
    const char *output, *model, *input, *format, *text, *pairs, *to, *dtype, *fix, *base;
    const char *separator, *precision;
    int64_t threads, max_length, batch, at;
    bool resume, force, quiet, json, scores, without_heads, profile, pin;
    const char *strategies; /* these four are compare's */
    int64_t seeds;
    bool list, dry_run, keep;
    const char *phase; /* these four are lrfind's */
    double start, end;
    int64_t steps;
    gf_file *out; /* standard output */
    gf_log log;   /* notes and warnings to standard error; silent with --quiet */
} gf_args;

typedef struct gf_command {
    const char *name;
    const char *summary; /* a few words for `graft help` */
    const char *help;    /* the text of --help: at most 25 lines of 80 columns, with an example */
    const char *options; /* what it takes, e.g. "--threads --set"; --help is understood by all */
    int least, most;     /* words; most -1: any number */
    bool (*run)(gf_args *a, gf_err *e);
} gf_command;

#define GF_COMMAND(name) extern const gf_command gf_cmd_##name;
#include "cli/commands.def"
#undef GF_COMMAND

/* The command of this name, or NULL with a GF_E_USAGE that proposes the nearest. */
const gf_command *gf_command_find(const char *name, gf_err *e);
/* The i-th command in order, NULL behind the last. */
const gf_command *gf_command_at(int i);

/* Reads argv[0 .. argc) into *a; words and sets lie in memory of a's. GF_E_USAGE names what is
 * wrong. *help is set by --help and -h. */
bool gf_args_parse(gf_args *a, const gf_command *c, int argc, char **argv, bool *help, gf_err *e);
void gf_args_free(gf_args *a);

/* Colours and the moving line are for terminals, and not where NO_COLOR is set. */
bool gf_terminal_is_live(void);
int gf_terminal_width(void);

/* SIGINT and SIGTERM are remembered instead of ending the process; the second one ends it. */
void gf_signals_catch(void);
/* GF_OK, GF_E_SIGINT or GF_E_SIGTERM. */
gf_code gf_signals_seen(void);

#endif

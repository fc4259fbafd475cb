/* graft: the program. Finds the command, reads its options, runs it, and turns a failure into one
 * line and an exit status. */
#include "cli/cli.h"

#include "core/json.h"
#include "core/text.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const gf_command *const commands[] = {
#define GF_COMMAND(name) &gf_cmd_##name,
#include "cli/commands.def"
#undef GF_COMMAND
    NULL};

const gf_command *gf_command_at(int i) { return commands[i]; }

const gf_command *gf_command_find(const char *name, gf_err *e) {
    const char *names[sizeof commands / sizeof *commands], *nearest;
    int n = 0;
    for (; commands[n]; n++) {
        if (strcmp(commands[n]->name, name) == 0) return commands[n];
        names[n] = commands[n]->name;
    }
    nearest = gf_text_nearest(name, names, n);
    if (nearest)
        gf_fail(e, GF_E_USAGE, "%s: unknown command; did you mean \"%s\"?", name, nearest);
    else
        gf_fail(e, GF_E_USAGE, "%s: unknown command; see graft help", name);
    return NULL;
}

bool gf_terminal_is_live(void) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    return isatty(STDERR_FILENO) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

int gf_terminal_width(void) {
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 20) return 80;
    return w.ws_col;
}

static volatile sig_atomic_t signal_seen;

static void remember(int number) {
    if (signal_seen) _exit(128 + number); /* the second time means now */
    signal_seen = number;
}

void gf_signals_catch(void) {
    struct sigaction action = {.sa_handler = remember, .sa_flags = SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

gf_code gf_signals_seen(void) {
    if (signal_seen == SIGINT) return GF_E_SIGINT;
    return signal_seen == SIGTERM ? GF_E_SIGTERM : GF_OK;
}

static void say(void *context, gf_log_level level, const char *text) {
    (void)context;
    fprintf(stderr, "graft: %s%s\n", level == GF_LOG_WARNING ? "warning: " : "", text);
}

static bool run_command(const gf_command *c, gf_args *a, gf_err *e) {
    bool ok;
    if (!a->quiet) a->log.line = say;
    a->out = gf_io_create("-", e);
    if (!a->out) return false;
    ok = c->run(a, e);
    return gf_io_close(a->out, e) && ok;
}

static bool run(int argc, char **argv, gf_err *e) {
    const char *name = argc > 1 ? argv[1] : "help";
    const gf_command *c;
    gf_args a = {0};
    bool help = false, ok;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) name = "help";
    if (strcmp(name, "--version") == 0) name = "version";
    if (!(c = gf_command_find(name, e))) return false;
    ok = gf_args_parse(&a, c, argc > 2 ? argc - 2 : 0, argv + 2, &help, e);
    if (ok && help)
        fputs(c->help, stdout);
    else if (ok)
        ok = run_command(c, &a, e);
    gf_args_free(&a);
    return ok;
}

int main(int argc, char **argv) {
    gf_err e = {0};
    signal(SIGPIPE, SIG_IGN);
    gf_json_use_core_memory();
    if (!run(argc, argv, &e)) {
        fprintf(stderr, "graft: error: %s\n", e.text);
        return gf_err_status(e.code);
    }
    if (fflush(stdout) != 0) return gf_err_status(GF_E_IO);
    return argc > 1 ? 0 : gf_err_status(GF_E_USAGE);
}

#include "cli/cli.h"

static bool print_commands(gf_file *out, gf_err *e) {
    bool ok = gf_io_printf(out, e,
                           "graft: one BERT encoder, many heads, fine-tuned by recipes on a CPU\n"
                           "usage: graft COMMAND [options] [arguments]\n\n");
    const gf_command *c;
    for (int i = 0; ok && (c = gf_command_at(i)); i++)
        ok = gf_io_printf(out, e, "  %-11s %s\n", c->name, c->summary);
    return ok && gf_io_printf(out, e,
                              "\ngraft help COMMAND or graft COMMAND --help tells more.\n"
                              "example: graft train demo/two-phase.json\n");
}

static bool run(gf_args *a, gf_err *e) {
    const gf_command *c;
    if (a->n_words == 0) return print_commands(a->out, e);
    return (c = gf_command_find(a->words[0], e)) && gf_io_printf(a->out, e, "%s", c->help);
}

const gf_command gf_cmd_help = {
    .name = "help",
    .summary = "this list, or how to use a command",
    .options = "",
    .most = 1,
    .run = run,
    .help = "usage: graft help [COMMAND]\n"
            "\n"
            "Lists the commands, or tells how to use one.\n"
            "\n"
            "example: graft help train\n",
};

#include "cli/cli.h"
#include "cli/machine.h"

static bool run(gf_args *a, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_machine_add_versions(&t, e) && gf_machine_add_kernels(&t, e) &&
              gf_io_write(a->out, t.data, t.length, e);
    gf_text_free(&t);
    return ok;
}

const gf_command gf_cmd_version = {
    .name = "version",
    .summary = "versions of graft and what it stands on",
    .options = "",
    .run = run,
    .help = "usage: graft version\n"
            "\n"
            "Prints the versions of graft, of the compiler that built it and of the libraries\n"
            "it runs with, and the vector kernels chosen for this processor.\n"
            "\n"
            "example: graft version\n",
};

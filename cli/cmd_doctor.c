#include "cli/cli.h"
#include "cli/machine.h"
#include "cli/selftest.h"
#include "core/pool.h"

static bool print_facts(gf_file *out, int threads, gf_err *e) {
    gf_text t = {0};
    bool ok = gf_machine_add_versions(&t, e) && gf_machine_add_kernels(&t, e) &&
              gf_machine_add_hardware(&t, e) &&
              gf_text_add(&t, e, "%-11s %d used\n", "threads", threads) &&
              gf_io_write(out, t.data, t.length, e) && gf_io_flush(out, e);
    gf_text_free(&t);
    return ok;
}

static bool run(gf_args *a, gf_err *e) {
    gf_pool *pool = gf_pool_new((int)a->threads, e);
    int threads = pool ? gf_pool_threads(pool) : 0;
    int64_t failed = 0;
    gf_pool_free(pool);
    /* one thread has nothing to differ from: the self-test then takes two all the same */
    if (!threads || !print_facts(a->out, threads, e) ||
        !gf_selftest_run(a->out, threads > 1 ? threads : 2, &failed, e))
        return false;
    if (failed == 0) return true;
    return gf_fail(e, GF_E_INTERNAL,
                   "doctor: %lld self-tests failed; results of this build on this machine are not "
                   "to be trusted",
                   (long long)failed);
}

const gf_command gf_cmd_doctor = {
    .name = "doctor",
    .summary = "this machine, these libraries, and a self-test",
    .options = "--threads",
    .run = run,
    .help = "usage: graft doctor [--threads N]\n"
            "\n"
            "Prints processor, vector kernels, BLAS and other libraries, threads, memory and\n"
            "disk. Then tests itself: products need a kernel, or a BLAS on one thread, all\n"
            "vector kernels must give the same bits, and a tiny BERT, trained on sentences\n"
            "that are built in, must learn and give the same bytes with one thread and with\n"
            "several. Exits with 1 when a test fails.\n"
            "\n"
            "  --threads N    of the second training (default: all processors)\n"
            "\n"
            "example: graft doctor\n",
};

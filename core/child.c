#include "core/child.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Never returns. A crash must end the child, not run the parent's handlers. */
static void run(int fd, pid_t parent, gf_child_work *work, void *context) {
    const int defaults[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGPIPE};
    gf_err e = {0};
    bool ok;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) signal(defaults[i], SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1); /* it died before it could tell */
    ok = work(context, &e);
    if (!ok && write(fd, &e, sizeof e) != (ssize_t)sizeof e) _exit(2);
    _exit(ok ? 0 : 1);
}

bool gf_child_start(gf_child *c, gf_child_work *work, void *context, gf_err *e) {
    int ends[2];
    pid_t parent = getpid();
    if (pipe(ends) != 0) return gf_fail(e, GF_E_IO, "no pipe can be made: %s", strerror(errno));
    if ((c->pid = fork()) == 0) {
        close(ends[0]);
        run(ends[1], parent, work, context);
    }
    close(ends[1]);
    c->fd = ends[0];
    if (c->pid > 0) return true;
    close(ends[0]);
    *c = (gf_child){0};
    return gf_fail(e, GF_E_IO, "no process can be made: %s", strerror(errno));
}

bool gf_child_is_done(const gf_child *c) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    return c->pid == 0 || poll(&p, 1, 0) > 0; /* its end closes the pipe */
}

bool gf_child_wait(gf_child *c, const char *what, gf_err *e) {
    gf_err found;
    ssize_t n;
    int status = 0;
    if (c->pid == 0) return true;
    do n = read(c->fd, &found, sizeof found);
    while (n < 0 && errno == EINTR);
    while (waitpid(c->pid, &status, 0) < 0 && errno == EINTR) {}
    close(c->fd);
    *c = (gf_child){0};
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
    if (n == (ssize_t)sizeof found) {
        found.text[sizeof found.text - 1] = 0;
        return gf_fail(e, found.code, "%s", found.text);
    }
    if (WIFSIGNALED(status))
        return gf_fail(e, GF_E_IO, "%s: the process that wrote it was ended by signal %d (%s)",
                       what, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return gf_fail(e, GF_E_IO, "%s: the process that wrote it ended with status %d", what,
                   WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

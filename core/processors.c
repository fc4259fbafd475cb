#include "core/processors.h"

#include "core/io.h"
#include "core/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_FILE = 1 << 16 };

/* A short file's text, or NULL. */
static char *read_text(const char *root, const char *path) {
    size_t size = 0;
    char *whole = gf_format(NULL, "%s%s", root, path);
    char *text = whole ? gf_io_read_all(whole, LARGEST_FILE, &size, NULL) : NULL;
    gf_free(whole);
    return text;
}

/* "0,4-6" names 0, 4, 5 and 6. Whether the text is such a list, and what it names. */
static bool read_list(const char *text, cpu_set_t *out) {
    CPU_ZERO(out);
    while (*text >= '0' && *text <= '9') {
        char *end;
        long first = strtol(text, &end, 10), last = first;
        if (*end == '-' && end[1] >= '0' && end[1] <= '9') last = strtol(end + 1, &end, 10);
        if (last >= CPU_SETSIZE || last < first) return false;
        for (long i = first; i <= last; i++) CPU_SET((size_t)i, out);
        text = *end == ',' ? end + 1 : end;
    }
    return (*text == 0 || *text == '\n') && CPU_COUNT(out) > 0;
}

/* Whether a processor of lower number that may be used as well shares this one's core. */
static bool is_second(const char *root, int processor, const cpu_set_t *allowed) {
    char *path =
        gf_format(NULL, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", processor);
    char *text = path ? read_text(root, path) : NULL;
    cpu_set_t siblings;
    bool second = false;
    if (text && read_list(text, &siblings))
        for (int i = 0; i < processor; i++)
            if (CPU_ISSET((size_t)i, &siblings) && CPU_ISSET((size_t)i, allowed)) second = true;
    gf_free(text);
    gf_free(path);
    return second;
}

static void find_cores(gf_processors *p, const char *root, const cpu_set_t *allowed) {
    int seconds[CPU_SETSIZE], n = 0;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET((size_t)i, allowed)) continue;
        if (is_second(root, i, allowed))
            seconds[n++] = i;
        else
            p->order[p->cores++] = i;
    }
    for (int i = 0; i < n; i++) p->order[p->cores + i] = seconds[i];
    p->allowed = p->cores + n;
}

/* ---- quotas ---- */

/* Microseconds of a processor in a period of microseconds, "max" or -1 being any number. */
static void limit(gf_processors *p, const char *quota, const char *period) {
    double q = quota ? strtod(quota, NULL) : 0, each = period ? strtod(period, NULL) : 0;
    double processors = each > 0 ? q / each : 0;
    int whole;
    if (!(processors > 0 && processors < CPU_SETSIZE)) return;
    whole = (int)processors;
    if (whole < processors) whole++;
    if (p->quota == 0 || whole < p->quota) p->quota = whole;
}

/* `group` is a folder below /sys/fs/cgroup. */
static void limit_by_group(gf_processors *p, const char *root, const char *group, bool second) {
    char *path =
        gf_format(NULL, "/sys/fs/cgroup%s/%s", group, second ? "cpu.max" : "cpu.cfs_quota_us");
    char *text = path ? read_text(root, path) : NULL, *period = NULL;
    gf_free(path);
    if (second && text) {
        char *space = strchr(text, ' ');
        limit(p, text, space ? space + 1 : NULL);
    } else if (text) {
        path = gf_format(NULL, "/sys/fs/cgroup%s/cpu.cfs_period_us", group);
        period = path ? read_text(root, path) : NULL;
        gf_free(path);
        limit(p, text, period);
    }
    gf_free(period);
    gf_free(text);
}

/* Whether a line "number:controllers:group" of /proc/self/cgroup is of version 2, whose list is
 * empty, or names the controller cpu. */
static bool counts_time(const char *list, const char *end, bool *second) {
    *second = list == end;
    for (const char *p = list; p < end; p += strcspn(p, ",:") + 1)
        if (strcspn(p, ",:") == 3 && strncmp(p, "cpu", 3) == 0) return true;
    return *second;
}

/* This group and all above it, up to the one that is the root here. */
static void limit_by_line(gf_processors *p, const char *root, char *line) {
    char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL, *path;
    bool second;
    if (!group || !counts_time(list + 1, group, &second)) return;
    path = gf_format(NULL, "%s%s", second ? "" : "/cpu", group + 1);
    for (char *slash = path; slash;) {
        limit_by_group(p, root, path, second);
        slash = strcmp(path, "/cpu") == 0 ? NULL : strrchr(path, '/');
        if (slash) *slash = 0;
    }
    gf_free(path);
}

static void find_quota(gf_processors *p, const char *root) {
    char *text = read_text(root, "/proc/self/cgroup");
    for (char *line = text, *end; line && *line; line = end) {
        end = line + strcspn(line, "\n");
        if (*end) *end++ = 0;
        limit_by_line(p, root, line);
    }
    gf_free(text);
}

void gf_processors_read(gf_processors *p, const char *root, const cpu_set_t *allowed) {
    *p = (gf_processors){0};
    find_cores(p, root, allowed);
    find_quota(p, root);
    if (p->allowed == 0) p->allowed = p->cores = 1;
}

int gf_processors_threads(const gf_processors *p) {
    return p->quota > 0 && p->quota < p->cores ? p->quota : p->cores;
}

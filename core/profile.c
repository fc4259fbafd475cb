#include "core/profile.h"

#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Spans in each other; lines of the table; events of the trace, 48 bytes each, touched as they are
 * written. */
enum { DEPTH = 32, LINES = 192, EVENTS = 60000 };

typedef struct line {
    gf_span span;       /* flops and bytes are sums */
    int64_t calls, own; /* ns that no span inside took */
} line;

typedef struct event {
    const char *name;
    int64_t start, took; /* ns */
    int64_t rows;
    int32_t width[2];
    gf_way way;
} event;

typedef struct open_span {
    int64_t start, inside; /* ns; inside: taken by spans in it that have ended */
} open_span;

struct gf_profile {
    gf_clock *clock;
    int64_t began;
    open_span open[DEPTH];
    int depth; /* may be above DEPTH: spans nobody measures */
    line lines[LINES];
    int n_lines;
    event *events; /* [EVENTS] */
    int n_events;
    int64_t updates; /* of this phase */
    bool full;       /* an event found no room */
};

static const char *const ways[] = {"stage", "forward", "rebuilt for backward", "backward",
                                   "inference"};

static int64_t read_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

gf_profile *gf_profile_new(gf_clock *clock, gf_err *e) {
    gf_profile *p = gf_alloc_array(1, sizeof *p, e);
    if (!p) return NULL;
    p->clock = clock ? clock : read_clock;
    if (!(p->events = gf_alloc(EVENTS * sizeof *p->events, e))) {
        gf_free(p);
        return NULL;
    }
    p->began = p->clock();
    return p;
}

void gf_profile_free(gf_profile *p) {
    if (!p) return;
    gf_free(p->events);
    gf_free(p);
}

void gf_profile_phase(gf_profile *p) {
    if (p) p->updates = 0;
}

void gf_profile_update(gf_profile *p) {
    if (p) p->updates++;
}

/* ---- spans ---- */

void gf_profile_enter(gf_profile *p) {
    int at = p->depth++;
    if (at < DEPTH) p->open[at] = (open_span){p->clock(), 0};
}

static bool is_same(const gf_span *a, const gf_span *b) {
    return a->way == b->way && a->width[0] == b->width[0] && a->width[1] == b->width[1] &&
           strcmp(a->name, b->name) == 0;
}

/* The line of a span, made if need be; the last one takes all that find no room. */
static line *find_line(gf_profile *p, const gf_span *s) {
    for (int i = 0; i < p->n_lines; i++)
        if (is_same(&p->lines[i].span, s)) return &p->lines[i];
    if (p->n_lines == LINES) return &p->lines[LINES - 1];
    p->lines[p->n_lines].span = (gf_span){.name = s->name, .way = s->way};
    memcpy(p->lines[p->n_lines].span.width, s->width, sizeof s->width);
    if (p->n_lines == LINES - 1) p->lines[p->n_lines].span = (gf_span){.name = "other"};
    return &p->lines[p->n_lines++];
}

static void trace(gf_profile *p, const gf_span *s, int64_t start, int64_t took) {
    if (s->way != GF_WAY_STAGE && p->updates >= GF_TRACED_UPDATES) return;
    p->full |= p->n_events == EVENTS;
    if (p->full) return;
    p->events[p->n_events++] = (event){.name = s->name,
                                       .start = start,
                                       .took = took,
                                       .rows = s->rows,
                                       .width = {(int32_t)s->width[0], (int32_t)s->width[1]},
                                       .way = s->way};
}

void gf_profile_leave(gf_profile *p, const gf_span *s) {
    int at = --p->depth;
    int64_t took;
    line *l;
    if (at >= DEPTH) return;
    took = p->clock() - p->open[at].start;
    if (at > 0) p->open[at - 1].inside += took;
    l = find_line(p, s);
    l->calls++;
    l->own += took - p->open[at].inside;
    l->span.flops += s->flops;
    l->span.bytes += s->bytes;
    trace(p, s, p->open[at].start, took);
}

/* ---- the table ---- */

/* Ways in their order, then the longest first; equal ones by name, so that the order is fixed. */
static int compare_lines(const void *left, const void *right) {
    const line *a = left, *b = right;
    if (a->span.way != b->span.way) return a->span.way < b->span.way ? -1 : 1;
    if (a->own != b->own) return a->own > b->own ? -1 : 1;
    return strcmp(a->span.name, b->span.name);
}

static bool add_line(gf_text *out, const line *l, int64_t all, gf_err *e) {
    char name[40], rates[2][16] = {"", ""};
    double ns = l->own > 0 ? (double)l->own : 1;
    const gf_span *s = &l->span;
    if (s->width[0])
        snprintf(name, sizeof name, "%.16s %lldx%lld", s->name, (long long)s->width[0],
                 (long long)s->width[1]);
    else
        snprintf(name, sizeof name, "%.30s", s->name);
    if (s->flops > 0) snprintf(rates[0], sizeof rates[0], "%.1f", s->flops / ns);
    if (s->bytes > 0) snprintf(rates[1], sizeof rates[1], "%.1f", s->bytes / ns);
    return gf_text_add(out, e, "  %-30.30s %9lld %12.1f %6.1f%% %7.7s %7.7s", name,
                       (long long)l->calls, 1e-6 * (double)l->own,
                       all > 0 ? 100 * (double)l->own / (double)all : 0.0, rates[0], rates[1]) &&
           (gf_text_trim(out), gf_text_add(out, e, "\n"));
}

static bool add_way(gf_text *out, const line *lines, int n, gf_way way, int64_t all, gf_err *e) {
    line sum = {.span = {.name = "all of it"}};
    int count = 0;
    bool ok = true;
    for (int i = 0; i < n; i++) {
        if (lines[i].span.way != way) continue;
        if (count++ == 0) ok = gf_text_add(out, e, "%s\n", ways[way]);
        ok = ok && add_line(out, &lines[i], all, e);
        sum.calls += lines[i].calls;
        sum.own += lines[i].own;
        sum.span.flops += lines[i].span.flops;
    }
    return ok && (count < 2 || way == GF_WAY_STAGE || add_line(out, &sum, all, e));
}

bool gf_profile_table(const gf_profile *p, gf_text *out, gf_err *e) {
    line *lines, rest = {.span = {.name = "what has no line of its own"}, .calls = 1};
    int64_t all = p ? p->clock() - p->began : 0;
    int n = p ? p->n_lines : 0;
    bool ok = true;
    if (!p) return true;
    if (!(lines = gf_alloc_array(n + 1, sizeof *lines, e))) return false;
    memcpy(lines, p->lines, (size_t)n * sizeof *lines);
    rest.own = all;
    for (int i = 0; i < n; i++) rest.own -= lines[i].own;
    lines[n++] = rest;
    qsort(lines, (size_t)n, sizeof *lines, compare_lines);
    ok =
        gf_text_add(out, e, "profile of %.3f s; a line's time is without that of lines inside it\n",
                    1e-9 * (double)all) &&
        gf_text_add(out, e, "%-32s %9s %12s %7s %7s %7s\n", "", "calls", "ms", "share", "GF/s",
                    "GB/s");
    for (gf_way way = GF_WAY_STAGE; way <= GF_WAY_INFERENCE; way++)
        ok = ok && add_way(out, lines, n, way, all, e);
    gf_free(lines);
    return ok;
}

/* ---- the trace ---- */

/* https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU, "Complete
 * Events": times in microseconds. */
static bool add_event(const gf_profile *p, const event *v, gf_text *out, gf_err *e) {
    bool ok = gf_text_add(out, e,
                          "{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,"
                          "\"pid\":1,\"tid\":1",
                          v->name, ways[v->way], 1e-3 * (double)(v->start - p->began),
                          1e-3 * (double)v->took);
    if (v->rows) ok = ok && gf_text_add(out, e, ",\"args\":{\"rows\":%lld", (long long)v->rows);
    if (v->rows && v->width[0])
        ok = ok && gf_text_add(out, e, ",\"outputs\":%d,\"inputs\":%d", v->width[0], v->width[1]);
    return ok && gf_text_add(out, e, v->rows ? "}}" : "}");
}

bool gf_profile_trace(const gf_profile *p, gf_text *out, gf_err *e) {
    bool ok = true;
    if (!p) return true;
    ok = gf_text_add(out, e,
                     "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"ops\":\"those of the first "
                     "%d updates of each phase%s\"},\n\"traceEvents\":[",
                     GF_TRACED_UPDATES, p->full ? "; cut off when there was no more room" : "");
    for (int i = 0; ok && i < p->n_events; i++)
        ok = gf_text_add(out, e, i ? ",\n" : "\n") && add_event(p, &p->events[i], out, e);
    return ok && gf_text_add(out, e, "\n]}\n");
}

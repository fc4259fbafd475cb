/* core/profile over a clock of the test's own, so that every figure is known beforehand; and
 * autograd/cost against counts made by hand. */
#include "autograd/cost.h"
#include "autograd/graph.h"
#include "core/json.h"
#include "core/mem.h"
#include "core/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static int64_t now; /* ns */
static int64_t test_clock(void) { return now; }

static void spend(gf_profile *p, int64_t ms, const gf_span *s) {
    gf_profile_begin(p);
    now += ms * 1000000;
    gf_profile_leave(p, s);
}

static gf_profile *begin_profile(void) {
    gf_err e = {0};
    gf_profile *p = gf_profile_new(test_clock, &e);
    assert_non_null(p);
    return p;
}

/* What the table says of a line: the figures behind its name. */
static void assert_line(const gf_text *t, const char *name, const char *figures) {
    const char *at = strstr(t->data, name);
    char got[128], *to = got;
    if (!at) fail_msg("\"%s\" is not in\n%s", name, t->data);
    for (at += strlen(name); *at != '\n' && to < got + sizeof got - 1; at++)
        if (*at != ' ' || (to > got && to[-1] != ' ')) *to++ = *at;
    *to = 0;
    if (strcmp(got, figures) != 0) fail_msg("%s: \"%s\" instead of \"%s\"", name, got, figures);
}

static void times_add_up(void **state) {
    gf_profile *p = begin_profile();
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    now += 100 * 1000000; /* outside of all */
    gf_profile_begin(p);  /* 300 ms, of them 200 in what lies inside */
    now += 60 * 1000000;
    spend(p, 150, &(gf_span){"linear", GF_WAY_INFERENCE, 7, {3, 5}, 3e9, 6e8});
    spend(p, 50, &(gf_span){"linear", GF_WAY_INFERENCE, 9, {3, 5}, 1e9, 4e8});
    now += 40 * 1000000;
    gf_profile_end(p, "evaluation");
    spend(p, 75, &(gf_span){.name = "linear", .way = GF_WAY_FORWARD, .width = {3, 5}});
    spend(p, 25, &(gf_span){.name = "linear", .way = GF_WAY_FORWARD, .width = {5, 3}});
    assert_true(gf_profile_table(p, &t, &e));
    assert_line(&t, "profile of ", "0.500 s; a line's time is without that of lines inside it");
    assert_line(&t, "evaluation", "1 100.0 20.0%");
    assert_line(&t, "what has no line of its own", "1 100.0 20.0%");
    assert_line(&t, "forward\n  linear 3x5", "1 75.0 15.0%");
    assert_line(&t, "linear 5x3", "1 25.0 5.0%");
    assert_line(&t, "inference\n  linear 3x5", "2 200.0 40.0% 20.0 5.0");
    for (char *at = t.data, *end; (end = strchr(at, '\n')); at = end + 1)
        assert_true(end - at <= 80);
    gf_text_free(&t);
    gf_profile_free(p);
}

static const cJSON *event(const cJSON *events, int i) {
    const cJSON *v = cJSON_GetArrayItem(events, i);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(v, "ph")), "X");
    return v;
}

static double number(const cJSON *v, const char *name) {
    const cJSON *n = cJSON_GetObjectItem(v, name);
    assert_true(cJSON_IsNumber(n));
    return n->valuedouble;
}

static cJSON *read_trace(const gf_profile *p) {
    gf_text t = {0};
    gf_err e = {0};
    cJSON *j;
    assert_true(gf_profile_trace(p, &t, &e));
    j = gf_json_parse(t.data, t.length, "trace", 1, GF_E_INVALID, &e);
    if (!j) fail_msg("%s", e.text);
    gf_text_free(&t);
    return j;
}

static void traces_hold_the_first_updates(void **state) {
    gf_span op = {.name = "pool", .way = GF_WAY_BACKWARD, .rows = 4};
    gf_profile *p = begin_profile();
    const cJSON *v, *events;
    cJSON *j;
    (void)state;
    for (int phase = 0; phase < 2; phase++) {
        gf_profile_phase(p);
        for (int i = 0; i < GF_TRACED_UPDATES + 5; i++) {
            spend(p, 2, &op);
            gf_profile_update(p);
        }
        spend(p, 1, &(gf_span){.name = "saving"}); /* stages are always told */
    }
    j = read_trace(p);
    events = cJSON_GetObjectItem(j, "traceEvents");
    assert_int_equal(cJSON_GetArraySize(events), 2 * (GF_TRACED_UPDATES + 1));
    v = event(events, 3);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(v, "name")), "pool");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(v, "cat")), "backward");
    assert_true(number(v, "ts") == 6000 && number(v, "dur") == 2000);
    assert_true(number(cJSON_GetObjectItem(v, "args"), "rows") == 4);
    v = event(events, GF_TRACED_UPDATES);
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(v, "name")), "saving");
    assert_true(number(v, "ts") == 2000 * (GF_TRACED_UPDATES + 5));
    cJSON_Delete(j);
    gf_profile_free(p);
}

/* Room runs out without harm: the totals stay whole, and the trace says that it is cut off. */
static void room_is_bounded(void **state) {
    gf_profile *p = begin_profile();
    gf_text t = {0};
    gf_err e = {0};
    cJSON *j;
    (void)state;
    for (int i = 0; i < 300; i++)
        spend(p, 1, &(gf_span){.name = "linear", .way = GF_WAY_FORWARD, .width = {1, i + 1}});
    assert_true(gf_profile_table(p, &t, &e));
    assert_line(&t, "what has no line of its own", "1 0.0 0.0%");
    assert_line(&t, "  other", "109 109.0 36.3%"); /* 300 less the 191 that have a line */
    for (int i = 0; i < 70000; i++) spend(p, 0, &(gf_span){.name = "saving"});
    j = read_trace(p);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(j, "traceEvents")), 60000);
    assert_non_null(strstr(
        cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(j, "otherData"), "ops")),
        "cut off"));
    cJSON_Delete(j);
    gf_text_free(&t);
    gf_profile_free(p);
}

/* Spans too deep to be kept are those that nobody measures; the ones around them are whole. */
static void depth_is_bounded(void **state) {
    gf_profile *p = begin_profile();
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    for (int i = 0; i < 40; i++) gf_profile_begin(p);
    now += 5 * 1000000;
    for (int i = 0; i < 40; i++) gf_profile_end(p, "deep");
    spend(p, 15, &(gf_span){.name = "flat"});
    assert_true(gf_profile_table(p, &t, &e));
    assert_line(&t, "deep", "32 5.0 25.0%");
    assert_line(&t, "flat", "1 15.0 75.0%");
    gf_text_free(&t);
    gf_profile_free(p);
}

static void off_does_nothing(void **state) {
    gf_text t = {0};
    gf_err e = {0};
    (void)state;
    gf_profile_begin(NULL);
    gf_profile_phase(NULL);
    gf_profile_update(NULL);
    gf_profile_end(NULL, "saving");
    assert_true(gf_profile_table(NULL, &t, &e) && gf_profile_trace(NULL, &t, &e));
    assert_null(t.data);
    gf_profile_free(NULL);
}

static void memory_may_run_out(void **state) {
    int fired = 0;
    (void)state;
    for (int k = 1;; k++) {
        gf_profile *p;
        gf_text t = {0};
        gf_err e = {0};
        bool ok;
        gf_mem_fail_at(k, false);
        p = gf_profile_new(test_clock, &e);
        if (p) spend(p, 1, &(gf_span){.name = "saving"});
        ok = p && gf_profile_table(p, &t, &e) && gf_profile_trace(p, &t, &e);
        fired += gf_mem_fault_fired();
        assert_true(ok == !gf_mem_fault_fired());
        if (!ok) assert_int_equal(e.code, GF_E_NOMEM);
        gf_mem_fail_at(0, false);
        gf_text_free(&t);
        gf_profile_free(p);
        if (ok) break;
    }
    assert_true(fired >= 4);
}

/* ---- costs ---- */

static gf_node leaf(int64_t rows, int64_t columns, gf_real *g) {
    return (gf_node){.shape = gf_shape2(rows, columns), .count = rows * columns, .g = g};
}

static void products_are_counted(void **state) {
    static const int32_t start[] = {0, 3, 5};
    gf_real g;
    gf_node x = leaf(5, 4, &g), w = leaf(6, 4, &g), b = {.count = 6}, y = leaf(5, 6, &g);
    gf_node q = leaf(5, 4, &g), a = leaf(5, 4, &g);
    (void)state;
    y.op = &gf_op_linear;
    y.in[0] = &x, y.in[1] = &w, y.in[2] = &b;
    assert_true(gf_cost_of(&y, GF_WAY_FORWARD).flops == 2 * 5 * 6 * 4);
    assert_true(gf_cost_of(&y, GF_WAY_FORWARD).bytes == sizeof(gf_real) * (20 + 24 + 6 + 30));
    assert_true(gf_cost_of(&y, GF_WAY_BACKWARD).flops == 2 * 2 * 5 * 6 * 4);
    assert_true(gf_cost_of(&y, GF_WAY_REBUILD).flops == 0);
    w.g = NULL;
    assert_true(gf_cost_of(&y, GF_WAY_BACKWARD).flops == 2 * 5 * 6 * 4);
    a.op = &gf_op_attention;
    a.attr = (gf_attr){.heads = 2, .start = start, .sequences = 2};
    a.in[0] = a.in[1] = a.in[2] = &q;
    /* q kᵀ of both heads: 2 (3² + 2²) 4 = 104 */
    assert_true(gf_cost_of(&a, GF_WAY_INFERENCE).flops == 2 * 104);
    assert_true(gf_cost_of(&a, GF_WAY_BACKWARD).flops == 5 * 104);
}

/* The tape tells of each op that it ran, once a run, and of no other. */
static void tapes_tell(void **state) {
    static gf_real values[16], slopes[8];
    gf_param w = {
        .name = (char *)(uintptr_t) "w", .value = values, .grad = slopes, .trainable = true};
    gf_param b = w;
    gf_profile *p = begin_profile();
    gf_text t = {0};
    gf_err e = {0};
    gf_pool *pool = gf_pool_new(1, &e);
    gf_graph *g = gf_graph_new(pool, gf_vec_best(), &e);
    gf_node *y;
    (void)state;
    w.shape = gf_shape2(1, 8);
    b.shape = gf_shape1(1);
    gf_graph_set_profile(g, p);
    for (int training = 0; training < 2; training++) {
        gf_graph_reset(g);
        y = gf_call(g, linear, &(gf_attr){0}, gf_graph_input(g, gf_shape2(2, 8), values),
                    gf_graph_param(g, &w), gf_graph_param(g, &b));
        y = gf_call(g, pool, (&(gf_attr){.start = (const int32_t[]){0, 2}, .sequences = 1}), y);
        assert_true(gf_graph_plan(g, &y, training, &e));
        gf_graph_forward(g);
        if (training) gf_graph_backward(g, (double[]){1});
    }
    assert_true(gf_profile_table(p, &t, &e));
    assert_non_null(strstr(t.data, "forward\n"));
    assert_non_null(strstr(t.data, "backward\n"));
    assert_non_null(strstr(t.data, "inference\n"));
    /* dW alone: 2 x 2 x 8. g, x, W, and what dW and db are added to: 2 + 16 + 8 + 2 (8 + 1) */
    assert_line(&t, "backward\n  linear 1x8", "1 0.0 0.0% 32.0 176.0");
    gf_text_free(&t);
    gf_graph_free(g);
    gf_pool_free(pool);
    gf_profile_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_add_up),         cmocka_unit_test(traces_hold_the_first_updates),
        cmocka_unit_test(room_is_bounded),      cmocka_unit_test(off_does_nothing),
        cmocka_unit_test(depth_is_bounded),     cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(products_are_counted), cmocka_unit_test(tapes_tell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_op_grad.c - every operator of op_table against central differences in
 * f64, or against its formula when it has no gradient.
 *
 * The last tests ask the table: an operator with a gradient and no case of its
 * own, or one that no case has run and no reason excuses, fails the suite.
 */
#include <unistd.h>

#include "op_cases.h"
#include "../unit/unit.h"

#define CASES_MAX   256
#define SECONDS_MAX 200 /* ranks that wait for each other for ever */

static const struct op_case *const lists[] = {
    op_cases_dense, op_cases_moe, op_cases_random, op_cases_recurrent, op_cases_step};
static const struct op_case *all[CASES_MAX];
static int count;

/* Which rows of op_table were in a graph that has run. */
static bool seen[CASES_MAX];

static void note_operators(const struct lab *l)
{
    for (int i = 0; op_table[i]; i++)
        seen[i] |= lab_has(l, op_table[i]);
}

static int try_case(const struct op_case *c, struct lab_world *w, struct err *e)
{
    double total;
    struct lab_setup setup = {
        .build = c->build, .arg = c->arg, .ranks = c->ranks, .backward = !c->check};
    if (lab_open(w, setup, e))
        return e->code;
    if (!lab_has(&w->lab[0], c->op))
        return err_set(e, ERR_FAILED, "no node of operator %s", c->op->name);
    note_operators(&w->lab[0]);
    if (c->check)
        return lab_run(w, false, &total, e) ? e->code : c->check(w, e);
    if (lab_compare(w, c->most ? c->most : 1 << 20, e))
        return e->code;
    return c->probe ? c->probe(w, e) : 0;
}

static void run_case(void **state)
{
    struct lab_world w;
    struct err e = {0};
    if (try_case(*state, &w, &e))
        print_message("# %s\n", e.text);
    lab_close(&w);
    assert_int_equal(e.code, 0);
}

/* ------------------------------------------------------------------------- */
/* The bench itself: it has to see a wrong gradient.                         */

static int cube_shape(struct graph *g, struct node *n, struct err *e)
{
    (void)e;
    graph_out(g, n, NND_F64, n->in[0]->shape);
    return 0;
}

static int cube_run(struct exec *x, const struct node *n, struct err *e)
{
    const double *a = exec_data(x, n->in[0]);
    double *y = exec_data(x, n->out[0]);
    (void)e;
    for (int64_t i = 0; i < shape_elements(&n->in[0]->shape); i++)
        y[i] = a[i] * a[i] * a[i];
    return 0;
}

/* As if the operator were the identity. */
static void cube_grad(struct graph *g, const struct node *n)
{
    grad_add(g, n->in[0], grad_of(g, n->out[0]));
}

static const struct op op_cube = {
    .name = "test.cube", .shape = cube_shape, .grad = cube_grad, .run = cube_run};

static void build_cube(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_leaf(l, "x", shape_of(1, (int64_t)3));
    struct node *n = graph_add(l->g, &op_cube, NULL, &x, 1);
    lab_dot(l, n ? n->out[0] : NULL, -1);
}

static void a_wrong_gradient_is_seen(void **state)
{
    struct lab_world w;
    struct lab_setup setup = {.build = build_cube, .backward = true};
    struct err e;
    (void)state;
    assert_int_equal(lab_open(&w, setup, &e), 0);
    assert_int_equal(lab_compare(&w, 8, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "differences give"));
    lab_close(&w);
}

/* ------------------------------------------------------------------------- */

static bool has_gradient_case(const struct op *op)
{
    for (int i = 0; i < count; i++)
        if (all[i]->op == op && !all[i]->check)
            return true;
    return false;
}

static void every_gradient_has_a_case(void **state)
{
    int missing = 0;
    (void)state;
    for (int i = 0; op_table[i]; i++)
        if (op_table[i]->grad && !has_gradient_case(op_table[i])) {
            print_message("# %s has a gradient and no case\n", op_table[i]->name);
            missing++;
        }
    assert_int_equal(missing, 0);
}

static const char *excuse(const struct op *op)
{
    for (int i = 0; op_reasons[i].op; i++)
        if (op_reasons[i].op == op)
            return op_reasons[i].why;
    return NULL;
}

static void every_operator_was_run(void **state)
{
    int missing = 0;
    (void)state;
    for (int i = 0; op_table[i]; i++)
        if (seen[i] == !!excuse(op_table[i])) {
            print_message("# %s: %s\n", op_table[i]->name,
                          seen[i] ? "was run, yet is excused" : "was not run");
            missing++;
        }
    assert_int_equal(missing, 0);
}

int main(void)
{
    struct CMUnitTest tests[CASES_MAX + 3];
    alarm(SECONDS_MAX);
    for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]); k++)
        for (const struct op_case *c = lists[k]; c->name && count < CASES_MAX; c++) {
            tests[count] = (struct CMUnitTest){
                .name = c->name, .test_func = run_case, .initial_state = (void *)c};
            all[count++] = c;
        }
    int n = count;
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(a_wrong_gradient_is_seen);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_gradient_has_a_case);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(every_operator_was_run);
    return _cmocka_run_group_tests("operators", tests, (size_t)n, NULL, NULL);
}

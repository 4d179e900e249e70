/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_op_mixed.c - a model of all operators in f32, bf16 and f16 against the
 * same model in f64 with the same (rounded) weights.
 *
 * What an operator stores in which type is decided while the graph is built;
 * this is where a wide number that went through a narrow place shows.
 */
#include <math.h>

#include "op_lab.h"
#include "tensor/dtype.h"

#include "../unit/unit.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

enum { BATCH = 2, CONTEXT = 6, ROWS = BATCH * CONTEXT, WIDTH = 8, HEADS = 4, KEYS = 2 };
enum { SIZE = 4, HIDDEN = 12, VOCAB = 11, EXPERTS = 4, TOP_K = 2, PAD = 1 };

static struct value *leaf(struct lab *l, const char *name, int64_t out, int64_t in)
{
    return lab_leaf(l, name, in ? S(2, out, in) : S(1, out));
}

static struct value *heads(struct lab *l, const char *name, struct value *x, int n)
{
    struct value *y = op_linear(l->g, x, leaf(l, name, n * SIZE, WIDTH), NULL);
    return y ? op_view(l->g, y, S(3, I(ROWS), I(n), I(SIZE))) : NULL;
}

static struct value *attention(struct lab *l, struct value *x)
{
    struct value *q = heads(l, "q", x, HEADS), *k = heads(l, "k", x, KEYS);
    q = op_norm_rms(l->g, q, leaf(l, "q_norm", SIZE, 0), 1e-6);
    q = op_rope(l->g, q, l->c.pos, 1e4, false);
    k = op_rope(l->g, k, l->c.pos, 1e4, false);
    struct value *o = op_attention(l->g, q, k, heads(l, "v", x, KEYS), 0.1, &l->c);
    o = o ? op_view(l->g, o, S(2, I(ROWS), I(HEADS * SIZE))) : NULL;
    return op_linear(l->g, o, leaf(l, "o", WIDTH, HEADS * SIZE), NULL);
}

static struct value *mlp(struct lab *l, struct value *x)
{
    struct value *a =
        op_linear(l->g, x, leaf(l, "up", HIDDEN, WIDTH), leaf(l, "up_bias", HIDDEN, 0));
    return op_linear(l->g, op_act(l->g, a, ACT_GELU_TANH),
                     leaf(l, "down", WIDTH, HIDDEN), leaf(l, "down_bias", WIDTH, 0));
}

static struct route routed(struct lab *l, struct value *x)
{
    const double zw = 0.01;
    struct value *w =
        graph_weight(l->g, "router", l->g->wide, S(2, I(EXPERTS), I(WIDTH)),
                     (struct param_init){.std = 1}, true);
    struct route_config cfg = {
        .top_k = TOP_K, .renormalize = true, .scale = 1, .group_rows = CONTEXT};
    struct route r = op_route(l->g, op_linear_wide(l->g, x, w), NULL, cfg, &l->c);
    double aux[BATCH * EXPERTS];
    for (int i = 0; i < BATCH * EXPERTS; i++)
        aux[i] = 0x1p-6 * (i % 3);
    struct value *weight =
        lab_reals(l, "aux", l->g->wide, S(2, I(BATCH), I(EXPERTS)), aux);
    struct value *z_weight = lab_reals(l, "zw", NND_F32, S(1, I(1)), &zw);
    lab_count(l, r.psum, weight);
    lab_count(l, r.zsq, z_weight);
    op_route_aux(&r, weight, z_weight);
    return r;
}

static struct value *expert_rows(struct lab *l, struct value *x,
                                 const struct sort *order, struct window w)
{
    struct shape in = S(2, I(HIDDEN), I(WIDTH)), out = S(2, I(WIDTH), I(HIDDEN));
    struct value *h[2];
    for (int i = 0; i < 2; i++)
        h[i] = op_grouped(l->g, x, order,
                          lab_stack(l, i ? "e.{}.w3" : "e.{}.w1", EXPERTS, in), w,
                          EXPERTS);
    return op_grouped(l->g, op_swiglu(l->g, h[0], h[1]), NULL,
                      lab_stack(l, "e.{}.w2", EXPERTS, out), w, EXPERTS);
}

static struct value *experts(struct lab *l, struct value *x)
{
    struct route r = routed(l, x);
    struct sort s = op_sort(l->g, r.expert, EXPERTS);
    struct window w = op_window(l->g, op_exchange(l->g, s.total), ROWS * TOP_K);
    return op_unpermute(l->g, expert_rows(l, x, &s, w), r.gate, &s);
}

static void build(struct lab *l, const void *arg)
{
    const double coef[STATS_COUNT] = {[STATS_LOSS] = 0.5};
    struct shape s = S(2, I(1), I(STATS_COUNT));
    (void)arg;
    lab_chunk(l, BATCH, CONTEXT, PAD, VOCAB);
    struct value *words = leaf(l, "words", VOCAB, WIDTH);
    struct value *x =
        op_add(l->g, op_embed(l->g, words, l->c.id),
               op_embed(l->g, leaf(l, "places", CONTEXT, WIDTH), l->c.pos));
    x = op_dropout(l->g, x, 0.1, &l->c);
    x = op_add(l->g, x,
               attention(l, op_norm_rms(l->g, x, leaf(l, "n1", WIDTH, 0), 1e-5)));
    x = op_add(l->g, x,
               mlp(l, op_norm_layer(l->g, x, leaf(l, "n2", WIDTH, 0),
                                    leaf(l, "n2_bias", WIDTH, 0), 1e-5)));
    x = op_add(l->g, x,
               experts(l, op_norm_rms(l->g, x, leaf(l, "n3", WIDTH, 0), 1e-5)));
    struct value *z = op_linear(
        l->g, op_norm_rms(l->g, x, leaf(l, "n4", WIDTH, 0), 1e-5), words, NULL);
    struct value *stats = graph_state(l->g, "stats", NND_F64, s);
    op_stats_begin(l->g, stats);
    op_stats_loss(l->g, op_xent(l->g, z, &l->c), stats);
    lab_count(l, stats, lab_reals(l, "coef", NND_F64, s, coef));
}

/* ------------------------------------------------------------------------- */

/* Distance of two gradients over the length of the wanted one. */
static double distance(const struct lab *a, const struct lab *b, int k)
{
    const struct param *p = a->g->param[k], *q = b->g->param[k];
    double apart = 0, length = 0;
    for (int64_t i = 0; i < shape_elements(&p->value->shape); i++) {
        double want = lab_gradient(b, q, i), d = lab_gradient(a, p, i) - want;
        apart += d * d;
        length += want * want;
    }
    return sqrt(apart / length);
}

/* A path through the model rounds some twenty times; the roundings partly cancel,
 * and count more where a norm divides by little: `room` units are allowed. */
static void compare(int dtype, double room)
{
    struct lab_world got, want;
    struct err e = {0};
    double a, b, limit = room * dtype_unit(dtype);
    struct lab_setup setup = {
        .build = build, .backward = true, .act = dtype, .wide = NND_F32};
    struct lab_setup exact = {.build = build, .backward = true, .fill = dtype};
    int rc = lab_open(&got, setup, &e) || lab_open(&want, exact, &e) ||
             lab_run(&got, true, &a, &e) || lab_run(&want, true, &b, &e);
    if (rc)
        print_message("# %s\n", e.text);
    assert_int_equal(rc, 0);
    assert_true(fabs(a - b) <= limit * fabs(b));
    for (int k = 0; k < got.lab[0].g->nparam; k++) {
        double d = distance(&got.lab[0], &want.lab[0], k);
        if (!(d <= limit))
            print_message("# %s: %.3g units\n", got.lab[0].g->param[k]->name,
                          d / dtype_unit(dtype));
        assert_true(d <= limit);
    }
    lab_close(&got);
    lab_close(&want);
}

/* Here the statistics are no wider than the rest: a log-sum of 16 is off by 16
 * units, and so is every weight made from it. */
static void f32_is_near(void **state)
{
    (void)state;
    compare(NND_F32, 50);
}

static void bf16_is_near(void **state)
{
    (void)state;
    compare(NND_BF16, 20);
}

static void f16_is_near(void **state)
{
    (void)state;
    compare(NND_F16, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f32_is_near),
        cmocka_unit_test(bf16_is_near),
        cmocka_unit_test(f16_is_near),
    };
    return cmocka_run_group_tests_name("operators in mixed precision", tests, NULL,
                                       NULL);
}

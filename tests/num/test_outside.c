/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_outside.c - an operator and an element type that a plugin brings
 * (tests/plugins/toy.c), used in a graph: shapes, gradients, storage, refusals.
 */
#include <math.h>

#include "op_lab.h"
#include "tensor/dtype.h"
#include "tests/plugins/toy.c"
#include "tests/unit/unit.h"

#define S(...) shape_of(__VA_ARGS__)
#define I(x)   ((int64_t)(x))

static struct value *one_output(struct lab *l, const struct nnd_op_def *def,
                                const union nnd_attr *attr, struct value *x)
{
    struct value *out;
    op_outside(l->g, def, attr, &x, &out);
    return out;
}

/* Twice, so that a gradient flows through one into the other. */
static void build_squash(struct lab *l, const void *arg)
{
    const union nnd_attr alpha = {.f = 0.7}, more = {.f = -1.5};
    (void)arg;
    struct value *x = lab_leaf(l, "x", S(2, I(3), I(4)));
    struct value *y = one_output(l, &toy_squash, &alpha, x);
    lab_dot(l, y, -1);
    lab_dot(l, one_output(l, &toy_squash, &more, y), -1);
}

static void an_operator_has_its_gradient(void **state)
{
    struct lab_world w;
    struct err e = {0};
    struct lab_setup setup = {
        .build = build_squash, .backward = true, .plugin = nnd_plugin_v1};
    (void)state;
    if (lab_open(&w, setup, &e) || lab_compare(&w, 12, &e))
        fail_msg("%s", e.text);
    assert_ptr_equal(kernels_op(w.lab[0].kernels, "toy.squash"), &toy_squash);
    assert_null(kernels_op(w.lab[0].kernels, "toy.squash.bwd"));
    lab_close(&w);
}

static void build_fixed(struct lab *l, const void *arg)
{
    (void)arg;
    struct value *x = lab_random(l, "x", S(1, I(9)));
    struct value *packed = one_output(l, &toy_pack, NULL, x);
    struct value *y = one_output(l, &toy_unpack, NULL, packed);
    op_copy(l->g, y, lab_state(l, "y", NND_F32, S(1, I(9)), NULL));
}

static void an_element_type_is_stored(void **state)
{
    struct lab_world w;
    struct err e = {0};
    double total;
    struct lab_setup setup = {.build = build_fixed, .plugin = nnd_plugin_v1};
    (void)state;
    if (lab_open(&w, setup, &e) || lab_run(&w, false, &total, &e))
        fail_msg("%s", e.text);
    const float *y = exec_data(w.lab[0].x, graph_find(w.lab[0].g, "y"));
    for (int i = 0; i < 9; i++) {
        double x = lab_number("x", 0, i);
        assert_true(fabs((double)y[i] - x) <= STEP / 2);
        assert_true((double)y[i] == rint(x / STEP) * STEP);
    }
    lab_close(&w);
}

static void a_type_has_a_number_and_a_name(void **state)
{
    static const struct nnd_dtype_def other = {.struct_size = sizeof other,
                                               .name = "toy.fix16",
                                               .bits = 16,
                                               .block = 1,
                                               .to_f32 = to_f32,
                                               .from_f32 = from_f32};
    struct nnd_dtype_def bad = other;
    const char *why;
    (void)state;
    assert_true(fix16 >= NND_DTYPE_EXT);
    assert_int_equal(dtype_register(&toy_fix16, &why), fix16);
    assert_int_equal(dtype_register(&other, &why), 0);
    assert_string_equal(why, "its name is taken");
    bad.name = "toy.odd", bad.bits = 12;
    assert_int_equal(dtype_register(&bad, &why), 0);
    assert_string_equal(why, "wanted 8, 16, 32 or 64 bits");
    bad.bits = 16, bad.name = "fix";
    assert_int_equal(dtype_register(&bad, &why), 0); /* nobody's */
    assert_string_equal(why, "wanted a name \"vendor.type\"");
    assert_int_equal(dtype_size(fix16), 2);
    assert_string_equal(dtype_name(fix16), "toy.fix16");
    assert_int_equal(dtype_parse("toy.fix16"), fix16);
    assert_int_equal(dtype_size(NND_DTYPE_EXT + 15), 0);
}

/* Outputs that cannot be. */
static int less_shape(struct nnd_frame *f, struct nnd_error *e)
{
    int rc = squash_shape(f, e);
    f->out[0].dim[0] = -3;
    return rc;
}

static int odd_shape(struct nnd_frame *f, struct nnd_error *e)
{
    int rc = squash_shape(f, e);
    f->out[0].dtype = 99;
    return rc;
}

enum { ABSENT, INTEGERS, LESS, ODD };

static void build_wrong(struct lab *l, const void *arg)
{
    const union nnd_attr alpha = {.f = 1};
    const int32_t id[] = {1, 2};
    static struct nnd_op_def def;
    struct value *none = NULL, *out;
    const int *kind = arg;
    def = toy_squash;
    def.shape = *kind == LESS ? less_shape : odd_shape;
    if (*kind == ABSENT)
        op_outside(l->g, &toy_squash, &alpha, &none, &out);
    else if (*kind >= LESS)
        one_output(l, &def, &alpha, lab_random(l, "x", S(1, I(9))));
    else
        one_output(l, &toy_squash, &alpha, lab_ints(l, "id", S(1, I(2)), id));
}

static void refusals_say_why(void **state)
{
    static const int kind[] = {ABSENT, INTEGERS, LESS, ODD};
    static const char *const said[] = {
        ": toy.squash: x is absent", "toy.squash: toy.squash: x: wanted f32 or f64",
        "toy.squash: shape() of toy.squash: dimension 0 of y is -3, wanted 0 or more",
        "toy.squash: shape() of toy.squash: y has dtype 99, wanted one that there is"};
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct lab_world w;
        struct err e = {0};
        struct lab_setup setup = {
            .build = build_wrong, .arg = &kind[i], .plugin = nnd_plugin_v1};
        assert_int_equal(lab_open(&w, setup, &e), ERR_FAILED);
        assert_string_equal(e.text, said[i]);
        lab_close(&w);
    }
}

/* Tables that contradict themselves are refused by name. */
static void bad_definitions_are_refused(void **state)
{
    static const char *const names[] = {"squash", "rnn.seq.fwd", "toy.squash"};
    struct nnd_op_def def = toy_squash;
    const struct nnd_op_def *const defs[] = {&def, &toy_squash};
    struct nnd_plugin p = plugin;
    struct kernels *ks;
    struct pool *pool;
    struct err e;
    (void)state;
    p.ops = defs, p.nops = 1;
    assert_int_equal(pool_create(1, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    for (int i = 0; i < 2; i++) {
        def.name = names[i];
        assert_int_equal(kernels_add(ks, &p, "bad.so", &e), ERR_FAILED);
        assert_non_null(strstr(e.text, "wanted a name \"vendor.op\""));
    }
    def.name = names[2], def.nout = NND_FRAME_OUT + 1;
    assert_int_equal(kernels_add(ks, &p, "bad.so", &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "its schema is incomplete"));
    assert_int_equal(kernels_add(ks, &plugin, "good.so", &e), 0);
    p.name = "other", def.nout = 1;
    assert_int_equal(kernels_add(ks, &p, "bad.so", &e), ERR_FAILED);
    assert_string_equal(e.text, "bad.so: operator toy.squash is already here");
    kernels_destroy(ks);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_operator_has_its_gradient),
        cmocka_unit_test(an_element_type_is_stored),
        cmocka_unit_test(a_type_has_a_number_and_a_name),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(bad_definitions_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

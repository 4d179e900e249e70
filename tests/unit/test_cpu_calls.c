/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_calls.c - calls that contradict themselves, and what the plugin cpu says of
 * them, when asked or when it comes upon it; and steps that count nowhere.
 */
#include <math.h>

#include "unit.h"

#include "cpu_cases.h"

struct fixture {
    struct calls *calls;
    struct plugin_under_test p;
};

static int setup(void **state)
{
    static struct fixture f;

    f.calls = calls_create();
    plugin_open(&f.p, "cpu", 2);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    plugin_close(&f->p);
    calls_destroy(f->calls);
    return 0;
}

static struct nnd_tensor tensor(struct fixture *f, int dtype, int64_t a, int64_t b,
                                int64_t n)
{
    return calls_tensor(f->calls, dtype, n ? 3 : b ? 2 : 1, (int64_t[]){a, b, n}, 0);
}

/* Every kernel of the operator says so, but those that this processor does not run. */
static void expect(struct fixture *f, const char *op, void *params, const char *text)
{
    const struct call c = {.op = op, .params = params};
    int ran = 0;

    for (uint32_t i = 0; i < f->p.table->nkernels; i++) {
        const struct nnd_kernel *k = f->p.table->kernels[i];
        const char *why;

        if (strcmp(k->op, op))
            continue;
        why = call_run(&c, k, &f->p, 2);
        if (why &&
            (strstr(why, "this CPU does not run") || strstr(why, "is not supported")))
            continue;
        if (!why || strcmp(why, text))
            fail_msg("%s: \"%s\", wanted \"%s\"", k->name, why ? why : "", text);
        ran++;
    }
    assert_true(ran > 0);
}

static void rms_adds_nothing(void **state)
{
    struct fixture *f = *state;
    struct nnd_norm p = {.struct_size = sizeof p, .eps = 1e-5f};

    p.x = p.y = p.dy = p.dx = tensor(f, NND_F32, 3, 8, 0);
    p.w = p.dw = tensor(f, NND_F32, 8, 0, 0);
    p.rstd = tensor(f, NND_F32, 3, 0, 0);
    p.b = p.db = p.w;
    expect(f, "norm.rms.fwd", &p, "b is given, wanted none");
    expect(f, "norm.rms.bwd", &p, "db is given, wanted none");
}

static void lengths_of_rows(void **state)
{
    struct fixture *f = *state;
    static const int32_t len[] = {2, 5};
    struct nnd_rnn r = {.struct_size = sizeof r, .cell = NND_CELL_TANH, .len = len};
    struct nnd_attend a = {.struct_size = sizeof a, .scale = 1, .len = len};

    r.x = r.y = tensor(f, NND_F32, 2, 4, 8);
    r.u = tensor(f, NND_F32, 8, 8, 0);
    expect(f, "rnn.seq.fwd", &r, "row 1 has 5 steps of 4");
    a.q = a.k = a.v = a.o = r.x;
    a.weight = tensor(f, NND_F32, 2, 4, 4);
    expect(f, "attn.dot.fwd", &a, "row 1 has 5 keys of 4");
}

static void indices_of_columns(void **state)
{
    struct fixture *f = *state;
    struct nnd_select p = {.struct_size = sizeof p};

    p.x = tensor(f, NND_F32, 2, 5, 0);
    p.y = tensor(f, NND_F32, 2, 1, 0);
    p.index = tensor(f, NND_I32, 2, 1, 0);
    ((int32_t *)p.index.data)[0] = 4;
    ((int32_t *)p.index.data)[1] = 5;
    expect(f, "select", &p, "index 5 in row 1 of 5 columns");
}

/* The only row of A^T has a step that nobody takes: none is as good as any. */
static void a_step_of_one_row(void **state)
{
    struct fixture *f = *state;
    struct nnd_gemm p = {.struct_size = sizeof p, .trans_a = 1};
    const struct call c = {.op = "gemm", .params = &p};
    size_t size;
    float *want;

    p.a = tensor(f, NND_F32, 1, 70, 0);
    p.b = tensor(f, NND_F32, 1, 40, 0);
    p.d = tensor(f, NND_F32, 70, 40, 0);
    size = 70 * 40 * sizeof *want;
    want = malloc(size);
    assert_non_null(want);
    for (uint32_t i = 0; i < f->p.table->nkernels; i++) {
        const struct nnd_kernel *k = f->p.table->kernels[i];

        p.a.stride[0] = 70;
        if (strcmp(k->op, "gemm") || call_run(&c, k, &f->p, 2))
            continue;
        memcpy(want, p.d.data, size);
        p.a.stride[0] = 0;
        memset(p.d.data, 0xff, size);
        assert_null(call_run(&c, k, &f->p, 2));
        if (memcmp(want, p.d.data, size))
            fail_msg("%s: other numbers with a step of 0", k->name);
    }
    free(want);
}

/* Whatever bits a NaN has, it is not lost in an exponential. */
static void nan_of_any_bits(void **state)
{
    struct fixture *f = *state;
    struct nnd_attn p = {.struct_size = sizeof p, .batch = 1, .max_q = 3, .max_k = 70};
    const struct call c = {.op = "attn.fwd", .params = &p};

    p.scale = 0.3f;
    p.q = tensor(f, NND_F32, 3, 1, 16);
    p.k = tensor(f, NND_F32, 70, 1, 16);
    p.v = tensor(f, NND_F32, 70, 1, 16);
    p.o = tensor(f, NND_F32, 3, 1, 16);
    p.lse = tensor(f, NND_F32, 1, 3, 0);
    memset((float *)p.q.data + 16, 0xff, 16 * sizeof(float));
    for (uint32_t i = 0; i < f->p.table->nkernels; i++) {
        const struct nnd_kernel *k = f->p.table->kernels[i];
        const float *o = p.o.data, *lse = p.lse.data;

        if (strcmp(k->op, "attn.fwd") || call_run(&c, k, &f->p, 2))
            continue;
        for (int n = 0; n < 48; n++)
            if (isnan(o[n]) != (n / 16 == 1))
                fail_msg("%s: o[%d] is %g", k->name, n, (double)o[n]);
        if (isnan(lse[0]) || !isnan(lse[1]) || isnan(lse[2]))
            fail_msg("%s: lse is %g, %g, %g", k->name, (double)lse[0], (double)lse[1],
                     (double)lse[2]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rms_adds_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(lengths_of_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(indices_of_columns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_step_of_one_row, setup, teardown),
        cmocka_unit_test_setup_teardown(nan_of_any_bits, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

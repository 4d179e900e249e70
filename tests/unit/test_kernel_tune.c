/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_tune.c - the faster kernel is taken, and again by who reads what was
 * measured before.
 */
#include "kernel/tune.h"

#include <unistd.h>

#include "base/clock.h"
#include "unit.h"

enum { ROWS = 6, COLUMNS = 40, SLOW_NS = 5000000 };

/* Which of the two takes its time. */
static bool first_is_slow = true;
static int launches;

static int yes(const void *self, const void *params, struct nnd_error *e)
{
    (void)self, (void)params, (void)e;
    return NND_OK;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params;
    out->workspace = 100;
    return NND_OK;
}

static int never(const void *self, void *plan, const void *params,
                 const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)params, (void)l, (void)e;
    launches++;
    return NND_OK;
}

/* Reads and writes what a kernel would. */
static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_act *p = params;
    int64_t begin = clock_mono_ns();
    bool slow = (self != NULL) == first_is_slow;
    (void)plan, (void)e;
    launches++;
    assert_int_equal((uintptr_t)l->workspace % 256, 0);
    memset(l->workspace, 1, l->workspace_size);
    memcpy(p->y.data, p->a.data, sizeof(float) * ROWS * COLUMNS);
    while (slow && clock_mono_ns() - begin < SLOW_NS)
        ;
    return NND_OK;
}

#define KERNEL(NAME, OP, SELF, PRIORITY, LAUNCH)                                       \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_kernel), .name = NAME, .op = OP,              \
        .device = "cpu", .op_version = 1, .priority = PRIORITY, .self = SELF,          \
        .supports = yes, .need = need, .launch = LAUNCH                                \
    }

static const struct nnd_kernel first = KERNEL("first", "act.gelu.fwd", "", 90, launch),
                               second =
                                   KERNEL("second", "act.gelu.fwd", NULL, 10, launch),
                               attend = KERNEL("attend", "attn.fwd", NULL, 10, never);
static const struct nnd_kernel *const kernels[] = {&first, &second, &attend};
static const struct nnd_plugin plugin = {.struct_size = sizeof plugin,
                                         .abi_major = NND_ABI_MAJOR,
                                         .abi_minor = NND_ABI_MINOR,
                                         .name = "pair",
                                         .version = "1",
                                         .kernels = kernels,
                                         .nkernels = 3};

static struct nnd_tensor matrix(void)
{
    return (struct nnd_tensor){.ndim = 2,
                               .dim = {ROWS, COLUMNS},
                               .stride = {COLUMNS, 1},
                               .dtype = NND_F32,
                               .align_log2 = 6};
}

/* The table's line for a call of two layers; `file` NULL: nothing is kept, "": nothing
 * is measured. */
static void choose(struct kernels *ks, const char *file, const char *rule,
                   struct buf *line)
{
    struct nnd_act p = {.struct_size = sizeof p, .a = matrix(), .y = matrix()};
    const struct kernel_want wants[] = {
        {"act.gelu.fwd", "f32>f32", "layer.0", &p, false},
        {"act.gelu.fwd", "f32>f32", "layer.1", &p, false}};
    struct tune *tune = file && !*file ? NULL : tune_create(ks, 1, file);
    struct kernel_policy policy = {"cpu", 0, &rule, rule != NULL, tune, false};
    struct kernel_table *t;
    struct err e = {0};
    if (kernel_select(ks, &policy, wants, 2, &t, &e) < 0)
        fail_msg("%s", e.text);
    buf_clear(line);
    kernel_table_print(t, line);
    kernel_table_destroy(t);
    tune_destroy(tune);
}

static void the_faster_one_is_taken(void **state)
{
    char path[] = "/tmp/nnd-tune-XXXXXX";
    struct pool *pool;
    struct kernels *ks;
    struct buf line = {0}, again = {0};
    struct err e;
    (void)state;
    close(mkstemp(path));
    assert_int_equal(pool_create(1, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    assert_int_equal(kernels_add(ks, &plugin, "/pair.so", &e), 0);
    choose(ks, "", NULL, &line);
    assert_non_null(strstr(line.data, " pair/first 1 priority 90"));
    assert_int_equal(launches, 0);
    choose(ks, path, NULL, &line);
    assert_non_null(strstr(line.data, " pair/second 1 measured pair/first "));
    assert_non_null(strstr(line.data, " ms, pair/second "));
    first_is_slow = false; /* which nobody asks who has read the file */
    launches = 0;
    choose(ks, path, NULL, &again);
    assert_string_equal(again.data, line.data);
    assert_int_equal(launches, 0);
    choose(ks, NULL, NULL, &line);
    assert_non_null(strstr(line.data, " pair/first 1 measured "));
    choose(ks, path, "act.gelu.fwd=pair/first", &line);
    assert_non_null(strstr(line.data, " pair/first 1 measured pair/first "));
    assert_null(strstr(line.data, "pair/second "));
    buf_free(&line);
    buf_free(&again);
    kernels_destroy(ks);
    pool_destroy(pool);
    unlink(path);
}

/* q, k and v of `rows` rows, in four sequences of at most six. */
static double attention_seconds(struct tune *t, int64_t rows)
{
    struct nnd_tensor x = {.ndim = 3,
                           .dim = {rows, 2, 8},
                           .stride = {16, 8, 1},
                           .dtype = NND_F32,
                           .align_log2 = 6};
    struct nnd_tensor lse = {
        .ndim = 2, .dim = {2, rows}, .stride = {rows, 1}, .dtype = NND_F32};
    struct nnd_attn p = {.struct_size = sizeof p, .batch = 4, .max_q = 6, .max_k = 6};
    const struct kernel_want w = {"attn.fwd", "f32,f32,f32>f32,f32", "layer.0", &p,
                                  false};
    p.q = p.k = p.v = p.o = x;
    p.lse = lse;
    launches = 0;
    return tune_seconds(t, &attend, &w);
}

/* Where they begin a job alone knows, and without that each would have six rows. */
static void packed_sequences_are_not_measured(void **state)
{
    struct pool *pool;
    struct kernels *ks;
    struct err e;
    (void)state;
    assert_int_equal(pool_create(1, NULL, NULL, &pool, &e), 0);
    assert_int_equal(kernels_create(pool, &ks, &e), 0);
    assert_int_equal(kernels_add(ks, &plugin, "/pair.so", &e), 0);
    struct tune *tune = tune_create(ks, 1, NULL);
    assert_true(attention_seconds(tune, 4 * 6) >= 0);
    assert_true(launches > 0);
    assert_true(attention_seconds(tune, 10) < 0);
    assert_int_equal(launches, 0);
    tune_destroy(tune);
    kernels_destroy(ks);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_faster_one_is_taken),
        cmocka_unit_test(packed_sequences_are_not_measured),
    };

    return cmocka_run_group_tests_name("kernel/tune", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_cpu_bits.c - the same bits whatever the instruction set and the number of
 * threads, for every kernel of the plugins cpu and blis.
 */
#include "unit.h"

#include "cpu_cases.h"

#define THREADS 3

/* LeakSanitizer's own tracer dies at the end of this test (signal 11, gcc 12), though
 * no byte is wrong; leaks of the same kernels are looked for by test_cpu_rows. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

static int begins_as_one_of(const char *op, const char *const *names)
{
    for (; *names; names++)
        if (!strncmp(op, *names, strlen(*names)))
            return 1;
    return 0;
}

/* Without fused multiply-adds, or of pairs of bf16, products and recurrent layers have
 * bits of their own, and so has without them what takes exponentials and the like
 * (plugins/cpu/vmath.h).  Those kernels say so by their names; all else is equal on all
 * instruction sets. */
static int stands_alone(const struct nnd_kernel *k)
{
    static const char *const products[] = {"attn.", "gemm", "rnn.", "xent.linear.",
                                           NULL};
    static const char *const functions[] = {"act.",        "distill.", "moe.route.",
                                            "softmax.fwd", "xent.",    NULL};
    int is_product = begins_as_one_of(k->op, products);

    if (strstr(k->name, "-v2"))
        return is_product || begins_as_one_of(k->op, functions);
    return is_product && strstr(k->name, "-bf16");
}

static char *outputs_of(const struct call *c)
{
    size_t size = 0;
    char *all, *at;

    for (int i = 0; i < c->nout; i++)
        size += c->out[i].size;
    at = all = malloc(size + 1);
    assert_non_null(all);
    for (int i = 0; i < c->nout; i++) {
        memcpy(at, c->out[i].t->data, c->out[i].size);
        at += c->out[i].size;
    }
    return all;
}

static void expect_outputs(const struct call *c, const char *want, const char *name,
                           int threads)
{
    for (int i = 0; i < c->nout; i++) {
        if (memcmp(c->out[i].t->data, want, c->out[i].size))
            fail_msg("%s: output %d of %s, %d threads: other bits", c->label, i, name,
                     threads);
        want += c->out[i].size;
    }
}

/* Returns how many kernels ran this call. */
static int compare_kernels(const struct call *c, const struct plugin_under_test *p)
{
    char *common = NULL;
    int ran = 0;

    for (uint32_t i = 0; i < p->table->nkernels; i++) {
        const struct nnd_kernel *k = p->table->kernels[i];
        const char *why;
        char *mine;

        if (strcmp(k->op, c->op))
            continue;
        why = call_run(c, k, p, 1);
        if (why && (strstr(why, "does not run") || strstr(k->name, "-bf16")))
            continue;
        if (why)
            fail_msg("%s: %s: %s", c->label, k->name, why);
        ran++;
        mine = outputs_of(c);
        if (common && !stands_alone(k))
            expect_outputs(c, common, k->name, 1);
        for (int threads = 2; threads <= THREADS; threads++) {
            assert_null(call_run(c, k, p, threads));
            expect_outputs(c, mine, k->name, threads);
        }
        if (!common && !stands_alone(k))
            common = mine;
        else
            free(mine);
    }
    free(common);
    return ran;
}

static int is_of(const char *op, const char *plugin)
{
    return strcmp(op, "gemm") == 0 || strcmp(plugin, "cpu") == 0;
}

static void compare_all(const char *plugin)
{
    struct plugin_under_test p;
    struct calls *calls = calls_create();

    plugin_open(&p, plugin, THREADS);
    for (const struct call *c = calls_first(calls); c; c = c->next)
        if (is_of(c->op, plugin) && !compare_kernels(c, &p))
            fail_msg("%s: no kernel", c->label);
    plugin_close(&p);
    calls_destroy(calls);
}

static void test_cpu(void **state)
{
    (void)state;
    compare_all("cpu");
}

static void test_blis(void **state)
{
    (void)state;
    if (!plugin_built("blis"))
        unit_skip("built without BLIS");
    else
        compare_all("blis");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cpu),
        cmocka_unit_test(test_blis),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_kernel_select.c - who serves a call: order, rules, flags, reasons, and
 * the table's way to another rank.
 */
#include "kernel/kernel.h"

#include "unit.h"

enum { ALL = NND_K_DETERMINISTIC | NND_K_INVARIANT };

#define FORM                                                                           \
    "OP=NAME, OP=NAME? or OP=!NAME, OP like attn, attn.bwd or attn.bwd/bf16@cpu"

/* params of these tests: a number that the kernels have opinions on. */
static int yes(const void *self, const void *params, struct nnd_error *e)
{
    (void)self, (void)params, (void)e;
    return NND_OK;
}

static int even_only(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    if (*(const int *)params % 2 == 0)
        return NND_OK;
    strcpy(e->text, "K is odd\nreally");
    return NND_EUNSUPPORTED;
}

static int sullen(const void *self, const void *params, struct nnd_error *e)
{
    (void)self, (void)params, (void)e;
    return NND_EUNSUPPORTED;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params;
    out->workspace = 0;
    return NND_OK;
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self, (void)plan, (void)params, (void)l, (void)e;
    return NND_OK;
}

#define KERNEL(NAME, OP, PRIORITY, FLAGS, SUPPORTS)                                    \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_kernel), .name = NAME, .op = OP,              \
        .device = "cpu", .op_version = 1, .flags = FLAGS, .priority = PRIORITY,        \
        .supports = SUPPORTS, .need = need, .launch = launch                           \
    }

static const struct nnd_kernel fast = KERNEL("fast", "test.mul", 60, ALL, even_only),
                               plain = KERNEL("plain", "test.mul", 40, ALL, yes),
                               loose = KERNEL("loose", "test.mul", 90, 0, yes),
                               mute = KERNEL("mute", "test.mute", 50, ALL, sullen),
                               sub = KERNEL("sub", "test.mul.sub", 50, ALL, yes),
                               tie = KERNEL("tie", "test.tie", 50, ALL, yes),
                               tie2 = KERNEL("tie2", "test.tie", 50, ALL, yes);

static const struct nnd_kernel *const alpha_kernels[] = {&fast, &mute, &tie2, &tie};
static const struct nnd_kernel *const beta_kernels[] = {&plain, &loose, &sub, &tie};
static const struct nnd_kernel *const cpu_kernels[] = {&tie};

#define PLUGIN(NAME, KERNELS)                                                          \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_plugin), .abi_major = NND_ABI_MAJOR,          \
        .name = NAME, .version = "2.1", .kernels = KERNELS,                            \
        .nkernels = sizeof KERNELS / sizeof KERNELS[0]                                 \
    }

static const struct nnd_plugin alpha = PLUGIN("alpha", alpha_kernels),
                               beta = PLUGIN("beta", beta_kernels),
                               cpu = PLUGIN("cpu", cpu_kernels);

static const int two = 2, three = 3;

struct world {
    struct pool *pool;
    struct kernels *ks;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct err e;
    if (pool_create(1, NULL, NULL, &w->pool, &e) < 0 ||
        kernels_create(w->pool, &w->ks, &e) < 0 ||
        kernels_add(w->ks, &beta, "/b.so", &e) < 0 ||
        kernels_add(w->ks, &alpha, "/a.so", &e) < 0)
        return -1;
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    kernels_destroy(w->ks);
    pool_destroy(w->pool);
    free(w);
    return 0;
}

static int choose(struct world *w, unsigned flags, const char *rule, const char *op,
                  const int *params, struct kernel_table **t, struct err *e)
{
    const char *rules[] = {rule};
    struct kernel_policy policy = {"cpu", flags, rules, rule ? 1 : 0, NULL, false};
    struct kernel_want want = {op, "f32", "layer.0", params, false};
    return kernel_select(w->ks, &policy, &want, 1, t, e);
}

/* The chosen kernel's "PLUGIN/KERNEL VERSION WHY". */
static void expect(struct world *w, unsigned flags, const char *rule, const char *op,
                   const int *params, const char *line)
{
    struct kernel_table *t;
    struct err e = {0};
    struct buf text = {0};
    if (choose(w, flags, rule, op, params, &t, &e) < 0)
        fail_msg("%s", e.text);
    kernel_table_print(t, &text);
    size_t skip = strlen(op) + strlen(" f32 ");
    assert_string_equal(text.data + skip, line);
    buf_free(&text);
    kernel_table_destroy(t);
}

static void expect_error(struct world *w, unsigned flags, const char *rule,
                         const char *op, const int *params, const char *text)
{
    struct kernel_table *t = NULL;
    struct err e = {0};
    assert_int_equal(choose(w, flags, rule, op, params, &t, &e), ERR_SPEC);
    assert_null(t);
    assert_string_equal(e.text, text);
}

static void priority_decides(void **state)
{
    expect(*state, ALL, NULL, "test.mul", &two,
           "alpha/fast 2.1 priority 60; beta/loose: is not deterministic invariant\n");
    expect(*state, 0, NULL, "test.mul", &two, "beta/loose 2.1 priority 90\n");
}

static void ties_go_in_tree_then_by_name(void **state)
{
    struct world *w = *state;
    struct err e;
    expect(w, ALL, NULL, "test.tie", &two, "alpha/tie 2.1 priority 50\n");
    assert_int_equal(kernels_add(w->ks, &cpu, "/c.so", &e), 0);
    expect(w, ALL, NULL, "test.tie", &two, "cpu/tie 2.1 priority 50\n");
}

static void refusal_is_told(void **state)
{
    expect(*state, ALL, "test.mul=!loose", "test.mul", &three,
           "beta/plain 2.1 priority 40; beta/loose: excluded by rule: test.mul=!loose; "
           "alpha/fast: layer.0: K is odd really\n");
    expect_error(
        *state, ALL, NULL, "test.mute", &two,
        "no kernel for test.mute f32 (layer.0): alpha/mute: layer.0: no reason "
        "given");
    expect_error(*state, ALL, NULL, "test.none", &two,
                 "no kernel for test.none f32 (layer.0): no plugin has one for this "
                 "device");
}

static void required_or_nothing(void **state)
{
    expect(*state, ALL, "test.mul=beta/plain", "test.mul", &two,
           "beta/plain 2.1 rule test.mul=beta/plain\n");
    expect(*state, ALL, "test.mul=plain", "test.mul", &two,
           "beta/plain 2.1 rule test.mul=plain\n");
    expect_error(*state, ALL, "test.mul=alpha", "test.mul", &three,
                 "no kernel for test.mul f32 (layer.0) under rule test.mul=alpha: "
                 "alpha/fast: layer.0: K is odd really");
    expect_error(*state, ALL, "test=mute", "test.mul", &two,
                 "no kernel for test.mul f32 (layer.0) under rule test=mute: it names "
                 "none that serves this operator on this device");
}

static void preferred_if_it_can(void **state)
{
    expect(*state, ALL, "test=plain?", "test.mul", &two,
           "beta/plain 2.1 rule test=plain?\n");
    expect(*state, 0, "test.mul=fast?", "test.mul", &three,
           "beta/loose 2.1 priority 90; alpha/fast: layer.0: K is odd really\n");
}

static void closest_rule_counts_then_last(void **state)
{
    struct world *w = *state;
    const char *rules[] = {"test.mul.sub=sub", "test=fast?", "test.mul=loose",
                           "test.mul=plain"};
    struct kernel_policy policy = {"cpu", 0, rules, 4, NULL, false};
    struct kernel_want wants[] = {{"test.mul", "f32", "a", &two, false},
                                  {"test.mul.sub", "f32", "b", &two, false}};
    struct kernel_table *t;
    struct err e = {0};
    assert_int_equal(kernel_select(w->ks, &policy, wants, 2, &t, &e), 0);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "f32"), &plain);
    assert_ptr_equal(kernel_table_find(t, "test.mul.sub", "f32"), &sub);
    assert_null(kernel_table_find(t, "test.mul", "bf16"));
    kernel_table_destroy(t);
}

static void unknown_names_are_errors(void **state)
{
    expect_error(*state, 0, "gemn=ref", "test.mul", &two,
                 "kernel rule gemn=ref: no operator is named \"gemn\"; did you mean "
                 "gemm?");
    expect_error(
        *state, 0, "gemm=alpa", "test.mul", &two,
        "kernel rule gemm=alpa: no plugin or kernel is named \"alpa\"; did you "
        "mean alpha?");
    expect_error(*state, 0, "gemm", "test.mul", &two,
                 "kernel rule \"gemm\": wanted " FORM);
    expect_error(*state, 0, "=ref", "test.mul", &two,
                 "kernel rule \"=ref\": wanted " FORM);
    expect_error(*state, 0, "gemm=!", "test.mul", &two,
                 "kernel rule \"gemm=!\": wanted " FORM);
    expect_error(*state, 0, "gemm/=ref", "test.mul", &two,
                 "kernel rule \"gemm/=ref\": wanted " FORM);
    expect_error(*state, 0, "gemm@=ref", "test.mul", &two,
                 "kernel rule \"gemm@=ref\": wanted " FORM);
    expect_error(*state, 0, "atn=ref", "test.mul", &two,
                 "kernel rule atn=ref: no operator is named \"atn\"; did you mean "
                 "attn?");
    expect_error(*state, 0, "gemm=alpha/fats", "test.mul", &two,
                 "kernel rule gemm=alpha/fats: no plugin or kernel is named "
                 "\"alpha/fats\"; did you mean alpha/fast?");
    expect_error(*state, 0, "gemm/b16=ref", "test.mul", &two,
                 "kernel rule gemm/b16=ref: no dtype is named \"b16\"; did you mean "
                 "bf16?");
    expect_error(*state, 0, "gemm@cpv=ref", "test.mul", &two,
                 "kernel rule gemm@cpv=ref: no device is named \"cpv\"; did you mean "
                 "cpu?");
}

/* A rule speaks of what it names and of nothing else. */
static void rules_are_narrowed(void **state)
{
    expect(*state, 0, "test.mul/f32@cpu=plain", "test.mul", &two,
           "beta/plain 2.1 rule test.mul/f32@cpu=plain\n");
    expect(*state, 0, "test.mul/bf16=plain", "test.mul", &two,
           "beta/loose 2.1 priority 90\n");
    expect(*state, 0, "test.mul/f32=!loose", "test.mul", &two,
           "alpha/fast 2.1 priority 60; beta/loose: excluded by rule: "
           "test.mul/f32=!loose\n");
    expect(*state, 0, "test/bf16=!loose", "test.mul", &two,
           "beta/loose 2.1 priority 90\n");
}

/* With a dtype is closer than without, the type of the first input is meant. */
static void the_narrower_rule_counts(void **state)
{
    struct world *w = *state;
    const char *rules[] = {"test.mul/bf16=fast", "test.mul=plain",
                           "test.mul/f32,f32>f32=loose"};
    struct kernel_policy policy = {"cpu", 0, rules, 3, NULL, false};
    struct kernel_want wants[] = {{"test.mul", "bf16,f32>f32", "a", &two, false},
                                  {"test.mul", "f32,f32>f32", "b", &two, false},
                                  {"test.mul", "f32,bf16>f32", "c", &two, false}};
    struct kernel_table *t;
    struct err e = {0};
    assert_int_equal(kernel_select(w->ks, &policy, wants, 3, &t, &e), 0);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "bf16,f32>f32"), &fast);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "f32,f32>f32"), &loose);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "f32,bf16>f32"), &plain);
    kernel_table_destroy(t);
}

static void check_rule(struct world *w, const char *rule, const char *text)
{
    struct kernel_policy policy = {"cpu", 0, &rule, 1, NULL, false};
    struct kernel_want wants[] = {{"test.tie", "f32>f32", "a", &two, false},
                                  {"test.mul", "f32,f32>f32", "b", &two, false},
                                  {"test.mul", "bf16,f32,->f32", "c", &two, false}};
    struct err e = {0};
    assert_int_equal(kernel_rules_check(w->ks, &policy, wants, 3, &e),
                     text ? ERR_SPEC : 0);
    if (text)
        assert_string_equal(e.text, text);
}

/* Half of one would cover nothing, and nobody would know. */
static void a_key_is_whole(void **state)
{
    check_rule(*state, "test.mul/f64=loose", NULL);
    check_rule(*state, "test.mul/f32,f32>f32=loose", NULL);
    check_rule(*state, "test/f32>f32=loose", NULL);
    check_rule(*state, "test.mute/f32,f32=loose", NULL);
    check_rule(
        *state, "test.mul/bf16,f32=loose",
        "kernel rule test.mul/bf16,f32=loose: wanted the type of the first input, "
        "or a whole key such as bf16,f32,->f32, found bf16,f32");
    check_rule(
        *state, "test.mul/f32>f32=!loose",
        "kernel rule test.mul/f32>f32=!loose: wanted the type of the first input, "
        "or a whole key such as f32,f32>f32, found f32>f32");
}

/* One row, every call of it must be served. */
static void a_row_is_served_whole(void **state)
{
    struct world *w = *state;
    struct kernel_policy policy = {"cpu", ALL, NULL, 0, NULL, false};
    struct kernel_want wants[] = {{"test.mul", "f32", "a", &two, false},
                                  {"test.mul", "bf16", "b", &two, false},
                                  {"test.mul", "f32", "c", &three, false}};
    struct kernel_table *t;
    struct err e = {0};
    assert_int_equal(kernel_select(w->ks, &policy, wants, 3, &t, &e), 0);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "f32"), &plain);
    assert_ptr_equal(kernel_table_find(t, "test.mul", "bf16"), &fast);
    kernel_table_destroy(t);
}

/* What the caller can do itself has no row when nobody else can. */
static void an_optional_row_is_left_out(void **state)
{
    struct world *w = *state;
    struct kernel_policy policy = {"cpu", 0, NULL, 0, NULL, false};
    struct kernel_want wants[] = {{"test.none", "f32", "a", &two, true},
                                  {"test.mul", "f32", "b", &two, true}};
    struct kernel_table *t;
    struct err e = {0};
    assert_int_equal(kernel_select(w->ks, &policy, wants, 2, &t, &e), 0);
    assert_null(kernel_table_find(t, "test.none", "f32"));
    assert_non_null(kernel_table_find(t, "test.mul", "f32"));
    kernel_table_destroy(t);
    wants[0].optional = false;
    assert_int_equal(kernel_select(w->ks, &policy, wants, 2, &t, &e), ERR_SPEC);
}

static void table_travels(void **state)
{
    struct world *w = *state;
    struct kernel_policy policy = {"cpu", 0, NULL, 0, NULL, false};
    struct kernel_want wants[] = {{"test.mul", "f32", "a", &two, false},
                                  {"test.tie", "", "b", &two, false}};
    struct kernel_table *t, *back;
    struct err e = {0};
    struct buf a = {0}, b = {0};
    assert_int_equal(kernel_select(w->ks, &policy, wants, 2, &t, &e), 0);
    kernel_table_print(t, &a);
    if (kernel_table_parse(w->ks, a.data, &back, &e) < 0)
        fail_msg("%s", e.text);
    kernel_table_print(back, &b);
    assert_string_equal(a.data, b.data);
    assert_ptr_equal(kernel_table_find(back, "test.tie", ""),
                     kernel_table_find(t, "test.tie", ""));
    kernel_table_destroy(t);
    kernel_table_destroy(back);
    buf_free(&a);
    buf_free(&b);
}

static void expect_parse_error(struct world *w, const char *text, const char *want)
{
    struct kernel_table *t = NULL;
    struct err e = {0};
    assert_true(kernel_table_parse(w->ks, text, &t, &e) < 0);
    assert_null(t);
    assert_string_equal(e.text, want);
}

static void table_of_another_build_is_refused(void **state)
{
    expect_parse_error(*state, "test.mul f32 alpha/fast 2.2 priority 60\n",
                       "kernel alpha/fast: this process has plugin alpha 2.1, the job "
                       "uses 2.2");
    expect_parse_error(*state, "test.mul f32 alpha/fast 2.1#0123456789ab priority 60\n",
                       "kernel alpha/fast: the job uses a file of this version with "
                       "sha256 0123456789ab, this process has /a.so with none");
    expect_parse_error(*state, "test.mul f32 gamma/fast 2.1 x\n",
                       "kernel gamma/fast: this process has no such plugin");
    expect_parse_error(*state, "test.mul f32 alpha/slow 2.1 x\n",
                       "kernel alpha/slow: plugin alpha 2.1 has no such kernel");
    expect_parse_error(*state, "test.tie f32 alpha/fast 2.1 x\n",
                       "kernel table: alpha/fast serves test.mul, not test.tie");
    expect_parse_error(*state, "test.mul f32\n",
                       "kernel table: \"test.mul f32 \": wanted OP KEY PLUGIN/KERNEL "
                       "VERSION");
    expect_parse_error(*state,
                       "test.mul f32 alpha/fast 2.1 x\ntest.mul f32 beta/plain 2.1 x\n",
                       "kernel table: two rows for test.mul f32");
}

static void names_are_taken_once(void **state)
{
    struct world *w = *state;
    struct err e = {0};
    size_t before = kernels_plugin_count(w->ks);
    assert_int_equal(kernels_add(w->ks, &alpha, "/z.so", &e), ERR_FAILED);
    assert_string_equal(e.text,
                        "/z.so: plugin alpha 2.1 is already here as 2.1 (/a.so)");
    /* The file of what is compiled in is the same thing, not a second one. */
    assert_int_equal(kernels_add(w->ks, kernels_plugin(w->ks, 0), "/ref.so", &e), 0);
    assert_int_equal(kernels_plugin_count(w->ks), before);
}

static void the_cpu_is_always_there(void **state)
{
    struct world *w = *state;
    const struct nnd_device_ops *d = kernels_device(w->ks, "cpu");
    void *p = NULL;
    char json[200];
    assert_non_null(d);
    assert_int_equal(d->count(), 1);
    assert_int_equal(d->info(0, json, sizeof json), NND_OK);
    assert_int_equal(d->alloc(0, 1000, &p), NND_OK);
    assert_int_equal((uintptr_t)p % 256, 0);
    assert_int_equal(d->free(0, p), NND_OK);
    assert_int_equal(d->alloc(0, SIZE_MAX, &p), NND_ENOMEM);
    assert_null(kernels_device(w->ks, "abacus"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(priority_decides, setup, teardown),
        cmocka_unit_test_setup_teardown(ties_go_in_tree_then_by_name, setup, teardown),
        cmocka_unit_test_setup_teardown(refusal_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(required_or_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(preferred_if_it_can, setup, teardown),
        cmocka_unit_test_setup_teardown(closest_rule_counts_then_last, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_names_are_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(rules_are_narrowed, setup, teardown),
        cmocka_unit_test_setup_teardown(the_narrower_rule_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_is_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_is_served_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(an_optional_row_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(table_travels, setup, teardown),
        cmocka_unit_test_setup_teardown(table_of_another_build_is_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_are_taken_once, setup, teardown),
        cmocka_unit_test_setup_teardown(the_cpu_is_always_there, setup, teardown),
    };

    return cmocka_run_group_tests_name("kernel/select", tests, NULL, NULL);
}

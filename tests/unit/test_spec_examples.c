/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_examples.c - the job files in examples/ are jobs, without a hint
 * left to give, and whoever takes their advice has a job as well.
 */
#include <dirent.h>
#include <stdio.h>

#include "proto/spec.h"
#include "unit.h"

static const char *examples_dir(void)
{
    static char path[512];
    const char *top = getenv("NND_SRCDIR");

    snprintf(path, sizeof(path), "%s/examples", top ? top : ".");
    return path;
}

static struct spec *load(const char *name)
{
    struct spec *s = spec_create();
    char path[800];
    struct err e;

    snprintf(path, sizeof(path), "%s/%s", examples_dir(), name);
    if (spec_load_file(s, path, &e))
        fail_msg("%s", e.text);
    return s;
}

static void resolve(struct spec *s)
{
    struct err e;

    if (spec_resolve(s, &e))
        fail_msg("%s", e.text);
}

static void examples_are_jobs(void **state)
{
    DIR *d = opendir(examples_dir());
    struct dirent *entry;
    int n = 0;

    (void)state;
    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        const char *dot = strrchr(entry->d_name, '.');
        struct buf hints = {0};
        struct spec *s;

        if (!dot || strcmp(dot, ".yaml") != 0)
            continue;
        n++;
        s = load(entry->d_name);
        resolve(s);
        spec_hints(s, &hints);
        if (hints.len > 0)
            fail_msg("%s: %s", entry->d_name, hints.data);
        assert_int_equal(
            strncmp(spec_job(s)->name, entry->d_name, (size_t)(dot - entry->d_name)),
            0);
        buf_free(&hints);
        spec_destroy(s);
    }
    closedir(d);
    assert_true(n >= 3);
}

/* What the demo is there to show. */
static void demo_shards_experts_in_bf16(void **state)
{
    struct spec *s = load("demo.yaml");
    const Nnd__Job *j = spec_job(s);

    (void)state;
    resolve(s);
    assert_int_equal(j->model->moe->experts, 8);
    assert_int_equal(j->model->moe->top_k, 2);
    assert_int_equal(j->train->precision, NND__TRAIN__PRECISION__BF16);
    assert_int_equal(j->parallel->dp, 2);
    assert_int_equal(j->parallel->ep, 2);
    assert_string_equal(j->data->train[0], "/usr/share/common-licenses");
    spec_destroy(s);
}

static void demo_runs_on_one_rank_too(void **state)
{
    struct spec *s = load("demo.yaml");
    struct err e;

    (void)state;
    assert_int_equal(spec_set(s, "parallel.dp=1", &e), 0);
    assert_int_equal(spec_set(s, "parallel.ep=1", &e), 0);
    resolve(s);
    spec_destroy(s);
}

static void gpt2_small_itself_is_a_job(void **state)
{
    static const char *const size[] = {"model.layers=12", "model.width=768",
                                       "model.heads=12", "model.context=1024",
                                       "model.vocab=50257"};
    struct spec *s = load("gpt2.yaml");
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        assert_int_equal(spec_set(s, size[i], &e), 0);
    resolve(s);
    assert_int_equal(spec_job(s)->model->head_dim, 64);
    assert_int_equal(spec_job(s)->model->ffn, 3072);
    spec_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_are_jobs),
        cmocka_unit_test(demo_shards_experts_in_bf16),
        cmocka_unit_test(demo_runs_on_one_rank_too),
        cmocka_unit_test(gpt2_small_itself_is_a_job),
    };

    return cmocka_run_group_tests_name("examples", tests, NULL, NULL);
}

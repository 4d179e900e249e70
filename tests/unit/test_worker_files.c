/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_worker_files.c - what the worker reads and writes: jobs in both forms, and
 * metrics that have each step once.
 */
#include "tests/unit/unit.h"

#include <math.h>

#include "worker/job.h"
#include "worker/metrics.h"

static const char yaml[] = "name: one\n"
                           "data: {train: /etc/hostname}\n"
                           "train: {steps: 7, lr: 0.3}\n";

static void write_file(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* --- jobs ----------------------------------------------------------------- */

static void yaml_and_packed_are_one_job(void **state)
{
    const char *text = unit_path(state, "job.yaml"), *packed = unit_path(state, "x");
    struct arg_list set = {{"train.lr=0.5"}, 1}, none = {0};
    struct spec *a, *b, *c;
    struct buf bytes = {0}, again = {0};
    struct err e;

    write_file(text, yaml, sizeof yaml - 1);
    assert_int_equal(job_read(text, &set, &a, &e), 0);
    assert_true(spec_job(a)->train->lr == 0.5 && spec_job(a)->train->steps == 7);
    assert_int_equal(spec_pack(a, &bytes, &e), 0);
    write_file(packed, bytes.data, bytes.len);
    assert_int_equal(job_read(packed, &none, &b, &e), 0);
    assert_int_equal(spec_pack(b, &again, &e), 0);
    assert_int_equal(again.len, bytes.len);
    assert_memory_equal(again.data, bytes.data, bytes.len);
    set.value[0] = "train.steps=9";
    assert_int_equal(job_read(packed, &set, &c, &e), 0);
    assert_true(spec_job(c)->train->lr == 0.5 && spec_job(c)->train->steps == 9);
    spec_destroy(a);
    spec_destroy(b);
    spec_destroy(c);
    buf_free(&bytes);
    buf_free(&again);
}

static void a_packed_job_that_is_cut_is_refused(void **state)
{
    const char *text = unit_path(state, "job.yaml"), *packed = unit_path(state, "x");
    struct arg_list none = {0};
    struct spec *s;
    struct buf bytes = {0};
    struct err e;

    write_file(text, yaml, sizeof yaml - 1);
    assert_int_equal(job_read(text, &none, &s, &e), 0);
    assert_int_equal(spec_pack(s, &bytes, &e), 0);
    spec_destroy(s);
    write_file(packed, bytes.data, bytes.len - 3);
    assert_true(job_read(packed, &none, &s, &e) < 0);
    assert_true(strncmp(e.text, packed, strlen(packed)) == 0);
    buf_free(&bytes);
}

/* --- metrics -------------------------------------------------------------- */

static void add(struct metrics_file *f, int64_t step, double loss)
{
    struct metrics m = {.report = {.step = step, .loss = loss, .seconds = 1},
                        .val_loss = NAN,
                        .attempt = 2};
    struct err e;

    assert_int_equal(metrics_add(f, &m, &e), 0);
}

/* The steps in the file, "1 2 3 ". */
static void check_steps(const char *path, const char *want)
{
    struct buf text = {0}, steps = {0};
    char *rest = NULL;
    struct err e;

    assert_int_equal(fs_read(path, 0, &text, &e), 0);
    for (char *line = text.data ? strtok_r(text.data, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest)) {
        long long step;

        assert_int_equal(sscanf(line, "{\"step\":%lld,", &step), 1);
        buf_printf(&steps, "%lld ", step);
    }
    assert_string_equal(steps.data ? steps.data : "", want);
    buf_free(&text);
    buf_free(&steps);
}

static void steps_done_again_come_once(void **state)
{
    const char *path = unit_path(state, "metrics.jsonl");
    struct metrics_file *f;
    struct err e;

    assert_int_equal(metrics_open(path, 0, &f, &e), 0);
    for (int i = 1; i <= 5; i++)
        add(f, i, i);
    metrics_close(f);
    assert_int_equal(metrics_open(path, 3, &f, &e), 0);
    check_steps(path, "1 2 3 ");
    add(f, 4, 4);
    add(f, 5, 5);
    assert_int_equal(metrics_drop(f, 4, &e), 0);
    add(f, 5, NAN);
    check_steps(path, "1 2 3 4 5 ");
    metrics_close(f);
    assert_int_equal(metrics_open(path, 0, &f, &e), 0);
    check_steps(path, "");
    metrics_close(f);
}

static void a_torn_line_goes(void **state)
{
    static const char torn[] = "{\"step\":1,\"loss\":2.0}\n{\"step\":2,\"lo";
    const char *path = unit_path(state, "metrics.jsonl");
    struct metrics_file *f;
    struct err e;

    write_file(path, torn, sizeof torn - 1);
    assert_int_equal(metrics_open(path, 9, &f, &e), 0);
    add(f, 2, 1);
    metrics_close(f);
    check_steps(path, "1 2 ");
}

static void what_is_no_number_is_left_out(void **state)
{
    const char *path = unit_path(state, "metrics.jsonl");
    struct metrics m = {.report = {.step = 1, .loss = NAN, .grad_norm = INFINITY},
                        .val_loss = 0.1};
    struct metrics_file *f;
    struct buf text = {0};
    struct err e;

    assert_int_equal(metrics_open(path, 0, &f, &e), 0);
    assert_int_equal(metrics_add(f, &m, &e), 0);
    metrics_close(f);
    assert_int_equal(fs_read(path, 0, &text, &e), 0);
    assert_null(strstr(text.data, "\"loss\""));
    assert_null(strstr(text.data, "grad_norm"));
    assert_null(strstr(text.data, "tokens_per_s"));
    assert_non_null(strstr(text.data, "\"val_loss\":0.1"));
    assert_null(strstr(text.data, "aux_loss"));
    buf_free(&text);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(yaml_and_packed_are_one_job),   TEST(a_packed_job_that_is_cut_is_refused),
        TEST(steps_done_again_come_once),    TEST(a_torn_line_goes),
        TEST(what_is_no_number_is_left_out),
    };

    return cmocka_run_group_tests_name("worker files", tests, NULL, NULL);
}

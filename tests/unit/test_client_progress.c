/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_client_progress.c - the progress line, its average and its lines off a
 * terminal.
 */
#include "client/progress.h"

#include "unit.h"

static Wire__JobInfo job_at(uint64_t step)
{
    Wire__JobInfo j = WIRE__JOB_INFO__INIT;

    j.id = 42;
    j.state = WIRE__STATE__RUNNING;
    j.attempt = 1;
    j.attempt_first_step = 1;
    j.step = step;
    j.steps = 20000;
    j.ranks = 2;
    j.has_loss = j.has_tokens_per_s = 1;
    j.loss = 2.3099;
    j.tokens_per_s = 41230;
    return j;
}

/* Look every `every` steps of `ms` milliseconds each, from step `from` to `to`. */
static int64_t run(struct progress *p, uint64_t from, uint64_t to, uint64_t every,
                   int64_t ms, int64_t now)
{
    for (uint64_t step = from; step <= to; step += every) {
        Wire__JobInfo j = job_at(step);

        now += (int64_t)every * ms * 1000000;
        progress_measure(p, &j, now);
    }
    return now;
}

static void the_line_is_as_documented(void **state)
{
    struct progress p = {0};
    struct buf line = {0};
    Wire__JobInfo j = job_at(1200);

    (void)state;
    run(&p, 1000, 1200, 10, 228, 0);
    j.has_send_hidden = 1;
    j.send_hidden = 0.834;
    progress_line(&p, &j, 200, &line);
    assert_string_equal(line.data, "step 1200/20000  6.0%  loss 2.31  41.2k tok/s  "
                                   "83% hidden  ETA 1h11m  [#-------------------]");
    buf_free(&line);
}

static void the_line_fits_its_width(void **state)
{
    struct progress p = {0};
    Wire__JobInfo j = job_at(1200);

    (void)state;
    for (size_t width = 1; width < 120; width++) {
        struct buf line = {0};

        progress_line(&p, &j, width, &line);
        assert_true(line.len <= width && strlen(line.data) == line.len);
        buf_free(&line);
    }
}

static void eta_waits_for_twenty_steps(void **state)
{
    struct progress p = {0};
    Wire__JobInfo j = job_at(19);
    int64_t now = run(&p, 0, 19, 1, 100, 1);

    (void)state;
    assert_true(progress_eta(&p, &j) < 0);
    now = run(&p, 20, 20, 1, 100, now);
    j = job_at(20);
    assert_float_equal(progress_eta(&p, &j), 0.1 * (20000 - 20), 1e-6);
}

/* An evaluation of ten seconds is forgotten after a few hundred steps. */
static void eta_follows_a_change_of_speed(void **state)
{
    struct progress p = {0};
    int64_t now = run(&p, 0, 300, 1, 100, 1);
    Wire__JobInfo j = job_at(900);

    (void)state;
    now = run(&p, 301, 900, 1, 50, now + 10 * INT64_C(1000000000));
    assert_float_equal(progress_eta(&p, &j), 0.05 * (20000 - 900), 10);
}

static void eta_starts_anew_after_a_restart(void **state)
{
    struct progress p = {0};
    int64_t now = run(&p, 0, 300, 1, 100, 1);
    Wire__JobInfo j = job_at(250);

    (void)state;
    j.attempt = 2;
    j.attempt_first_step = 201;
    progress_measure(&p, &j, now + 1);
    assert_true(progress_eta(&p, &j) < 0);
}

static void counts_are_short(void **state)
{
    static const struct {
        double n;
        const char *text;
    } rows[] = {
        {0, "0"},         {950, "950"},     {999.4, "999"},
        {999.6, "1.0k"},  {41230, "41.2k"}, {123456, "123k"},
        {999600, "1.0M"}, {1.3e6, "1.3M"},  {2.5e18, "2500P"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[16];

        progress_count(rows[i].n, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

/* Off a terminal: a line per 5 % or per minute, no carriage return. */
static void lines_are_few_off_a_terminal(void **state)
{
    char *text = NULL;
    size_t size, lines = 0;
    FILE *out = tmpfile();
    struct progress p;

    (void)state;
    assert_non_null(out);
    progress_init(&p, out, false);
    assert_false(p.tty);
    for (uint64_t step = 0; step <= 20000; step += 10) {
        Wire__JobInfo j = job_at(step);

        progress_show(&p, &j, 1 + (int64_t)step * 1000000);
    }
    rewind(out);
    while (getline(&text, &size, out) > 0) {
        assert_null(strchr(text, '\r'));
        lines++;
    }
    assert_int_equal(lines, 1 + 21); /* "running", then 0 %, 5 %, ..., 100 % */
    free(text);
    fclose(out);
}

/* For programs there is a line when something changed, however often nnd was asked. */
static void json_is_a_line_per_change(void **state)
{
    FILE *out = tmpfile();
    struct progress p;
    int lines = 0, c;

    (void)state;
    assert_non_null(out);
    progress_init(&p, out, true);
    for (int64_t look = 0; look < 6; look++) {
        Wire__JobInfo j = job_at(7);

        j.has_version = 1;
        j.version = (uint64_t)look / 3; /* 0 0 0 1 1 1 */
        progress_show(&p, &j, 1 + look * 1000000000);
    }
    rewind(out);
    while ((c = getc(out)) != EOF)
        lines += c == '\n';
    assert_int_equal(lines, 2);
    fclose(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_line_is_as_documented),
        cmocka_unit_test(the_line_fits_its_width),
        cmocka_unit_test(eta_waits_for_twenty_steps),
        cmocka_unit_test(eta_follows_a_change_of_speed),
        cmocka_unit_test(eta_starts_anew_after_a_restart),
        cmocka_unit_test(counts_are_short),
        cmocka_unit_test(lines_are_few_off_a_terminal),
        cmocka_unit_test(json_is_a_line_per_change),
    };

    return cmocka_run_group_tests_name("client/progress", tests, NULL, NULL);
}

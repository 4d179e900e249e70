/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_trust.c - notes on plugins are kept by sum, and what a process did last is
 * read after it was killed.
 */
#include "trust/quarantine.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "trust/crumb.h"
#include "unit.h"

#define SUM_A "aaaaaa0123456789aaaaaa0123456789aaaaaa0123456789aaaaaa0123456789"
#define SUM_B "bbbbbb0123456789bbbbbb0123456789bbbbbb0123456789bbbbbb0123456789"

static void add(const char *dir, const char *sum, const char *kernel, const char *stage,
                const char *reason, bool suspect)
{
    struct quarantine_file f = {.path = "/p.so", .plugin = "p", .version = "1"};
    struct quarantine_note n = {.kernel = kernel,
                                .op = "gemm",
                                .stage = stage,
                                .reason = reason,
                                .abi = "1.0",
                                .suspect = suspect};
    struct err e = {0};
    strcpy(f.sha256, sum);
    if (quarantine_add(dir, &f, &n, &e) < 0)
        fail_msg("%s", e.text);
}

static void notes_are_kept_by_sum(void **state)
{
    const char *dir = unit_path(state, "quarantine");
    struct arena *a = arena_create();
    struct quarantine_file f;
    add(dir, SUM_A, "one", "check", "wrong", false);
    add(dir, SUM_A, "one", "check", "wrong again", false);
    add(dir, SUM_A, "two", "running", "SIGSEGV", true);
    quarantine_read(dir, SUM_A, a, &f);
    assert_int_equal(f.nnotes, 2);
    assert_string_equal(f.plugin, "p");
    assert_string_equal(quarantine_find(&f, "one", false)->reason, "wrong again");
    assert_string_equal(f.notes[0].abi, "1.0");
    assert_true(strlen(f.notes[0].arch) > 3);
    assert_int_equal(f.notes[0].time[4], '-');
    assert_null(quarantine_find(&f, "two", false));
    assert_true(quarantine_find(&f, "two", true)->suspect);
    assert_null(quarantine_find(&f, "three", true));
    quarantine_read(dir, SUM_B, a, &f);
    assert_int_equal(f.nnotes, 0);
    arena_destroy(a);
}

static void a_whole_file_speaks_for_its_kernels(void **state)
{
    const char *dir = unit_path(state, "quarantine");
    struct arena *a = arena_create();
    struct quarantine_file f;
    add(dir, SUM_B, "", "loading", "killed by SIGSEGV", false);
    quarantine_read(dir, SUM_B, a, &f);
    assert_string_equal(quarantine_find(&f, "any", false)->stage, "loading");
    arena_destroy(a);
}

static void clearing(void **state)
{
    const char *dir = unit_path(state, "quarantine");
    struct arena *a = arena_create();
    struct quarantine_file *files;
    size_t n;
    struct err e = {0};
    assert_int_equal(quarantine_list(dir, a, &files, &n, &e), 0);
    assert_int_equal(n, 0);
    add(dir, SUM_B, "", "loading", "crash", false);
    add(dir, SUM_A, "x", "check", "wrong", false);
    assert_int_equal(quarantine_list(dir, a, &files, &n, &e), 0);
    assert_int_equal(n, 2);
    assert_string_equal(files[0].sha256, SUM_A);
    assert_int_equal(quarantine_clear(dir, "bbbbb", &e), ERR_USAGE);
    assert_int_equal(quarantine_clear(dir, "bbbbzz", &e), ERR_USAGE);
    assert_int_equal(quarantine_clear(dir, "cccccc", &e), ERR_NOTFOUND);
    assert_string_equal(e.text, "quarantine: nothing begins with cccccc");
    assert_int_equal(quarantine_clear(dir, "bbbbbb", &e), 1);
    assert_int_equal(quarantine_clear(dir, NULL, &e), 1);
    assert_int_equal(quarantine_clear(dir, NULL, &e), 0);
    arena_destroy(a);
}

static void rubbish_is_no_note(void **state)
{
    const char *dir = *state;
    struct arena *a = arena_create();
    struct quarantine_file f;
    struct err e;
    assert_int_equal(fs_replace(unit_path(state, SUM_A ".json"), "[1,", 3, &e), 0);
    quarantine_read(dir, SUM_A, a, &f);
    assert_int_equal(f.nnotes, 0);
    add(dir, SUM_A, "x", "check", "wrong", false);
    quarantine_read(dir, SUM_A, a, &f);
    assert_int_equal(f.nnotes, 1);
    arena_destroy(a);
}

/* In a child: enter node 2 of 3 in step 41 and be killed there. */
static void child(const char *path)
{
    struct crumb *c;
    struct err e;
    struct crumb_node n = {.where = "layer.1.attn",
                           .op = "attn.fwd",
                           .plugin = "foo",
                           .kernel = "fa3",
                           .sha256 = SUM_A,
                           .shapes = "4x2x8"};
    if (crumb_create(path, 3, &c, &e) < 0)
        _exit(1);
    crumb_describe(c, 2, &n);
    crumb_describe(c, 3, &n); /* there is none: nothing happens */
    crumb_step(c, 41);
    crumb_enter(c, 0);
    crumb_enter(c, 2);
    raise(SIGKILL);
}

static void the_last_node_outlives_its_process(void **state)
{
    const char *path = unit_path(state, "crumb");
    struct crumb_node n;
    int64_t step = 0;
    int status;
    pid_t pid = fork();
    if (pid == 0)
        child(path);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(crumb_read(path, &n, &step), 1);
    assert_int_equal(step, 41);
    assert_string_equal(n.where, "layer.1.attn");
    assert_string_equal(n.kernel, "fa3");
    assert_string_equal(n.sha256, SUM_A);
}

static void nothing_is_running_nothing_is_said(void **state)
{
    const char *path = unit_path(state, "crumb");
    struct crumb_node n = {.op = "gemm", .kernel = "x"};
    struct crumb *c;
    int64_t step;
    struct err e;
    assert_int_equal(crumb_read(path, &n, &step), 0);
    assert_int_equal(crumb_create(path, 1, &c, &e), 0);
    crumb_describe(c, 0, &n);
    assert_int_equal(crumb_read(path, &n, &step), 0);
    crumb_enter(c, 0);
    assert_int_equal(crumb_read(path, &n, &step), 1);
    crumb_leave(c);
    assert_int_equal(crumb_read(path, &n, &step), 0);
    crumb_enter(c, 5); /* out of range: a damaged file */
    assert_int_equal(crumb_read(path, &n, &step), 0);
    crumb_destroy(c);
    assert_int_equal(fs_replace(path, "short", 5, &e), 0);
    assert_int_equal(crumb_read(path, &n, &step), 0);
    crumb_enter(NULL, 1);
    crumb_destroy(NULL);
}

#define TEST(NAME)                                                                     \
    cmocka_unit_test_setup_teardown(NAME, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(notes_are_kept_by_sum),
        TEST(a_whole_file_speaks_for_its_kernels),
        TEST(clearing),
        TEST(rubbish_is_no_note),
        TEST(the_last_node_outlives_its_process),
        TEST(nothing_is_running_nothing_is_said),
    };

    return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}

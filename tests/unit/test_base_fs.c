/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_fs.c - files are read and replaced whole, folders made and removed.
 */
#include "base/fs.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <signal.h>
#include <unistd.h>

#include "unit.h"

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = -2; /* . and .. */

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void assert_contents(const char *path, const char *text)
{
    struct buf b = {0};
    struct err e;

    assert_int_equal(fs_read(path, 0, &b, &e), 0);
    assert_string_equal(b.data, text);
    buf_free(&b);
}

static void replace_and_read(void **state)
{
    const char *path = unit_path(state, "file");
    struct stat st;
    struct err e;

    assert_int_equal(fs_replace(path, "one", 3, &e), 0);
    assert_contents(path, "one");
    assert_int_equal(fs_replace(path, "", 0, &e), 0);
    assert_contents(path, "");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(entries(*state), 1);
}

static void what_is_asked_for_is_as_umask_has_it(void **state)
{
    const char *path = unit_path(state, "file");
    mode_t mask = umask(027);
    struct stat st;
    struct err e;

    assert_int_equal(fs_publish(path, "one", 3, &e), 0);
    assert_int_equal(umask(mask), 027);
    assert_contents(path, "one");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(entries(*state), 1);
}

static void read_appends_and_obeys_its_limit(void **state)
{
    const char *path = unit_path(state, "big");
    struct buf b = {0};
    char *big = calloc(1, 300000);
    struct err e;

    memset(big, 'x', 300000);
    assert_int_equal(fs_replace(path, big, 300000, &e), 0);
    buf_puts(&b, "ab");
    assert_int_equal(fs_read(path, 299999, &b, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(b.len, 2);
    assert_string_equal(b.data, "ab");
    assert_int_equal(fs_read(path, 300000, &b, &e), 0);
    assert_int_equal(b.len, 300002);
    assert_memory_equal(b.data + 2, big, 300000);
    buf_free(&b);
    free(big);
}

static void missing_file_is_not_found(void **state)
{
    struct buf b = {0};
    struct err e;

    assert_int_equal(fs_read(unit_path(state, "none"), 0, &b, &e), ERR_NOTFOUND);
    assert_int_equal(fs_read(*state, 0, &b, &e), ERR_FAILED); /* a folder */
    assert_int_equal(fs_replace(unit_path(state, "no/file"), "", 0, &e), ERR_NOTFOUND);
    assert_int_equal(fs_sync_dir(unit_path(state, "none"), &e), ERR_NOTFOUND);
    assert_false(fs_exists(unit_path(state, "none")));
    assert_true(fs_exists(*state));
    buf_free(&b);
}

/* A write that fails half way leaves the old contents and nothing beside. */
static void failed_replace_changes_nothing(void **state)
{
    const char *path = unit_path(state, "kept");
    struct rlimit old, small;
    char *big = calloc(1, 100000);
    struct err e;

    assert_int_equal(fs_replace(path, "old", 3, &e), 0);
    int before = entries(*state);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    small = old;
    small.rlim_cur = 4096;
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = fs_replace(path, big, 100000, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, ERR_FAILED);
    assert_contents(path, "old");
    assert_int_equal(entries(*state), before);
    free(big);
}

static void mkdirs_makes_all(void **state)
{
    const char *deep = unit_path(state, "a/b//c/");
    struct stat st;
    struct err e;

    assert_int_equal(fs_mkdirs(deep, &e), 0);
    assert_int_equal(fs_mkdirs(deep, &e), 0);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(fs_replace(unit_path(state, "a/file"), "", 0, &e), 0);
    assert_int_equal(fs_mkdirs(unit_path(state, "a/file/x"), &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "a/file"));
}

static void remove_tree_follows_no_links(void **state)
{
    struct err e;

    assert_int_equal(fs_mkdirs(unit_path(state, "tree/sub/deep"), &e), 0);
    assert_int_equal(fs_mkdirs(unit_path(state, "other"), &e), 0);
    assert_int_equal(fs_replace(unit_path(state, "other/file"), "x", 1, &e), 0);
    assert_int_equal(fs_replace(unit_path(state, "tree/sub/file"), "x", 1, &e), 0);
    assert_int_equal(symlink("../other", unit_path(state, "tree/link")), 0);
    assert_int_equal(fs_remove_tree(unit_path(state, "tree"), &e), 0);
    assert_false(fs_exists(unit_path(state, "tree")));
    assert_true(fs_exists(unit_path(state, "other/file")));
    assert_int_equal(fs_remove_tree(unit_path(state, "tree"), &e), 0);
}

/* A branch that is deeper than there are descriptors stays; a folder that nobody may
 * change does not, which root could not tell. */
static void remove_all_goes_on(void **state)
{
    char path[64] = "rest/deep";
    struct rlimit old, few;
    bool root = geteuid() == 0;
    struct err e;

    for (int i = 0; i < 24; i++)
        strcat(path, "/d");
    if (root)
        assert_int_equal(chown(*state, 65534, 65534) | seteuid(65534), 0);
    assert_int_equal(fs_mkdirs(unit_path(state, path), &e), 0);
    for (int i = 0; i < 40; i++) {
        snprintf(path, sizeof path, "rest/some-%d/kept", i);
        assert_int_equal(fs_mkdirs(unit_path(state, path), &e), 0);
        assert_int_equal(chmod(unit_path(state, path), i % 2 ? 0500 : 0), 0);
        snprintf(path, sizeof path, "rest/some-%d", i);
        assert_int_equal(chmod(unit_path(state, path), i % 2 ? 0500 : 0), 0);
    }
    getrlimit(RLIMIT_NOFILE, &old);
    few = (struct rlimit){20, old.rlim_max};
    setrlimit(RLIMIT_NOFILE, &few);
    assert_int_equal(fs_remove_all(unit_path(state, "rest"), &e), ERR_FAILED);
    setrlimit(RLIMIT_NOFILE, &old);
    assert_int_equal(entries(unit_path(state, "rest")), 1);
    assert_int_equal(fs_remove_all(unit_path(state, "rest"), &e), 0);
    assert_false(fs_exists(unit_path(state, "rest")));
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void trim_takes_slashes_at_the_end(void **state)
{
    static const char *const cases[][2] = {{"a", "a"}, {"a/", "a"}, {"a/b//", "a/b"},
                                           {"/", "/"}, {"//", "/"}, {"", ""}};
    char out[8];
    struct err e;
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(fs_trim(cases[i][0], out, sizeof out, &e), 0);
        assert_string_equal(out, cases[i][1]);
    }
    assert_int_equal(fs_trim("1234567/", out, sizeof out, &e), 0);
    assert_int_equal(fs_trim("12345678", out, sizeof out, &e), ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replace_and_read),
        cmocka_unit_test(what_is_asked_for_is_as_umask_has_it),
        cmocka_unit_test(read_appends_and_obeys_its_limit),
        cmocka_unit_test(missing_file_is_not_found),
        cmocka_unit_test(failed_replace_changes_nothing),
        cmocka_unit_test(mkdirs_makes_all),
        cmocka_unit_test(trim_takes_slashes_at_the_end),
        cmocka_unit_test(remove_tree_follows_no_links),
        cmocka_unit_test(remove_all_goes_on),
    };

    return cmocka_run_group_tests_name("base/fs", tests, unit_dir_setup,
                                       unit_dir_teardown);
}

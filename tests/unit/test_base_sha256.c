/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_base_sha256.c - the published vectors, in pieces and from files.
 */
#include "base/sha256.h"

#include <string.h>
#include <sys/stat.h>

#include "unit.h"

/* FIPS 180-4 examples, from the NIST cryptographic toolkit. */
static const char abc[] =
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char empty[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char million_a[] =
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void vectors(void **state)
{
    char hex[SHA256_HEX];

    (void)state;
    sha256_bytes("abc", 3, hex);
    assert_string_equal(hex, abc);
    sha256_bytes("", 0, hex);
    assert_string_equal(hex, empty);
}

static void pieces_and_reuse(void **state)
{
    struct sha256 *s = sha256_create();
    char hex[SHA256_HEX];

    (void)state;
    for (int i = 0; i < 100000; i++)
        sha256_add(s, "aaaaaaaaaa", 10);
    sha256_hex(s, hex);
    assert_string_equal(hex, million_a);
    sha256_add(s, "abc", 3);
    sha256_hex(s, hex);
    assert_string_equal(hex, abc);
    sha256_destroy(s);
    sha256_destroy(NULL);
}

static void files(void **state)
{
    const char *path = unit_path(state, "million");
    char *bytes = malloc(1000000), hex[SHA256_HEX] = "kept";
    struct err e;

    memset(bytes, 'a', 1000000);
    assert_int_equal(fs_replace(path, bytes, 1000000, &e), 0);
    free(bytes);
    assert_int_equal(sha256_file(unit_path(state, "none"), hex, &e), ERR_NOTFOUND);
    assert_int_equal(sha256_file(*state, hex, &e), ERR_FAILED);
    assert_int_equal(mkfifo(unit_path(state, "pipe"), 0600), 0);
    assert_int_equal(sha256_file(unit_path(state, "pipe"), hex, &e), ERR_FAILED);
    assert_non_null(strstr(e.text, "pipe: not a regular file"));
    assert_string_equal(hex, "kept");
    assert_int_equal(sha256_file(path, hex, &e), 0);
    assert_string_equal(hex, million_a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),
        cmocka_unit_test(pieces_and_reuse),
        cmocka_unit_test(files),
    };

    return cmocka_run_group_tests_name("base/sha256", tests, unit_dir_setup,
                                       unit_dir_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_worker_tfevents.c - event files, byte by byte: sums that are published, and
 * records read back by rules of the format alone.
 */
#include "worker/tfevents.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/fs.h"
#include "unit.h"

/* RFC 3720, appendix B.4: 32 bytes of zeros, of ones, rising. */
static void sums_are_those_of_the_rfc(void **state)
{
    uint8_t bytes[32] = {0};

    (void)state;
    assert_int_equal(tfevents_crc("123456789", 9), 0xe3069283u);
    assert_int_equal(tfevents_crc(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(tfevents_crc(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(tfevents_crc(bytes, 32), 0x46dd794eu);
    assert_int_equal(tfevents_mask(0), 0xa282ead8u);
}

static uint64_t little(const uint8_t *p, int n)
{
    uint64_t v = 0;

    for (int i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

/* The next record's payload, its two sums checked. */
static const uint8_t *record(const struct buf *file, size_t *at, size_t *len)
{
    const uint8_t *p = (const uint8_t *)file->data + *at;

    assert_true(file->len - *at >= 16);
    *len = little(p, 8);
    assert_true(file->len - *at >= 16 + *len);
    assert_int_equal(little(p + 8, 4), tfevents_mask(tfevents_crc(p, 8)));
    assert_int_equal(little(p + 12 + *len, 4),
                     tfevents_mask(tfevents_crc(p + 12, *len)));
    *at += 16 + *len;
    return p + 12;
}

static void read_file(const char *dir, struct buf *out)
{
    char path[600] = "";
    DIR *d = opendir(dir);
    struct err e;

    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d));)
        if (strncmp(f->d_name, "events.out.tfevents.", 20) == 0)
            snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
    closedir(d);
    assert_int_equal(fs_read(path, 0, out, &e), 0);
}

static bool holds(const uint8_t *p, size_t len, const void *what, size_t n)
{
    return memmem(p, len, what, n) != NULL;
}

static void records_say_what_was_added(void **state)
{
    const struct tfevents_value values[] = {{"loss/train", 1.5f}, {"none", NAN}};
    const uint8_t one_and_a_half[] = {2 << 3 | 5, 0, 0, 0xc0, 0x3f};
    const uint8_t step_300[] = {2 << 3 | 0, 0xac, 0x02};
    struct tfevents *f;
    struct buf file = {0};
    struct err e = {0};
    size_t at = 0, len;
    const uint8_t *p;

    assert_int_equal(tfevents_open(*state, 300, &f, &e), 0);
    assert_int_equal(tfevents_add(f, 300, values, 2, &e), 0);
    assert_int_equal(tfevents_add(f, 301, values + 1, 1, &e), 0); /* nothing to say */
    tfevents_close(f);
    read_file(*state, &file);
    p = record(&file, &at, &len);
    assert_true(holds(p, len, "brain.Event:2", 13));
    p = record(&file, &at, &len); /* the start of an attempt that goes on */
    assert_true(holds(p, len, step_300, 3));
    assert_true(holds(p, len, "\x3a\x02\x08\x02", 4));
    p = record(&file, &at, &len);
    assert_true(holds(p, len, step_300, 3) && holds(p, len, "loss/train", 10));
    assert_true(holds(p, len, one_and_a_half, 5) && !holds(p, len, "none", 4));
    assert_int_equal(at, file.len);
    buf_free(&file);
}

/* The attempt before may have died before its first checkpoint. */
static void a_start_from_nothing_hides_as_well(void **state)
{
    const uint8_t step_1[] = {2 << 3 | 0, 1};
    struct tfevents *f;
    struct buf file = {0};
    struct err e = {0};
    size_t at = 0, len;
    const uint8_t *p;

    assert_int_equal(tfevents_open(*state, 1, &f, &e), 0);
    tfevents_close(f);
    read_file(*state, &file);
    record(&file, &at, &len);
    p = record(&file, &at, &len);
    assert_true(holds(p, len, step_1, 2) && holds(p, len, "\x3a\x02\x08\x02", 4));
    assert_int_equal(at, file.len);
    buf_free(&file);
}

static void a_file_in_the_way_is_an_error(void **state)
{
    struct tfevents *f;
    struct err e = {0};
    char path[400];

    snprintf(path, sizeof path, "%s/file", (char *)*state);
    assert_int_equal(fs_replace(path, "x", 1, &e), 0);
    assert_true(tfevents_open(path, 1, &f, &e) < 0);
    assert_non_null(strstr(e.text, path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_the_rfc),
        cmocka_unit_test_setup_teardown(records_say_what_was_added, unit_dir_setup,
                                        unit_dir_teardown),
        cmocka_unit_test_setup_teardown(a_start_from_nothing_hides_as_well,
                                        unit_dir_setup, unit_dir_teardown),
        cmocka_unit_test_setup_teardown(a_file_in_the_way_is_an_error, unit_dir_setup,
                                        unit_dir_teardown),
    };

    return cmocka_run_group_tests_name("worker/tfevents", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_format_safetensors.c - what is planned is what is read; what is damaged is
 * refused with a reason.
 */
#include "format/safetensors.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "unit.h"

static char path[160];

static int setup(void **state)
{
    int rc = unit_dir_setup(state);

    snprintf(path, sizeof path, "%s/x.safetensors", (char *)*state);
    return rc;
}

static void put_bytes(const void *data, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* A file of this header text and `data` zero bytes. */
static void put_file(const char *header, size_t data)
{
    uint64_t len = strlen(header);
    struct buf b = {0};

    buf_add(&b, &len, 8);
    buf_puts(&b, header);
    for (size_t i = 0; i < data; i++)
        buf_add(&b, "", 1);
    put_bytes(b.data, b.len);
    buf_free(&b);
}

/* ---- writing and reading back --------------------------------------------- */

static struct safetensors_plan *small_plan(void)
{
    struct safetensors_plan *p = safetensors_plan_create(path);
    struct err e;

    assert_int_equal(safetensors_plan_add(p, "half", NND_BF16, 1, (int64_t[]){3}, &e),
                     0);
    assert_int_equal(safetensors_plan_add(p, "w", NND_F32, 2, (int64_t[]){2, 3}, &e),
                     0);
    assert_int_equal(safetensors_plan_add(p, "step", NND_I64, 0, NULL, &e), 0);
    assert_int_equal(safetensors_plan_add(p, "none", NND_F32, 2, (int64_t[]){0, 5}, &e),
                     0);
    assert_int_equal(safetensors_plan_add(p, "flag", NND_U8, 1, (int64_t[]){1}, &e), 0);
    assert_int_equal(safetensors_plan_meta(p, "job", "7", &e), 0);
    assert_int_equal(safetensors_plan_seal(p, &e), 0);
    return p;
}

static void header_is_what_the_format_says(void **state)
{
    static const char want[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"job\":\"7\"},"
        "\"step\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
        "\"w\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
        "\"none\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[32,32]},"
        "\"half\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[32,38]},"
        "\"flag\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[38,39]}}";
    struct safetensors_plan *p = small_plan();
    size_t len;
    const char *header = safetensors_plan_header(p, &len);
    uint64_t n;

    (void)state;
    memcpy(&n, header, 8);
    assert_int_equal(n, len - 8);
    assert_int_equal(len % 8, 0);
    assert_memory_equal(header + 8, want, sizeof want - 1);
    for (size_t i = 8 + sizeof want - 1; i < len; i++)
        assert_int_equal(header[i], ' ');
    assert_int_equal(safetensors_plan_size(p), len + 39);
    assert_int_equal(safetensors_plan_count(p), 5);
    for (size_t i = 0; i < 5; i++) {
        const struct safetensors_tensor *t = safetensors_plan_at(p, i);
        assert_int_equal(t->offset % t->element_size, 0);
    }
    assert_int_equal(safetensors_plan_find(p, "w")->offset, len + 8);
    assert_null(safetensors_plan_find(p, "v"));
    safetensors_plan_destroy(p);
}

/* Two "processes", each with a plan of its own, write slices in any order. */
static void slices_meet_in_one_file(void **state)
{
    static const float w[] = {1, 2, 3, 4, 5, 6};
    static const uint16_t half[] = {7, 8, 9};
    struct safetensors_plan *one = small_plan(), *two = small_plan();
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    const struct safetensors_tensor *t;
    struct safetensors *s;
    int64_t step = 77, step_back;
    uint16_t half_back[3];
    float back[6];
    struct err e;

    (void)state;
    t = safetensors_plan_find(two, "w");
    assert_int_equal(safetensors_write(two, fd, t, 4, 6, w + 4, &e), 0);
    assert_int_equal(safetensors_write_header(one, fd, &e), 0);
    t = safetensors_plan_find(one, "w");
    assert_int_equal(safetensors_write(one, fd, t, 0, 4, w, &e), 0);
    t = safetensors_plan_find(one, "half");
    assert_int_equal(safetensors_write(one, fd, t, 0, 3, half, &e), 0);
    t = safetensors_plan_find(two, "step");
    assert_int_equal(safetensors_write(two, fd, t, 0, 1, &step, &e), 0);
    close(fd);

    assert_int_equal(safetensors_open(path, &s, &e), 0);
    assert_int_equal(safetensors_count(s), 5);
    assert_string_equal(safetensors_meta(s, "job"), "7");
    assert_string_equal(safetensors_meta(s, "format"), "pt");
    assert_null(safetensors_meta(s, "other"));
    assert_int_equal(safetensors_want(s, "w", NND_F32, 2, (int64_t[]){2, 3}, &t, &e),
                     0);
    assert_int_equal(safetensors_read(s, t, 0, 6, back, &e), 0);
    assert_memory_equal(back, w, sizeof w);
    assert_int_equal(safetensors_read(s, t, 2, 4, back, &e), 0);
    assert_memory_equal(back, w + 2, 8);
    assert_int_equal(safetensors_read(s, t, 6, 6, NULL, &e), 0);
    t = safetensors_find(s, "half");
    assert_int_equal(safetensors_read(s, t, 0, 3, half_back, &e), 0);
    assert_memory_equal(half_back, half, sizeof half);
    assert_int_equal(safetensors_want(s, "step", NND_I64, 0, NULL, &t, &e), 0);
    assert_int_equal(safetensors_read(s, t, 0, 1, &step_back, &e), 0);
    assert_int_equal(step_back, 77);
    safetensors_close(s);
    safetensors_plan_destroy(one);
    safetensors_plan_destroy(two);
}

static void header_shrinks_an_older_file(void **state)
{
    struct safetensors_plan *p = small_plan();
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    struct safetensors *s;
    struct err e;

    (void)state;
    assert_int_equal(ftruncate(fd, 100000), 0);
    assert_int_equal(safetensors_write_header(p, fd, &e), 0);
    close(fd);
    assert_int_equal(safetensors_open(path, &s, &e), 0);
    safetensors_close(s);
    safetensors_plan_destroy(p);
}

static void what_does_not_fit_is_refused(void **state)
{
    struct safetensors_plan *p = small_plan();
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    const struct safetensors_tensor *t;
    struct safetensors *s;
    char text[300];
    float x[6];
    struct err e;

    (void)state;
    assert_int_equal(safetensors_write_header(p, fd, &e), 0);
    t = safetensors_plan_find(p, "w");
    assert_int_equal(safetensors_write(p, fd, t, 0, 7, x, &e), ERR_SPEC);
    snprintf(text, sizeof text,
             "%s: tensor w: wanted a slice of its 6 elements, found [0, 7)", path);
    assert_string_equal(e.text, text);
    close(fd);
    assert_int_equal(safetensors_open(path, &s, &e), 0);
    assert_int_equal(safetensors_read(s, safetensors_find(s, "w"), 3, 2, x, &e),
                     ERR_SPEC);
    assert_int_equal(safetensors_want(s, "w", NND_F32, 2, (int64_t[]){3, 2}, &t, &e),
                     ERR_SPEC);
    snprintf(text, sizeof text, "%s: tensor w: wanted shape [3,2], found [2,3]", path);
    assert_string_equal(e.text, text);
    assert_int_equal(safetensors_want(s, "w", NND_BF16, 2, (int64_t[]){2, 3}, &t, &e),
                     ERR_SPEC);
    snprintf(text, sizeof text, "%s: tensor w: wanted type BF16, found F32", path);
    assert_string_equal(e.text, text);
    assert_int_equal(safetensors_want(s, "halv", 0, 1, (int64_t[]){3}, &t, &e),
                     ERR_NOTFOUND);
    snprintf(text, sizeof text, "%s: wanted tensor halv, found 5 others, nearest half",
             path);
    assert_string_equal(e.text, text);
    /* The file is cut after it was checked. */
    assert_int_equal(truncate(path, (off_t)safetensors_plan_size(p) - 20), 0);
    assert_int_equal(safetensors_read(s, safetensors_find(s, "w"), 0, 6, x, &e),
                     ERR_SPEC);
    assert_non_null(strstr(e.text, ": tensor w: wanted 13 more bytes at "));
    safetensors_close(s);
    safetensors_plan_destroy(p);
}

static void plans_refuse_what_files_cannot_hold(void **state)
{
    struct safetensors_plan *p = safetensors_plan_create("f");
    const int64_t big[] = {1 << 30, 1 << 30, 8}, negative[] = {2, -1};
    const int64_t seven[7] = {1, 1, 1, 1, 1, 1, 1}, half[] = {1 << 30, 1 << 30};
    struct err e;

    (void)state;
    assert_int_equal(safetensors_plan_add(p, "a", NND_F32, 1, half, &e), 0);
    assert_int_equal(safetensors_plan_add(p, "a", NND_F32, 1, half, &e), ERR_SPEC);
    assert_string_equal(e.text, "f: tensor a: wanted once, found twice");
    assert_int_equal(safetensors_plan_add(p, "", NND_F32, 1, half, &e), ERR_SPEC);
    assert_string_equal(e.text, "f: wanted a tensor's name, found \"\"");
    assert_int_equal(safetensors_plan_add(p, "__metadata__", NND_F32, 1, half, &e),
                     ERR_SPEC);
    assert_int_equal(safetensors_plan_add(p, "\xff", NND_F32, 1, half, &e), ERR_SPEC);
    assert_int_equal(safetensors_plan_add(p, "b", NND_TF32, 1, half, &e), ERR_SPEC);
    assert_string_equal(e.text,
                        "f: tensor b: wanted a type that files can hold, found 3");
    assert_int_equal(safetensors_plan_add(p, "b", NND_F32, 7, seven, &e), ERR_SPEC);
    assert_int_equal(safetensors_plan_add(p, "b", NND_F32, 2, negative, &e), ERR_SPEC);
    assert_string_equal(e.text,
                        "f: tensor b: wanted dimensions of 0 or more, found [2,-1]");
    assert_int_equal(safetensors_plan_add(p, "b", NND_I8, 3, big, &e), ERR_SPEC);
    assert_string_equal(e.text, "f: tensor b: wanted less than 2^63 bytes, found I8 "
                                "[1073741824,1073741824,8]");
    for (int i = 0; i < 2; i++) {
        char name[] = {(char)('x' + i), '\0'};
        assert_int_equal(safetensors_plan_add(p, name, NND_F32, 2, half, &e), 0);
    }
    assert_int_equal(safetensors_plan_seal(p, &e), ERR_SPEC);
    assert_string_equal(e.text, "f: tensor y: wanted less than 2^63 bytes in all");
    safetensors_plan_destroy(p);

    p = safetensors_plan_create("f");
    assert_int_equal(safetensors_plan_meta(p, "format", "np", &e), ERR_FAILED);
    assert_int_equal(safetensors_plan_seal(p, &e), 0);
    assert_int_equal(safetensors_plan_add(p, "a", NND_F32, 1, half, &e), ERR_FAILED);
    assert_int_equal(safetensors_plan_meta(p, "k", "v", &e), ERR_FAILED);
    safetensors_plan_destroy(p);
}

/* ---- damage --------------------------------------------------------------- */

#define A "{\"a\":{\"dtype\":\"F32\",\"shape\":"
#define ONE(name, shape, from, to)                                                     \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" from      \
    "," to "]}"

static const struct {
    const char *header;
    size_t data;
    const char *text; /* after "FILE: " */
} bad_headers[] = {
    {"", 0, "wanted a header that begins with {, found none"},
    {" {}", 0, "wanted a header that begins with {, found none"},
    {"[]", 0, "wanted a header that begins with {, found none"},
    {"{", 0,
     "header: wanted JSON, at byte 1: string or '}' expected near end of "
     "file"},
    {"{}x", 0, "header: wanted JSON, at byte 3: end of file expected near 'x'"},
    {"{}", 1, "wanted a file of 10 bytes by its header, found 11"},
    {"{\"a\":1}", 0, "tensor a: wanted dtype, shape and data_offsets, found 1"},
    {"{\"a\":{}}", 0, "tensor a: wanted dtype, shape and data_offsets, found {}"},
    {A "[1],\"data_offsets\":[0,4],\"x\":0}}", 4,
     "tensor a: wanted dtype, shape and data_offsets, found "
     "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":0}"},
    {"{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted a known \"dtype\", found \"F31\""},
    {"{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted a known \"dtype\", found 4"},
    {"{\"a\":{\"dtypo\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted a known \"dtype\", found nothing"},
    {A "1,\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted \"shape\" of at most 6 dimensions, found 1"},
    {A "[1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted \"shape\" of at most 6 dimensions, found [1,1,1,1,1,1,1]"},
    {A "[1.0],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted \"shape\" of whole numbers, found [1.0]"},
    {A "[-1],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted \"shape\" of whole numbers, found [-1]"},
    {A "[true],\"data_offsets\":[0,4]}}", 4,
     "tensor a: wanted \"shape\" of whole numbers, found [true]"},
    {A "[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     "tensor a: wanted less than 2^63 bytes, found F32 [4294967296,4294967296]"},
    {A "[2305843009213693952],\"data_offsets\":[0,0]}}", 0,
     "tensor a: wanted less than 2^63 bytes, found F32 [2305843009213693952]"},
    {A "[1],\"data_offsets\":[0]}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found [0]"},
    {A "[1],\"data_offsets\":[0,4,4]}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found [0,4,4]"},
    {A "[1],\"data_offsets\":{}}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found {}"},
    {A "[1],\"data_offsets\":[4,0]}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found [4,0]"},
    {A "[1],\"data_offsets\":[-4,0]}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found [-4,0]"},
    {A "[1],\"data_offsets\":[0,\"4\"]}}", 4,
     "tensor a: wanted \"data_offsets\" of two rising numbers, found [0,\"4\"]"},
    {A "[1],\"data_offsets\":[0,8]}}", 4,
     "tensor a: wanted an end within the 4 bytes of data, found 8"},
    {A "[1],\"data_offsets\":[0,9223372036854775807]}}", 4,
     "tensor a: wanted an end within the 4 bytes of data, found "
     "9223372036854775807"},
    {A "[1],\"data_offsets\":[0,8]}}", 8,
     "tensor a: wanted 4 bytes by type and shape, found 8 by offsets"},
    {A "[1],\"data_offsets\":[4,8]}}", 8,
     "tensor a: wanted its data to begin at 0, where the one before ends, found 4"},
    {A "[1],\"data_offsets\":[0,4]}}", 8,
     "wanted a file of 66 bytes by its header, found 70"},
    {"{" ONE("a", "[1]", "0", "4") "," ONE("b", "[1]", "0", "4") "}", 4,
     "tensor b: wanted its data to begin at 4, where the one before ends, found 0"},
    {"{" ONE("a", "[2]", "0", "8") "," ONE("b", "[2]", "4", "12") "}", 12,
     "tensor b: wanted its data to begin at 8, where the one before ends, found 4"},
    {"{" ONE("a", "[1]", "0", "4") "," ONE("b", "[1]", "8", "12") "}", 12,
     "tensor b: wanted its data to begin at 4, where the one before ends, found 8"},
    {"{\"__metadata__\":[]}", 0, "__metadata__: wanted an object, found none"},
    {"{\"__metadata__\":{\"k\":1}}", 0, "__metadata__: k: wanted a string, found none"},
};

static void damaged_headers_are_refused(void **state)
{
    char want[600];
    struct safetensors *s = NULL;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad_headers / sizeof bad_headers[0]; i++) {
        put_file(bad_headers[i].header, bad_headers[i].data);
        assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
        snprintf(want, sizeof want, "%s: %s", path, bad_headers[i].text);
        assert_string_equal(e.text, want);
        assert_null(s);
    }
    put_file("{" ONE("a", "[1]", "0", "4") "," ONE("a", "[1]", "4", "8") "}", 8);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    assert_non_null(strstr(e.text, "duplicate object key"));
    put_file("{\"a\\u0000b\":1}", 0);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    put_file("{\"a\xff\":1}", 0);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
}

static void damaged_files_are_refused(void **state)
{
    static const char huge[] = "\x00\x00\x00\x00\x00\x00\x00\x80{}";
    static const char cut[] = "\x03\x00\x00\x00\x00\x00\x00\x00{}";
    char want[300];
    struct safetensors *s = NULL;
    struct err e;

    (void)state;
    assert_int_equal(safetensors_open(path, &s, &e), ERR_NOTFOUND);
    put_bytes("abc", 3);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    snprintf(want, sizeof want, "%s: wanted a safetensors file, found 3 bytes", path);
    assert_string_equal(e.text, want);
    put_bytes(huge, 10);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    snprintf(want, sizeof want,
             "%s: wanted a header of at most 2 bytes, found 9223372036854775808", path);
    assert_string_equal(e.text, want);
    put_bytes(cut, 10);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    assert_int_equal(safetensors_open(*state, &s, &e), ERR_SPEC);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    assert_null(s);
}

static void odd_but_legal_files_are_read(void **state)
{
    struct safetensors *s;
    struct err e;

    (void)state;
    put_file("{}", 0);
    assert_int_equal(safetensors_open(path, &s, &e), 0);
    assert_int_equal(safetensors_count(s), 0);
    safetensors_close(s);
    /* Listed against the order of offsets; an empty tensor between; an odd type. */
    put_file("{" ONE("b", "[1]", "6", "10") ",\"z\":{\"dtype\":\"F64\",\"shape\":[0],"
                                            "\"data_offsets\":[6,6]},"
                                            "\"a\":{\"dtype\":\"U16\",\"shape\":[3],"
                                            "\"data_offsets\":[0,6]}}   ",
             10);
    assert_int_equal(safetensors_open(path, &s, &e), 0);
    assert_string_equal(safetensors_at(s, 0)->name, "a");
    assert_int_equal(safetensors_at(s, 0)->dtype, 0);
    assert_int_equal(safetensors_at(s, 0)->elements, 3);
    assert_string_equal(safetensors_at(s, 1)->name, "z");
    assert_string_equal(safetensors_at(s, 2)->name, "b");
    safetensors_close(s);
}

/* Whatever a byte of the header becomes, the file is read or refused; what is
 * accepted still covers the file. */
static void any_changed_byte_is_survived(void **state)
{
    struct safetensors_plan *p = small_plan();
    size_t len;
    const char *header = safetensors_plan_header(p, &len);
    uint64_t size = safetensors_plan_size(p);
    uint32_t random = 12345;
    unsigned refused = 0, tries = 0;
    char *file = calloc(1, size);

    (void)state;
    for (size_t i = 0; i < len; i++)
        for (int k = 0; k < 4; k++) {
            struct safetensors *s = NULL;
            struct err e = {.text = ""};

            memcpy(file, header, len);
            random = random * 1664525 + 1013904223;
            file[i] = k == 3 ? (char)(random >> 24) : (char)(file[i] ^ (1 << (k * 2)));
            put_bytes(file, size);
            tries++;
            if (safetensors_open(path, &s, &e) < 0) {
                refused++;
                assert_true(strlen(e.text) > strlen(path));
                assert_null(strchr(e.text, '\n'));
                continue;
            }
            uint64_t sum = 0;
            for (size_t t = 0; t < safetensors_count(s); t++)
                sum +=
                    safetensors_at(s, t)->elements * safetensors_at(s, t)->element_size;
            assert_int_equal(sum, 39);
            safetensors_close(s);
        }
    /* A changed letter of a name, or blank for blank, is another legal file. */
    assert_true(refused > tries / 2);
    free(file);
    safetensors_plan_destroy(p);
}

static void any_cut_is_refused(void **state)
{
    struct safetensors_plan *p = small_plan();
    uint64_t size = safetensors_plan_size(p);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    struct safetensors *s = NULL;
    struct err e;

    (void)state;
    assert_int_equal(safetensors_write_header(p, fd, &e), 0);
    close(fd);
    while (size-- > 0) {
        assert_int_equal(truncate(path, (off_t)size), 0);
        assert_int_equal(safetensors_open(path, &s, &e), ERR_SPEC);
    }
    assert_null(s);
    safetensors_plan_destroy(p);
}

/* ---- the format's own library ---------------------------------------------- */

static void python_reads_what_we_write(void **state)
{
    static const float w[] = {1, 2, 3, 4, 5, 6};
    struct safetensors_plan *p;
    char command[600];
    int fd;
    struct err e;

    (void)state;
    if (system("python3 -c 'import safetensors.numpy' 2>/dev/null") != 0) {
        print_message("# safetensors for Python is not installed\n");
        skip();
    }
    p = safetensors_plan_create(path);
    assert_int_equal(safetensors_plan_add(p, "u", NND_U8, 1, (int64_t[]){1}, &e), 0);
    assert_int_equal(safetensors_plan_add(p, "w", NND_F32, 2, (int64_t[]){2, 3}, &e),
                     0);
    assert_int_equal(safetensors_plan_seal(p, &e), 0);
    fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(safetensors_write_header(p, fd, &e), 0);
    assert_int_equal(
        safetensors_write(p, fd, safetensors_plan_find(p, "w"), 0, 6, w, &e), 0);
    close(fd);
    snprintf(command, sizeof command,
             "python3 -c 'import safetensors.numpy as s; t = s.load_file(\"%s\"); "
             "assert t[\"w\"].tolist() == [[1, 2, 3], [4, 5, 6]]; "
             "assert t[\"u\"].tolist() == [0]'",
             path);
    assert_int_equal(system(command), 0);
    safetensors_plan_destroy(p);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(header_is_what_the_format_says),      TEST(slices_meet_in_one_file),
        TEST(header_shrinks_an_older_file),        TEST(what_does_not_fit_is_refused),
        TEST(plans_refuse_what_files_cannot_hold), TEST(damaged_headers_are_refused),
        TEST(damaged_files_are_refused),           TEST(odd_but_legal_files_are_read),
        TEST(any_changed_byte_is_survived),        TEST(any_cut_is_refused),
        TEST(python_reads_what_we_write),
    };

    return cmocka_run_group_tests_name("format/safetensors", tests, NULL, NULL);
}

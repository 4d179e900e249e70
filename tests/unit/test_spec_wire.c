/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_wire.c - a job as bytes: the same job on the other side, and bytes
 * from somebody who means harm.
 */
#include <stdio.h>

#include "proto/spec.h"
#include "unit.h"

static const char text[] = "name: wire\n"
                           "data: {train: [/a, /b], tokenizer: char}\n"
                           "model: {moe: {experts: 8, dense_layers: [0, 3]}}\n"
                           "train: {lr: 3e-4, steps: 50}\n"
                           "parallel: {dp: 2, ep: 2}\n"
                           "kernels: {rule: [gemm=blis]}\n";

static int setup(void **state)
{
    static struct buf packed;
    struct spec *s = spec_create();
    struct err e;

    assert_int_equal(spec_load_text(s, "job.yaml", text, strlen(text), &e), 0);
    assert_int_equal(spec_resolve(s, &e), 0);
    assert_int_equal(spec_pack(s, &packed, &e), 0);
    spec_destroy(s);
    *state = &packed;
    return 0;
}

static int teardown(void **state)
{
    buf_free(*state);
    return 0;
}

/* Unpack an exact copy, so that a sanitizer sees a read beyond it. */
static int unpack(const void *data, size_t len, struct spec **out, struct err *e)
{
    void *copy = malloc(len ? len : 1);
    int rc;

    memcpy(copy, data, len);
    rc = spec_unpack(copy, len, out, e);
    free(copy);
    return rc;
}

static void expect_refused(const struct buf *b, const char *error)
{
    struct spec *s = NULL;
    struct err e = {0};

    assert_int_equal(unpack(b->data, b->len, &s, &e), ERR_SPEC);
    assert_string_equal(e.text, error);
    assert_null(s);
}

static void packing_again_gives_the_same_bytes(void **state)
{
    const struct buf *packed = *state;
    struct buf again = {0};
    struct spec *s;
    struct err e;

    assert_int_equal(unpack(packed->data, packed->len, &s, &e), 0);
    assert_string_equal(spec_job(s)->name, "wire");
    assert_string_equal(spec_origin(s, "train.lr"), "message");
    assert_string_equal(spec_origin(s, "model.head_dim"), "message");
    assert_int_equal(spec_pack(s, &again, &e), 0);
    assert_int_equal(again.len, packed->len);
    assert_memory_equal(again.data, packed->data, packed->len);
    buf_free(&again);
    spec_destroy(s);
}

/* A worker's -S adds to the lists of a job that came packed, however long they are. */
static void lists_go_on(void **state)
{
    static const char six[] = "data: {train: [/0, /1, /2, /3, /4, /5]}\n";
    struct spec *s = spec_create(), *back;
    struct buf packed = {0};
    struct err e;

    (void)state;
    assert_int_equal(spec_load_text(s, "job.yaml", six, strlen(six), &e), 0);
    assert_int_equal(spec_resolve(s, &e), 0);
    assert_int_equal(spec_pack(s, &packed, &e), 0);
    spec_destroy(s);
    assert_int_equal(unpack(packed.data, packed.len, &back, &e), 0);
    for (char path[] = "/6"; path[1] <= '9'; path[1]++)
        assert_int_equal(spec_add(back, "data.train", path, "-S", &e), 0);
    assert_int_equal(spec_add(back, "kernels.rule", "gemm=blis", "-S", &e), 0);
    assert_int_equal(spec_job(back)->data->n_train, 10);
    for (char path[] = "/0"; path[1] <= '9'; path[1]++)
        assert_string_equal(spec_job(back)->data->train[path[1] - '0'], path);
    assert_string_equal(spec_job(back)->kernels->rule[0], "gemm=blis");
    buf_free(&packed);
    spec_destroy(back);
}

/* A writer that leaves fields out gets this side's defaults. */
static void missing_fields_are_defaults(void **state)
{
    static char *train[] = {"/x"};
    Nnd__Data data = NND__DATA__INIT;
    Nnd__Job job = NND__JOB__INIT;
    uint8_t bytes[64];
    struct spec *s;
    struct err e;

    (void)state;
    data.train = train;
    data.n_train = 1;
    job.data = &data;
    assert_int_equal(unpack(bytes, nnd__job__pack(&job, bytes), &s, &e), 0);
    assert_string_equal(spec_job(s)->name, "job");
    assert_int_equal(spec_job(s)->model->head_dim, 32);
    assert_string_equal(spec_origin(s, "model.width"), "default");
    spec_destroy(s);
}

static void every_truncation_is_survived(void **state)
{
    const struct buf *packed = *state;

    for (size_t len = 0; len < packed->len; len++) {
        struct spec *s = NULL;
        struct err e = {0};

        if (unpack(packed->data, len, &s, &e))
            assert_true(strncmp(e.text, "message: ", 9) == 0 ||
                        strncmp(e.text, "job: ", 5) == 0);
        spec_destroy(s);
    }
}

/* What is accepted at all is a job that packs to the bytes it came from. */
static void every_flipped_bit_is_survived(void **state)
{
    const struct buf *packed = *state;
    char *bytes = malloc(packed->len);

    for (size_t bit = 0; bit < 8 * packed->len; bit++) {
        struct buf again = {0};
        struct spec *s = NULL;
        struct err e = {0};

        memcpy(bytes, packed->data, packed->len);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        if (unpack(bytes, packed->len, &s, &e) == 0)
            assert_int_equal(spec_pack(s, &again, &e), 0);
        else
            assert_int_equal(e.code, ERR_SPEC);
        buf_free(&again);
        spec_destroy(s);
    }
    free(bytes);
}

static void noise_is_survived(void **state)
{
    uint64_t x = 1;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[48];
        struct spec *s = NULL;
        struct err e;

        for (size_t k = 0; k < sizeof(bytes); k++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            bytes[k] = (uint8_t)(x >> 56);
        }
        unpack(bytes, x >> 32 & 31, &s, &e);
        spec_destroy(s);
    }
}

static void too_many_bytes_are_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i <= SPEC_PACKED_MAX; i++)
        buf_add(&b, "\n", 1);
    expect_refused(&b, "message: job: wanted at most 262144 bytes, found 262145");
    buf_free(&b);
}

/* Two bytes that ask for a message of hundreds: memory ends first. */
static void amplification_is_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    for (int i = 0; i < SPEC_PACKED_MAX / 2; i++)
        buf_add(&b, "\x1a\x00", 2); /* model: {} */
    expect_refused(
        &b, "message: job: wanted a packed job, found 262144 bytes that are none");
    buf_free(&b);
}

static void long_lists_are_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_add(&b, "\x22\xfe\xff\x01", 4); /* data: 32766 bytes */
    for (int i = 0; i < 32766 / 2; i++)
        buf_add(&b, "\x0a\x00", 2); /* train: "" */
    expect_refused(&b, "message: data.train: wanted at most 1024 values, found 16383");
    buf_free(&b);
}

/* Messages within messages: the schema is three deep and no deeper. */
static void deep_nesting_is_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    for (size_t len = 200000; len > 20; len -= 4) {
        uint8_t head[4] = {0x1a, (uint8_t)(len | 0x80), (uint8_t)(len >> 7 | 0x80),
                           (uint8_t)(len >> 14)};

        buf_add(&b, head, 4);
    }
    struct spec *s = NULL;
    struct err e;

    assert_int_equal(unpack(b.data, b.len, &s, &e), ERR_SPEC);
    assert_null(s);
    buf_free(&b);
}

static void unknown_fields_are_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_add(&b, "\x1a\x06\xa2\x01\x03\xf8\x06\x01", 8); /* model: {moe: {111: 1}} */
    expect_refused(
        &b, "message: moe: wanted fields of this version, found field number 111");
    buf_free(&b);
}

static void repeated_single_field_is_refused(void **state)
{
    const struct buf *packed = *state;
    struct buf b = {0};
    char wanted[160];

    buf_add(&b, packed->data, packed->len);
    buf_add(&b, "\x10\x01", 2); /* seed, again */
    snprintf(
        wanted, sizeof wanted,
        "message: job: wanted each value once and texts without NUL, in %zu bytes, "
        "found %zu",
        packed->len, packed->len + 2);
    expect_refused(&b, wanted);
    buf_free(&b);
}

static void nul_in_a_text_is_refused(void **state)
{
    struct buf b = {0};

    (void)state;
    buf_add(&b, "\x0a\x03x\0y", 5);
    expect_refused(&b, "message: job: wanted each value once and texts without NUL, "
                       "in 3 bytes, found 5");
    buf_free(&b);
}

/* Values that no file could carry here. */
static void set_layers(Nnd__Job *j)
{
    j->model->layers = 0;
}

static void set_norm(Nnd__Job *j)
{
    j->model->norm = 77;
}

static void set_lr(Nnd__Job *j)
{
    j->train->lr = -0.0 / 0.0;
}

static void set_clip(Nnd__Job *j)
{
    j->train->clip = 1e300 * 1e300;
}

static void set_name(Nnd__Job *j)
{
    strcpy(j->name, "a\x1b[m");
}

static void set_device(Nnd__Job *j)
{
    strcpy(j->kernels->device, "\xff\xfe");
}

static void set_train(Nnd__Job *j)
{
    strcpy(j->data->train[0], "a");
}

static void set_heads(Nnd__Job *j)
{
    j->model->heads = 0;
}

static void set_top_k(Nnd__Job *j)
{
    j->model->moe->top_k = 9;
}

static void set_chunks(Nnd__Job *j)
{
    j->train->chunks = 12;
}

static void set_fit(Nnd__Job *j)
{
    j->train->batch = 0;
}

static void set_ep(Nnd__Job *j)
{
    j->parallel->ep = 0;
}

static void set_zero(Nnd__Job *j)
{
    j->parallel->zero = 3;
}

struct lie {
    void (*tell)(Nnd__Job *j);
    const char *error;
};

static const struct lie lies[] = {
    {set_layers,
     "message: model.layers: wanted a whole number from 1 to 1024, found 0"},
    {set_norm, "message: model.norm: wanted one of rms, layer, found 77"},
    {set_lr, "message: train.lr: wanted a number from 0 to 1000, found nan"},
    {set_clip, "message: train.clip: wanted a number from 0 to 1000000000, found inf"},
    {set_name, "message: name: wanted UTF-8 text without control characters, found "
               "\"a\\x1b[m\""},
    {set_device, "message: kernels.device: wanted UTF-8 text without control "
                 "characters, found \"\\xff\\xfe\""},
    {set_train, "message: data.train: wanted an absolute path, found \"a\""},
    {set_heads, "message: model.heads: wanted a whole number from 1 to 1024, found 0"},
    {set_top_k, "message: model.moe.top_k: wanted at most model.moe.experts (8), "
                "found 9"},
    {set_chunks, "message: train.chunks: wanted a power of two, found 12"},
    {set_fit,
     "message: train.batch: wanted a number, found fit, which nnctl works out"},
    {set_ep, "message: parallel.ep: wanted a whole number from 1 to 4096, found 0"},
    {set_zero, "message: parallel.zero: not available yet, wanted 1, found 3"},
};

static void lies_are_found_out(void **state)
{
    const struct buf *packed = *state;

    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        Nnd__Job *j =
            nnd__job__unpack(NULL, packed->len, (const uint8_t *)packed->data);
        struct buf b = {0};

        assert_non_null(j);
        lies[i].tell(j);
        buf_reserve(&b, nnd__job__get_packed_size(j));
        b.len = nnd__job__pack(j, (uint8_t *)b.data);
        nnd__job__free_unpacked(j, NULL);
        expect_refused(&b, lies[i].error);
        buf_free(&b);
    }
}

static void a_job_too_large_to_pack_is_refused(void **state)
{
    struct spec *s = spec_create();
    struct buf out = {0};
    char path[4000];
    struct err e;

    (void)state;
    memset(path, 'p', sizeof(path) - 1);
    path[0] = '/';
    path[sizeof(path) - 1] = '\0';
    for (int i = 0; i < 70; i++)
        assert_int_equal(spec_add(s, "data.train", path, "-S", &e), 0);
    assert_int_equal(spec_resolve(s, &e), 0);
    assert_int_equal(spec_pack(s, &out, &e), ERR_SPEC);
    assert_non_null(strstr(e.text, "wanted at most 262144 bytes packed"));
    assert_int_equal(out.len, 0);
    spec_destroy(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packing_again_gives_the_same_bytes),
        cmocka_unit_test(lists_go_on),
        cmocka_unit_test(missing_fields_are_defaults),
        cmocka_unit_test(every_truncation_is_survived),
        cmocka_unit_test(every_flipped_bit_is_survived),
        cmocka_unit_test(noise_is_survived),
        cmocka_unit_test(too_many_bytes_are_refused),
        cmocka_unit_test(amplification_is_refused),
        cmocka_unit_test(long_lists_are_refused),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(unknown_fields_are_refused),
        cmocka_unit_test(repeated_single_field_is_refused),
        cmocka_unit_test(nul_in_a_text_is_refused),
        cmocka_unit_test(lies_are_found_out),
        cmocka_unit_test(a_job_too_large_to_pack_is_refused),
    };

    return cmocka_run_group_tests_name("proto/spec: bytes", tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_train_manifest.c - what is printed is what is parsed; a byte that changed,
 * anywhere, is seen; a text that never was a manifest is refused with a reason.
 */
#include "train/manifest.h"

#include <stdbool.h>

#include "unit.h"

static struct manifest_file files[] = {
    {.name = "model.safetensors", .size = 1000, .head = 200},
    {.name = "tokenizer.json", .size = 7, .head = 7},
};

static struct manifest_tensor tensors[] = {
    {.name = "embed.weight",
     .file = "model.safetensors",
     .type = "F32",
     .ndim = 2,
     .dim = {5, 10}},
    {.name = "quo\"ted\n", .file = "model.safetensors", .type = "F32"},
};

static struct manifest sample(void)
{
    for (int i = 0; i < 2; i++) {
        sha256_bytes(&i, sizeof i, files[i].sha256);
        sha256_bytes(&i, 1, tensors[i].sha256);
    }
    return (struct manifest){
        .state = {.step = 120, .applied = 118, .loss_scale = 0.1, .clean = 3},
        .nparams = 51,
        .seed = "7",
        .job = "{\"train\":{\"lr\":0.00029999999999999997}}",
        .file = files,
        .nfile = 2,
        .tensor = tensors,
        .ntensor = 2,
    };
}

static int parse(const struct buf *text, struct manifest *out, struct err *e)
{
    static struct arena *a;

    arena_destroy(a);
    a = out ? arena_create() : NULL;
    return out ? manifest_parse("m.json", text->data, text->len, a, out, e) : 0;
}

static void what_is_printed_is_parsed(void **state)
{
    struct manifest m = sample(), back;
    struct buf text = {0}, again = {0};
    struct err e;

    (void)state;
    manifest_print(&m, &text);
    assert_int_equal(parse(&text, &back, &e), 0);
    assert_memory_equal(&m.state, &back.state, sizeof m.state);
    assert_int_equal(back.ntensor, 2);
    assert_string_equal(back.tensor[1].name, tensors[1].name);
    assert_int_equal(back.tensor[0].dim[1], 10);
    assert_string_equal(back.job, m.job);
    manifest_print(&back, &again);
    assert_string_equal(text.data, again.data);
    buf_free(&text);
    buf_free(&again);
    parse(NULL, NULL, NULL);
}

static void every_byte_counts(void **state)
{
    struct manifest m = sample(), back;
    struct buf text = {0};
    struct err e;

    (void)state;
    manifest_print(&m, &text);
    for (size_t i = 0; i < text.len; i++) {
        text.data[i] ^= 1;
        assert_int_equal(parse(&text, &back, &e), ERR_SPEC);
        assert_non_null(strstr(e.text, "m.json: wanted"));
        text.data[i] ^= 1;
    }
    for (; text.len > 0; text.len--) {
        struct buf cut = {.data = text.data, .len = text.len - 1};

        assert_int_equal(parse(&cut, &back, &e), ERR_SPEC);
    }
    buf_free(&text);
    parse(NULL, NULL, NULL);
}

/* A text under a right hash, whoever made it. */
static struct buf sealed(const char *body)
{
    struct buf b = {0};
    char hex[SHA256_HEX];

    buf_puts(&b, body);
    sha256_bytes(b.data, b.len, hex);
    buf_printf(&b, "\"sha256\": \"%s\"\n}\n", hex);
    return b;
}

#define STATE "\"step\":1,\"applied\":1,\"loss_scale\":1,\"clean\":0,"
#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TOP   "{\"v\":1," STATE "\"nparams\":1,\"seed\":1,\"job\":{},"

static void what_is_no_manifest_is_refused(void **state)
{
    static const struct {
        const char *body, *why;
    } bad[] = {
        {"{", "m.json: v: wanted version 1, found nothing"},
        {"{\"v\":2,", "m.json: v: wanted version 1, found 2"},
        {"{\"v\":1,\"v\":1,", "wanted JSON"},
        {"[1,", "wanted JSON"},
        {"{\"v\":1,\"step\":-1,", "m.json: step: wanted a whole number, found -1"},
        {"{\"v\":1,\"step\":1,\"applied\":1,\"clean\":0,\"loss_scale\":0,",
         "loss_scale: wanted a positive number, found 0"},
        {"{\"v\":1," STATE, "nparams: wanted a whole number, found nothing"},
        {"{\"v\":1," STATE "\"nparams\":1,\"seed\":1,\"job\":[],",
         "job: wanted an object, found []"},
        {TOP "\"files\":{\"f\":7},", "f: size: wanted a whole number, found nothing"},
        {TOP "\"files\":{\"f\":{\"size\":1,\"head\":2,\"sha256\":\"" HEX64 "\"}},",
         "f: head: wanted at most its size, found 2"},
        {TOP "\"files\":{\"f\":{\"size\":1,\"head\":1,\"sha256\":\"zz\"}},",
         "f: sha256: wanted 64 hexadecimal digits, found \"zz\""},
        {TOP "\"files\":{},\"tensors\":[],", "tensors: wanted an object, found []"},
        {TOP "\"files\":{},\"tensors\":{\"t\":{\"file\":1}},",
         "t: file: wanted a text, found 1"},
        {TOP "\"files\":{},\"tensors\":{\"t\":{\"file\":\"f\",\"dtype\":\"F32\","
             "\"shape\":[1,1,1,1,1,1,1]}},",
         "t: shape: wanted a list of dimensions, found [1,1,1,1,1,1,1]"},
        {TOP "\"files\":{},\"tensors\":{\"t\":{\"file\":\"f\",\"dtype\":\"F32\","
             "\"shape\":[-4]}},",
         "t: shape: wanted whole numbers, found [-4]"},
    };
    struct manifest m;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct buf b = sealed(bad[i].body);

        assert_int_equal(parse(&b, &m, &e), ERR_SPEC);
        if (!strstr(e.text, bad[i].why))
            fail_msg("wanted \"%s\" in: %s", bad[i].why, e.text);
        buf_free(&b);
    }
    parse(NULL, NULL, NULL);
}

static void a_job_loses_its_layout(void **state)
{
    struct arena *a = arena_create();
    const char *seed, *job;
    struct err e;

    (void)state;
    assert_int_equal(manifest_job("{\"seed\": 9, \"parallel\": {\"dp\": 4},"
                                  " \"train\": {\"lr\": 0.5}}",
                                  a, &seed, &job, &e),
                     0);
    assert_string_equal(seed, "9");
    assert_string_equal(job, "{\"seed\":9,\"train\":{\"lr\":0.5}}");
    assert_int_equal(manifest_job("{}", a, &seed, &job, &e), ERR_SPEC);
    assert_string_equal(e.text, "job: seed: wanted a whole number, found nothing");
    assert_int_equal(manifest_job("[1]", a, &seed, &job, &e), ERR_SPEC);
    assert_int_equal(manifest_job("{", a, &seed, &job, &e), ERR_SPEC);
    arena_destroy(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_printed_is_parsed),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(what_is_no_manifest_is_refused),
        cmocka_unit_test(a_job_loses_its_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

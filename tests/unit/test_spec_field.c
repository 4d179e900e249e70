/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_spec_field.c - values by descriptor: text to value and back, lists that
 * grow, quoting that no terminal obeys.
 */
#include <stdio.h>

#include "proto/field.h"
#include "proto/job.pb-c.h"
#include "unit.h"

static void expect_double(double x, const char *text)
{
    struct buf b = {0};

    field_print_double(x, &b);
    assert_string_equal(b.data, text);
    assert_true(strtod(b.data, NULL) == x);
    buf_free(&b);
}

static void doubles_are_short_and_exact(void **state)
{
    (void)state;
    expect_double(0, "0");
    expect_double(0.1, "0.1");
    expect_double(1e-5, "1e-5");
    expect_double(3e-4, "0.0003");
    expect_double(1e-300, "1e-300");
    expect_double(1e300, "1e300");
    expect_double(65536, "65536");
    expect_double(1e9, "1000000000");
    expect_double(-2.5, "-2.5");
    expect_double(9007199254740991.0, "9007199254740991");
    expect_double(0.1 + 0.2, "0.30000000000000004");
}

static void expect_quote(const char *text, const char *quoted)
{
    struct buf b = {0};

    field_quote(text, &b);
    assert_string_equal(b.data, quoted);
    buf_free(&b);
}

static void quotes_show_no_control_characters(void **state)
{
    (void)state;
    expect_quote("", "\"\"");
    expect_quote("plain", "\"plain\"");
    expect_quote("\x1b[31mred", "\"\\x1b[31mred\"");
    expect_quote("gr\xc3\xbcn", "\"gr\xc3\xbcn\"");
    expect_quote("bad\xff", "\"bad\\xff\"");
    expect_quote("c1\xc2\x9b", "\"c1\\xc2\\x9b\"");
}

static void quotes_are_cut_between_characters(void **state)
{
    struct buf b = {0};
    char text[200];

    (void)state;
    memset(text, 'a', 59);
    strcpy(text + 59, "\xc3\xbc and more");
    field_quote(text, &b);
    text[59] = '\0';
    assert_memory_equal(b.data + 1, text, 59);
    assert_string_equal(b.data + 60, "...\"");
    buf_free(&b);
}

static void clean_text_is_utf8_without_controls(void **state)
{
    (void)state;
    assert_true(field_is_clean(""));
    assert_true(field_is_clean("a b \xc3\xbc \xe2\x82\xac"));
    assert_false(field_is_clean("a\nb"));
    assert_false(field_is_clean("\x7f"));
    assert_false(field_is_clean("\xc2\x85"));
    assert_false(field_is_clean("\xff"));
}

static void lists_grow_and_keep_their_values(void **state)
{
    struct arena *a = arena_create();
    Nnd__Moe moe = NND__MOE__INIT;
    const ProtobufCFieldDescriptor *d = protobuf_c_message_descriptor_get_field_by_name(
        &nnd__moe__descriptor, "dense_layers");

    (void)state;
    for (uint32_t i = 0; i < 100; i++)
        *(uint32_t *)field_add(&moe.base, d, a) = i * i;
    assert_int_equal(moe.n_dense_layers, 100);
    assert_int_equal(field_count(&moe.base, d), 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(moe.dense_layers[i], i * i);
    field_clear(&moe.base, d);
    assert_int_equal(moe.n_dense_layers, 0);
    arena_destroy(a);
}

/* The text of a default is shared; a text set to the same words is present. */
static void default_text_is_absent_until_set(void **state)
{
    struct arena *a = arena_create();
    Nnd__Job job = NND__JOB__INIT;
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    (void)state;
    assert_true(field_find(&job.base, "name", a, &m, &d));
    assert_int_equal(field_count(m, d), 0);
    field_set_default(m, d, a);
    assert_int_equal(field_count(m, d), 1);
    assert_string_equal(job.name, "job");
    field_clear(m, d);
    assert_int_equal(field_count(m, d), 0);
    assert_string_equal(job.name, "job");
    arena_destroy(a);
}

static void paths_lead_to_fields_only(void **state)
{
    struct arena *a = arena_create();
    Nnd__Job job = NND__JOB__INIT;
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    (void)state;
    assert_true(field_find(&job.base, "model.moe.experts", a, &m, &d));
    assert_ptr_equal(m, &job.model->moe->base);
    assert_false(field_find(&job.base, "model.moe.", a, &m, &d));
    assert_false(field_find(&job.base, "model..experts", a, &m, &d));
    assert_false(field_find(&job.base, "name.length", a, &m, &d));
    assert_false(field_find(&job.base, "", a, &m, &d));
    arena_destroy(a);
}

static bool parses(const char *path, const char *text, union field_any *value)
{
    static Nnd__Job job = NND__JOB__INIT;
    struct arena *a = arena_create();
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;
    bool ok;

    nnd__job__init(&job);
    assert_true(field_find(&job.base, path, a, &m, &d));
    ok = field_parse(d, text, a, value);
    arena_destroy(a);
    return ok;
}

static void booleans_have_six_spellings(void **state)
{
    static const char *const truths[] = {"true", "yes", "on", "True", "YES"};
    static const char *const lies[] = {"false", "no", "off", "False", "NO"};
    union field_any v;

    (void)state;
    for (size_t i = 0; i < 5; i++) {
        assert_true(parses("model.bias", truths[i], &v));
        assert_int_equal(v.truth, 1);
        assert_true(parses("model.bias", lies[i], &v));
        assert_int_equal(v.truth, 0);
    }
    assert_false(parses("model.bias", "1", &v));
    assert_false(parses("model.bias", "y", &v));
}

static void whole_numbers_are_whole(void **state)
{
    union field_any v;

    (void)state;
    assert_true(parses("train.steps", "4294967295", &v));
    assert_int_equal(v.uint32, UINT32_MAX);
    assert_false(parses("train.steps", "4294967296", &v));
    assert_false(parses("train.steps", "-1", &v));
    assert_false(parses("train.steps", "1.0", &v));
    assert_false(parses("train.steps", "1 ", &v));
    assert_true(parses("seed", "18446744073709551615", &v));
    assert_true(v.uint64 == UINT64_MAX);
    assert_false(parses("seed", "18446744073709551616", &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_are_short_and_exact),
        cmocka_unit_test(quotes_show_no_control_characters),
        cmocka_unit_test(quotes_are_cut_between_characters),
        cmocka_unit_test(clean_text_is_utf8_without_controls),
        cmocka_unit_test(lists_grow_and_keep_their_values),
        cmocka_unit_test(default_text_is_absent_until_set),
        cmocka_unit_test(paths_lead_to_fields_only),
        cmocka_unit_test(booleans_have_six_spellings),
        cmocka_unit_test(whole_numbers_are_whole),
    };

    return cmocka_run_group_tests_name("proto/field", tests, NULL, NULL);
}

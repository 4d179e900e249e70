/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_nfc.c - texts in NFC: what joins, what falls apart, and where a text may be
 * cut first.
 */
#include "data/nfc.h"

#include "data/utf8.h"
#include "unit.h"

static void must_be(const char *text, const char *nfc)
{
    struct buf out = {0};

    buf_puts(&out, "<");
    nfc_add(text, strlen(text), &out);
    assert_string_equal(out.data + 1, nfc);
    buf_free(&out);
}

static void characters_are_written_in_one_way(void **state)
{
    (void)state;
    must_be("", "");
    must_be("plain, na\u00efve \u0250\u02ff", "plain, na\u00efve \u0250\u02ff");
    must_be("e\u0301 E\u0300 A\u030a", "\u00e9 \u00c8 \u00c5");
    must_be("o\u0323\u0302 o\u0302\u0323", "\u1ed9 \u1ed9"); /* order */
    must_be("\u1112\u1161\u11ab \ud55c \u1100\u1161",
            "\ud55c \ud55c \uac00"); /* jamo */
    must_be("\u212b \u2126 \u1fef \u2000 \uf900", "\u00c5 \u03a9 ` \u2002 \u8c48");
    must_be("\u0958 \u2adc", "\u0915\u093c \u2add\u0338"); /* they are not composed */
    must_be("x\u0351\u036b \u09c7\u09be", "x\u0351\u036b \u09cb");
    must_be("\ufb01 \u00bd \uff21",
            "\ufb01 \u00bd \uff21"); /* nor are they compatible */
    must_be("a\xff\u0301", "a\xff\u0301");
}

static void a_text_grows_no_more_than_is_said(void **state)
{
    struct buf out = {0};
    char bytes[4];

    (void)state;
    for (uint32_t point = 1; point < UTF8_POINTS; point++) {
        size_t n = utf8_put(point, bytes);

        if (point >= 0xd800 && point < 0xe000)
            continue;
        buf_clear(&out);
        nfc_add(bytes, n, &out);
        assert_in_range(out.len, 1, NFC_GROWTH * n);
    }
    buf_free(&out);
}

/* Whatever stands before, and whatever follows. */
static void what_begins_anew_is_apart(void **state)
{
    static const char *const before[] = {"e", "\u0915\u0323", "\u1100", "\uac00", "="};
    static const char *const behind[] = {"", "\u0338\u0301", "\u1161"};
    struct buf text = {0}, whole = {0}, parts = {0};
    char bytes[4];

    (void)state;
    assert_false(nfc_begins(0x301) || nfc_begins(0x1161) || nfc_begins(0x9be));
    assert_true(nfc_begins(' ') && nfc_begins(0xe9) && nfc_begins(0x3002));
    for (uint32_t point = 1; point < UTF8_POINTS; point++)
        for (size_t i = 0; i < 15 && nfc_begins(point); i++) {
            const char *b = before[i % 5];

            buf_clear(&text);
            buf_clear(&whole);
            buf_clear(&parts);
            buf_puts(&text, b);
            buf_add(&text, bytes, utf8_put(point, bytes));
            buf_puts(&text, behind[i / 5]);
            nfc_add(text.data, text.len, &whole);
            nfc_add(b, strlen(b), &parts);
            nfc_add(text.data + strlen(b), text.len - strlen(b), &parts);
            assert_int_equal(whole.len, parts.len);
            assert_memory_equal(whole.data, parts.data, whole.len);
        }
    buf_free(&text);
    buf_free(&whole);
    buf_free(&parts);
}

/* Taken in stretches, it is the text of its parts. */
static void a_long_text_is_that_of_its_parts(void **state)
{
    static const char part[] = "e\u0301e\u0301e\u0301 \u1100\u1161=\u0338";
    struct buf text = {0}, out = {0}, one = {0};
    enum { PARTS = 20000 };

    (void)state;
    for (int i = 0; i < PARTS; i++)
        buf_puts(&text, part);
    nfc_add(text.data, text.len, &out);
    nfc_add(part, strlen(part), &one);
    assert_string_equal(one.data, "\u00e9\u00e9\u00e9 \uac00\u2260");
    assert_int_equal(out.len, PARTS * one.len);
    for (int i = 0; i < PARTS; i++)
        assert_memory_equal(out.data + (size_t)i * one.len, one.data, one.len);
    buf_free(&text);
    buf_free(&out);
    buf_free(&one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters_are_written_in_one_way),
        cmocka_unit_test(a_text_grows_no_more_than_is_said),
        cmocka_unit_test(what_begins_anew_is_apart),
        cmocka_unit_test(a_long_text_is_that_of_its_parts),
    };

    return cmocka_run_group_tests_name("nfc", tests, NULL, NULL);
}

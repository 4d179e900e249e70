/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_tokenizer.c - text to ids and back, and what is refused.
 */
#include "data/tokenizer.h"

#include <stdio.h>

#include "data/utf8.h"
#include "unit.h"

static struct tokenizer *make(const char *kind, const char *text)
{
    struct tokenizer *t;
    struct err e;

    assert_int_equal(tokenizer_create(&(struct tokenizer_config){.kind = kind}, &t, &e),
                     0);
    assert_int_equal(tokenizer_learn(t, text, strlen(text), &e), 0);
    assert_int_equal(tokenizer_seal(t, &e), 0);
    return t;
}

/* The ids of text as "1 2 3". */
static const char *ids_of(const struct tokenizer *t, const char *text)
{
    static char out[200];
    struct tokens ids;
    struct err e;
    size_t len = 0;

    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, &e), 0);
    out[0] = '\0';
    for (uint64_t i = 0; i < ids.count; i++)
        len += (size_t)snprintf(out + len, sizeof out - len, "%s%u", i ? " " : "",
                                tokens_get(&ids, i));
    tokens_free(&ids);
    return out;
}

static void round_trip(const struct tokenizer *t, const char *text)
{
    struct tokens ids;
    struct buf back = {0};
    struct err e;

    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, &e), 0);
    for (uint64_t i = 0; i < ids.count; i++) {
        uint32_t id = tokens_get(&ids, i);
        assert_int_equal(tokenizer_decode(t, &id, 1, &back, &e), 0);
    }
    assert_string_equal(back.data, text);
    buf_free(&back);
    tokens_free(&ids);
}

static void bytes_are_their_own_ids(void **state)
{
    struct tokenizer *t = make("byte", "");

    (void)state;
    assert_int_equal(tokenizer_vocab(t), 256);
    assert_false(tokenizer_learns(t));
    assert_string_equal(ids_of(t, "a\xc3\xa9\n"), "97 195 169 10");
    round_trip(t, "na\xc3\xafve \xe2\x82\xac \xf0\x9f\x8c\x8d\n");
    tokenizer_destroy(t);
}

static void chars_are_sorted_code_points(void **state)
{
    struct tokenizer *t = make("char", "b\xe2\x82\xac"
                                       "a\n\xc3\xa9"
                                       "ab");

    (void)state;
    assert_int_equal(tokenizer_vocab(t), 5);
    assert_true(tokenizer_learns(t));
    assert_string_equal(ids_of(t, "\nab\xc3\xa9\xe2\x82\xac"), "0 1 2 3 4");
    round_trip(t, "\xe2\x82\xac\xc3\xa9"
                  "ba\n");
    tokenizer_destroy(t);
}

static void unknown_char_is_named(void **state)
{
    struct tokenizer *t = make("char", "ab\xc3\xa9");
    struct tokens ids;
    struct err e;

    (void)state;
    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(tokenizer_encode(t, "a", 1, &ids, &e), 0);
    assert_int_equal(tokenizer_encode(t,
                                      "\xc3\xa9"
                                      "a\xe2\x82\xac",
                                      6, &ids, &e),
                     ERR_SPEC);
    assert_string_equal(e.text,
                        "character 3, U+20AC \"\xe2\x82\xac\", is not among the 3 "
                        "of the tokenizer's training text");
    assert_int_equal(tokenizer_encode(t, "\n", 1, &ids, &e), ERR_SPEC);
    assert_string_equal(e.text, "character 1, U+000A \"\", is not among the 3 of the "
                                "tokenizer's training text");
    assert_int_equal(tokenizer_encode(t, "ab\xff", 3, &ids, &e), ERR_SPEC);
    assert_string_equal(e.text, "byte 3: wanted UTF-8, found 0xff");
    assert_int_equal(ids.count, 1);
    tokens_free(&ids);
    tokenizer_destroy(t);
}

/* Of words nothing is dropped. */
static void what_is_no_text_has_no_ids(void **state)
{
    static const char *const kinds[] = {"char", "word", "byte"};
    struct tokens ids;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct tokenizer *t = make(kinds[i], "caf au lait");
        int want = i < 2 ? ERR_SPEC : 0;

        tokens_init(&ids, tokenizer_vocab(t));
        assert_int_equal(tokenizer_encode(t, "caf\xe9 au", 7, &ids, &e), want);
        assert_int_equal(ids.count, want ? 0 : 7);
        tokens_free(&ids);
        tokenizer_destroy(t);
    }
    assert_string_equal(e.text, "byte 4: wanted UTF-8, found 0xe9");
}

static void a_word_with_a_nul_is_unknown(void **state)
{
    static const char text[] = "au\0lait au";
    struct tokenizer *t = make("word", "au lait");
    struct tokens ids;
    struct err e;

    (void)state;
    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(tokenizer_encode(t, text, sizeof text - 1, &ids, &e), 0);
    assert_int_equal(ids.count, 2);
    assert_int_equal(tokens_get(&ids, 0), TOKEN_UNK);
    assert_int_equal(tokens_get(&ids, 1), TOKEN_MARKS);
    tokens_free(&ids);
    tokenizer_destroy(t);
}

/* With marks there is a token for what is rare. */
static void rare_chars_are_not_learned(void **state)
{
    struct tokenizer_config c = {.kind = "char", .marks = true, .min_count = 2};
    struct tokenizer *t;
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_create(&c, &t, &e), 0);
    assert_int_equal(tokenizer_learn(t, "bab", 3, &e), 0);
    assert_int_equal(tokenizer_learn(t, "ac", 2, &e), 0);
    assert_int_equal(tokenizer_seal(t, &e), 0);
    assert_int_equal(tokenizer_vocab(t), TOKEN_MARKS + 2);
    assert_string_equal(ids_of(t, "abcd"), "4 5 3 3");
    tokenizer_destroy(t);
    assert_int_equal(tokenizer_create(&c, &t, &e), 0);
    assert_int_equal(tokenizer_learn(t, "abc", 3, &e), 0);
    assert_int_equal(tokenizer_seal(t, &e), ERR_SPEC);
    assert_string_equal(e.text, "tokenizer char: wanted characters that occur 2 times, "
                                "found none");
    tokenizer_destroy(t);
}

static void unknown_id_is_refused(void **state)
{
    struct tokenizer *t = make("char", "ab");
    const uint32_t ids[] = {0, 2};
    struct buf out = {0};
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_decode(t, ids, 2, &out, &e), ERR_SPEC);
    assert_string_equal(e.text, "tokenizer char: wanted ids below 2, found 2");
    assert_int_equal(out.len, 0);
    buf_free(&out);
    tokenizer_destroy(t);
}

static void many_chars_take_four_bytes(void **state)
{
    struct tokenizer *t;
    struct tokens ids;
    struct err e;
    char c[4];

    (void)state;
    assert_int_equal(
        tokenizer_create(&(struct tokenizer_config){.kind = "char"}, &t, &e), 0);
    for (uint32_t p = 1; p < UTF8_POINTS; p++)
        if (p < 0xd800 || p >= 0xe000)
            assert_int_equal(tokenizer_learn(t, c, utf8_put(p, c), &e), 0);
    assert_int_equal(tokenizer_seal(t, &e), 0);
    assert_int_equal(tokenizer_vocab(t), UTF8_POINTS - 2048 - 1);
    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(ids.width, 4);
    assert_int_equal(tokenizer_encode(t, "\xf4\x8f\xbf\xbf", 4, &ids, &e), 0);
    assert_int_equal(tokens_get(&ids, 0), UTF8_POINTS - 2048 - 2);
    tokens_free(&ids);
    tokenizer_destroy(t);
}

static void saved_and_loaded_it_is_the_same(void **state)
{
    static const char *const kinds[] = {"byte", "char"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tokenizer *t = make(kinds[i], "\"\\\n\t/\xe2\x82\xac\x01"), *u;
        struct buf one = {0}, two = {0};
        char a[SHA256_HEX], b[SHA256_HEX];
        struct err e;

        assert_int_equal(tokenizer_save(t, &one, &e), 0);
        assert_int_equal(tokenizer_load("x", one.data, one.len, &u, &e), 0);
        assert_int_equal(tokenizer_save(u, &two, &e), 0);
        assert_string_equal(one.data, two.data);
        assert_string_equal(tokenizer_name(u), kinds[i]);
        assert_int_equal(tokenizer_sha256(t, a, &e), 0);
        assert_int_equal(tokenizer_sha256(u, b, &e), 0);
        assert_string_equal(a, b);
        round_trip(u, "\xe2\x82\xac\n\"\t");
        buf_free(&one);
        buf_free(&two);
        tokenizer_destroy(t);
        tokenizer_destroy(u);
    }
}

static void another_vocabulary_hashes_otherwise(void **state)
{
    struct tokenizer *t = make("char", "ab"), *u = make("char", "abc");
    char a[SHA256_HEX], b[SHA256_HEX];
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_sha256(t, a, &e), 0);
    assert_int_equal(tokenizer_sha256(u, b, &e), 0);
    assert_string_not_equal(a, b);
    tokenizer_destroy(t);
    tokenizer_destroy(u);
}

static void damaged_files_are_refused(void **state)
{
    static const struct {
        const char *json, *text;
    } bad[] = {
        {"", "f:1:0: wanted JSON: '[' or '{' expected near end of file"},
        {"[]", "f: wanted an object with \"kind\", found none"},
        {"{\"kind\":3}", "f: wanted an object with \"kind\", found none"},
        {"{\"kind\":\"bpx\"}",
         "f: tokenizer: wanted bpe, byte, char, sentencepiece or word, found \"bpx\""},
        {"{\"kind\":\"bpe\"}", "f: tokenizer bpe: wanted 6 members, found 1"},
        {"{\"kind\":\"byte\",\"chars\":\"a\"}",
         "f: tokenizer byte: wanted 1 members, found 2"},
        {"{\"kind\":\"char\"}", "f: tokenizer char: wanted 2 members, found 1"},
        {"{\"kind\":\"word\",\"lower\":1,\"words\":[\"a\"]}",
         "f: tokenizer word: wanted true or false for \"lower\""},
        {"{\"kind\":\"word\",\"words\":[]}",
         "f: tokenizer word: wanted an array \"words\""},
        {"{\"kind\":\"word\",\"words\":[\"a\",3]}",
         "f: tokenizer word: wanted text as word 1"},
        {"{\"kind\":\"word\",\"words\":[\"a\",\"a\"]}",
         "f: tokenizer word: wanted each word once, found 1 words twice"},
        {"{\"kind\":\"char\",\"chars\":7}",
         "f: tokenizer char: wanted a string \"chars\""},
        {"{\"kind\":\"char\",\"chars\":\"\"}",
         "f: tokenizer char: wanted a training text, found none"},
        {"{\"kind\":\"char\",\"chars\":\"aa\"}",
         "f: tokenizer char: wanted \"chars\" in rising order, found U+0061 twice or "
         "before a lower one"},
        {"{\"kind\":\"char\",\"chars\":\"ba\"}",
         "f: tokenizer char: wanted \"chars\" in rising order, found U+0062 twice or "
         "before a lower one"},
    };
    struct tokenizer *t = NULL;
    struct err e;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(tokenizer_load("f", bad[i].json, strlen(bad[i].json), &t, &e),
                         ERR_SPEC);
        assert_string_equal(e.text, bad[i].text);
        assert_null(t);
    }
}

static void code_points_are_strict(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc3",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe2\x82",
        "\xf0\x8f\xbf\xbf",
        "\xf5\x80\x80\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "\xff",
        "\xc3z",
    };
    uint32_t point;
    char c[4];

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(utf8_get(bad[i], strlen(bad[i]), &point), 0);
    for (uint32_t p = 0; p < UTF8_POINTS; p++) {
        size_t n = utf8_put(p, c);

        if (p >= 0xd800 && p < 0xe000) {
            assert_int_equal(utf8_get(c, n, &point), 0);
            continue;
        }
        assert_int_equal(utf8_get(c, n, &point), n);
        assert_int_equal(point, p);
    }
    assert_int_equal(utf8_valid("ab\xe2\x82", 4), 2);
    assert_int_equal(utf8_valid("ab", 2), 2);
}

#define BAD "\xef\xbf\xbd"

/* As Python's decode("utf-8", "replace") has it, but for NUL and ends of lines. */
static void capitals_become_small_letters(void **state)
{
    static const char *const texts[][2] = {
        {"Hello, ÀÖØÞ ĀĮ Ĳ Ķ Ÿ Ž", "hello, àöøþ āį ĳ ķ ÿ ž"},
        {"Ə Ɓ Ɗ Ƙ Ƴ Ɔ Ɖ Ɛ Ƒ Ɣ Ʋ Ŋ", "ə ɓ ɗ ƙ ƴ ɔ ɖ ɛ ƒ ɣ ʋ ŋ"},
        {"TIẾNG VIỆT Ạ Ỹ Ơ Ư", "tiếng việt ạ ỹ ơ ư"},
        {"Ḍ Ṣ Ẁ ΆΈΏ ΑΩΫ ЀЯ Ґ Ӏ Ԥ", "ḍ ṣ ẁ άέώ αωϋ ѐя ґ ӏ ԥ"},
        {"Ա Ֆ ԱՖ", "ա ֆ աֆ"},
        {"Dž Ǆ Ǉ Ǌ Ǳ", "dž ǆ ǉ ǌ ǳ"},
        {"İ Ⱥ Ⱦ ẞ × ß ŉ ƛ 我 ა \xff", "İ Ⱥ Ⱦ ẞ × ß ŉ ƛ 我 ა \xff"},
    };
    struct buf out = {0};
    char one[4];

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        buf_clear(&out);
        utf8_lower(texts[i][0], strlen(texts[i][0]), &out);
        assert_string_equal(out.data, texts[i][1]);
    }
    for (uint32_t point = 0; point < UTF8_POINTS; point++) {
        size_t n = utf8_put(point, one);

        buf_clear(&out);
        utf8_lower(one, n, &out);
        assert_int_equal(out.len, n);
    }
    buf_free(&out);
}

static void what_is_no_text_becomes_a_line(void **state)
{
    static const struct {
        const char *bytes, *line;
    } row[] = {
        {"a\xe2\x82"
         "b",
         "a" BAD "b"},
        {"\xe0\x80\x80", BAD BAD BAD},
        {"\xed\xa0\x80z", BAD BAD BAD "z"},
        {"\xf0\x9f\x98", BAD},
        {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
        {"\xc3", BAD},
        {"\xf4\x90\x80\x80", BAD BAD BAD BAD},
        {"\xff\xfe", BAD BAD},
        {"\xc0\xaf", BAD BAD},
        {"\xf1\x80\x80\xe2\x82", BAD BAD},
        {"a\nb\tc\r\n", "a b c  "},
        {"", ""},
    };
    struct buf out = {0};

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        buf_clear(&out);
        buf_puts(&out, "");
        utf8_line(row[i].bytes, strlen(row[i].bytes), &out);
        assert_string_equal(out.data, row[i].line);
    }
    buf_clear(&out);
    utf8_line("a\0b", 3, &out);
    assert_string_equal(out.data, "a" BAD "b");
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_their_own_ids),
        cmocka_unit_test(chars_are_sorted_code_points),
        cmocka_unit_test(unknown_char_is_named),
        cmocka_unit_test(what_is_no_text_has_no_ids),
        cmocka_unit_test(a_word_with_a_nul_is_unknown),
        cmocka_unit_test(rare_chars_are_not_learned),
        cmocka_unit_test(unknown_id_is_refused),
        cmocka_unit_test(many_chars_take_four_bytes),
        cmocka_unit_test(saved_and_loaded_it_is_the_same),
        cmocka_unit_test(another_vocabulary_hashes_otherwise),
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(code_points_are_strict),
        cmocka_unit_test(capitals_become_small_letters),
        cmocka_unit_test(what_is_no_text_becomes_a_line),
    };

    return cmocka_run_group_tests_name("data/tokenizer", tests, NULL, NULL);
}

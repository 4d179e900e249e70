/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_bpe_chars.c - BPE over characters, with bytes to fall back on:
 * bpe-chars.json has ids and texts of Hugging Face's tokenizers for strings of many
 * scripts, with each way of writing spaces.
 */
#include "bpe_files.h"
#include "data/corpus.h"

static json_t *file_of(const char *name)
{
    json_t *files = json_object_get(fixture_of("bpe-chars"), "files");

    return json_object_get(files, name);
}

/* A tokenizer.json of the fixture: the first one but for some parts. */
static json_t *json_of(const char *name)
{
    json_t *json =
        json_deep_copy(json_object_get(fixture_of("bpe-chars"), "tokenizer"));
    const json_t *parts = json_object_get(file_of(name), "parts");

    assert_true(json_is_object(parts));
    assert_int_equal(json_object_update(json, (json_t *)parts), 0);
    return json;
}

static struct tokenizer *open_file(void **state, const char *name)
{
    json_t *json = json_of(name);
    struct tokenizer *t = open_json(state, json);

    json_decref(json);
    return t;
}

static uint32_t *ids_of(const struct tokens *ids)
{
    uint32_t *id = calloc(ids->count + 1, sizeof *id);

    assert_non_null(id);
    for (size_t i = 0; i < ids->count; i++)
        id[i] = tokens_get(ids, i);
    return id;
}

/* The text has these ids, and they are written so. */
static void must_ids(const struct tokenizer *t, const json_t *string,
                     const json_t *want, const char *written)
{
    const char *text = json_string_value(string);
    struct buf back = {0};
    struct tokens ids;
    struct err e;
    uint32_t *id;

    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, text, json_string_length(string), &ids, &e), &e);
    id = ids_of(&ids);
    for (size_t i = 0; i < ids.count && i < json_array_size(want); i++)
        if (id[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("\"%s\": token %zu is %u, wanted %lld", text, i, id[i],
                     (long long)json_integer_value(json_array_get(want, i)));
    assert_int_equal(ids.count, json_array_size(want));
    buf_puts(&back, "");
    must(tokenizer_decode(t, id, ids.count, &back, &e), &e);
    assert_string_equal(back.data, written);
    buf_free(&back);
    tokens_free(&ids);
    free(id);
}

static void must_all(const struct tokenizer *t, const char *name)
{
    const json_t *strings = json_object_get(fixture_of("bpe-chars"), "strings");
    const json_t *ids = json_object_get(file_of(name), "ids");
    const json_t *texts = json_object_get(file_of(name), "texts");

    assert_true(json_array_size(strings) > 50);
    assert_int_equal(json_array_size(strings), json_array_size(ids));
    for (size_t i = 0; i < json_array_size(strings); i++) {
        char key[24];
        const json_t *other, *s = json_array_get(strings, i);

        snprintf(key, sizeof key, "%zu", i);
        other = json_object_get(texts, key);
        must_ids(t, s, json_array_get(ids, i), json_string_value(other ? other : s));
    }
}

static const char *const names[] = {"each",       "first",      "parts", "each_more",
                                    "first_more", "parts_more", "few",   "none"};

enum { NAMES = sizeof names / sizeof *names };

/* As read, as a checkpoint holds it, and as written and read again. */
static void strings_of_every_script_have_frozen_ids(void **state)
{
    const char *path = unit_path(state, "again.json");

    for (int i = 0; i < NAMES; i++) {
        struct tokenizer *t = open_file(state, names[i]), *u, *v;
        struct buf own = {0}, hf = {0}, again = {0};
        struct err e;

        assert_string_equal(tokenizer_name(t), "bpe");
        assert_false(tokenizer_marks(t));
        must(tokenizer_save(t, &own, &e), &e);
        must(tokenizer_load("x", own.data, own.len, &u, &e), &e);
        assert_true(tokenizer_has_hf(u));
        must(tokenizer_write_hf(u, &hf, &e), &e);
        write_file(path, hf.data, hf.len);
        must(tokenizer_open(path, &(struct tokenizer_config){0}, &v, &e), &e);
        must(tokenizer_save(v, &again, &e), &e);
        assert_string_equal(own.data, again.data);
        must_all(t, names[i]);
        must_all(u, names[i]);
        must_all(v, names[i]);
        buf_free(&own);
        buf_free(&hf);
        buf_free(&again);
        tokenizer_destroy(t);
        tokenizer_destroy(u);
        tokenizer_destroy(v);
    }
}

/* What others read of a file that is written here is what was read. */
static void a_file_is_written_as_it_was_read(void **state)
{
    static const char *const parts[] = {"added_tokens", "normalizer", "pre_tokenizer",
                                        "decoder"};
    static const char *const members[] = {"unk_token", "fuse_unk", "byte_fallback",
                                          "dropout"};

    for (int i = 0; i < NAMES; i++) {
        json_t *json = json_of(names[i]), *back, *model[2];
        struct tokenizer *t = open_json(state, json);
        struct buf hf = {0};
        struct err e;

        must(tokenizer_write_hf(t, &hf, &e), &e);
        back = json_loadb(hf.data, hf.len, 0, NULL);
        for (size_t k = 0; k < json_array_size(json_object_get(json, "added_tokens"));
             k++)
            json_object_set_new(
                json_array_get(json_object_get(json, "added_tokens"), k), "special",
                json_true());
        for (size_t k = strcmp(names[i], "parts_more") == 0; k < 4; k++)
            assert_true(json_equal(json_object_get(json, parts[k]),
                                   json_object_get(back, parts[k])));
        model[0] = json_object_get(json, "model");
        model[1] = json_object_get(back, "model");
        for (int k = 0; k < 4; k++)
            assert_true(json_equal(json_object_get(model[0], members[k]),
                                   json_object_get(model[1], members[k])));
        json_decref(json);
        json_decref(back);
        buf_free(&hf);
        tokenizer_destroy(t);
    }
}

/* NUL is a character as others; without its byte it is unknown. */
static void nul_has_an_id(void **state)
{
    struct tokenizer *t = open_file(state, "first");
    struct tokens ids;
    struct err e;

    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, "\0", 1, &ids, &e), &e);
    assert_int_equal(ids.count, 2);
    assert_int_equal(tokens_get(&ids, 1), 3); /* <0x00> */
    assert_int_equal(tokenizer_encode(t, "a\xff", 2, &ids, &e), ERR_SPEC);
    assert_string_equal(e.text, "byte 2: wanted UTF-8, found 0xff");
    tokens_free(&ids);
    tokenizer_destroy(t);
}

/* An added piece that ends beyond what is there is not seen: strings without any, but
 * those that follow one. */
static void a_text_may_come_in_parts(void **state)
{
    const json_t *list = json_object_get(fixture_of("bpe-chars"), "strings");

    for (int i = 0; i < NAMES; i++) {
        struct tokenizer *t = open_file(state, names[i]);

        for (size_t k = 0; k < json_array_size(list); k++) {
            const char *s = json_string_value(json_array_get(list, k));
            const char *last = strrchr(s, '>');
            size_t len = strlen(s), half = last ? (size_t)(last + 1 - s) : 1;

            for (; half < len && !strstr(s, "two") && !strstr(s, "raw"); half++)
                if (((unsigned char)s[half] & 0xc0) != 0x80)
                    must_agree(t, s, len, half);
        }
        tokenizer_destroy(t);
    }
}

/* Only what a piece may reach over waits. */
static void little_of_a_text_waits(void **state)
{
    static const struct {
        const char *text;
        size_t waits;
    } lines[] = {
        {"", 0},
        {"the lower the lowest", 11}, /* a piece has "e" and a space  */
        {"the lower the lowest\n", 1},
        {"\u6211\u4e02", 3},   /* no piece of two such           */
        {"the", 3},            /* the begin of a text waits      */
        {"the lower <s>", 13}, /* one in front may follow        */
        {"lower <s>your lower", 6},
    };
    struct tokenizer *t = open_file(state, "each");

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        assert_int_equal(tokenizer_open_end(t, lines[i].text, strlen(lines[i].text)),
                         lines[i].waits);
    tokenizer_destroy(t);
}

/* Ids of a long run without any place to cut come soon. */
static void a_long_part_is_joined(void **state)
{
    struct tokenizer *t = open_file(state, "each");
    size_t len = 1 << 20, n;
    char *text = malloc(len);
    struct buf back = {0};
    struct tokens ids;
    struct err e;
    uint32_t *id;

    assert_non_null(text);
    memset(text, ' ', len);
    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, text, len, &ids, &e), &e);
    n = ids.count;
    assert_in_range(n, len / 4, len / 4 + 1);
    id = ids_of(&ids);
    must(tokenizer_decode(t, id, n, &back, &e), &e);
    assert_int_equal(back.len, len);
    assert_memory_equal(back.data, text, len);
    assert_int_equal(tokenizer_open_end(t, text, len), 0); /* too much to wait */
    tokens_free(&ids);
    buf_free(&back);
    free(text);
    free(id);
    tokenizer_destroy(t);
}

static const char verses[] =
    "the lower the lowest\n\n <s>newer and </s> wider\n  \u4e02\u6211\n\nthe wide\nend";

static const struct corpus_part *read_verses(void **state, const char *name,
                                             struct lexicon *l, Nnd__Data *d,
                                             struct corpus **c)
{
    static char *path;
    struct err e;

    path = (char *)unit_path(state, "verses.txt");
    write_file(path, verses, strlen(verses));
    *l = (struct lexicon){.target = open_file(state, name)};
    d->tokenizer = NND__DATA__TOKENIZER__BPE;
    d->train = &path;
    d->n_train = 1;
    d->valid_fraction = 0;
    must(corpus_open(d, l, 16, 0, c, &e), &e);
    return &(*c)->train;
}

/* A stream has the ids of the whole text, with one space in front of it and not of each
 * line. */
static void a_stream_is_one_text(void **state)
{
    for (int i = 0; i < NAMES; i++) {
        Nnd__Data d = NND__DATA__INIT;
        struct tokens whole;
        struct corpus *c;
        struct lexicon l;
        struct err e;
        const struct corpus_part *p = read_verses(state, names[i], &l, &d, &c);

        tokens_init(&whole, tokenizer_vocab(l.target));
        must(tokenizer_encode(l.target, verses, strlen(verses), &whole, &e), &e);
        assert_int_equal(p->count, whole.count);
        for (uint64_t k = 0; k < whole.count; k++)
            assert_int_equal(tokens_get(p->tokens, p->first + k),
                             tokens_get(&whole, k));
        tokens_free(&whole);
        corpus_destroy(c);
        lexicon_free(&l);
    }
}

/* A line has one in front; the end that the last one lacks has none. */
static void a_line_is_a_text(void **state)
{
    Nnd__Data d = NND__DATA__INIT;
    struct tokens line;
    struct corpus *c;
    struct lexicon l;
    struct err e;
    const struct corpus_part *p;

    d.format = NND__DATA__FORMAT__LINES;
    p = read_verses(state, "each", &l, &d, &c);
    tokens_init(&line, tokenizer_vocab(l.target));
    must(tokenizer_encode(l.target, "end\n", 4, &line, &e), &e);
    assert_int_equal(p->lines, 5);
    assert_int_equal(p->line[5] - p->line[4], line.count);
    for (uint64_t k = 0; k < line.count; k++)
        assert_int_equal(tokens_get(p->tokens, p->line[4] + k), tokens_get(&line, k));
    tokens_free(&line);
    corpus_destroy(c);
    lexicon_free(&l);
}

/* With pairs its ids are four higher, and there is no file that says so: "<unk>" would
 * be in it twice. */
static void marks_come_first(void **state)
{
    const char *path = unit_path(state, "marks.json");
    json_t *json = json_of("each");
    struct tokenizer *t, *u;
    struct tokens ids[2];
    struct buf hf = {0};
    struct err e;

    write_json(path, json);
    t = open_json(state, json);
    must(tokenizer_open(path, &(struct tokenizer_config){.marks = true}, &u, &e), &e);
    for (int k = 0; k < 2; k++) {
        tokens_init(&ids[k], tokenizer_vocab(u));
        must(tokenizer_encode(k ? u : t, "the lower <unk>", 15, &ids[k], &e), &e);
    }
    assert_int_equal(ids[0].count, ids[1].count);
    for (size_t i = 0; i < ids[0].count; i++)
        assert_int_equal(tokens_get(&ids[0], i) + TOKEN_MARKS, tokens_get(&ids[1], i));
    assert_false(tokenizer_has_hf(u));
    assert_int_equal(tokenizer_write_hf(u, &hf, &e), ERR_SPEC);
    assert_string_equal(e.text, "tokenizer bpe, marks: has no form as tokenizer.json");
    tokens_free(&ids[0]);
    tokens_free(&ids[1]);
    json_decref(json);
    tokenizer_destroy(t);
    tokenizer_destroy(u);
}

/* unk: error is handed on to a file of others. */
static void what_is_unknown_may_be_an_error(void **state)
{
    const char *path = unit_path(state, "few.json");
    const char *text = "ab\u4e02";
    json_t *json = json_of("few");
    struct tokenizer_config c = {.marks = true}, strict = {.strict = true};
    struct tokens ids;
    struct err e;

    write_json(path, json);
    for (int k = 0; k < 2; k++) {
        struct tokenizer *t;

        c.strict = k;
        must(tokenizer_open(path, &c, &t, &e), &e);
        assert_int_equal(tokenizer_lacks(t, &strict) == NULL, k);
        tokens_init(&ids, tokenizer_vocab(t));
        assert_int_equal(tokenizer_encode(t, text, strlen(text), &ids, &e),
                         k ? ERR_SPEC : 0);
        assert_int_equal(ids.count > 0, !k);
        tokens_free(&ids);
        tokenizer_destroy(t);
    }
    assert_string_equal(e.text, "token 3 of the text is unknown to the tokenizer");
    json_decref(json);
}

/* ---- forms, and what is refused ------------------------------------------- */

/* Old files of Metaspace: they say "always" with another word. */
static void old_forms_are_read(void **state)
{
    static const struct {
        const char *key, *value, *as;
    } old[] = {
        {"pre_tokenizer",
         "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"add_prefix_space\":true,"
         "\"split\":false}",
         "parts"},
        {"pre_tokenizer",
         "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"add_prefix_space\":true,"
         "\"str_rep\":\"\u2581\",\"prepend_scheme\":\"always\",\"split\":false}",
         "parts"},
        {"decoder",
         "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":"
         "\"always\",\"split\":false}",
         "parts"},
        {"decoder", "null", "parts"},
    };

    for (size_t i = 0; i < sizeof old / sizeof *old; i++) {
        json_t *json = json_of(old[i].as);
        struct tokenizer *t;

        json_object_set_new(json, old[i].key,
                            json_loads(old[i].value, JSON_DECODE_ANY, NULL));
        t = open_json(state, json);
        must_all(t, old[i].as);
        tokenizer_destroy(t);
        json_decref(json);
    }
}

#define META(rest) "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\"," rest "}"
#define ONLY_META                                                                      \
    "pre_tokenizer Metaspace: wanted replacement \u2581, "                             \
    "prepend_scheme first or always, and split false"
#define ONLY_PREPEND                                                                   \
    "is not supported beside byte_fallback, only a Sequence of "                       \
    "Prepend \u2581 and Replace of spaces by it"
#define ONLY_SEQUENCE                                                                  \
    "is not supported beside byte_fallback, only a Sequence of "                       \
    "Replace, ByteFallback, Fuse and Strip, or Metaspace of \u2581"

/* Each is put into a good file, into its model where the key begins with a dot. */
static const struct {
    const char *file, *key, *value, *text;
} refused[] = {
    {"each", "normalizer", "{\"type\":\"NFKC\"}", "normalizer NFKC " ONLY_PREPEND},
    {"each", "normalizer",
     "{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}",
     "normalizer Replace " ONLY_PREPEND},
    {"each", "normalizer",
     "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":"
     "\"_\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" "
     "\"},\"content\":\"\u2581\"}]}",
     "normalizer Sequence " ONLY_PREPEND},
    {"each", "normalizer", "null",
     "pre_tokenizer null is not supported beside byte_fallback, only Metaspace"},
    {"first", "pre_tokenizer", "{\"type\":\"ByteLevel\",\"add_prefix_space\":false}",
     "pre_tokenizer ByteLevel is not supported beside byte_fallback, only Metaspace"},
    {"each", "pre_tokenizer", META("\"prepend_scheme\":\"first\",\"split\":false"),
     "pre_tokenizer Metaspace is not supported beside byte_fallback, only null behind "
     "a "
     "normalizer"},
    {"first", "pre_tokenizer", META("\"prepend_scheme\":\"first\""), ONLY_META},
    {"first", "pre_tokenizer", META("\"prepend_scheme\":\"first\",\"split\":true"),
     ONLY_META},
    {"first", "pre_tokenizer", META("\"prepend_scheme\":\"never\",\"split\":false"),
     ONLY_META},
    {"first", "pre_tokenizer",
     "{\"type\":\"Metaspace\",\"replacement\":\"_\",\"prepend_scheme\":\"first\","
     "\"split\":false}",
     ONLY_META},
    {"each", "decoder", "{\"type\":\"ByteLevel\"}", "decoder ByteLevel " ONLY_SEQUENCE},
    {"each", "decoder", "{\"type\":\"Metaspace\",\"replacement\":\"_\"}",
     "decoder Metaspace " ONLY_SEQUENCE},
    {"each", "decoder", "{\"type\":\"Sequence\",\"decoders\":[]}",
     "decoder Sequence " ONLY_SEQUENCE},
    {"each", ".dropout", "0.1", "model: \"dropout\" is not supported"},
    {"each", ".ignore_merges", "true", "model: \"ignore_merges\" is not supported"},
    {"each", ".end_of_word_suffix", "\"</w>\"",
     "model: \"end_of_word_suffix\" is not supported"},
    {"each", ".fuse_unk", "false", "model: wanted fuse_unk true beside byte_fallback"},
    {"each", ".unk_token", "\"[UNK]\"",
     "model: wanted a piece as unk_token, found none"},
    {"few", ".unk_token", "null",
     "wanted all 256 bytes as pieces, found none for 0xe4"},
    {"each", ".merges", "[\"i n\",\"i n\"]",
     "merge 1: wanted it once, found it as merge 0"},
    {"each", ".merges", "[[\"t\",\"zz\"]]",
     "merge 0: wanted a piece of the vocabulary, found \"zz\""},
    {"each", ".merges", "[[\"<0x41>\",\"t\"]]",
     "merge 0: wanted pieces of text, found \"<0x41>\""},
    {"each", ".merges", "[[\"t\",\"<unk>\"]]",
     "merge 0: wanted pieces of text, found \"<unk>\""},
    {"each", "added_tokens", "[{\"id\":703,\"content\":\"<x>\",\"rstrip\":true}]",
     "added token <x>: \"rstrip\" is not supported"},
    {"each", "added_tokens",
     "[{\"id\":703,\"content\":\"\u4e02\",\"normalized\":true}]",
     "added token \u4e02: wanted it in the vocabulary too"},
    {"none", "added_tokens", "[{\"id\":703,\"content\":\"\u2581\"}]",
     "added token \u2581: wanted it in the vocabulary too"},
    {"few", "added_tokens", "[{\"id\":703,\"content\":\"<0xE9>\"}]",
     "added token <0xE9>: wanted it in the vocabulary too"},
};

static void what_is_not_supported_is_named(void **state)
{
    const char *path = unit_path(state, "bad.json");

    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        json_t *json = json_of(refused[i].file), *into = json;
        const char *key = refused[i].key;
        struct tokenizer *t = NULL;
        struct err e;

        if (*key == '.') {
            into = json_object_get(json, "model");
            key++;
        }
        json_object_set_new(into, key,
                            json_loads(refused[i].value, JSON_DECODE_ANY, NULL));
        write_json(path, json);
        assert_int_equal(tokenizer_open(path, &(struct tokenizer_config){0}, &t, &e),
                         ERR_SPEC);
        assert_memory_equal(e.text, path, strlen(path));
        assert_string_equal(e.text + strlen(path) + 2, refused[i].text);
        json_decref(json);
    }
}

/* In the form that checkpoints hold. */
static void bad_members_are_named(void **state)
{
    static const struct bad_member bad[] = {
        {"spaces", "\"xx\"", "wanted \"spaces\" each, first or parts, and rule none"},
        {"spaces", "1", "wanted \"spaces\" each, first or parts, and rule none"},
        {"rule", "\"gpt2\"", "wanted \"spaces\" each, first or parts, and rule none"},
        {"nfc", "true", "wanted \"spaces\" each, first or parts, and rule none"},
        {"unknown", "\"x\"", "wanted an id below 703 as \"unknown\""},
        {"unknown", "703", "wanted an id below 703 as \"unknown\""},
    };
    struct tokenizer *t = open_file(state, "each");

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        must_refuse_member(t, &bad[i]);
    tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_of_every_script_have_frozen_ids),
        cmocka_unit_test(a_file_is_written_as_it_was_read),
        cmocka_unit_test(nul_has_an_id),
        cmocka_unit_test(a_text_may_come_in_parts),
        cmocka_unit_test(little_of_a_text_waits),
        cmocka_unit_test(a_long_part_is_joined),
        cmocka_unit_test(a_stream_is_one_text),
        cmocka_unit_test(a_line_is_a_text),
        cmocka_unit_test(marks_come_first),
        cmocka_unit_test(what_is_unknown_may_be_an_error),
        cmocka_unit_test(old_forms_are_read),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(bad_members_are_named),
    };

    return cmocka_run_group_tests_name("bpe: characters", tests, unit_dir_setup,
                                       unit_dir_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_bpe.c - byte-level BPE against what others make of the same strings:
 * bpe-gpt2.json has ids of Hugging Face's tokenizers for strings of many scripts, by a
 * small vocabulary learned there and by GPT-2's.  GPT-2's files are read where they are
 * (NND_DATA, or shared/data beside the tree).
 */
#include "bpe_files.h"
#include "data/bpe_file.h"
#include "data/bpe_train.h"
#include "data/corpus.h"
#include "data/nfc.h"

/* A file that others published, or a test that is skipped. */
static const char *published(const char *name)
{
    static char path[4096];
    const char *data = getenv("NND_DATA");

    if (data)
        snprintf(path, sizeof path, "%s/%s", data, name);
    else
        snprintf(path, sizeof path, "%s/../shared/data/%s", from_env("NND_SRCDIR", "."),
                 name);
    if (!fs_exists(path))
        unit_skip("GPT-2's vocabulary is not here (NND_DATA)");
    return path;
}

/* The text has these ids, and they are `written`, or any text where that is NULL. */
static void must_ids(const struct tokenizer *t, const json_t *string,
                     const json_t *want, const char *written)
{
    const char *text = json_string_value(string);
    uint32_t *id = calloc(json_array_size(want) + 1, sizeof *id);
    struct tokens ids;
    struct buf back = {0};
    struct err e;

    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, text, json_string_length(string), &ids, &e), &e);
    for (size_t i = 0; i < ids.count && i < json_array_size(want); i++) {
        id[i] = tokens_get(&ids, i);
        if (id[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("\"%s\": token %zu is %u, wanted %lld", text, i, id[i],
                     (long long)json_integer_value(json_array_get(want, i)));
    }
    assert_int_equal(ids.count, json_array_size(want));
    buf_puts(&back, "");
    must(tokenizer_decode(t, id, ids.count, &back, &e), &e);
    if (written)
        assert_string_equal(back.data, written);
    buf_free(&back);
    tokens_free(&ids);
    free(id);
}

static void must_all(const struct tokenizer *t, const json_t *ids)
{
    const json_t *strings = json_object_get(fixture(), "strings");

    assert_true(json_array_size(strings) > 30);
    assert_int_equal(json_array_size(strings), json_array_size(ids));
    for (size_t i = 0; i < json_array_size(strings); i++)
        must_ids(t, json_array_get(strings, i), json_array_get(ids, i),
                 json_string_value(json_array_get(strings, i)));
}

/* ---- against others ------------------------------------------------------- */

static void strings_of_every_script_have_frozen_ids(void **state)
{
    const json_t *f = fixture();
    struct tokenizer *t = open_json(state, json_object_get(f, "tokenizer"));

    assert_string_equal(tokenizer_name(t), "bpe");
    must_all(t, json_object_get(f, "ids"));
    tokenizer_destroy(t);
}

/* The small vocabulary behind the expression of that name. */
static struct tokenizer *open_rule(void **state, const char *name)
{
    const json_t *rule = json_object_get(fixture(), name);
    json_t *json = json_deep_copy(json_object_get(fixture(), "tokenizer"));
    struct tokenizer *t;

    if (rule)
        json_object_set(json, "pre_tokenizer", json_object_get(rule, "pre_tokenizer"));
    t = open_json(state, json);
    json_decref(json);
    return t;
}

static void other_expressions_have_frozen_ids(void **state)
{
    static const char *const names[] = {"llama3", "qwen2"};

    for (int i = 0; i < 2; i++) {
        struct tokenizer *t = open_rule(state, names[i]);

        must_all(t, json_object_get(json_object_get(fixture(), names[i]), "ids"));
        tokenizer_destroy(t);
    }
}

/* Texts in other forms than NFC, cut in NFC or as they are. */
static void forms_have_frozen_ids(const struct tokenizer *t, const char *name, bool nfc)
{
    const json_t *strings = json_object_get(fixture(), "forms");
    const json_t *ids = json_object_get(json_object_get(fixture(), name), "ids");

    assert_int_equal(json_array_size(strings), json_array_size(ids));
    for (size_t i = 0; i < json_array_size(strings); i++) {
        const json_t *s = json_array_get(strings, i);
        const char *text = json_string_value(s);
        struct buf written = {0};

        buf_puts(&written, "");
        if (nfc)
            nfc_add(text, strlen(text), &written);
        else
            buf_puts(&written, text);
        must_ids(t, s, json_array_get(ids, i),
                 nfc && strpbrk(text, "<[") ? NULL : written.data);
        buf_free(&written);
    }
}

/* As read, as written and read again, and as a checkpoint holds it. */
static void nfc_is_as_that_of_others(void **state)
{
    static const char *const names[] = {"as_it_is", "nfc"};
    const char *path = unit_path(state, "again.json");

    for (int nfc = 0; nfc < 2; nfc++) {
        const json_t *f = json_object_get(fixture(), names[nfc]);
        struct tokenizer *t = open_json(state, json_object_get(f, "tokenizer")), *u, *v;
        struct buf own = {0}, hf = {0}, again = {0};
        struct err e;

        must(tokenizer_save(t, &own, &e), &e);
        must(tokenizer_load("x", own.data, own.len, &u, &e), &e);
        must(tokenizer_write_hf(u, &hf, &e), &e);
        write_file(path, hf.data, hf.len);
        must(tokenizer_open(path, &(struct tokenizer_config){0}, &v, &e), &e);
        must(tokenizer_save(v, &again, &e), &e);
        assert_string_equal(own.data, again.data);
        assert_int_equal(strstr(own.data, "\"nfc\":true") != NULL, nfc);
        forms_have_frozen_ids(t, names[nfc], nfc);
        forms_have_frozen_ids(u, names[nfc], nfc);
        forms_have_frozen_ids(v, names[nfc], nfc);
        buf_free(&own);
        buf_free(&hf);
        buf_free(&again);
        tokenizer_destroy(t);
        tokenizer_destroy(u);
        tokenizer_destroy(v);
    }
}

/* A list of one, or of none. */
static void normalizers_may_be_in_a_list(void **state)
{
    static const struct {
        const char *normalizer, *name;
    } lists[] = {
        {"{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"}]}", "nfc"},
        {"{\"type\":\"Sequence\",\"normalizers\":[]}", "as_it_is"},
    };

    for (size_t i = 0; i < 2; i++) {
        const json_t *f = json_object_get(fixture(), lists[i].name);
        json_t *json = json_copy(json_object_get(f, "tokenizer"));
        struct tokenizer *t;

        json_object_set_new(json, "normalizer",
                            json_loads(lists[i].normalizer, 0, NULL));
        t = open_json(state, json);
        forms_have_frozen_ids(t, lists[i].name, i == 0);
        tokenizer_destroy(t);
        json_decref(json);
    }
}

/* Where the place of added pieces makes no difference, it is not told: one vocabulary
 * is one, whichever file it comes from. */
static void places_of_added_pieces_are_settled(void **state)
{
    json_t *json = json_deep_copy(json_object_get(fixture(), "tokenizer"));
    json_t *added = json_array_get(json_object_get(json, "added_tokens"), 0);
    char hex[2][SHA256_HEX];

    for (int normal = 0; normal < 2; normal++) {
        struct tokenizer *t;
        struct err e;

        json_object_set_new(added, "normalized", json_boolean(normal));
        t = open_json(state, json);
        must(tokenizer_sha256(t, hex[normal], &e), &e);
        tokenizer_destroy(t);
    }
    assert_string_equal(hex[0], hex[1]);
    json_decref(json);
}

static struct tokenizer *open_gpt2(void)
{
    struct tokenizer *t = NULL;
    struct err e;

    must(tokenizer_open(published("gpt2"), &(struct tokenizer_config){0}, &t, &e), &e);
    assert_int_equal(tokenizer_vocab(t), 50257);
    return t;
}

static void gpt2_gives_published_ids(void **state)
{
    struct tokenizer *t = open_gpt2();
    json_t *one;

    (void)state;
    must_all(t, json_object_get(fixture(), "gpt2"));
    one = json_load_file(published("gpt2/gpt2_encoded_tokens.json"), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(one, "token_ids")), 221);
    must_ids(t, json_object_get(one, "text"), json_object_get(one, "token_ids"),
             json_string_value(json_object_get(one, "text")));
    json_decref(one);
    tokenizer_destroy(t);
}

/* The merges that are learned from a text are those that the BpeTrainer learns. */
static void learning_is_that_of_others(void **state)
{
    const json_t *strings = json_object_get(fixture(), "strings");
    const json_t *theirs = json_object_get(fixture(), "tokenizer");
    struct bpe_train *t = bpe_train_create(PRETOKEN_GPT2);
    char *text = json_dumps(theirs, 0);
    struct bpe *ours, *want;
    struct err e;
    bool marks;

    (void)state;
    for (size_t i = 0; i < json_array_size(strings); i++)
        bpe_train_text(t, json_string_value(json_array_get(strings, i)),
                       json_string_length(json_array_get(strings, i)));
    must(bpe_train_learn(t, 600, 0, &ours, &e), &e);
    must(bpe_read_json(&(struct bpe_text){"t", text, strlen(text)}, &want, &marks, &e),
         &e);
    assert_int_equal(ours->merges, 344);
    assert_int_equal(ours->merges, want->merges);
    assert_memory_equal(ours->merge, want->merge, 344 * sizeof *ours->merge);
    assert_int_equal(ours->pieces.bytes.len + strlen("<|endoftext|>"),
                     want->pieces.bytes.len);
    assert_memory_equal(ours->pieces.bytes.data, want->pieces.bytes.data,
                        ours->pieces.bytes.len);
    bpe_destroy(ours);
    bpe_destroy(want);
    bpe_train_destroy(t);
    free(text);
}

/* ---- our own -------------------------------------------------------------- */

static struct tokenizer *learn(const char *text, struct tokenizer_config c)
{
    struct tokenizer *t = NULL;
    struct err e;

    c.kind = "bpe";
    must(tokenizer_create(&c, &t, &e), &e);
    assert_true(tokenizer_learns(t));
    must(tokenizer_learn(t, text, strlen(text), &e), &e);
    must(tokenizer_seal(t, &e), &e);
    return t;
}

static void rare_pairs_are_not_joined(void **state)
{
    struct tokenizer *t =
        learn("abab abab cd", (struct tokenizer_config){.vocab_size = 300});
    uint32_t all = tokenizer_vocab(t);

    (void)state;
    assert_in_range(all, 257, 299);
    tokenizer_destroy(t);
    t = learn("abab abab cd",
              (struct tokenizer_config){.vocab_size = 300, .min_count = 2});
    assert_in_range(tokenizer_vocab(t), 257, all - 1);
    tokenizer_destroy(t);
    t = learn("abab", (struct tokenizer_config){.vocab_size = 261, .marks = true});
    assert_int_equal(tokenizer_vocab(t), 261);
    tokenizer_destroy(t);
}

/* Saved as a checkpoint does, and as tokenizer.json, with marks and without. */
static void saved_and_read_again_it_is_the_same(void **state)
{
    const json_t *strings = json_object_get(fixture(), "strings");
    const char *path = unit_path(state, "saved.json");

    for (int marks = 0; marks < 2; marks++) {
        struct tokenizer_config c = {.vocab_size = 280, .marks = marks};
        struct tokenizer *t = learn("the lower lowest newest wide the the", c), *u, *v;
        struct buf one = {0}, two = {0}, hf = {0};
        char a[SHA256_HEX], b[SHA256_HEX];
        struct err e;

        must(tokenizer_save(t, &one, &e), &e);
        must(tokenizer_load("x", one.data, one.len, &u, &e), &e);
        must(tokenizer_save(u, &two, &e), &e);
        assert_string_equal(one.data, two.data);
        must(tokenizer_write_hf(t, &hf, &e), &e);
        write_file(path, hf.data, hf.len);
        must(tokenizer_open(path, &(struct tokenizer_config){0}, &v, &e), &e);
        assert_int_equal(tokenizer_marks(v), marks);
        must(tokenizer_sha256(t, a, &e), &e);
        must(tokenizer_sha256(v, b, &e), &e);
        assert_string_equal(a, b);
        for (size_t i = 0; i < json_array_size(strings); i++) {
            const json_t *s = json_array_get(strings, i);
            struct tokens x, y;

            tokens_init(&x, tokenizer_vocab(t));
            tokens_init(&y, tokenizer_vocab(t));
            must(tokenizer_encode(t, json_string_value(s), json_string_length(s), &x,
                                  &e),
                 &e);
            must(tokenizer_encode(u, json_string_value(s), json_string_length(s), &y,
                                  &e),
                 &e);
            assert_int_equal(x.count, y.count);
            assert_memory_equal(x.ids, y.ids, x.count * x.width);
            tokens_free(&x);
            tokens_free(&y);
        }
        buf_free(&one);
        buf_free(&two);
        buf_free(&hf);
        tokenizer_destroy(t);
        tokenizer_destroy(u);
        tokenizer_destroy(v);
    }
}

static void strings_may_come_in_parts(const struct tokenizer *t, const char *strings)
{
    const json_t *list = json_object_get(fixture(), strings);

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        size_t len = json_string_length(json_array_get(list, i));

        if (strpbrk(s, "<["))
            continue; /* an added piece is looked for in what is there */
        for (size_t half = 1; half < len; half++)
            if (((unsigned char)s[half] & 0xc0) != 0x80)
                must_agree(t, s, len, half);
    }
}

static void a_text_may_come_in_parts(void **state)
{
    static const char *const rules[] = {"gpt2", "llama3", "qwen2"};

    for (int k = 0; k < 3; k++) {
        struct tokenizer *t = open_rule(state, k ? rules[k] : "");

        strings_may_come_in_parts(t, "strings");
        strings_may_come_in_parts(t, "forms");
        tokenizer_destroy(t);
    }
}

/* Capitals that are lowered may be a contraction. */
static void a_lowered_text_may_come_in_parts(void **state)
{
    static const char text[] = "I'LL\nGO, we'll\nWE'RE 'DON'T'\n";
    struct tokenizer_config c = {.vocab_size = 300, .lower = true};
    struct tokenizer *t = learn("i'll we'll i'll we're don't 'll i'", c);

    (void)state;
    for (size_t half = 1; half < sizeof text - 1; half++)
        must_agree(t, text, sizeof text - 1, half);
    tokenizer_destroy(t);
}

/* The tokenizer in NFC, one of its parts replaced. */
static struct tokenizer *open_nfc(void **state, const char *key, json_t *part)
{
    const json_t *f = json_object_get(fixture(), "nfc");
    json_t *json = json_copy(json_object_get(f, "tokenizer"));
    struct tokenizer *t;

    json_object_set(json, key, part);
    t = open_json(state, json);
    json_decref(json);
    return t;
}

/* Marks may follow that join with what stands there; yet not all of a text waits. */
static void a_text_in_nfc_may_come_in_parts(void **state)
{
    static const char *const rules[] = {"tokenizer", "llama3", "qwen2"};
    static const struct {
        const char *text;
        size_t waits;
    } lines[] = {
        {"the end of a line\n", 6},
        {"wait for an accent e", 9},
        {"a 1\u0928\u092eabc", 11}, /* no cut before a, nor for sure behind 1 */
        {"\u6211\u7231\u3002\u4f60\u597d\u3002\n", 4},
        {"<|endoftext|>", 0}};

    for (int k = 0; k < 3; k++) {
        const json_t *rule = json_object_get(fixture(), rules[k]);
        struct tokenizer *t =
            open_nfc(state, "pre_tokenizer", json_object_get(rule, "pre_tokenizer"));

        strings_may_come_in_parts(t, "strings");
        strings_may_come_in_parts(t, "forms");
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
            assert_int_equal(
                tokenizer_open_end(t, lines[i].text, strlen(lines[i].text)),
                lines[i].waits);
        tokenizer_destroy(t);
    }
}

static void there_is_room_for_what_grows_in_nfc(void **state)
{
    static const char text[] = "\U0001d160\U0001d161\U0001d160\U0001d162\U0001d160";
    const json_t *f = json_object_get(fixture(), "nfc");
    json_t *model =
        json_copy(json_object_get(json_object_get(f, "tokenizer"), "model"));
    struct tokenizer *t;
    struct tokens ids;
    struct err e;

    json_object_set_new(model, "merges", json_array());
    t = open_nfc(state, "model", model);
    tokens_init(&ids, tokenizer_vocab(t));
    for (int i = 1; i <= 100; i++) {
        must(tokenizer_encode(t, text, strlen(text), &ids, &e), &e);
        assert_int_equal(ids.count, i * 60);
        assert_in_range(ids.count, 1, ids.cap);
    }
    tokens_free(&ids);
    tokenizer_destroy(t);
    json_decref(model);
}

/* Of lines: the newline that the last one lacks may be part of a piece. */
static void a_last_line_is_as_others(void **state)
{
    char *path = (char *)unit_path(state, "lines.txt");
    Nnd__Data d = NND__DATA__INIT;
    struct bpe *b = bpe_create(PRETOKEN_LLAMA3);
    struct buf json = {0};
    struct corpus *c;
    struct lexicon l;
    struct err e;

    bpe_bytes(b);
    must(bpe_piece(b, ".\n", 2, &e), &e);
    must(bpe_join(b, bytemap_find(&b->pieces, ".", 1),
                  bytemap_find(&b->pieces, "\n", 1), &e),
         &e);
    must(bpe_write_json(b, false, &json, &e), &e);
    write_file(path, json.data, json.len);
    d.tokenizer = NND__DATA__TOKENIZER__BPE;
    d.tokenizer_file = path;
    d.format = NND__DATA__FORMAT__LINES;
    d.train = &path;
    d.n_train = 1;
    d.valid_fraction = 0;
    must(lexicon_learn(&d, &l, &e), &e);
    write_file(path, "end.\nend.", 9);
    must(corpus_open(&d, &l, 16, 0, &c, &e), &e);
    assert_int_equal(c->train.line[1] - c->train.line[0], 4);
    assert_int_equal(c->train.line[2] - c->train.line[1], 4);
    assert_int_equal(tokens_get(c->train.tokens, c->train.line[2] - 1), 256);
    corpus_destroy(c);
    lexicon_free(&l);
    buf_free(&json);
    bpe_destroy(b);
}

static void any_bytes_of_utf8_have_ids(void **state)
{
    struct tokenizer *t = learn("a", (struct tokenizer_config){.vocab_size = 300});
    struct tokens ids;
    struct err e;

    (void)state;
    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, "\U0001f44d\u4f60", 7, &ids, &e), &e);
    assert_int_equal(ids.count, 7);
    assert_int_equal(tokenizer_encode(t, "ab\xff", 3, &ids, &e), ERR_SPEC);
    assert_string_equal(e.text, "byte 3: wanted UTF-8, found 0xff");
    assert_int_equal(ids.count, 7);
    tokens_free(&ids);
    tokenizer_destroy(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_of_every_script_have_frozen_ids),
        cmocka_unit_test(other_expressions_have_frozen_ids),
        cmocka_unit_test(nfc_is_as_that_of_others),
        cmocka_unit_test(normalizers_may_be_in_a_list),
        cmocka_unit_test(places_of_added_pieces_are_settled),
        cmocka_unit_test(gpt2_gives_published_ids),
        cmocka_unit_test(learning_is_that_of_others),
        cmocka_unit_test(rare_pairs_are_not_joined),
        cmocka_unit_test(saved_and_read_again_it_is_the_same),
        cmocka_unit_test(a_text_may_come_in_parts),
        cmocka_unit_test(a_lowered_text_may_come_in_parts),
        cmocka_unit_test(a_text_in_nfc_may_come_in_parts),
        cmocka_unit_test(there_is_room_for_what_grows_in_nfc),
        cmocka_unit_test(a_last_line_is_as_others),
        cmocka_unit_test(any_bytes_of_utf8_have_ids),
    };

    return cmocka_run_group_tests_name("bpe", tests, unit_dir_setup, unit_dir_teardown);
}

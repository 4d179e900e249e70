/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_bpe_file.c - files of byte-level BPE: what of them is read over, and what
 * is refused, by its name.
 */
#include "bpe_files.h"
#include "data/bpe_file.h"

/* What Llama 3 has, alone and in a list: it is read over. */
#define SPECIAL(id)  "{\"SpecialToken\":{\"id\":\"" id "\",\"type_id\":0}}"
#define SEQUENCE(id) "{\"Sequence\":{\"id\":\"" id "\",\"type_id\":1}}"
#define TEMPLATE(single, pair, special)                                                \
    "{\"type\":\"TemplateProcessing\",\"single\":" single ",\"pair\":" pair            \
    ",\"special_tokens\":" special "}"
#define SINGLE "[" SPECIAL("<b>") "," SEQUENCE("A") "]"
#define PAIR   "[" SPECIAL("<b>") "," SEQUENCE("A") "," SEQUENCE("B") "]"
#define SPECIALS                                                                       \
    "{\"<b>\":{\"id\":\"<b>\",\"ids\":[600],\"tokens\":[\"<|endoftext|>\"]}}"

static void templates_are_read_over(void **state)
{
    static const char *const posts[] = {
        TEMPLATE(SINGLE, PAIR, SPECIALS),
        "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"ByteLevel\"}," TEMPLATE(
            SINGLE, PAIR, SPECIALS) "]}"};

    const json_t *plain = json_object_get(fixture(), "tokenizer");
    struct tokenizer *t = open_json(state, plain);
    char hex[2][SHA256_HEX];
    struct err e;

    must(tokenizer_sha256(t, hex[0], &e), &e);
    tokenizer_destroy(t);
    for (size_t i = 0; i < sizeof posts / sizeof *posts; i++) {
        json_t *json = json_copy((json_t *)plain);
        json_t *post = json_loads(posts[i], 0, NULL);

        assert_non_null(post);
        json_object_set_new(json, "post_processor", post);
        t = open_json(state, json);
        must(tokenizer_sha256(t, hex[1], &e), &e);
        assert_string_equal(hex[0], hex[1]);
        tokenizer_destroy(t);
        json_decref(json);
    }
}

/* ---- what is refused ------------------------------------------------------ */

static void must_refuse(void **state, const json_t *json, const char *text)
{
    const char *path = unit_path(state, "bad.json");
    struct tokenizer *t = NULL;
    struct err e;

    write_json(path, json);
    assert_int_equal(tokenizer_open(path, &(struct tokenizer_config){0}, &t, &e),
                     ERR_SPEC);
    assert_memory_equal(e.text, path, strlen(path));
    assert_string_equal(e.text + strlen(path) + 2, text);
}

/* Each of these is put into a good file, at the key before it. */
static const struct {
    const char *key, *value, *text;
} unsupported[] = {
    {"normalizer", "{\"type\":\"NFKC\"}", "normalizer NFKC is not supported"},
    {"normalizer", "{\"type\":\"NFC\",\"more\":1}",
     "normalizer: \"more\" is not supported"},
    {"normalizer",
     "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFC\"},{\"type\":"
     "\"Lowercase\"}]}",
     "normalizer Lowercase is not supported"},
    {"truncation", "{\"max_length\":5}", "\"truncation\" is not supported"},
    {"padding", "{\"pad_id\":5}", "\"padding\" is not supported"},
    {"more", "1", "\"more\" is not supported"},
    {"post_processor", "{\"type\":\"RobertaProcessing\"}",
     "post_processor RobertaProcessing is not supported"},
    {"post_processor",
     "{\"type\":\"Sequence\",\"processors\":[{\"type\":\"BertProcessing\"}]}",
     "post_processor BertProcessing is not supported"},
    {"post_processor", "{\"type\":\"Sequence\",\"processors\":[],\"more\":1}",
     "post_processor: \"more\" is not supported"},
    {"decoder", "{\"type\":\"WordPiece\"}", "decoder WordPiece is not supported"},
    {"pre_tokenizer", "{\"type\":\"Whitespace\"}",
     "pre_tokenizer Whitespace is not supported"},
    {"pre_tokenizer", "null", "pre_tokenizer is not supported"},
    {"pre_tokenizer", "{\"type\":\"ByteLevel\"}",
     "pre_tokenizer ByteLevel: wanted add_prefix_space false"},
    {"pre_tokenizer",
     "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":"
     "{\"Regex\":\"x+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\"}]}",
     "pre_tokenizer Split: the pattern \"x+\" is not supported, only those of gpt2, "
     "llama3 and qwen2"},
    {"model", "{\"type\":\"WordPiece\"}", "model WordPiece is not supported"},
    {"model", "{\"type\":\"BPE\",\"dropout\":0.1}",
     "model: \"dropout\" is not supported"},
    {"model", "{\"type\":\"BPE\",\"byte_fallback\":true}",
     "model: wanted fuse_unk true beside byte_fallback"},
    {"model", "{\"type\":\"BPE\",\"end_of_word_suffix\":\"</w>\"}",
     "model: \"end_of_word_suffix\" is not supported"},
    {"model", "{\"type\":\"BPE\",\"vocab\":{},\"merges\":[]}",
     "wanted an object of pieces with their ids"},
    {"model", "{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}",
     "wanted ids 0 to 600, each once, found none 1"},
    {"added_tokens", "[{\"id\":600,\"content\":\"<x>\",\"lstrip\":true}]",
     "added token <x>: \"lstrip\" is not supported"},
    {"added_tokens", "[{\"id\":5,\"content\":\"<x>\"}]",
     "wanted id 5 once, found \"&\" and \"<x>\""},
    {"added_tokens", "[{\"id\":601,\"content\":\"&\"}]",
     "wanted \"&\" once, found ids 5 and 601"},
    {"added_tokens", "[{\"id\":-1,\"content\":\"<x>\"}]", "wanted an id for \"<x>\""},
    {"added_tokens", "[{\"id\":7}]", "added_tokens[0]: wanted \"content\""},
};

/* What is wrong with a template. */
static const struct {
    const char *value, *text;
} templates[] = {
    {"{\"type\":\"TemplateProcessing\"}", "single: wanted the text A, found none"},
    {TEMPLATE(SINGLE, SINGLE, SPECIALS), "pair: wanted the text B, found none"},
    {TEMPLATE(PAIR, PAIR, SPECIALS),
     "single: wanted each text once, in order, found \"B\""},
    {TEMPLATE(SINGLE, "[" SEQUENCE("B") "," SEQUENCE("A") "]", SPECIALS),
     "pair: wanted each text once, in order, found \"B\""},
    {TEMPLATE("[" SEQUENCE("A") "," SPECIAL("<c>") "]", PAIR, SPECIALS),
     "single: wanted one of its special_tokens, found \"<c>\""},
    {TEMPLATE("[\"$A\"]", PAIR, SPECIALS),
     "single: wanted places of a SpecialToken or a Sequence"},
    {TEMPLATE("[{\"Sequence\":{\"id\":\"A\"}}]", PAIR, SPECIALS),
     "single: wanted places of a SpecialToken or a Sequence"},
    {TEMPLATE("[{\"Sequence\":{\"id\":\"A\",\"type_id\":0,\"more\":1}}]", PAIR,
              SPECIALS),
     "\"more\" is not supported"},
    {TEMPLATE(SINGLE, PAIR, SPECIALS ",\"more\":1"), "\"more\" is not supported"},
    {TEMPLATE(SINGLE, PAIR, "{\"<b>\":{\"id\":\"<b>\",\"ids\":[],\"tokens\":[]}}"),
     "special_tokens: wanted id, ids and tokens of \"<b>\""},
    {TEMPLATE(SINGLE, PAIR, "{\"<b>\":{\"id\":\"<b>\",\"ids\":[6],\"tokens\":[6]}}"),
     "special_tokens: wanted id, ids and tokens of \"<b>\""},
    {TEMPLATE(SINGLE, PAIR, "{\"<b>\":{\"id\":\"b\",\"ids\":[6],\"tokens\":[\"b\"]}}"),
     "special_tokens: wanted id, ids and tokens of \"<b>\""},
};

static void what_is_wrong_with_a_template_is_named(void **state)
{
    const json_t *good = json_object_get(fixture(), "tokenizer");

    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++) {
        json_t *bad = json_copy((json_t *)good);
        json_t *value = json_loads(templates[i].value, 0, NULL);
        char text[200];

        assert_non_null(value);
        json_object_set_new(bad, "post_processor", value);
        snprintf(text, sizeof text, "post_processor TemplateProcessing: %s",
                 templates[i].text);
        must_refuse(state, bad, text);
        json_decref(bad);
    }
}

static void what_is_not_supported_is_named(void **state)
{
    const json_t *good = json_object_get(fixture(), "tokenizer");

    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        json_t *bad = json_copy((json_t *)good);

        json_object_set_new(bad, unsupported[i].key,
                            json_loads(unsupported[i].value, JSON_DECODE_ANY, NULL));
        must_refuse(state, bad, unsupported[i].text);
        json_decref(bad);
    }
}

/* In the form that checkpoints hold. */
static void bad_members_are_named(void **state)
{
    static const struct bad_member bad[] = {
        {"nfc", "false", "wanted true for \"nfc\", or nothing"},
        {"normal", "1",
         "wanted arrays \"pieces\" and \"added\", and \"normal\" if any"},
        {"normal", "[5]", "normal[0]: wanted an added id, found 5"},
        {"normal", "[404,404]", "normal[1]: wanted an added id, found 404"},
        {"normal", "[405]", "normal[0]: wanted an id below 405"},
        {"added", "[400,400]", "added[1]: wanted another id, found 400"},
    };
    const json_t *f = json_object_get(fixture(), "nfc");
    struct tokenizer *t = open_json(state, json_object_get(f, "tokenizer"));

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        must_refuse_member(t, &bad[i]);
    tokenizer_destroy(t);
}

static void bad_merges_are_named(void **state)
{
    static const struct {
        const char *merges, *text;
    } bad[] = {
        {"[\"a\"]", "merge 0: wanted two pieces with a space between, found \"a\""},
        {"[\"a b c\"]",
         "merge 0: wanted two pieces with a space between, found \"a b c\""},
        {"[[\"a\",\"zz\"]]", "merge 0: wanted a piece of the vocabulary, found \"zz\""},
        {"[[\"a\"]]", "merge 0: wanted two pieces"},
        {"[\"Q Q\"]", "merge 0: wanted a piece that is both together, found none"},
        {"[\"t h\",\"t h\"]", "merge 1: wanted it once, found it as merge 0"},
        {"{}", "model: wanted an array \"merges\""},
    };
    const json_t *good = json_object_get(fixture(), "tokenizer");

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        json_t *copy = json_deep_copy(good);

        json_object_set_new(json_object_get(copy, "model"), "merges",
                            json_loads(bad[i].merges, 0, NULL));
        must_refuse(state, copy, bad[i].text);
        json_decref(copy);
    }
}

/* Its owner never gives the id of such an entry, unless it is an added token. */
static void an_entry_of_another_alphabet_is_refused(void **state)
{
    json_t *copy = json_deep_copy(json_object_get(fixture(), "tokenizer"));
    json_t *vocab = json_object_get(json_object_get(copy, "model"), "vocab");
    json_t *added = json_object_get(copy, "added_tokens");
    json_int_t id = (json_int_t)(json_object_size(vocab) + json_array_size(added));
    struct tokenizer *t;

    json_object_set_new(vocab, "two words", json_integer(id));
    must_refuse(
        state, copy,
        "model: wanted GPT-2's alphabet, or an added token, found \"two words\"");
    json_array_append_new(added,
                          json_pack("{s:I, s:s}", "id", id, "content", "two words"));
    t = open_json(state, copy);
    tokenizer_destroy(t);
    json_decref(copy);
}

static void two_files_of_gpt2_are_read(void **state)
{
    struct buf vocab = {0};
    struct tokenizer *t = NULL;
    struct tokens ids;
    struct err e;
    char glyph[8];

    remove(unit_path(state, "tokenizer.json"));
    buf_puts(&vocab, "{\"he\":256,\"<end>\":257");
    for (int i = 0; i < 256; i++) {
        uint32_t p = bpe_glyph((unsigned char)i);

        snprintf(glyph, sizeof glyph, "\\u%04x", p);
        buf_printf(&vocab, ",\"%s\":%d", glyph, i);
    }
    buf_puts(&vocab, "}");
    write_file(unit_path(state, "vocab.json"), vocab.data, vocab.len);
    write_file(unit_path(state, "merges.txt"), "#version: 0.2\nh e\n", 18);
    must(tokenizer_open(*state, &(struct tokenizer_config){0}, &t, &e), &e);
    tokens_init(&ids, tokenizer_vocab(t));
    must(tokenizer_encode(t, "he<end>h", 8, &ids, &e), &e);
    assert_int_equal(ids.count, 3);
    assert_int_equal(tokens_get(&ids, 0), 256);
    assert_int_equal(tokens_get(&ids, 1), 257);
    assert_int_equal(tokens_get(&ids, 2), 'h');
    tokens_free(&ids);
    tokenizer_destroy(t);
    write_file(unit_path(state, "merges.txt"), "#version: 0.2\nh e\nhe\n", 21);
    assert_int_equal(tokenizer_open(*state, &(struct tokenizer_config){0}, &t, &e),
                     ERR_SPEC);
    assert_non_null(strstr(e.text, "/merges.txt:3: merge 1: wanted two pieces with a "
                                   "space between, found \"he\""));
    buf_free(&vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_read_over),
        cmocka_unit_test(what_is_wrong_with_a_template_is_named),
        cmocka_unit_test(what_is_not_supported_is_named),
        cmocka_unit_test(bad_members_are_named),
        cmocka_unit_test(bad_merges_are_named),
        cmocka_unit_test(an_entry_of_another_alphabet_is_refused),
        cmocka_unit_test(two_files_of_gpt2_are_read),
    };

    return cmocka_run_group_tests_name("bpe: files", tests, unit_dir_setup,
                                       unit_dir_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_corpus.c - files to ids: their order, the cut, and what is refused.
 */
#include "data/corpus.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

/* DIR/NAME; the last few stay valid. */
static char *in(void **state, const char *name)
{
    static char paths[8][160];
    static unsigned next;
    char *p = paths[next++ % 8];

    snprintf(p, sizeof paths[0], "%s/%s", (char *)*state, name);
    return p;
}

static char *put(void **state, const char *name, const char *text, size_t len)
{
    char *path = in(state, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
    return path;
}

static char *put_text(void **state, const char *name, const char *text)
{
    return put(state, name, text, strlen(text));
}

struct setting {
    Nnd__Data data;
    char *train[3], *valid[3];
    uint32_t context, source_context;
};

static void setting_init(struct setting *s, uint32_t context, char *train)
{
    *s = (struct setting){.data = NND__DATA__INIT, .context = context};
    s->data.train = s->train;
    s->data.valid = s->valid;
    s->data.valid_fraction = 0;
    if (train)
        s->train[s->data.n_train++] = train;
}

static int open_corpus(const struct setting *s, struct corpus **c, struct err *e)
{
    struct lexicon l;
    int rc = lexicon_learn(&s->data, &l, e);

    if (rc < 0)
        return rc;
    rc = corpus_open(&s->data, &l, s->context, s->source_context, c, e);
    lexicon_free(&l);
    return rc;
}

static struct corpus *must_open(const struct setting *s)
{
    struct corpus *c;
    struct err e;

    if (open_corpus(s, &c, &e) < 0)
        fail_msg("%s", e.text);
    return c;
}

/* The error names the folder of the test; DIR stands for it in `text`. */
static void must_fail(void **state, const struct setting *s, int code, const char *text)
{
    const char *dir = *state, *p;
    char shown[1000] = "";
    size_t len = 0;
    struct corpus *c;
    struct err e;

    assert_int_equal(open_corpus(s, &c, &e), code);
    for (p = e.text; *p; p++)
        if (strncmp(p, dir, strlen(dir)) == 0) {
            len += (size_t)snprintf(shown + len, sizeof shown - len, "DIR");
            p += strlen(dir) - 1;
        } else {
            shown[len++] = *p;
            shown[len] = '\0';
        }
    assert_string_equal(shown, text);
}

static const char *part_text(const struct corpus_part *p)
{
    static char out[400];

    for (uint64_t i = 0; i < p->count; i++)
        out[i] = (char)tokens_get(p->tokens, p->first + i);
    out[p->count] = '\0';
    return out;
}

static void folder_is_read_in_name_order_and_links_once(void **state)
{
    struct setting s;
    struct corpus *c;

    put_text(state, "b", "2");
    put_text(state, "a", "1\n");
    put_text(state, "c", "");
    assert_int_equal(mkdir(in(state, "aa"), 0700), 0);
    put_text(state, "aa/z", "s\r\n");
    put_text(state, "z", "3");
    assert_int_equal(symlink("z", in(state, "y")), 0);
    setting_init(&s, 2, *state);
    c = must_open(&s);
    assert_string_equal(part_text(&c->train), "1\ns\r\n23");
    assert_int_equal(c->files, 5);
    assert_int_equal(c->valid.count, 0);
    assert_true(corpus_bytes(c) >= 7 * 2);
    corpus_destroy(c);

    s.train[0] = in(state, "z");
    s.train[s.data.n_train++] = in(state, "z");
    s.train[s.data.n_train++] = in(state, "y");
    c = must_open(&s);
    assert_string_equal(part_text(&c->train), "333");
    corpus_destroy(c);
}

static void what_is_no_text_is_named(void **state)
{
    struct setting s;
    char deep[] = "deep/a/b";

    setting_init(&s, 2, in(state, "missing"));
    must_fail(state, &s, ERR_NOTFOUND,
              "data.train: DIR/missing: cannot read: No such file or directory");
    s.data.n_train = 0;
    must_fail(state, &s, ERR_SPEC, "data.train: wanted files or folders, found none");
    setting_init(&s, 2, put(state, "bin", "ok\nx\0y\n", 7));
    must_fail(state, &s, ERR_SPEC, "DIR/bin:2: wanted text, found a NUL at byte 2");
    setting_init(&s, 2, put_text(state, "latin", "one\ntwo\ncaf\xe9\n"));
    must_fail(state, &s, ERR_SPEC, "DIR/latin:3: wanted UTF-8, found 0xe9 at byte 4");
    s.data.tokenizer = NND__DATA__TOKENIZER__CHAR;
    must_fail(state, &s, ERR_SPEC, "DIR/latin:3: wanted UTF-8, found 0xe9 at byte 4");
    assert_int_equal(mkfifo(in(state, "fifo"), 0600), 0);
    setting_init(&s, 2, in(state, "fifo"));
    must_fail(state, &s, ERR_SPEC,
              "data.train: DIR/fifo: wanted a text file or a "
              "folder, found something else");
    for (char *p = deep; p; p = strchr(p + 1, '/')) {
        char *slash = strchr(p + 1, '/');
        if (slash)
            *slash = '\0';
        assert_int_equal(mkdir(in(state, deep), 0700), 0);
        if (slash)
            *slash = '/';
    }
    setting_init(&s, 2, in(state, "deep"));
    must_fail(state, &s, ERR_SPEC,
              "data.train: DIR/deep/a/b: wanted a file, found a "
              "folder; folders are read 2 deep");
    setting_init(&s, 2, in(state, "deep/a/b"));
    must_fail(state, &s, ERR_SPEC,
              "data.train: DIR/deep/a/b: wanted text files, found "
              "none in the folder");
    setting_init(&s, 2, put_text(state, "ok", "some text"));
    s.valid[s.data.n_valid++] = in(state, "missing");
    must_fail(state, &s, ERR_NOTFOUND,
              "data.valid: DIR/missing: cannot read: No such file or directory");
}

/* Root may read everything, so it steps aside for a moment. */
static void unreadable_file_is_denied(void **state)
{
    struct setting s;
    struct corpus *c;
    struct err e;
    int rc;

    setting_init(&s, 2, put_text(state, "secret", "text"));
    assert_int_equal(chmod(*state, 0711), 0);
    assert_int_equal(chmod(s.train[0], 0), 0);
    if (geteuid() == 0)
        assert_int_equal(seteuid(65534), 0);
    rc = open_corpus(&s, &c, &e);
    if (getuid() == 0)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(rc, ERR_DENIED);
    assert_non_null(strstr(e.text, "/secret: cannot read: Permission denied"));
}

static void too_little_text_is_refused(void **state)
{
    struct setting s;

    setting_init(&s, 8, put_text(state, "eight", "12345678"));
    must_fail(state, &s, ERR_SPEC,
              "data.train: wanted at least 9 tokens, found 8 in DIR/eight");
    setting_init(&s, 7, in(state, "eight"));
    corpus_destroy(must_open(&s));
    s.data.valid_fraction = 0.25;
    must_fail(state, &s, ERR_SPEC,
              "data.train: wanted at least 8 tokens, found 6 in DIR/eight: 8 read, 2 "
              "taken for validation (data.valid_fraction), 6 left");
    s.context = 4;
    corpus_destroy(must_open(&s));
    s.data.valid_fraction = 0.125;
    must_fail(state, &s, ERR_SPEC,
              "data.valid_fraction: wanted at least 2 tokens, found 1 in DIR/eight: 8 "
              "read, 7 taken to train on, 1 left");
    s.valid[s.data.n_valid++] = put_text(state, "none", "");
    must_fail(state, &s, ERR_SPEC,
              "data.valid: wanted at least 2 tokens, found 0 in DIR/none");
    setting_init(&s, 7, in(state, "none"));
    s.train[s.data.n_train++] = in(state, "none");
    must_fail(state, &s, ERR_SPEC,
              "data.train: wanted at least 8 tokens, found 0 in DIR/none and 1 more");
    s.data.tokenizer = NND__DATA__TOKENIZER__CHAR;
    must_fail(
        state, &s, ERR_SPEC,
        "data.train: DIR/none and 1 more: tokenizer char: wanted a training text, "
        "found none");
    s.data.format = NND__DATA__FORMAT__LINES;
    must_fail(state, &s, ERR_SPEC,
              "data.train: wanted at least 1 line, found 0 in DIR/none and 1 more");
    s.data.valid_fraction = -0.1;
    must_fail(state, &s, ERR_SPEC,
              "data.valid_fraction: wanted at least 0 and below 1, found -0.1");
    s.data.valid_fraction = 1;
    must_fail(state, &s, ERR_SPEC,
              "data.valid_fraction: wanted at least 0 and below 1, found 1");
}

static void what_became_of_lines_is_told(void **state)
{
    struct setting s;

    setting_init(&s, 4, put_text(state, "l", "\n12345\n\n1\n123456\n"));
    s.data.format = NND__DATA__FORMAT__LINES;
    s.data.too_long = NND__DATA__TOO_LONG__SKIP;
    s.data.valid_fraction = 0.1;
    must_fail(
        state, &s, ERR_SPEC,
        "data.train: wanted at least 1 line, found 0 in DIR/l: 5 read, 2 empty, 2 "
        "too long (data.too_long: skip), 1 taken for validation "
        "(data.valid_fraction), 0 left");
    s.data.valid_fraction = 0;
    s.valid[s.data.n_valid++] = put_text(state, "v", "12345\n");
    must_fail(
        state, &s, ERR_SPEC,
        "data.valid: wanted at least 1 line, found 0 in DIR/v: 1 read, 1 too long "
        "(data.too_long: skip), 0 left");
}

static void stream_is_cut_at_its_end(void **state)
{
    struct setting s;
    struct corpus *c;

    setting_init(&s, 4, put_text(state, "ten", "0123456789"));
    s.data.valid_fraction = 0.2;
    c = must_open(&s);
    assert_string_equal(part_text(&c->train), "01234567");
    assert_string_equal(part_text(&c->valid), "89");
    corpus_destroy(c);
    s.valid[s.data.n_valid++] = put_text(state, "other", "abc");
    c = must_open(&s);
    assert_string_equal(part_text(&c->train), "0123456789");
    assert_string_equal(part_text(&c->valid), "abc");
    corpus_destroy(c);
}

static void byte_order_mark_is_no_text(void **state)
{
    struct setting s;
    struct corpus *c;

    setting_init(&s, 4,
                 put_text(state, "marked",
                          "\xef\xbb\xbf"
                          "01234\n\xef\xbb\xbf"));
    c = must_open(&s);
    assert_string_equal(part_text(&c->train), "01234\n\xef\xbb\xbf");
    corpus_destroy(c);
    setting_init(&s, 4, put_text(state, "mark", "\xef\xbb\xbf"));
    must_fail(state, &s, ERR_SPEC,
              "data.train: wanted at least 5 tokens, found 0 in DIR/mark");
}

static void lines_are_cut_by_lines(void **state)
{
    struct setting s;
    struct corpus *c;
    const struct corpus_part *p;

    setting_init(&s, 4, put_text(state, "l", "one\n\nfourteen\n\n\nx\nlast"));
    s.train[s.data.n_train++] = put_text(state, "m", "next");
    s.data.format = NND__DATA__FORMAT__LINES;
    s.data.valid_fraction = 0.4;
    c = must_open(&s);
    assert_int_equal(c->store[0].empty, 3);
    assert_int_equal(c->long_lines, 1);
    p = &c->train;
    assert_int_equal(p->lines, 3);
    assert_string_equal(part_text(p), "one\nfourteen\nx\n");
    assert_int_equal(p->line[1] - p->line[0], 4);
    assert_int_equal(p->line[3] - p->line[2], 2);
    p = &c->valid;
    assert_int_equal(p->lines, 2);
    assert_string_equal(part_text(p), "last\nnext\n");
    assert_int_equal(p->line[0], p->first);
    corpus_destroy(c);
}

static void validation_may_not_have_new_chars(void **state)
{
    struct setting s;
    struct corpus *c;

    setting_init(&s, 2, put_text(state, "t", "abcabc\n"));
    s.valid[s.data.n_valid++] = put_text(state, "v",
                                         "abc\nab\xc3\xa9"
                                         "c\n");
    s.data.tokenizer = NND__DATA__TOKENIZER__CHAR;
    must_fail(state, &s, ERR_SPEC,
              "DIR/v:2: character 3, U+00E9 \"\xc3\xa9\", is not "
              "among the 4 of the tokenizer's training text");
    /* What is cut from the training files was learned from. */
    s.data.n_valid = 0;
    s.data.valid_fraction = 0.3;
    s.train[0] = put_text(state, "u", "aaaaaaaaxy");
    c = must_open(&s);
    assert_int_equal(tokens_get(c->valid.tokens, c->valid.first + 2), 2);
    corpus_destroy(c);
}

static void tokenizer_of_another_kind_is_refused(void **state)
{
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;

    setting_init(&s, 2, put_text(state, "t", "abcabc\n"));
    assert_int_equal(lexicon_learn(&s.data, &l, &e), 0);
    s.data.tokenizer = NND__DATA__TOKENIZER__CHAR;
    assert_int_equal(corpus_open(&s.data, &l, 2, 0, &c, &e), ERR_SPEC);
    assert_string_equal(e.text, "data.tokenizer: wanted char, found a byte tokenizer");
    lexicon_free(&l);
}

/* A file of our own says itself what it does. */
static void keys_that_a_file_does_not_do_are_refused(void **state)
{
    static const char words[] =
        "{\"kind\":\"word\",\"marks\":true,\"words\":[\"a\"]}\n";
    static const char able[] =
        "{\"kind\":\"word\",\"lower\":true,\"marks\":true,"
        "\"split\":true,\"strict\":true,\"words\":[\"a\",\"\\n\"]}\n";
    struct setting s;

    setting_init(&s, 2, put_text(state, "t", "a a a a\n"));
    s.data.tokenizer = NND__DATA__TOKENIZER__WORD;
    s.data.tokenizer_file = put_text(state, "words", words);
    corpus_destroy(must_open(&s));
    s.data.lower = true;
    must_fail(state, &s, ERR_SPEC,
              "data.lower: wanted false, as DIR/words has it, found true");
    s.data.lower = false;
    s.data.split = true;
    must_fail(state, &s, ERR_SPEC,
              "data.split: wanted false, as DIR/words has it, found true");
    s.data.split = false;
    s.data.unk = NND__DATA__UNKNOWN__ERROR;
    must_fail(state, &s, ERR_SPEC,
              "data.unk: wanted replace, as DIR/words has it, found error");
    s.data.lower = s.data.split = true;
    s.data.tokenizer_file = put_text(state, "able", able);
    corpus_destroy(must_open(&s));
    s.data.lower = s.data.split = false;
    s.data.unk = NND__DATA__UNKNOWN__REPLACE;
    corpus_destroy(must_open(&s));
}

/* Of a checkpoint to begin with. */
static void keys_that_another_model_does_not_do_are_refused(void **state)
{
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;

    setting_init(&s, 2, put_text(state, "t", "abcabc\n"));
    assert_int_equal(lexicon_learn(&s.data, &l, &e), 0);
    s.data.unk = NND__DATA__UNKNOWN__ERROR; /* no byte is unknown */
    assert_int_equal(corpus_open(&s.data, &l, 2, 0, &c, &e), 0);
    corpus_destroy(c);
    s.data.lower = true;
    assert_int_equal(corpus_open(&s.data, &l, 2, 0, &c, &e), ERR_SPEC);
    assert_string_equal(e.text, "data.lower: wanted false, as the checkpoint's "
                                "tokenizer has it, found true");
    lexicon_free(&l);
}

static void hash_follows_text_and_cut(void **state)
{
    char hex[4][SHA256_HEX];
    struct setting s;
    struct corpus *c;

    setting_init(&s, 2, put_text(state, "t", "ab\ncd\nef\n"));
    for (int i = 0; i < 4; i++) {
        if (i == 1)
            s.data.valid_fraction = 0.4;
        if (i == 2)
            s.data.format = NND__DATA__FORMAT__LINES;
        if (i == 3)
            s.train[0] = put_text(state, "u", "ab\ncd\neg\n");
        c = must_open(&s);
        corpus_sha256(c, hex[i]);
        corpus_destroy(c);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(hex[i], hex[j]);
    }
    s.train[0] = put_text(state, "v", "ab\ncd\neg\n");
    c = must_open(&s);
    corpus_sha256(c, hex[0]);
    corpus_destroy(c);
    assert_string_equal(hex[0], hex[3]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(folder_is_read_in_name_order_and_links_once),
        TEST(what_is_no_text_is_named),
        TEST(unreadable_file_is_denied),
        TEST(too_little_text_is_refused),
        TEST(what_became_of_lines_is_told),
        TEST(stream_is_cut_at_its_end),
        TEST(byte_order_mark_is_no_text),
        TEST(lines_are_cut_by_lines),
        TEST(validation_may_not_have_new_chars),
        TEST(tokenizer_of_another_kind_is_refused),
        TEST(keys_that_a_file_does_not_do_are_refused),
        TEST(keys_that_another_model_does_not_do_are_refused),
        TEST(hash_follows_text_and_cut),
    };

    return cmocka_run_group_tests_name("data/corpus", tests, NULL, NULL);
}

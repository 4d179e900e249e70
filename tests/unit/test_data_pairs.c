/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_pairs.c - sources and targets: read from columns or from two files, as
 * words with marks, in rows with lengths; and what is wrong with them is told.
 */
#include <stdio.h>

#include "data/batch.h"
#include "data/pairs.h"
#include "data/unicode.h"
#include "unit.h"

static char *put(void **state, const char *name, const char *text)
{
    const char *path = unit_path(state, name);
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    fclose(f);
    return (char *)path;
}

/* A job's data: pairs of words. */
struct setting {
    Nnd__Data data;
    char *train[2], *valid[2], *source[2], *valid_source[2];
    uint32_t columns[2];
    uint32_t context, source_context;
};

static void setting_init(struct setting *s, char *train)
{
    *s = (struct setting){.data = NND__DATA__INIT, .context = 6, .source_context = 6};
    s->data.train = s->train;
    s->data.valid = s->valid;
    s->data.source = s->source;
    s->data.columns = s->columns;
    s->data.valid_fraction = 0;
    s->data.format = NND__DATA__FORMAT__PAIRS;
    s->data.tokenizer = NND__DATA__TOKENIZER__WORD;
    s->data.too_long = NND__DATA__TOO_LONG__REFUSE;
    s->train[s->data.n_train++] = train;
}

static int open_corpus(const struct setting *s, struct lexicon *l, struct corpus **c,
                       struct err *e)
{
    int rc = lexicon_learn(&s->data, l, e);

    if (rc < 0)
        return rc;
    rc = corpus_open(&s->data, l, s->context, s->source_context, c, e);
    if (rc < 0)
        lexicon_free(l);
    return rc;
}

/* The error, in which DIR stands for the folder of the test. */
static void must_fail(void **state, struct setting *s, const char *text)
{
    const char *dir = *state, *p = NULL;
    struct buf shown = {0};
    struct lexicon l;
    struct corpus *c;
    struct err e;

    assert_int_equal(open_corpus(s, &l, &c, &e), ERR_SPEC);
    for (const char *at = e.text; at; at = p ? p + strlen(dir) : NULL) {
        p = strstr(at, dir);
        buf_add(&shown, at, p ? (size_t)(p - at) : strlen(at));
        buf_puts(&shown, p ? "DIR" : "");
    }
    assert_string_equal(shown.data, text);
    buf_free(&shown);
}

static void must_text(const struct tokenizer *t, const struct tokens *from, uint64_t at,
                      uint64_t end, const char *text)
{
    struct buf b = {0};
    struct err e;
    uint32_t ids[32];
    size_t n = 0;

    while (at < end && n < 32)
        ids[n++] = tokens_get(from, at++);
    assert_int_equal(tokenizer_decode(t, ids, n, &b, &e), 0);
    assert_string_equal(b.data ? b.data : "", text);
    buf_free(&b);
}

/* ---- reading -------------------------------------------------------------- */

static void columns_and_files_give_the_same_pairs(void **state)
{
    struct setting one, two;
    struct lexicon l[2];
    struct corpus *c[2];
    char hex[2][SHA256_HEX];
    struct err e;

    setting_init(&one, put(state, "tsv", "a b\tx\nb\ty z\nc a\tx\n"));
    setting_init(&two, put(state, "to", "x\ny z\nx\n"));
    two.source[two.data.n_source++] = put(state, "from", "a b\nb\nc a\n");
    assert_int_equal(open_corpus(&one, &l[0], &c[0], &e), 0);
    assert_int_equal(open_corpus(&two, &l[1], &c[1], &e), 0);
    for (int i = 0; i < 2; i++) {
        const struct corpus_part *p = &c[i]->train;

        assert_int_equal(p->lines, 3);
        assert_int_equal(tokenizer_vocab(l[i].source), TOKEN_MARKS + 3);
        assert_int_equal(tokenizer_vocab(l[i].target), TOKEN_MARKS + 3);
        must_text(l[i].source, p->source, p->source_line[0], p->source_line[1], "a b");
        must_text(l[i].target, p->tokens, p->line[1], p->line[2], "y z");
        assert_int_equal(tokens_get(p->tokens, p->line[1]), TOKEN_BOS);
        assert_int_equal(tokens_get(p->tokens, p->line[2] - 1), TOKEN_EOS);
        corpus_sha256(c[i], hex[i]);
        corpus_destroy(c[i]);
        lexicon_free(&l[i]);
    }
    assert_string_equal(hex[0], hex[1]);
}

static void columns_are_chosen(void **state)
{
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;

    setting_init(&s, put(state, "t", "hi\tno\tsalut\nwho\tno\tqui\n"));
    s.data.n_columns = 2;
    s.columns[0] = 3;
    s.columns[1] = 1;
    assert_int_equal(open_corpus(&s, &l, &c, &e), 0);
    must_text(l.source, c->train.source, 0, 2, "salut");
    must_text(l.target, c->train.tokens, 0, 3, "hi");
    corpus_destroy(c);
    lexicon_free(&l);
}

static void bad_pairs_are_told_by_file_and_line(void **state)
{
    struct setting s;

    setting_init(&s, put(state, "t", "a\tb\na\tb\tc\n"));
    must_fail(state, &s, "DIR/t:2: wanted 2 columns, separated by tabs, found 3");
    setting_init(&s, put(state, "t", "a\tb\nc\n"));
    must_fail(state, &s, "DIR/t:2: wanted 2 columns, separated by tabs, found 1");
    setting_init(&s, put(state, "t", "a\tb\tc\na\tb\n"));
    s.data.n_columns = 2;
    s.columns[0] = 1;
    s.columns[1] = 3;
    must_fail(state, &s,
              "DIR/t:2: wanted 3 columns as in the file's first line, found 2");
    setting_init(&s, put(state, "t", "a\tb\n \tb\n"));
    must_fail(state, &s, "DIR/t:2: wanted text as source, found none");
    setting_init(&s, put(state, "t", "a\tb\nc\t\n"));
    must_fail(state, &s, "DIR/t:2: wanted text as target, found none");
    setting_init(&s, put(state, "t", "a\tb\nc\t\u3000\u00a0 \n"));
    must_fail(state, &s, "DIR/t:2: wanted text as target, found none");
    setting_init(&s, put(state, "t", "a\tb\nc\t\xff\n"));
    must_fail(state, &s, "DIR/t:2: wanted UTF-8, found 0xff at byte 3");
    setting_init(&s, put(state, "t", "a b c d e f\tb\n"));
    must_fail(state, &s,
              "DIR/t:1: wanted at most 6 tokens as source, <eos> included "
              "(model.source_context, data.too_long), found 7");
    setting_init(&s, put(state, "t", "a\ta b c d e\nb\ta b c d e f\n"));
    must_fail(state, &s,
              "DIR/t:2: wanted at most 6 tokens as target, <eos> included "
              "(model.context, data.too_long), found 7");
}

static void bad_files_are_told(void **state)
{
    struct setting s;

    setting_init(&s, put(state, "to", "x\ny\nz\n"));
    s.source[s.data.n_source++] = put(state, "from", "a\nb\n");
    must_fail(state, &s,
              "DIR/to:3: wanted as many targets as sources, found no more than 2 in "
              "DIR/from");
    setting_init(&s, put(state, "to", "x\ny\n"));
    s.source[s.data.n_source++] = put(state, "from", "a\nb\nc\n");
    must_fail(state, &s,
              "DIR/from:3: wanted as many sources as targets, found no more than 2 in "
              "DIR/to");
    setting_init(&s, put(state, "to", "x\ny\n"));
    s.source[s.data.n_source++] = put(state, "from", "a\n\n");
    must_fail(state, &s, "DIR/from:2: wanted text as source, found none");
    setting_init(&s, put(state, "to", "x\n\u2003\u2028\n"));
    s.source[s.data.n_source++] = put(state, "from", "a\nb\n");
    must_fail(state, &s, "DIR/to:2: wanted text as target, found none");
}

/* Sources and targets in files of their own need not begin at the same line of one. */
static void a_side_is_told_by_its_own_file(void **state)
{
    struct setting s;

    setting_init(&s, put(state, "to", "x\ny\n"));
    s.train[s.data.n_train++] = put(state, "more", "z\n");
    s.source[s.data.n_source++] = put(state, "from", "a\nb\na b c d e f\n");
    must_fail(state, &s,
              "DIR/from:3: wanted at most 6 tokens as source, <eos> included "
              "(model.source_context, data.too_long), found 7");
    setting_init(&s, put(state, "to", "x\ny\n"));
    s.train[s.data.n_train++] = put(state, "more", "a b c d e f\n");
    s.source[s.data.n_source++] = put(state, "from", "a\nb\nc\n");
    must_fail(state, &s,
              "DIR/more:1: wanted at most 6 tokens as target, <eos> included "
              "(model.context, data.too_long), found 7");
    setting_init(&s, put(state, "to", "x\ny\n"));
    s.source[s.data.n_source++] = put(state, "from", "a\nb\n");
    s.valid[s.data.n_valid++] = put(state, "v", "x\n");
    s.data.valid_source = s.valid_source;
    s.valid_source[s.data.n_valid_source++] = put(state, "w", "b q\n");
    s.data.unk = NND__DATA__UNKNOWN__ERROR;
    must_fail(state, &s,
              "DIR/w:1: source: word 2, \"q\", is not among the 2 of the tokenizer's "
              "training text");
}

static void blank_is_white_space_of_any_script(void **state)
{
    static const char *const blank[] = {
        "",       " \t\v\f\r\n",   "\xc2\x85\u00a0", "\u1680", "\u2000\u200a",
        "\u2028", "\u2029 \u202f", "\u205f",         "\u3000"};
    static const char *const text[] = {"a",      " \u3000.", "\u200b",
                                       "\ufeff", "\u180e",   "\xe3\x80",
                                       " \xa0",  "\u2800",   "\u3000\xff"};

    (void)state;
    for (size_t i = 0; i < sizeof blank / sizeof *blank; i++)
        assert_true(unicode_blank(blank[i], strlen(blank[i])));
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        assert_false(unicode_blank(text[i], strlen(text[i])));
    assert_false(unicode_blank("\0", 1));
}

static void long_pairs_are_cut_or_skipped(void **state)
{
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;

    setting_init(&s, put(state, "t", "a b c d e f g\tx\nb\ty\n"));
    for (int skip = 0; skip < 2; skip++) {
        s.data.too_long = skip ? NND__DATA__TOO_LONG__SKIP : NND__DATA__TOO_LONG__CUT;
        assert_int_equal(open_corpus(&s, &l, &c, &e), 0);
        assert_int_equal(c->long_lines, 1);
        assert_int_equal(c->train.lines, skip ? 1 : 2);
        const uint64_t *line = c->train.source_line;
        must_text(l.source, c->train.source, 0, line[1], skip ? "b" : "a b c d e");
        assert_int_equal(tokens_get(c->train.source, line[1] - 1), TOKEN_EOS);
        corpus_destroy(c);
        lexicon_free(&l);
    }
}

static void what_became_of_pairs_is_told(void **state)
{
    struct setting s;

    setting_init(&s, put(state, "one", "a\tx\n"));
    s.data.valid_fraction = 0.1;
    must_fail(state, &s,
              "data.train: wanted at least 1 pair, found 0 in DIR/one: 1 read, 1 taken "
              "for validation (data.valid_fraction), 0 left");
    setting_init(&s, put(state, "t", "a b c d e f\tx\nb\ta b c d e f g\n"));
    s.data.too_long = NND__DATA__TOO_LONG__SKIP;
    must_fail(
        state, &s,
        "data.train: wanted at least 1 pair, found 0 in DIR/t: 2 read, 2 too long "
        "(data.too_long: skip), 0 left");
}

static void unknown_words_are_replaced_or_refused(void **state)
{
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;
    char *valid = put(state, "v", "a b\tx y\n");

    setting_init(&s, put(state, "t", "a a\tx\na\tx\n"));
    s.valid[s.data.n_valid++] = valid;
    assert_int_equal(open_corpus(&s, &l, &c, &e), 0);
    must_text(l.target, c->valid.tokens, 0, 4, "x <unk>");
    corpus_destroy(c);
    lexicon_free(&l);
    s.data.unk = NND__DATA__UNKNOWN__ERROR;
    must_fail(state, &s,
              "DIR/v:1: source: word 2, \"b\", is not among the 1 of the tokenizer's "
              "training text");
}

/* ---- words ---------------------------------------------------------------- */

static struct tokenizer *words_of(const char *text, struct tokenizer_config c)
{
    struct tokenizer *t;
    struct err e;

    c.kind = "word";
    assert_int_equal(tokenizer_create(&c, &t, &e), 0);
    assert_int_equal(tokenizer_learn(t, text, strlen(text), &e), 0);
    assert_int_equal(tokenizer_seal(t, &e), 0);
    return t;
}

static void must_go_round(const struct tokenizer *t, const char *in, const char *out)
{
    struct tokens ids;
    struct err e;

    tokens_init(&ids, tokenizer_vocab(t));
    assert_int_equal(tokenizer_encode(t, in, strlen(in), &ids, &e), 0);
    must_text(t, &ids, 0, ids.count, out);
    tokens_free(&ids);
}

static void words_are_split_and_joined(void **state)
{
    static const char text[] = "Hello, world! 3.14 (or 3,000)? 我爱 你。 It's so. "
                               "\"ok\" me@x.y [a] «b» 《我》 x…";
    struct tokenizer *t =
        words_of(text, (struct tokenizer_config){.split = true, .lower = true});

    (void)state;
    must_go_round(t, "hello , world !", "hello, world!");
    must_go_round(t, "HELLO\u00a0WORLD\u202f!", "hello world!");
    must_go_round(t, "3.14 ( or 3,000 ) ?", "3.14 (or 3,000)?");
    must_go_round(t, "我 爱 你", "我爱你");
    must_go_round(t, "我爱你。 It's", "我爱你。 it's");
    must_go_round(t, "\"ok\" me@x.y", "\" ok \" me@x. y");
    must_go_round(t, "[a]«b»《我》x…", "[a] « b » 《 我 》 x…");
    tokenizer_destroy(t);
    t = words_of("a, b", (struct tokenizer_config){0});
    must_go_round(t, "b  a, a", "b a, <unk>");
    tokenizer_destroy(t);
}

/* By count, equal counts by bytes; rare ones are not learned. */
static void ids_follow_counts(void **state)
{
    struct tokenizer *t = words_of(
        "b a c c b d", (struct tokenizer_config){.min_count = 1, .max_words = 3});
    struct tokens ids;
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_vocab(t), TOKEN_MARKS + 3);
    tokens_init(&ids, 100);
    assert_int_equal(tokenizer_encode(t, "b c a d", 7, &ids, &e), 0);
    assert_int_equal(tokens_get(&ids, 0), TOKEN_MARKS);
    assert_int_equal(tokens_get(&ids, 1), TOKEN_MARKS + 1);
    assert_int_equal(tokens_get(&ids, 2), TOKEN_MARKS + 2);
    assert_int_equal(tokens_get(&ids, 3), TOKEN_UNK);
    tokens_free(&ids);
    tokenizer_destroy(t);
    t = words_of("b a c c b d", (struct tokenizer_config){.min_count = 2});
    assert_int_equal(tokenizer_vocab(t), TOKEN_MARKS + 2);
    tokenizer_destroy(t);
}

static void marks_have_no_text(void **state)
{
    static const uint32_t ids[] = {TOKEN_BOS,   TOKEN_MARKS, TOKEN_PAD,
                                   TOKEN_MARKS, TOKEN_EOS,   TOKEN_MARKS};
    struct tokenizer *t = words_of("a", (struct tokenizer_config){0});
    struct buf b = {0};
    struct err e;

    (void)state;
    assert_int_equal(tokenizer_decode(t, ids, 6, &b, &e), 0);
    assert_string_equal(b.data, "a a");
    buf_free(&b);
    tokenizer_destroy(t);
}

static void lexicons_are_saved(void **state)
{
    static const char one[] = "{\"kind\":\"word\",\"lower\":true,\"marks\":true,"
                              "\"split\":true,\"words\":[\"a\",\"b\"]}";
    char both[300];
    struct lexicon l;
    struct buf b = {0};
    struct err e;

    (void)state;
    snprintf(both, sizeof both, "{\"source\":%s,\"target\":%s}\n", one, one);
    assert_int_equal(lexicon_load("f", both, strlen(both), &l, &e), 0);
    assert_non_null(l.source);
    assert_int_equal(lexicon_save(&l, &b, &e), 0);
    assert_string_equal(b.data, both);
    buf_clear(&b);
    lexicon_free(&l);
    assert_int_equal(lexicon_load("f", one, strlen(one), &l, &e), 0);
    assert_null(l.source);
    assert_ptr_equal(lexicon_source(&l), l.target);
    lexicon_free(&l);
    assert_int_equal(lexicon_load("f", "{\"source\":{}}", 13, &l, &e), ERR_SPEC);
    assert_string_equal(e.text, "f: wanted a tokenizer, or \"source\" and \"target\"");
    buf_free(&b);
}

static void a_vocabulary_of_another_model_is_refused(void **state)
{
    static const char plain[] = "{\"chars\":\"ab\",\"kind\":\"char\"}";
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    struct err e;

    setting_init(&s, put(state, "t", "a\tb\n"));
    s.data.tokenizer = NND__DATA__TOKENIZER__CHAR;
    assert_int_equal(lexicon_load("f", plain, strlen(plain), &l, &e), 0);
    assert_int_equal(corpus_open(&s.data, &l, 6, 6, &c, &e), ERR_SPEC);
    assert_string_equal(e.text,
                        "data.format: pairs want a vocabulary with <bos> and <eos>, "
                        "found one without: it is of another model");
    lexicon_free(&l);
    assert_int_equal(lexicon_learn(&s.data, &l, &e), 0);
    s.data.share_vocab = true;
    assert_int_equal(corpus_open(&s.data, &l, 6, 6, &c, &e), ERR_SPEC);
    assert_string_equal(e.text,
                        "data.share_vocab: wanted 1 vocabularies, found 2: they "
                        "are of another model");
    lexicon_free(&l);
}

/* ---- rows ----------------------------------------------------------------- */

static void rows_hold_both_sides(void **state)
{
    int32_t id[12], target[12], pos[12], sample[12];
    int32_t source_id[8], source_pos[8], source_sample[8], len[2];
    const struct batch_rows rows = {.id = id,
                                    .target = target,
                                    .pos = pos,
                                    .sample = sample,
                                    .source_id = source_id,
                                    .source_pos = source_pos,
                                    .source_sample = source_sample,
                                    .source_len = len};
    struct batch_source b;
    struct setting s;
    struct lexicon l;
    struct corpus *c;
    uint64_t counts[2];
    struct err e;

    setting_init(&s, put(state, "t", "a b c\tx y\n"));
    s.source_context = 4;
    assert_int_equal(open_corpus(&s, &l, &c, &e), 0);
    batch_source_valid(c, 2, 0, &b);
    assert_int_equal(b.samples, 0);
    batch_source_train(c, 1, 2, &b);
    b.train = false; /* once through, so that the second sample is padding */
    batch_counts(&b, 0, 2, counts);
    assert_int_equal(counts[0], 3);
    assert_int_equal(counts[1], 0);
    batch_fill(&b, 0, 0, 2, &rows);
    static const int32_t want_id[] = {TOKEN_BOS, 4, 5, 0, 0, 0};
    static const int32_t want_target[] = {4, 5, TOKEN_EOS, -1, -1, -1};
    static const int32_t want_source[] = {4, 5, 6, TOKEN_EOS};
    assert_memory_equal(id, want_id, sizeof want_id);
    assert_memory_equal(target, want_target, sizeof want_target);
    assert_memory_equal(source_id, want_source, sizeof want_source);
    assert_int_equal(len[0], 4);
    assert_int_equal(len[1], 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(source_pos[i], i);
        assert_int_equal(source_pos[4 + i], -1);
        assert_int_equal(source_sample[4 + i], 1);
    }
    corpus_destroy(c);
    lexicon_free(&l);
}

/* ---- packs ---------------------------------------------------------------- */

/* 60 pairs with 1 to 5 words on either side. */
static struct corpus *many_pairs(void **state, struct setting *s, struct lexicon *l)
{
    struct buf text = {0};
    struct corpus *c;
    struct err e;

    for (int i = 0; i < 60; i++) {
        for (int k = 0; k <= i % 5; k++)
            buf_printf(&text, "%sw%d", k ? " " : "", k);
        for (int k = 0; k <= i * i % 5; k++)
            buf_printf(&text, "%sv%d", k ? " " : "\t", k);
        buf_puts(&text, "\n");
    }
    setting_init(s, put(state, "t", text.data));
    buf_free(&text);
    assert_int_equal(open_corpus(s, l, &c, &e), 0);
    return c;
}

/* All pairs come once in an epoch, in packs that fit, in another order in the next;
 * and a pack is the same however it was come to. */
static void packs_hold_every_pair_once(void **state)
{
    static const struct packs_limit limit = {60, 14, 13, 4, 20};
    struct setting s;
    struct lexicon l;
    struct corpus *c = many_pairs(state, &s, &l);
    const struct corpus_part *p = &c->train;
    uint64_t first[2] = {0}, n = 0, i = 0, full = 0;
    struct packs *all, *one;
    struct err e;

    assert_int_equal(packs_create(p, 7, &limit, true, &all, &e), 0);
    assert_int_equal(packs_create(p, 7, &limit, true, &one, &e), 0);
    for (int epoch = 0; epoch < 2; epoch++) {
        bool seen[60] = {false};

        for (n = 0; n < p->lines; i++) {
            const uint64_t *line, *again;
            uint64_t rows = 0, source = 0, count = packs_at(all, i, &line);

            assert_in_range(count, 1, limit.samples);
            for (uint64_t k = 0; k < count; k++) {
                assert_false(seen[line[k]]);
                seen[line[k]] = true;
                rows += p->line[line[k] + 1] - p->line[line[k]] - 1;
                source += p->source_line[line[k] + 1] - p->source_line[line[k]];
            }
            if (n == 0)
                first[epoch] = line[0];
            n += count;
            assert_true(rows <= limit.rows && source <= limit.source_rows);
            full += rows > limit.rows / 2;
            assert_int_equal(packs_at(one, 50 - i, &again) > 0, 1);
            assert_int_equal(packs_at(one, i ? i - 1 : i, &again) > 0, 1);
            assert_int_equal(packs_at(one, i, &again), count);
            assert_memory_equal(line, again, count * sizeof *line);
        }
        assert_int_equal(n, p->lines);
    }
    assert_int_not_equal(first[0], first[1]);
    assert_true(full > i / 2);
    packs_destroy(all);
    packs_destroy(one);
    corpus_destroy(c);
    lexicon_free(&l);
}

/* Lengths are equal where each is the same text. */
static void a_packed_validation_keeps_to_its_batches(void **state)
{
    enum { B = 4, LIMIT = 3, R = 16 };
    struct batch_source b;
    struct setting s;
    struct lexicon l;
    struct corpus *c = many_pairs(state, &s, &l);
    uint64_t seen = 0, wanted = 0, counts[2];
    struct err e;

    c->valid = c->train;
    for (uint64_t k = 0; k < LIMIT * B; k++)
        wanted += c->valid.line[k + 1] - c->valid.line[k] - 1;
    batch_source_valid(c, B, LIMIT, &b);
    assert_int_equal(batch_source_pack(&b, 2 * R, 2, &e), 0);
    for (uint64_t step = 0; step < batch_steps(&b); step++) {
        batch_counts(&b, step, 2, counts);
        seen += counts[0] + counts[1];
    }
    assert_int_equal(seen, wanted);
    for (uint64_t i = 0; i < packs_count(b.packs); i++) {
        const uint64_t *line;

        for (uint64_t n = packs_at(b.packs, i, &line); n-- > 0;)
            assert_true(line[n] < LIMIT * B);
    }
    batch_source_free(&b);
    corpus_destroy(c);
    lexicon_free(&l);
}

/* A step that stands in two epochs asks for its chunks twice, in order. */
static void going_back_over_a_border_makes_one_epoch(void **state)
{
    static const struct packs_limit limit = {60, 14, 13, 4, 20};
    struct setting s;
    struct lexicon l;
    struct corpus *c = many_pairs(state, &s, &l);
    const uint64_t *line;
    struct packs *p;
    uint64_t border = 0, made;
    struct err e;

    assert_int_equal(packs_create(&c->train, 7, &limit, true, &p, &e), 0);
    for (uint64_t n = 0; n < 9 * limit.lines; border++)
        n += packs_at(p, border, &line);
    for (int k = 0; k < 3; k++) {
        made = packs_made(p);
        packs_at(p, border, &line);
        packs_at(p, border - 1, &line);
        packs_at(p, border, &line);
        assert_true(packs_made(p) - made <= 3);
    }
    packs_destroy(p);
    corpus_destroy(c);
    lexicon_free(&l);
}

static void packed_rows_stand_one_behind_the_other(void **state)
{
    enum { B = 4, R = 16 };
    int32_t id[R], target[R], pos[R], sample[R], cu[B + 1];
    int32_t source_id[R], source_pos[R], source_sample[R], source_cu[B + 1];
    const struct batch_rows rows = {.id = id,
                                    .target = target,
                                    .pos = pos,
                                    .sample = sample,
                                    .source_id = source_id,
                                    .source_pos = source_pos,
                                    .source_sample = source_sample,
                                    .cu = cu,
                                    .source_cu = source_cu};
    struct batch_source b;
    struct setting s;
    struct lexicon l;
    struct corpus *c = many_pairs(state, &s, &l);
    uint64_t counts[2], sum = 0;
    struct err e;

    batch_source_train(c, 1, 2 * B, &b);
    assert_int_equal(batch_source_pack(&b, 2 * R, 2, &e), 0);
    for (uint64_t step = 0; step < batch_steps(&b); step++) {
        batch_counts(&b, step, 2, counts);
        for (uint32_t chunk = 0; chunk < 2; chunk++) {
            int32_t real = 0;

            batch_fill(&b, step, chunk * B, B, &rows);
            assert_int_equal(cu[0], 0);
            for (int k = 0; k < B; k++)
                for (int i = cu[k]; i < cu[k + 1]; i++) {
                    assert_int_equal(pos[i], i - cu[k]);
                    assert_int_equal(sample[i], (int32_t)chunk * B + k);
                    assert_int_equal(id[i] == TOKEN_BOS, i == cu[k]);
                    assert_int_equal(target[i] == TOKEN_EOS, i == cu[k + 1] - 1);
                }
            for (int i = 0; i < R; i++) {
                real += target[i] >= 0;
                assert_int_equal(pos[i] < 0, i >= cu[B]);
                assert_int_equal(source_pos[i] < 0, i >= source_cu[B]);
            }
            assert_int_equal(real, counts[chunk]);
            sum += counts[chunk];
        }
    }
    assert_true(sum >= c->train.count - c->train.lines);
    batch_source_free(&b);
    corpus_destroy(c);
    lexicon_free(&l);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(columns_and_files_give_the_same_pairs),
        TEST(columns_are_chosen),
        TEST(bad_pairs_are_told_by_file_and_line),
        TEST(bad_files_are_told),
        TEST(a_side_is_told_by_its_own_file),
        TEST(long_pairs_are_cut_or_skipped),
        TEST(what_became_of_pairs_is_told),
        TEST(unknown_words_are_replaced_or_refused),
        cmocka_unit_test(blank_is_white_space_of_any_script),
        cmocka_unit_test(words_are_split_and_joined),
        cmocka_unit_test(ids_follow_counts),
        cmocka_unit_test(marks_have_no_text),
        cmocka_unit_test(lexicons_are_saved),
        TEST(a_vocabulary_of_another_model_is_refused),
        TEST(rows_hold_both_sides),
        TEST(packs_hold_every_pair_once),
        TEST(a_packed_validation_keeps_to_its_batches),
        TEST(going_back_over_a_border_makes_one_epoch),
        TEST(packed_rows_stand_one_behind_the_other),
    };

    return cmocka_run_group_tests_name("pairs", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mistakes_data.c - mistakes that code to learn from makes with its data, each by
 * the number of a list of 29 whose others are in tests/num/test_mistakes.c, which says
 * where the rest is: here it is done right.
 */
#include <stdio.h>

#include "data/batch.h"
#include "data/pairs.h"
#include "unit.h"

enum { ROWS = 64 };

/* Text in a file, and what a job makes of it. */
struct text {
    Nnd__Data data;
    char *train[1];
    struct lexicon lexicon;
    struct corpus *corpus;
};

static void open_text(struct text *t, void **state, const char *text, uint32_t context)
{
    const char *path = unit_path(state, "text");
    FILE *f = fopen(path, "w");
    struct err e;

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
    t->train[0] = (char *)path;
    t->data.train = t->train;
    t->data.n_train = 1;
    if (lexicon_learn(&t->data, &t->lexicon, &e) < 0 ||
        corpus_open(&t->data, &t->lexicon, context, context, &t->corpus, &e) < 0)
        fail_msg("%s", e.text);
}

static void close_text(struct text *t)
{
    corpus_destroy(t->corpus);
    lexicon_free(&t->lexicon);
}

static struct text words_in_pairs(void)
{
    struct text t = {.data = NND__DATA__INIT};

    t.data.format = NND__DATA__FORMAT__PAIRS;
    t.data.tokenizer = NND__DATA__TOKENIZER__WORD;
    t.data.too_long = NND__DATA__TOO_LONG__CUT;
    t.data.valid_fraction = 0;
    return t;
}

/* Rows of a step. */
struct rows {
    int32_t id[ROWS], target[ROWS], pos[ROWS], sample[ROWS];
    int32_t source_id[ROWS], source_pos[ROWS], source_sample[ROWS], source_len[ROWS];
};

static void fill(const struct batch_source *b, uint64_t step, uint32_t n,
                 struct rows *r)
{
    struct batch_rows rows = {
        .id = r->id, .target = r->target, .pos = r->pos, .sample = r->sample};

    if (b->part->source) {
        rows.source_id = r->source_id;
        rows.source_pos = r->source_pos;
        rows.source_sample = r->source_sample;
        rows.source_len = r->source_len;
    }
    memset(r, 0x55, sizeof *r);
    batch_fill(b, step, 0, n, &rows);
}

/* T2: targets that are not shifted teach to copy; they are trg[1:]. */
static void t02_a_target_is_the_next_input(void **state)
{
    struct text t = words_in_pairs();
    struct batch_source b;
    struct rows r;

    open_text(&t, state, "a b\tx y z\n", 6);
    batch_source_train(t.corpus, 1, 1, &b);
    fill(&b, 0, 1, &r);
    assert_int_equal(r.id[0], TOKEN_BOS);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r.target[i], r.id[i + 1]);
    assert_int_equal(r.target[3], TOKEN_EOS);
    for (int i = 0; i < 6; i++)
        assert_int_not_equal(r.id[i], TOKEN_EOS); /* the end is asked for, not given */
    assert_int_equal(r.target[4], -1);
    close_text(&t);
}

/* T16: an encoder that does not know lengths reads on into the padding. */
static void t16_rows_say_where_a_sentence_ends(void **state)
{
    struct text t = words_in_pairs();
    struct batch_source b;
    struct rows r;

    open_text(&t, state, "a b c\tx\n", 6);
    batch_source_train(t.corpus, 1, 1, &b);
    fill(&b, 0, 1, &r);
    assert_int_equal(r.source_len[0], 4);
    assert_int_equal(r.source_id[3], TOKEN_EOS);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(r.source_pos[i], i < 4 ? i : -1);
        assert_int_equal(r.pos[i], i < 2 ? i : -1);
        assert_int_equal(r.target[i] >= 0, i < 2);
    }
    close_text(&t);
}

/* T16b: a sentence that was cut without its end teaches not to end. */
static void t16b_a_sentence_that_is_cut_keeps_its_end(void **state)
{
    struct text t = words_in_pairs();
    struct batch_source b;
    struct rows r;

    open_text(&t, state, "a b c d e f g h\tp q r s t u v w\n", 4);
    assert_int_equal(t.corpus->long_lines, 1);
    batch_source_train(t.corpus, 1, 1, &b);
    fill(&b, 0, 1, &r);
    assert_int_equal(r.source_len[0], 4);
    assert_int_equal(r.source_id[3], TOKEN_EOS);
    assert_int_equal(r.target[3], TOKEN_EOS);
    close_text(&t);
}

/* T17: a mean over padded places counts what nobody wrote. */
static void t17_only_real_targets_are_counted(void **state)
{
    struct text t = words_in_pairs();
    struct batch_source b;
    uint64_t count[4], sum = 0;

    open_text(&t, state, "a\tx\nb\tx y z\nc\tx y\n", 6);
    batch_source_train(t.corpus, 1, 4, &b);
    batch_counts(&b, 0, 4, count);
    for (int i = 0; i < 4; i++)
        sum += count[i];
    /* Three of the pairs once, and one of them again: 2, 4 and 3 with their ends. */
    assert_in_range(sum, 2 + 4 + 3 + 2, 2 + 4 + 3 + 4);
    assert_int_equal(sum, batch_targets(&b, 0, 0, 4));
    close_text(&t);
}

/* T19: the perplexity of the text that was learned says nothing of new text. */
static void t19_what_is_validated_is_not_trained(void **state)
{
    struct text t = {.data = NND__DATA__INIT};
    const struct corpus_part *train, *valid;

    t.data.valid_fraction = 0.25;
    open_text(&t, state, "0123456789abcdefghijklmnopqrstuvwxyzABCD", 4);
    train = &t.corpus->train;
    valid = &t.corpus->valid;
    assert_int_equal(train->count, 30);
    assert_int_equal(valid->count, 10);
    for (uint64_t i = 0; i < valid->count; i++)
        for (uint64_t k = 0; k < train->count; k++)
            assert_int_not_equal(tokens_get(valid->tokens, valid->first + i),
                                 tokens_get(train->tokens, train->first + k));
    close_text(&t);
}

/* T20: a row is the number of a token, not a vector as long as the vocabulary. */
static void t20_rows_are_numbers(void **state)
{
    struct text t = {.data = NND__DATA__INIT};
    struct batch_source b;
    struct rows r;

    t.data.valid_fraction = 0;
    open_text(&t, state, "a quick brown fox jumps over it", 8);
    batch_source_train(t.corpus, 1, 2, &b);
    fill(&b, 0, 2, &r);
    for (int i = 0; i < 16; i++)
        assert_in_range(r.id[i], 0, 255);
    assert_int_equal(r.id[16], 0x55555555); /* context numbers a sample, no more */
    close_text(&t);
}

/* T21: a last batch that is smaller breaks the state that is carried on. */
static void t21_streams_go_on_and_no_batch_is_smaller(void **state)
{
    struct text t = {.data = NND__DATA__INIT};
    struct batch_source b;
    char text[200];
    struct rows r, next;
    uint64_t steps;

    for (int i = 0; i < 199; i++)
        text[i] = (char)(1 + i % 120);
    text[199] = '\0';
    for (int i = 0; i < 199; i++)
        text[i] = text[i] == '\n' || text[i] == '\r' ? 'x' : text[i];
    t.data.valid_fraction = 0;
    t.data.sampling = NND__DATA__SAMPLING__SEQUENTIAL;
    open_text(&t, state, text, 5);
    batch_source_train(t.corpus, 1, 3, &b);
    steps = batch_steps(&b);
    assert_true(steps > 5);
    for (uint64_t s = 0; s + 1 < steps; s++) {
        fill(&b, s, 3, &r);
        fill(&b, s + 1, 3, &next);
        for (int row = 0; row < 3; row++) {
            assert_int_equal(next.id[5 * row], r.target[5 * row + 4]);
            for (int i = 0; i < 5; i++)
                assert_true(next.target[5 * row + i] >= 0); /* whole, every time */
        }
        assert_int_equal(batch_is_first(&b, s), s == 0);
    }
    assert_true(batch_is_first(&b, steps));
    close_text(&t);
}

/* T25: one size of vocabulary for two tables; each side has its own. */
static void t25_each_side_has_a_vocabulary_of_its_own(void **state)
{
    struct text t = words_in_pairs();

    open_text(&t, state, "a b c d e\tx\nb c\tx y\n", 6);
    assert_int_equal(tokenizer_vocab(lexicon_source(&t.lexicon)), TOKEN_MARKS + 5);
    assert_int_equal(tokenizer_vocab(t.lexicon.target), TOKEN_MARKS + 2);
    close_text(&t);
    t.data.share_vocab = true;
    open_text(&t, state, "a b c d e\tx\nb c\tx y\n", 6);
    assert_ptr_equal(lexicon_source(&t.lexicon), t.lexicon.target);
    assert_int_equal(tokenizer_vocab(t.lexicon.target), TOKEN_MARKS + 7);
    close_text(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(t02_a_target_is_the_next_input),
        cmocka_unit_test(t16_rows_say_where_a_sentence_ends),
        cmocka_unit_test(t16b_a_sentence_that_is_cut_keeps_its_end),
        cmocka_unit_test(t17_only_real_targets_are_counted),
        cmocka_unit_test(t19_what_is_validated_is_not_trained),
        cmocka_unit_test(t20_rows_are_numbers),
        cmocka_unit_test(t21_streams_go_on_and_no_batch_is_smaller),
        cmocka_unit_test(t25_each_side_has_a_vocabulary_of_its_own),
    };

    return cmocka_run_group_tests_name("mistakes: data", tests, unit_dir_setup,
                                       unit_dir_teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_metric.c - scores of texts: those of other programs for 1,000 strings of many
 * scripts (tests/fixtures/make_metric.py), and what has to hold at the edges.
 */
#include <math.h>

#include "base/buf.h"
#include "metric/metric.h"
#include "unit.h"

enum { FIGURES = 7, MOST_REFS = 3 };

static const struct {
    enum words_rule rule;
    enum metric metric;
} figure[FIGURES] = {
    {WORDS_13A, METRIC_BLEU},    {WORDS_ZH, METRIC_BLEU},
    {WORDS_CHAR, METRIC_BLEU},   {WORDS_13A, METRIC_CHRF},
    {WORDS_13A, METRIC_ROUGE_1}, {WORDS_13A, METRIC_ROUGE_2},
    {WORDS_13A, METRIC_ROUGE_L},
};

/* A line of a fixture: a text, its references, and what others say of them. */
struct row {
    struct metric_text text, wanted[MOST_REFS];
    double score[FIGURES];
};

static struct metric_text cut_field(char **at)
{
    char *field = *at, *end = strchr(field, '\t');

    assert_non_null(end);
    *end = '\0';
    *at = end + 1;
    return (struct metric_text){field, (size_t)(end - field)};
}

static bool parse_row(char **at, size_t refs, struct row *r)
{
    char *line = *at, *end = strchr(line, '\n');

    if (!end)
        return false;
    *end = '\0';
    *at = end + 1;
    r->text = cut_field(&line);
    for (size_t i = 0; i < refs; i++)
        r->wanted[i] = cut_field(&line);
    for (int i = 0; i < FIGURES; i++) {
        r->score[i] = strtod(line, &line);
        line += *line == '\t';
    }
    return true;
}

static double score(enum words_rule rule, enum metric m, const char *text,
                    const char *wanted)
{
    struct scorer *s;
    struct err e;
    double x;

    scorer_create(rule, &s);
    assert_int_equal(scorer_add(s, text, strlen(text), wanted, strlen(wanted), &e), 0);
    x = scorer_value(s, m);
    scorer_destroy(s);
    return x;
}

static double score_row(const struct row *r, size_t refs, int i)
{
    struct scorer *s;
    struct err e;
    double x;

    scorer_create(figure[i].rule, &s);
    assert_int_equal(scorer_add_any(s, &r->text, r->wanted, refs, &e), 0);
    x = scorer_value(s, figure[i].metric);
    scorer_destroy(s);
    return x;
}

static void check(const struct row *r, int number, int i, double got)
{
    if (fabs(got - r->score[i]) > 1e-8 * fmax(1, r->score[i]))
        fail_msg("text %d, figure %d: wanted %.10g, found %.10g: \"%s\" \"%s\"", number,
                 i, r->score[i], got, r->text.text, r->wanted[0].text);
}

static void read_fixture(const char *name, struct buf *out)
{
    const char *dir = getenv("NND_SRCDIR");
    char path[4096];
    struct err e;

    snprintf(path, sizeof path, "%s/tests/fixtures/%s", dir ? dir : ".", name);
    assert_int_equal(fs_read(path, 0, out, &e), 0);
}

/* Each row as a corpus of one, and in the last row all of them: how many there are. */
static int hold(const char *name, size_t refs)
{
    struct scorer *all[WORDS_RULES] = {NULL};
    struct buf file = {0};
    struct row row;
    char *at;
    int n = 0;
    struct err e;

    read_fixture(name, &file);
    for (int i = 0; i < FIGURES; i++)
        if (!all[figure[i].rule])
            scorer_create(figure[i].rule, &all[figure[i].rule]);
    for (at = file.data; parse_row(&at, refs, &row); n++) {
        for (int i = 0; i < FIGURES; i++)
            check(&row, n, i,
                  *at ? score_row(&row, refs, i)
                      : scorer_value(all[figure[i].rule], figure[i].metric));
        for (int i = 0; *at && i < WORDS_RULES; i++)
            if (all[i])
                assert_int_equal(
                    scorer_add_any(all[i], &row.text, row.wanted, refs, &e), 0);
    }
    for (int i = 0; i < WORDS_RULES; i++)
        scorer_destroy(all[i]);
    buf_free(&file);
    return n;
}

static void equals_sacrebleu_and_rouge_score(void **state)
{
    (void)state;
    assert_int_equal(hold("metric.tsv", 1), 501);
}

static void several_references(void **state)
{
    (void)state;
    assert_int_equal(hold("metric-refs.tsv", 3), 201);
}

static void edges(void **state)
{
    static const enum metric every[] = {METRIC_BLEU, METRIC_CHRF, METRIC_ROUGE_1,
                                        METRIC_ROUGE_2, METRIC_ROUGE_L};
    const char *text = "the cat sat on the mat";

    (void)state;
    for (size_t i = 0; i < sizeof every / sizeof *every; i++) {
        assert_true(score(WORDS_13A, every[i], "", "") == 0);
        assert_true(score(WORDS_13A, every[i], "", text) == 0);
        assert_true(score(WORDS_13A, every[i], text, "") == 0);
        assert_true(fabs(score(WORDS_13A, every[i], text, text) - 100) < 1e-9);
    }
}

/* Shorter than four words: nothing is divided by zero. */
static void short_texts(void **state)
{
    (void)state;
    assert_true(isfinite(score(WORDS_13A, METRIC_BLEU, "cat", "the cat")));
    assert_true(
        isfinite(score(WORDS_CHAR, METRIC_BLEU, "\xe7\x88\xb1", "\xe7\x88\xb1")));
    assert_true(score(WORDS_13A, METRIC_CHRF, "a", "a") > 99.9);
}

/* The penalty is for texts that are too short, of the corpus and not of each. */
static void brevity_is_of_the_corpus(void **state)
{
    struct scorer *s;
    struct bleu b;
    struct err e;

    (void)state;
    scorer_create(WORDS_13A, &s);
    assert_int_equal(scorer_add(s, "a b", 3, "a b c d", 7, &e), 0);
    assert_true(scorer_bleu(s).brevity < 0.5);
    assert_int_equal(scorer_add(s, "a b c d e f", 11, "a b c d", 7, &e), 0);
    b = scorer_bleu(s);
    assert_int_equal(b.length, 8);
    assert_int_equal(b.wanted, 8);
    assert_true(b.brevity == 1);
    scorer_destroy(s);
}

static void what_is_not_utf8_is_refused(void **state)
{
    struct scorer *s;
    struct err e;

    (void)state;
    scorer_create(WORDS_13A, &s);
    assert_int_equal(scorer_add(s, "\xff", 1, "a", 1, &e), ERR_SPEC);
    assert_int_equal(scorer_add(s, "a", 1, "\xff", 1, &e), ERR_SPEC);
    assert_int_equal(scorer_count(s), 0);
    scorer_destroy(s);
}

static void signatures(void **state)
{
    struct scorer *s;
    struct buf b = {0};

    (void)state;
    scorer_create(WORDS_ZH, &s);
    scorer_sign(s, METRIC_BLEU, &b);
    assert_string_equal(b.data,
                        "nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:2.6.0");
    buf_clear(&b);
    scorer_sign(s, METRIC_CHRF, &b);
    assert_string_equal(b.data,
                        "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
    buf_free(&b);
    scorer_destroy(s);
}

static void signatures_of_several_references(void **state)
{
    struct metric_text text = {"a", 1}, wanted[] = {{"a", 1}, {"b", 1}};
    struct scorer *s;
    struct buf b = {0};
    struct err e;

    (void)state;
    scorer_create(WORDS_13A, &s);
    assert_int_equal(scorer_add_any(s, &text, wanted, 2, &e), 0);
    scorer_sign(s, METRIC_BLEU, &b);
    assert_string_equal(b.data,
                        "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0");
    assert_int_equal(scorer_add_any(s, &text, wanted, 1, &e), 0);
    buf_clear(&b);
    scorer_sign(s, METRIC_CHRF, &b);
    assert_string_equal(
        b.data, "nrefs:var|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0");
    buf_free(&b);
    scorer_destroy(s);
}

/* ROUGE of Chinese is of characters, where the rule of its words says so. */
static void rouge_of_chinese(void **state)
{
    (void)state;
    assert_true(score(WORDS_13A, METRIC_ROUGE_1, "\xe7\x88\xb1", "\xe7\x88\xb1") == 0);
    assert_true(score(WORDS_ZH, METRIC_ROUGE_1, "\xe7\x88\xb1", "\xe7\x88\xb1") == 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_sacrebleu_and_rouge_score),
        cmocka_unit_test(several_references),
        cmocka_unit_test(edges),
        cmocka_unit_test(short_texts),
        cmocka_unit_test(brevity_is_of_the_corpus),
        cmocka_unit_test(what_is_not_utf8_is_refused),
        cmocka_unit_test(signatures),
        cmocka_unit_test(signatures_of_several_references),
        cmocka_unit_test(rouge_of_chinese),
    };

    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}

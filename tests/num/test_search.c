/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_search.c - beam search beside what is plainly right: every text that there is,
 * tried one by one, and the likeliest token each time.
 *
 * Models have weights at random, far from zero; what they say has no sense and no ties.
 */
#include <math.h>

#include "data/tokenizer.h"
#include "decode/search.h"
#include "tests/num/scene.h"
#include "tests/unit/unit.h"

enum { MOST = 4, WIDTH = 14, TEXTS = 5, ALL = 700 };

/* Two words besides the marks: what is written is made of <eos>, <unk> and them. */
static const char tiny_yaml[] =
    "data: {train: tiny, format: pairs, tokenizer: word, valid_fraction: 0.3}\n"
    "model: {family: encdec, layers: 1, width: 16, heads: 2, context: 24,\n"
    "        source_context: 14, init_std: 0.8, tie_embeddings: false}\n"
    "train: {batch: 2, chunks: 1, precision: fp32, threads: 1}\n";

static const char wide_yaml[] =
    "data: {train: pairs, format: pairs, tokenizer: word, valid_fraction: 0.2}\n"
    "model: {family: encdec, layers: 2, width: 32, heads: 4, kv_heads: 2,\n"
    "        context: 24, source_context: 14, init_std: 0.3, tie_embeddings: false}\n"
    "train: {batch: 4, chunks: 2, precision: fp32, threads: 1}\n";

static const uint32_t eos = TOKEN_EOS, never[] = {TOKEN_PAD, TOKEN_BOS};

static struct search_rule rule_of(int beam, int64_t most)
{
    return (struct search_rule){.bos = TOKEN_BOS,
                                .ends = &eos,
                                .nends = 1,
                                .never = never,
                                .nnever = 2,
                                .most = most,
                                .beam = beam,
                                .best = beam,
                                .alpha = 1};
}

/* ---- scenes --------------------------------------------------------------- */

static void open_tiny(struct scene *s, void **state, int rows, int sources, int n,
                      char **overrides)
{
    FILE *f = fopen(unit_path(state, "tiny"), "w");

    assert_non_null(f);
    for (int i = 0; i < 6; i++)
        fprintf(f, "%s\t%s\n", i % 2 ? "x y" : "y x x", i % 3 ? "a" : "b a");
    assert_int_equal(fclose(f), 0);
    scene_open(s, state, tiny_yaml,
               &(struct decoder_config){.rows = rows, .sources = sources}, n,
               overrides);
}

/* Sources of several lengths, one of them without a word. */
static void read_sources(struct decoder *d, int sources, int vocab)
{
    uint32_t id[16 * WIDTH] = {0}, len[16];
    struct err e;

    assert_true(sources <= 16);
    for (int s = 0; s < sources; s++) {
        len[s] = s == 3 ? 1 : 2 + (uint32_t)(s * 3) % 9;
        for (uint32_t i = 0; i + 1 < len[s]; i++)
            id[(uint32_t)s * WIDTH + i] =
                TOKEN_MARKS +
                ((uint32_t)s * 5 + i * i) % (uint32_t)(vocab - TOKEN_MARKS);
        id[(uint32_t)s * WIDTH + len[s] - 1] = TOKEN_EOS;
    }
    scene_must(decoder_read(d, id, len, &e), &e);
}

static void write_texts(struct decoder *const *d, int n, const struct search_rule *rule,
                        int texts, const struct search_prefix *prefix,
                        struct arena *mem, struct search_text *out)
{
    struct err e;

    scene_must(search_write(d, n, rule, texts, prefix, mem, out, &e), &e);
}

/* ---- every text there is --------------------------------------------------- */

struct every {
    struct decoder *d;
    const struct search_rule *rule;
    uint32_t id[MOST + 1];
    float cover[MOST + 1][WIDTH];
    struct {
        uint32_t id[MOST + 1];
        int count;
        double score;
    } text[ALL];
    int texts;
};

static double log_prob(const float *z, int64_t vocab, uint32_t id)
{
    double top = -INFINITY, sum = 0;

    for (int64_t i = 0; i < vocab; i++)
        top = fmax(top, (double)z[i]);
    for (int64_t i = 0; i < vocab; i++)
        sum += exp((double)z[i] - top);
    return (double)z[id] - top - log(sum);
}

/* The formula of search.h, written once more. */
static double score_of(const struct every *a, int count, double log_p)
{
    double n = count, s = log_p / pow(n, a->rule->alpha);

    if (a->rule->length == SEARCH_GNMT)
        s = log_p / pow((5 + n) / 6, a->rule->alpha);
    if (a->rule->coverage == 0)
        return s;
    for (int64_t j = 0; j < decoder_reach(a->d, 0); j++) {
        double seen = 0;

        for (int i = 0; i < count; i++)
            seen += (double)a->cover[i][j];
        s += a->rule->coverage * log(fmax(fmin(seen, 1), 1e-9));
    }
    return s;
}

/* Decode the first n tokens anew. */
static void feed(struct every *a, int n)
{
    uint32_t in[1] = {TOKEN_BOS};
    struct err e;

    decoder_reset(a->d);
    for (int i = 0; i <= n; i++) {
        scene_must(decoder_step(a->d, in, &e), &e);
        decoder_look(a->d, 0, a->cover[i]);
        in[0] = a->id[i];
    }
}

/* All texts that go on behind n tokens. */
static void try_all(struct every *a, int n, double log_p)
{
    int64_t vocab = decoder_vocab(a->d);
    float z[64];

    feed(a, n);
    memcpy(z, decoder_logits(a->d, 0), (size_t)vocab * sizeof *z);
    for (uint32_t id = TOKEN_EOS; id < vocab; id++) {
        double p = log_p + log_prob(z, vocab, id);

        if (id == TOKEN_EOS && n < a->rule->least)
            continue;
        feed(a, n);
        a->id[n] = id;
        if (id != TOKEN_EOS && n + 1 < a->rule->most) {
            try_all(a, n + 1, p);
            continue;
        }
        assert_true(a->texts < ALL);
        memcpy(a->text[a->texts].id, a->id, sizeof a->id);
        a->text[a->texts].count = n + (id != TOKEN_EOS);
        a->text[a->texts++].score = score_of(a, n + 1, p);
    }
}

static void check_best(const struct every *a, const struct search_text *found, int n)
{
    for (int i = 0; i < n; i++) {
        int better = 0, same = -1;

        for (int k = 0; k < a->texts; k++) {
            better += a->text[k].score > found[i].score + 1e-9;
            if (a->text[k].count == found[i].count &&
                memcmp(a->text[k].id, found[i].id,
                       (size_t)found[i].count * sizeof(uint32_t)) == 0)
                same = k;
        }
        assert_int_equal(better, i);
        assert_true(same >= 0);
        assert_true(fabs(a->text[same].score - found[i].score) < 1e-9);
    }
}

/* A beam that holds every text finds the best ones, in their order. */
static void finds_all(void **state, struct search_rule rule, int n, char **overrides)
{
    static struct every a;
    static struct search_text found[ALL];
    struct arena *mem = arena_create();
    struct scene one = {0}, wide = {0};

    open_tiny(&one, state, 1, 1, n, overrides);
    read_sources(one.decoder, 1, 6);
    a = (struct every){.d = one.decoder, .rule = &rule};
    try_all(&a, 0, 0);
    rule.beam = rule.best = ALL;
    open_tiny(&wide, state, ALL, 1, n, overrides);
    read_sources(wide.decoder, 1, 6);
    write_texts(&wide.decoder, 1, &rule, 1, NULL, mem, found);
    for (int i = 0; i < a.texts; i++)
        assert_true(found[i].count >= 0);
    assert_int_equal(found[a.texts].count, -1);
    check_best(&a, found, 20);
    scene_close(&one);
    scene_close(&wide);
    arena_destroy(mem);
}

static void the_best_of_all_texts(void **state)
{
    finds_all(state, rule_of(1, MOST), 0, NULL);
}

static void the_best_by_gnmt_and_coverage(void **state)
{
    struct search_rule rule = rule_of(1, MOST);

    rule.length = SEARCH_GNMT;
    rule.alpha = 0.6;
    rule.coverage = 0.2;
    finds_all(state, rule, 0, NULL);
}

static void the_best_of_long_texts_of_cells(void **state)
{
    struct search_rule rule = rule_of(1, MOST);

    rule.least = 2;
    rule.alpha = 0;
    finds_all(
        state, rule, 4,
        (char *[]){"-S", "model.family=seq2seq", "-S", "model.attention=additive"});
}

/* ---- the likeliest token each time ----------------------------------------- */

/* Greedy decoding of all sources side by side, as plainly as it can be said. */
static void greedy(struct decoder *d, int rows, int64_t most, uint32_t *out, int *count)
{
    uint32_t in[16];
    bool done[16] = {false};
    struct err e;

    decoder_reset(d);
    for (int r = 0; r < rows; r++) {
        in[r] = TOKEN_BOS;
        count[r] = 0;
    }
    for (int64_t i = 0; i < most; i++) {
        scene_must(decoder_step(d, in, &e), &e);
        for (int r = 0; r < rows; r++) {
            const float *z = decoder_logits(d, r);
            uint32_t best = TOKEN_EOS;

            for (uint32_t v = TOKEN_EOS; v < decoder_vocab(d); v++)
                best = z[v] > z[best] ? v : best;
            in[r] = best;
            done[r] |= best == TOKEN_EOS;
            if (!done[r])
                out[r * 32 + count[r]++] = best;
        }
    }
}

static void compare_greedy(void **state, const char *more)
{
    struct search_rule rule = rule_of(1, 20);
    struct search_text found[TEXTS];
    struct arena *mem = arena_create();
    uint32_t want[16 * 32];
    int count[16];
    struct scene s = {0};

    scene_open(&s, state, wide_yaml, &(struct decoder_config){.rows = TEXTS, .unit = 1},
               more ? 2 : 0, (char *[]){"-S", (char *)more});
    read_sources(s.decoder, TEXTS, (int)s.vocab);
    greedy(s.decoder, TEXTS, rule.most, want, count);
    write_texts(&s.decoder, 1, &rule, TEXTS, NULL, mem, found);
    for (int r = 0; r < TEXTS; r++) {
        assert_int_equal(found[r].count, count[r]);
        assert_memory_equal(found[r].id, want + r * 32,
                            (size_t)count[r] * sizeof *want);
    }
    scene_close(&s);
    arena_destroy(mem);
}

static void a_beam_of_one_is_greedy(void **state)
{
    compare_greedy(state, NULL);
}

static void a_beam_of_one_is_greedy_with_cells(void **state)
{
    compare_greedy(state, "model.family=seq2seq");
}

/* ---- rows ------------------------------------------------------------------ */

static void same_texts(const struct search_text *a, const struct search_text *b, int n)
{
    for (int i = 0; i < n; i++) {
        assert_int_equal(a[i].count, b[i].count);
        if (a[i].count < 0)
            continue;
        assert_memory_equal(a[i].id, b[i].id, (size_t)a[i].count * sizeof *a[i].id);
        assert_memory_equal(&a[i].score, &b[i].score, sizeof a[i].score);
    }
}

/* Texts end at different times; their rows leave, others move, and no bit changes: not
 * beside one text alone either. */
static void compare_alone(void **state, const char *more)
{
    struct search_rule rule = rule_of(3, 20);
    struct search_text many[TEXTS * 3], kept[TEXTS * 3], one[3];
    struct arena *mem = arena_create();
    struct scene s = {0}, still = {0};
    char *set[] = {"-S", (char *)more};
    int n = more ? 2 : 0;

    scene_open(&s, state, wide_yaml,
               &(struct decoder_config){.rows = TEXTS * 3, .sources = TEXTS, .unit = 3},
               n, set);
    scene_open(&still, state, wide_yaml,
               &(struct decoder_config){.rows = TEXTS * 3, .sources = TEXTS}, n, set);
    read_sources(s.decoder, TEXTS, (int)s.vocab);
    read_sources(still.decoder, TEXTS, (int)s.vocab);
    write_texts(&s.decoder, 1, &rule, TEXTS, NULL, mem, many);
    write_texts(&still.decoder, 1, &rule, TEXTS, NULL, mem, kept);
    same_texts(many, kept, TEXTS * 3);
    write_texts(&s.decoder, 1, &rule, 1, NULL, mem, one);
    same_texts(many, one, 3);
    scene_close(&still);
    scene_close(&s);
    arena_destroy(mem);
}

static void rows_leave_and_nothing_changes(void **state)
{
    compare_alone(state, NULL);
}

static void rows_of_cells_leave_and_nothing_changes(void **state)
{
    compare_alone(state, "model.family=seq2seq");
}

/* ---- what a text must not be ------------------------------------------------ */

static bool repeats(const struct search_text *t, int64_t n)
{
    for (int64_t i = 0; i + n <= t->count; i++)
        for (int64_t k = i + 1; k + n <= t->count; k++)
            if (memcmp(t->id + i, t->id + k, (size_t)n * sizeof *t->id) == 0)
                return true;
    return false;
}

static void length_repetition_and_prefix(void **state)
{
    struct search_rule rule = rule_of(3, 18);
    uint32_t begin[] = {TOKEN_MARKS + 1, TOKEN_MARKS, TOKEN_MARKS + 1};
    struct search_prefix prefix[TEXTS] = {{begin, 3}, {begin, 0}, {begin, 1}};
    struct search_text t[TEXTS * 3];
    struct arena *mem = arena_create();
    struct scene s = {0};
    bool any = false;

    scene_open(&s, state, wide_yaml,
               &(struct decoder_config){.rows = TEXTS * 3, .sources = TEXTS}, 0, NULL);
    read_sources(s.decoder, TEXTS, (int)s.vocab);
    rule.least = 9;
    write_texts(&s.decoder, 1, &rule, TEXTS, NULL, mem, t);
    for (int i = 0; i < TEXTS * 3; i++)
        any |= t[i].count >= 0 && repeats(&t[i], 2);
    assert_true(any); /* there is something to forbid */
    rule.ngram = 2;
    write_texts(&s.decoder, 1, &rule, TEXTS, prefix, mem, t);
    for (int i = 0; i < TEXTS * 3; i++) {
        const struct search_prefix *p = &prefix[i / 3];

        assert_false(t[i].count >= 0 && repeats(&t[i], 2));
        assert_true(t[i].count < 0 || t[i].count - p->count >= 9);
        assert_true(t[i].count < 0 || t[i].count - p->count <= 18);
        assert_int_equal(t[i].count < 0 ? p->count : t[i].forced, p->count);
        for (int64_t k = 0; t[i].count >= 0 && k < p->count; k++)
            assert_int_equal(t[i].id[k], begin[k]);
    }
    scene_close(&s);
    arena_destroy(mem);
}

/* The token in the middle of a text ends it where it is one of several ends; not before
 * the least. */
static void any_of_several_ends_a_text(void **state)
{
    struct search_rule rule = rule_of(1, 18);
    struct arena *mem = arena_create();
    struct search_text whole, t;
    struct scene s = {0};
    uint32_t ends[2] = {TOKEN_EOS};
    int64_t at = 0;

    scene_open(&s, state, wide_yaml, &(struct decoder_config){.rows = 1, .sources = 1},
               0, NULL);
    read_sources(s.decoder, 1, (int)s.vocab);
    write_texts(&s.decoder, 1, &rule, 1, NULL, mem, &whole);
    assert_true(whole.count > 2);
    ends[1] = whole.id[whole.count / 2];
    while (whole.id[at] != ends[1])
        at++;
    rule.ends = ends;
    rule.nends = 2;
    write_texts(&s.decoder, 1, &rule, 1, NULL, mem, &t);
    assert_int_equal(t.count, at);
    assert_memory_equal(t.id, whole.id, (size_t)at * sizeof *t.id);
    assert_true(t.ended);
    rule.least = whole.count;
    write_texts(&s.decoder, 1, &rule, 1, NULL, mem, &t);
    assert_in_range(t.count, whole.count, 18);
    for (int64_t i = 0; i < whole.count; i++)
        assert_int_not_equal(t.id[i], ends[1]);
    scene_close(&s);
    arena_destroy(mem);
}

/* ---- several models --------------------------------------------------------- */

/* One model twice is that model; two are neither. */
static void models_together(void **state)
{
    struct search_rule rule = rule_of(3, 20);
    struct search_text alone[9], twice[9], both[9], turned[9];
    struct arena *mem = arena_create();
    struct scene a = {0}, same = {0}, b = {0};
    struct decoder_config shape = {.rows = 9, .sources = 3};
    int differ = 0;

    scene_open(&a, state, wide_yaml, &shape, 0, NULL);
    scene_open(&same, state, wide_yaml, &shape, 0, NULL);
    scene_open(&b, state, wide_yaml, &shape, 2, (char *[]){"-S", "seed=2"});
    read_sources(a.decoder, 3, (int)a.vocab);
    read_sources(same.decoder, 3, (int)a.vocab);
    read_sources(b.decoder, 3, (int)a.vocab);
    write_texts(&a.decoder, 1, &rule, 3, NULL, mem, alone);
    write_texts((struct decoder *[]){a.decoder, same.decoder}, 2, &rule, 3, NULL, mem,
                twice);
    write_texts((struct decoder *[]){a.decoder, b.decoder}, 2, &rule, 3, NULL, mem,
                both);
    write_texts((struct decoder *[]){b.decoder, a.decoder}, 2, &rule, 3, NULL, mem,
                turned);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(alone[i * 3].count, twice[i * 3].count);
        assert_true(fabs(alone[i * 3].score - twice[i * 3].score) < 1e-9);
        assert_true(fabs(both[i * 3].score - turned[i * 3].score) < 1e-9);
        differ += fabs(both[i * 3].log_p - alone[i * 3].log_p) > 1e-6;
    }
    assert_true(differ > 0);
    scene_close(&a);
    scene_close(&same);
    scene_close(&b);
    arena_destroy(mem);
}

/* Weights that are all alike leave every token as likely as the next: the lower id
 * comes first, and the same texts come out every time. */
static void ties_go_to_the_lower_id(void **state)
{
    struct search_rule rule = rule_of(2, 3);
    struct search_text t[2];
    struct arena *mem = arena_create();
    struct scene s = {0};

    open_tiny(&s, state, 2, 1, 2, (char *[]){"-S", "model.init_std=1e-30"});
    read_sources(s.decoder, 1, 6);
    write_texts(&s.decoder, 1, &rule, 1, NULL, mem, t);
    assert_int_equal(t[0].count, 0);
    assert_true(t[0].ended);
    assert_int_equal(t[1].count, 1);
    assert_int_equal(t[1].id[0], TOKEN_UNK);
    scene_close(&s);
    arena_destroy(mem);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_best_of_all_texts),
        TEST(the_best_by_gnmt_and_coverage),
        TEST(the_best_of_long_texts_of_cells),
        TEST(a_beam_of_one_is_greedy),
        TEST(a_beam_of_one_is_greedy_with_cells),
        TEST(rows_leave_and_nothing_changes),
        TEST(rows_of_cells_leave_and_nothing_changes),
        TEST(length_repetition_and_prefix),
        TEST(any_of_several_ends_a_text),
        TEST(models_together),
        TEST(ties_go_to_the_lower_id),
    };

    return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_mistakes_decode.c - what tutorials get wrong about decoding, by name: the right
 * behaviour of each.
 */
#include <math.h>

#include "data/tokenizer.h"
#include "decode/search.h"
#include "tests/num/scene.h"
#include "tests/unit/unit.h"

enum { WIDTH = 14, TEXTS = 4, BEAM = 3 };

static const char yaml[] =
    "data: {train: pairs, format: pairs, tokenizer: word, valid_fraction: 0.2}\n"
    "model: {family: encdec, layers: 1, width: 32, heads: 4, context: 24,\n"
    "        source_context: 14, init_std: 0.5, tie_embeddings: false}\n"
    "train: {batch: 4, chunks: 2, precision: fp32, threads: 1}\n";

static const uint32_t eos = TOKEN_EOS, never[] = {TOKEN_PAD, TOKEN_BOS};
static const struct search_rule rule = {.bos = TOKEN_BOS,
                                        .ends = &eos,
                                        .nends = 1,
                                        .never = never,
                                        .nnever = 2,
                                        .most = 16,
                                        .beam = BEAM,
                                        .best = BEAM,
                                        .alpha = 1};

/* more: how cells look, for a model of them; or NULL. */
static void open_scene(struct scene *s, void **state, const char *more)
{
    scene_open(
        s, state, yaml,
        &(struct decoder_config){.rows = TEXTS * BEAM, .sources = TEXTS, .unit = BEAM},
        more ? 4 : 0, (char *[]){"-S", "model.family=seq2seq", "-S", (char *)more});
}

/* Source number i has 2 + i words, which begin with `first`. */
static void read_sources(struct scene *s, uint32_t first)
{
    uint32_t id[TEXTS * WIDTH] = {0}, len[TEXTS];
    struct err e;

    for (uint32_t i = 0; i < TEXTS; i++) {
        len[i] = 3 + i;
        for (uint32_t k = 0; k < len[i] - 1; k++)
            id[i * WIDTH + k] = TOKEN_MARKS + (first + i + k) % 6;
        id[i * WIDTH + len[i] - 1] = TOKEN_EOS;
    }
    scene_must(decoder_read(s->decoder, id, len, &e), &e);
}

static void write_texts(struct scene *s, const struct search_rule *r, struct arena *mem,
                        struct search_text *out)
{
    struct err e;

    scene_must(search_write(&s->decoder, 1, r, TEXTS, NULL, mem, out, &e), &e);
}

/* The sum of log-probabilities of a text, token by token, in the row of source i. */
static double log_p(struct scene *s, int i, const struct search_text *t)
{
    uint32_t in[TEXTS * BEAM];
    double sum = 0;
    struct err e;

    decoder_reset(s->decoder);
    for (int r = 0; r < TEXTS * BEAM; r++)
        in[r] = TOKEN_BOS;
    for (int64_t k = 0; k < t->count + t->ended; k++) {
        uint32_t id = k < t->count ? t->id[k] : TOKEN_EOS;
        const float *z;
        double top = -INFINITY, all = 0;

        scene_must(decoder_step(s->decoder, in, &e), &e);
        z = decoder_logits(s->decoder, i * BEAM);
        for (int64_t v = 0; v < s->vocab; v++)
            top = fmax(top, (double)z[v]);
        for (int64_t v = 0; v < s->vocab; v++)
            all += exp((double)z[v] - top);
        sum += (double)z[id] - top - log(all);
        in[i * BEAM] = id;
    }
    return sum;
}

/* "Prediction" that is fed zeros of the target's length: what is written depends on its
 * own words, and on no target. */
static void t2_what_is_written_is_fed_back(void **state)
{
    struct search_text t[TEXTS * BEAM];
    struct arena *mem = arena_create();
    struct scene s = {0};

    open_scene(&s, state, NULL);
    read_sources(&s, 0);
    write_texts(&s, &rule, mem, t);
    for (int i = 0; i < TEXTS; i++)
        assert_true(fabs(log_p(&s, i, &t[i * BEAM]) - t[i * BEAM].log_p) < 1e-4);
    scene_close(&s);
    arena_destroy(mem);
}

/* Greedy decoding that goes on behind <eos>, and has <bos> in what it returns. */
static void t4_a_text_ends_at_its_end(void **state)
{
    struct search_rule greedy = rule;
    struct search_text t[TEXTS * BEAM];
    struct arena *mem = arena_create();
    struct scene s = {0};

    greedy.best = 1;
    open_scene(&s, state, NULL);
    read_sources(&s, 1);
    write_texts(&s, &greedy, mem, t);
    for (int i = 0; i < TEXTS; i++) {
        assert_true(t[i].count + t[i].ended <= rule.most);
        assert_true(t[i].ended || t[i].count == rule.most);
        for (int64_t k = 0; k < t[i].count; k++)
            assert_true(t[i].id[k] > TOKEN_EOS);
    }
    scene_close(&s);
    arena_destroy(mem);
}

/* A beam that sorts upwards and keeps the worst, adds up logits, and never sees the
 * source. */
static void t5_a_beam_keeps_the_likeliest_of_its_source(void **state)
{
    struct search_text a[TEXTS * BEAM], b[TEXTS * BEAM];
    struct arena *mem = arena_create();
    struct scene s = {0};
    int differ = 0;

    open_scene(&s, state, NULL);
    read_sources(&s, 0);
    write_texts(&s, &rule, mem, a);
    for (int i = 0; i < TEXTS * BEAM; i++) {
        assert_true(a[i].count < 0 || a[i].log_p <= 0);
        assert_true(i % BEAM == 0 || a[i].count < 0 || a[i].score <= a[i - 1].score);
        if (a[i].count >= 0)
            assert_true(fabs(a[i].score -
                             a[i].log_p / (double)(a[i].count + a[i].ended)) < 1e-9);
    }
    read_sources(&s, 3);
    write_texts(&s, &rule, mem, b);
    for (int i = 0; i < TEXTS; i++)
        differ += a[i * BEAM].log_p != b[i * BEAM].log_p;
    assert_int_equal(differ, TEXTS);
    scene_close(&s);
    arena_destroy(mem);
}

/* Attention whose weights nobody gets, without a mask: they sum to 1 over real words,
 * and padding has none. */
static void weights_over_real_words(void **state, const char *more)
{
    struct search_rule look = rule;
    struct search_text t[TEXTS * BEAM];
    struct arena *mem = arena_create();
    struct scene s = {0};

    look.look = true;
    open_scene(&s, state, more);
    read_sources(&s, 0);
    write_texts(&s, &look, mem, t);
    for (int i = 0; i < TEXTS; i++)
        for (int64_t k = 0; k < t[i * BEAM].count + t[i * BEAM].ended; k++) {
            const float *w = t[i * BEAM].look + k * WIDTH;
            double sum = 0;

            for (int j = 0; j < WIDTH; j++) {
                assert_true(w[j] >= 0 && (j < 3 + i || w[j] == 0));
                sum += (double)w[j];
            }
            assert_true(fabs(sum - 1) < 1e-5);
        }
    scene_close(&s);
    arena_destroy(mem);
}

static void t6_weights_can_be_seen_and_spare_padding(void **state)
{
    weights_over_real_words(state, NULL);
}

static void t6_weights_of_cells_as_well(void **state)
{
    weights_over_real_words(state, "model.attention=dot");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(t2_what_is_written_is_fed_back),
        TEST(t4_a_text_ends_at_its_end),
        TEST(t5_a_beam_keeps_the_likeliest_of_its_source),
        TEST(t6_weights_can_be_seen_and_spare_padding),
        TEST(t6_weights_of_cells_as_well),
    };

    return cmocka_run_group_tests_name("mistakes in decoding", tests, NULL, NULL);
}

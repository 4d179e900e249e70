/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_data_batch.c - which tokens a step sees: each window once an epoch, the
 * same ones however a batch is shared out.
 */
#include "data/batch.h"

#include <math.h>
#include <stdio.h>

#include "data/order.h"
#include "unit.h"

#define ROWS_MAX 4096

static int32_t rows_id[ROWS_MAX], rows_target[ROWS_MAX], rows_pos[ROWS_MAX],
    rows_sample[ROWS_MAX];
static const struct batch_rows rows = {
    .id = rows_id, .target = rows_target, .pos = rows_pos, .sample = rows_sample};

/* ---- a corpus without files ----------------------------------------------- */

static struct corpus corpus;

/* Tokens 0, 1, 2, ... in both parts, so that a token is its own place. */
static void stream_corpus(uint64_t train, uint64_t valid, uint32_t context)
{
    struct tokens *t = &corpus.store[0].tokens;
    struct err e;

    corpus = (struct corpus){.context = context};
    tokens_init(t, 65536);
    assert_int_equal(tokens_reserve(t, train + valid, &e), 0);
    for (uint64_t i = 0; i < train + valid; i++)
        tokens_put(t, (uint32_t)i);
    corpus.train = (struct corpus_part){.tokens = t, .count = train};
    corpus.valid = (struct corpus_part){.tokens = t, .first = train, .count = valid};
}

/* Line i has (i * 5) % 7 + 1 tokens and its newline. */
static void lines_corpus(uint64_t train, uint64_t valid, uint32_t context)
{
    uint64_t lines = train + valid, at = 0;
    struct corpus_store *s = &corpus.store[0];

    stream_corpus(9 * lines, 0, context);
    s->line = calloc(lines + 1, sizeof *s->line);
    for (uint64_t i = 0; i < lines; i++) {
        s->line[i] = at;
        at += i * 5 % 7 + 2;
    }
    s->line[lines] = at;
    corpus.train.line = s->line;
    corpus.train.lines = train;
    corpus.valid = (struct corpus_part){
        .tokens = &s->tokens, .line = s->line + train, .lines = valid};
}

static int drop_corpus(void **state)
{
    (void)state;
    tokens_free(&corpus.store[0].tokens);
    free(corpus.store[0].line);
    corpus = (struct corpus){0};
    return 0;
}

/* ---- order ---------------------------------------------------------------- */

static void every_place_comes_once_in_an_epoch(void **state)
{
    static unsigned char seen[3000];

    (void)state;
    for (uint64_t count = 1; count < 3000;
         count = count < 70 ? count + 1 : count * 2 - 13)
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            memset(seen, 0, sizeof seen);
            for (uint64_t i = 0; i < count; i++) {
                uint64_t p = order_place(7, epoch, count, i);
                assert_true(p < count);
                assert_int_equal(seen[p]++, 0);
            }
        }
}

static void large_epochs_have_places_too(void **state)
{
    const uint64_t count = ((uint64_t)1 << 63) + 12345;
    uint64_t a = order_place(1, 0, count, 0), b = order_place(1, 0, count, 1);

    (void)state;
    assert_true(a < count && b < count && a != b);
    assert_true(order_place(1, 0, UINT64_MAX, UINT64_MAX - 1) < UINT64_MAX);
}

/* The chi-square that sound draws pass in all but 3e-7 of cases: 5 standard
 * deviations by Wilson and Hilferty (1931). */
static double chi_limit(double df)
{
    return df * pow(1 - 2 / (9 * df) + 5 * sqrt(2 / (9 * df)), 3);
}

/* The chance that the first of `count` is at any place is equal, over 20,000
 * epochs. */
static void no_place_is_preferred(void **state)
{
    static const uint64_t counts[] = {2, 3, 5, 8, 13, 100};
    const double n = 20000;

    (void)state;
    for (size_t k = 0; k < sizeof counts / sizeof counts[0]; k++)
        for (uint64_t i = 0; i < 2; i++) {
            double hits[100] = {0}, chi = 0, want = n / (double)counts[k];
            double df = (double)counts[k] - 1;

            for (uint64_t epoch = 0; epoch < (uint64_t)n; epoch++)
                hits[order_place(3, epoch, counts[k], i)]++;
            for (uint64_t p = 0; p < counts[k]; p++)
                chi += (hits[p] - want) * (hits[p] - want) / want;
            assert_true(chi < chi_limit(df));
        }
}

static void order_changes_with_seed_and_epoch(void **state)
{
    int same_seed = 0, same_epoch = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        same_seed += order_place(1, 0, 1000, i) == order_place(2, 0, 1000, i);
        same_epoch += order_place(1, 0, 1000, i) == order_place(1, 1, 1000, i);
    }
    assert_true(same_seed < 10);
    assert_true(same_epoch < 10);
    assert_true(order_phase(1, 0, 1000000) != order_phase(1, 1, 1000000));
    assert_true(order_phase(1, 0, 1000000) != order_phase(2, 0, 1000000));
    assert_int_equal(order_phase(1, 0, 1), 0);
}

/* These numbers are part of what a checkpoint means: changing them changes the
 * order of every run that is resumed. */
static void order_never_changes(void **state)
{
    (void)state;
    assert_int_equal(order_place(1, 0, 1000, 0), 280);
    assert_int_equal(order_place(1, 0, 1000, 1), 116);
    assert_int_equal(order_place(42, 3, 15684, 15683), 1788);
    assert_int_equal(order_phase(42, 3, 64), 46);
}

/* ---- streams -------------------------------------------------------------- */

static void windows_cover_the_text_once_an_epoch(void **state)
{
    static unsigned char seen[1003];
    struct batch_source b;
    uint64_t phases = 0;
    int32_t last_phase = -1;

    (void)state;
    stream_corpus(1003, 0, 8);
    batch_source_train(&corpus, 5, 1, &b);
    assert_int_equal(b.samples, 1002 / 8 - 1);
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        int32_t low = INT32_MAX;

        memset(seen, 0, sizeof seen);
        for (uint64_t i = 0; i < b.samples; i++) {
            batch_fill(&b, epoch * b.samples + i, 0, 1, &rows);
            for (int32_t k = 0; k < 8; k++) {
                assert_int_equal(rows_id[k], rows_id[0] + k);
                assert_int_equal(rows_target[k], rows_id[k] + 1);
                assert_int_equal(rows_pos[k], k);
                assert_int_equal(rows_sample[k], 0);
                assert_int_equal(seen[rows_id[k]]++, 0);
            }
            low = rows_id[0] < low ? rows_id[0] : low;
        }
        phases += low != last_phase;
        last_phase = low;
    }
    assert_true(phases > 2);
}

static void least_text_gives_one_window(void **state)
{
    struct batch_source b;

    (void)state;
    stream_corpus(9, 0, 8);
    batch_source_train(&corpus, 5, 2, &b);
    assert_int_equal(b.samples, 1);
    batch_fill(&b, 100, 0, 2, &rows);
    assert_int_equal(rows_id[0], 0);
    assert_int_equal(rows_target[7], 8);
    assert_int_equal(rows_id[8], 0);
    assert_int_equal(rows_sample[8], 1);
}

static void last_token_is_reached(void **state)
{
    struct batch_source b;
    int32_t top = 0;

    (void)state;
    stream_corpus(33, 0, 8);
    batch_source_train(&corpus, 5, 1, &b);
    for (uint64_t step = 0; step < 3000; step++) {
        batch_fill(&b, step, 0, 1, &rows);
        top = rows_target[7] > top ? rows_target[7] : top;
    }
    assert_int_equal(top, 32);
}

/* A step's rows, however many ranks and chunks it is shared among. */
static void sharing_changes_nothing(void **state)
{
    enum { BATCH = 12, CONTEXT = 5, T = BATCH * CONTEXT };
    int32_t whole[3][4][T];
    struct batch_source b;

    (void)state;
    for (int lines = 0; lines < 2; lines++) {
        if (lines)
            lines_corpus(40, 0, CONTEXT);
        else
            stream_corpus(200, 0, CONTEXT);
        batch_source_train(&corpus, 11, BATCH, &b);
        for (uint64_t step = 0; step < 3; step++) {
            batch_fill(&b, step * 7, 0, BATCH, &rows);
            memcpy(whole[step][0], rows_id, sizeof whole[0][0]);
            memcpy(whole[step][1], rows_target, sizeof whole[0][0]);
            memcpy(whole[step][2], rows_pos, sizeof whole[0][0]);
            memcpy(whole[step][3], rows_sample, sizeof whole[0][0]);
        }
        for (uint32_t n = 1; n <= BATCH; n++)
            for (uint64_t step = 3; step-- > 0;)
                for (uint32_t first = 0; first + n <= BATCH; first += n) {
                    size_t at = first * CONTEXT, len = n * CONTEXT * sizeof(int32_t);

                    batch_fill(&b, step * 7, first, n, &rows);
                    assert_memory_equal(rows_id, whole[step][0] + at, len);
                    assert_memory_equal(rows_target, whole[step][1] + at, len);
                    assert_memory_equal(rows_pos, whole[step][2] + at, len);
                    assert_memory_equal(rows_sample, whole[step][3] + at, len);
                }
        drop_corpus(NULL);
    }
}

static uint64_t count_targets(uint32_t n)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < n * corpus.context; i++) {
        assert_int_equal(rows_target[i] < 0, rows_pos[i] < 0);
        sum += rows_target[i] >= 0;
    }
    return sum;
}

static void counts_are_what_is_filled(void **state)
{
    uint64_t counts[8];
    struct batch_source b;

    (void)state;
    lines_corpus(40, 23, 5);
    for (int train = 0; train < 2; train++)
        for (uint32_t chunks = 1; chunks <= 8; chunks *= 2)
            for (uint64_t step = 0; step < 5; step++) {
                if (train)
                    batch_source_train(&corpus, 11, 12, &b);
                else
                    batch_source_valid(&corpus, 12, 0, &b);
                batch_counts(&b, step, chunks, counts);
                for (uint32_t k = 0; k < chunks; k++) {
                    uint32_t n = batch_chunk_samples(&b, chunks);

                    batch_fill(&b, step, k * n, n, &rows);
                    assert_int_equal(count_targets(n), counts[k]);
                }
            }
    batch_source_train(&corpus, 11, 12, &b);
    batch_counts(&b, 0, 8, counts);
    assert_true(counts[5] > 0);
    assert_int_equal(counts[6], 0); /* 12 samples fill 6 chunks of 2 */
}

/* ---- lines ---------------------------------------------------------------- */

static void a_line_is_a_sample_once_an_epoch(void **state)
{
    unsigned char seen[40];
    struct batch_source b;

    (void)state;
    lines_corpus(40, 0, 5);
    batch_source_train(&corpus, 9, 4, &b);
    assert_int_equal(b.samples, 40);
    assert_int_equal(batch_steps(&b), 10);
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        memset(seen, 0, sizeof seen);
        for (uint64_t step = 0; step < 10; step++) {
            batch_fill(&b, epoch * 10 + step, 0, 4, &rows);
            for (int k = 0; k < 4; k++) {
                uint64_t line = 0, real;

                while (corpus.store[0].line[line] != (uint64_t)rows_id[k * 5])
                    line++;
                assert_int_equal(seen[line]++, 0);
                real = line * 5 % 7 + 1 < 5 ? line * 5 % 7 + 1 : 5;
                for (int i = 0; i < 5; i++) {
                    bool is_real = (uint64_t)i < real;
                    int32_t id = rows_id[k * 5] + i;

                    assert_int_equal(rows_id[k * 5 + i], is_real ? id : 0);
                    assert_int_equal(rows_target[k * 5 + i], is_real ? id + 1 : -1);
                    assert_int_equal(rows_pos[k * 5 + i], is_real ? i : -1);
                    assert_int_equal(rows_sample[k * 5 + i], k);
                }
            }
        }
    }
}

/* ---- validation ----------------------------------------------------------- */

static void validation_sees_every_target_once_in_order(void **state)
{
    struct batch_source b;
    int32_t next = 101;

    (void)state;
    stream_corpus(100, 46, 8);
    batch_source_valid(&corpus, 4, 0, &b);
    assert_int_equal(b.samples, 6); /* 5 whole windows and 5 more targets */
    assert_int_equal(batch_steps(&b), 2);
    for (uint64_t step = 0; step < 2; step++) {
        batch_fill(&b, step, 0, 4, &rows);
        for (int i = 0; i < 32; i++)
            if (rows_target[i] >= 0)
                assert_int_equal(rows_target[i], next++);
    }
    assert_int_equal(next, 146);
    assert_int_equal(batch_targets(&b, 0, 0, 4), 32);
    assert_int_equal(batch_targets(&b, 1, 0, 4), 13);
    assert_int_equal(batch_targets(&b, 2, 0, 4), 0);
    assert_int_equal(rows_pos[13], -1);
    batch_source_valid(&corpus, 4, 1, &b);
    assert_int_equal(batch_steps(&b), 1);
    assert_int_equal(batch_targets(&b, 0, 0, 4), 32);
    assert_int_equal(batch_targets(&b, 1, 0, 4), 0);
}

static void no_validation_part_means_no_batches(void **state)
{
    struct batch_source b;

    (void)state;
    stream_corpus(100, 0, 8);
    batch_source_valid(&corpus, 4, 0, &b);
    assert_int_equal(batch_steps(&b), 0);
    assert_int_equal(batch_targets(&b, 0, 0, 4), 0);
    batch_fill(&b, 0, 0, 4, &rows);
    assert_int_equal(count_targets(4), 0);
}

/* ---- streams -------------------------------------------------------------- */

/* Sample k of a step goes on where sample k of the step before ended; an epoch has
 * each token once, and the next one begins elsewhere. */
static void streams_go_on(void **state)
{
    enum { T = 5, B = 3 };
    struct batch_source b;
    int32_t first[2] = {-1, -1};
    uint64_t steps;

    (void)state;
    stream_corpus(103, 0, T);
    corpus.sequential = true;
    batch_source_train(&corpus, 1, B, &b);
    steps = batch_steps(&b);
    assert_int_equal(steps, 6);
    for (uint64_t step = 0; step < 2 * steps; step++) {
        static int32_t last[B];

        assert_int_equal(batch_is_first(&b, step), step % steps == 0);
        batch_fill(&b, step, 0, B, &rows);
        for (int k = 0; k < B; k++) {
            int32_t at = rows_id[k * T];

            if (step % steps)
                assert_int_equal(at, last[k]);
            else if (k > 0)
                assert_int_equal(at - rows_id[(k - 1) * T], T * (int32_t)steps);
            else
                first[step / steps] = at;
            for (int i = 0; i < T; i++)
                assert_int_equal(rows_target[k * T + i], at + i + 1);
            last[k] = at + T;
            assert_true(last[k] < 103);
        }
    }
    assert_int_not_equal(first[0], first[1]);
}

/* The last window of validation is short; no token comes twice. */
static void validation_streams_end(void **state)
{
    enum { T = 5, B = 2 };
    struct batch_source b;
    uint64_t targets = 0;

    (void)state;
    stream_corpus(20, 18, T);
    corpus.sequential = true;
    batch_source_valid(&corpus, B, 0, &b);
    assert_int_equal(batch_steps(&b), 2);
    for (uint64_t step = 0; step < 2; step++)
        targets += batch_targets(&b, step, 0, B);
    assert_int_equal(targets, 16);
    batch_fill(&b, 1, 0, B, &rows);
    assert_int_equal(rows_id[0], 25);
    assert_int_equal(rows_pos[2], 2);
    assert_int_equal(rows_pos[3], -1);
}

#define TEST(f) cmocka_unit_test_teardown(f, drop_corpus)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_place_comes_once_in_an_epoch),
        TEST(large_epochs_have_places_too),
        TEST(no_place_is_preferred),
        TEST(order_changes_with_seed_and_epoch),
        TEST(order_never_changes),
        TEST(windows_cover_the_text_once_an_epoch),
        TEST(least_text_gives_one_window),
        TEST(last_token_is_reached),
        TEST(sharing_changes_nothing),
        TEST(counts_are_what_is_filled),
        TEST(a_line_is_a_sample_once_an_epoch),
        TEST(validation_sees_every_target_once_in_order),
        TEST(no_validation_part_means_no_batches),
        TEST(streams_go_on),
        TEST(validation_streams_end),
    };

    return cmocka_run_group_tests_name("data/batch", tests, NULL, NULL);
}

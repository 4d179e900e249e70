/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch.c - from the number of a sample to its tokens.
 */
#include "data/batch.h"

#include "data/order.h"

/* Inputs tokens [at, at + len); targets one further. */
struct span {
    uint64_t at;
    uint32_t len;
};

/* Windows of context inputs that the part has room for in training.  One less
 * than fit, where there are several, leaves room for the phase to move. */
static uint64_t train_windows(const struct corpus_part *p, uint32_t context)
{
    uint64_t fit = (p->count - 1) / context;

    return fit > 1 ? fit - 1 : fit;
}

static uint64_t valid_windows(const struct corpus_part *p, uint32_t context)
{
    return p->count < 2 ? 0 : (p->count - 2) / context + 1;
}

uint64_t batch_least(const struct corpus *c, uint32_t batch)
{
    return c->sequential ? ((uint64_t)batch + 1) * c->context : 0;
}

/* The phase moves by less than a window, and the last target is one further. */
static void train_streams(const struct corpus *c, struct batch_source *b)
{
    uint64_t t = c->context, windows = (c->train.count - t) / b->batch / t;

    b->stream = windows * t;
    b->samples = windows * b->batch;
}

static void valid_streams(const struct corpus *c, uint32_t limit,
                          struct batch_source *b)
{
    uint64_t t = c->context, windows;

    b->stream = c->valid.count > b->batch ? (c->valid.count - 1) / b->batch : 0;
    windows = (b->stream + t - 1) / t;
    b->samples = (limit && windows > limit ? limit : windows) * b->batch;
}

void batch_source_train(const struct corpus *c, uint64_t seed, uint32_t batch,
                        struct batch_source *out)
{
    const struct corpus_part *p = &c->train;

    *out = (struct batch_source){
        .part = p,
        .seed = seed,
        .samples = p->line ? p->lines : train_windows(p, c->context),
        .context = c->context,
        .source_context = c->source_context,
        .batch = batch,
        .train = true,
    };
    if (c->sequential)
        train_streams(c, out);
}

void batch_source_valid(const struct corpus *c, uint32_t batch, uint32_t limit,
                        struct batch_source *out)
{
    const struct corpus_part *p = &c->valid;
    uint64_t samples = p->line ? p->lines : valid_windows(p, c->context);

    if (limit > 0 && samples > (uint64_t)limit * batch)
        samples = (uint64_t)limit * batch;
    *out = (struct batch_source){.part = p,
                                 .samples = samples,
                                 .context = c->context,
                                 .source_context = c->source_context,
                                 .batch = batch};
    if (c->sequential)
        valid_streams(c, limit, out);
}

bool batch_is_first(const struct batch_source *b, uint64_t step)
{
    return b->stream && step % (b->samples / b->batch) == 0;
}

uint64_t batch_steps(const struct batch_source *b)
{
    return (b->samples + b->batch - 1) / b->batch;
}

uint32_t batch_chunk_samples(const struct batch_source *b, uint32_t chunks)
{
    return (b->batch + chunks - 1) / chunks;
}

static uint32_t at_most(uint64_t n, uint32_t limit)
{
    return n < limit ? (uint32_t)n : limit;
}

static struct span line_span(const struct batch_source *b, uint64_t line)
{
    uint64_t from = b->part->line[line], to = b->part->line[line + 1];

    return (struct span){from, at_most(to - from - 1, b->context)};
}

static struct span window_span(const struct batch_source *b, uint64_t epoch,
                               uint64_t window)
{
    uint64_t count = b->part->count, at = window * b->context;

    if (b->train)
        at += order_phase(b->seed, epoch, count - b->samples * b->context);
    return (struct span){b->part->first + at, at_most(count - 1 - at, b->context)};
}

/* Which sample comes as number `index` of a run, or of a pass over the validation
 * part: its line or window. */
static uint64_t sample_place(const struct batch_source *b, uint64_t index)
{
    uint64_t epoch = index / b->samples, place = index % b->samples;

    return b->train ? order_place(b->seed, epoch, b->samples, place) : place;
}

/* Does sample k of a step's batch exist?  Then its number in the run. */
static bool sample_index(const struct batch_source *b, uint64_t step, uint64_t k,
                         uint64_t *index)
{
    *index = step * b->batch + k;
    return k < b->batch && (b->train || *index < b->samples);
}

/* The window of stream k that comes at a step. */
static struct span stream_span(const struct batch_source *b, uint64_t step, uint64_t k)
{
    uint64_t steps = b->samples / b->batch, t = b->context;
    uint64_t at = step % steps * t, left = b->stream - at;
    uint64_t phase = b->train ? order_phase(b->seed, step / steps, t) : 0;

    return (struct span){b->part->first + phase + k * b->stream + at,
                         at_most(left, b->context)};
}

/* Sample k of a step's batch; len 0 when there is none. */
static struct span span_of(const struct batch_source *b, uint64_t step, uint64_t k)
{
    uint64_t index, place;

    if (b->stream)
        return k < b->batch ? stream_span(b, step, k) : (struct span){0, 0};
    if (!sample_index(b, step, k, &index))
        return (struct span){0, 0};
    place = sample_place(b, index);
    return b->part->line ? line_span(b, place)
                         : window_span(b, index / b->samples, place);
}

/* The source of the same. */
static struct span source_of(const struct batch_source *b, uint64_t step, uint64_t k)
{
    const uint64_t *line = b->part->source_line;
    uint64_t index, place;

    if (!sample_index(b, step, k, &index))
        return (struct span){0, 0};
    place = sample_place(b, index);
    return (struct span){line[place],
                         at_most(line[place + 1] - line[place], b->source_context)};
}

static void fill_sample(const struct batch_source *b, struct span s, uint32_t number,
                        uint64_t row, const struct batch_rows *out)
{
    const struct tokens *tokens = b->part->tokens;

    for (uint32_t i = 0; i < b->context; i++, row++) {
        bool real = i < s.len;

        out->id[row] = real ? (int32_t)tokens_get(tokens, s.at + i) : 0;
        out->target[row] = real ? (int32_t)tokens_get(tokens, s.at + i + 1) : -1;
        out->pos[row] = real ? (int32_t)i : -1;
        out->sample[row] = (int32_t)number;
    }
}

static void fill_source(const struct batch_source *b, struct span s, uint32_t number,
                        uint32_t k, const struct batch_rows *out)
{
    uint64_t row = (uint64_t)k * b->source_context;

    for (uint32_t i = 0; i < b->source_context; i++, row++) {
        bool real = i < s.len;

        out->source_id[row] = real ? (int32_t)tokens_get(b->part->source, s.at + i) : 0;
        out->source_pos[row] = real ? (int32_t)i : -1;
        out->source_sample[row] = (int32_t)number;
    }
    out->source_len[k] = (int32_t)s.len;
}

void batch_fill(const struct batch_source *b, uint64_t step, uint32_t first, uint32_t n,
                const struct batch_rows *out)
{
    for (uint32_t k = 0; k < n; k++) {
        fill_sample(b, span_of(b, step, (uint64_t)first + k), first + k,
                    (uint64_t)k * b->context, out);
        if (out->source_id)
            fill_source(b, source_of(b, step, (uint64_t)first + k), first + k, k, out);
    }
}

uint64_t batch_targets(const struct batch_source *b, uint64_t step, uint32_t first,
                       uint32_t n)
{
    uint64_t sum = 0;

    for (uint32_t k = 0; k < n; k++)
        sum += span_of(b, step, (uint64_t)first + k).len;
    return sum;
}

void batch_counts(const struct batch_source *b, uint64_t step, uint32_t chunks,
                  uint64_t *out)
{
    uint32_t n = batch_chunk_samples(b, chunks);

    for (uint32_t k = 0; k < chunks; k++)
        out[k] = batch_targets(b, step, k * n, n);
}

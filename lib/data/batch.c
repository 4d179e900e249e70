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

uint64_t batch_least_valid(const struct corpus *c, uint32_t batch)
{
    return c->sequential ? (uint64_t)batch + 1 : 0;
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

int batch_source_pack(struct batch_source *b, uint32_t rows, uint32_t chunks,
                      struct err *e)
{
    uint32_t samples = b->batch / chunks;
    struct packs_limit limit = {b->samples, rows / chunks, rows / chunks, samples,
                                (uint64_t)b->batch * 16};

    if (packs_create(b->part, b->seed, &limit, b->train, &b->packs, e) < 0)
        return e->code;
    b->rows = rows / chunks;
    b->samples_chunk = samples;
    if (!b->train && b->samples == 0)
        return ERR_OK;
    b->samples = (packs_count(b->packs) + chunks - 1) / chunks * b->batch;
    return ERR_OK;
}

void batch_source_free(struct batch_source *b)
{
    packs_destroy(b->packs);
    b->packs = NULL;
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

/* Lines of the chunk with the samples [first, first + n) of a step. */
static uint64_t pack_of(const struct batch_source *b, uint64_t step, uint32_t first,
                        const uint64_t **lines)
{
    uint64_t chunks = b->batch / b->samples_chunk;

    return packs_at(b->packs, step * chunks + first / b->samples_chunk, lines);
}

/* Where the rows of one side go. */
struct side {
    const struct tokens *tokens;
    int32_t *id, *target, *pos, *sample, *cu; /* target NULL: a source */
    uint32_t at, rows;
};

static void pack_tokens(struct side *s, uint64_t from, uint64_t len, uint32_t number)
{
    for (uint64_t i = 0; i < len; i++, s->at++) {
        s->id[s->at] = (int32_t)tokens_get(s->tokens, from + i);
        if (s->target)
            s->target[s->at] = (int32_t)tokens_get(s->tokens, from + i + 1);
        s->pos[s->at] = (int32_t)i;
        s->sample[s->at] = (int32_t)number;
    }
}

static void pack_rest(struct side *s, uint32_t number)
{
    for (; s->at < s->rows; s->at++) {
        s->id[s->at] = 0;
        if (s->target)
            s->target[s->at] = -1;
        s->pos[s->at] = -1;
        s->sample[s->at] = (int32_t)number;
    }
}

static void fill_pack(const struct batch_source *b, uint64_t step, uint32_t first,
                      uint32_t n, const struct batch_rows *out)
{
    const struct corpus_part *p = b->part;
    struct side target = {p->tokens,   out->id, out->target, out->pos,
                          out->sample, out->cu, 0,           b->rows};
    struct side source = {p->source,          out->source_id, NULL, out->source_pos,
                          out->source_sample, out->source_cu, 0,    b->rows};
    const uint64_t *line;
    uint64_t lines = pack_of(b, step, first, &line);

    for (uint32_t k = 0; k < n; k++) {
        out->cu[k] = (int32_t)target.at;
        out->source_cu[k] = (int32_t)source.at;
        if (k >= lines)
            continue;
        pack_tokens(&target, p->line[line[k]],
                    p->line[line[k] + 1] - p->line[line[k]] - 1, first + k);
        pack_tokens(&source, p->source_line[line[k]],
                    p->source_line[line[k] + 1] - p->source_line[line[k]], first + k);
    }
    out->cu[n] = (int32_t)target.at;
    out->source_cu[n] = (int32_t)source.at;
    pack_rest(&target, first);
    pack_rest(&source, first);
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
    if (b->packs) {
        fill_pack(b, step, first, n, out);
        return;
    }
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

    if (b->packs) {
        const uint64_t *line, *at = b->part->line;

        for (uint32_t k = first; k < first + n; k += b->samples_chunk)
            for (uint64_t i = pack_of(b, step, k, &line); i-- > 0;)
                sum += at[line[i] + 1] - at[line[i]] - 1;
        return sum;
    }
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

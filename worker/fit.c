/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fit.c - looks for the largest step by asking the plan.
 *
 * What a step takes grows with its size, so that halving what is left finds the end in
 * some twenty plans.
 */
#include "worker/fit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/fs.h"
#include "data/batch.h"
#include "model/model.h"
#include "train/plan_report.h"
#include "worker/measure.h"

#define MIB (INT64_C(1) << 20)

/* Packed pairs seldom have fewer tokens than this: room for more samples is waste. */
enum { TOKENS_LEAST = 8 };

struct fit {
    struct spec *spec;
    const Nnd__Job *teacher;
    const struct kernels *kernels;
    const struct corpus *corpus;
    int64_t vocab, limit; /* bytes of a rank */
    int64_t scores;       /* bytes that train.best takes, whatever the step */
    bool packed;
    int64_t each; /* packed: tokens for which a step has room for a sample */
    int64_t unit, least, most; /* of samples, or of packed tokens */
    int64_t samples;           /* more are no step, however long each is */
    char origin[64];
};

static int put(struct fit *f, const char *key, int64_t value, struct err *e)
{
    char text[24];

    snprintf(text, sizeof text, "%" PRId64, value);
    return spec_put(f->spec, key, text, f->origin, e);
}

static int64_t round_up(int64_t x, int64_t unit)
{
    return (x + unit - 1) / unit * unit;
}

static int set_size(struct fit *f, int64_t size, struct err *e)
{
    int64_t chunks = spec_job(f->spec)->train->chunks;
    int64_t batch = f->packed ? round_up(size / f->each, chunks) : size;
    int rc = put(f, "train.batch", batch < f->samples ? batch : f->samples, e);

    if (rc == 0 && f->packed)
        rc = put(f, "train.batch_tokens", size, e);
    return rc < 0 ? rc : spec_resolve(f->spec, e);
}

/* The bytes that the fullest rank takes with steps of this size. */
static int need(struct fit *f, int64_t size, int64_t *out, struct err *e)
{
    struct arena *a = arena_create();
    struct plan_report r;
    int rc = set_size(f, size, e);

    if (rc == 0)
        rc = plan_report_make(spec_job(f->spec), f->teacher, f->kernels, f->vocab,
                              (int64_t)corpus_bytes(f->corpus), f->scores, a, &r, e);
    *out = 0;
    for (int i = 0; rc == 0 && i < r.ranks; i++)
        if (plan_rank_total(&r.rank[i]) > *out)
            *out = plan_rank_total(&r.rank[i]);
    arena_destroy(a);
    return rc;
}

/* What is free here; 0 when it cannot be known. */
static int64_t free_bytes(void)
{
    static const char word[] = "MemAvailable:";
    struct buf text = {0};
    struct err e;
    long long kib = 0;
    const char *at;

    if (fs_read("/proc/meminfo", 0, &text, &e) == 0 && text.data &&
        (at = strstr(text.data, word)))
        sscanf(at + sizeof word - 1, "%lld", &kib);
    buf_free(&text);
    return (int64_t)kib * 1024;
}

/* Where each sample takes the memory of the longest, there is room for as many as
 * are in so many tokens on the average. */
static int64_t tokens_each(const Nnd__Job *j, const struct corpus_part *p)
{
    int64_t mean = p->lines ? (int64_t)(p->count / p->lines) : 0;

    return model_pads(j) && mean > TOKENS_LEAST ? mean : TOKENS_LEAST;
}

/* As many samples as a job may have, a multiple of its chunks: spec_resolve counts
 * each as long as it can be, also where they are packed. */
static int64_t samples_most(const Nnd__Job *j)
{
    int64_t chunks = j->train->chunks;
    int64_t tokens = (int64_t)j->model->context + j->model->source_context;
    int64_t most = INT32_MAX / tokens / chunks * chunks;

    return most > chunks ? most : chunks;
}

static void bounds(struct fit *f)
{
    const Nnd__Job *j = spec_job(f->spec);
    const struct corpus_part *p = &f->corpus->train;
    int64_t chunks = j->train->chunks, context = j->model->context;
    int64_t longest = context > (int64_t)j->model->source_context
                          ? context
                          : (int64_t)j->model->source_context;

    f->packed = model_reads(j);
    f->samples = samples_most(j);
    f->each = tokens_each(j, p);
    f->unit = f->packed ? chunks * f->each : chunks;
    f->least = f->packed ? round_up(longest * chunks, f->unit) : chunks;
    f->most = f->packed ? (int64_t)p->count
              : p->line ? (int64_t)p->lines
                        : (int64_t)p->count / context;
    if (f->corpus->sequential) /* each stream has a window, and room to move */
        f->most = (int64_t)p->count / context - 1;
    f->most = round_up(f->most, f->unit);
    if (f->most > (f->packed ? INT64_C(1) << 23 : INT64_C(1) << 20))
        f->most = f->packed ? INT64_C(1) << 23 : INT64_C(1) << 20;
    if (!f->packed && f->most > f->samples)
        f->most = f->samples;
    f->most = f->most / f->unit * f->unit;
}

/* The largest multiple of unit between least, which fits, and most. */
static int search(struct fit *f, struct err *e)
{
    int64_t low = f->least / f->unit, high = f->most / f->unit, bytes;

    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;

        if (need(f, middle * f->unit, &bytes, e) < 0)
            return e->code;
        if (bytes <= f->limit)
            low = middle;
        else
            high = middle - 1;
    }
    return set_size(f, low * f->unit, e);
}

int fit_batch(struct spec *s, const Nnd__Job *teacher, const struct kernels *ks,
              int64_t vocab, const struct corpus *c, struct err *e)
{
    const Nnd__Job *j = spec_job(s);
    struct fit f = {
        .spec = s, .teacher = teacher, .kernels = ks, .corpus = c, .vocab = vocab};
    int64_t bytes;

    f.limit = j->train->memory ? (int64_t)j->train->memory * MIB
                               : free_bytes() / 5 * 4 / j->parallel->dp;
    snprintf(f.origin, sizeof f.origin, "fit: %" PRId64 " MiB a rank", f.limit / MIB);
    bounds(&f);
    if (measure_bytes(j, ks, vocab, &f.scores, e) < 0 ||
        need(&f, f.least, &bytes, e) < 0)
        return err_prefix(e, "train.batch fit");
    if (bytes > f.limit)
        return err_set(e, ERR_SPEC,
                       "train.batch: fit: wanted at least %" PRId64
                       " MiB a rank (train.memory), for steps of %" PRId64
                       " %s, found %" PRId64,
                       (bytes + MIB - 1) / MIB, f.least,
                       f.packed ? "tokens" : "samples", f.limit / MIB);
    if (search(&f, e) < 0)
        return err_prefix(e, "train.batch fit");
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packs.c - an epoch's packs, made when one of them is first asked for.
 */
#include "data/packs.h"

#include <stdlib.h>

#include "data/order.h"

struct packs {
    const struct corpus_part *part;
    struct packs_limit limit;
    uint64_t seed;
    bool train;
    uint64_t epoch, base;   /* the one below, and packs of all before it  */
    uint64_t before;        /* base of the one before; base: not known    */
    uint64_t made;          /* epochs so far                              */
    uint64_t count;         /* its packs                                  */
    uint64_t *line;         /* [lines]: of pack j, [first[j], first[j+1]) */
    uint64_t *first;        /* [lines + 1]                                */
    struct packs_key *pool; /* [limit.pool]                               */
};

/* A pair with what it is sorted by. */
struct packs_key {
    uint64_t target, source, line;
};

static struct packs_key key_of(const struct packs *p, uint64_t line)
{
    const struct corpus_part *c = p->part;

    return (struct packs_key){c->line[line + 1] - c->line[line] - 1,
                              c->source_line[line + 1] - c->source_line[line], line};
}

static int by_length(const void *x, const void *y)
{
    const struct packs_key *a = x, *b = y;

    if (a->target != b->target)
        return a->target < b->target ? -1 : 1;
    if (a->source != b->source)
        return a->source < b->source ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

/* Cut the sorted pool of n pairs, which are written from line[at] on. */
static void cut_pool(struct packs *p, uint64_t n, uint64_t at)
{
    uint64_t rows = 0, source = 0, samples = 0;

    for (uint64_t i = 0; i < n; i++) {
        const struct packs_key *k = &p->pool[i];

        if (i == 0 || rows + k->target > p->limit.rows ||
            source + k->source > p->limit.source_rows || samples == p->limit.samples) {
            p->first[p->count++] = at + i;
            rows = source = samples = 0;
        }
        rows += k->target;
        source += k->source;
        samples++;
        p->line[at + i] = k->line;
    }
}

static void make_epoch(struct packs *p)
{
    uint64_t lines = p->limit.lines;

    p->made++;
    p->count = 0;
    for (uint64_t at = 0; at < lines; at += p->limit.pool) {
        uint64_t n = lines - at < p->limit.pool ? lines - at : p->limit.pool;

        for (uint64_t i = 0; i < n; i++) {
            uint64_t line =
                p->train ? order_place(p->seed, p->epoch, lines, at + i) : at + i;

            p->pool[i] = key_of(p, line);
        }
        qsort(p->pool, n, sizeof *p->pool, by_length);
        cut_pool(p, n, at);
    }
    p->first[p->count] = lines;
}

int packs_create(const struct corpus_part *part, uint64_t seed,
                 const struct packs_limit *limit, bool train, struct packs **out,
                 struct err *e)
{
    struct packs *p = calloc(1, sizeof *p);
    size_t lines = limit->lines;

    if (p) {
        *p =
            (struct packs){.part = part, .limit = *limit, .seed = seed, .train = train};
        p->line = calloc(lines + 1, sizeof *p->line);
        p->first = calloc(lines + 1, sizeof *p->first);
        p->pool = calloc(limit->pool + 1, sizeof *p->pool);
    }
    if (!p || !p->line || !p->first || !p->pool) {
        packs_destroy(p);
        return err_set(e, ERR_NOMEM, "no memory for the order of %zu pairs", lines);
    }
    make_epoch(p);
    *out = p;
    return ERR_OK;
}

void packs_destroy(struct packs *p)
{
    if (!p)
        return;
    free(p->line);
    free(p->first);
    free(p->pool);
    free(p);
}

static void go_to_epoch(struct packs *p, uint64_t epoch, uint64_t base, uint64_t before)
{
    p->epoch = epoch;
    p->base = base;
    p->before = before;
    make_epoch(p);
}

/* A step at a border of epochs goes back by one; how far is known then. */
static void go_back(struct packs *p, uint64_t i)
{
    if (i >= p->before)
        go_to_epoch(p, p->epoch - 1, p->before, p->before);
    else
        go_to_epoch(p, 0, 0, 0);
}

uint64_t packs_count(struct packs *p)
{
    if (p->epoch > 0)
        go_to_epoch(p, 0, 0, 0);
    return p->count;
}

uint64_t packs_made(const struct packs *p)
{
    return p->made;
}

uint64_t packs_at(struct packs *p, uint64_t i, const uint64_t **lines)
{
    uint64_t j;

    if (i < p->base)
        go_back(p, i);
    if (p->count == 0 || (!p->train && i >= p->count))
        return 0;
    while (i - p->base >= p->count)
        go_to_epoch(p, p->epoch + 1, p->base + p->count, p->base);
    j = i - p->base;
    if (p->train)
        j = order_place(p->seed + 1, p->epoch, p->count, j);
    *lines = p->line + p->first[j];
    return p->first[j + 1] - p->first[j];
}

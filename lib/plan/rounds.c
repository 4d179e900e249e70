/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rounds.c - cutting arrivals into rounds, by walking the blocks in order.
 */
#include "plan/rounds.h"

#include <stdbool.h>

/* A walk over the blocks that arrive at one rank. */
struct walk {
    const struct rounds *r;
    int dest;
    int source, expert;  /* of the block found            */
    int64_t first, rows; /* within its segment            */
    int round;
    int64_t filled; /* rows in this round, with the block */
};

static int per_rank(const struct rounds *r)
{
    return r->experts / r->ranks;
}

static int64_t count_of(const struct rounds *r, int source, int expert)
{
    return r->counts[(int64_t)source * r->experts + expert];
}

static void walk_begin(struct walk *w, const struct rounds *r, int dest)
{
    *w = (struct walk){.r = r, .dest = dest, .expert = dest * per_rank(r)};
}

/* Step over finished segments; false behind the last. */
static bool walk_segment(struct walk *w)
{
    int last = (w->dest + 1) * per_rank(w->r);
    while (w->source < w->r->ranks) {
        if (w->first + w->rows < count_of(w->r, w->source, w->expert))
            return true;
        w->first = w->rows = 0;
        if (++w->expert == last) {
            w->expert = w->dest * per_rank(w->r);
            w->source++;
        }
    }
    return false;
}

static bool walk_next(struct walk *w)
{
    if (!walk_segment(w))
        return false;
    w->first += w->rows;
    int64_t left = count_of(w->r, w->source, w->expert) - w->first;
    w->rows = left < w->r->block ? left : w->r->block;
    if (w->filled + w->rows > w->r->capacity) {
        w->round++;
        w->filled = 0;
    }
    w->filled += w->rows;
    return true;
}

static int64_t arrivals(const struct rounds *r, int dest)
{
    int64_t n = 0;
    for (int s = 0; s < r->ranks; s++)
        for (int e = dest * per_rank(r); e < (dest + 1) * per_rank(r); e++)
            n += count_of(r, s, e);
    return n;
}

int rounds_count(const struct rounds *r)
{
    int most = 1;
    for (int d = 0; d < r->ranks; d++) {
        if (arrivals(r, d) <= r->capacity)
            continue;
        struct walk w;
        walk_begin(&w, r, d);
        while (walk_next(&w))
            ;
        if (w.round + 1 > most)
            most = w.round + 1;
    }
    return most;
}

void rounds_segment(const struct rounds *r, int round, int source, int expert,
                    int64_t *first, int64_t *rows)
{
    *first = *rows = 0;
    struct walk w;
    walk_begin(&w, r, expert / per_rank(r));
    while (walk_next(&w) && w.round <= round) {
        if (w.round != round || w.source != source || w.expert != expert)
            continue;
        if (!*rows)
            *first = w.first;
        *rows += w.rows;
    }
}

int64_t rounds_rows(const struct rounds *r, int round, int source, int dest,
                    int64_t *start)
{
    int64_t before = 0, rows = 0;
    struct walk w;
    walk_begin(&w, r, dest);
    while (walk_next(&w) && w.round <= round) {
        if (w.source != source)
            continue;
        if (w.round < round)
            before += w.rows;
        else
            rows += w.rows;
    }
    *start = before;
    return rows;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - plays the arrivals of chunk gradients through and writes down what
 * to do at each.
 *
 * Nodes of the tree are numbered as in a heap: the root is 1, the children of
 * v are 2v and 2v + 1, leaf i is n + i; so parent and sibling are v / 2 and
 * v ^ 1.  A sum stays in the buffer of its lower chunk, and leaf 0 takes
 * buffer 0 first, so the root's sum ends in buffer 0.
 */
#include "plan/tree.h"

#include <stdbool.h>

enum { NOWHERE = -1 };

struct sim {
    int *where;  /* [2n] the buffer that holds a finished node, or NOWHERE */
    bool *taken; /* [n] buffers                                            */
    int buffers; /* the highest buffer taken so far, plus one              */
};

static int lowest_free(const struct sim *s)
{
    int b = 0;

    while (s->taken[b])
        b++;
    return b;
}

static void place_leaf(struct sim *s, int v, struct tree_step *st)
{
    int b = lowest_free(s);

    s->taken[b] = true;
    s->where[v] = b;
    if (b >= s->buffers)
        s->buffers = b + 1;
    *st = (struct tree_step){.leaf = b, .into = b};
}

/* The node that has just been finished takes in its sibling, then the parent
 * its sibling, up to one whose sibling is still to come.  Floating-point
 * addition is commutative (not associative), so one running sum that starts at
 * the leaf has the bits of left + right at every level. */
static void add_finished(struct sim *s, int v, struct tree_step *st)
{
    for (; v > 1 && s->where[v ^ 1] != NOWHERE; v /= 2) {
        int lower = s->where[v & ~1], upper = s->where[v | 1];

        st->with[st->n++] = s->where[v ^ 1];
        st->into = lower;
        s->taken[upper] = false;
        s->where[v / 2] = lower;
        s->where[v] = s->where[v ^ 1] = NOWHERE;
    }
}

static void sim_init(struct sim *s, struct arena *a, int n)
{
    s->where = arena_calloc(a, 2 * (size_t)n, sizeof *s->where);
    for (int v = 0; v < 2 * n; v++)
        s->where[v] = NOWHERE;
    s->taken = arena_calloc(a, (size_t)n, sizeof *s->taken);
    s->buffers = 0;
}

static int check_count(int n, struct err *e)
{
    const int most = 1 << TREE_CHAIN_MAX;

    if (n < 1 || n > most || (n & (n - 1)) != 0)
        return err_set(e, ERR_SPEC,
                       "train.chunks: wanted a power of two of at most %d, found %d",
                       most, n);
    return 0;
}

static int check_order(const int *order, int n, struct arena *scratch, struct err *e)
{
    bool *seen = arena_calloc(scratch, (size_t)n, sizeof *seen);

    if (order[0] != 0)
        return err_set(e, ERR_FAILED, "arrival 0: wanted chunk 0, found %d", order[0]);
    for (int i = 0; i < n; i++) {
        if (order[i] < 0 || order[i] >= n || seen[order[i]])
            return err_set(e, ERR_FAILED,
                           "arrival %d: wanted a new chunk below %d, found %d", i, n,
                           order[i]);
        seen[order[i]] = true;
    }
    return 0;
}

int tree_make(struct arena *a, const int *order, int n, struct tree *out, struct err *e)
{
    struct arena *scratch;
    struct sim s;
    struct tree_step *step;
    int rc;

    if ((rc = check_count(n, e)) < 0)
        return rc;
    scratch = arena_create();
    rc = check_order(order, n, scratch, e);
    if (rc == 0) {
        sim_init(&s, scratch, n);
        step = arena_calloc(a, (size_t)n, sizeof *step);
        for (int i = 0; i < n; i++) {
            place_leaf(&s, n + order[i], &step[i]);
            add_finished(&s, n + order[i], &step[i]);
        }
        *out = (struct tree){.arrivals = n, .buffers = s.buffers, .step = step};
    }
    arena_destroy(scratch);
    return rc;
}

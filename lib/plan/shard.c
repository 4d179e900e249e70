/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shard.c - cuts a plane of tensors into runs of whole blocks.
 *
 * Replica r starts at the block boundary nearest to r / replicas of all
 * elements, padding not counted.  So two replicas differ by at most two
 * blocks' worth of elements, and a norm summed block by block has the same
 * terms however many replicas there are.
 */
#include "plan/shard.h"

static int64_t tensor_size(const struct shard_tensor *t)
{
    return t->each * t->logical;
}

static int64_t blocks_of(int64_t elements)
{
    return (elements + SHARD_BLOCK - 1) / SHARD_BLOCK;
}

static int check_tensor(const struct shard_tensor *t, int64_t free_from, size_t i,
                        struct err *e)
{
    int64_t size, end;

    if (t->each < 1 || t->logical < 1)
        return err_set(e, ERR_FAILED,
                       "tensor %zu of the plane: wanted elements, found %d x %lld", i,
                       t->logical, (long long)t->each);
    if (t->offset < free_from)
        return err_set(
            e, ERR_FAILED,
            "tensor %zu of the plane: wanted an offset from %lld on, found %lld", i,
            (long long)free_from, (long long)t->offset);
    if (__builtin_mul_overflow(t->each, (int64_t)t->logical, &size) ||
        __builtin_add_overflow(t->offset, size, &end))
        return err_set(e, ERR_SPEC,
                       "tensor %zu of the plane: %d x %lld elements are too many", i,
                       t->logical, (long long)t->each);
    return 0;
}

static int check_plane(const struct shard_tensor *t, size_t n, int64_t *elements,
                       struct err *e)
{
    int64_t free_from = 0, sum = 0;

    for (size_t i = 0; i < n; i++) {
        int rc = check_tensor(&t[i], free_from, i, e);
        if (rc < 0)
            return rc;
        free_from = t[i].offset + tensor_size(&t[i]);
        sum += tensor_size(&t[i]);
    }
    *elements = sum;
    return 0;
}

/* The block boundary of t nearest to its element x; the lower of two. */
static int64_t nearest_boundary(const struct shard_tensor *t, int64_t x)
{
    int64_t start = x / t->each * t->each; /* of the logical tensor */
    int64_t low = start + (x - start) / SHARD_BLOCK * SHARD_BLOCK;
    int64_t high = low + SHARD_BLOCK;

    if (high > start + t->each)
        high = start + t->each;
    return x - low <= high - x ? low : high;
}

/* Where in the plane the first `target` elements end, to the nearest block.
 * *i and *before (elements of the tensors before *i) move on with the target. */
static int64_t cut_at(const struct shard_tensor *t, size_t n, int64_t target, size_t *i,
                      int64_t *before)
{
    int64_t x;

    while (target - *before >= tensor_size(&t[*i])) {
        *before += tensor_size(&t[*i]);
        ++*i;
    }
    x = nearest_boundary(&t[*i], target - *before);
    if (x == tensor_size(&t[*i]) && *i + 1 < n)
        return t[*i + 1].offset;
    return t[*i].offset + x;
}

static void cut_plane(const struct shard_tensor *t, size_t n, int64_t elements,
                      struct shard *s)
{
    size_t i = 0;
    int64_t before = 0, share = elements / s->replicas, rest = elements % s->replicas;

    s->begin[0] = t[0].offset;
    for (int r = 1; r < s->replicas; r++) {
        s->begin[r] = cut_at(t, n, share * r + rest * r / s->replicas, &i, &before);
        s->end[r - 1] = s->begin[r];
    }
    s->end[s->replicas - 1] = t[n - 1].offset + tensor_size(&t[n - 1]);
}

int shard_make(struct arena *a, const struct shard_tensor *t, size_t n, int replicas,
               struct shard *out, struct err *e)
{
    struct shard s = {.replicas = replicas};
    int64_t elements;
    int rc;

    if (replicas < 1)
        return err_set(e, ERR_FAILED, "plane: wanted a replica, found %d", replicas);
    if ((rc = check_plane(t, n, &elements, e)) < 0)
        return rc;
    s.begin = arena_calloc(a, (size_t)replicas, sizeof *s.begin);
    s.end = arena_calloc(a, (size_t)replicas, sizeof *s.end);
    if (n > 0)
        cut_plane(t, n, elements, &s);
    *out = s;
    return 0;
}

static int64_t clamp(int64_t x, int64_t most)
{
    return x < 0 ? 0 : x > most ? most : x;
}

void shard_piece(const struct shard *s, const struct shard_tensor *t, int r,
                 int64_t *lo, int64_t *hi)
{
    *lo = clamp(s->begin[r] - t->offset, tensor_size(t));
    *hi = clamp(s->end[r] - t->offset, tensor_size(t));
}

int64_t shard_blocks(const struct shard_tensor *t)
{
    return t->logical * blocks_of(t->each);
}

/* Blocks that start before element x. */
static int64_t blocks_before(const struct shard_tensor *t, int64_t x)
{
    return x / t->each * blocks_of(t->each) + blocks_of(x % t->each);
}

int64_t shard_blocks_in(const struct shard_tensor *t, int64_t lo, int64_t hi)
{
    return blocks_before(t, hi) - blocks_before(t, lo);
}

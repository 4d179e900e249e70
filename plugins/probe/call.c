/* SPDX-License-Identifier: Apache-2.0 */
/*
 * call.c - building calls, and the values that they start with.
 */
#include "call.h"

#include <assert.h>
#include <math.h>
#include <string.h>

void call_init(struct call *c, struct arena *arena)
{
    memset(c, 0, sizeof *c);
    c->arena = arena;
}

struct slot *call_tensor(struct call *c, const char *name, struct nnd_tensor *t,
                         enum role role, enum kind kind, int64_t a, int64_t b,
                         int64_t n)
{
    assert(c->nslots < CALL_SLOTS);
    struct slot *s = &c->slot[c->nslots++];
    *s = (struct slot){.name = name,
                       .tensor = t,
                       .role = role,
                       .kind = kind,
                       .ndim = n >= 0   ? 3
                               : b >= 0 ? 2
                                        : 1,
                       .dim = {a, b, n},
                       .spread = 1,
                       .slack = SLACK_ELEMENT,
                       .terms = 1};
    s->count = 1;
    for (int i = 0; i < s->ndim; i++)
        s->count *= s->dim[i];
    return s;
}

struct slot *call_scaled(struct call *c, const char *name, struct nnd_tensor *t,
                         enum role role, int dtype, int scale_dtype, int64_t rows,
                         int64_t cols, int wide, int high)
{
    int64_t across = wide ? (cols + wide - 1) / wide : 1;
    int64_t down = wide ? (rows + high - 1) / high : 1;
    struct slot *s = call_tensor(c, name, t, role, KIND_FIXED, rows, cols, -1);
    struct slot *of =
        call_tensor(c, "scale", &c->scales, role, KIND_FIXED, down, across, -1);
    s->dtype = dtype;
    s->scales = c->nslots;
    s->block = wide;
    s->block_rows = high;
    s->spread = 8;
    of->dtype = scale_dtype;
    of->slack = SLACK_COPY;
    of->center = 1.5;
    of->spread = 1.25;
    return s;
}

void call_array(struct call *c, void *where, const void *data, size_t size)
{
    assert(c->narrays < CALL_ARRAYS);
    void *copy = arena_alloc(c->arena, size + 1);
    if (size)
        memcpy(copy, data, size);
    c->array[c->narrays++] = (struct array){where, copy, size};
}

int64_t *call_row_ids(struct call *c, int64_t n, int64_t tail)
{
    int64_t *row = arena_calloc(c->arena, (size_t)n + 1, sizeof *row);
    for (int64_t i = n - tail; i < n; i++)
        row[i] = ROW_ZERO;
    return row;
}

int64_t *call_padded_ids(struct call *c, const int64_t *row, int64_t n)
{
    int64_t *id = call_row_ids(c, n, 0);
    for (int64_t i = 0; i < n; i++)
        id[i] = row[i] >= 0 && row[i] % 4 == 1 ? ROW_NAN : row[i];
    return id;
}

void call_targets(struct call *c, void *where, const int64_t *row, int64_t n,
                  int classes)
{
    int32_t *target = call_ints(c, n);
    for (int64_t i = 0; i < n; i++)
        target[i] = row[i] < 0 ? -1 : call_number(3, (uint64_t)row[i], 0, classes - 1);
    call_array(c, where, target, (size_t)n * sizeof *target);
}

double call_random(uint64_t a, uint64_t b)
{
    uint64_t bits = nnd_rng_mix(nnd_rng_mix(a) ^ b);
    return (double)(bits >> 11) * 0x1p-52 - 1;
}

/* The row's id and the place within the row of element i. */
static int64_t split(const struct slot *s, int64_t i, int64_t *within)
{
    int64_t inner = 1;
    for (int axis = s->row_axis + 1; axis < s->ndim; axis++)
        inner *= s->dim[axis];
    int64_t n = s->dim[s->row_axis], row = i / inner % n;
    *within = i / inner / n * inner + i % inner;
    return s->row ? s->row[row] : row;
}

double call_value(const struct slot *s, int number, int64_t i)
{
    int64_t within, row = split(s, i, &within);
    if (s->value)
        return s->value[i];
    if (row == ROW_ZERO)
        return 0;
    if (row == ROW_NAN)
        return NAN;
    uint64_t place = (uint64_t)row << 24 | (uint64_t)within;
    return s->center + s->spread * call_random((uint64_t)number + 1, place);
}

int32_t call_number(uint64_t a, uint64_t b, int32_t lo, int32_t hi)
{
    uint64_t bits = nnd_rng_mix(nnd_rng_mix(a) ^ b);
    return lo + (int32_t)(bits % (uint64_t)(hi - lo + 1));
}

int32_t *call_ints(struct call *c, int64_t n)
{
    return arena_calloc(c->arena, (size_t)n + 1, sizeof(int32_t));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choose.c - columns of rows: "argmax", "sample", "select".
 */
#include "op.h"
#include "par.h"
#include "vec.h"

/* Sets sampling apart from other uses of a seed. */
#define SAMPLE_STREAM 0x53414d50u

/* A number as "argmax" orders it. */
static inline float number_at(const struct nnd_tensor *x, const void *row, int64_t i)
{
    float v = vec_get(element_of(row, x->dtype, i), x->dtype, 0, 1)[0];

    return v == v ? v : -__builtin_inff();
}

static void put_choice(const struct nnd_choose *p, int64_t r, int64_t k, int64_t i)
{
    int32_t *index = row_of(&p->index, r);

    index[k] = (int32_t)i;
    if (p->value.ndim)
        ((float *)row_of(&p->value, r))[k] =
            i < 0 ? 0
                  : vec_get(element_of(row_of(&p->x, r), p->x.dtype, i), p->x.dtype, 0,
                            1)[0];
}

/* ---- argmax ---- */

/* Is any of the vector's numbers above `least`? */
static inline int any_above(vf x, float least)
{
    vi above = x > least;
    int32_t any = 0;

    for (int i = 0; i < VL; i++)
        any |= above[i];
    return any != 0;
}

/* index[0 .. k) = the k largest, by insertion; most vectors hold none of them. */
static void largest(const struct nnd_choose *p, int64_t r, int64_t k)
{
    const void *row = row_of(&p->x, r);
    int32_t *index = row_of(&p->index, r);
    int64_t n = p->x.dim[1], have = 0;
    float least = 0; /* of those there are */

    for (int64_t i = 0; i < n; i++) {
        if (have == k && i % VL == 0 &&
            !any_above(vec_get_or(row, p->x.dtype, i, n - i, -__builtin_inff()),
                       least)) {
            i += VL - 1;
            continue;
        }
        float x = number_at(&p->x, row, i);
        int64_t at = have;

        while (at > 0 && number_at(&p->x, row, index[at - 1]) < x)
            at--;
        if (at == k)
            continue;
        have += have < k;
        for (int64_t j = have - 1; j > at; j--)
            index[j] = index[j - 1];
        index[at] = (int32_t)i;
        least = number_at(&p->x, row, index[have - 1]);
    }
    for (int64_t j = 0; j < k; j++)
        put_choice(p, r, j, index[j]);
}

static void argmax_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_choose *p = arg;

    for (int64_t r = lo; r < hi; r++)
        largest(p, r, p->index.dim[1]);
}

static int argmax(const void *params, const struct nnd_launch *l)
{
    const struct nnd_choose *p = params;

    return par_rows(l, p->x.dim[0], p->x.dim[1] * p->index.dim[1], argmax_rows, p);
}

static int check_argmax(const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = params;

    if (p->index.dim[1] > p->x.dim[1])
        return op_refuse(e, NND_EINVAL, "%lld of %lld columns are wanted",
                         (long long)p->index.dim[1], (long long)p->x.dim[1]);
    return NND_OK;
}

/* ---- sample ---- */

/* e^x, x <= 0, by the series after halving ln 2 away; a unit or two of f64. */
static double exp_one(double x)
{
    static const double inverse[] = {1.0,
                                     1.0,
                                     1.0 / 2,
                                     1.0 / 6,
                                     1.0 / 24,
                                     1.0 / 120,
                                     1.0 / 720,
                                     1.0 / 5040,
                                     1.0 / 40320,
                                     1.0 / 362880,
                                     1.0 / 3628800,
                                     1.0 / 39916800,
                                     1.0 / 479001600,
                                     1.0 / 6227020800};
    const double magic = 0x1.8p52;
    double n, r, p = 0;
    int64_t bits;

    if (!(x > -700))
        return 0;
    n = x * 1.44269504088896340736 + magic - magic;
    r = x - n * 6.93147180369123816490e-01;
    r = r - n * 1.90821492927058770002e-10;
    for (int i = 13; i >= 0; i--)
        p = p * r + inverse[i];
    memcpy(&bits, &p, sizeof bits);
    bits += (int64_t)n * ((int64_t)1 << 52);
    memcpy(&p, &bits, sizeof p);
    return p;
}

/* A row's room: its weights in order, and indices sorted from one to the other. */
struct room {
    double *weight;
    uint32_t *id[2], *key;
};

static size_t room_bytes(int64_t v)
{
    return (size_t)((v + 1) * 24);
}

static struct room room_of(void *at, int64_t v)
{
    struct room m = {.weight = at};

    m.id[0] = (uint32_t *)(m.weight + v);
    m.id[1] = m.id[0] + v;
    m.key = m.id[1] + v;
    return m;
}

/* Numbers that rise as x falls; -0 is 0. */
static uint32_t key_of(float x)
{
    uint32_t bits;

    x = x + 0.0f;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? bits : ~bits & 0x7fffffffu;
}

/* id[0] = the row's indices in order: four stable passes by a byte. */
static void sort_row(const struct nnd_choose *p, int64_t r, const struct room *m)
{
    const void *row = row_of(&p->x, r);
    int64_t n = p->x.dim[1];

    for (int64_t i = 0; i < n; i++) {
        m->key[i] = key_of(number_at(&p->x, row, i));
        m->id[0][i] = (uint32_t)i;
    }
    for (int pass = 0; pass < 4; pass++) {
        const uint32_t *from = m->id[pass % 2];
        uint32_t *to = m->id[1 - pass % 2], at[257] = {0};

        for (int64_t i = 0; i < n; i++)
            at[(m->key[i] >> (8 * pass) & 255) + 1]++;
        for (int b = 0; b < 256; b++)
            at[b + 1] += at[b];
        for (int64_t i = 0; i < n; i++)
            to[at[m->key[from[i]] >> (8 * pass) & 255]++] = from[i];
    }
}

/* Philox4x32-10 (Salmon et al. 2011) of one counter. */
static void philox(uint64_t key, uint32_t c[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53 * c[0], b = (uint64_t)0xcd9e8d57 * c[2];

        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ k0;
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ k1;
        c[3] = (uint32_t)a;
        k0 += 0x9e3779b9;
        k1 += 0xbb67ae85;
    }
}

static double uniform(const struct nnd_choose *p, int64_t r)
{
    uint32_t word[4] = {(uint32_t)p->pos[r], 0, SAMPLE_STREAM, 0};

    philox(p->seed[r], word);
    return (double)((uint64_t)word[0] << 21 | word[1] >> 11) * 0x1p-53;
}

/* The place in the order of the one that is drawn. */
static int64_t draw(const struct nnd_choose *p, int64_t r, const struct room *m)
{
    const void *row = row_of(&p->x, r);
    int64_t n = p->x.dim[1], kept = 0, chosen = 0;
    double best = (double)number_at(&p->x, row, m->id[0][0]), sum = 0, have = 0, mark;

    if (p->top_k > 0 && p->top_k < n)
        n = p->top_k;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)number_at(&p->x, row, m->id[0][i]) - best;

        m->weight[i] = exp_one(x / (double)p->temperature);
        sum += m->weight[i];
    }
    while (p->top_p < 1 && kept < n && have < (double)p->top_p * sum)
        have += m->weight[kept++];
    if (p->top_p < 1) {
        sum = have;
        n = kept;
    }
    mark = uniform(p, r) * sum;
    for (have = m->weight[0];
         have <= mark && chosen + 1 < n && m->weight[chosen + 1] > 0;)
        have += m->weight[++chosen];
    return chosen;
}

struct draws {
    const struct nnd_choose *p;
    char *room;
    int parts;
};

/* Parts have rooms of their own. */
static void sample_part(void *arg, int part)
{
    const struct draws *d = arg;
    const struct nnd_choose *p = d->p;
    int64_t rows = p->x.dim[0], v = p->x.dim[1];
    struct room m = room_of(d->room + (size_t)part * room_bytes(v), v);

    for (int64_t r = rows * part / d->parts; r < rows * (part + 1) / d->parts; r++) {
        if (p->pos[r] < 0) {
            put_choice(p, r, 0, -1);
        } else if (p->temperature == 0) {
            largest(p, r, 1);
        } else {
            sort_row(p, r, &m);
            put_choice(p, r, 0, m.id[0][draw(p, r, &m)]);
        }
    }
}

#define SAMPLE_PARTS 16

static int sample(const void *params, const struct nnd_launch *l)
{
    struct draws d = {params, l->workspace, SAMPLE_PARTS};

    return par_tasks(l, d.parts, sample_part, &d);
}

static size_t sample_space(const void *params)
{
    const struct nnd_choose *p = params;

    return SAMPLE_PARTS * room_bytes(p->x.dim[1]);
}

static int check_sample(const void *params, struct nnd_error *e)
{
    const struct nnd_choose *p = params;

    if (p->index.dim[1] != 1 || !(p->temperature >= 0) ||
        !(p->top_p > 0 && p->top_p <= 1) || p->top_k < 0)
        return op_refuse(e, NND_EINVAL,
                         "one index of a row, temperature >= 0, 0 < top_p <= 1 and "
                         "top_k >= 0 are wanted");
    return check_argmax(params, e);
}

/* ---- select ---- */

static int select_columns(const void *params, const struct nnd_launch *l)
{
    const struct nnd_select *p = params;
    size_t size = dtype_size(p->x.dtype);

    (void)l;
    for (int64_t r = 0; r < p->x.dim[0]; r++) {
        const int32_t *index = row_of(&p->index, r);

        for (int64_t k = 0; k < p->index.dim[1]; k++) {
            char *to = (char *)row_of(&p->y, r) + (size_t)k * size;

            if (index[k] >= p->x.dim[1])
                return op_wrong("index %d in row %lld of %lld columns", index[k],
                                (long long)r, (long long)p->x.dim[1]);
            if (index[k] < 0)
                memset(to, 0, size);
            else
                memcpy(to, (const char *)row_of(&p->x, r) + (size_t)index[k] * size,
                       size);
        }
    }
    return NND_OK;
}

static int check_select(const void *params, struct nnd_error *e)
{
    const struct nnd_select *p = params;

    return p->x.dtype == p->y.dtype
               ? NND_OK
               : op_refuse(e, NND_EUNSUPPORTED, "x and y differ in type");
}

const struct op OPS(choose)[] = {
    {.name = "argmax", .check = check_argmax, .launch = argmax},
    {.name = "sample",
     .check = check_sample,
     .workspace = sample_space,
     .launch = sample},
    {.name = "select", .check = check_select, .launch = select_columns},
    {0},
};

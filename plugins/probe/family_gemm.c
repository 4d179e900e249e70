/* SPDX-License-Identifier: Apache-2.0 */
/*
 * family_gemm.c - "gemm", "gemm.grouped".
 */
#include <stdio.h>

#include "family.h"

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct {
    int m, n, k;
    bool ta, tb;
    float beta;
    bool in_place, bias;
    int epilogue;
    enum { NO, PRE, PRE_ACT, PRE_IS_ACT } pre; /* stored by forward epilogues */
    bool sums;
} gemms[] = {
    {1, 1, 1, false, false, 0, false, false, NND_EPI_NONE, NO, false},
    {3, 5, 7, false, false, 0, false, false, NND_EPI_NONE, NO, false},
    {0, 5, 7, false, true, 0, false, false, NND_EPI_NONE, NO, false},
    {5, 3, 0, false, true, 0, false, true, NND_EPI_NONE, NO, false},
    {17, 31, 33, false, true, 0, false, true, NND_EPI_NONE, NO, false},
    {33, 16, 65, false, false, 1, false, false, NND_EPI_NONE, NO, false},
    {64, 65, 257, false, true, 0, false, false, NND_EPI_NONE, NO, false},
    {13, 64, 128, false, true, 0.5f, true, true, NND_EPI_NONE, NO, false},
    {1, 67, 300, false, true, 0, false, false, NND_EPI_NONE, NO, false},
    {9, 1, 96, false, false, 0, false, false, NND_EPI_NONE, NO, false},
    {15, 17, 300, true, false, 0, false, false, NND_EPI_NONE, NO, false},
    {32, 33, 511, true, false, 1, true, false, NND_EPI_NONE, NO, false},
    {7, 9, 13, true, true, 0, false, false, NND_EPI_NONE, NO, false},
    {16, 16, 0, true, false, 0, false, false, NND_EPI_NONE, NO, false},
    {19, 21, 512, true, false, 0, false, false, NND_EPI_NONE, NO, false},
    {17, 35, 40, false, true, 0, false, true, NND_EPI_GELU, PRE, false},
    {33, 64, 257, false, true, 0, false, false, NND_EPI_GELU_TANH, PRE, false},
    {5, 17, 300, false, false, 1, false, true, NND_EPI_SILU, NO, false},
    {16, 33, 65, false, false, 0, false, false, NND_EPI_DGELU, PRE, false},
    {65, 31, 64, false, false, 0, false, false, NND_EPI_DGELU_TANH, PRE, false},
    {3, 70, 20, false, true, 0, false, false, NND_EPI_DSILU, PRE, false},
    {17, 40, 33, false, false, 0, false, false, NND_EPI_DGELU, PRE_ACT, false},
    {15, 67, 64, false, true, 0, false, false, NND_EPI_DGELU_TANH, PRE_IS_ACT, false},
    {33, 5, 300, false, false, 0, false, false, NND_EPI_DSILU, PRE_IS_ACT, false},
    {19, 36, 40, false, true, 0, false, true, NND_EPI_RELU, PRE, false},
    {7, 18, 300, false, false, 1, false, true, NND_EPI_RELU, NO, false},
    {16, 35, 65, false, false, 0, false, false, NND_EPI_DRELU, PRE, false},
    {18, 40, 33, false, false, 0, false, false, NND_EPI_DRELU, PRE_ACT, false},
    {15, 69, 64, false, true, 0, false, false, NND_EPI_DRELU, PRE_IS_ACT, false},
    {37, 18, 300, true, false, 0, false, false, NND_EPI_NONE, NO, true},
    {64, 5, 512, true, false, 1, true, false, NND_EPI_NONE, NO, true},
    {6, 0, 300, true, false, 0, false, false, NND_EPI_NONE, NO, true},
    {11, 34, 40, false, true, 0, true, false, NND_EPI_NONE, NO, false},
    /* More than a panel of each side. */
    {5, 9, 1100, false, true, 1, false, true, NND_EPI_NONE, NO, false},
    {3, 7, 1100, false, false, 0, false, true, NND_EPI_GELU, PRE, false},
    {130, 9, 40, false, true, 0, false, false, NND_EPI_NONE, NO, false},
    {3, 1100, 20, false, true, 0, false, true, NND_EPI_NONE, NO, false},
    {7, 5, 1100, true, false, 1, false, false, NND_EPI_NONE, NO, true},
};

/* The activation's value, beside its input or in its place. */
static void add_act(struct call *c, struct slot *pre, bool own)
{
    struct nnd_gemm *p = &c->params.gemm;
    struct slot *act = pre;
    if (own) {
        act = call_tensor(c, "act", &p->act, ROLE_OUT, KIND_RESULT, pre->dim[0],
                          pre->dim[1], -1);
        act->row = pre->row;
    } else {
        act->role = ROLE_INOUT;
        act->alias = &p->act;
    }
    act->slack = SLACK_FORWARD;
}

/* Every third number is 0, or -0: where relu has no slope. */
static void make_zeros(struct call *c, struct slot *pre)
{
    double *value = arena_calloc(c->arena, (size_t)pre->count + 1, sizeof *value);
    for (int64_t i = 0; i < pre->count; i++) {
        int64_t within = i % pre->dim[1], odd = pre->row[i / pre->dim[1]] + within;
        value[i] = odd % 3 ? call_value(pre, 83, i) : odd % 2 ? -0.0 : 0;
    }
    pre->value = value;
}

/* The tensors of an epilogue. */
static void add_extras(struct call *c, int i, const struct slot *d)
{
    struct nnd_gemm *p = &c->params.gemm;
    bool back = nnd_slope_of(gemms[i].epilogue) != NND_EPI_NONE;
    p->epilogue = gemms[i].epilogue;
    if (gemms[i].pre) {
        struct slot *pre = call_tensor(c, "pre", &p->pre, back ? ROLE_IN : ROLE_OUT,
                                       KIND_RESULT, d->dim[0], d->dim[1], -1);
        pre->row = d->row;
        pre->slack = SLACK_FORWARD;
        pre->terms = gemms[i].k;
        if (gemms[i].epilogue == NND_EPI_DRELU)
            make_zeros(c, pre);
        if (gemms[i].pre != PRE)
            add_act(c, pre, gemms[i].pre == PRE_ACT);
    }
    if (gemms[i].sums) {
        struct slot *sums =
            call_tensor(c, "sums", &p->sums, ROLE_OUT, KIND_F32, d->dim[0], -1, -1);
        sums->slack = SLACK_FORWARD;
        sums->terms = gemms[i].k;
    }
}

bool family_gemm(struct call *c, int i, const struct window *w)
{
    static const char *const with[] = {"", " pre", " pre act", " act=pre"};
    if (i >= COUNT(gemms))
        return false;
    struct nnd_gemm *p = &c->params.gemm;
    bool ta = gemms[i].ta, tb = gemms[i].tb, reads_c = gemms[i].beta != 0;
    bool adds = gemms[i].in_place && reads_c;
    int64_t n = gemms[i].n, m = gemms[i].m, k = gemms[i].k;
    const int64_t *row = window_ids(c, w, ta ? k : m);
    *(ta ? &k : &m) = window_rows(w, ta ? k : m) + w->tail;
    c->rows = ta ? 0 : gemms[i].m;
    c->summed = ta ? gemms[i].k : 0;
    c->big = gemms[i].m > 100 || gemms[i].n > 1000 || gemms[i].k > 1000;
    *p = (struct nnd_gemm){
        .struct_size = sizeof *p, .trans_a = ta, .trans_b = tb, .beta = gemms[i].beta};
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, ta ? k : m, ta ? m : k, -1)->row =
        row;
    struct slot *b = call_tensor(c, "b", &p->b, ROLE_IN, ta ? KIND_ACT : KIND_WEIGHT,
                                 tb ? n : k, tb ? k : n, -1);
    b->row = ta && !tb ? row : NULL;
    b->row_axis = 0;
    struct slot *d =
        call_tensor(c, "d", &p->d, adds ? ROLE_INOUT : ROLE_OUT, KIND_RESULT, m, n, -1);
    d->row = ta ? NULL : row;
    d->alias = gemms[i].in_place ? &p->c : NULL;
    d->slack = gemms[i].epilogue ? SLACK_BACKWARD : SLACK_FORWARD;
    d->terms = k;
    add_extras(c, i, d);
    if (reads_c && !gemms[i].in_place)
        call_tensor(c, "c", &p->c, ROLE_IN, KIND_RESULT, m, n, -1)->row = d->row;
    if (gemms[i].bias)
        call_tensor(c, "bias", &p->bias, ROLE_IN, KIND_WEIGHT, n, -1, -1);
    snprintf(c->text, sizeof c->text, "m=%d n=%d k=%d%s%s beta=%g%s%s epilogue=%d%s%s",
             gemms[i].m, gemms[i].n, gemms[i].k, ta ? " trans_a" : "",
             tb ? " trans_b" : "", (double)gemms[i].beta,
             gemms[i].in_place ? " c=d" : "", gemms[i].bias ? " bias" : "",
             gemms[i].epilogue, with[gemms[i].pre], gemms[i].sums ? " sums" : "");
    return true;
}

enum { SEGMENTS = 5, ROW_STEP = 4096, GAP = 3 };

static const struct {
    int mode, n, k; /* K mode: k is M of the contract */
    bool tb;
    int rows[SEGMENTS], index[SEGMENTS];
    bool accumulate;
    enum { PLAIN, SWIGLU, TWO, DSWIGLU, DSWIGLU_ACT, DSWIGLU_IN_PLACE } form;
    int gather; /* the divisor of its indices, or 0 */
    bool scale;
} grouped[] = {
    {NND_GROUP_M,
     5,
     7,
     false,
     {3, 0, 1, 9, 2},
     {2, 0, 1, 4, 2},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_M,
     33,
     64,
     true,
     {17, 16, 0, 65, 1},
     {0, 1, 2, 3, 4},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_M,
     64,
     257,
     true,
     {0, 0, 70, 0, 0},
     {0, 1, 2, 3, 4},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_K,
     5,
     7,
     false,
     {3, 0, 1, 9, 255},
     {2, 0, 1, 4, 3},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_K,
     17,
     16,
     false,
     {256, 257, 600, 0, 1},
     {0, 1, 2, 3, 4},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_K,
     17,
     9,
     false,
     {12, 300, 0, 2, 7},
     {4, 3, 2, 1, 0},
     true,
     PLAIN,
     0,
     false},
    {NND_GROUP_K,
     6,
     5,
     false,
     {256, 512, 0, 256, 0},
     {4, 3, 2, 1, 0},
     false,
     PLAIN,
     0,
     false},
    {NND_GROUP_M,
     33,
     40,
     true,
     {17, 0, 1, 30, 2},
     {0, 1, 2, 4, 3},
     false,
     SWIGLU,
     0,
     false},
    {NND_GROUP_M,
     64,
     65,
     true,
     {9, 16, 0, 3, 5},
     {0, 1, 2, 3, 4},
     false,
     SWIGLU,
     2,
     false},
    {NND_GROUP_M,
     37,
     20,
     false,
     {8, 1, 33, 0, 2},
     {0, 1, 2, 3, 4},
     false,
     DSWIGLU,
     0,
     false},
    {NND_GROUP_M,
     37,
     20,
     false,
     {8, 1, 33, 0, 2},
     {0, 1, 2, 3, 4},
     false,
     DSWIGLU_ACT,
     0,
     true},
    {NND_GROUP_M,
     18,
     65,
     false,
     {3, 17, 0, 1, 20},
     {4, 1, 2, 3, 0},
     false,
     DSWIGLU_IN_PLACE,
     0,
     false},
    {NND_GROUP_M,
     21,
     300,
     false,
     {8, 14, 15, 0, 2},
     {1, 0, 2, 3, 4},
     false,
     TWO,
     0,
     false},
    {NND_GROUP_M,
     16,
     33,
     true,
     {8, 14, 1, 0, 2},
     {1, 0, 2, 3, 4},
     false,
     PLAIN,
     1,
     true},
    {NND_GROUP_K,
     17,
     16,
     false,
     {9, 300, 0, 1, 1},
     {0, 1, 2, 3, 4},
     false,
     PLAIN,
     2,
     false},
    {NND_GROUP_M,
     264,
     72,
     true,
     {130, 0, 1, 9, 2},
     {2, 0, 1, 4, 3},
     false,
     PLAIN,
     0,
     true},
    {NND_GROUP_M,
     136,
     64,
     false,
     {3, 0, 129, 1, 0},
     {2, 0, 1, 4, 3},
     false,
     SWIGLU,
     2,
     true},
    {NND_GROUP_M,
     40,
     24,
     false,
     {9, 70, 0, 1, 3},
     {0, 1, 2, 4, 3},
     false,
     DSWIGLU,
     0,
     true},
    {NND_GROUP_M,
     72,
     200,
     false,
     {8, 130, 0, 1, 2},
     {1, 0, 2, 3, 4},
     false,
     TWO,
     1,
     false},
    {NND_GROUP_K,
     72,
     136,
     false,
     {64, 300, 0, 1, 256},
     {4, 3, 2, 1, 0},
     true,
     PLAIN,
     0,
     false},
    {NND_GROUP_K,
     136,
     24,
     false,
     {70, 512, 0, 1, 3},
     {0, 1, 2, 3, 4},
     false,
     PLAIN,
     2,
     false},
    {NND_GROUP_M,
     9,
     1100,
     true,
     {3, 0, 1, 2, 1},
     {2, 0, 1, 4, 3},
     false,
     SWIGLU,
     0,
     true},
    {NND_GROUP_M,
     1100,
     9,
     false,
     {3, 0, 1, 2, 1},
     {2, 0, 1, 4, 3},
     false,
     PLAIN,
     0,
     false},
};

/* Does a gathered row stand for nothing?  Those in the gaps, and some within segments.
 */
static bool is_padding(int64_t row)
{
    return row == ROW_NAN || (row >= 0 && row % 7 == 3);
}

/* With a gather the rows of the tensor stand the other way round; where padding would
 * be is NaN. */
static const int64_t *gathered_ids(struct call *c, int i, int64_t t, const int64_t *row)
{
    if (!grouped[i].gather)
        return row;
    int64_t *turned = call_row_ids(c, t, 0);
    for (int64_t r = 0; r < t; r++)
        turned[t - 1 - r] = is_padding(row[r]) ? ROW_NAN : row[r];
    return turned;
}

static void add_gather(struct call *c, int i, int64_t t, const int64_t *row)
{
    struct nnd_grouped_gemm *p = &c->params.grouped;
    int32_t *index = call_ints(c, t + 1);
    int div = grouped[i].gather;
    for (int64_t r = 0; r < t; r++)
        index[r] = is_padding(row[r]) ? -1 : (int32_t)((t - 1 - r) * div + r % div);
    p->gather_div = div;
    call_array(c, &p->gather, index, (size_t)(t + 1) * sizeof *index);
}

/* What pairs have besides a, b and d. */
static void add_pair(struct call *c, int i, int64_t t, const int64_t *row)
{
    struct nnd_grouped_gemm *p = &c->params.grouped;
    int64_t n = grouped[i].n, k = grouped[i].k;
    bool forward = grouped[i].form == SWIGLU, back = grouped[i].form >= DSWIGLU;
    bool in_place = grouped[i].form == DSWIGLU_IN_PLACE;
    if (forward || grouped[i].form == TWO)
        call_tensor(c, "b2", &p->b2, ROLE_IN, KIND_WEIGHT, SEGMENTS,
                    grouped[i].tb ? n : k, grouped[i].tb ? k : n);
    if (grouped[i].form == TWO)
        call_tensor(c, "a2", &p->a2, ROLE_IN, KIND_ACT, t, k, -1)->row =
            gathered_ids(c, i, t, row);
    p->epilogue = forward ? NND_EPI_SWIGLU : back ? NND_EPI_DSWIGLU : NND_EPI_NONE;
    for (int j = 0; (forward || back) && j < 2; j++) {
        struct slot *s =
            call_tensor(c, j ? "pre2" : "pre", j ? &p->pre2 : &p->pre,
                        forward ? ROLE_OUT : ROLE_IN, KIND_RESULT, t, n, -1);
        s->row = row;
        s->slack = SLACK_FORWARD;
        s->terms = k;
        s->role = in_place && !j ? ROLE_INOUT : s->role;
        s->alias = in_place && !j ? &p->act : NULL;
    }
    if (grouped[i].form == DSWIGLU_ACT) {
        struct slot *s =
            call_tensor(c, "act", &p->act, ROLE_OUT, KIND_RESULT, t, n, -1);
        s->row = row;
        s->slack = SLACK_FORWARD;
    }
    if (back) {
        struct slot *s = call_tensor(c, "d2", &p->d2, ROLE_OUT, KIND_RESULT, t, n, -1);
        s->row = row;
        s->slack = SLACK_BACKWARD;
        s->terms = k;
    }
}

/* The rows of a segment that this call has: its part, in whole blocks. */
static void cut(int i, int s, const struct window *w, int64_t *from, int64_t *to)
{
    int64_t rows = grouped[i].rows[s];
    int64_t half = rows / 2 / NND_BLOCK_ROWS * NND_BLOCK_ROWS;
    *from = w->part == 2 ? half : 0;
    *to = w->part == 1 ? half : rows;
}

/* Segments with a gap of padding behind each; returns the rows of all. */
static int64_t place_segments(struct call *c, int i, const struct window *w,
                              struct nnd_segment *seg, int64_t **row)
{
    int64_t n = window_rows(w, SEGMENTS), at = 0;
    *row = call_row_ids(c, SEGMENTS * (1024 + GAP), 0);
    bool by_k = grouped[i].mode == NND_GROUP_K;
    for (int64_t s = 0; s < n; s++) {
        int64_t which = w->first + s, from, to;
        cut(i, (int)which, w, &from, &to);
        int64_t rows = to - from, zeros = by_k ? w->tail : 0;
        seg[s] = (struct nnd_segment){(int32_t)at, (int32_t)(rows + zeros),
                                      grouped[i].index[which],
                                      grouped[i].accumulate || w->part == 2};
        for (int64_t r = from; r < to; r++)
            (*row)[at++] = which * ROW_STEP + r;
        for (int64_t r = 0; r < zeros; r++)
            (*row)[at++] = ROW_ZERO;
        for (int r = 0; r < GAP; r++)
            (*row)[at++] = ROW_NAN;
    }
    return at;
}

static void grouped_m(struct call *c, int i, int64_t t, const int64_t *row)
{
    struct nnd_grouped_gemm *p = &c->params.grouped;
    int64_t n = grouped[i].n, k = grouped[i].k;
    c->rows = SEGMENTS;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, t, k, -1)->row =
        gathered_ids(c, i, t, row);
    call_tensor(c, "b", &p->b, ROLE_IN, KIND_WEIGHT, SEGMENTS, grouped[i].tb ? n : k,
                grouped[i].tb ? k : n);
    add_pair(c, i, t, row);
    if (grouped[i].scale)
        call_tensor(c, "scale", &p->scale, ROLE_IN, KIND_F32, t, -1, -1)->row = row;
    struct slot *d = call_tensor(c, "d", &p->d, ROLE_OUT, KIND_RESULT, t, n, -1);
    d->row = row;
    d->slack = grouped[i].form == PLAIN ? SLACK_FORWARD : SLACK_BACKWARD;
    d->terms = k;
}

static void grouped_k(struct call *c, int i, int64_t t, const int64_t *row, bool add)
{
    struct nnd_grouped_gemm *p = &c->params.grouped;
    c->parts = true;
    c->summed = NND_BLOCK_ROWS;
    for (int s = 0; s < SEGMENTS; s++)
        if (grouped[i].rows[s] % NND_BLOCK_ROWS != 0)
            c->summed = 1;
    call_tensor(c, "a", &p->a, ROLE_IN, KIND_ACT, t, grouped[i].k, -1)->row = row;
    call_tensor(c, "b", &p->b, ROLE_IN, KIND_ACT, t, grouped[i].n, -1)->row =
        gathered_ids(c, i, t, row);
    struct slot *d = call_tensor(c, "d", &p->d, add ? ROLE_INOUT : ROLE_OUT, KIND_F32,
                                 SEGMENTS, grouped[i].k, grouped[i].n);
    d->slack = SLACK_FORWARD;
    d->terms = 600;
}

bool family_grouped(struct call *c, int i, const struct window *w)
{
    if (i >= COUNT(grouped))
        return false;
    struct nnd_grouped_gemm *p = &c->params.grouped;
    struct nnd_segment seg[SEGMENTS];
    int64_t *row, t = place_segments(c, i, w, seg, &row);
    c->big = grouped[i].n > 1000 || grouped[i].k > 1000;
    *p = (struct nnd_grouped_gemm){.struct_size = sizeof *p,
                                   .nsegments = (int32_t)window_rows(w, SEGMENTS),
                                   .mode = grouped[i].mode,
                                   .trans_b = grouped[i].tb};
    if (grouped[i].mode == NND_GROUP_M)
        grouped_m(c, i, t, row);
    else
        grouped_k(c, i, t, row, grouped[i].accumulate || w->part == 2);
    if (grouped[i].gather)
        add_gather(c, i, t, row);
    call_array(c, &p->segments, seg, (size_t)p->nsegments * sizeof *seg);
    snprintf(c->text, sizeof c->text,
             "mode %c n=%d k=%d rows=%d,%d,%d,%d,%d%s%s form=%d gather=%d%s",
             grouped[i].mode == NND_GROUP_M ? 'M' : 'K', grouped[i].n, grouped[i].k,
             grouped[i].rows[0], grouped[i].rows[1], grouped[i].rows[2],
             grouped[i].rows[3], grouped[i].rows[4], grouped[i].tb ? " trans_b" : "",
             grouped[i].accumulate ? " accumulate" : "", (int)grouped[i].form,
             grouped[i].gather, grouped[i].scale ? " scale" : "");
    return true;
}

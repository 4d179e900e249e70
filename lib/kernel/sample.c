/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.c - the operators' tensors by the letters of their sizes, and which letters
 * may be cut.  Attention has a file of its own, and so has comparing.
 */
#include "kernel/sample_impl.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tensor/dtype.h"

enum { FIELDS = 17, DIMS = 4 };

enum role { IN, OUT, ARRAY }; /* ARRAY: const int32_t *, one for each of a letter */

struct field {
    const char *name;
    size_t at;
    const char *dims; /* a letter for each dimension */
    enum role role;
};

struct cut {
    char letter;
    int64_t count; /* so many of it are left */
};

struct layout {
    const char *op;
    size_t size; /* of the params */
    struct field field[FIELDS];
    struct cut cut[2];
    double slack;
};

#define IN(S, F, D)                                                                    \
    {                                                                                  \
#F, offsetof(struct S, F), D, IN                                               \
    }
#define OUT(S, F, D)                                                                   \
    {                                                                                  \
#F, offsetof(struct S, F), D, OUT                                              \
    }
#define ARRAY(S, F, D)                                                                 \
    {                                                                                  \
#F, offsetof(struct S, F), D, ARRAY                                            \
    }

#define NORM_IN IN(nnd_norm, x, "TN"), IN(nnd_norm, w, "N"), IN(nnd_norm, b, "N")
#define NORM_FWD                                                                       \
    NORM_IN, IN(nnd_norm, add, "TN"), OUT(nnd_norm, sum, "TN"),                        \
        OUT(nnd_norm, y, "TN"), OUT(nnd_norm, rstd, "T"), OUT(nnd_norm, mean, "T")
#define NORM_BWD                                                                       \
    NORM_IN, IN(nnd_norm, dy, "TN"), IN(nnd_norm, dsum, "TN"),                         \
        OUT(nnd_norm, dx, "TN"), OUT(nnd_norm, dw, "N"), OUT(nnd_norm, db, "N")
#define ACT_FWD IN(nnd_act, a, "TN"), IN(nnd_act, b, "TN"), OUT(nnd_act, y, "TN")
#define ACT_BWD                                                                        \
    IN(nnd_act, a, "TN"), IN(nnd_act, b, "TN"), IN(nnd_act, dy, "TN"),                 \
        OUT(nnd_act, da, "TN"), OUT(nnd_act, db, "TN")
#define OPTIM                                                                          \
    IN(nnd_optim, grad, "X"), OUT(nnd_optim, w, "X"), OUT(nnd_optim, m, "X"),          \
        OUT(nnd_optim, v, "X"), OUT(nnd_optim, out, "X")

#define RNN_FWD                                                                        \
    IN(nnd_rnn, x, "BTG"), IN(nnd_rnn, u, "GH"), IN(nnd_rnn, b, "G"),                  \
        IN(nnd_rnn, h0, "BH"), IN(nnd_rnn, c0, "BH"), OUT(nnd_rnn, y, "BTH"),          \
        OUT(nnd_rnn, h_last, "BH"), OUT(nnd_rnn, c_last, "BH"),                        \
        OUT(nnd_rnn, gates, "BTS"), OUT(nnd_rnn, c, "BTH"), ARRAY(nnd_rnn, len, "B")
#define RNN_BWD                                                                        \
    IN(nnd_rnn, x, "BTG"), IN(nnd_rnn, u, "GH"), IN(nnd_rnn, h0, "BH"),                \
        IN(nnd_rnn, c0, "BH"), IN(nnd_rnn, y, "BTH"), IN(nnd_rnn, gates, "BTS"),       \
        IN(nnd_rnn, c, "BTH"), IN(nnd_rnn, dy, "BTH"), IN(nnd_rnn, dh, "BH"),          \
        IN(nnd_rnn, dc, "BH"), OUT(nnd_rnn, dx, "BTG"), OUT(nnd_rnn, da, "BTG"),       \
        OUT(nnd_rnn, h_prev, "BTH"), OUT(nnd_rnn, dh0, "BH"), OUT(nnd_rnn, dc0, "BH"), \
        ARRAY(nnd_rnn, len, "B")

#define ATTEND_IN                                                                      \
    IN(nnd_attend, q, "BTA"), IN(nnd_attend, k, "BSA"), IN(nnd_attend, v, "BSN"),      \
        IN(nnd_attend, w, "A"), ARRAY(nnd_attend, len, "B")
#define ATTEND_FWD ATTEND_IN, OUT(nnd_attend, weight, "BTS"), OUT(nnd_attend, o, "BTN")
#define ATTEND_BWD                                                                     \
    ATTEND_IN, IN(nnd_attend, weight, "BTS"), IN(nnd_attend, dout, "BTN"),             \
        OUT(nnd_attend, dq, "BTA"), OUT(nnd_attend, dk, "BSA"),                        \
        OUT(nnd_attend, dv, "BSN"), OUT(nnd_attend, dw, "A")

/* Sums over rows (dw, db) and whole rows (N of a norm) are never cut.  gemm and its
 * kin have letters that depend on the call: see orient(). */
static const struct layout layouts[] = {
    {"gemm",
     sizeof(struct nnd_gemm),
     {IN(nnd_gemm, a, "MK"), IN(nnd_gemm, b, "KN"), IN(nnd_gemm, c, "MN"),
      IN(nnd_gemm, bias, "N"), IN(nnd_gemm, pre, "MN"), OUT(nnd_gemm, d, "MN"),
      OUT(nnd_gemm, sums, "M"), OUT(nnd_gemm, act, "MN")},
     {{'M', 16}, {'N', 32}},
     0},
    {"gemm.grouped",
     sizeof(struct nnd_grouped_gemm),
     {IN(nnd_grouped_gemm, a, "TK"), IN(nnd_grouped_gemm, b, "GKN"),
      OUT(nnd_grouped_gemm, d, "TN"), IN(nnd_grouped_gemm, a2, "TK"),
      IN(nnd_grouped_gemm, b2, "GKN"), IN(nnd_grouped_gemm, scale, "T"),
      IN(nnd_grouped_gemm, pre, "TN"), IN(nnd_grouped_gemm, pre2, "TN"),
      OUT(nnd_grouped_gemm, d2, "TN"), OUT(nnd_grouped_gemm, act, "TN")},
     {{'M', 8}, {'N', 8}},
     0},
    {"norm.rms.fwd", sizeof(struct nnd_norm), {NORM_FWD}, {{'T', 32}}, 0},
    {"norm.layer.fwd", sizeof(struct nnd_norm), {NORM_FWD}, {{'T', 32}}, 0},
    {"norm.rms.bwd", sizeof(struct nnd_norm), {NORM_BWD}, {{0}}, 0},
    {"norm.layer.bwd", sizeof(struct nnd_norm), {NORM_BWD}, {{0}}, 0},
    {"rope",
     sizeof(struct nnd_rope),
     {IN(nnd_rope, x, "THD"), OUT(nnd_rope, y, "THD"), ARRAY(nnd_rope, pos, "T")},
     {{'T', 32}},
     0},
    {"act.swiglu.fwd", sizeof(struct nnd_act), {ACT_FWD}, {{'T', 32}}, 0},
    {"act.gelu.fwd", sizeof(struct nnd_act), {ACT_FWD}, {{'T', 32}}, 0},
    {"act.relu.fwd", sizeof(struct nnd_act), {ACT_FWD}, {{'T', 32}}, 0},
    {"act.swiglu.bwd", sizeof(struct nnd_act), {ACT_BWD}, {{'T', 32}}, 0},
    {"act.gelu.bwd", sizeof(struct nnd_act), {ACT_BWD}, {{'T', 32}}, 0},
    {"act.relu.bwd", sizeof(struct nnd_act), {ACT_BWD}, {{'T', 32}}, 0},
    {"softmax.fwd",
     sizeof(struct nnd_softmax),
     {IN(nnd_softmax, x, "TN"), OUT(nnd_softmax, y, "TN"),
      ARRAY(nnd_softmax, len, "T")},
     {{'T', 32}},
     0},
    {"softmax.bwd",
     sizeof(struct nnd_softmax),
     {IN(nnd_softmax, y, "TN"), IN(nnd_softmax, dy, "TN"), OUT(nnd_softmax, dx, "TN"),
      ARRAY(nnd_softmax, len, "T")},
     {{'T', 32}},
     0},
    {"xent.fwd",
     sizeof(struct nnd_xent),
     {IN(nnd_xent, logits, "TV"), OUT(nnd_xent, loss, "T"), OUT(nnd_xent, lse, "T"),
      ARRAY(nnd_xent, target, "T")},
     {{'T', 16}},
     0},
    {"xent.bwd",
     sizeof(struct nnd_xent),
     {IN(nnd_xent, logits, "TV"), IN(nnd_xent, lse, "T"), OUT(nnd_xent, dlogits, "TV"),
      ARRAY(nnd_xent, target, "T")},
     {{'T', 16}},
     0},
    {"distill.fwd",
     sizeof(struct nnd_distill),
     {IN(nnd_distill, logits, "TV"), IN(nnd_distill, teacher, "TV"),
      OUT(nnd_distill, loss, "T"), OUT(nnd_distill, lse, "T"),
      OUT(nnd_distill, lse_soft, "T"), OUT(nnd_distill, lse_teacher, "T"),
      ARRAY(nnd_distill, target, "T")},
     {{'T', 16}},
     0},
    {"distill.bwd",
     sizeof(struct nnd_distill),
     {IN(nnd_distill, logits, "TV"), IN(nnd_distill, teacher, "TV"),
      IN(nnd_distill, lse, "T"), IN(nnd_distill, lse_soft, "T"),
      IN(nnd_distill, lse_teacher, "T"), OUT(nnd_distill, dlogits, "TV"),
      ARRAY(nnd_distill, target, "T")},
     {{'T', 16}},
     0},
    {"embed.fwd",
     sizeof(struct nnd_embed),
     {IN(nnd_embed, table, "VN"), OUT(nnd_embed, y, "TN"), ARRAY(nnd_embed, id, "T")},
     {{'T', 64}, {'N', 16}},
     0},
    {"embed.bwd",
     sizeof(struct nnd_embed),
     {IN(nnd_embed, dy, "TN"), OUT(nnd_embed, dtable, "VN")},
     {{'N', 4}},
     0},
    /* Near ties may fall either way. */
    {"moe.route.fwd",
     sizeof(struct nnd_route),
     {IN(nnd_route, z, "TE"), OUT(nnd_route, expert, "TK"), OUT(nnd_route, gate, "TK"),
      OUT(nnd_route, count, "GE"), OUT(nnd_route, psum, "GE"),
      OUT(nnd_route, zsq, "U")},
     {{0}},
     0.02},
    {"moe.route.bwd",
     sizeof(struct nnd_route),
     {IN(nnd_route, z, "TE"), OUT(nnd_route, dz, "TE")},
     {{0}},
     0},
    {"moe.sort",
     sizeof(struct nnd_sort),
     {IN(nnd_sort, expert, "TK"), OUT(nnd_sort, place, "TK"),
      OUT(nnd_sort, source, "J"), OUT(nnd_sort, total, "E")},
     {{0}},
     0},
    {"moe.permute",
     sizeof(struct nnd_permute),
     {IN(nnd_permute, x, "TN"), OUT(nnd_permute, y, "JN")},
     {{'N', 16}},
     0},
    {"moe.unpermute",
     sizeof(struct nnd_permute),
     {IN(nnd_permute, x, "JN"), OUT(nnd_permute, y, "TN")},
     {{'N', 16}},
     0},
    {"moe.dgate",
     sizeof(struct nnd_permute),
     {IN(nnd_permute, x, "JN"), IN(nnd_permute, dy, "TN"),
      OUT(nnd_permute, dgate, "TK")},
     {{0}},
     0},
    {"dropout",
     sizeof(struct nnd_drop),
     {IN(nnd_drop, x, "TN"), OUT(nnd_drop, y, "TN"),
      ARRAY(nnd_drop, dropout.sample, "T"), ARRAY(nnd_drop, dropout.pos, "T")},
     {{'T', 32}},
     0},
    {"rows.sum",
     sizeof(struct nnd_rows),
     {IN(nnd_rows, x, "TN"), OUT(nnd_rows, y, "N")},
     {{'N', 8}},
     0},
    {"rows.gather",
     sizeof(struct nnd_rows),
     {IN(nnd_rows, x, "SN"), OUT(nnd_rows, y, "TN")},
     {{'N', 8}},
     0},
    {"rows.scatter",
     sizeof(struct nnd_rows),
     {IN(nnd_rows, x, "SN"), OUT(nnd_rows, y, "TN")},
     {{'N', 8}},
     0},
    {"rnn.seq.fwd", sizeof(struct nnd_rnn), {RNN_FWD}, {{'B', 2}}, 0},
    {"rnn.seq.bwd", sizeof(struct nnd_rnn), {RNN_BWD}, {{'B', 2}}, 0},
    {"rnn.cell.fwd", sizeof(struct nnd_rnn), {RNN_FWD}, {{'B', 8}}, 0},
    {"rnn.cell.bwd", sizeof(struct nnd_rnn), {RNN_BWD}, {{'B', 8}}, 0},
    {"attn.add.fwd", sizeof(struct nnd_attend), {ATTEND_FWD}, {{'B', 2}}, 0},
    {"attn.dot.fwd", sizeof(struct nnd_attend), {ATTEND_FWD}, {{'B', 2}}, 0},
    {"attn.add.bwd", sizeof(struct nnd_attend), {ATTEND_BWD}, {{0}}, 0},
    {"attn.dot.bwd", sizeof(struct nnd_attend), {ATTEND_BWD}, {{'B', 2}}, 0},
    {"opt.adamw", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
    {"opt.adam", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
    {"opt.sgd", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
};

/* --- cutting -------------------------------------------------------------- */

static struct nnd_tensor *tensor_at(void *params, const struct field *f)
{
    return (struct nnd_tensor *)(void *)((char *)params + f->at);
}

struct sample_pick sample_pick(int64_t n, int64_t count, int64_t must)
{
    struct sample_pick p = {0, 1, n < count ? n : count};
    if (n <= count)
        return p;
    if (must < 0) {
        p.step = count > 1 ? (n - 1) / (count - 1) : 1;
        return p;
    }
    p.step = n / count;
    p.first = must % p.step;
    if (must / p.step >= count)
        p.first = must - (count - 1) * p.step;
    return p;
}

void sample_cut(struct nnd_tensor *t, int axis, const struct sample_pick *p)
{
    int64_t size = (int64_t)dtype_size(t->dtype);
    if (t->dim[axis] <= p->count)
        return;
    if (t->data)
        t->data = (char *)t->data + p->first * t->stride[axis] * size;
    t->stride[axis] *= p->step;
    t->dim[axis] = p->count;
    t->align_log2 = 0;
}

static void cut_array(void *params, const struct field *f, int64_t n,
                      const struct sample_pick *p, struct arena *a)
{
    const int32_t **where = (const int32_t **)(void *)((char *)params + f->at);
    if (!*where || n <= p->count)
        return;
    int32_t *some = arena_calloc(a, (size_t)p->count, sizeof *some);
    for (int64_t i = 0; i < p->count; i++)
        some[i] = (*where)[p->first + i * p->step];
    *where = some;
}

/* The size that a letter has in the call, before it is cut. */
static int64_t size_of(const struct field *fields, void *params, char letter)
{
    for (int i = 0; i < FIELDS && fields[i].name; i++) {
        const char *at = strchr(fields[i].dims, letter);
        const struct nnd_tensor *t = tensor_at(params, &fields[i]);
        if (fields[i].role != ARRAY && at && t->ndim > at - fields[i].dims)
            return t->dim[at - fields[i].dims];
    }
    return 0;
}

/* Which number along a letter's axis the output's element at `at` has; -1: none. */
static int64_t index_of(const struct field *fields, void *params, char letter,
                        const void *at)
{
    int64_t index[NND_MAX_DIMS];
    for (int i = 0; at && i < FIELDS && fields[i].name; i++) {
        const char *axis = strchr(fields[i].dims, letter);
        if (fields[i].role == OUT && axis &&
            sample_index(tensor_at(params, &fields[i]), at, index))
            return index[axis - fields[i].dims];
    }
    return -1;
}

static void cut_letter(const struct field *fields, void *params, char letter,
                       const struct sample_pick *p, struct arena *a)
{
    int64_t n = size_of(fields, params, letter);
    for (int i = 0; i < FIELDS && fields[i].name; i++) {
        const char *at = strchr(fields[i].dims, letter);
        if (at && fields[i].role == ARRAY)
            cut_array(params, &fields[i], n, p, a);
        else if (at && tensor_at(params, &fields[i])->ndim > at - fields[i].dims)
            sample_cut(tensor_at(params, &fields[i]), (int)(at - fields[i].dims), p);
    }
}

/* All cuts are found before the first is made: it moves what `at` is looked up in. */
static void cut_all(const struct layout *l, const struct field *fields, void *params,
                    const void *at, struct arena *a)
{
    struct sample_pick pick[2];
    for (int i = 0; i < 2 && l->cut[i].letter; i++)
        pick[i] =
            sample_pick(size_of(fields, params, l->cut[i].letter), l->cut[i].count,
                        index_of(fields, params, l->cut[i].letter, at));
    for (int i = 0; i < 2 && l->cut[i].letter; i++)
        cut_letter(fields, params, l->cut[i].letter, &pick[i], a);
}

/* What an activation is made of is an input of its slope, and an output else. */
static enum role role_of_pre(int epilogue)
{
    return nnd_slope_of(epilogue) || epilogue == NND_EPI_DSWIGLU ? IN : OUT;
}

/* Transposed matrices have their letters the other way round. */
static void orient(const struct layout *l, const void *params, struct field *f)
{
    const struct nnd_gemm *g = params;
    const struct nnd_grouped_gemm *gg = params;
    if (strcmp(l->op, "gemm") == 0) {
        f[0].dims = g->trans_a ? "KM" : "MK";
        f[1].dims = g->trans_b ? "NK" : "KN";
        f[4].role = role_of_pre(g->epilogue);
    } else if (strcmp(l->op, "gemm.grouped") == 0 && gg->mode == NND_GROUP_K) {
        f[0].dims = "TM";
        f[1].dims = "TN";
        f[2].dims = "GMN";
    } else if (strcmp(l->op, "gemm.grouped") == 0) {
        f[1].dims = f[4].dims = gg->trans_b ? "GNK" : "GKN";
        f[6].role = f[7].role = role_of_pre(gg->epilogue);
    }
}

/* --- outputs -------------------------------------------------------------- */

int64_t sample_elements(const struct nnd_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

char *sample_address(const struct nnd_tensor *t, int64_t i)
{
    int64_t at = 0;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        at += i % t->dim[axis] * t->stride[axis];
        i /= t->dim[axis];
    }
    return (char *)t->data + at * (int64_t)dtype_size(t->dtype);
}

/* By falling strides: rows do not overlap. */
bool sample_index(const struct nnd_tensor *t, const void *at,
                  int64_t index[NND_MAX_DIMS])
{
    int64_t size = (int64_t)dtype_size(t->dtype);
    int64_t off = (const char *)at - (const char *)t->data;
    if (!t->data || t->ndim == 0 || size == 0 || off < 0 || off % size)
        return false;
    off /= size;
    for (int i = 0; i < t->ndim; i++)
        index[i] = -1;
    for (int i = 0; i < t->ndim; i++) {
        int widest = -1;
        for (int axis = 0; axis < t->ndim; axis++)
            if (index[axis] < 0 && (widest < 0 || t->stride[axis] > t->stride[widest] ||
                                    (t->stride[axis] == t->stride[widest] &&
                                     t->dim[axis] < t->dim[widest])))
                widest = axis;
        int64_t stride = t->stride[widest];
        index[widest] = stride > 0 && t->dim[widest] > 1 ? off / stride : 0;
        if (index[widest] >= t->dim[widest])
            return false;
        off -= index[widest] * stride;
    }
    return off == 0;
}

void sample_redirect(struct sample *s, const char *name, struct nnd_tensor *t,
                     double slack, struct arena *a)
{
    size_t size = dtype_size(t->dtype);
    int64_t n = sample_elements(t), stride = 1;
    struct sample_output *o = &s->output[s->noutputs];
    if (t->ndim == 0 || n == 0 || s->noutputs == SAMPLE_OUTPUTS)
        return;
    *o = (struct sample_output){.name = name, .real = *t, .slack = slack};
    char *mine = arena_calloc(a, (size_t)n, size);
    for (int64_t i = 0; i < n; i++)
        memcpy(mine + (size_t)i * size, sample_address(t, i), size);
    t->data = mine;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        t->stride[axis] = stride;
        stride *= t->dim[axis];
    }
    t->align_log2 = 0;
    o->mine = *t;
    s->noutputs++;
}

double sample_number(const struct nnd_tensor *t, int64_t i)
{
    const char *p = sample_address(t, i);
    double x = NAN;
    int32_t n;
    if (t->dtype == NND_I32) {
        memcpy(&n, p, sizeof n);
        x = n;
    } else if (dtype_is_float(t->dtype)) {
        dtype_to_f64(t->dtype, p, &x, 1);
    }
    return x;
}

double sample_rms(const struct nnd_tensor *t)
{
    int64_t n = t->ndim ? sample_elements(t) : 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = sample_number(t, i);
        sum += isfinite(x) ? x * x : 0;
    }
    return n ? sqrt(sum / (double)n) : 0;
}

void sample_floor(struct sample *s, double floor)
{
    for (int i = 0; i < s->noutputs; i++)
        s->output[i].floor = floor;
}

/* Sums of products, or of rows, whose terms may cancel out: each term is rounded. */
static void floor_of_sums(const struct layout *l, const struct field *f,
                          struct sample *s)
{
    double product = 4 * dtype_unit(NND_F32) * s->terms;
    if (strncmp(l->op, "gemm", 4) != 0 && strcmp(l->op, "rows.sum") != 0)
        return;
    for (int i = 0; i < 2 && f[i].role == IN; i++)
        product *= sample_rms(tensor_at(s->params, &f[i]));
    sample_floor(s, product);
}

/* The largest of what is finite, without its sign. */
static double largest(const struct nnd_tensor *t)
{
    int64_t n = t->ndim ? sample_elements(t) : 0;
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = fabs(sample_number(t, i));
        most = isfinite(x) ? fmax(most, x) : most;
    }
    return most;
}

/* A loss is the difference of two numbers as large as logits, and a row's gradient that
 * of a probability and 1: where a model knows the answer, their rounding is left. */
static void floor_of_losses(const struct layout *l, struct sample *s)
{
    const struct nnd_xent *x = s->params;
    const struct nnd_distill *d = s->params;
    const float *seed = x->seed;
    double size, rise = 1;
    if (strncmp(l->op, "distill.", 8) == 0) {
        seed = d->seed;
        rise = fmax(1, d->temperature);
        size = fmax(largest(&d->logits), largest(&d->teacher));
    } else if (strncmp(l->op, "xent.", 5) == 0) {
        size = largest(&x->logits);
    } else {
        return;
    }
    double floor = 4 * dtype_unit(NND_F32) * fmax(1, size);
    if (strstr(l->op, ".bwd"))
        sample_floor(s,
                     floor * (seed ? fabs(*seed) : 1) / sqrt((double)x->logits.dim[1]));
    else
        sample_floor(s, floor * rise);
}

/* The gradient of a score is a difference as well, as sample_attn.c has it, and that of
 * w a sum over all of them. */
static void floor_of_attend(const struct layout *l, struct sample *s)
{
    const struct nnd_attend *p = s->params;
    if (strcmp(l->op, "attn.add.bwd") != 0 && strcmp(l->op, "attn.dot.bwd") != 0)
        return;
    double rise = fmax(1, fmax(sample_rms(&p->q), sample_rms(&p->k)));
    double terms = sqrt((double)p->v.dim[2]) * fmax(1, sample_rms(&p->w));
    sample_floor(s, 8 * fmax(s->unit, dtype_unit(NND_F32)) * terms * rise *
                        sample_rms(&p->dout) * sample_rms(&p->v));
    for (int i = 0; i < s->noutputs; i++)
        if (strcmp(s->output[i].name, "dw") == 0)
            s->output[i].floor *= sqrt((double)sample_elements(&p->weight));
}

void sample_weigh(struct sample *s, const struct nnd_tensor *t)
{
    s->unit = fmax(s->unit, dtype_unit(t->dtype));
    for (int i = 0; i < t->ndim; i++)
        s->terms = fmax(s->terms, (double)t->dim[i]);
}

/* ref reads b itself, of which it sees a part. */
static void forget_packed(const char *op, void *params)
{
    if (strcmp(op, "gemm") == 0)
        ((struct nnd_gemm *)params)->packed = (struct nnd_tensor){0};
    else if (strcmp(op, "gemm.grouped") == 0)
        ((struct nnd_grouped_gemm *)params)->packed = (struct nnd_tensor){0};
}

/* How often an expert was chosen follows from who chose it. */
static void count_choices(struct sample *s)
{
    const struct sample_output *expert = NULL;
    for (int i = 0; i < s->noutputs; i++)
        if (strcmp(s->output[i].name, "expert") == 0)
            expert = &s->output[i];
    for (int i = 0; i < s->noutputs; i++)
        if (strcmp(s->output[i].name, "count") == 0)
            s->output[i].counts = expert;
}

static bool by_layout(const struct layout *l, const void *params, const void *at,
                      struct arena *a, struct sample *out)
{
    struct field field[FIELDS];
    out->params = arena_memdup(a, params, l->size);
    forget_packed(l->op, out->params);
    memcpy(field, l->field, sizeof field);
    orient(l, params, field);
    cut_all(l, field, out->params, at, a);
    for (int i = 0; i < FIELDS && field[i].name; i++)
        if (field[i].role != ARRAY && tensor_at(out->params, &field[i])->ndim)
            sample_weigh(out, tensor_at(out->params, &field[i]));
    for (int i = 0; i < FIELDS && field[i].name; i++)
        if (field[i].role == OUT)
            sample_redirect(out, field[i].name, tensor_at(out->params, &field[i]),
                            l->slack, a);
    if (strcmp(l->op, "moe.route.fwd") == 0)
        count_choices(out);
    floor_of_sums(l, field, out);
    floor_of_losses(l, out);
    floor_of_attend(l, out);
    if (strncmp(l->op, "rnn.", 4) == 0) /* each step builds upon the one before */
        out->terms *= fmax(1, (double)size_of(field, out->params, 'T'));
    return out->noutputs > 0;
}

/* --- operators of another kind -------------------------------------------- */

static bool sample_sum(const void *params, const void *at, struct arena *a,
                       struct sample *out)
{
    struct nnd_sum *p = arena_memdup(a, params, sizeof *p);
    int64_t count = p->y.ndim == 1 ? 4096 : 32, index[NND_MAX_DIMS];
    out->params = p;
    if (p->y.ndim < 1)
        return false;
    bool must = at && sample_index(&p->y, at, index);
    struct sample_pick pick = sample_pick(p->y.dim[0], count, must ? index[0] : -1);
    sample_weigh(out, &p->x[0]);
    for (int i = 0; i < p->n && i < NND_SUM_MAX; i++)
        sample_cut(&p->x[i], 0, &pick);
    sample_cut(&p->y, 0, &pick);
    sample_redirect(out, "y", &p->y, 0, a);
    return out->noutputs > 0;
}

/* The first blocks, or those from that of `at` on. */
static bool sample_sqnorm(const void *params, const void *at, struct arena *a,
                          struct sample *out)
{
    struct nnd_sqnorm *p = arena_memdup(a, params, sizeof *p);
    int64_t index[NND_MAX_DIMS], size = (int64_t)dtype_size(p->x.dtype);
    out->params = p;
    if (p->x.ndim == 1 && at && sample_index(&p->y, at, index)) {
        int64_t first = index[0] * NND_BLOCK_ELEMS;
        p->x.data = (char *)p->x.data + first * p->x.stride[0] * size;
        p->x.dim[0] -= first;
        p->y.data = sample_address(&p->y, index[0]);
        p->y.dim[0] -= index[0];
    }
    if (p->x.ndim == 1 && p->x.dim[0] > 4 * NND_BLOCK_ELEMS) {
        p->x.dim[0] = 4 * NND_BLOCK_ELEMS;
        p->y.dim[0] = 4;
    }
    sample_weigh(out, &p->x);
    sample_redirect(out, "y", &p->y, 0, a);
    return out->noutputs > 0;
}

bool sample_make(const char *op, const void *params, const void *at, struct arena *a,
                 struct sample *out)
{
    memset(out, 0, sizeof *out);
    if (strcmp(op, "sum") == 0)
        return sample_sum(params, at, a, out);
    if (strcmp(op, "sqnorm") == 0)
        return sample_sqnorm(params, at, a, out);
    if (strcmp(op, "attn.fwd") == 0 || strcmp(op, "attn.bwd") == 0)
        return sample_attn(params, strcmp(op, "attn.bwd") == 0, at, a, out);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (strcmp(layouts[i].op, op) == 0)
            return by_layout(&layouts[i], params, at, a, out);
    return false;
}

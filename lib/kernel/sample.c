/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample.c - the operators' tensors by the letters of their sizes, and which letters
 * may be cut.
 */
#include "kernel/sample.h"

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
    NORM_IN, OUT(nnd_norm, y, "TN"), OUT(nnd_norm, rstd, "T"), OUT(nnd_norm, mean, "T")
#define NORM_BWD                                                                       \
    NORM_IN, IN(nnd_norm, dy, "TN"), OUT(nnd_norm, dx, "TN"), OUT(nnd_norm, dw, "N"),  \
        OUT(nnd_norm, db, "N")
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
    {"act.swiglu.bwd", sizeof(struct nnd_act), {ACT_BWD}, {{'T', 32}}, 0},
    {"act.gelu.bwd", sizeof(struct nnd_act), {ACT_BWD}, {{'T', 32}}, 0},
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
    {"opt.adamw", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
    {"opt.adam", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
    {"opt.sgd", sizeof(struct nnd_optim), {OPTIM}, {{'X', 2048}}, 0},
};

/* --- cutting -------------------------------------------------------------- */

static struct nnd_tensor *tensor_at(void *params, const struct field *f)
{
    return (struct nnd_tensor *)(void *)((char *)params + f->at);
}

/* `count` of n evenly, the first and the last among them. */
static int64_t step_of(int64_t n, int64_t count)
{
    return n > count && count > 1 ? (n - 1) / (count - 1) : 1;
}

static void cut_axis(struct nnd_tensor *t, int axis, int64_t count)
{
    int64_t n = t->dim[axis];
    if (n <= count)
        return;
    t->stride[axis] *= step_of(n, count);
    t->dim[axis] = count;
    t->align_log2 = 0;
}

static void cut_array(void *params, const struct field *f, int64_t n, int64_t count,
                      struct arena *a)
{
    const int32_t **where = (const int32_t **)(void *)((char *)params + f->at);
    int64_t step = step_of(n, count);
    if (!*where || n <= count)
        return;
    int32_t *some = arena_calloc(a, (size_t)count, sizeof *some);
    for (int64_t i = 0; i < count; i++)
        some[i] = (*where)[i * step];
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

static void cut_letter(const struct field *fields, void *params, const struct cut *c,
                       struct arena *a)
{
    int64_t n = size_of(fields, params, c->letter);
    for (int i = 0; i < FIELDS && fields[i].name; i++) {
        const char *at = strchr(fields[i].dims, c->letter);
        if (at && fields[i].role == ARRAY)
            cut_array(params, &fields[i], n, c->count, a);
        else if (at && tensor_at(params, &fields[i])->ndim > at - fields[i].dims)
            cut_axis(tensor_at(params, &fields[i]), (int)(at - fields[i].dims),
                     c->count);
    }
}

/* What an activation is made of is an input of its slope, and an output else. */
static enum role role_of_pre(int epilogue)
{
    return (epilogue >= NND_EPI_DGELU && epilogue <= NND_EPI_DSILU) ||
                   epilogue == NND_EPI_DSWIGLU
               ? IN
               : OUT;
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

static int64_t elements(const struct nnd_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

/* The address of element i in the order of a contiguous tensor. */
static char *address(const struct nnd_tensor *t, int64_t i)
{
    int64_t at = 0;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        at += i % t->dim[axis] * t->stride[axis];
        i /= t->dim[axis];
    }
    return (char *)t->data + at * (int64_t)dtype_size(t->dtype);
}

/* Give an output of the sample memory of its own, with what the real one holds. */
static void redirect(struct sample *s, const char *name, struct nnd_tensor *t,
                     double slack, struct arena *a)
{
    size_t size = dtype_size(t->dtype);
    int64_t n = elements(t), stride = 1;
    struct sample_output *o = &s->output[s->noutputs];
    if (t->ndim == 0 || n == 0 || s->noutputs == SAMPLE_OUTPUTS)
        return;
    *o = (struct sample_output){.name = name, .real = *t, .slack = slack};
    char *mine = arena_calloc(a, (size_t)n, size);
    for (int64_t i = 0; i < n; i++)
        memcpy(mine + (size_t)i * size, address(t, i), size);
    t->data = mine;
    for (int axis = t->ndim - 1; axis >= 0; axis--) {
        t->stride[axis] = stride;
        stride *= t->dim[axis];
    }
    t->align_log2 = 0;
    o->mine = *t;
    s->noutputs++;
}

static double number_at(const struct nnd_tensor *t, int64_t i)
{
    const char *p = address(t, i);
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

/* Root of the mean square of what is finite. */
static double rms(const struct nnd_tensor *t)
{
    int64_t n = t->ndim ? elements(t) : 0;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = number_at(t, i);
        sum += isfinite(x) ? x * x : 0;
    }
    return n ? sqrt(sum / (double)n) : 0;
}

static void set_floor(struct sample *s, double floor)
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
        product *= rms(tensor_at(s->params, &f[i]));
    set_floor(s, product);
}

/* The largest of what is finite, without its sign. */
static double largest(const struct nnd_tensor *t)
{
    int64_t n = t->ndim ? elements(t) : 0;
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = fabs(number_at(t, i));
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
        set_floor(s, floor * (seed ? fabs(*seed) : 1) / sqrt((double)x->logits.dim[1]));
    else
        set_floor(s, floor * rise);
}

/* What an input does to the rounding of results. */
static void weigh(struct sample *s, const struct nnd_tensor *t)
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

static bool by_layout(const struct layout *l, const void *params, struct arena *a,
                      struct sample *out)
{
    struct field field[FIELDS];
    out->params = arena_memdup(a, params, l->size);
    forget_packed(l->op, out->params);
    memcpy(field, l->field, sizeof field);
    orient(l, params, field);
    for (int i = 0; i < 2 && l->cut[i].letter; i++)
        cut_letter(field, out->params, &l->cut[i], a);
    for (int i = 0; i < FIELDS && field[i].name; i++)
        if (field[i].role != ARRAY && tensor_at(out->params, &field[i])->ndim)
            weigh(out, tensor_at(out->params, &field[i]));
    for (int i = 0; i < FIELDS && field[i].name; i++)
        if (field[i].role == OUT)
            redirect(out, field[i].name, tensor_at(out->params, &field[i]), l->slack,
                     a);
    floor_of_sums(l, field, out);
    floor_of_losses(l, out);
    if (strncmp(l->op, "rnn.", 4) == 0) /* each step builds upon the one before */
        out->terms *= fmax(1, (double)size_of(field, out->params, 'T'));
    return out->noutputs > 0;
}

/* --- operators of another kind -------------------------------------------- */

static bool sample_sum(const void *params, struct arena *a, struct sample *out)
{
    struct nnd_sum *p = arena_memdup(a, params, sizeof *p);
    int64_t count = p->y.ndim == 1 ? 4096 : 32;
    out->params = p;
    if (p->y.ndim < 1)
        return false;
    weigh(out, &p->x[0]);
    for (int i = 0; i < p->n && i < NND_SUM_MAX; i++)
        cut_axis(&p->x[i], 0, count);
    cut_axis(&p->y, 0, count);
    redirect(out, "y", &p->y, 0, a);
    return out->noutputs > 0;
}

/* The first blocks. */
static bool sample_sqnorm(const void *params, struct arena *a, struct sample *out)
{
    struct nnd_sqnorm *p = arena_memdup(a, params, sizeof *p);
    int64_t most = 4 * NND_BLOCK_ELEMS;
    out->params = p;
    if (p->x.ndim == 1 && p->x.dim[0] > most) {
        p->x.dim[0] = most;
        p->y.dim[0] = 4;
    }
    weigh(out, &p->x);
    redirect(out, "y", &p->y, 0, a);
    return out->noutputs > 0;
}

/* Rows [first, first + n) of the axis. */
static void keep_rows(struct nnd_tensor *t, int axis, int64_t first, int64_t n)
{
    if (t->ndim <= axis)
        return;
    t->data = (char *)t->data + first * t->stride[axis] * (int64_t)dtype_size(t->dtype);
    t->dim[axis] = n;
    t->align_log2 = 0;
}

/* One sequence of an attention call: its first row of queries and of keys, how many. */
struct seq {
    int64_t q, nq, k, nk;
    int32_t number;
};

static bool first_seq(const struct nnd_attn *p, struct seq *s)
{
    for (int32_t b = 0; b < p->batch; b++) {
        *s = (struct seq){b * (int64_t)p->max_q, p->max_q, b * (int64_t)p->max_k,
                          p->max_k, b};
        if (p->cu_q) {
            s->q = p->cu_q[b];
            s->nq = p->cu_q[b + 1] - p->cu_q[b];
        }
        if (p->cu_k) {
            s->k = p->cu_k[b];
            s->nk = p->cu_k[b + 1] - p->cu_k[b];
        }
        if (s->nq > 0)
            return true;
    }
    return false;
}

static int32_t *bounds(struct arena *a, int64_t n)
{
    int32_t *b = arena_calloc(a, 2, sizeof *b);
    b[1] = (int32_t)n;
    return b;
}

/* Only that sequence, and of its queries the last `nq`: with masks that count from the
 * end they see what they saw. */
static void keep_seq(struct nnd_attn *p, const struct seq *s, int64_t nq,
                     struct arena *a)
{
    struct nnd_tensor *const by_q[] = {&p->q, &p->o, &p->dout, &p->dq};
    struct nnd_tensor *const by_k[] = {&p->k, &p->v, &p->dk, &p->dv};
    int64_t q = s->q + s->nq - nq;
    for (int i = 0; i < 4; i++) {
        keep_rows(by_q[i], 0, q, nq);
        keep_rows(by_k[i], 0, s->k, s->nk);
    }
    keep_rows(&p->lse, 1, q, nq);
    p->batch = 1;
    p->max_q = (int32_t)nq;
    p->max_k = (int32_t)s->nk;
    p->cu_q = bounds(a, nq);
    p->cu_k = bounds(a, s->nk);
    p->len_k = p->len_k ? p->len_k + s->number : NULL;
    if (p->dropout.sample)
        p->dropout.sample += q;
    if (p->dropout.pos)
        p->dropout.pos += q;
}

/* Of a bias or its gradient what that sequence's last `nq` queries see. */
static void keep_bias(struct nnd_tensor *t, const struct seq *s, int64_t nq)
{
    if (t->ndim != 4)
        return;
    keep_rows(t, 0, t->dim[0] > 1 ? s->number : 0, 1);
    keep_rows(t, 2, s->nq - nq, nq);
    keep_rows(t, 3, 0, s->nk);
}

/* Is the gradient of each of its numbers made of one sequence and one head alone? */
static bool is_own_bias(const struct nnd_attn *p)
{
    const struct nnd_tensor *t = &p->dbias;
    return t->ndim == 4 && t->dim[0] == p->batch && t->dim[1] == p->q.dim[1];
}

/* The query heads of the first key head. */
static void keep_head(struct nnd_attn *p)
{
    int64_t group = p->k.dim[1] ? p->q.dim[1] / p->k.dim[1] : 1;
    if (p->bias.ndim == 4 && p->bias.dim[1] > 1)
        keep_rows(&p->bias, 1, 0, group);
    keep_rows(&p->dbias, 1, 0, group);
    struct nnd_tensor *const by_q[] = {&p->q, &p->o, &p->dout, &p->dq};
    struct nnd_tensor *const by_k[] = {&p->k, &p->v, &p->dk, &p->dv};
    for (int i = 0; i < 4; i++) {
        keep_rows(by_q[i], 1, 0, group);
        keep_rows(by_k[i], 1, 0, 1);
    }
    keep_rows(&p->lse, 0, 0, group);
}

/* The gradient of a score is P (dP - <dout, o>).  Where the two are alike what is left
 * is their rounding, and that of P. */
static double attn_floor(const struct nnd_attn *p, double unit)
{
    double d = (double)p->q.dim[2];
    return 4 * unit * fabs((double)p->scale) * sqrt(d) * rms(&p->dout) * rms(&p->v) *
           fmax(rms(&p->q), rms(&p->k));
}

enum { LAST_QUERIES = 8, MOST_PRODUCTS = 40000000 };

static bool sample_attn(const void *params, bool bwd, struct arena *a,
                        struct sample *out)
{
    struct nnd_attn *p = arena_alloc(a, sizeof *p);
    const struct nnd_attn *given = params;
    struct seq s;
    memcpy(p, params, given->struct_size < sizeof *p ? given->struct_size : sizeof *p);
    if (p->q.ndim != 3 || p->k.ndim != 3 || !first_seq(p, &s))
        return false;
    out->params = p;
    bool small = s.nq * s.nk * p->q.dim[2] < MOST_PRODUCTS;
    int64_t nq = bwd && small ? s.nq : s.nq < LAST_QUERIES ? s.nq : LAST_QUERIES;
    if (!is_own_bias(p))
        p->dbias = (struct nnd_tensor){0};
    keep_bias(&p->bias, &s, nq);
    keep_bias(&p->dbias, &s, nq);
    keep_seq(p, &s, nq, a);
    keep_head(p);
    weigh(out, &p->q);
    weigh(out, &p->k);
    if (!bwd) {
        redirect(out, "o", &p->o, 0, a);
        redirect(out, "lse", &p->lse, 0, a);
        return out->noutputs > 0;
    }
    redirect(out, "dq", &p->dq, 0, a);
    redirect(out, "dk", &p->dk, 0, a);
    redirect(out, "dv", &p->dv, 0, a);
    redirect(out, "dbias", &p->dbias, 0, a);
    set_floor(out, attn_floor(p, out->unit));
    if (!small) /* sums over queries that are left out */
        out->noutputs = 1;
    return out->noutputs > 0;
}

bool sample_make(const char *op, const void *params, struct arena *a,
                 struct sample *out)
{
    memset(out, 0, sizeof *out);
    if (strcmp(op, "sum") == 0)
        return sample_sum(params, a, out);
    if (strcmp(op, "sqnorm") == 0)
        return sample_sqnorm(params, a, out);
    if (strcmp(op, "attn.fwd") == 0 || strcmp(op, "attn.bwd") == 0)
        return sample_attn(params, strcmp(op, "attn.bwd") == 0, a, out);
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (strcmp(layouts[i].op, op) == 0)
            return by_layout(&layouts[i], params, a, out);
    return false;
}

/* --- comparing ------------------------------------------------------------ */

/* "y[3,0,5]". */
static void place(const struct sample_output *o, int64_t i, char *out, size_t size)
{
    int64_t at[NND_MAX_DIMS] = {0};
    size_t n = (size_t)snprintf(out, size, "%s[", o->name);
    for (int axis = o->real.ndim - 1; axis >= 0; axis--) {
        at[axis] = i % o->real.dim[axis];
        i /= o->real.dim[axis];
    }
    for (int axis = 0; axis < o->real.ndim && n < size; axis++)
        n += (size_t)snprintf(out + n, size - n, "%s%lld", axis ? "," : "",
                              (long long)at[axis]);
    if (n < size)
        snprintf(out + n, size - n, "] of the sample");
}

/* What was found in one output. */
struct difference {
    double error, norm, worst; /* squares summed; the largest */
    int64_t at, unequal;       /* of the largest; how many integers, or NaN's */
};

static void measure(const struct sample_output *o, struct difference *d)
{
    int64_t n = elements(&o->real);
    *d = (struct difference){.worst = -1};
    for (int64_t i = 0; i < n; i++) {
        double x = number_at(&o->real, i), want = number_at(&o->mine, i);
        double off = fabs(x - want);
        if (x == want || (isnan(x) && isnan(want)))
            off = 0;
        else if (!isfinite(off) || o->real.dtype == NND_I32)
            d->unequal++;
        if (!(off <= d->worst)) {
            d->worst = off;
            d->at = i;
        }
        if (isfinite(off))
            d->error += off * off;
        if (isfinite(want))
            d->norm += want * want;
    }
}

/* Each of the two rounds its results, and may round what it reads in between: a few
 * units of the type, and of f32 for the sum. */
static double allowed(const struct sample *s, const struct sample_output *o)
{
    double u = fmax(dtype_unit(o->real.dtype), s->unit);
    return 8 * u + 16 * dtype_unit(NND_F32) * sqrt(s->terms);
}

static int compare_output(const struct sample *s, const struct sample_output *o,
                          struct err *e)
{
    struct difference d;
    char where[120];
    bool whole = o->real.dtype == NND_I32;
    measure(o, &d);
    double n = (double)elements(&o->real), most = o->slack * n;
    double size = sqrt(d.norm) + 1e-30,
           limit = allowed(s, o) * size + o->floor * sqrt(n);
    bool fine = whole || d.unequal ? (double)d.unequal <= most : sqrt(d.error) <= limit;
    if (fine)
        return 0;
    place(o, d.at, where, sizeof where);
    if (whole || d.unequal)
        return err_set(e, ERR_FAILED, "%s is %g, wanted %g", where,
                       number_at(&o->real, d.at), number_at(&o->mine, d.at));
    return err_set(e, ERR_FAILED,
                   "%s is %g, wanted %g; relative error of %s %.2g, allowed %.2g",
                   where, number_at(&o->real, d.at), number_at(&o->mine, d.at), o->name,
                   sqrt(d.error) / size, limit / size);
}

int sample_compare(const struct sample *s, struct err *e)
{
    for (int i = 0; i < s->noutputs; i++)
        if (compare_output(s, &s->output[i], e) < 0)
            return ERR_FAILED;
    return 0;
}

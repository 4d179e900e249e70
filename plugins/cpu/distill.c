/* SPDX-License-Identifier: Apache-2.0 */
/*
 * distill.c - a student's loss beside its teacher (Hinton et al. 2015).  Forward takes
 * the largest number of each row, three sums of exponentials, and the divergence; one
 * pass backward from the sums.
 */
#include "op.h"
#include "par.h"
#include "vmath.h"

static float row_max(const void *z, int dtype, int64_t n)
{
    struct lanes m;

    for (int u = 0; u < PER; u++)
        m.v[u] = vec_all(-__builtin_inff());
    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;

            m.v[u] = vec_max(vec_get_or(z, dtype, i, n - i, -__builtin_inff()), m.v[u]);
        }
    return lanes_max(&m);
}

/* log(sum(exp(z * scale))), of a row whose largest number is `most`. */
static float row_lse(const void *z, int dtype, int64_t n, float most, float scale)
{
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf x = vec_get_or(z, dtype, i, n - i, -__builtin_inff());

            s.v[u] += vec_exp((x - most) * scale);
        }
    return most * scale + log_one(lanes_sum(&s));
}

/* The divergence of z from y, both divided by the temperature.  Behind the row's end
 * the weight is 0, and what it weighs is finite. */
static float row_kl(const struct nnd_distill *p, int64_t t, float soft, float teacher)
{
    const void *z = row_of(&p->logits, t), *y = row_of(&p->teacher, t);
    int zt = p->logits.dtype, yt = p->teacher.dtype;
    float scale = 1.0f / p->temperature;
    int64_t n = p->logits.dim[1];
    struct lanes s = {0};

    for (int64_t c = 0; c < n; c += LANES)
        for (int u = 0; u < PER; u++) {
            int64_t i = c + u * VL;
            vf weight = vec_exp(vec_get_or(y, yt, i, n - i, -__builtin_inff()) * scale -
                                teacher);
            vf far = (vec_get(y, yt, i, n - i) * scale - teacher) -
                     (vec_get(z, zt, i, n - i) * scale - soft);

            s.v[u] += weight * far;
        }
    return lanes_sum(&s);
}

static void forward_row(const struct nnd_distill *p, int64_t t)
{
    const void *z = row_of(&p->logits, t), *y = row_of(&p->teacher, t);
    int64_t n = p->logits.dim[1];
    int zt = p->logits.dtype, yt = p->teacher.dtype;
    float a = p->alpha, T = p->temperature, scale = 1.0f / T;
    float most = row_max(z, zt, n), best = row_max(y, yt, n);
    float lse = row_lse(z, zt, n, most, 1), soft = row_lse(z, zt, n, most, scale);
    float teacher = row_lse(y, yt, n, best, scale);
    float at = vec_get(z, zt, p->target[t], 1)[0];

    ((float *)p->lse.data)[t] = lse;
    ((float *)p->lse_soft.data)[t] = soft;
    ((float *)p->lse_teacher.data)[t] = teacher;
    ((float *)p->loss.data)[t] =
        (1.0f - a) * (lse - at) + a * T * T * row_kl(p, t, soft, teacher);
}

static void forward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_distill *p = arg;

    for (int64_t t = lo; t < hi; t++) {
        if (p->target[t] >= 0) {
            forward_row(p, t);
            continue;
        }
        ((float *)p->lse.data)[t] = ((float *)p->lse_soft.data)[t] = 0;
        ((float *)p->lse_teacher.data)[t] = ((float *)p->loss.data)[t] = 0;
    }
}

static void backward_row(const struct nnd_distill *p, int64_t t)
{
    const void *z = row_of(&p->logits, t), *y = row_of(&p->teacher, t);
    void *dz = row_of(&p->dlogits, t);
    int64_t n = p->logits.dim[1];
    int zt = p->logits.dtype, yt = p->teacher.dtype, dt = p->dlogits.dtype;
    float T = p->temperature, scale = 1.0f / T, seed = *p->seed;
    float hard = 1.0f - p->alpha, soft = p->alpha * T;
    float lse = ((const float *)p->lse.data)[t];
    float lse_soft = ((const float *)p->lse_soft.data)[t];
    float teacher = ((const float *)p->lse_teacher.data)[t];
    int32_t k = p->target[t];
    float at_z = vec_get(z, zt, k, 1)[0], at_y = vec_get(y, yt, k, 1)[0];
    vf g;

    for (int64_t i = 0; i < n; i += VL) {
        vf x = vec_get(z, zt, i, n - i);

        g = vec_exp(x * scale - lse_soft) -
            vec_exp(vec_get(y, yt, i, n - i) * scale - teacher);
        g = g * soft + vec_exp(x - lse) * hard;
        vec_put(dz, dt, i, n - i, g * seed);
    }
    g = vec_exp(vec_all(at_z * scale - lse_soft)) -
        vec_exp(vec_all(at_y * scale - teacher));
    g = g * soft + (vec_exp(vec_all(at_z - lse)) - 1.0f) * hard;
    vec_put(dz, dt, k, 1, g * seed);
}

static void backward_rows(const void *arg, int64_t lo, int64_t hi)
{
    const struct nnd_distill *p = arg;

    for (int64_t t = lo; t < hi; t++)
        if (p->target[t] >= 0)
            backward_row(p, t);
        else
            memset(row_of(&p->dlogits, t), 0,
                   (size_t)p->dlogits.dim[1] * dtype_size(p->dlogits.dtype));
}

static int check(const void *params, struct nnd_error *e)
{
    const struct nnd_distill *p = params;

    if (p->temperature > 0)
        return NND_OK;
    return op_refuse(e, NND_EINVAL, "temperature %g, wanted one above 0",
                     (double)p->temperature);
}

static int distill_fwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_distill *p = params;

    return par_rows(l, p->logits.dim[0], p->logits.dim[1] * 12, forward_rows, p);
}

static int distill_bwd(const void *params, const struct nnd_launch *l)
{
    const struct nnd_distill *p = params;

    return par_rows(l, p->logits.dim[0], p->logits.dim[1] * 12, backward_rows, p);
}

const struct op OPS(distill)[] = {
    {.name = "distill.fwd", .check = check, .launch = distill_fwd},
    {.name = "distill.bwd", .check = check, .launch = distill_bwd},
    {0},
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sample_compare.c - what a kernel left in a sample's outputs beside what ref did.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>

#include "kernel/sample_impl.h"
#include "tensor/dtype.h"

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
    double moved;              /* sum of what is finite */
    int64_t at, unequal;       /* of the largest; how many integers, or NaN's */
};

static void measure(const struct sample_output *o, struct difference *d)
{
    int64_t n = sample_elements(&o->real);
    *d = (struct difference){.worst = -1};
    for (int64_t i = 0; i < n; i++) {
        double x = sample_number(&o->real, i), want = sample_number(&o->mine, i);
        double off = fabs(x - want);
        if (x == want || (isnan(x) && isnan(want)))
            off = 0;
        else if (!isfinite(off) || o->real.dtype == NND_I32)
            d->unequal++;
        if (!(off <= d->worst)) {
            d->worst = off;
            d->at = i;
        }
        if (isfinite(off)) {
            d->error += off * off;
            d->moved += off;
        }
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

/* One choice that is another is one less here, and one more there. */
static bool counts_follow(const struct sample_output *o, const struct difference *d)
{
    struct difference choices;
    measure(o->counts, &choices);
    return d->moved <= 2.0 * (double)choices.unequal;
}

static int compare_output(const struct sample *s, const struct sample_output *o,
                          struct err *e)
{
    struct difference d;
    char where[120];
    bool whole = o->real.dtype == NND_I32;
    measure(o, &d);
    double n = (double)sample_elements(&o->real), most = o->slack * n;
    double size = sqrt(d.norm) + 1e-30,
           limit = allowed(s, o) * size + o->floor * sqrt(n);
    bool fine = o->counts            ? counts_follow(o, &d)
                : whole || d.unequal ? (double)d.unequal <= most
                                     : sqrt(d.error) <= limit;
    if (fine)
        return 0;
    place(o, d.at, where, sizeof where);
    if (whole || d.unequal)
        return err_set(e, ERR_FAILED, "%s is %g, wanted %g", where,
                       sample_number(&o->real, d.at), sample_number(&o->mine, d.at));
    return err_set(e, ERR_FAILED,
                   "%s is %g, wanted %g; relative error of %s %.2g, allowed %.2g",
                   where, sample_number(&o->real, d.at), sample_number(&o->mine, d.at),
                   o->name, sqrt(d.error) / size, limit / size);
}

int sample_compare(const struct sample *s, struct err *e)
{
    for (int i = 0; i < s->noutputs; i++)
        if (compare_output(s, &s->output[i], e) < 0)
            return ERR_FAILED;
    return 0;
}

/* Half of the largest number of a type. */
static double half_of_most(int dtype)
{
    double most;
    if (dtype == NND_F16)
        most = 65504;
    else if (dtype == NND_F64)
        most = DBL_MAX;
    else
        most = FLT_MAX; /* that of bf16 is as large, but for its rounding */
    return most / 2;
}

static bool is_lost(const struct sample_output *o, int64_t i)
{
    double x = sample_number(&o->real, i), want = sample_number(&o->mine, i);
    return !isfinite(x) && isfinite(want) && fabs(want) <= half_of_most(o->real.dtype);
}

bool sample_lost(const struct sample *s, struct err *e)
{
    char where[120];
    for (int n = 0; n < s->noutputs; n++) {
        const struct sample_output *o = &s->output[n];
        bool numbers = dtype_is_float(o->real.dtype);
        for (int64_t i = 0; numbers && i < sample_elements(&o->real); i++) {
            if (!is_lost(o, i))
                continue;
            place(o, i, where, sizeof where);
            err_set(e, ERR_FAILED, "%s is %g, wanted %g", where,
                    sample_number(&o->real, i), sample_number(&o->mine, i));
            return true;
        }
    }
    return false;
}

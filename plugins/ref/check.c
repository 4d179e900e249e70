/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - are the params of a call what the contract says?  Every "no" names
 * the tensor, what was wanted and what was found.
 */
#include <stdarg.h>
#include <stdio.h>

#include "impl.h"

int ref_refuse(struct nnd_error *e, int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (e)
        vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return status;
}

static int kind_of(int dtype)
{
    switch (dtype) {
    case NND_F64:
        return REF_F64;
    case NND_F32:
        return REF_F32;
    case NND_BF16:
    case NND_F16:
        return REF_HALF;
    case NND_I32:
        return REF_I32;
    case NND_I64:
        return REF_I64;
    case NND_E4M3:
    case NND_E5M2:
        return REF_BYTE;
    default:
        return 0;
    }
}

static const char *wanted_kind(int kinds)
{
    switch (kinds & ~REF_OPTIONAL) {
    case REF_F64:
        return "f64";
    case REF_WIDE:
        return "f32 or f64";
    case REF_I32:
        return "i32";
    case REF_I64:
        return "i64";
    case REF_BYTE:
        return "e4m3 or e5m2";
    default:
        return "f64, f32, bf16 or f16";
    }
}

static int check_one(const struct ref_shape *s, struct nnd_error *e)
{
    const struct nnd_tensor *t = s->tensor;
    if (t->ndim == 0 && (s->kinds & REF_OPTIONAL))
        return NND_OK;
    if (t->ndim != s->ndim)
        return ref_refuse(e, NND_EINVAL, "%s has %d dimensions, wanted %d", s->name,
                          t->ndim, s->ndim);
    if (!(kind_of(t->dtype) & s->kinds))
        return ref_refuse(e, NND_EUNSUPPORTED, "%s has dtype %d, wanted %s", s->name,
                          t->dtype, wanted_kind(s->kinds));
    for (int i = 0; i < s->ndim; i++)
        if (t->dim[i] < 0 || (s->dim[i] != REF_ANY && t->dim[i] != s->dim[i]))
            return ref_refuse(e, NND_EINVAL, "%s has %lld in dimension %d, wanted %lld",
                              s->name, (long long)t->dim[i], i, (long long)s->dim[i]);
    return NND_OK;
}

int ref_check(size_t size, size_t least, const struct ref_shape *shapes, int n,
              struct nnd_error *e)
{
    if (size < least)
        return ref_refuse(e, NND_EINVAL, "params of %zu bytes, wanted %zu", size,
                          least);
    for (int i = 0; i < n; i++) {
        int rc = check_one(&shapes[i], e);
        if (rc != NND_OK)
            return rc;
    }
    return NND_OK;
}

int ref_need(struct nnd_need *out, int64_t n)
{
    out->workspace = ((size_t)n * sizeof(double) + 255) / 256 * 256;
    return NND_OK;
}

int ref_need_none(const void *self, const void *params, struct nnd_need *out)
{
    (void)self;
    (void)params;
    return ref_need(out, 0);
}

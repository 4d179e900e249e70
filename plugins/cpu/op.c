/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.c - rows of the kernel tables become kernels; their params are checked.
 *
 * Every refusal is decided and worded here, from the tables; what is left to a
 * kernel's own check is what only it knows.  Compiled for the oldest CPU.
 */
#include "op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int op_refuse(struct nnd_error *e, int code, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (e)
        vsnprintf(e->text, sizeof e->text, format, ap);
    va_end(ap);
    return code;
}

/* Of this thread's launch; "" while it has found nothing. */
static _Thread_local char wrong[128];

int op_wrong(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(wrong, sizeof wrong, format, ap);
    va_end(ap);
    return NND_EINVAL;
}

int isa_runs(enum isa isa)
{
#ifdef __x86_64__
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");

    if (isa == ISA_V3)
        return v3;
    if (isa == ISA_V4)
        return v3 && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (isa == ISA_BF16)
        return isa_runs(ISA_V4) && __builtin_cpu_supports("avx512bf16");
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
#else
    return isa == ISA_BASE;
#endif
}

const char *isa_name(enum isa isa)
{
#ifdef __x86_64__
    static const char *const names[] = {"v2", "v3", "v4", "bf16"};
#else
    static const char *const names[] = {"base", "", "", ""};
#endif

    return names[isa];
}

static const char *dtype_name(int dtype)
{
    static const char *const names[] = {"none", "f64",  "f32",  "tf32", "bf16",
                                        "f16",  "e4m3", "e5m2", "i64",  "i32",
                                        "i8",   "u8",   "bool"};

    return dtype >= 0 && dtype <= NND_BOOL ? names[dtype] : "of unknown dtype";
}

/* Sizes by letter, -1 while unknown. */
struct sizes {
    int64_t of[128];
};

static int check_dims(const struct arg *a, const struct nnd_tensor *t, struct sizes *s,
                      struct nnd_error *e)
{
    for (int i = 0; i < t->ndim; i++) {
        int letter = a->dims[i];

        if (t->dim[i] < 0)
            return op_refuse(e, NND_EINVAL, "%s: dim %d is %lld", a->name, i,
                             (long long)t->dim[i]);
        if (letter != '*' && s->of[letter] < 0)
            s->of[letter] = t->dim[i];
        if (letter != '*' && s->of[letter] != t->dim[i])
            return op_refuse(e, NND_EINVAL, "%s: dim %d is %lld, wanted %c = %lld",
                             a->name, i, (long long)t->dim[i], letter,
                             (long long)s->of[letter]);
    }
    return NND_OK;
}

static int check_strides(const struct arg *a, const struct nnd_tensor *t,
                         struct nnd_error *e)
{
    int64_t least = 1;

    if (a->flags & ARG_ANY_ORDER)
        return t->dim[t->ndim - 1] <= 1 || t->stride[t->ndim - 1] == 1
                   ? NND_OK
                   : op_refuse(e, NND_EUNSUPPORTED, "%s: the last stride is %lld",
                               a->name, (long long)t->stride[t->ndim - 1]);
    for (int i = t->ndim - 1; i >= 0; i--) {
        int fixed = i == t->ndim - 1 || (a->flags & ARG_PACKED);

        if (t->dim[i] > 1 && (t->stride[i] < least || (fixed && t->stride[i] != least)))
            return op_refuse(
                e, NND_EUNSUPPORTED, "%s: stride %d is %lld, wanted %s%lld", a->name, i,
                (long long)t->stride[i], fixed ? "" : ">= ", (long long)least);
        least = t->dim[i] > 1 && !fixed ? t->stride[i] * t->dim[i] : least * t->dim[i];
    }
    return NND_OK;
}

static int check_arg(const struct arg *a, const struct nnd_tensor *t, struct sizes *s,
                     struct nnd_error *e)
{
    int want = (int)strlen(a->dims);
    int r;

    if (t->ndim == 0 && (a->flags & (ARG_OPTIONAL | ARG_NONE)))
        return NND_OK;
    if (a->flags & ARG_NONE)
        return op_refuse(e, NND_EINVAL, "%s is given, wanted none", a->name);
    if (t->ndim != want)
        return op_refuse(e, NND_EINVAL, "%s: %d dims, wanted %d", a->name, t->ndim,
                         want);
    if (t->dtype < 1 || t->dtype > NND_BOOL || !(a->dtypes >> t->dtype & 1))
        return op_refuse(e, NND_EUNSUPPORTED, "%s: %s is not supported", a->name,
                         dtype_name(t->dtype));
    r = check_dims(a, t, s, e);
    return r ? r : check_strides(a, t, e);
}

static int check_args(const struct op *op, const void *params, struct nnd_error *e)
{
    struct sizes s;
    size_t given;

    memcpy(&given, params, sizeof given);
    if (given < op->params_size)
        return op_refuse(e, NND_EINVAL, "params of %zu bytes, wanted at least %zu",
                         given, op->params_size);
    memset(&s, -1, sizeof s);
    s.of['1'] = 1;
    for (const struct arg *a = op->args; a < op->args + ARG_MAX && a->name; a++) {
        const void *t = (const char *)params + a->offset;
        int r = check_arg(a, t, &s, e);

        if (r)
            return r;
    }
    return NND_OK;
}

static int kernel_supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct op_kernel *k = self;
    int r;

    if (!isa_runs(k->isa))
        return op_refuse(e, NND_EKERNEL, "this CPU does not run x86-64-%s%s",
                         k->isa == ISA_BF16 ? "v4 with AVX512_" : "",
                         k->isa == ISA_BF16 ? "BF16" : isa_name(k->isa));
    r = check_args(k->call, params, e);
    if (!r && k->op->check)
        r = k->op->check(params, e);
    return r;
}

static size_t workspace_of(const struct op *op, const void *params)
{
    return op->workspace ? (op->workspace(params) + 255) & ~(size_t)255 : 0;
}

static int kernel_need(const void *self, const void *params, struct nnd_need *out)
{
    const struct op_kernel *k = self;

    out->workspace = workspace_of(k->op, params);
    return NND_OK;
}

static int kernel_launch(const void *self, void *plan, const void *params,
                         const struct nnd_launch *l, struct nnd_error *e)
{
    const struct op_kernel *k = self;
    size_t need = workspace_of(k->op, params);
    int r;

    (void)plan;
    if (l->workspace_size < need)
        return op_refuse(e, NND_EINVAL, "workspace of %zu bytes, wanted %zu",
                         l->workspace_size, need);
    wrong[0] = '\0';
    r = k->op->launch(params, l);
    if (r && wrong[0])
        return op_refuse(e, r, "%s", wrong);
    return r ? op_refuse(e, r, "the host's threads gave status %d", r) : NND_OK;
}

void op_describe(const struct op *op, enum isa isa, const char *suffix,
                 struct op_kernel *k, struct nnd_kernel *out)
{
    k->op = op;
    k->call = op_call(op);
    k->isa = isa;
    snprintf(k->name, sizeof k->name, "%s-%s", op->name, suffix);
    *out = (struct nnd_kernel){
        .struct_size = sizeof *out,
        .name = k->name,
        .op = op->name,
        .device = "cpu",
        .op_version = 1,
        .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,
        .priority = 50 + 5 * (int)isa,
        .self = k,
        .supports = kernel_supports,
        .need = kernel_need,
        .launch = kernel_launch,
    };
}

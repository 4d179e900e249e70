/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dtype.c - one table of element types, and conversion between the float ones.
 */
#include "tensor/dtype.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const struct dtype {
    int dtype;
    const char *name;
    size_t size;
    double unit;
} dtypes[] = {
    {NND_F64, "f64", 8, 0x1p-53},   {NND_F32, "f32", 4, 0x1p-24},
    {NND_TF32, "tf32", 0, 0x1p-11}, {NND_BF16, "bf16", 2, 0x1p-8},
    {NND_F16, "f16", 2, 0x1p-11},   {NND_E4M3, "e4m3", 1, 0x1p-4},
    {NND_E5M2, "e5m2", 1, 0x1p-3},  {NND_I64, "i64", 8, 0},
    {NND_I32, "i32", 4, 0},         {NND_I8, "i8", 1, 0},
    {NND_U8, "u8", 1, 0},           {NND_BOOL, "bool", 1, 0},
    {NND_E8M0, "e8m0", 1, 0},
};

static const struct dtype unknown = {0, "?", 0, 0};

/* Types of plugins; written while plugins are loaded, by one thread. */
static const struct nnd_dtype_def *outside[DTYPE_OUTSIDE_MAX];
static struct dtype outside_rows[DTYPE_OUTSIDE_MAX];
static int outside_count;

/* What is wrong with a definition, or NULL. */
static const char *fault_of(const struct nnd_dtype_def *d)
{
    if (d->struct_size < sizeof *d)
        return "its struct is smaller than that of ABI 1.0";
    if (!d->name || !strchr(d->name, '.'))
        return "wanted a name \"vendor.type\"";
    if (d->bits != 8 && d->bits != 16 && d->bits != 32 && d->bits != 64)
        return "wanted 8, 16, 32 or 64 bits";
    if (d->block < 1)
        return "wanted a block of 1 or more";
    if (!d->to_f32 || !d->from_f32)
        return "wanted both to_f32() and from_f32()";
    return outside_count == DTYPE_OUTSIDE_MAX ? "there are too many types" : NULL;
}

int dtype_register(const struct nnd_dtype_def *d, const char **why)
{
    for (int i = 0; i < outside_count; i++)
        if (strcmp(outside[i]->name, d->name ? d->name : "") == 0) {
            *why = outside[i] == d ? NULL : "its name is taken";
            return outside[i] == d ? NND_DTYPE_EXT + i : 0;
        }
    *why = fault_of(d);
    if (*why)
        return 0;
    int dtype = NND_DTYPE_EXT + outside_count;
    outside_rows[outside_count] =
        (struct dtype){dtype, d->name, (size_t)d->bits / 8, 0};
    outside[outside_count++] = d;
    return dtype;
}

const struct nnd_dtype_def *dtype_outside(int dtype)
{
    int i = dtype - NND_DTYPE_EXT;
    return i >= 0 && i < outside_count ? outside[i] : NULL;
}

static const struct dtype *find(int dtype)
{
    if (dtype_outside(dtype))
        return &outside_rows[dtype - NND_DTYPE_EXT];
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (dtypes[i].dtype == dtype)
            return &dtypes[i];
    return &unknown;
}

size_t dtype_size(int dtype)
{
    return find(dtype)->size;
}

const char *dtype_name(int dtype)
{
    return find(dtype)->name;
}

double dtype_unit(int dtype)
{
    return find(dtype)->unit;
}

int dtype_parse(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return dtypes[i].dtype;
    for (int i = 0; i < outside_count; i++)
        if (strcmp(outside[i]->name, name) == 0)
            return NND_DTYPE_EXT + i;
    return 0;
}

bool dtype_is_float(int dtype)
{
    return dtype == NND_F64 || dtype == NND_F32 || dtype == NND_BF16 ||
           dtype == NND_F16;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

float dtype_bf16_to_f32(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

uint16_t dtype_bf16_from_f32(float x)
{
    uint32_t u = bits_of(x);
    if (x != x)
        return (uint16_t)(u >> 16 | 0x40); /* quiet, sign and payload kept */
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

float dtype_f16_to_f32(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 0x1f, fraction = bits & 0x3ff;
    if (exponent == 0x1f)
        return float_of(sign | 0x7f800000 | (fraction ? 0x400000 : 0) | fraction << 13);
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24, exact */
        float x = (float)fraction * 0x1p-24f;
        return sign ? -x : x;
    }
    return float_of(sign | (exponent + 112) << 23 | fraction << 13);
}

uint16_t dtype_f16_from_f32(float x)
{
    uint32_t u = bits_of(x), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (u >> 13 & 0x3ff));
    if (u >= 0x477ff000) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (u < 0x38800000) { /* below 2^-14: adding 1/2 rounds at 2^-24 */
        float magic = float_of(u) + 0.5f;
        return (uint16_t)(sign | (bits_of(magic) - 0x3f000000));
    }
    u += 0xfff + (u >> 13 & 1);
    return (uint16_t)(sign | (u - 0x38000000) >> 13);
}

/* f64 to f32 rounded to odd: rounding the result once more, to 16 bits, then
 * gives what one rounding would have given (Boldo & Melquiond 2008). */
static float odd_f32(double x)
{
    float f = (float)x;
    uint32_t u = bits_of(f);
    if ((double)f == x || x != x || (u & 1))
        return f;
    double fa = f < 0 ? -(double)f : f, xa = x < 0 ? -x : x;
    return float_of(fa < xa ? u + 1 : u - 1);
}

/* As long as a line of the cache; the compiler makes of it what the processor has. */
typedef float floats __attribute__((vector_size(64), aligned(4), may_alias));
typedef double doubles __attribute__((vector_size(64), aligned(8), may_alias));
typedef uint32_t words __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t halves __attribute__((vector_size(32), aligned(2), may_alias));

/* Gradients pass here on their way between ranks, hence sixteen at a time. */
static void bf16_to_f32(const uint16_t *src, float *dst, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        *(words *)(dst + i) = __builtin_convertvector(*(const halves *)(src + i), words)
                              << 16;
    for (; i < n; i++)
        dst[i] = dtype_bf16_to_f32(src[i]);
}

static void bf16_from_f32(const float *src, uint16_t *dst, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        words u = *(const words *)(src + i);
        words nan = (words)((u & 0x7fffffff) > 0x7f800000);
        words near = (u + 0x7fff + (u >> 16 & 1)) >> 16, quiet = u >> 16 | 0x40;

        *(halves *)(dst + i) =
            __builtin_convertvector((near & ~nan) | (quiet & nan), halves);
    }
    for (; i < n; i++)
        dst[i] = dtype_bf16_from_f32(src[i]);
}

void dtype_to_f32(int dtype, const void *src, float *dst, size_t n)
{
    const uint16_t *half = src;
    const double *wide = src;
    assert(dtype_is_float(dtype));
    switch (dtype) {
    case NND_F32:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case NND_F64:
        for (size_t i = 0; i < n; i++)
            dst[i] = (float)wide[i];
        break;
    case NND_BF16:
        bf16_to_f32(half, dst, n);
        break;
    case NND_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = dtype_f16_to_f32(half[i]);
        break;
    }
}

void dtype_from_f32(int dtype, const float *src, void *dst, size_t n)
{
    uint16_t *half = dst;
    double *wide = dst;
    assert(dtype_is_float(dtype));
    switch (dtype) {
    case NND_F32:
        memcpy(dst, src, n * sizeof *src);
        break;
    case NND_F64:
        for (size_t i = 0; i < n; i++)
            wide[i] = src[i];
        break;
    case NND_BF16:
        bf16_from_f32(src, half, n);
        break;
    case NND_F16:
        for (size_t i = 0; i < n; i++)
            half[i] = dtype_f16_from_f32(src[i]);
        break;
    }
}

void dtype_to_f64(int dtype, const void *src, double *dst, size_t n)
{
    const uint16_t *half = src;
    const float *single = src;
    assert(dtype_is_float(dtype));
    switch (dtype) {
    case NND_F64:
        memcpy(dst, src, n * sizeof *dst);
        break;
    case NND_F32:
        for (size_t i = 0; i < n; i++)
            dst[i] = single[i];
        break;
    case NND_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = dtype_bf16_to_f32(half[i]);
        break;
    case NND_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = dtype_f16_to_f32(half[i]);
        break;
    }
}

void dtype_from_f64(int dtype, const double *src, void *dst, size_t n)
{
    uint16_t *half = dst;
    float *single = dst;
    assert(dtype_is_float(dtype));
    switch (dtype) {
    case NND_F64:
        memcpy(dst, src, n * sizeof *src);
        break;
    case NND_F32:
        for (size_t i = 0; i < n; i++)
            single[i] = (float)src[i];
        break;
    case NND_BF16:
        for (size_t i = 0; i < n; i++)
            half[i] = dtype_bf16_from_f32(odd_f32(src[i]));
        break;
    case NND_F16:
        for (size_t i = 0; i < n; i++)
            half[i] = dtype_f16_from_f32(odd_f32(src[i]));
        break;
    }
}

/* --- addition ------------------------------------------------------------- */

static void add_f32(float *y, const float *x, size_t n)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16)
        *(floats *)(y + i) += *(const floats *)(x + i);
    for (; i < n; i++)
        y[i] += x[i];
}

static void add_f64(double *y, const double *x, size_t n)
{
    size_t i = 0;

    for (; i + 8 <= n; i += 8)
        *(doubles *)(y + i) += *(const doubles *)(x + i);
    for (; i < n; i++)
        y[i] += x[i];
}

void dtype_add(int dtype, void *y, const void *x, size_t n)
{
    assert(dtype == NND_F32 || dtype == NND_F64);
    if (dtype == NND_F32)
        add_f32(y, x, n);
    else
        add_f64(y, x, n);
}

size_t dtype_scan(int dtype, const void *src, size_t n, bool low, double *most)
{
    enum { SOME = 512 };
    double x[SOME], largest = 0;
    size_t first = n;
    for (size_t at = 0; at < n; at += SOME) {
        size_t count = n - at < SOME ? n - at : SOME;
        dtype_to_f64(dtype, (const char *)src + at * dtype_size(dtype), x, count);
        for (size_t i = 0; i < count; i++) {
            double size = fabs(x[i]);
            if (isfinite(size))
                largest = size > largest ? size : largest;
            else if (first == n && !(low && x[i] < 0))
                first = at + i;
        }
    }
    *most = largest;
    return first;
}

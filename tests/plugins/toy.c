/* SPDX-License-Identifier: Apache-2.0 */
/*
 * toy.c - a plugin that brings what nnd does not have: an operator with its
 * gradient, an element type, and operators from and to it.
 *
 *   toy.squash  y = tanh(alpha x), of f32 or f64
 *   toy.pack    y = x as toy.fix16: 16 bits, steps of 2^-12; toy.unpack: back
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <nnd/plugin.h>

#define STEP 0x1p-12

#if defined FAULT_SLOPE /* a gradient that is a hundredth off */
#define SLOPE 0.99
#else
#define SLOPE 1.0
#endif
#if defined FAULT_BITS /* a type that no memory has */
#define BITS 12
#else
#define BITS 16
#endif

static int32_t fix16; /* its number in this process */

static void to_f32(const void *src, float *dst, size_t n)
{
    const int16_t *x = src;
    for (size_t i = 0; i < n; i++)
        dst[i] = (float)(x[i] * STEP);
}

static void from_f32(const float *src, void *dst, size_t n)
{
    int16_t *x = dst;
    for (size_t i = 0; i < n; i++)
        x[i] = (int16_t)fmax(-32768, fmin(32767, rint((double)src[i] / STEP)));
}

static const struct nnd_dtype_def toy_fix16 = {.struct_size = sizeof toy_fix16,
                                               .name = "toy.fix16",
                                               .bits = BITS,
                                               .block = 1,
                                               .to_f32 = to_f32,
                                               .from_f32 = from_f32};

/* ---- schemas ---- */

static const struct nnd_arg_def x_in[] = {{.name = "x"}}, y_out[] = {{.name = "y"}};
static const struct nnd_attr_def squash_attr[] = {
    {.name = "alpha", .type = NND_ATTR_FLOAT}};

static int like_input(struct nnd_frame *f, int32_t dtype)
{
    f->out[0].ndim = f->in[0].ndim;
    memcpy(f->out[0].dim, f->in[0].dim, sizeof f->out[0].dim);
    f->out[0].dtype = dtype;
    return NND_OK;
}

static int squash_shape(struct nnd_frame *f, struct nnd_error *e)
{
#if defined FAULT_SHAPE_CRASH
    if (f->in[0].dim[0] == 17)
        *(volatile int *)8 = 1;
#elif defined FAULT_SHAPE_LESS
    like_input(f, NND_F32);
    f->out[0].dim[1] = -1;
    return NND_OK;
#endif
    if (f->in[0].dtype == NND_F32 || f->in[0].dtype == NND_F64)
        return like_input(f, f->in[0].dtype);
    snprintf(e->text, sizeof e->text, "toy.squash: x: wanted f32 or f64");
    return NND_EUNSUPPORTED;
}

static int wanted(struct nnd_error *e, const char *types)
{
    snprintf(e->text, sizeof e->text, "wanted x in %s", types);
    return NND_EUNSUPPORTED;
}

static int pack_shape(struct nnd_frame *f, struct nnd_error *e)
{
    return f->in[0].dtype == NND_F64 || f->in[0].dtype == NND_F32
               ? like_input(f, fix16)
               : wanted(e, "f32 or f64");
}

static int unpack_shape(struct nnd_frame *f, struct nnd_error *e)
{
    return f->in[0].dtype == fix16 ? like_input(f, NND_F32) : wanted(e, "toy.fix16");
}

static int64_t squash_flops(const struct nnd_frame *f)
{
    return 2 * f->in[0].dim[0];
}

static const struct nnd_op_def toy_squash = {.struct_size = sizeof toy_squash,
                                             .name = "toy.squash",
                                             .in = x_in,
                                             .out = y_out,
                                             .attr = squash_attr,
                                             .nin = 1,
                                             .nout = 1,
                                             .nattr = 1,
                                             .shape = squash_shape,
                                             .backward = "toy.squash.bwd",
                                             .flops = squash_flops};
static const struct nnd_op_def toy_pack = {.struct_size = sizeof toy_pack,
                                           .name = "toy.pack",
                                           .in = x_in,
                                           .out = y_out,
                                           .nin = 1,
                                           .nout = 1,
                                           .shape = pack_shape};
static const struct nnd_op_def toy_unpack = {.struct_size = sizeof toy_unpack,
                                             .name = "toy.unpack",
                                             .in = x_in,
                                             .out = y_out,
                                             .nin = 1,
                                             .nout = 1,
                                             .shape = unpack_shape};

/* ---- kernels ---- */

static int64_t count(const struct nnd_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= t->dim[i];
    return n;
}

static double get(const struct nnd_tensor *t, int64_t i)
{
    return t->dtype == NND_F64   ? ((const double *)t->data)[i]
           : t->dtype == NND_F32 ? (double)((const float *)t->data)[i]
                                 : ((const int16_t *)t->data)[i] * STEP;
}

static void put(const struct nnd_tensor *t, int64_t i, double x)
{
    float f = (float)x;
    if (t->dtype == NND_F64)
        ((double *)t->data)[i] = x;
    else if (t->dtype == NND_F32)
        ((float *)t->data)[i] = f;
    else
        from_f32(&f, (int16_t *)t->data + i, 1);
}

static int is_plain(const struct nnd_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->dim[i] > 1 && t->stride[i] != stride)
            return 0;
        stride *= t->dim[i];
    }
#if defined ONLY_F32
    return t->dtype == NND_F32;
#endif
    return t->dtype == NND_F64 || t->dtype == NND_F32 || t->dtype == fix16;
}

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    const struct nnd_frame *f = params;
    int plain = 1;
    (void)self;
    for (int i = 0; i < f->nin; i++)
        plain &= is_plain(&f->in[i]);
    if (f->struct_size >= sizeof *f && f->nout == 1 && plain && is_plain(&f->out[0]))
        return NND_OK;
    snprintf(e->text, sizeof e->text,
             "wanted one output, and all in f32, f64 or toy.fix16 without gaps");
    return NND_EUNSUPPORTED;
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self, (void)params;
    out->workspace = 0;
    return NND_OK;
}

static int squash(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_frame *f = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < count(&f->in[0]); i++)
        put(&f->out[0], i, tanh(f->attr[0].f * get(&f->in[0], i)));
    return NND_OK;
}

/* in: x, y, dy; out: dx. */
static int squash_bwd(const void *self, void *plan, const void *params,
                      const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_frame *f = params;
    (void)self, (void)plan, (void)l, (void)e;
    for (int64_t i = 0; i < count(&f->in[0]); i++) {
        double y = get(&f->in[1], i), dy = get(&f->in[2], i);
        put(&f->out[0], i, SLOPE * f->attr[0].f * (1 - y * y) * dy);
    }
    return NND_OK;
}

static int convert(const void *self, void *plan, const void *params,
                   const struct nnd_launch *l, struct nnd_error *e)
{
    const struct nnd_frame *f = params;
    (void)self, (void)plan, (void)l, (void)e;
#if defined FAULT_HALF
    for (int64_t i = 0; i < count(&f->in[0]) / 2; i++)
#else
    for (int64_t i = 0; i < count(&f->in[0]); i++)
#endif
        put(&f->out[0], i, get(&f->in[0], i));
    return NND_OK;
}

#define KERNEL(OP, LAUNCH)                                                             \
    {                                                                                  \
        .struct_size = sizeof(struct nnd_kernel), .name = OP, .op = OP,                \
        .device = "cpu", .op_version = 1,                                              \
        .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT | NND_K_REENTRANT,              \
        .priority = 50, .supports = supports, .need = need, .launch = LAUNCH           \
    }

static const struct nnd_kernel kernels[] = {
    KERNEL("toy.squash", squash),
    KERNEL("toy.squash.bwd", squash_bwd),
    KERNEL("toy.pack", convert),
    KERNEL("toy.unpack", convert),
};
static const struct nnd_kernel *const list[] = {&kernels[0], &kernels[1], &kernels[2],
                                                &kernels[3]};
static const struct nnd_op_def *const ops[] = {&toy_squash, &toy_pack, &toy_unpack};

static const struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "toy",
    .version = "1",
    .license = "Apache-2.0",
    .build = __VERSION__,
    .kernels = list,
    .nkernels = 4,
    .ops = ops,
    .nops = 3,
};

nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    if (NND_HAS(nnd_host, host, register_dtype) &&
        host->register_dtype(host->h, &toy_fix16, &fix16) == NND_OK)
        return &plugin;
    snprintf(e->text, sizeof e->text, "the host takes no type toy.fix16");
    return NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm_peer.c - see gemm_peer.h.
 */
#include "gemm_peer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

/* ---- peaks ---- */

#ifdef __x86_64__

enum { CHAINS = 12, TURNS = 2000000 };

/* Twelve chains, each in a register, hide the latency of two units. */
#define CHAIN(op, r, i) op " %%" r "14, %%" r "15, %%" r #i "\n\t"
#define ALL_CHAINS(op, r)                                                              \
    CHAIN(op, r, 0)                                                                    \
    CHAIN(op, r, 1)                                                                    \
    CHAIN(op, r, 2)                                                                    \
    CHAIN(op, r, 3)                                                                    \
    CHAIN(op, r, 4)                                                                    \
    CHAIN(op, r, 5)                                                                    \
    CHAIN(op, r, 6)                                                                    \
    CHAIN(op, r, 7)                                                                    \
    CHAIN(op, r, 8)                                                                    \
    CHAIN(op, r, 9)                                                                    \
    CHAIN(op, r, 10)                                                                   \
    CHAIN(op, r, 11)
#define CHAIN_REGISTERS                                                                \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",    \
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"

static void chains_avx2(void)
{
    __asm__ volatile("vzeroall" ::: CHAIN_REGISTERS);
    for (int t = 0; t < TURNS; t++)
        __asm__ volatile(ALL_CHAINS("vfmadd231ps", "ymm")::: CHAIN_REGISTERS);
}

static void chains_avx512(void)
{
    __asm__ volatile("vzeroall" ::: CHAIN_REGISTERS);
    for (int t = 0; t < TURNS; t++)
        __asm__ volatile(ALL_CHAINS("vfmadd231ps", "zmm")::: CHAIN_REGISTERS);
}

static void chains_bf16(void)
{
    __asm__ volatile("vzeroall" ::: CHAIN_REGISTERS);
    for (int t = 0; t < TURNS; t++)
        __asm__ volatile(ALL_CHAINS("vdpbf16ps", "zmm")::: CHAIN_REGISTERS);
}

static void chains_f32_one(void *arg, int i)
{
    (void)arg, (void)i;
    if (__builtin_cpu_supports("avx512f"))
        chains_avx512();
    else if (__builtin_cpu_supports("avx2"))
        chains_avx2();
}

static void chains_bf16_one(void *arg, int i)
{
    (void)arg, (void)i;
    chains_bf16();
}

double peak_rate(struct pool *pool, int bf16)
{
    int wide = __builtin_cpu_supports("avx512f");
    double flops = 2.0 * CHAINS * TURNS * (bf16 ? 32 : wide ? 16 : 8);
    int64_t begin;

    if (bf16 && !__builtin_cpu_supports("avx512bf16"))
        return 0;
    begin = clock_mono_ns();
    pool_run(pool, pool_threads(pool), bf16 ? chains_bf16_one : chains_f32_one, NULL);
    return flops * pool_threads(pool) / (double)(clock_mono_ns() - begin);
}

#else

double peak_rate(struct pool *pool, int bf16)
{
    (void)pool, (void)bf16;
    return 0;
}

#endif

/* ---- oneDNN ---- */

#ifdef HAVE_DNNL

#include <dlfcn.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

struct peer {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    char version[64];
};

struct peer_product {
    struct peer *peer;
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t a, b, d;
};

static void must(dnnl_status_t s, const char *what)
{
    if (s == dnnl_success)
        return;
    fprintf(stderr, "bench/gemm: oneDNN: %s: status %d\n", what, (int)s);
    exit(1);
}

typedef void parallel_f(void (*fn)(void *), void *data, unsigned threads,
                        unsigned flags);

static int (*number_of_thread)(void);

static void stay_here(void *stay)
{
    (*(stay_f **)stay)(NULL, number_of_thread());
}

/* A function of OpenMP's, which oneDNN brings along. */
static void find(const char *name, void *function)
{
    void *found = dlsym(RTLD_DEFAULT, name);

    memcpy(function, &found, sizeof found);
}

/* OpenMP has read its variables before main() began; it keeps its threads. */
static void set_threads(int threads, stay_f *stay)
{
    void (*set)(int);
    parallel_f *parallel;

    find("omp_set_num_threads", &set);
    find("omp_get_thread_num", &number_of_thread);
    find("GOMP_parallel", &parallel);
    if (set)
        set(threads);
    if (number_of_thread && parallel)
        parallel(stay_here, &stay, (unsigned)threads, 0);
}

struct peer *peer_create(int threads, stay_f *stay)
{
    struct peer *p = calloc(1, sizeof *p);
    const dnnl_version_t *v = dnnl_version();

    if (!p)
        return NULL;
    set_threads(threads, stay);
    must(dnnl_engine_create(&p->engine, dnnl_cpu, 0), "engine");
    must(dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags),
         "stream");
    snprintf(p->version, sizeof p->version, "%d.%d.%d", v->major, v->minor, v->patch);
    return p;
}

void peer_destroy(struct peer *p)
{
    if (!p)
        return;
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    free(p);
}

const char *peer_version(const struct peer *p)
{
    return p ? p->version : "none";
}

static dnnl_memory_desc_t plain(int64_t rows, int64_t cols, int trans,
                                dnnl_data_type_t type)
{
    dnnl_memory_desc_t d;
    dnnl_dims_t size = {rows, cols}, stride = {trans ? 1 : cols, trans ? rows : 1};

    must(dnnl_memory_desc_init_by_strides(&d, 2, size, type, stride), "layout");
    return d;
}

static void describe(struct peer_product *q, const dnnl_memory_desc_t *a,
                     const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *d)
{
    dnnl_matmul_desc_t m;

    must(dnnl_matmul_desc_init(&m, a, b, NULL, d), "matmul");
    must(dnnl_primitive_desc_create(&q->desc, &m, NULL, q->peer->engine, NULL),
         "primitive");
    must(dnnl_primitive_create(&q->primitive, q->desc), "primitive");
}

/* Copy b into the layout that the product wants. */
static void pack(struct peer_product *q, const dnnl_memory_desc_t *from,
                 const dnnl_memory_desc_t *to, void *b)
{
    dnnl_memory_t source;
    dnnl_primitive_desc_t d;
    dnnl_primitive_t reorder;

    must(dnnl_memory_create(&q->b, to, q->peer->engine, DNNL_MEMORY_ALLOCATE), "b");
    must(dnnl_memory_create(&source, from, q->peer->engine, b), "b");
    must(dnnl_reorder_primitive_desc_create(&d, from, q->peer->engine, to,
                                            q->peer->engine, NULL),
         "reorder");
    must(dnnl_primitive_create(&reorder, d), "reorder");
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, source}, {DNNL_ARG_TO, q->b}};
    must(dnnl_primitive_execute(reorder, q->peer->stream, 2, args), "reorder");
    must(dnnl_stream_wait(q->peer->stream), "wait");
    dnnl_primitive_destroy(reorder);
    dnnl_primitive_desc_destroy(d);
    dnnl_memory_destroy(source);
}

struct peer_product *peer_product(struct peer *p, int64_t m, int64_t n, int64_t k,
                                  int trans_a, int trans_b, int dtype, int packed,
                                  void *a, void *b, float *d)
{
    dnnl_data_type_t type = dtype == NND_F32 ? dnnl_f32 : dnnl_bf16;
    dnnl_memory_desc_t la = plain(m, k, trans_a, type), lb = plain(k, n, trans_b, type);
    dnnl_memory_desc_t ld = plain(m, n, 0, dnnl_f32), any = lb;
    struct peer_product *q = p ? calloc(1, sizeof *q) : NULL;
    dnnl_dims_t size = {k, n};

    if (!q)
        return NULL;
    q->peer = p;
    if (packed)
        must(dnnl_memory_desc_init_by_tag(&any, 2, size, type, dnnl_format_tag_any),
             "layout");
    describe(q, &la, &any, &ld);
    must(dnnl_memory_create(&q->a, &la, p->engine, a), "a");
    must(dnnl_memory_create(&q->d, &ld, p->engine, d), "d");
    if (packed)
        pack(q, &lb, dnnl_primitive_desc_query_md(q->desc, dnnl_query_weights_md, 0),
             b);
    else
        must(dnnl_memory_create(&q->b, &lb, p->engine, b), "b");
    return q;
}

void peer_product_free(struct peer_product *q)
{
    if (!q)
        return;
    dnnl_memory_destroy(q->a);
    dnnl_memory_destroy(q->b);
    dnnl_memory_destroy(q->d);
    dnnl_primitive_destroy(q->primitive);
    dnnl_primitive_desc_destroy(q->desc);
    free(q);
}

void peer_run(struct peer_product *q)
{
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, q->a}, {DNNL_ARG_WEIGHTS, q->b}, {DNNL_ARG_DST, q->d}};

    must(dnnl_primitive_execute(q->primitive, q->peer->stream, 3, args), "matmul");
    must(dnnl_stream_wait(q->peer->stream), "wait");
}

#else

struct peer *peer_create(int threads, stay_f *stay)
{
    (void)threads, (void)stay;
    return NULL;
}

void peer_destroy(struct peer *p)
{
    (void)p;
}

const char *peer_version(const struct peer *p)
{
    (void)p;
    return "none";
}

struct peer_product *peer_product(struct peer *p, int64_t m, int64_t n, int64_t k,
                                  int trans_a, int trans_b, int dtype, int packed,
                                  void *a, void *b, float *d)
{
    (void)p, (void)m, (void)n, (void)k, (void)trans_a, (void)trans_b, (void)dtype;
    (void)packed, (void)a, (void)b, (void)d;
    return NULL;
}

void peer_product_free(struct peer_product *q)
{
    (void)q;
}

void peer_run(struct peer_product *q)
{
    (void)q;
}

#endif

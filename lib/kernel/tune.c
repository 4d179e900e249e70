/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tune.c - calls with made-up numbers, their time, and the file of what is known.
 */
#include "kernel/tune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/oom.h"
#include "base/sha256.h"
#include "base/str.h"
#include "tensor/dtype.h"
#include "trust/quarantine.h"

enum { TENSORS = 14, RUNS_MIN = 3, RUNS_NS = 20000000, NAME_SIZE = 65 };

/* Dropout's seed, and where packed sequences begin, are numbers of a job's.  Without
 * the latter each sequence would have max_q rows, which is more than there are. */
static bool is_whole(const void *params)
{
    const struct nnd_attn *p = params;
    return !(p->dropout.p > 0) && p->q.dim[0] == (int64_t)p->batch * p->max_q &&
           p->k.dim[0] == (int64_t)p->batch * p->max_k;
}

/* Operators whose calls are tensors alone, of which any numbers will do. */
static const struct layout {
    const char *op;
    size_t size;
    size_t tensor[TENSORS];            /* offsets; 0 ends them  */
    bool (*suits)(const void *params); /* NULL: any call does   */
} layouts[] = {
#define AT(S, F) offsetof(struct S, F)
#define NORM                                                                           \
    AT(nnd_norm, x), AT(nnd_norm, w), AT(nnd_norm, b), AT(nnd_norm, y),                \
        AT(nnd_norm, rstd), AT(nnd_norm, mean), AT(nnd_norm, dy), AT(nnd_norm, dx),    \
        AT(nnd_norm, dw), AT(nnd_norm, db), AT(nnd_norm, add), AT(nnd_norm, sum),      \
        AT(nnd_norm, dsum)
#define ACT                                                                            \
    AT(nnd_act, a), AT(nnd_act, b), AT(nnd_act, y), AT(nnd_act, dy), AT(nnd_act, da),  \
        AT(nnd_act, db)
#define ATTN                                                                           \
    AT(nnd_attn, q), AT(nnd_attn, k), AT(nnd_attn, v), AT(nnd_attn, o),                \
        AT(nnd_attn, lse), AT(nnd_attn, dout), AT(nnd_attn, dq), AT(nnd_attn, dk),     \
        AT(nnd_attn, dv), AT(nnd_attn, bias), AT(nnd_attn, dbias)
    {"gemm",
     sizeof(struct nnd_gemm),
     {AT(nnd_gemm, a), AT(nnd_gemm, b), AT(nnd_gemm, c), AT(nnd_gemm, d),
      AT(nnd_gemm, bias), AT(nnd_gemm, pre), AT(nnd_gemm, sums), AT(nnd_gemm, act)},
     NULL},
    {"attn.fwd", sizeof(struct nnd_attn), {ATTN}, is_whole},
    {"attn.bwd", sizeof(struct nnd_attn), {ATTN}, is_whole},
    {"norm.rms.fwd", sizeof(struct nnd_norm), {NORM}, NULL},
    {"norm.rms.bwd", sizeof(struct nnd_norm), {NORM}, NULL},
    {"norm.layer.fwd", sizeof(struct nnd_norm), {NORM}, NULL},
    {"norm.layer.bwd", sizeof(struct nnd_norm), {NORM}, NULL},
    {"act.swiglu.fwd", sizeof(struct nnd_act), {ACT}, NULL},
    {"act.swiglu.bwd", sizeof(struct nnd_act), {ACT}, NULL},
    {"act.gelu.fwd", sizeof(struct nnd_act), {ACT}, NULL},
    {"act.gelu.bwd", sizeof(struct nnd_act), {ACT}, NULL},
    {"act.relu.fwd", sizeof(struct nnd_act), {ACT}, NULL},
    {"act.relu.bwd", sizeof(struct nnd_act), {ACT}, NULL},
};

/* One measurement by its name, the SHA-256 of all that it depends on. */
struct entry {
    char name[NAME_SIZE];
    double seconds;
};

struct tune {
    const struct kernels *ks;
    int threads;
    char machine[128];
    FILE *file; /* to append to, or NULL */
    struct entry *entry;
    size_t count, room;
};

static void remember(struct tune *t, const char *name, double seconds)
{
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->entry = oom_realloc(t->entry, t->room * sizeof *t->entry);
    }
    struct entry *e = &t->entry[t->count++];
    snprintf(e->name, sizeof e->name, "%s", name);
    e->seconds = seconds;
}

static const struct entry *find(const struct tune *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->entry[i].name, name) == 0)
            return &t->entry[i];
    return NULL;
}

/* "NAME SECONDS OP PLUGIN/KERNEL" a line; the last two are for people. */
static void read_file(struct tune *t, const char *path)
{
    char line[512], name[NAME_SIZE], number[64];
    double seconds;
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "%64s %63s", name, number) == 2 &&
            strlen(name) == NAME_SIZE - 1 && str_to_double(number, &seconds) &&
            seconds > 0 && !find(t, name))
            remember(t, name, seconds);
    if (f)
        fclose(f);
}

struct tune *tune_create(const struct kernels *ks, int threads, const char *file)
{
    struct tune *t = oom_calloc(1, sizeof *t);
    t->ks = ks;
    t->threads = threads;
    quarantine_arch(t->machine);
    if (!file)
        return t;
    read_file(t, file);
    t->file = fopen(file, "ae");
    if (!t->file)
        log_warn("%s: cannot be written: kernels are measured again next time", file);
    return t;
}

void tune_destroy(struct tune *t)
{
    if (!t)
        return;
    if (t->file)
        fclose(t->file);
    free(t->entry);
    free(t);
}

/* --- what a call is like -------------------------------------------------- */

static const struct layout *layout_of(const struct kernel_want *w)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (strcmp(layouts[i].op, w->op) == 0)
            return !layouts[i].suits || layouts[i].suits(w->params) ? &layouts[i]
                                                                    : NULL;
    return NULL;
}

static struct nnd_tensor *tensor_at(const struct layout *l, void *params, int i)
{
    return i < TENSORS && l->tensor[i]
               ? (struct nnd_tensor *)(void *)((char *)params + l->tensor[i])
               : NULL;
}

static int log2_up(int64_t n)
{
    int bits = 0;
    while (bits < 62 && (int64_t)1 << bits < n)
        bits++;
    return bits;
}

/* Everything that the time depends on, as a name. */
static void name_of(const struct tune *t, const struct nnd_kernel *k,
                    const struct kernel_want *w, const struct layout *l, void *params,
                    char out[NAME_SIZE])
{
    size_t plugin = (size_t)kernels_plugin_of(t->ks, k);
    struct buf b = {0};
    buf_printf(&b, "%s|%d|%s|%s|%s|%s|%s", t->machine, t->threads,
               kernels_plugin_sha256(t->ks, plugin),
               kernels_plugin(t->ks, plugin)->version, k->name, w->op, w->key);
    struct nnd_tensor *x;
    for (int i = 0; (x = tensor_at(l, params, i)); i++) {
        buf_printf(&b, "|%d", x->ndim ? x->dtype : 0);
        for (int d = 0; d < x->ndim; d++)
            buf_printf(&b, ",%d", log2_up(x->dim[d]));
    }
    sha256_bytes(b.data, b.len, out);
    buf_free(&b);
}

/* --- measuring ------------------------------------------------------------ */

/* Memory with numbers around 0 that no kernel finds special. */
static void *numbers(const struct nnd_tensor *t, struct arena *a)
{
    enum { PATTERN = 64 };
    float some[PATTERN];
    char bytes[PATTERN * 8];
    int64_t last = 0;
    size_t size = dtype_size(t->dtype), n;
    for (int i = 0; i < t->ndim; i++)
        last += t->dim[i] > 0 ? (t->dim[i] - 1) * t->stride[i] : 0;
    n = (size_t)last + 1;
    char *p = arena_calloc(a, n + 64, size);
    p += -(uintptr_t)p & 63;
    if (!dtype_is_float(t->dtype))
        return p;
    for (int i = 0; i < PATTERN; i++)
        some[i] = 0.01f * (float)(i * 37 % PATTERN - PATTERN / 2);
    dtype_from_f32(t->dtype, some, bytes, PATTERN);
    for (size_t i = 0; i < n; i += PATTERN)
        memcpy(p + i * size, bytes, (n - i < PATTERN ? n - i : PATTERN) * size);
    return p;
}

static double shortest(const struct nnd_kernel *k, void *plan, const void *params,
                       const struct nnd_launch *l)
{
    int64_t begin = clock_mono_ns(), last = begin;
    struct nnd_error why = {{0}};
    double best = -1;
    for (int i = 0; i <= RUNS_MIN || last - begin < RUNS_NS; i++) {
        int64_t from = clock_mono_ns();
        if (k->launch(k->self, plan, params, l, &why) != NND_OK)
            return -1;
        last = clock_mono_ns();
        double seconds = (double)(last - from) * 1e-9;
        if (i > 0 && (best < 0 || seconds < best)) /* the first warms up */
            best = seconds;
    }
    return best;
}

static double measure(const struct tune *t, const struct nnd_kernel *k, void *params,
                      struct arena *a)
{
    struct nnd_need need = {.struct_size = sizeof need};
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = t->threads};
    struct nnd_error why = {{0}};
    void *plan = NULL;
    if (k->need(k->self, params, &need) != NND_OK ||
        (k->plan && k->plan(k->self, params, &plan, &why) != NND_OK))
        return -1;
    char *space = arena_alloc(a, need.workspace + 256);
    l.workspace = space + (-(uintptr_t)space & 255);
    l.workspace_size = need.workspace;
    double seconds = shortest(k, plan, params, &l);
    if (plan && k->plan_free)
        k->plan_free(plan);
    return seconds;
}

double tune_seconds(struct tune *t, const struct nnd_kernel *k,
                    const struct kernel_want *w)
{
    const struct layout *l = layout_of(w);
    char name[NAME_SIZE];
    if (!l || strcmp(k->device, "cpu") != 0)
        return -1;
    struct arena *a = arena_create();
    void *params = arena_memdup(a, w->params, l->size);
    name_of(t, k, w, l, params, name);
    const struct entry *known = find(t, name);
    double seconds = known ? known->seconds : -1;
    if (!known) {
        struct nnd_tensor *x;
        for (int i = 0; (x = tensor_at(l, params, i)); i++)
            if (x->ndim)
                x->data = numbers(x, a);
        seconds = measure(t, k, params, a);
    }
    if (!known && seconds > 0) {
        remember(t, name, seconds);
        if (t->file &&
            fprintf(t->file, "%s %.9g %s %s\n", name, seconds, w->op, k->name) > 0)
            fflush(t->file);
    }
    arena_destroy(a);
    return seconds;
}

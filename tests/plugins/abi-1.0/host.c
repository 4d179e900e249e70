/* SPDX-License-Identifier: Apache-2.0 */
/*
 * host.c - a host of ABI 1.0, built with that header: loads a plugin of any later 1.x,
 * and has its swiglu computed.  Prints what is wrong, and nothing otherwise.
 */
#include <nnd/plugin.h>

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 3, COLUMNS = 5 };

static int parallel(void *h, int n, void (*fn)(void *arg, int i), void *arg)
{
    (void)h;
    for (int i = 0; i < n; i++)
        fn(arg, i);
    return NND_OK;
}

static void *give(void *h, size_t size, size_t align)
{
    (void)h, (void)align;
    return malloc(size);
}

static void take(void *h, void *p)
{
    (void)h;
    free(p);
}

static void say(void *h, int level, const char *msg)
{
    (void)h;
    fprintf(stderr, "%d: %s\n", level, msg);
}

static const char *config(void *h, const char *key)
{
    (void)h, (void)key;
    return NULL;
}

/* Fields behind those of 1.0 are not there: a plugin must ask before it reads them. */
static const struct nnd_host host = {
    .struct_size = offsetof(struct nnd_host, extension) + sizeof host.extension,
    .abi_major = 1,
    .abi_minor = 0,
    .log = say,
    .alloc = give,
    .free = take,
    .parallel = parallel,
    .config = config,
};

static const struct nnd_plugin *load(const char *path)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    struct nnd_error e = {{0}};
    nnd_plugin_v1_f *entry = NULL;
    void *symbol = so ? dlsym(so, "nnd_plugin_v1") : NULL;
    const struct nnd_plugin *p;

    if (!symbol) {
        printf("%s\n", dlerror());
        return NULL;
    }
    memcpy(&entry, &symbol, sizeof entry);
    p = entry(&host, &e);
    if (!p)
        printf("refused: %s\n", e.text);
    return p;
}

static struct nnd_tensor matrix(float *data)
{
    struct nnd_tensor t = {.data = data,
                           .dim = {ROWS, COLUMNS},
                           .stride = {COLUMNS, 1},
                           .ndim = 2,
                           .dtype = NND_F32,
                           .align_log2 = 2};
    return t;
}

static void compute(const struct nnd_kernel *k)
{
    float a[ROWS * COLUMNS], b[ROWS * COLUMNS], y[ROWS * COLUMNS];
    struct nnd_act p = {.struct_size = sizeof p};
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = 1};
    struct nnd_need need = {.struct_size = sizeof need};
    struct nnd_error e = {{0}};

    for (int i = 0; i < ROWS * COLUMNS; i++) {
        a[i] = 0.3f * (float)i - 2;
        b[i] = 1 - 0.1f * (float)i;
    }
    p.a = matrix(a), p.b = matrix(b), p.y = matrix(y);
    if (k->supports(k->self, &p, &e) || k->need(k->self, &p, &need) ||
        k->launch(k->self, NULL, &p, &l, &e))
        printf("%s: %s\n", k->name, e.text);
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        double want = a[i] / (1 + exp(-a[i])) * b[i];
        if (!(fabs(y[i] - want) < 1e-5))
            printf("%s: y[%d] is %g, wanted %g\n", k->name, i, y[i], want);
    }
}

int main(int argc, char **argv)
{
    const struct nnd_plugin *p = argc == 2 ? load(argv[1]) : NULL;

    if (!p)
        return 1;
    if (p->abi_major != 1 || !NND_HAS(nnd_plugin, p, fini) || p->nkernels < 1)
        printf("struct nnd_plugin of %zu bytes, ABI %u\n", p->struct_size,
               p->abi_major);
    for (uint32_t i = 0; i < p->nkernels; i++)
        if (strcmp(p->kernels[i]->op, "act.swiglu.fwd") == 0)
            compute(p->kernels[i]);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - one packing for calls of any number of rows.
 */
#include "pack.h"

#include <string.h>

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

/* One row, few, and more than any case has, as a kernel may tell them apart. */
static const int64_t other_rows[] = {1, 7, 2000};

struct nnd_tensor *pack_place(union call_params *p, const char *op)
{
    return strcmp(op, "gemm") == 0           ? &p->gemm.packed
           : strcmp(op, "gemm.grouped") == 0 ? &p->grouped.packed
                                             : NULL;
}

size_t pack_bytes(const struct nnd_kernel *k, const union call_params *p)
{
    struct nnd_need need = {.struct_size = sizeof need};
    union call_params own = *p;
    if (!NND_HAS(nnd_kernel, k, pack) || !k->pack || !pack_place(&own, k->op) ||
        k->need(k->self, p, &need) != NND_OK)
        return 0;
    return need.packed;
}

/* Rows of all tensors but b. */
static void set_rows(union call_params *p, const char *op, int64_t rows)
{
    struct nnd_gemm *g = &p->gemm;
    struct nnd_grouped_gemm *m = &p->grouped;
    struct nnd_tensor *gemm[] = {&g->c, &g->d, &g->pre, &g->act, &g->sums},
                      *grouped[] = {&m->a,   &m->d,    &m->a2,    &m->d2,
                                    &m->pre, &m->pre2, &m->scale, &m->act};
    bool one = strcmp(op, "gemm") == 0;
    for (int i = 0; i < (one ? COUNT(gemm) : COUNT(grouped)); i++)
        (one ? gemm : grouped)[i]->dim[0] = rows;
    if (one)
        g->a.dim[g->trans_a ? 1 : 0] = rows;
}

/* The same call of other_rows[i]; false: the kernel does not take that. */
static bool other_call(const struct nnd_kernel *k, const union call_params *p, int i,
                       union call_params *out)
{
    struct nnd_error why = {{0}};
    *out = *p;
    set_rows(out, k->op, other_rows[i]);
    return k->supports(k->self, out, &why) == NND_OK;
}

int pack_check_sizes(const struct nnd_kernel *k, const union call_params *p,
                     size_t size, struct err *e)
{
    union call_params other;
    for (int i = 0; i < COUNT(other_rows); i++) {
        size_t wants = other_call(k, p, i, &other) ? pack_bytes(k, &other) : 0;
        if (wants && wants != size)
            return err_set(
                e, ERR_FAILED,
                "need() wants %zu bytes to pack, for a call of %lld rows %zu", size,
                (long long)other_rows[i], wants);
    }
    return 0;
}

static char *copy_of(const struct nnd_device_ops *d, const struct nnd_stream *s,
                     const struct nnd_tensor *packed, struct arena *a, struct err *e)
{
    size_t size = (size_t)packed->dim[0];
    char *copy = arena_alloc(a, size);
    if (d->copy(s, copy, packed->data, size) == NND_OK && d->stream_sync(s) == NND_OK)
        return copy;
    err_set(e, ERR_FAILED, "cannot read %s memory", d->type);
    return NULL;
}

static int compare(const char *first, const char *again, int64_t size, int64_t rows,
                   struct err *e)
{
    int64_t i = 0;
    while (i < size && first[i] == again[i])
        i++;
    return i == size
               ? 0
               : err_set(e, ERR_FAILED,
                         "pack() for a call of %lld rows leaves another byte %lld",
                         (long long)rows, (long long)i);
}

int pack_check_bytes(const struct nnd_kernel *k, const struct nnd_device_ops *d,
                     const union call_params *p, const struct nnd_launch *l, int fill,
                     struct arena *a, struct err *e)
{
    union call_params other = *p;
    struct nnd_tensor packed = *pack_place(&other, k->op);
    const char *first = copy_of(d, &l->stream, &packed, a, e), *again;
    int rc = first ? 0 : -1;
    for (int i = 0; rc == 0 && i < COUNT(other_rows); i++) {
        struct nnd_error why = {{0}};
        if (!other_call(k, p, i, &other))
            continue;
        rc = d->fill(&l->stream, packed.data, fill, (size_t)packed.dim[0]);
        if (rc == NND_OK)
            rc = k->pack(k->self, &other, l, &why);
        if (rc != NND_OK)
            return err_set(e, ERR_FAILED, "pack() of %lld rows says %d",
                           (long long)other_rows[i], rc);
        again = copy_of(d, &l->stream, &packed, a, e);
        rc = again ? compare(first, again, packed.dim[0], other_rows[i], e) : -1;
    }
    return rc;
}

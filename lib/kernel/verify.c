/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verify.c - whose turn it is, and ref's part of the work.
 */
#include "kernel/verify.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/oom.h"
#include "base/str.h"
#include "kernel/sample.h"

enum { KERNELS_SEEN = 128 };

struct verify {
    struct kernels *ks;
    uint64_t every; /* 0: the first of each kernel */
    pthread_mutex_t lock;
    struct {
        const struct nnd_kernel *kernel;
        uint64_t calls;
        bool told; /* that ref does not take its calls */
    } seen[KERNELS_SEEN];
    size_t nseen;
    int64_t count;
    bool found;
};

/* One call being checked. */
struct trial {
    struct arena *arena;
    struct sample sample;
};

static int parse(const char *which, uint64_t *every, struct err *e)
{
    *every = 0;
    if (strcmp(which, "first") == 0)
        return 0;
    *every = 1;
    if (strcmp(which, "all") == 0)
        return 0;
    if (strncmp(which, "sample:", 7) == 0 && str_to_u64(which + 7, every) && *every > 0)
        return 0;
    return err_set(e, ERR_SPEC,
                   "kernels.check: wanted off, first, sample:N or all, found \"%s\"",
                   which);
}

int verify_create(struct kernels *ks, const char *which, struct verify **out,
                  struct err *e)
{
    uint64_t every;
    *out = NULL;
    if (strcmp(which, "off") == 0)
        return 0;
    int rc = parse(which, &every, e);
    if (rc < 0)
        return rc;
    struct verify *v = oom_calloc(1, sizeof *v);
    v->ks = ks;
    v->every = every;
    pthread_mutex_init(&v->lock, NULL);
    *out = v;
    return 0;
}

void verify_destroy(struct verify *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* ref is what others are held against, and lies in the host's memory. */
static bool is_comparable(const struct verify *v, const struct nnd_kernel *k)
{
    return kernels_plugin_of(v->ks, k) > 0 && strcmp(k->device, "cpu") == 0;
}

/* Count the call; is it to be checked? */
static bool is_due(struct verify *v, const struct nnd_kernel *k)
{
    bool due = false;
    size_t i = 0;
    pthread_mutex_lock(&v->lock);
    while (i < v->nseen && v->seen[i].kernel != k)
        i++;
    if (i == v->nseen && i < KERNELS_SEEN) {
        v->seen[v->nseen++].kernel = k;
        v->seen[i].calls = is_comparable(v, k) ? 0 : UINT64_MAX;
    }
    if (i < v->nseen && v->seen[i].calls != UINT64_MAX) {
        due = v->every ? v->seen[i].calls % v->every == 0 : v->seen[i].calls == 0;
        v->seen[i].calls++;
    }
    pthread_mutex_unlock(&v->lock);
    return due;
}

/* Calls of a kernel go unchecked, which is said once. */
static void tell(struct verify *v, const struct nnd_kernel *k, const char *why)
{
    const struct nnd_plugin *p =
        kernels_plugin(v->ks, (size_t)kernels_plugin_of(v->ks, k));
    bool first = false;
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->nseen; i++)
        if (v->seen[i].kernel == k && !v->seen[i].told)
            first = v->seen[i].told = true;
    pthread_mutex_unlock(&v->lock);
    if (first)
        log_warn("kernel %s/%s is not held against ref: it refuses a sample of %s: %s",
                 p->name, k->name, k->op, why[0] ? why : "no reason given");
}

/* Have ref compute the sample.  False: it cannot. */
static bool run_ref(struct verify *v, const struct nnd_kernel *k, struct trial *t)
{
    const struct nnd_kernel *ref = kernels_ref(v->ks, k->op);
    struct nnd_need need = {.struct_size = sizeof need};
    struct nnd_launch l = {.struct_size = sizeof l, .nthreads = 1};
    struct nnd_error why = {{0}};
    if (!ref)
        return false;
    if (ref->supports(ref->self, t->sample.params, &why) != NND_OK) {
        tell(v, k, why.text);
        return false;
    }
    if (ref->need(ref->self, t->sample.params, &need) != NND_OK)
        return false;
    l.workspace = need.workspace ? malloc(need.workspace) : NULL;
    l.workspace_size = l.workspace ? need.workspace : 0;
    bool done = (l.workspace || !need.workspace) &&
                ref->launch(ref->self, NULL, t->sample.params, &l, &why) == NND_OK;
    free(l.workspace);
    return done;
}

void verify_condemn(struct verify *v, const struct nnd_kernel *k, const char *stage,
                    const char *reason)
{
    struct err other;
    v->found = true;
    /* That the note cannot be written changes nothing for this job. */
    kernels_condemn(v->ks, k, stage, reason, &other);
}

static int judge(struct verify *v, const struct nnd_kernel *k, const struct trial *t,
                 struct err *e)
{
    const struct nnd_plugin *p =
        kernels_plugin(v->ks, (size_t)kernels_plugin_of(v->ks, k));
    pthread_mutex_lock(&v->lock);
    v->count++;
    int rc = sample_compare(&t->sample, e);
    if (rc < 0) {
        verify_condemn(v, k, v->every ? "sampled call" : "first call", e->text);
        err_prefix(e, "kernel %s/%s is not as ref", p->name, k->name);
    }
    pthread_mutex_unlock(&v->lock);
    return rc;
}

/* Have ref compute a sample of a call that is about to be made. */
static bool begin(struct verify *v, const struct nnd_kernel *k, const void *params,
                  const void *at, struct trial *t)
{
    t->arena = arena_create();
    return sample_make(k->op, params, at, t->arena, &t->sample) && run_ref(v, k, t);
}

int verify_launch(struct verify *v, const struct nnd_kernel *k, void *plan,
                  const void *params, const struct nnd_launch *l, struct nnd_error *why,
                  int *status, struct err *e)
{
    struct trial t = {0};
    bool checked = false;
    int rc = 0;
    if (v && is_due(v, k))
        checked = begin(v, k, params, NULL, &t);
    *status = k->launch(k->self, plan, params, l, why);
    if (checked && *status == NND_OK)
        rc = judge(v, k, &t, e);
    if (t.arena)
        arena_destroy(t.arena);
    return rc;
}

enum verify_verdict verify_compare(struct verify *v, const struct nnd_kernel *k,
                                   void *plan, const void *params,
                                   const struct nnd_launch *l, const void *at,
                                   struct nnd_error *why, int *status,
                                   struct err *found)
{
    enum verify_verdict verdict = VERIFY_NOT;
    struct trial t = {0};
    bool begun = is_comparable(v, k) && begin(v, k, params, at, &t);
    *status = k->launch(k->self, plan, params, l, why);
    if (begun && *status == NND_OK)
        verdict = sample_lost(&t.sample, found)          ? VERIFY_LOST
                  : sample_compare(&t.sample, found) < 0 ? VERIFY_DIFFERS
                                                         : VERIFY_ALIKE;
    if (t.arena)
        arena_destroy(t.arena);
    return verdict;
}

bool verify_found(const struct verify *v)
{
    return v && v->found;
}

int64_t verify_count(const struct verify *v)
{
    return v ? v->count : 0;
}

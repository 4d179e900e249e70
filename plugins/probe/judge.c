/* SPDX-License-Identifier: Apache-2.0 */
/*
 * judge.c - every case in every set of types and every layout.
 */
#include "judge.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "compare.h"
#include "family.h"
#include "grad.h"
#include "grad_outside.h"
#include "kernel/since.h"

enum { LAUNCHES = 6 }; /* until one has to do without memory of its own */

#define COUNT(A) ((int)(sizeof(A) / sizeof((A)[0])))

static const struct types all_types[] = {
    {"f32", NND_F32, NND_F32, NND_F32},
    {"bf16", NND_BF16, NND_BF16, NND_BF16},
    {"f16", NND_F16, NND_F16, NND_F16},
    {"bf16,bf16,f32", NND_BF16, NND_BF16, NND_F32},
    {"f16,f16,f32", NND_F16, NND_F16, NND_F32},
    {"f32,bf16,f32", NND_F32, NND_BF16, NND_F32},
};

static const struct layout all_layouts[] = {
    {"contiguous", 0, 1, 0, 0, false, false},
    {"padded rows", 64, 1, 0, 64, false, true},
    {"odd rows and start", 5, 1, 1, 2, false, false},
    {"every second element", 0, 2, 0, 0, false, false},
    {"second axis outermost", 0, 1, 0, 0, true, false},
};

/* Would the call's tensors lie there as they do in the first layout? */
static bool is_same(const struct call *c, const struct layout *l)
{
    bool turns = false;
    for (int i = 0; i < c->nslots; i++)
        turns |= c->slot[i].ndim == 3 && c->slot[i].dim[0] > 1 && c->slot[i].dim[1] > 1;
    return l->turned && !turns;
}

/* One kernel before the judge. */
struct bench {
    const struct kernels *ks;
    const struct nnd_plugin *plugin;
    const struct nnd_kernel *kernel;
    const struct nnd_device_ops *device;
    const struct family *family;
    const struct nnd_op_def *outside; /* of an operator that the plugin brings */
    const struct judge_scope *scope;
    struct verdict *verdict;
};

/* One case in one set of types. */
struct trial_case {
    int number;
    const struct types *types;
    struct arena *arena;
    struct call call; /* whole */
    struct result oracle;
    bool has_oracle;
};

static const struct window whole = {.count = -1};

bool judge_unable(struct verdict *v, const struct err *e)
{
    if (e->code == ERR_RETRY && !v->unable[0])
        snprintf(v->unable, sizeof v->unable, "%.190s", e->text);
    return e->code == ERR_RETRY;
}

/* What a kernel that the suite itself is made of could not do. */
static int suite_fails(struct err *e)
{
    e->code = ERR_RETRY;
    return err_prefix(e, "the suite itself");
}

static void fail(struct bench *b, const struct call *c, const struct types *t,
                 const char *what, const struct err *e)
{
    struct verdict *v = b->verdict;
    if (judge_unable(v, e))
        return;
    v->failed++;
    if (v->failed <= JUDGE_FAILURES)
        buf_printf(&v->failures, "%s [%s %s]: %s%s%s\n", b->kernel->name, t->name,
                   c->text, what, what[0] ? ": " : "", e->text);
}

static void note_margin(struct bench *b, const struct call *c, const struct types *t,
                        double used)
{
    struct verdict *v = b->verdict;
    if (used <= v->used)
        return;
    v->used = used;
    snprintf(v->nearest, sizeof v->nearest,
             "%s [%s %s]: right, by %.0f %% of what it may be off", b->kernel->name,
             t->name, c->text, 100 * used);
}

static const struct nnd_kernel *ref_kernel(const struct kernels *ks, const char *op)
{
    const struct nnd_plugin *ref = kernels_plugin(ks, 0);
    for (uint32_t i = 0; i < ref->nkernels; i++)
        if (strcmp(ref->kernels[i]->op, op) == 0)
            return ref->kernels[i];
    return NULL;
}

/* ref in f64. */
static struct trial oracle_trial(const struct bench *b, const struct types *types,
                                 const char *op)
{
    return (struct trial){.kernel = ref_kernel(b->ks, op),
                          .device = kernels_device(b->ks, "cpu"),
                          .types = types,
                          .layout = &all_layouts[0],
                          .nthreads = 1,
                          .wide = true};
}

static struct trial kernel_trial(const struct bench *b, const struct types *types,
                                 const struct layout *layout, int nthreads)
{
    return (struct trial){.kernel = b->kernel,
                          .plugin = b->plugin,
                          .device = b->device,
                          .types = types,
                          .layout = layout,
                          .nthreads = nthreads};
}

/* The call of a window with what it derives; false when the case does not exist, or
 * could not be made. */
static bool build(struct bench *b, const struct trial_case *tc, const struct window *w,
                  struct call *c)
{
    struct err e;
    call_init(c, tc->arena);
    c->outside = b->outside;
    c->outside_op = b->kernel->op;
    c->act = tc->types->act;
    c->large = strcmp(b->kernel->device, "cpu") != 0;
    if (!b->family->build(c, tc->number, w))
        return false;
    if (c->derive) {
        struct trial t = oracle_trial(b, tc->types, c->derive);
        if (run_derive(c, &t, &e) != 0) {
            suite_fails(&e);
            return !judge_unable(b->verdict, &e);
        }
    }
    return true;
}

/* Sets that differ in a type that no slot has are the same set.  Which types an
 * operator from outside has is its own business. */
static bool is_new_set(const struct bench *b, const struct call *c,
                       const struct types *t)
{
    bool weight = false, result = false, act = b->outside || b->scope->dtype;
    for (int i = 0; i < c->nslots; i++) {
        act |= c->slot[i].kind == KIND_ACT;
        weight |= c->slot[i].kind == KIND_WEIGHT;
        result |= c->slot[i].kind == KIND_RESULT;
    }
    return (weight || t->weight == t->act) && (result || t->result == t->act) &&
           (act || weight || result || t == &all_types[0]);
}

static int get_oracle(struct bench *b, struct trial_case *tc, struct err *e)
{
    if (tc->has_oracle || b->outside)
        return 0;
    struct trial t = oracle_trial(b, tc->types, b->family->op);
    if (run_call(&tc->call, &t, &tc->oracle, e) != 0)
        return suite_fails(e);
    tc->has_oracle = true;
    return 0;
}

/* Where the contract fixes every rounding, ref in the same types is the oracle. */
static int check_exact(struct bench *b, struct trial_case *tc, const struct result *r,
                       struct err *e)
{
    struct trial t = oracle_trial(b, tc->types, b->family->op);
    struct result want;
    t.wide = false;
    if (!tc->call.exact)
        return 0;
    if (run_call(&tc->call, &t, &want, e) != 0)
        return suite_fails(e);
    return compare_bits(&tc->call, &want, r, e) == 0 ? 0 : err_prefix(e, "not as ref");
}

static void check_repeats(struct bench *b, struct trial_case *tc,
                          const struct layout *layout, const struct result *first)
{
    int threads = b->scope->threads;
    for (int nthreads = tc->call.big ? threads : 1; nthreads <= threads; nthreads++) {
        struct trial t = kernel_trial(b, tc->types, layout, nthreads);
        struct result again;
        struct err e;
        char what[60];
        snprintf(what, sizeof what, "not deterministic with %d thread%s", nthreads,
                 nthreads == 1 ? "" : "s");
        if (run_call(&tc->call, &t, &again, &e) != 0 ||
            compare_bits(&tc->call, first, &again, &e) != 0) {
            fail(b, &tc->call, tc->types, what, &e);
            return;
        }
    }
}

static void check_window(struct bench *b, struct trial_case *tc, const struct window *w,
                         const struct result *first)
{
    struct call part;
    struct result r;
    struct err e;
    char what[100];
    if (!build(b, tc, w, &part))
        return;
    struct trial t = kernel_trial(b, tc->types, &all_layouts[0], 2);
    snprintf(what, sizeof what, "not invariant (rows from %d, %d of them, %d of zeros)",
             (int)w->first, (int)w->count, (int)w->tail);
    int rc = run_call(&part, &t, &r, &e);
    if (rc > 0) /* refused: that shows nothing */
        return;
    b->verdict->invariant++;
    if (rc == 0)
        rc = compare_rows(&tc->call, first, &part, &r, w->tail > 0, &e);
    if (rc != 0)
        fail(b, &tc->call, tc->types, what, &e);
}

/* Rows alone, at another place, with other neighbours. */
static void check_rows(struct bench *b, struct trial_case *tc,
                       const struct result *first)
{
    int64_t n = tc->call.rows;
    const struct window windows[] = {
        {.first = 0, .count = 1},
        {.first = n - 1, .count = 1},
        {.first = n / 2, .count = n - n / 2},
        {.first = 1, .count = n - 1},
        {.first = 0, .count = n - 1},
        {.first = n / 3, .count = n / 3 + 1},
    };
    int looks = tc->call.big ? 2 : COUNT(windows);
    for (int i = 0; n > 1 && i < looks; i++)
        check_window(b, tc, &windows[i], first);
}

/* Blocks of zeros behind whole blocks change no sum over rows. */
static void check_tail(struct bench *b, struct trial_case *tc,
                       const struct result *first)
{
    static const int tails[] = {1, NND_BLOCK_ROWS + 5};
    if (tc->call.summed == 0 || tc->call.summed % NND_BLOCK_ROWS != 0)
        return;
    for (int i = 0; i < COUNT(tails); i++)
        check_window(b, tc, &(struct window){.count = -1, .tail = tails[i]}, first);
}

/* The first blocks in one call, the others added in a second. */
static void check_parts(struct bench *b, struct trial_case *tc,
                        const struct result *first)
{
    struct call one, two;
    struct result r1, r2;
    struct err e = {0};
    struct trial t = kernel_trial(b, tc->types, &all_layouts[0], 2);
    if (!tc->call.parts)
        return;
    if (!build(b, tc, &(struct window){.count = -1, .part = 1}, &one) ||
        !build(b, tc, &(struct window){.count = -1, .part = 2}, &two))
        return;
    int rc = run_call(&one, &t, &r1, &e);
    for (int i = 0; rc == 0 && i < two.nslots; i++)
        if (two.slot[i].role == ROLE_INOUT)
            two.slot[i].value = r1.value[i];
    if (rc == 0)
        rc = run_call(&two, &t, &r2, &e);
    if (rc > 0)
        return;
    b->verdict->invariant++;
    if (rc == 0)
        rc = compare_bits(&tc->call, first, &r2, &e);
    if (rc != 0)
        fail(b, &tc->call, tc->types, "not invariant (in two calls)", &e);
}

/* With what pack() made of the weights. */
static void check_packed(struct bench *b, struct trial_case *tc,
                         const struct layout *layout, const struct result *first)
{
    struct trial t = kernel_trial(b, tc->types, layout, b->scope->threads);
    struct result r;
    struct err e;
    if (!run_packs(&tc->call, &t))
        return;
    t.packed = true;
    if (run_call(&tc->call, &t, &r, &e) != 0 ||
        compare_bits(&tc->call, first, &r, &e) != 0)
        fail(b, &tc->call, tc->types, "with packed weights", &e);
}

/* By value, or, of an operator from outside, whether they are there. */
static int compare_with_oracle(struct bench *b, struct trial_case *tc,
                               const struct result *r, double *used, struct err *e)
{
    return b->outside ? compare_written(&tc->call, r, e)
                      : compare_values(&tc->call, r, &tc->oracle, used, e);
}

/* What may have other bits has the same values. */
static void check_again(struct bench *b, struct trial_case *tc, const struct trial *t,
                        const char *what, const struct result *first)
{
    bool same = b->kernel->flags & NND_K_DETERMINISTIC;
    struct result r;
    struct err e;
    double used = 0;
    int rc = run_call(&tc->call, t, &r, &e);
    if (rc == 0)
        rc = same ? compare_bits(&tc->call, first, &r, &e)
                  : compare_with_oracle(b, tc, &r, &used, &e);
    if (rc != 0)
        fail(b, &tc->call, tc->types, what, &e);
}

/* With several threads, where check_repeats does not look. */
static void check_threads(struct bench *b, struct trial_case *tc,
                          const struct layout *layout, const struct result *first)
{
    struct trial t = kernel_trial(b, tc->types, layout, b->scope->threads);
    char what[40];
    snprintf(what, sizeof what, "with %d threads", b->scope->threads);
    check_again(b, tc, &t, what, first);
}

/* Planned once, launched with these numbers after others. */
static void check_plan(struct bench *b, struct trial_case *tc,
                       const struct layout *layout, const struct result *first)
{
    struct trial t = kernel_trial(b, tc->types, layout, b->scope->threads);
    t.again = true;
    check_again(b, tc, &t, "a second launch of its plan", first);
}

/* Kept by the device, and run from there. */
static void check_captured(struct bench *b, struct trial_case *tc,
                           const struct result *first)
{
    struct trial t = kernel_trial(b, tc->types, &all_layouts[0], 1);
    struct result r;
    struct err e;
    t.captured = true;
    if (run_call(&tc->call, &t, &r, &e) != 0 ||
        compare_bits(&tc->call, first, &r, &e) != 0)
        fail(b, &tc->call, tc->types, "captured", &e);
}

/* Is it refused?  Then it is counted. */
static bool is_refused(struct bench *b, int rc, const struct err *e)
{
    if (rc == RUN_NEVER)
        snprintf(b->verdict->skip, sizeof b->verdict->skip, "%.190s", e->text);
    if (rc <= 0)
        return false;
    b->verdict->refused++;
    snprintf(b->verdict->refusal, sizeof b->verdict->refusal, "%.250s", e->text);
    return true;
}

/* A library below the kernel may fill a pool with the first launches, and which of
 * its threads does so is chance: wrong is who does it again and again. */
static int launch_again(struct bench *b, struct trial_case *tc, struct err *e)
{
    struct watch w = {0};
    struct result r;
    struct trial t = kernel_trial(b, tc->types, &all_layouts[0], b->scope->threads);
    int rc = 0;
    t.watch = &w;
    for (int i = 0; rc == 0 && i < LAUNCHES; i++) {
        rc = run_call(&tc->call, &t, &r, e);
        if (rc == 0 && i > 0 && watch_judge(&w, e) == 0)
            return 0;
    }
    return rc == 0 ? watch_judge(&w, e) : rc;
}

/* One of two threads that launch the same call at once, each in its own memory. */
struct twin {
    struct bench *bench;
    struct call call;
    struct result result;
    struct trial trial;
    pthread_barrier_t *start;
    int rc;
    struct err e;
};

static void *run_twin(void *arg)
{
    struct twin *t = arg;
    pthread_barrier_wait(t->start);
    for (int i = 0; t->rc == 0 && i < t->bench->scope->together; i++)
        t->rc = run_call(&t->call, &t->trial, &t->result, &t->e);
    return NULL;
}

static int compare_twin(struct bench *b, struct trial_case *tc, struct twin *t,
                        const struct result *first, struct err *e)
{
    double used = 0;
    if (t->rc == 0 && (b->kernel->flags & NND_K_DETERMINISTIC))
        t->rc = compare_bits(&tc->call, first, &t->result, &t->e);
    else if (t->rc == 0 && !b->outside)
        t->rc = compare_values(&tc->call, &t->result, &tc->oracle, &used, &t->e);
    if (t->rc != 0)
        *e = t->e;
    return t->rc;
}

static int launch_together(struct bench *b, struct trial_case *tc,
                           const struct result *first, struct err *e)
{
    struct twin *twin = arena_calloc(tc->arena, 2, sizeof *twin);
    pthread_barrier_t start;
    pthread_t thread;
    struct arena *other = arena_create();
    bool built = true;
    int rc = 0;
    pthread_barrier_init(&start, NULL, 2);
    for (int i = 0; i < 2; i++) {
        struct trial_case mine = *tc;
        mine.arena = i ? other : tc->arena;
        twin[i].bench = b;
        twin[i].start = &start;
        twin[i].trial = kernel_trial(b, tc->types, &all_layouts[0], b->scope->threads);
        twin[i].trial.silent = true;
        built &= build(b, &mine, &whole, &twin[i].call);
    }
    child_stage("two launches of %s at once, %s", b->kernel->name, tc->call.text);
    if (!built || pthread_create(&thread, NULL, run_twin, &twin[1]) != 0) {
        arena_destroy(other);
        return err_set(e, ERR_RETRY, "the suite itself: no second thread");
    }
    run_twin(&twin[0]);
    pthread_join(thread, NULL);
    for (int i = 0; rc == 0 && i < 2; i++)
        rc = compare_twin(b, tc, &twin[i], first, e);
    pthread_barrier_destroy(&start);
    arena_destroy(other);
    return rc;
}

static void check_hygiene(struct bench *b, struct trial_case *tc,
                          const struct result *first)
{
    struct err e;
    if (launch_again(b, tc, &e) != 0)
        fail(b, &tc->call, tc->types, "", &e);
    else if ((b->kernel->flags & NND_K_REENTRANT) && !tc->call.big &&
             launch_together(b, tc, first, &e) != 0)
        fail(b, &tc->call, tc->types, "two at once", &e);
}

/* A gradient against differences: of its own operator only. */
static void grad_layout(struct bench *b, struct trial_case *tc,
                        const struct layout *layout)
{
    struct trial t = kernel_trial(b, tc->types, layout, 1), forward;
    struct result r;
    struct err e;
    if (layout != &all_layouts[0] || !tc->call.derive)
        return;
    b->verdict->trials++;
    int rc = run_call(&tc->call, &t, &r, &e);
    if (is_refused(b, rc, &e))
        return;
    forward = oracle_trial(b, tc->types, tc->call.derive);
    if (rc == 0)
        rc = grad_check(b->family->op, &tc->call, &r, &forward, &e);
    if (rc != 0)
        fail(b, &tc->call, tc->types, "", &e);
}

/* The same of an operator that the plugin brings; types are its own business. */
static void grad_of_plugin(struct bench *b, struct trial_case *tc,
                           const struct layout *layout)
{
    struct err e;
    if (layout != &all_layouts[0] || tc->types != &all_types[0])
        return;
    b->verdict->trials++;
    int rc = grad_outside(b->plugin, b->kernel, b->device, b->outside, tc->number,
                          tc->arena, &e);
    if (!is_refused(b, rc, &e) && rc < 0)
        fail(b, &tc->call, tc->types, "", &e);
}

/* Only what is refused. */
static void ask_layout(struct bench *b, struct trial_case *tc,
                       const struct layout *layout)
{
    struct trial t = kernel_trial(b, tc->types, layout, 1);
    struct err e;
    b->verdict->trials++;
    int rc = run_ask(&tc->call, &t, &e);
    if (!is_refused(b, rc, &e) && rc < 0)
        fail(b, &tc->call, tc->types, layout == all_layouts ? "" : layout->name, &e);
}

static void check_layout(struct bench *b, struct trial_case *tc,
                         const struct layout *layout)
{
    struct result r;
    struct err e;
    struct trial t = kernel_trial(b, tc->types, layout, 1);
    double used = 0;
    b->verdict->trials++;
    int rc = run_call(&tc->call, &t, &r, &e);
    if (is_refused(b, rc, &e))
        return;
    if (rc == 0)
        rc = get_oracle(b, tc, &e);
    if (rc == 0)
        rc = compare_with_oracle(b, tc, &r, &used, &e);
    note_margin(b, &tc->call, tc->types, rc == 0 ? used : 0);
    if (rc == 0)
        rc = check_exact(b, tc, &r, &e);
    if (rc != 0) {
        fail(b, &tc->call, tc->types, layout == all_layouts ? "" : layout->name, &e);
        return;
    }
    if ((b->scope->what & JUDGE_HYGIENE) && layout == &all_layouts[0])
        check_hygiene(b, tc, &r);
    if (!(b->scope->what & JUDGE_CORRECT))
        return;
    check_packed(b, tc, layout, &r);
    if (layout == &all_layouts[0] && (b->kernel->flags & NND_K_CAPTURABLE) &&
        since_graphs(b->device))
        check_captured(b, tc, &r);
    if (b->kernel->plan && layout == &all_layouts[0])
        check_plan(b, tc, layout, &r);
    if (b->kernel->flags & NND_K_DETERMINISTIC)
        check_repeats(b, tc, layout, &r);
    else
        check_threads(b, tc, layout, &r);
    if (!(b->kernel->flags & NND_K_INVARIANT) || layout != &all_layouts[0])
        return;
    b->verdict->invariant += !b->outside && compare_is_exact(&tc->call);
    check_rows(b, tc, &r);
    check_tail(b, tc, &r);
    check_parts(b, tc, &r);
}

static void look(struct bench *b, struct trial_case *tc, const struct layout *layout)
{
    unsigned what = b->scope->what;
    if (what == JUDGE_SUPPORT)
        ask_layout(b, tc, layout);
    if (what & (JUDGE_CORRECT | JUDGE_HYGIENE | JUDGE_MEET))
        check_layout(b, tc, layout);
    if ((what & JUDGE_GRAD) && grad_known(b->family->op))
        grad_layout(b, tc, layout);
    if ((what & JUDGE_GRAD) && grad_is_outside(b->outside, b->kernel->op))
        grad_of_plugin(b, tc, layout);
}

static bool check_case(struct bench *b, int number, const struct types *types)
{
    struct trial_case tc = {.number = number, .types = types, .arena = arena_create()};
    bool exists = build(b, &tc, &whole, &tc.call);
    int layouts = b->scope->what == JUDGE_MEET || tc.call.big ? 1 : COUNT(all_layouts);
    if (exists && is_new_set(b, &tc.call, types))
        for (int i = 0; i < layouts && b->verdict->failed <= JUDGE_FAILURES &&
                        !b->verdict->unable[0];
             i++)
            if (!is_same(&tc.call, &all_layouts[i]))
                look(b, &tc, &all_layouts[i]);
    arena_destroy(tc.arena);
    return exists;
}

/* Has the set inputs of this type? */
static bool is_of(const struct types *t, const char *name)
{
    size_t n = strcspn(t->name, ",");
    return strlen(name) == n && strncmp(t->name, name, n) == 0;
}

int judge_dtype(const char *name, struct err *e)
{
    for (int t = 0; t < COUNT(all_types); t++)
        if (is_of(&all_types[t], name))
            return 0;
    return err_set(e, ERR_USAGE, "--dtype: wanted f32, bf16 or f16, found \"%s\"",
                   name);
}

void judge_kernel(const struct kernels *ks, const struct nnd_plugin *p,
                  const struct nnd_kernel *k, const struct nnd_device_ops *device,
                  const struct judge_scope *scope, struct verdict *v)
{
    struct family outside = {k->op, family_outside};
    struct bench b = {ks, p, k, device, family_find(k->op), NULL, scope, v};
    struct err e;
    if (!b.family) {
        b.outside = outside_find(p, k->op);
        b.family = &outside;
    }
    if (b.family == &outside && !b.outside) {
        snprintf(v->skip, sizeof v->skip,
                 "operator %s is neither in the catalogue nor in the plugin's table",
                 k->op);
        return;
    }
    if (b.outside && outside_shapes(b.outside, &e) < 0) {
        v->trials = v->failed = 1;
        buf_printf(&v->failures, "%s: %s\n", k->name, e.text);
        return;
    }
    if (scope->what == JUDGE_GRAD && !grad_known(k->op) &&
        !grad_is_outside(b.outside, k->op)) {
        snprintf(v->skip, sizeof v->skip, "%s is no gradient that the suite knows",
                 k->op);
        return;
    }
    if (!device || device->count() < 1) {
        snprintf(v->skip, sizeof v->skip, "no %s device here", k->device);
        return;
    }
    for (int t = 0; t < COUNT(all_types); t++)
        if (!scope->dtype || is_of(&all_types[t], scope->dtype))
            for (int i = 0; v->failed <= JUDGE_FAILURES && !v->skip[0] && !v->unable[0];
                 i++)
                if (!check_case(&b, i, &all_types[t]))
                    break;
    if (b.outside && !v->trials && !v->skip[0] && !v->unable[0])
        snprintf(v->skip, sizeof v->skip,
                 "shape() of %s takes none of the suite's matrices", b.outside->name);
}

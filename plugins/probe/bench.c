/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench.c - "bench": how long a launch takes, at a shape, beside another kernel.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "child.h"
#include "judge.h"
#include "kernel/kernel.h"
#include "kernel/loader.h"
#include "kernel/op.h"
#include "kernel/since.h"
#include "probe.h"
#include "run.h"
#include "shape.h"

enum { BENCH_SECONDS = 600, THREADS_MAX = 64 };

/* A middling call that would take longer is not made: a smaller one is. */
static const double patience = 0.5;

/* What is measured: a kernel of a plugin, in types, and its call. */
struct entry {
    const struct nnd_plugin *plugin;
    const struct nnd_kernel *kernel;
    const struct types *types;
    const char *shape; /* as a person names it; NULL: the middling one */
    bool brief;
    struct shape_work work;
    char text[160]; /* the whole shape */
    double seconds; /* of a launch */
};

/* In the child: one plugin, and what it is compared with. */
struct bench {
    const struct options *o;
    struct kernels *ks;
    struct pool *pool;
    const struct nnd_plugin *plugin;
    bool met; /* one that --vs names */
    json_t *rows, *failures;
    json_t *known; /* seconds of others by "KERNEL DTYPE": many are compared with one */
};

static const struct types all_types[] = {
    {"f32", NND_F32, NND_F32, NND_F32},
    {"bf16", NND_BF16, NND_BF16, NND_BF16},
    {"f16", NND_F16, NND_F16, NND_F16},
};
static const struct layout plain = {.name = "contiguous", .step = 1};

/* --vs none: ref would take minutes for calls that a device is measured with. */
static bool is_alone(const struct options *o)
{
    return o->vs && strcmp(o->vs, "none") == 0;
}

static bool takes(const struct nnd_plugin *p, const struct nnd_kernel *k,
                  const struct call *c)
{
    struct nnd_error why = {{0}};
    return !since_newer(p, k->op, &c->params, why.text, sizeof why.text) &&
           k->supports(k->self, &c->params, &why) == NND_OK;
}

/* Is the plugin, the kernel, or PLUGIN/KERNEL meant? */
static bool is_meant(const struct nnd_plugin *p, const struct nnd_kernel *k,
                     const char *want)
{
    size_t n = strlen(p->name);
    return strcmp(p->name, want) == 0 || strcmp(k->name, want) == 0 ||
           (strncmp(p->name, want, n) == 0 && want[n] == '/' &&
            strcmp(k->name, want + n + 1) == 0);
}

/* The kernel that --vs names for the call, or ref's; of a plugin the one with the
 * highest priority that takes it. */
static const struct nnd_kernel *
other_kernel(const struct bench *b, const struct nnd_kernel *mine, const struct call *c)
{
    const char *want = b->o->vs ? b->o->vs : "ref";
    const struct nnd_kernel *best = NULL;
    for (size_t i = 0; !is_alone(b->o) && !best && i < kernels_plugin_count(b->ks);
         i++) {
        const struct nnd_plugin *p = kernels_plugin(b->ks, i);
        for (uint32_t j = 0; j < p->nkernels; j++) {
            const struct nnd_kernel *k = p->kernels[j];
            if (strcmp(k->op, mine->op) == 0 && is_meant(p, k, want) &&
                (!best || k->priority > best->priority) && takes(p, k, c))
                best = k;
        }
    }
    return best;
}

/* Of the other kernels the one with the highest priority that takes the call. */
static const struct nnd_kernel *
next_kernel(const struct bench *b, const struct nnd_kernel *mine, const struct call *c)
{
    const struct nnd_kernel *best = NULL;
    for (size_t i = 1; i < kernels_plugin_count(b->ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(b->ks, i);
        for (uint32_t j = 0; j < p->nkernels; j++) {
            const struct nnd_kernel *k = p->kernels[j];
            bool same = strcmp(p->name, b->plugin->name) == 0 &&
                        strcmp(k->name, mine->name) == 0;
            if (same || strcmp(k->op, mine->op) != 0 ||
                strcmp(k->device, mine->device) != 0 ||
                (best && k->priority <= best->priority))
                continue;
            if (takes(p, k, c))
                best = k;
        }
    }
    return best;
}

static const struct nnd_plugin *other_plugin(const struct bench *b,
                                             const struct nnd_kernel *k)
{
    return kernels_plugin(b->ks, (size_t)kernels_plugin_of(b->ks, k));
}

/* What a call derives from comes from the same plugin where it can: ref takes minutes
 * for what a device is measured with. */
static struct trial deriving(const struct bench *b, const struct trial *t,
                             struct call *c)
{
    struct trial by = *t;
    const struct nnd_kernel *best = NULL;
    by.seconds = NULL;
    run_shape(c, t);
    for (uint32_t i = 0; t->plugin && i < t->plugin->nkernels; i++) {
        const struct nnd_kernel *k = t->plugin->kernels[i];
        if (strcmp(k->op, c->derive) == 0 &&
            strcmp(k->device, t->kernel->device) == 0 &&
            (!best || k->priority > best->priority) && takes(t->plugin, k, c))
            best = k;
    }
    by.kernel = best ? best : kernels_ref(b->ks, c->derive);
    if (!best) {
        by.device = kernels_device(b->ks, "cpu");
        by.plugin = NULL;
    }
    return by;
}

/* Measure a launch; > 0: the kernel does not do the call, < 0: it fails, or there is no
 * such call, and e says why. */
static int measure(const struct bench *b, struct entry *x, struct err *e)
{
    struct arena *a = arena_create();
    struct call c;
    struct result r;
    struct trial t = {.kernel = x->kernel,
                      .plugin = x->plugin,
                      .device = probe_device(b->ks, x->plugin, x->kernel->device),
                      .types = x->types,
                      .layout = &plain,
                      .nthreads = pool_threads(b->pool),
                      .brief = x->brief,
                      .seconds = &x->seconds};
    call_init(&c, a);
    int rc = shape_call(x->kernel->op, x->shape, &c, &x->work, e);
    if (rc == 0 && (!t.device || t.device->count() < 1)) {
        err_set(e, ERR_FAILED, "no %s device here", x->kernel->device);
        rc = RUN_NEVER;
    }
    if (rc == 0 && c.derive) {
        struct trial by = deriving(b, &t, &c);
        rc = run_derive(&c, &by, e);
    }
    snprintf(x->text, sizeof x->text, "%s", c.text);
    if (rc == 0)
        rc = run_call(&c, &t, &r, e);
    arena_destroy(a);
    return rc;
}

/* So many calls of a shape are the middling one. */
static double times_of(const char *op, const char *shape)
{
    struct arena *a = arena_create();
    struct shape_work all = {0}, part = {0};
    struct call c;
    struct err e;
    call_init(&c, a);
    shape_call(op, NULL, &c, &all, &e);
    call_init(&c, a);
    shape_call(op, shape, &c, &part, &e);
    arena_destroy(a);
    return part.flops > 0 ? all.flops / part.flops : all.bytes / fmax(1, part.bytes);
}

/* The seconds of a launch or two. */
static double try_part(const struct bench *b, const struct entry *x, const char *shape)
{
    struct entry part = *x;
    struct err e;
    part.shape = shape;
    part.brief = true;
    return measure(b, &part, &e) == 0 ? part.seconds : -1;
}

/* What stands for the middling call where that takes too long. */
struct part {
    char shape[80];
    double usual; /* seconds of the whole, as reckoned; 0: it can be measured itself */
};

/* The smallest call says whether a larger one can be waited for, and that whether the
 * middling one can: of a small call much is what every launch takes. */
static void find_part(const struct bench *b, const struct entry *x, struct part *out)
{
    const char *op = x->kernel->op;
    char part[80], least[80];
    *out = (struct part){.usual = 0};
    shape_smaller(op, false, part, sizeof part);
    shape_smaller(op, true, least, sizeof least);
    if (!*least || b->o->shape)
        return;
    double seconds = try_part(b, x, least), times = times_of(op, least);
    if (seconds <= 0 || seconds * times <= patience)
        return;
    snprintf(out->shape, sizeof out->shape, "%s", least);
    out->usual = seconds * times;
    double fewer = times_of(op, part);
    if (out->usual / fewer > 4 * patience)
        return;
    seconds = try_part(b, x, part);
    if (seconds * fewer <= patience)
        *out = (struct part){.usual = 0};
    else if (seconds <= 2 * patience)
        snprintf(out->shape, sizeof out->shape, "%s", part);
    out->usual = *out->shape ? seconds * fewer : 0;
}

static bool is_perf(const struct options *o)
{
    return o->mode && strcmp(o->mode, "perf") == 0;
}

/* What the call that is measured is compared with: the kernel that --vs names, and with
 * --mode perf the best other one; NULL: there is none. */
static void find_others(const struct bench *b, const struct entry *x,
                        const struct nnd_kernel **other, const struct nnd_kernel **next)
{
    struct arena *a = arena_create();
    struct trial t = {.types = x->types, .layout = &plain};
    struct shape_work work;
    struct call c;
    struct err e;
    *other = *next = NULL;
    call_init(&c, a);
    if (shape_call(x->kernel->op, x->shape, &c, &work, &e) == 0) {
        run_shape(&c, &t);
        *other = other_kernel(b, x->kernel, &c);
        *next = is_perf(b->o) ? next_kernel(b, x->kernel, &c) : NULL;
    }
    arena_destroy(a);
}

/* Seconds of another kernel for the call that was measured; of one that would take long
 * `guessed`.  What is known already is not measured again. */
static double seconds_of_other(const struct bench *b, const struct nnd_kernel *other,
                               const struct entry *mine, bool *guessed)
{
    struct entry x = {.plugin = other_plugin(b, other),
                      .kernel = other,
                      .types = mine->types,
                      .shape = mine->shape};
    struct part part = {.usual = 0};
    struct err e;
    char name[240];
    snprintf(name, sizeof name, "%s/%s %s %s", x.plugin->name, other->name,
             mine->types->name, mine->text);
    const json_t *known = json_object_get(b->known, name);
    if (!known) {
        if (!mine->shape)
            find_part(b, &x, &part);
        double seconds = part.usual > 0            ? -part.usual
                         : measure(b, &x, &e) == 0 ? x.seconds
                                                   : 0;
        json_object_set_new(b->known, name, json_real(seconds));
        known = json_object_get(b->known, name);
    }
    *guessed = json_real_value(known) < 0;
    return fabs(json_real_value(known));
}

/* {"kernel": "PLUGIN/KERNEL", "times": how much longer it takes, "guessed": by a
 * smaller call}; of none, and of the kernel itself, 0. */
static json_t *race(const struct bench *b, const struct nnd_kernel *other,
                    const struct entry *mine)
{
    bool guessed = false;
    double theirs = 0;
    if (other && (strcmp(other_plugin(b, other)->name, b->plugin->name) != 0 ||
                  strcmp(other->name, mine->kernel->name) != 0))
        theirs = seconds_of_other(b, other, mine, &guessed);
    if (theirs <= 0)
        return json_pack("{s:s, s:f, s:b}", "kernel", "", "times", 0.0, "guessed", 0);
    return json_pack("{s:o, s:f, s:b}", "kernel",
                     json_sprintf("%s/%s", other_plugin(b, other)->name, other->name),
                     "times", theirs / mine->seconds, "guessed", (int)guessed);
}

static int bench_kernel(struct bench *b, const struct nnd_kernel *k,
                        const struct types *types, struct err *e)
{
    struct entry x = {
        .plugin = b->plugin, .kernel = k, .types = types, .shape = b->o->shape};
    const struct nnd_kernel *other, *next;
    struct part part;
    find_part(b, &x, &part);
    bool smaller = part.usual > 0;
    if (smaller)
        x.shape = part.shape;
    find_others(b, &x, &other, &next);
    b->met |= other != NULL;
    int rc = measure(b, &x, e);
    if (rc == ERR_USAGE)
        return b->o->shape ? rc : 0; /* no row */
    if (rc < 0)
        json_array_append_new(b->failures, json_sprintf("%s [%s %s]: %s", k->name,
                                                        types->name, x.text, e->text));
    if (rc != 0)
        return 0;
    json_array_append_new(
        b->rows, json_pack("{s:s, s:s, s:s, s:s, s:b, s:f, s:f, s:f, s:o, s:o}",
                           "kernel", k->name, "op", k->op, "dtype", types->name,
                           "shape", x.text, "smaller", (int)smaller, "seconds",
                           x.seconds, "gflops", x.work.flops / x.seconds * 1e-9,
                           "gbytes", x.work.bytes / x.seconds * 1e-9, "vs",
                           race(b, other, &x), "next", race(b, next, &x)));
    return 0;
}

static int load_others(struct bench *b, struct err *e)
{
    struct buf folders = {0};
    char *rest = NULL;
    int rc = 0;
    probe_folders(&folders);
    for (char *dir = strtok_r(folders.data, ":", &rest); rc == 0 && dir;
         dir = strtok_r(NULL, ":", &rest))
        rc = kernels_load_dir(b->ks, dir, e);
    buf_free(&folders);
    return rc;
}

static int bench_all(struct bench *b, struct err *e)
{
    for (uint32_t i = 0; i < b->plugin->nkernels; i++)
        for (size_t t = 0; t < sizeof all_types / sizeof all_types[0]; t++) {
            const struct nnd_kernel *k = b->plugin->kernels[i];
            if (!probe_asks(b->o, k->name, k->op) ||
                (b->o->dtype && strcmp(b->o->dtype, all_types[t].name) != 0))
                continue;
            child_stage("measuring %s", k->name);
            if (bench_kernel(b, k, &all_types[t], e) < 0)
                return -1;
        }
    return 0;
}

/* In the child. */
static int bench(void *arg, struct buf *out, struct err *e)
{
    struct bench b = {.o = arg,
                      .rows = json_array(),
                      .failures = json_array(),
                      .known = json_object()};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int threads = cores > THREADS_MAX ? THREADS_MAX : cores < 1 ? 1 : (int)cores;
    child_stage("loading");
    if (pool_create(threads, NULL, NULL, &b.pool, e) < 0 ||
        kernels_create(b.pool, &b.ks, e) < 0 ||
        (((b.o->vs && !is_alone(b.o)) || is_perf(b.o)) && load_others(&b, e) < 0) ||
        loader_open(b.o->files[0], kernels_host(b.ks), &b.plugin, e) < 0 ||
        bench_all(&b, e) < 0)
        return -1;
    if (b.o->vs && !is_alone(b.o) && !b.met)
        return err_set(e, ERR_USAGE,
                       "--vs: wanted a plugin or a kernel that serves what was "
                       "measured, found none named \"%s\"",
                       b.o->vs);
    bool some = json_array_size(b.rows) > 0;
    const char *nothing = some          ? ""
                          : e->text[0]  ? e->text
                          : b.o->nrules ? "no kernel of such a name"
                                        : "no kernel for such an operator";
    json_t *j = json_pack("{s:i, s:i, s:s, s:o, s:o}", "v", 1, "threads", threads,
                          "nothing", nothing, "failures", b.failures, "rows", b.rows);
    char *text = json_dumps(j, JSON_INDENT(2));
    buf_puts(out, text ? text : "{}");
    return 0;
}

static double number(const json_t *j, const char *key)
{
    return json_real_value(json_object_get(j, key));
}

static void print_race(const json_t *other)
{
    if (number(other, "times") > 0)
        printf("  %s%.*fx %s",
               json_is_true(json_object_get(other, "guessed")) ? "~" : "",
               json_is_true(json_object_get(other, "guessed")) ? 0 : 2,
               number(other, "times"), probe_text(other, "kernel"));
}

/* What was done otherwise than the columns say. */
static void print_notes(const json_t *rows)
{
    bool smaller = false, guessed = false;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        smaller |= json_is_true(json_object_get(r, "smaller"));
        guessed |= json_is_true(json_object_get(json_object_get(r, "vs"), "guessed")) ||
                   json_is_true(json_object_get(json_object_get(r, "next"), "guessed"));
    }
    if (smaller)
        printf("*: a part of the usual call, which would take more than %g s\n",
               patience);
    if (guessed)
        printf("~: reckoned from a part of the call, which would take more than %g s\n",
               patience);
}

static void print_rows(const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *r = json_array_get(rows, i);
        printf("%-20s %-15s %-4s %-26s%c%10.3f ms", probe_text(r, "kernel"),
               probe_text(r, "op"), probe_text(r, "dtype"), probe_text(r, "shape"),
               json_is_true(json_object_get(r, "smaller")) ? '*' : ' ',
               number(r, "seconds") * 1e3);
        if (number(r, "gflops") > 0)
            printf(" %8.1f GFLOP/s", number(r, "gflops"));
        else
            printf(" %8.1f GB/s   ", number(r, "gbytes"));
        print_race(json_object_get(r, "vs"));
        print_race(json_object_get(r, "next"));
        putchar('\n');
    }
    print_notes(rows);
}

int probe_bench(const struct options *o)
{
    struct buf out = {0};
    struct err e = {0};
    double seconds = o->seconds > 0 ? o->seconds : BENCH_SECONDS;
    if (o->dtype && judge_dtype(o->dtype, &e) < 0) {
        fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
        return probe_status(&e);
    }
    int rc = child_run(bench, (void *)o, seconds, &out, &e);
    json_t *j = rc == 0 ? json_loads(out.data, 0, NULL) : NULL;
    const json_t *failures = json_object_get(j, "failures");
    bool some = json_array_size(json_object_get(j, "rows")) > 0;
    bool failed = json_array_size(failures) > 0;
    if (rc == 0 && o->json)
        puts(out.data);
    else if (rc == 0)
        print_rows(json_object_get(j, "rows"));
    for (size_t i = 0; i < json_array_size(failures); i++)
        fprintf(stderr, "nnd-plugin-probe: %s: %s\n", o->files[0],
                json_string_value(json_array_get(failures, i)));
    if (rc != 0 || (!some && !failed))
        fprintf(stderr, "nnd-plugin-probe: %s%s%s%s\n",
                str_starts(e.text, o->files[0]) ? "" : o->files[0],
                str_starts(e.text, o->files[0]) ? "" : ": ",
                rc != 0 ? e.text : "nothing that could be measured: ",
                rc != 0 ? "" : probe_text(j, "nothing"));
    json_decref(j);
    buf_free(&out);
    return rc == 0 && some && !failed ? 0 : probe_status(&e);
}

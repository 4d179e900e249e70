/* SPDX-License-Identifier: Apache-2.0 */
/*
 * task_plan.c - `nnd-worker plan`: what a job would take, before it takes it.
 */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data/corpus.h"
#include "train/checkpoint.h"
#include "train/plan_report.h"
#include "worker/engine.h"
#include "worker/fit.h"
#include "worker/job.h"
#include "worker/kernels.h"
#include "worker/measure.h"
#include "worker/task.h"

struct plan_options {
    const char *job, *plugins, *quarantine;
    struct arg_list set;
    int64_t threads;
    bool json;
};

#define AT(field) offsetof(struct plan_options, field)

static const struct arg_row args[] = {
    {"job", 0, "FILE", ARG_TEXT, AT(job), 0, 0, "the job: YAML, or packed"},
    {"set", 'S', "KEY=VALUE", ARG_LIST, AT(set), 0, 0, "override a value of the job"},
    {"threads", 0, "N", ARG_INT, AT(threads), 0, 1024,
     "threads of a rank; 0: as the job says"},
    {"plugins", 0, "DIR[:DIR]", ARG_TEXT, AT(plugins), 0, 0,
     "folders of kernel plugins"},
    {"quarantine", 0, "DIR", ARG_TEXT, AT(quarantine), 0, 0,
     "folder of notes on plugins that did harm"},
    {"json", 0, NULL, ARG_FLAG, AT(json), 0, 0, "print JSON"},
    {0},
};

static const struct plan_options defaults = {0};

/* --- JSON ----------------------------------------------------------------- */

static json_t *rank_json(const struct plan_rank *r, int number)
{
    json_t *bytes = json_object();

    for (int k = 0; k < PLAN_KINDS; k++)
        json_object_set_new(bytes, plan_kind_name[k], json_integer(r->bytes[k]));
    json_object_set_new(bytes, "total", json_integer(plan_rank_total(r)));
    return json_pack("{s:i, s:o, s:I}", "rank", number, "bytes", bytes, "wire",
                     (json_int_t)r->wire);
}

static json_t *wire_json(const struct plan_wire *w)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:b}", "collective", w->collective, "where",
                     w->where, "bytes", (json_int_t)w->bytes, "calls",
                     (json_int_t)w->calls, "routed", (int)w->routed);
}

static json_t *kernels_json(const struct plan_report *p)
{
    struct arena *a = arena_create();
    json_t *all = json_array();
    size_t n;
    Wire__Kernel **k = kernels_rows(p->kernels, NULL, p->want, p->nwant, a, &n);

    for (size_t i = 0; i < n; i++)
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "op", k[i]->op, "name",
                           k[i]->name, "plugin", k[i]->plugin, "dtype", k[i]->dtype,
                           "nodes", (int)k[i]->nodes, "why", k[i]->why));
    arena_destroy(a);
    return all;
}

static json_t *to_json(const struct plan_report *p)
{
    json_t *ranks = json_array(), *wire = json_array();

    for (int i = 0; i < p->ranks; i++)
        json_array_append_new(ranks, rank_json(&p->rank[i], i));
    for (size_t i = 0; i < p->nwire; i++)
        json_array_append_new(wire, wire_json(&p->wire[i]));
    return json_pack("{s:i, s:I, s:I, s:I, s:o, s:o, s:o}", "v", 1, "params",
                     (json_int_t)p->params, "active_params", (json_int_t)p->active,
                     "flops_per_token", (json_int_t)p->token_flops, "ranks", ranks,
                     "wire", wire, "kernels", kernels_json(p));
}

static int print_json(const struct plan_report *p, const Nnd__Job *job, struct err *e)
{
    json_t *j = to_json(p);
    int rc;

    json_object_set_new(j, "batch", json_integer(job->train->batch));
    json_object_set_new(j, "batch_tokens", json_integer(job->train->batch_tokens));
    rc = j && json_dumpf(j, stdout, JSON_COMPACT) == 0 ? 0 : -1;

    json_decref(j);
    putchar('\n');
    return rc == 0 ? 0 : err_set(e, ERR_FAILED, "standard output: cannot be written");
}

/* --- for people ----------------------------------------------------------- */

static void print_bytes(int64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    int u = 0;

    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    printf(u ? "  %9.1f %-3s" : "  %9.0f %-3s", v, unit[u]);
}

/* A row per kind, a column per rank; ranks alike are one column. */
static bool same_as_before(const struct plan_report *p, int rank)
{
    return rank > 0 && memcmp(&p->rank[rank], &p->rank[rank - 1], sizeof *p->rank) == 0;
}

static void print_heads(const struct plan_report *p)
{
    printf("%-14s", "bytes of rank");
    for (int r = 0; r < p->ranks; r++) {
        int last = r;
        char name[32];

        if (same_as_before(p, r))
            continue;
        while (last + 1 < p->ranks && same_as_before(p, last + 1))
            last++;
        snprintf(name, sizeof name, last > r ? "%d-%d" : "%d", r, last);
        printf("  %13s", name);
    }
    printf("\n");
}

static void print_ranks(const struct plan_report *p)
{
    print_heads(p);
    for (int k = 0; k <= PLAN_KINDS + 1; k++) {
        printf("  %-12s", k < PLAN_KINDS    ? plan_kind_name[k]
                          : k == PLAN_KINDS ? "total"
                                            : "wire/step");
        for (int r = 0; r < p->ranks; r++)
            if (!same_as_before(p, r))
                print_bytes(k < PLAN_KINDS    ? p->rank[r].bytes[k]
                            : k == PLAN_KINDS ? plan_rank_total(&p->rank[r])
                                              : p->rank[r].wire);
        printf("\n");
    }
}

/* Collectives of one name together: there may be hundreds of places. */
static void print_wire(const struct plan_report *p)
{
    printf("on the wire per step, all ranks\n");
    for (size_t i = 0; i < p->nwire; i++) {
        int64_t bytes = 0, calls = 0;
        bool first = true;

        for (size_t k = 0; k < p->nwire; k++) {
            if (strcmp(p->wire[k].collective, p->wire[i].collective) != 0)
                continue;
            first = first && k >= i;
            bytes += p->wire[k].bytes;
            calls += p->wire[k].calls;
        }
        if (!first)
            continue;
        printf("  %-12s", p->wire[i].collective);
        print_bytes(bytes);
        printf("  %6lld calls%s\n", (long long)calls,
               p->wire[i].routed ? "  at most: what data leaves in place stays" : "");
    }
}

static void print_text(const struct plan_report *p, const Nnd__Job *job)
{
    if (job->train->batch_tokens)
        printf("a step          %u tokens, at most %u samples\n",
               job->train->batch_tokens, job->train->batch);
    else
        printf("a step          %u samples of %u tokens\n", job->train->batch,
               job->model->context);
    printf("parameters      %lld, active per token %lld\n", (long long)p->params,
           (long long)p->active);
    printf("per token       %lld FLOPs, forward and backward\n",
           (long long)p->token_flops);
    print_ranks(p);
    if (p->nwire)
        print_wire(p);
    printf("kernels\n");
    for (const char *at = p->kernels; *at;) {
        size_t n = strcspn(at, "\n");

        printf("  %.*s\n", (int)n, at);
        at += n + (at[n] == '\n');
    }
}

/* --- the task ------------------------------------------------------------- */

/* Training that begins with a model of another job takes its tokenizers, whatever the
 * text has. */
static int open_lexicon(const Nnd__Job *job, struct comm *self, struct lexicon *out,
                        struct err *e)
{
    struct buf notes = {0}, written = {0}, text = {0};
    char path[PATH_MAX];
    int rc;

    if (!*job->checkpoint->from)
        return lexicon_learn(job->data, out, e);
    rc = checkpoint_newest(job->checkpoint->from, self, path, sizeof path, &notes, e);
    if (rc == 0)
        rc = checkpoint_read_job(path, &written, &text, e);
    if (rc == 0)
        rc = lexicon_load(path, text.data, text.len, out, e);
    buf_free(&notes);
    buf_free(&written);
    buf_free(&text);
    return rc < 0 ? err_prefix(e, "checkpoint.from") : 0;
}

/* What the text says: how many tokens there are, and what they take; and, if there is
 * one, the teacher that has the same words. */
static int read_text(struct spec *spec, struct comm *self, int64_t *vocab,
                     struct corpus **corpus, struct spec **teacher, struct err *e)
{
    const Nnd__Job *job = spec_job(spec);
    struct lexicon l = {0};
    char path[PATH_MAX];
    int rc = open_lexicon(job, self, &l, e);

    if (rc == 0)
        rc = job_vocab(spec, &l, vocab, e);
    if (rc == 0)
        rc = corpus_open(job->data, &l, job->model->context, job->model->source_context,
                         corpus, e);
    if (rc == 0)
        rc = job_teacher(job, &l, self, path, teacher, e);
    lexicon_free(&l);
    return rc;
}

static int make(const struct plan_options *o, struct spec *spec, struct comm *self,
                struct err *e)
{
    const Nnd__Job *job = spec_job(spec);
    struct engine x = {0};
    struct plan_report report;
    struct spec *teacher = NULL;
    const Nnd__Job *taught;
    struct corpus *corpus = NULL;
    struct arena *a = arena_create();
    int64_t vocab, scores = 0;
    struct engine_config config = {
        .threads = o->threads ? (int)o->threads : (int)job->train->threads,
        .plugins = o->plugins,
        .quarantine = o->quarantine,
        .suspects = job->kernels->suspect == NND__KERNELS__SUSPECT__AVOID};
    int rc = read_text(spec, self, &vocab, &corpus, &teacher, e);

    taught = teacher ? spec_job(teacher) : NULL;
    if (rc == 0)
        rc = engine_open(&x, self, &config, e);
    if (rc == 0 && job->train->batch == 0)
        rc = fit_batch(spec, taught, x.kernels, vocab, corpus, e);
    if (rc == 0)
        rc = measure_bytes(job, x.kernels, vocab, &scores, e);
    if (rc == 0)
        rc = plan_report_make(job, taught, x.kernels, vocab,
                              (int64_t)corpus_bytes(corpus), scores, a, &report, e);
    if (rc == 0 && o->json)
        rc = print_json(&report, job, e);
    else if (rc == 0)
        print_text(&report, job);
    engine_close(&x);
    corpus_destroy(corpus);
    spec_destroy(teacher);
    arena_destroy(a);
    return rc;
}

static int plan(const void *options, struct err *e)
{
    const struct plan_options *o = options;
    struct spec *spec = NULL;
    struct comm *self = NULL;
    int rc;

    if (!o->job)
        return err_set(e, ERR_USAGE, "plan: wanted --job FILE");
    rc = job_read(o->job, &o->set, &spec, e);
    if (rc == 0)
        rc = comm_self(&self, e);
    if (rc == 0)
        rc = make(o, spec, self, e);
    comm_destroy(self);
    spec_destroy(spec);
    return rc;
}

const struct task task_plan = {
    .name = "plan",
    .help = "print what a job would take: memory, work, traffic",
    .args = args,
    .defaults = &defaults,
    .size = sizeof defaults,
    .run = plan,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_submit.c - hand a job to nnd.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "client/cmd.h"
#include "client/follow.h"
#include "client/jobfile.h"
#include "client/sweep.h"

enum { KEY_MIN = 16, KEY_MAX = 64 };

struct options {
    struct jobfile file;
    const char *idem, *prio, *time;
    struct opt_list sweep, after;
    bool dry_run, hold, wait, watch;
};

static const struct opt table[] = {
    {OPT_TEXT, 0, "idem", "KEY", offsetof(struct options, idem),
     "16 to 64 characters; submitting again with the same key makes no second job"},
    {OPT_LIST, 0, "sweep", "KEY=A,B,...", offsetof(struct options, sweep),
     "submit a job for each value, or each number of KEY=1..10, as one array; several "
     "multiply"},
    {OPT_LIST, 0, "after", "NEED:ID", offsetof(struct options, after),
     "start when job ID has completed (ok), ended (any) or failed (notok)"},
    {OPT_TEXT, 0, "prio", "N", offsetof(struct options, prio),
     "queue.priority, 0 to 100; the largest starts first"},
    {OPT_TEXT, 0, "time", "TIME", offsetof(struct options, time),
     "queue.time, how long an attempt may take, such as 90m or 4h"},
    {OPT_FLAG, 0, "hold", NULL, offsetof(struct options, hold),
     "accept the job, but do not start it before nnctl release"},
    {OPT_FLAG, 'n', "dry-run", NULL, offsetof(struct options, dry_run),
     "print the resolved job and where each value comes from; submit nothing"},
    {OPT_FLAG, 0, "wait", NULL, offsetof(struct options, wait),
     "wait for the end and exit with the job's status"},
    {OPT_FLAG, 'w', "watch", NULL, offsetof(struct options, watch),
     "as --wait, and show on standard error how it goes"},
    {0},
};

static int stay(struct client *c, const struct options *o, uint64_t id, struct err *e)
{
    struct progress p;

    progress_init(&p, stderr, false);
    return follow_or_leave(c, id, o->watch ? &p : NULL, EXIT_CANCELED, e);
}

/* nnd checks it too, but cannot know that a person chose it. */
static int check_key(const char *key, struct err *e)
{
    size_t len = key ? strlen(key) : KEY_MIN;

    if (len < KEY_MIN || len > KEY_MAX)
        return err_set(e, ERR_USAGE, "--idem: must be %d to %d characters, got %zu",
                       KEY_MIN, KEY_MAX, len);
    return 0;
}

/* --prio and --time are short for values of the job file. */
static size_t shorthands(struct client *c, const struct options *o, const char *out[2])
{
    size_t n = 0;

    if (o->prio)
        out[n++] = arena_printf(c->arena, "queue.priority=%s", o->prio);
    if (o->time)
        out[n++] = arena_printf(c->arena, "queue.time=%s", o->time);
    return n;
}

/* The jobs of the sweep, in jobs[], up to the first that is wrong. */
static int read_jobs(struct client *c, const struct options *o, const struct sweep *w,
                     int argc, char **argv, struct spec **jobs, struct err *e)
{
    const char **set = arena_calloc(c->arena, w->naxes + 2, sizeof *set);
    size_t n = shorthands(c, o, set);
    int rc = 0;

    for (size_t i = 0; i < w->n && rc == 0; i++) {
        for (size_t k = 0; k < w->naxes; k++)
            set[n + k] = w->set[i][k];
        rc = jobfile_read_with(&o->file, argc, argv, set, n + w->naxes, &jobs[i], e);
    }
    return rc;
}

static int submit(struct client *c, const struct options *o, const struct sweep *w,
                  struct spec *const *jobs, struct err *e)
{
    const struct jobfile_terms terms = {
        .key = o->idem,
        .hold = o->hold,
        .after = &o->after,
        .labels = w->naxes ? w->label : NULL,
    };
    uint64_t id;
    bool known;
    int rc = jobfile_submit(c, (const struct spec *const *)jobs, w->n, &terms, &id,
                            &known, e);

    if (rc < 0)
        return rc;
    if (c->opt.json)
        client_print_json(json_pack("{sIsbsI}", "id", (json_int_t)id, "known", known,
                                    "count", (json_int_t)w->n));
    else
        printf("%llu\n", (unsigned long long)id);
    fflush(stdout);
    if (w->naxes)
        client_say(c, "array %llu of %zu jobs", (unsigned long long)id, w->n);
    return o->wait || o->watch ? stay(c, o, id, e) : 0;
}

static void show(struct client *c, const struct sweep *w, struct spec **jobs)
{
    for (size_t i = 0; i < w->n; i++) {
        if (w->naxes && !c->opt.json)
            printf("%s# %s\n", i ? "---\n" : "", w->label[i]);
        jobfile_print(c, jobs[i]);
    }
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct spec **jobs = NULL;
    struct sweep w = {0};
    int rc = check_key(o->idem, e);

    if (rc == 0)
        rc = sweep_make(&o->sweep, c->arena, &w, e);
    if (rc == 0 && w.naxes && (o->wait || o->watch))
        rc =
            err_set(e, ERR_USAGE, "--wait and --watch stay with one job, not an array");
    if (rc == 0) {
        jobs = arena_calloc(c->arena, w.n, sizeof *jobs);
        rc = read_jobs(c, o, &w, argc, argv, jobs, e);
    }
    if (rc == 0)
        jobfile_hint(c, jobs[0]);
    if (rc == 0 && o->dry_run)
        show(c, &w, jobs);
    else if (rc == 0)
        rc = submit(c, o, &w, jobs, e);
    for (size_t i = 0; jobs && i < w.n; i++)
        spec_destroy(jobs[i]);
    return rc;
}

const struct verb verb_submit = {
    .name = "submit",
    .args = "JOB.yaml",
    .max_args = 1,
    .brief = "hand a job to nnd",
    .text = "Reads the job file, applies overrides, checks it, and has nnd accept the "
            "job. Standard output is the job's number and nothing else, printed when "
            "the job is on disk.",
    .options = {jobfile_options, table},
    .size = sizeof(struct options),
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_show.c - all about one job.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "base/clock.h"
#include "client/cmd.h"
#include "client/progress.h"
#include "client/table.h"
#include "client/wire_json.h"
#include "proto/spec.h"

struct options {
    bool kernels, spec;
};

static const struct opt table[] = {
    {OPT_FLAG, 'k', "kernels", NULL, offsetof(struct options, kernels),
     "the kernels that the job runs on, and why these"},
    {OPT_FLAG, 's', "spec", NULL, offsetof(struct options, spec),
     "the job file as accepted, with every default"},
    {0},
};

/* --- JSON ----------------------------------------------------------------- */

static json_t *spec_json(const Wire__ShowReply *r)
{
    struct spec *s;
    json_t *object;

    if (!r->has_spec || spec_unpack(r->spec.data, r->spec.len, &s, NULL) < 0)
        return NULL;
    object = spec_to_json(spec_job(s));
    spec_destroy(s);
    return object;
}

/* The job's own fields on top, what belongs to it below. */
static void print_json(const Wire__ShowReply *r, const Wire__KernelsReply *k)
{
    json_t *object = wire_json_job(r->job);
    json_t *rest = wire_json(r), *spec = spec_json(r);

    json_object_set(rest, "processes", json_object_get(rest, "ranks"));
    json_object_del(rest, "ranks"); /* which is a number in the job */
    json_object_del(rest, "job");
    json_object_update(object, rest);
    json_decref(rest);
    if (spec)
        json_object_set_new(object, "spec", spec);
    if (k) {
        json_t *kernels = wire_json(k);

        json_object_set(object, "kernels", json_object_get(kernels, "kernels"));
        json_decref(kernels);
    }
    client_print_json(object);
}

/* --- text ----------------------------------------------------------------- */

static void line(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void line(const char *name, const char *fmt, ...)
{
    va_list args;

    printf("%-12s ", name);
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    putchar('\n');
}

static void time_line(const char *name, protobuf_c_boolean has, uint64_t us)
{
    char text[40];

    if (!has)
        return;
    clock_iso((int64_t)us, text, sizeof text);
    line(name, "%s", text);
}

static void text_line(const char *name, const char *text)
{
    if (text && *text)
        line(name, "%s", text);
}

static void figures(const Wire__JobInfo *j)
{
    char text[32];

    line("step", "%llu/%llu", (unsigned long long)j->step,
         (unsigned long long)j->steps);
    if (j->has_loss)
        line("loss", "%.6g", j->loss);
    if (j->has_val_loss)
        line("val_loss", "%.6g", j->val_loss);
    if (j->has_lr)
        line("lr", "%.4g", j->lr);
    if (j->has_grad_norm)
        line("grad_norm", "%.4g", j->grad_norm);
    if (j->has_tokens_per_s) {
        progress_count(j->tokens_per_s, text, sizeof text);
        line("tokens_per_s", "%s", text);
    }
    if (j->has_send_hidden)
        line("send_hidden", "%.0f %% of what went between ranks", 100 * j->send_hidden);
    if (j->has_loss_scale)
        line("loss_scale", "%g", j->loss_scale);
    if (j->has_max_overload)
        line("experts", "worst overload %.2f, %u dead", j->max_overload,
             j->dead_experts);
}

static void print_job(const Wire__ShowReply *r)
{
    const Wire__JobInfo *j = r->job;

    line("id", "%llu", (unsigned long long)j->id);
    text_line("name", j->name);
    line("state", "%s", wire_state_name(j->state));
    text_line("reason", j->reason);
    line("attempt", "%u", j->attempt);
    figures(j);
    line("ranks", "%u, %u thread%s each", j->ranks, j->threads,
         j->threads == 1 ? "" : "s");
    time_line("submitted", j->has_submitted_us, j->submitted_us);
    time_line("started", j->has_started_us, j->started_us);
    time_line("ended", j->has_ended_us, j->ended_us);
    text_line("checkpoint", j->checkpoint);
    text_line("folder", r->dir);
    text_line("cwd", r->cwd);
}

static void end_cells(struct table *t, const Wire__AttemptInfo *a, size_t column)
{
    if (!a->has_ended_us)
        table_cell(t, column, "runs");
    else if (a->failure != WIRE__FAILURE__NO_FAILURE)
        table_cell(t, column, "%s", wire_failure_name(a->failure));
    else
        table_cell(t, column, "ok");
    if (a->signal)
        table_cell(t, column + 1, "signal %u", a->signal);
    else if (a->exit_code)
        table_cell(t, column + 1, "%d", a->exit_code);
    if (a->has_bad_rank)
        table_cell(t, column + 2, "%d", a->bad_rank);
    table_cell(t, column + 3, "%s", a->reason ? a->reason : "");
}

static void print_attempts(struct client *c, const Wire__ShowReply *r)
{
    static const struct column columns[] = {
        {"ATTEMPT", true}, {"STARTED", false}, {"TOOK", true}, {"STEPS", true},
        {"END", false},    {"EXIT", false},    {"RANK", true}, {"REASON", false},
    };
    struct table t;

    table_init(&t, columns, sizeof columns / sizeof *columns, c->arena);
    for (size_t i = 0; i < r->n_attempts; i++) {
        const Wire__AttemptInfo *a = r->attempts[i];
        int64_t end = a->has_ended_us ? (int64_t)a->ended_us : clock_wall_us();
        char text[40];

        table_row(&t);
        table_cell(&t, 0, "%u", a->number);
        clock_iso((int64_t)a->started_us, text, sizeof text);
        table_cell(&t, 1, "%s", text);
        clock_human((double)(end - (int64_t)a->started_us) * 1e-6, text, sizeof text);
        table_cell(&t, 2, "%s", text);
        if (a->last_step)
            table_cell(&t, 3, "%llu-%llu", (unsigned long long)a->first_step,
                       (unsigned long long)a->last_step);
        end_cells(&t, a, 4);
    }
    putchar('\n');
    table_print(&t, true, stdout);
}

static void print_ranks(struct client *c, const Wire__ShowReply *r)
{
    static const struct column columns[] = {
        {"RANK", true}, {"PID", true}, {"HOST", false},  {"PHASE", false},
        {"STEP", true}, {"OP", false}, {"SILENT", true},
    };
    struct table t;

    table_init(&t, columns, sizeof columns / sizeof *columns, c->arena);
    for (size_t i = 0; i < r->n_ranks; i++) {
        const Wire__RankInfo *k = r->ranks[i];

        table_row(&t);
        table_cell(&t, 0, "%u", k->rank);
        table_cell(&t, 1, "%u", k->pid);
        table_cell(&t, 2, "%s", k->host ? k->host : "");
        table_cell(&t, 3, "%s", wire_phase_name(k->phase));
        table_cell(&t, 4, "%llu", (unsigned long long)k->step);
        table_cell(&t, 5, "%s%s", k->waits ? "waits: " : "", k->op ? k->op : "");
        table_cell(&t, 6, "%.1fs", k->age_ms * 1e-3);
    }
    putchar('\n');
    table_print(&t, true, stdout);
}

static void print_kernels(struct client *c, const Wire__KernelsReply *k)
{
    static const struct column columns[] = {
        {"OP", false},    {"KERNEL", false}, {"PLUGIN", false}, {"DEVICE", false},
        {"DTYPE", false}, {"NODES", true},   {"WHY", false},
    };
    struct table t;

    table_init(&t, columns, sizeof columns / sizeof *columns, c->arena);
    for (size_t i = 0; i < k->n_kernels; i++) {
        const Wire__Kernel *n = k->kernels[i];
        const char *cells[] = {n->op, n->name, n->plugin, n->device, n->dtype};

        table_row(&t);
        for (size_t j = 0; j < 5; j++)
            table_cell(&t, j, "%s", cells[j] ? cells[j] : "");
        table_cell(&t, 5, "%u", n->nodes);
        table_cell(&t, 6, "%s", n->why ? n->why : "");
    }
    table_print(&t, true, stdout);
}

static int print_spec(const Wire__ShowReply *r, struct err *e)
{
    struct buf yaml = {0};
    struct spec *s;
    int rc = spec_unpack(r->spec.data, r->spec.len, &s, e);

    if (rc < 0)
        return rc;
    spec_print_yaml(s, &yaml);
    fwrite(yaml.data, 1, yaml.len, stdout);
    buf_free(&yaml);
    spec_destroy(s);
    return 0;
}

/* --- the verb ------------------------------------------------------------- */

static int show(struct client *c, const struct options *o, const Wire__ShowReply *r,
                const Wire__KernelsReply *k, struct err *e)
{
    if (!r->job)
        return err_set(e, ERR_PROTOCOL, "show: the answer lacks the job");
    if (c->opt.json) {
        print_json(r, k);
    } else if (o->spec) {
        return print_spec(r, e);
    } else if (k && !k->n_kernels) {
        client_say(c, "job %llu: no kernels are known before its first step",
                   (unsigned long long)r->job->id);
    } else if (k) {
        print_kernels(c, k);
    } else {
        print_job(r);
        if (r->n_attempts)
            print_attempts(c, r);
        progress_cause(r, stdout);
        if (r->n_ranks)
            print_ranks(c, r);
    }
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    Wire__Show q = WIRE__SHOW__INIT;
    Wire__Kernels kq = WIRE__KERNELS__INIT;
    Wire__ShowReply *reply = NULL;
    Wire__KernelsReply *kernels = NULL;
    int rc =
        o->spec && o->kernels && !c->opt.json
            ? err_set(e, ERR_USAGE, "takes --spec or --kernels; --json has both in one")
            : client_id(argv[0], &q.id, e);

    (void)argc;
    q.has_id = kq.has_id = true;
    kq.id = q.id;
    if (rc == 0)
        rc = client_call(c, WIRE__TYPE__SHOW, &q, 0, &reply, e);
    if (rc == 0 && o->kernels)
        rc = client_call(c, WIRE__TYPE__KERNELS, &kq, 0, &kernels, e);
    if (rc == 0)
        rc = show(c, o, reply, kernels, e);
    chan_free((ProtobufCMessage *)reply);
    chan_free((ProtobufCMessage *)kernels);
    return rc;
}

const struct verb verb_show = {
    .name = "show",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "show all about one job",
    .text =
        "State and reason, figures, attempts with why they ended, the last lines of "
        "the rank that failed first, and the ranks of a running attempt.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run,
};

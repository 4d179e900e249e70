/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_status.c - jobs, one a line.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"
#include "client/cmd.h"
#include "client/progress.h"
#include "client/select.h"
#include "client/table.h"
#include "client/term.h"
#include "client/wire_json.h"

enum { PAGE = 1000, SPEED_MIN = 20, DAY = 86400 };

struct options {
    struct select which; /* --array, --name, --state, --user */
    bool all, ended, no_header;
    double since;
    uint64_t count;
    const char *fields;
};

static const struct opt table[] = {
    {OPT_FLAG, 'a', "all", NULL, offsetof(struct options, all),
     "also jobs that have ended"},
    {OPT_ID, 0, "array", "ID", offsetof(struct options, which.array),
     "only jobs of this array"},
    {OPT_TEXT, 0, "name", "NAME", offsetof(struct options, which.name),
     "only jobs of this name"},
    {OPT_LIST, 0, "state", "STATE", offsetof(struct options, which.states),
     "only jobs in this state, also one that has ended; may be repeated"},
    {OPT_TEXT, 0, "user", "USER", offsetof(struct options, which.user),
     "only jobs of this user, by the name of a key, or by number"},
    {OPT_SPAN, 0, "since", "TIME", offsetof(struct options, since),
     "only jobs submitted or ended in the last 90s, 6h or 2d"},
    {OPT_COUNT, 'c', "count", "N", offsetof(struct options, count),
     "at most N jobs (1000)"},
    {OPT_TEXT, 'o', "output", "FIELD,...", offsetof(struct options, fields),
     "these fields only, named as in --json, with a tab between them"},
    {OPT_FLAG, 'n', "no-header", NULL, offsetof(struct options, no_header),
     "without the line of column names"},
    {0},
};

static void preset(void *values)
{
    ((struct options *)values)->count = PAGE;
}

/* --- asking --------------------------------------------------------------- */

/* The jobs to show, kept together with the answers that hold them. */
struct jobs {
    struct arena *arena;
    const Wire__JobInfo **job;
    size_t n, cap;
    ProtobufCMessage **replies;
    size_t nreplies, replies_cap;
    bool more;
};

static void *grow(struct arena *a, void *items, size_t n, size_t *cap)
{
    void *bigger;

    if (n < *cap)
        return items;
    *cap = *cap ? 2 * *cap : 16;
    bigger = arena_calloc(a, *cap, sizeof(void *));
    if (n)
        memcpy(bigger, items, n * sizeof(void *));
    return bigger;
}

static void keep_job(struct jobs *js, const Wire__JobInfo *j)
{
    js->job = grow(js->arena, js->job, js->n, &js->cap);
    js->job[js->n++] = j;
}

static void keep_reply(struct jobs *js, ProtobufCMessage *m)
{
    js->replies = grow(js->arena, js->replies, js->nreplies, &js->replies_cap);
    js->replies[js->nreplies++] = m;
}

static void jobs_free(struct jobs *js)
{
    for (size_t i = 0; i < js->nreplies; i++)
        chan_free(js->replies[i]);
}

/* Page by page until nnd has no more, or --count is reached. */
static int list_jobs(struct client *c, const struct options *o, struct jobs *js,
                     struct err *e)
{
    Wire__List q = WIRE__LIST__INIT;
    int rc = select_fill(c, &o->which, &q, e);

    if (rc < 0)
        return rc;
    if (o->ended && q.n_states == 0)
        for (int i = WIRE__STATE__COMPLETED; i <= WIRE__STATE__TIMEOUT; i++)
            q.states[q.n_states++] = (Wire__State)i;
    q.has_active = q.active = !o->all && o->since <= 0 && q.n_states == 0;
    q.has_since_us = o->since > 0;
    q.since_us = (uint64_t)(clock_wall_us() - (int64_t)(o->since * 1e6));
    q.has_limit = true;
    do {
        Wire__ListReply *reply;
        uint64_t left = o->count - js->n;

        q.limit = left < PAGE ? (uint32_t)left : PAGE;
        rc = client_call(c, WIRE__TYPE__LIST, &q, 0, &reply, e);
        if (rc < 0)
            return rc;
        keep_reply(js, &reply->base);
        for (size_t i = 0; i < reply->n_jobs; i++)
            keep_job(js, reply->jobs[i]);
        js->more = reply->more && reply->n_jobs > 0;
        if (js->n) {
            q.has_before = true;
            q.before = js->job[js->n - 1]->id;
        }
    } while (js->more && js->n < o->count);
    return 0;
}

static int name_jobs(struct client *c, int argc, char **argv, struct jobs *js,
                     struct err *e)
{
    for (int i = 0; i < argc; i++) {
        Wire__Show q = WIRE__SHOW__INIT;
        Wire__ShowReply *reply;
        int rc = client_id(argv[i], &q.id, e);

        q.has_id = true;
        if (rc == 0)
            rc = client_call(c, WIRE__TYPE__SHOW, &q, 0, &reply, e);
        if (rc < 0)
            return rc;
        keep_reply(js, &reply->base);
        if (reply->job)
            keep_job(js, reply->job);
    }
    return 0;
}

/* --- showing -------------------------------------------------------------- */

static const struct column columns[] = {
    {"ID", true},    {"NAME", false},  {"USER", false},   {"ST", false},
    {"STEP", true},  {"LOSS", true},   {"TOK/S", true},   {"HIDDEN", true},
    {"RANKS", true}, {"TRY", true},    {"ELAPSED", true}, {"ETA", true},
    {"PRIO", true},  {"ENDED", false}, {"SWEEP", false},  {"INFO", false},
};
enum {
    ID,
    NAME,
    USER,
    ST,
    STEP,
    LOSS,
    TOK_S,
    HIDDEN,
    RANKS,
    TRY,
    ELAPSED,
    ETA,
    PRIO,
    ENDED,
    SWEEP,
    INFO
};

enum { PRIORITY = 50 }; /* of most jobs: not worth a column */

static void time_cells(struct table *t, const Wire__JobInfo *j)
{
    bool running = j->state == WIRE__STATE__RUNNING;
    double end = j->has_ended_us ? (double)j->ended_us : (double)clock_wall_us();
    char text[32];

    if (j->has_started_us) {
        clock_human((end - (double)j->started_us) * 1e-6, text, sizeof text);
        table_cell(t, ELAPSED, "%s", text);
    }
    if (running && j->has_step_seconds && j->steps >= j->step &&
        j->step >= j->attempt_first_step + SPEED_MIN) {
        clock_human(j->step_seconds * (double)(j->steps - j->step), text, sizeof text);
        table_cell(t, ETA, "%s", text);
    } else if (running) {
        table_cell(t, ETA, "--");
    }
}

static void queue_cells(struct table *t, const Wire__JobInfo *j, bool ended)
{
    char text[40];

    if (j->has_priority && j->priority != PRIORITY && !wire_state_is_final(j->state))
        table_cell(t, PRIO, "%u", j->priority);
    if (ended && j->has_ended_us) {
        clock_iso((int64_t)j->ended_us, text, sizeof text);
        table_cell(t, ENDED, "%.16sZ", text);
    }
    table_cell(t, SWEEP, "%s", j->label ? j->label : "");
}

static void speed_cells(struct table *t, const Wire__JobInfo *j)
{
    char text[32];

    if (wire_state_is_final(j->state))
        return;
    if (j->has_tokens_per_s) {
        progress_count(j->tokens_per_s, text, sizeof text);
        table_cell(t, TOK_S, "%s", text);
    }
    if (j->has_send_hidden)
        table_cell(t, HIDDEN, "%.0f%%", 100 * j->send_hidden);
}

static void user_cell(struct table *t, const Wire__JobInfo *j)
{
    if (j->user && *j->user)
        table_cell(t, USER, "%s", j->user);
    else
        table_cell(t, USER, "%u", j->uid);
}

static void job_row(struct table *t, const Wire__JobInfo *j, bool ended)
{
    table_row(t);
    table_cell(t, ID, "%llu", (unsigned long long)j->id);
    table_cell(t, NAME, "%s", j->name ? j->name : "");
    if (j->has_uid && j->uid != getuid())
        user_cell(t, j);
    table_cell(t, ST, "%s", wire_state_code(j->state));
    table_paint(t, ST, wire_state_paint(j->state));
    table_cell(t, STEP, "%llu/%llu", (unsigned long long)j->step,
               (unsigned long long)j->steps);
    if (j->has_loss)
        table_cell(t, LOSS, "%.4g", j->loss);
    speed_cells(t, j);
    if (j->has_ranks)
        table_cell(t, RANKS, "%u", j->ranks);
    if (j->attempt > 1)
        table_cell(t, TRY, "%u", j->attempt);
    time_cells(t, j);
    queue_cells(t, j, ended);
    table_cell(t, INFO, "%s", j->reason ? j->reason : "");
}

static void print_table(struct client *c, const struct options *o,
                        const struct jobs *js)
{
    struct table t;

    table_init(&t, columns, sizeof columns / sizeof *columns, c->arena);
    t.colored = c->colored;
    for (size_t i = 0; i < js->n; i++)
        job_row(&t, js->job[i], o->ended);
    table_print(&t, !o->no_header, stdout);
}

/* A value of a JSON object as bare text. */
static void print_field(const json_t *v)
{
    if (json_is_string(v))
        fputs(json_string_value(v), stdout);
    else if (v)
        json_dumpf(v, stdout, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

static int check_field(const char *name, struct err *e)
{
    enum { MOST = 64 };
    const ProtobufCMessageDescriptor *d = &wire__job_info__descriptor;
    char fields[MOST][40];
    const char *names[MOST], *near;
    size_t n = 0;

    for (unsigned i = 0; i < d->n_fields && n < MOST; i++) {
        wire_json_key(&d->fields[i], fields[n], sizeof fields[n]);
        names[n] = fields[n];
        if (strcmp(fields[n], "version") == 0) /* which wire_json_job leaves out */
            continue;
        if (strcmp(name, fields[n++]) == 0)
            return 0;
    }
    near = str_nearest(name, names, n);
    return err_set(e, ERR_USAGE, "--output: unknown field \"%.60s\"%s%s%s", name,
                   near ? "; did you mean \"" : "", near ? near : "",
                   near ? "\"?" : "");
}

static int check_fields(struct client *c, const char *fields, struct err *e)
{
    char *rest = arena_strdup(c->arena, fields), *name;
    int rc = 0;

    while (rc == 0 && (name = strsep(&rest, ",")))
        rc = check_field(name, e);
    return rc;
}

static void print_fields(struct client *c, const char *fields, const struct jobs *js)
{
    for (size_t i = 0; i < js->n; i++) {
        json_t *object = wire_json_job(js->job[i]);
        char *rest = arena_strdup(c->arena, fields), *name;
        const char *gap = "";

        while ((name = strsep(&rest, ","))) {
            fputs(gap, stdout);
            print_field(json_object_get(object, name));
            gap = "\t";
        }
        putchar('\n');
        json_decref(object);
    }
}

static void print_json(const struct jobs *js)
{
    json_t *array = json_array();

    for (size_t i = 0; i < js->n; i++)
        json_array_append_new(array, wire_json_job(js->job[i]));
    client_print_json(json_pack("{sosb}", "jobs", array, "more", js->more));
}

/* What would do nothing here was meant for something else. */
static int check_options(const struct client *c, const struct options *o, int argc,
                         struct err *e)
{
    const struct select *s = &o->which;

    if (o->count == 0)
        return err_set(e, ERR_USAGE, "--count: must be at least 1, got 0");
    if (o->fields && c->opt.json)
        return err_set(e, ERR_USAGE, "takes --output or --json, not both");
    if (argc && (s->array || s->name || s->states.n || s->user || o->since > 0 ||
                 o->count != PAGE))
        return err_set(e, ERR_USAGE,
                       "takes job numbers or --array, --name, --state, --user, "
                       "--since, --count, not both");
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct jobs js = {.arena = c->arena};
    int rc = o->fields ? check_fields(c, o->fields, e) : 0;

    if (rc == 0)
        rc = check_options(c, o, argc, e);
    if (rc == 0)
        rc = argc ? name_jobs(c, argc, argv, &js, e) : list_jobs(c, o, &js, e);
    if (rc < 0)
        ;
    else if (c->opt.json)
        print_json(&js);
    else if (o->fields)
        print_fields(c, o->fields, &js);
    else
        print_table(c, o, &js);
    if (rc == 0 && js.more)
        client_say(c, "only the newest %zu jobs are shown; --count shows more", js.n);
    if (rc == 0 && !js.n && !c->opt.json && isatty(2))
        client_say(c, "no jobs%s",
                   o->all || o->ended || o->since > 0
                       ? ""
                       : " that have not ended; --all shows all");
    jobs_free(&js);
    return rc;
}

const struct verb verb_status = {
    .name = "status",
    .alias = "list",
    .args = "[ID...]",
    .max_args = -1,
    .brief = "list jobs",
    .text =
        "Shows jobs that have not ended, newest first, or the jobs named. A column "
        "that is empty for all of them is left out. HIDDEN is the share of the time "
        "of sending between ranks for which nobody waited. INFO says why a job "
        "waits or why it ended as it did.",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};

static int run_history(struct client *c, void *values, int argc, char **argv,
                       struct err *e)
{
    ((struct options *)values)->ended = true;
    return run(c, values, argc, argv, e);
}

const struct verb verb_history = {
    .name = "history",
    .args = "",
    .brief = "list jobs that have ended",
    .text =
        "Newest first, with the time of their end and what became of them. How long "
        "nnd remembers them is keep.age and keep.jobs of nnd-conf(5).",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run_history,
};

/* --- top ------------------------------------------------------------------ */

struct top_options {
    struct options status;
    double every;
    uint64_t times;
};

static const struct opt top_table[] = {
    {OPT_SPAN, 'd', "delay", "TIME", offsetof(struct top_options, every),
     "between two looks (2s)"},
    {OPT_COUNT, 0, "times", "N", offsetof(struct top_options, times),
     "end after N looks; 0: only by Ctrl-C"},
    {0},
};

static void preset_top(void *values)
{
    preset(values);
    ((struct top_options *)values)->every = 2;
}

static int print_daemon(struct client *c, struct err *e)
{
    Wire__Hello q = WIRE__HELLO__INIT;
    Wire__HelloReply *r;
    char up[16], now[40];
    int rc = client_call(c, WIRE__TYPE__HELLO, &q, 0, &r, e);

    if (rc < 0)
        return rc;
    clock_human((double)(clock_wall_us() - (int64_t)r->started_us) * 1e-6, up,
                sizeof up);
    clock_iso(clock_wall_us(), now, sizeof now);
    printf("nnd %s on %s  %.19sZ  up %s  %u of %u slots used  %u jobs\n\n",
           r->version ? r->version : "?", r->host ? r->host : "?", now, up,
           r->slots_used, r->slots, r->jobs_active);
    chan_free(&r->base);
    return 0;
}

/* One look: all of it is gathered before the screen is cleared for it. */
static int look(struct client *c, const struct top_options *o, struct err *e)
{
    struct arena *whole = c->arena;
    struct jobs js = {.arena = arena_create()};
    int rc;

    c->arena = js.arena; /* what one look takes is gone with it */
    rc = list_jobs(c, &o->status, &js, e);
    if (rc == 0 && isatty(1))
        fputs("\033[H\033[2J", stdout);
    if (rc == 0)
        rc = print_daemon(c, e);
    if (rc == 0)
        print_table(c, &o->status, &js);
    c->arena = whole;
    fflush(stdout);
    jobs_free(&js);
    arena_destroy(js.arena);
    return rc;
}

static int run_top(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct top_options *o = values;
    int rc = 0;

    (void)argc, (void)argv;
    if (c->opt.json)
        return err_set(e, ERR_USAGE,
                       "takes no --json: nnctl status --json has what it shows");
    if (o->every < 0.1 || o->every > DAY)
        return err_set(e, ERR_USAGE, "--delay: must be 0.1s to 1d, got %gs", o->every);
    term_catch_signals();
    for (uint64_t n = 1; rc == 0 && !term_signal(); n++) {
        rc = look(c, o, e);
        if (rc < 0 && term_has_signal())
            return 0;
        if (n == o->times)
            break;
        if (rc == 0)
            term_sleep_ms((unsigned)(o->every * 1000));
    }
    return rc;
}

const struct verb verb_top = {
    .name = "top",
    .args = "",
    .brief = "see nnd and its jobs, again and again",
    .text = "What \"status\" shows, below a line about nnd, every few seconds until "
            "Ctrl-C.",
    .options = {top_table},
    .size = sizeof(struct top_options),
    .preset = preset_top,
    .run = run_top,
};

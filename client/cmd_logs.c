/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_logs.c - what a job's ranks printed.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/cmd.h"
#include "client/term.h"

enum { POLL_MS = 1000 };

struct options {
    bool follow, label, err_only;
    uint64_t tail, attempt;
    int rank;
};

static const struct opt table[] = {
    {OPT_FLAG, 'f', "follow", NULL, offsetof(struct options, follow),
     "go on until the job ends, through all its attempts"},
    {OPT_COUNT, 0, "tail", "N", offsetof(struct options, tail),
     "begin with the last N lines"},
    {OPT_RANK, 0, "rank", "R", offsetof(struct options, rank),
     "only what rank R printed"},
    {OPT_COUNT, 0, "attempt", "N", offsetof(struct options, attempt),
     "of attempt N instead of the newest"},
    {OPT_FLAG, 'l', "label", NULL, offsetof(struct options, label),
     "put the rank in front of each line"},
    {OPT_FLAG, 0, "stderr", NULL, offsetof(struct options, err_only),
     "only what went to standard error"},
    {0},
};

static void preset(void *values)
{
    ((struct options *)values)->rank = -1;
}

static void print_json(const Wire__LogReply *r, const Wire__LogLine *l)
{
    json_t *text = json_stringn((const char *)l->text.data, l->text.len);
    json_t *object = json_pack("{sisisbso*}", "attempt", (int)r->attempt, "rank",
                               l->rank, "stderr", (int)l->err, "text", text);

    if (!text) { /* bytes that are not UTF-8: only ASCII is sure */
        char *ascii = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&ascii, &size);

        for (size_t i = 0; out && i < l->text.len; i++)
            putc(l->text.data[i] < 0x80 && l->text.data[i] ? l->text.data[i] : '?',
                 out);
        if (out)
            fclose(out);
        json_object_set_new(object, "text", json_string(ascii ? ascii : ""));
        free(ascii);
    }
    client_print_json(object);
}

static void print_line(const struct options *o, const Wire__LogLine *l, bool *inside)
{
    if (o->label && !*inside && l->rank >= 0)
        printf("%d: ", l->rank);
    else if (o->label && !*inside)
        printf("-: ");
    fwrite(l->text.data, 1, l->text.len, stdout);
    *inside = l->cut;
    if (!l->cut)
        putchar('\n');
}

static void print_lines(struct client *c, const struct options *o,
                        const Wire__LogReply *r, bool *inside)
{
    for (size_t i = 0; i < r->n_lines; i++) {
        if (c->opt.json)
            print_json(r, r->lines[i]);
        else
            print_line(o, r->lines[i], inside);
    }
    fflush(stdout);
}

/* 1: ask again; 0: all was printed. */
static int next(const struct options *o, const Wire__LogReply *r, Wire__Log *q)
{
    q->has_tail = false;
    q->has_offset = true;
    q->offset = r->next;
    q->has_attempt = r->attempt > 0;
    q->attempt = r->attempt;
    if (!r->eof)
        return 1;
    if (!o->follow || r->last || (r->final && o->attempt))
        return 0;
    if (r->final) { /* the next attempt, once there is one */
        q->attempt = r->attempt + 1;
        q->offset = 0;
    }
    return 1;
}

static int leave(struct client *c, uint64_t id)
{
    client_say(c,
               "detached; job %llu still running. Resume: nnctl logs -f %llu  "
               "Stop: nnctl cancel %llu",
               (unsigned long long)id, (unsigned long long)id, (unsigned long long)id);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    Wire__Log q = WIRE__LOG__INIT;
    bool inside = false;
    int more = 1, rc = client_id(argv[0], &q.id, e);

    (void)argc;
    q.has_id = true;
    q.has_attempt = o->attempt > 0;
    q.attempt = (uint32_t)o->attempt;
    q.has_rank = o->rank >= 0;
    q.rank = o->rank;
    q.has_err_only = q.err_only = o->err_only;
    q.has_tail = o->tail > 0;
    q.tail = (uint32_t)o->tail;
    if (o->follow)
        term_catch_signals();
    while (rc == 0 && more) {
        Wire__LogReply *reply;

        if (term_signal())
            return leave(c, q.id);
        rc =
            client_call(c, WIRE__TYPE__LOG, &q, q.has_wait_ms ? POLL_MS : 0, &reply, e);
        if (rc < 0 && term_has_signal()) {
            rc = 0;
            continue;
        }
        if (rc < 0)
            return rc;
        print_lines(c, o, reply, &inside);
        more = next(o, reply, &q);
        q.has_wait_ms = o->follow;
        q.wait_ms = POLL_MS;
        chan_free(&reply->base);
    }
    return rc;
}

const struct verb verb_logs = {
    .name = "logs",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "print what a job's ranks printed",
    .text = "Without --follow it prints what is there and never waits. Ctrl-C leaves "
            "and lets the job run on. With --json, an object per line.",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};

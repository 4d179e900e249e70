/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_logs.c - what a job's ranks printed.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/cmd.h"
#include "client/term.h"

enum { POLL_MS = 1000, PAUSE_MS = 300 };

#define TAIL_ALL UINT64_MAX

struct options {
    bool follow, label, err_only;
    uint64_t tail, attempt;
    int rank;
};

static const struct opt table[] = {
    {OPT_FLAG, 'f', "follow", NULL, offsetof(struct options, follow),
     "go on until the job ends, through all its attempts"},
    {OPT_COUNT, 0, "tail", "N", offsetof(struct options, tail),
     "begin with the last N lines; 0: with those that come from now on"},
    {OPT_RANK, 0, "rank", "R", offsetof(struct options, rank),
     "only what rank R printed"},
    {OPT_ID, 0, "attempt", "N", offsetof(struct options, attempt),
     "of attempt N instead of the newest"},
    {OPT_FLAG, 'l', "label", NULL, offsetof(struct options, label),
     "put the rank in front of each line"},
    {OPT_FLAG, 0, "stderr", NULL, offsetof(struct options, err_only),
     "only what went to standard error"},
    {0},
};

static void preset(void *values)
{
    struct options *o = values;

    o->rank = -1;
    o->tail = TAIL_ALL;
}

static void print_json(const Wire__LogReply *r, const Wire__LogLine *l)
{
    json_t *text = l->text.len ? json_stringn((const char *)l->text.data, l->text.len)
                               : json_string("");
    json_t *object = json_pack("{sisisbso*}", "attempt", (int)r->attempt, "rank",
                               l->rank, "stderr", (int)l->err, "text", text);

    if (l->cut)
        json_object_set_new(object, "cut", json_true());
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
    if (l->text.len > 0) /* an empty line's data is NULL */
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

/* Where the reading of a log stands. */
struct reader {
    Wire__Log q;
    bool inside;  /* a line was begun and goes on                  */
    bool ahead;   /* q asks for an attempt that may not be there   */
    uint64_t end; /* where the attempt before it ended             */
};

static void reader_init(struct reader *r, const struct options *o, uint64_t id)
{
    *r = (struct reader){.q = WIRE__LOG__INIT};
    r->q.has_id = true;
    r->q.id = id;
    r->q.has_attempt = o->attempt > 0;
    r->q.attempt = (uint32_t)o->attempt;
    r->q.has_rank = o->rank >= 0;
    r->q.rank = o->rank;
    r->q.has_err_only = r->q.err_only = o->err_only;
    r->q.has_tail = o->tail != TAIL_ALL;
    r->q.tail = o->tail < UINT32_MAX ? (uint32_t)o->tail : UINT32_MAX;
}

/* Move behind what was answered.  False: nothing more is wanted. */
static bool reader_advance(struct reader *r, const struct options *o,
                           const Wire__LogReply *reply)
{
    r->q.has_tail = r->ahead = false;
    r->q.has_offset = true;
    r->q.offset = reply->next;
    r->q.has_attempt = reply->attempt > 0;
    r->q.attempt = reply->attempt;
    r->q.has_wait_ms = o->follow;
    r->q.wait_ms = POLL_MS;
    if (!reply->eof)
        return true;
    if (!o->follow || reply->last || (reply->final && o->attempt))
        return false;
    if (reply->final) {
        r->ahead = true;
        r->end = reply->next;
        r->q.attempt++;
        r->q.offset = 0;
    }
    return true;
}

/* There is no next attempt yet: ask again for the end of the one before, whose
 * answer says whether there will be one. */
static void reader_step_back(struct reader *r)
{
    r->ahead = false;
    r->q.attempt--;
    r->q.offset = r->end;
    term_sleep_ms(PAUSE_MS);
}

/* Ask once and print.  1: ask again; 0: all was printed. */
static int read_some(struct client *c, const struct options *o, struct reader *r,
                     struct err *e)
{
    Wire__LogReply *reply;
    int rc = client_call(c, WIRE__TYPE__LOG, &r->q, r->q.has_wait_ms ? POLL_MS : 0,
                         &reply, e);

    if (rc < 0 && term_has_signal())
        return 1;
    if (rc == ERR_NOTFOUND && r->ahead) {
        reader_step_back(r);
        return 1;
    }
    if (rc < 0)
        return rc;
    print_lines(c, o, reply, &r->inside);
    rc = reader_advance(r, o, reply);
    chan_free(&reply->base);
    return rc;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct reader r;
    uint64_t id;
    int rc = client_id(argv[0], &id, e);

    (void)argc;
    if (rc == 0 && o->attempt > UINT32_MAX)
        rc = err_set(e, ERR_USAGE, "--attempt: must be at most %u, got %llu",
                     UINT32_MAX, (unsigned long long)o->attempt);
    if (rc < 0)
        return rc;
    reader_init(&r, o, id);
    if (o->follow)
        term_catch_signals();
    do {
        if (term_signal()) {
            client_leave(c, "logs -f", id);
            return 0;
        }
        rc = read_some(c, o, &r, e);
    } while (rc > 0);
    return rc;
}

const struct verb verb_logs = {
    .name = "logs",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "print what a job's ranks printed",
    .text = "Without --follow it prints what is there and never waits. Ctrl-C leaves "
            "and lets the job run on. With --json, an object per line; of a line above "
            "64 KiB one per piece, all but the last with \"cut\":true.",
    .options = {table},
    .size = sizeof(struct options),
    .preset = preset,
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_metrics.c - what a job measured, step by step.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "client/cmd.h"
#include "client/term.h"

enum { POLL_MS = 1000 };

struct options {
    uint64_t since;
    bool csv, follow;
};

static const struct opt table[] = {
    {OPT_COUNT, 0, "since", "STEP", offsetof(struct options, since),
     "only steps after STEP"},
    {OPT_FLAG, 0, "csv", NULL, offsetof(struct options, csv),
     "comma-separated values, one line of names first"},
    {OPT_FLAG, 'f', "follow", NULL, offsetof(struct options, follow),
     "go on until the job ends"},
    {0},
};

/* What is shown of a step as text (with a head) and as CSV (all); --json shows
 * whatever there is. */
static const struct {
    const char *key, *head;
    int width;
} fields[] = {
    {"attempt", "try", 3},
    {"step", "step", 7},
    {"loss", "loss", 9},
    {"val_loss", "val", 9},
    {"lr", "lr", 9},
    {"grad_norm", "norm", 9},
    {"tokens_per_s", "tok/s", 8},
    {"step_seconds", "seconds", 9},
    {"send_hidden", "hidden", 6},
    {"dead_experts", "dead", 4},
    {"max_overload", "overload", 8},
    {"aux_loss", NULL, 0},
    {"z_loss", NULL, 0},
    {"loss_scale", NULL, 0},
    {"send_seconds", NULL, 0},
    {"tokens", NULL, 0},
    {"skipped", NULL, 0},
};
enum { NFIELDS = sizeof fields / sizeof *fields };

static void value_text(const json_t *v, bool csv, char *out, size_t size)
{
    if (json_is_integer(v))
        snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v))
        snprintf(out, size, csv ? "%.9g" : "%.5g", json_real_value(v));
    else if (json_is_boolean(v))
        snprintf(out, size, "%s", json_is_true(v) ? "true" : "false");
    else
        snprintf(out, size, "%s", csv ? "" : "-");
}

static void print_head(bool csv)
{
    for (size_t i = 0; i < NFIELDS; i++) {
        if (csv)
            printf("%s%s", i ? "," : "", fields[i].key);
        else if (fields[i].head)
            printf("%s%*s", i ? " " : "", fields[i].width, fields[i].head);
    }
    putchar('\n');
}

static void print_step(const json_t *m, bool csv)
{
    for (size_t i = 0; i < NFIELDS; i++) {
        char text[40];

        value_text(json_object_get(m, fields[i].key), csv, text, sizeof text);
        if (csv)
            printf("%s%s", i ? "," : "", text);
        else if (fields[i].head)
            printf("%s%*s", i ? " " : "", fields[i].width, text);
    }
    putchar('\n');
}

/* Where the reading of the file stands.  A restart takes lines off its end, and nnd
 * gives it again from the beginning: the lines that stayed are known by then. */
struct reader {
    struct buf lines; /* of those that were read: a uint64_t each, see line_hash */
    size_t at;        /* number of the line that comes next                      */
    uint64_t offset;  /* of that line in the file                                */
};

/* FNV-1a of 64 bits, by Fowler, Noll and Vo. */
static uint64_t line_hash(const char *line, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)line[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* Take the next line; true when it was not read before. */
static bool reader_take(struct reader *r, const char *line, size_t len)
{
    uint64_t hash = line_hash(line, len);
    size_t at = r->at++ * sizeof hash;

    if (at < r->lines.len && memcmp(r->lines.data + at, &hash, sizeof hash) == 0)
        return false;
    r->lines.len = at; /* what was read behind it is no more */
    buf_add(&r->lines, &hash, sizeof hash);
    return true;
}

static void print_line(struct client *c, const struct options *o, const char *line,
                       size_t len)
{
    json_t *m = json_loadb(line, len, 0, NULL);

    if (!json_is_object(m)) { /* the last line before a crash */
        json_decref(m);
        return;
    }
    if ((uint64_t)json_integer_value(json_object_get(m, "step")) <= o->since)
        json_decref(m);
    else if (c->opt.json)
        client_print_json(m);
    else {
        print_step(m, o->csv);
        json_decref(m);
    }
}

static void print_lines(struct client *c, const struct options *o, struct reader *r,
                        const ProtobufCBinaryData *lines)
{
    const char *p = (const char *)lines->data, *end = lines->len ? p + lines->len : p;

    while (p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));

        stop = stop ? stop : end;
        if (reader_take(r, p, (size_t)(stop - p)) && stop > p)
            print_line(c, o, p, (size_t)(stop - p));
        p = stop + 1;
    }
    fflush(stdout);
}

/* Print an answer; *head: the line of names was not printed yet. */
static void print_reply(struct client *c, const struct options *o, struct reader *r,
                        const Wire__MetricsReply *reply, bool *head)
{
    if (reply->next - reply->lines.len != r->offset) /* from the beginning */
        r->at = 0;
    if (*head && reply->has_lines && reply->lines.len) {
        print_head(o->csv);
        *head = false;
    }
    print_lines(c, o, r, &reply->lines);
    r->offset = reply->next;
}

static int read_all(struct client *c, const struct options *o, uint64_t id,
                    struct reader *r, struct err *e)
{
    Wire__Metrics q = WIRE__METRICS__INIT;
    bool more = true, head = !c->opt.json;

    q.has_id = q.has_offset = true;
    q.id = id;
    while (more && !term_signal()) {
        Wire__MetricsReply *reply;
        int rc;

        q.offset = r->offset;
        rc = client_call(c, WIRE__TYPE__METRICS, &q, q.has_wait_ms ? POLL_MS : 0,
                         &reply, e);
        if (rc < 0)
            return term_has_signal() ? 0 : rc;
        print_reply(c, o, r, reply, &head);
        more = !reply->eof || (o->follow && !reply->final);
        q.has_wait_ms = o->follow;
        q.wait_ms = POLL_MS;
        chan_free(&reply->base);
    }
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct reader r = {0};
    uint64_t id;
    int rc = client_id(argv[0], &id, e);

    (void)argc;
    if (rc < 0)
        return rc;
    if (o->follow)
        term_catch_signals();
    rc = read_all(c, o, id, &r, e);
    buf_free(&r.lines);
    return rc;
}

/* Of two forms one would not be heard of. */
static int run_in_one_form(struct client *c, void *values, int argc, char **argv,
                           struct err *e)
{
    const struct options *o = values;

    if (o->csv && c->opt.json)
        return err_set(e, ERR_USAGE, "takes --csv or --json, not both");
    return run(c, values, argc, argv, e);
}

const struct verb verb_metrics = {
    .name = "metrics",
    .args = "ID",
    .min_args = 1,
    .max_args = 1,
    .brief = "print what a job measured, step by step",
    .text = "After a restart the steps since the checkpoint come again, with the new "
            "attempt's number. With --json, an object per step with all that was "
            "measured.",
    .options = {table},
    .size = sizeof(struct options),
    .run = run_in_one_form,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.c - the way to nnd, and how nnctl says things.
 */
#include "client/client.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "client/keyring.h"

enum {
    ANSWER_MS = 10000,
    FAR_MS =
        2500, /* without an answer from another machine: look whether it is there */
    RETRY_MS = 20000,
};

const struct opt common_options[] = {
    {OPT_TEXT, 0, "uri", "URI", offsetof(struct common, uri),
     "where nnd listens: ipc:///PATH or tcp://HOST:PORT (else NND_URI, else the "
     "user's own)"},
    {OPT_FLAG, 0, "json", NULL, offsetof(struct common, json),
     "print JSON, an object with \"v\":1 per answer or per line"},
    {OPT_TEXT, 0, "color", "WHEN", offsetof(struct common, color),
     "auto, always or never"},
    {OPT_FLAG, 'h', "help", NULL, offsetof(struct common, help),
     "show what this verb takes"},
    {0},
};

/* --- connection ----------------------------------------------------------- */

int client_find_uri(struct client *c, struct err *e)
{
    const char *uri = c->opt.uri ? c->opt.uri : getenv("NND_URI");
    char dir[4096];
    int rc;

    if (uri && *uri) {
        if (strlen(uri) >= sizeof c->uri)
            return err_set(e, ERR_USAGE, "--uri: must be below %zu bytes, got %zu",
                           sizeof c->uri, strlen(uri));
        memcpy(c->uri, uri, strlen(uri) + 1);
        return 0;
    }
    rc = chan_default_dir(getenv("XDG_STATE_HOME"), getenv("HOME"), dir, sizeof dir, e);
    return rc < 0 ? rc : chan_default_uri(dir, c->uri, sizeof c->uri, e);
}

int client_connect(struct client *c, struct err *e)
{
    int rc;

    if (c->chan)
        return 0;
    rc = c->uri[0] ? 0 : client_find_uri(c, e);
    if (rc < 0)
        return rc;
    if (str_starts(c->uri, "tcp://"))
        return keyring_connect(c, e);
    return chan_open(c->uri, true, &c->chan, e);
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    nanosleep(&t, NULL);
}

/* A way to another machine that is lost is opened anew: nnd may have another key by
 * now, of those that it is known to have. */
static int ask(struct client *c, unsigned type, const void *request, int wait_ms,
               ProtobufCMessage **answer, struct err *e)
{
    bool far = str_starts(c->uri, "tcp://");
    int64_t until = clock_mono_ns() + (wait_ms + ANSWER_MS) * INT64_C(1000000);
    int rc;

    for (;;) {
        rc = client_connect(c, e);
        if (rc == 0)
            rc = chan_call(c->chan, type, request, wait_ms + (far ? FAR_MS : ANSWER_MS),
                           answer, e);
        if (rc != ERR_UNREACHABLE || !far)
            return rc;
        chan_close(c->chan);
        c->chan = NULL;
        if (clock_mono_ns() >= until)
            return rc;
    }
}

int client_call(struct client *c, unsigned type, const void *request, int wait_ms,
                void *reply, struct err *e)
{
    int64_t until = clock_mono_ns() + RETRY_MS * INT64_C(1000000);
    int rc = client_connect(c, e);

    if (rc < 0)
        return rc;
    for (;;) {
        ProtobufCMessage *answer;
        unsigned later;

        rc = ask(c, type, request, wait_ms, &answer, e);
        if (rc == 0)
            *(ProtobufCMessage **)reply = answer;
        if (rc != ERR_RETRY)
            return rc;
        later = chan_retry_after_ms(c->chan);
        if (later == 0)
            later = 500;
        if (clock_mono_ns() + later * INT64_C(1000000) > until)
            return rc;
        sleep_ms(later);
    }
}

int client_id(const char *text, uint64_t *id, struct err *e)
{
    uint64_t n;

    if (!str_to_u64(text, &n) || n == 0)
        return err_set(e, ERR_USAGE,
                       "job: must be the number that submit printed, "
                       "got \"%s\"",
                       text);
    *id = n;
    return 0;
}

/* --- saying --------------------------------------------------------------- */

void client_say(const struct client *c, const char *fmt, ...)
{
    char text[2000];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    fprintf(stderr, "nnctl: %s%s%s\n", c->verb ? c->verb : "", c->verb ? ": " : "",
            text);
}

void client_leave(const struct client *c, const char *back, uint64_t id)
{
    client_say(c,
               "detached; job %llu still running. Resume: nnctl %s %llu  "
               "Stop: nnctl cancel %llu",
               (unsigned long long)id, back, (unsigned long long)id,
               (unsigned long long)id);
}

void client_print_json(json_t *object)
{
    json_t *head = json_pack("{si}", "v", CLIENT_JSON_VERSION);

    json_object_update(head, object);
    json_dumpf(head, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    fflush(stdout);
    json_decref(head);
    json_decref(object);
}

/* What a code is called in JSON, and what one can do about it. */
static const struct {
    enum err_code code;
    const char *name, *hint;
} codes[] = {
    {ERR_FAILED, "failed", NULL},
    {ERR_USAGE, "usage", NULL},
    {ERR_NOTFOUND, "not_found", NULL},
    {ERR_DENIED, "denied", NULL},
    {ERR_UNREACHABLE, "unreachable",
     "start it with nnd, or train without it: nnctl run JOB.yaml"},
    {ERR_PROTOCOL, "protocol", "use nnd and nnctl of one version"},
    {ERR_RETRY, "retry", NULL},
    {ERR_SPEC, "spec", NULL},
};

static size_t code_row(int code)
{
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (codes[i].code == code)
            return i;
    return 0;
}

json_t *client_error_json(const struct err *e)
{
    json_t *text = json_string(e->text);

    return json_pack("{ssso}", "code", codes[code_row(e->code)].name, "message",
                     text ? text : json_string("(not UTF-8)"));
}

int client_report(const struct client *c, const struct err *e)
{
    const char *hint = codes[code_row(e->code)].hint;

    if (c->opt.json) {
        json_t *error = client_error_json(e);

        if (e->code == ERR_RETRY && c->chan)
            json_object_set_new(error, "retry_after_ms",
                                json_integer(chan_retry_after_ms(c->chan)));
        client_print_json(json_pack("{so}", "error", error));
        return -e->code;
    }
    client_say(c, "%s", e->text);
    if (e->code == ERR_USAGE)
        fprintf(stderr, "hint: nnctl %s%s--help\n", c->verb ? c->verb : "",
                c->verb ? " " : "");
    else if (hint)
        fprintf(stderr, "hint: %s\n", hint);
    return -e->code;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * group.c - "check --mode group": what a plugin's devices do together, in a group of
 * one, which every machine has that has the device.  Nothing may change then: a sum of
 * one is itself.
 */
#include <stdio.h>
#include <string.h>

#include "child.h"
#include "kernel/kernel.h"
#include "kernel/loader.h"
#include "kernel/since.h"
#include "probe.h"

enum { NUMBERS = 3 * 4096 + 5, GROUP_SECONDS = 60, ROUNDS = 3 };

static const int32_t types[] = {NND_F32, NND_F64, NND_BF16};

/* A group and its memory. */
struct trial {
    const struct nnd_device_ops *dev;
    const struct nnd_collectives *ops;
    struct nnd_stream stream;
    void *group, *at; /* at: on the device */
    unsigned char was[8 * NUMBERS], is[8 * NUMBERS];
    struct nnd_error why;
};

/* Small whole numbers in any type's place: bytes are compared, not values. */
static void fill(struct trial *t)
{
    for (size_t i = 0; i < sizeof t->was; i++)
        t->was[i] = i % 4 == 3 ? 0x3f : (unsigned char)(i * 7 % 120);
}

/* A call, and what is there then.  0, or a step that failed with t->why. */
static const char *once(struct trial *t, int32_t dtype, size_t bytes, bool sums)
{
    size_t off = 64, len = bytes - off;
    memset(t->is, 0, sizeof t->is);
    if (t->dev->copy(&t->stream, t->at, t->was, bytes) != NND_OK)
        return "copy";
    int rc =
        sums ? t->ops->reduce(t->group, &t->stream, t->at, dtype, &len, &off, &t->why)
             : t->ops->gather(t->group, &t->stream, t->at, &len, &off, &t->why);
    if (rc != NND_OK)
        return sums ? "reduce" : "gather";
    if (t->dev->copy(&t->stream, t->is, t->at, bytes) != NND_OK ||
        t->dev->stream_sync(&t->stream) != NND_OK) {
        t->dev->health(0, &t->why);
        return "waiting";
    }
    if (memcmp(t->was, t->is, bytes) != 0) {
        snprintf(t->why.text, sizeof t->why.text, "a sum of one is not itself");
        return sums ? "reduce" : "gather";
    }
    return NULL;
}

static const char *all(struct trial *t)
{
    static const size_t size[] = {4, 8, 2};
    const char *failed = NULL;
    for (int i = 0; !failed && i < ROUNDS * 3; i++) {
        failed = once(t, types[i % 3], NUMBERS * size[i % 3], true);
        if (!failed)
            failed = once(t, types[i % 3], NUMBERS * size[i % 3], false);
    }
    return failed;
}

/* Meet, work, part; the first step that failed, with t->why, or NULL. */
static const char *try_group(struct trial *t)
{
    unsigned char id[NND_GROUP_ID] = {0};
    fill(t);
    if (t->dev->stream_new(0, 0, &t->stream) != NND_OK ||
        t->dev->alloc(0, sizeof t->was, &t->at) != NND_OK)
        return "memory";
    child_stage("joining");
    if (t->ops->make_id(id, &t->why) != NND_OK)
        return "make_id";
    if (t->ops->join(0, id, 0, 1, &t->group, &t->why) != NND_OK)
        return "join";
    child_stage("working together");
    const char *failed = all(t);
    child_stage("leaving");
    if (t->ops->leave(t->group, failed != NULL) != NND_OK && !failed)
        failed = "leave";
    t->dev->free(0, t->at);
    t->dev->stream_del(&t->stream);
    return failed;
}

/* What is to be said of one device. */
static json_t *verdict(const struct nnd_device_ops *dev)
{
    static struct trial t;
    char place[128] = "";
    const char *failed = NULL, *skip = "";
    t = (struct trial){.dev = dev, .ops = since_collectives(dev)};
    if (dev->count() <= 0)
        skip = "the device is unavailable";
    else if (!t.ops)
        skip = "it has no collectives";
    else if (t.ops->place(0, place, sizeof place, &t.why) == NND_EUNSUPPORTED)
        skip = t.why.text;
    else
        failed = try_group(&t);
    json_t *text = json_sprintf("%s%s%s", failed ? failed : "", failed ? ": " : "",
                                failed ? t.why.text : "");
    return json_pack("{s:s, s:s, s:o, s:s}", "device", dev->type, "name",
                     t.ops ? t.ops->name : "-", "failed",
                     text ? text : json_string("?"), "skip", skip);
}

/* In the child. */
static int judge(void *arg, struct buf *out, struct err *e)
{
    const char *path = arg;
    struct pool *pool;
    struct kernels *ks;
    const struct nnd_plugin *p;
    child_stage("loading");
    if (pool_create(1, NULL, NULL, &pool, e) < 0 || kernels_create(pool, &ks, e) < 0 ||
        loader_open(path, kernels_host(ks), &p, e) < 0)
        return -1;
    child_device();
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->ndevices; i++)
        json_array_append_new(list, verdict(p->devices[i]));
    char *text = json_dumps(list, JSON_COMPACT);
    if (!text)
        return err_set(e, ERR_FAILED, "%s: no verdict could be written", path);
    buf_puts(out, text);
    return 0;
}

static void print(const json_t *v)
{
    const char *failed = probe_text(v, "failed"), *skip = probe_text(v, "skip");
    printf("%-6s %-20s %-16s %s\n",
           *failed ? "FAILED"
           : *skip ? "skip"
                   : "ok",
           probe_text(v, "name"), probe_text(v, "device"),
           *failed ? failed
           : *skip ? skip
                   : "a group of one");
}

int probe_group(const struct options *o)
{
    double seconds = o->seconds > 0 ? o->seconds : GROUP_SECONDS;
    struct buf out = {0};
    struct err e = {0};
    int status = 0;
    if (child_run(judge, (void *)o->files[0], seconds, &out, &e) < 0) {
        fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
        return 1;
    }
    json_t *all = json_loads(out.data, 0, NULL);
    if (!o->json && json_array_size(all) == 0)
        printf("skip   %s: brings no device\n", o->files[0]);
    for (size_t i = 0; i < json_array_size(all); i++) {
        status |= *probe_text(json_array_get(all, i), "failed") != '\0';
        if (!o->json)
            print(json_array_get(all, i));
    }
    if (o->json) {
        json_t *top = json_pack("{s:i, s:b, s:O}", "version_of_format", 1, "ok",
                                status == 0, "groups", all);
        json_dumpf(top, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(top);
    }
    json_decref(all);
    buf_free(&out);
    return status;
}

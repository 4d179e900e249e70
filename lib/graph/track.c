/* SPDX-License-Identifier: Apache-2.0 */
/*
 * track.c - the events between two streams, and what they tell.
 */
#include "graph/track.h"

struct post {
    void *ready;       /* on the first stream: what the job needs is there */
    void *begin, *end; /* on the track                                     */
};

struct wait {
    void *done;          /* on the track: all jobs so far                     */
    void *stands, *goes; /* on the first stream: it begins to wait, it has ended */
};

struct track {
    const struct nnd_device_ops *dev;
    const struct nnd_stream *stream;
    struct nnd_stream beside;
    struct arena *mem;
    struct post *post;
    struct wait *wait;
    int room_posts, room_waits;
    int posts, waits; /* not added to `time` yet        */
    bool pending;     /* posted since the last wait     */
    struct lane_time time;
};

static int lost(const struct track *t, struct err *e)
{
    struct nnd_error why = {{0}};
    t->dev->health(t->stream->device, &why);
    return err_set(e, ERR_FAILED, "device: %s",
                   why.text[0] ? why.text : "no reason given between streams");
}

int track_create(const struct nnd_device_ops *dev, const struct nnd_stream *stream,
                 struct arena *a, struct track **out, struct err *e)
{
    struct track *t = arena_calloc(a, 1, sizeof *t);
    *t = (struct track){.dev = dev, .stream = stream, .mem = a};
    if (dev->stream_new(stream->device, -1, &t->beside) != NND_OK)
        return err_set(e, ERR_FAILED, "device: no second stream on %s", dev->type);
    *out = t;
    return 0;
}

static void delete_events(const struct track *t, void *const *ev, int n)
{
    for (int i = 0; i < n; i++)
        if (ev[i])
            t->dev->event_del(ev[i]);
}

void track_destroy(struct track *t)
{
    if (!t)
        return;
    t->dev->stream_sync(&t->beside);
    for (int i = 0; i < t->room_posts; i++) {
        void *const all[] = {t->post[i].ready, t->post[i].begin, t->post[i].end};
        delete_events(t, all, 3);
    }
    for (int i = 0; i < t->room_waits; i++) {
        void *const all[] = {t->wait[i].done, t->wait[i].stands, t->wait[i].goes};
        delete_events(t, all, 3);
    }
    t->dev->stream_del(&t->beside);
}

const struct nnd_stream *track_stream(const struct track *t)
{
    return &t->beside;
}

static bool new_event(const struct track *t, void **ev)
{
    return t->dev->event_new(t->stream->device, ev) == NND_OK;
}

int track_room(struct track *t, int posts, int waits, struct err *e)
{
    bool made = true;
    t->post = arena_calloc(t->mem, (size_t)posts + 1, sizeof *t->post);
    t->wait = arena_calloc(t->mem, (size_t)waits + 1, sizeof *t->wait);
    t->room_posts = posts;
    t->room_waits = waits;
    for (int i = 0; made && i < posts; i++)
        made = new_event(t, &t->post[i].ready) && new_event(t, &t->post[i].begin) &&
               new_event(t, &t->post[i].end);
    for (int i = 0; made && i < waits; i++)
        made = new_event(t, &t->wait[i].done) && new_event(t, &t->wait[i].stands) &&
               new_event(t, &t->wait[i].goes);
    return made ? 0
                : err_set(e, ERR_FAILED, "device: cannot be given an event on %s",
                          t->dev->type);
}

/* Mark on `from`, and have `to` wait for the mark. */
static bool follow(const struct track *t, const struct nnd_stream *from, void *mark,
                   const struct nnd_stream *to)
{
    return t->dev->event_record(mark, from) == NND_OK &&
           t->dev->event_wait(to, mark) == NND_OK;
}

int track_post(struct track *t, int (*run)(void *arg, struct err *e), void *arg,
               struct err *e)
{
    if (t->posts == t->room_posts)
        t->posts = t->waits = 0; /* nobody has asked for their times */
    const struct post *p = &t->post[t->posts];
    t->pending = true;
    if (!follow(t, t->stream, p->ready, &t->beside) ||
        t->dev->event_record(p->begin, &t->beside) != NND_OK)
        return lost(t, e);
    if (run(arg, e))
        return e->code;
    if (t->dev->event_record(p->end, &t->beside) != NND_OK)
        return lost(t, e);
    t->posts++;
    return 0;
}

int track_wait(struct track *t, struct err *e)
{
    if (t->waits == t->room_waits)
        t->posts = t->waits = 0;
    const struct wait *w = &t->wait[t->waits];
    if (t->dev->event_record(w->stands, t->stream) != NND_OK ||
        !follow(t, &t->beside, w->done, t->stream) ||
        t->dev->event_record(w->goes, t->stream) != NND_OK)
        return lost(t, e);
    t->waits++;
    t->pending = false;
    return 0;
}

bool track_pending(const struct track *t)
{
    return t && t->pending;
}

static int64_t between(const struct track *t, void *a, void *b)
{
    float ms = 0;
    return t->dev->event_ms(a, b, &ms) == NND_OK ? (int64_t)((double)ms * 1e6) : 0;
}

struct lane_time track_timed(struct track *t)
{
    int64_t busy = 0, exposed = 0;
    if (t->pending || !t->waits || t->dev->event_query(t->wait[t->waits - 1].goes) != 1)
        return t->time;
    for (int i = 0; i < t->posts; i++)
        busy += between(t, t->post[i].begin, t->post[i].end);
    for (int i = 0; i < t->waits; i++)
        exposed += between(t, t->wait[i].stands, t->wait[i].goes);
    t->time.busy += busy;
    t->time.exposed += exposed < busy ? exposed : busy;
    t->posts = t->waits = 0;
    return t->time;
}

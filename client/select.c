/* SPDX-License-Identifier: Apache-2.0 */
/*
 * select.c - from conditions to jobs.
 */
#include "client/select.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "client/wire_json.h"

enum { STATES = WIRE__STATE__TIMEOUT + 1, PAGE = 1000 };

const struct opt select_options[] = {
    {OPT_FLAG, 0, "all", NULL, offsetof(struct select, all),
     "all jobs that can be meant"},
    {OPT_ID, 0, "array", "ID", offsetof(struct select, array),
     "the jobs of this array"},
    {OPT_TEXT, 0, "name", "NAME", offsetof(struct select, name),
     "the jobs of this name"},
    {OPT_LIST, 0, "state", "STATE", offsetof(struct select, states),
     "the jobs in this state, for example queued; may be repeated"},
    {OPT_TEXT, 0, "user", "USER", offsetof(struct select, user),
     "the jobs of this user, by the name of a key, or by number"},
    {OPT_FLAG, 'n', "dry-run", NULL, offsetof(struct select, dry_run),
     "only say which jobs would be meant"},
    {0},
};

static int find_state(const char *word, Wire__State *out, struct err *e)
{
    const char *names[STATES], *near;

    for (int i = 0; i < STATES; i++) {
        names[i] = wire_state_name((Wire__State)i);
        if (strcmp(names[i], word) == 0) {
            *out = (Wire__State)i;
            return 0;
        }
    }
    near = str_nearest(word, names, STATES);
    return err_set(e, ERR_USAGE, "--state: unknown state \"%.40s\"%s%s%s", word,
                   near ? "; did you mean \"" : "", near ? near : "",
                   near ? "\"?" : "");
}

int select_fill(struct client *c, const struct select *o, Wire__List *q, struct err *e)
{
    uint64_t uid = 0;
    int rc = 0;

    q->states = arena_calloc(c->arena, STATES + o->states.n, sizeof *q->states);
    for (size_t i = 0; i < o->states.n && rc == 0; i++)
        rc = find_state(o->states.items[i], &q->states[q->n_states++], e);
    q->has_array = o->array != 0;
    q->array = o->array;
    q->has_uid = o->user && str_to_u64(o->user, &uid) && uid <= UINT32_MAX;
    q->uid = q->has_uid ? (uint32_t)uid : 0;
    q->user = q->has_uid ? NULL : (char *)o->user;
    q->name = (char *)o->name;
    return rc;
}

bool select_given(const struct select *o)
{
    return o->all || o->array || o->name || o->states.n || o->user;
}

static void only_ended(Wire__List *q)
{
    size_t n = 0;

    if (q->n_states == 0)
        while (q->n_states < STATES) {
            q->states[q->n_states] = (Wire__State)q->n_states;
            q->n_states++;
        }
    for (size_t i = 0; i < q->n_states; i++)
        if (wire_state_is_final(q->states[i]))
            q->states[n++] = q->states[i];
    q->n_states = n;
}

/* All of them are asked for before anything is done to one: the list would change. */
static int gather(struct client *c, Wire__List *q, struct buf *ids, struct err *e)
{
    Wire__ListReply *reply;
    bool more;

    q->has_limit = true;
    q->limit = PAGE;
    do {
        int rc = client_call(c, WIRE__TYPE__LIST, q, 0, &reply, e);

        if (rc < 0)
            return rc;
        for (size_t i = 0; i < reply->n_jobs; i++) {
            buf_add(ids, &reply->jobs[i]->id, sizeof(uint64_t));
            q->has_before = true;
            q->before = reply->jobs[i]->id;
        }
        more = reply->more && reply->n_jobs > 0;
        chan_free(&reply->base);
    } while (more);
    return 0;
}

static int by_condition(struct client *c, const struct select *o, bool ended,
                        select_f *fn, void *arg, struct err *e)
{
    Wire__List q = WIRE__LIST__INIT;
    struct buf ids = {0};
    int rc = select_fill(c, o, &q, e);

    if (ended)
        only_ended(&q);
    else
        q.has_active = q.active = true;
    if (rc == 0 && !(ended && q.n_states == 0))
        rc = gather(c, &q, &ids, e);
    for (size_t i = ids.len / sizeof(uint64_t); i-- > 0 && rc == 0;) {
        uint64_t id;

        memcpy(&id, ids.data + i * sizeof id, sizeof id);
        rc = fn(arg, id, e);
    }
    buf_free(&ids);
    return rc;
}

int select_each(struct client *c, const struct select *o, bool ended, int argc,
                char **argv, select_f *fn, void *arg, struct err *e)
{
    uint64_t id;
    int rc = 0;

    if (select_given(o) == (argc > 0))
        return err_set(e, ERR_USAGE,
                       "needs job numbers or --all, --array, --name, --state, --user, "
                       "not both");
    if (argc == 0)
        return by_condition(c, o, ended, fn, arg, e);
    for (int i = 0; i < argc && rc == 0; i++)
        rc = client_id(argv[i], &id, e);
    for (int i = 0; i < argc && rc == 0; i++) {
        client_id(argv[i], &id, e);
        rc = fn(arg, id, e);
    }
    return rc;
}

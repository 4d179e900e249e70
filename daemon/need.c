/* SPDX-License-Identifier: Apache-2.0 */
/*
 * need.c - looks at the jobs that a job waits for.
 */
#include "daemon/need.h"

#include <stdio.h>
#include <string.h>

static const struct {
    Wire__Need need;
    const char *word, *end; /* end: what has to become of the other job */
} words[] = {
    {WIRE__NEED__OK, "ok", "success"},
    {WIRE__NEED__ANY, "any", "end"},
    {WIRE__NEED__NOT_OK, "notok", "failure"},
};
enum { WORDS = sizeof words / sizeof *words };

/* As of requests about a job: to those who do not see it there is none such. */
static int check_seen(const struct rpc_call *call, uint64_t id, struct err *e)
{
    uint32_t uid;
    int rc = hub_owner(call->hub, id, &uid, e);

    if (rc < 0 || rpc_sees(call, uid))
        return rc;
    return err_set(e, ERR_NOTFOUND, "job %llu: no such job", (unsigned long long)id);
}

int need_text(const struct rpc_call *call, Wire__After *const *after, size_t n,
              struct buf *out, struct err *e)
{
    if (n > NEED_MAX)
        return err_set(e, ERR_SPEC, "after: wanted at most %d jobs, found %zu",
                       NEED_MAX, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = after[i]->id;
        int rc = check_seen(call, id, e);
        size_t w = 0;

        if (rc < 0)
            return err_prefix(e, "after");
        while (w < WORDS && words[w].need != after[i]->need)
            w++;
        if (w == WORDS)
            return err_set(e, ERR_SPEC, "after: %d is no need known to this nnd",
                           after[i]->need);
        buf_printf(out, "%s%s:%llu", i ? "," : "", words[w].word,
                   (unsigned long long)id);
    }
    return 0;
}

/* The next "word:id" of the text; false at its end. */
static bool next(const char **text, size_t *w, uint64_t *id)
{
    char word[8];
    unsigned long long n;
    int len;

    if (sscanf(*text, "%7[a-z]:%llu%n", word, &n, &len) != 2)
        return false;
    for (*w = 0; *w < WORDS; ++*w)
        if (strcmp(words[*w].word, word) == 0)
            break;
    *text += len;
    *text += **text == ',';
    *id = n;
    return *w < WORDS;
}

static enum need judge(Wire__Need need, Wire__State s)
{
    if (!state_is_final(s))
        return NEED_OPEN;
    if (need == WIRE__NEED__ANY)
        return NEED_MET;
    return (s == WIRE__STATE__COMPLETED) == (need == WIRE__NEED__OK) ? NEED_MET
                                                                     : NEED_NEVER;
}

struct look {
    Wire__Need need;
    uint64_t next; /* the number that comes next, unless one is missing */
    enum need found;
};

/* One that was purged was not waited for when it ended, or it would have been kept:
 * nothing is known of it. */
static enum need judge_missing(Wire__Need need)
{
    return need == WIRE__NEED__ANY ? NEED_MET : NEED_NEVER;
}

static bool look_at(void *arg, uint64_t id, Wire__State state)
{
    struct look *l = arg;

    if (id != l->next)
        l->found = judge_missing(l->need);
    if (l->found == NEED_MET)
        l->found = judge(l->need, state);
    l->next = id + 1;
    return l->found == NEED_MET;
}

/* One need: of a job, or of every job of its array, of which the first decides that
 * does not meet it. */
static enum need look_one(struct hub *h, Wire__Need need, uint64_t id)
{
    struct look l = {need, id, NEED_MET};
    const struct job *j = hub_find(h, id);

    if (j && !state_is_final(j->state))
        return NEED_OPEN;
    if (store_array(h->store, id, look_at, &l, NULL) < 0)
        return NEED_UNKNOWN;
    return l.next == id ? judge_missing(need) : l.found;
}

/* The same for all the needs of a text. */
static enum need look_all(struct hub *h, const char *text, char *why, size_t size)
{
    uint64_t id;
    size_t w;

    while (next(&text, &w, &id)) {
        enum need found = look_one(h, words[w].need, id);

        if (found == NEED_MET)
            continue;
        snprintf(why, size, "%s the %s of job %llu",
                 found == NEED_NEVER ? "canceled: it was to run after" : "waits for",
                 words[w].end, (unsigned long long)id);
        return found;
    }
    *why = '\0';
    return NEED_MET;
}

enum need need_look(struct hub *h, const struct job *j, struct need_memo *m)
{
    const char *text = j->needs ? j->needs : "";

    if (!m->text || strcmp(m->text, text) != 0)
        m->found = look_all(h, text, m->why, sizeof m->why);
    m->text = text;
    return m->found;
}

bool need_has(const struct job *j, const struct job *other)
{
    const char *text = j->needs ? j->needs : "";
    uint64_t id;
    size_t w;

    while (next(&text, &w, &id))
        if (id == other->id || id == other->array)
            return true;
    return false;
}

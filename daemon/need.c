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

int need_text(struct hub *h, Wire__After *const *after, size_t n, struct buf *out,
              struct err *e)
{
    if (n > NEED_MAX)
        return err_set(e, ERR_SPEC, "after: wanted at most %d jobs, found %zu",
                       NEED_MAX, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = after[i]->id;
        struct job *j = NULL;
        int rc = hub_find(h, id) ? 0 : store_job(h->store, id, &j, e);
        size_t w = 0;

        job_destroy(j);
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

/* State and array of a job, wherever it is; false when it is not there any more. */
static bool look_up(struct hub *h, uint64_t id, Wire__State *state, uint64_t *array)
{
    struct job *j = hub_find(h, id), *stored = NULL;

    if (!j && store_job(h->store, id, &stored, NULL) == 0)
        j = stored;
    if (j) {
        *state = j->state;
        *array = j->array;
    }
    job_destroy(stored);
    return j != NULL;
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

/* One need: of a job, or of every job of its array.  One that was purged was not
 * waited for when it ended, or it would have been kept: nothing is known of it. */
static enum need look_one(struct hub *h, Wire__Need need, uint64_t id)
{
    Wire__State state;
    uint64_t array = 0, at = id;
    enum need found;

    if (!look_up(h, id, &state, &array))
        return need == WIRE__NEED__ANY ? NEED_MET : NEED_NEVER;
    found = judge(need, state);
    while (found == NEED_MET && array == id) {
        if (!look_up(h, ++at, &state, &array) || array != id)
            break;
        found = judge(need, state);
    }
    return found;
}

enum need need_look(struct hub *h, const struct job *j, char *why, size_t size)
{
    const char *text = j->needs ? j->needs : "";
    uint64_t id;
    size_t w;

    while (next(&text, &w, &id)) {
        enum need found = look_one(h, words[w].need, id);

        if (found == NEED_MET)
            continue;
        snprintf(why, size, "%s the %s of job %llu",
                 found == NEED_OPEN ? "waits for" : "canceled: it was to run after",
                 words[w].end, (unsigned long long)id);
        return found;
    }
    return NEED_MET;
}

bool need_has(const struct job *j, uint64_t id)
{
    const char *text = j->needs ? j->needs : "";
    uint64_t other;
    size_t w;

    while (next(&text, &w, &other))
        if (other == id)
            return true;
    return false;
}

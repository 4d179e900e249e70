/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node.c - the table of machines, and where ranks go.
 */
#include "daemon/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hwloc.h>

#include "base/fs.h"
#include "base/oom.h"
#include "base/str.h"

enum { FILE_MAX = 1 << 20, SLOTS_MAX = 65536, NODES_MAX = 65536 };

static void add(struct nodes *t, const char *name, uint32_t slots)
{
    t->v = oom_realloc(t->v, (t->n + 1) * sizeof *t->v);
    t->v[t->n] = (struct node){.slots = slots};
    snprintf(t->v[t->n].name, sizeof t->v[t->n].name, "%s", name);
    t->n++;
    t->slots += slots;
}

/* What the machine has, less what a cpuset or an affinity takes away. */
static int count_processors(uint32_t *out, struct err *e)
{
    hwloc_topology_t topology;
    int n = 0;

    if (hwloc_topology_init(&topology) < 0)
        return err_set(e, ERR_FAILED, "counting processors: hwloc does not start");
    hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_IS_THISSYSTEM |
                                           HWLOC_TOPOLOGY_FLAG_RESTRICT_TO_CPUBINDING);
    if (hwloc_topology_load(topology) == 0)
        n = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_PU);
    hwloc_topology_destroy(topology);
    if (n <= 0)
        return err_set(e, ERR_FAILED,
                       "counting processors: hwloc finds none; say how "
                       "many with --slots");
    *out = (uint32_t)n;
    return 0;
}

int nodes_local(const char *name, uint32_t slots, struct nodes *out, struct err *e)
{
    int rc = slots ? 0 : count_processors(&slots, e);

    if (rc < 0)
        return rc;
    *out = (struct nodes){0};
    add(out, name, slots);
    return 0;
}

/* --- the file ------------------------------------------------------------- */

static bool is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                         "0123456789.-_");

    return n > 0 && n < sizeof((struct node *)0)->name && s[n] == '\0' && *s != '-';
}

static int take_line(struct nodes *t, char *line, struct err *e)
{
    char *save = NULL, *name, *slots, *more;
    uint64_t n;

    line[strcspn(line, "#")] = '\0';
    name = strtok_r(line, " \t\r", &save);
    if (!name)
        return 0;
    slots = strtok_r(NULL, " \t\r", &save);
    more = strtok_r(NULL, " \t\r", &save);
    if (!is_name(name))
        return err_set(e, ERR_USAGE, "wanted the name of a host, found \"%.80s\"",
                       name);
    if (!slots || more || !str_to_u64(slots, &n) || n < 1 || n > SLOTS_MAX)
        return err_set(e, ERR_USAGE, "%s: wanted its slots, 1 to %d, found \"%.40s\"",
                       name, SLOTS_MAX,
                       more    ? more
                       : slots ? slots
                               : "");
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->v[i].name, name) == 0)
            return err_set(e, ERR_USAGE, "%s: is there twice", name);
    if (t->n == NODES_MAX)
        return err_set(e, ERR_USAGE, "wanted at most %d nodes", NODES_MAX);
    add(t, name, (uint32_t)n);
    return 0;
}

int nodes_load(const char *path, struct nodes *out, struct err *e)
{
    struct buf text = {0};
    int rc = fs_read(path, FILE_MAX, &text, e), number = 0;
    char *rest = text.data, *line;

    *out = (struct nodes){.listed = true};
    while (rc == 0 && (line = strsep(&rest, "\n"))) {
        number++;
        rc = take_line(out, line, e);
        if (rc < 0)
            err_prefix(e, "%s: line %d", path, number);
    }
    buf_free(&text);
    if (rc == 0 && out->n == 0)
        rc = err_set(e, ERR_USAGE, "%s: names no node", path);
    if (rc < 0)
        nodes_free(out);
    return rc;
}

void nodes_free(struct nodes *t)
{
    free(t->v);
    *t = (struct nodes){0};
}

/* --- room ----------------------------------------------------------------- */

static uint32_t room(const struct node *v, uint32_t threads, bool empty)
{
    uint32_t used = empty ? 0 : v->used;

    return v->slots > used ? (v->slots - used) / threads : 0;
}

uint64_t nodes_room(const struct nodes *t, uint32_t threads, bool empty)
{
    uint64_t n = 0;

    for (size_t i = 0; i < t->n; i++)
        n += room(&t->v[i], threads, empty);
    return n;
}

static void say(struct buf *out, const struct node *v, uint32_t ranks)
{
    if (ranks)
        buf_printf(out, "%s%s:%u", out->len ? "," : "", v->name, ranks);
}

/* Shared out evenly, the first nodes taking what is left over. */
static void share_out(const struct nodes *t, uint32_t ranks, struct buf *out)
{
    for (size_t i = 0; i < t->n; i++)
        say(out, &t->v[i], (uint32_t)(ranks / t->n + (i < ranks % t->n)));
}

bool nodes_place(const struct nodes *t, uint32_t ranks, uint32_t threads, bool anyway,
                 struct buf *out)
{
    for (size_t i = 0; i < t->n; i++) {
        if (room(&t->v[i], threads, false) >= ranks) {
            say(out, &t->v[i], ranks);
            return true;
        }
    }
    if (nodes_room(t, threads, false) < ranks) {
        if (anyway)
            share_out(t, ranks, out);
        return anyway;
    }
    for (size_t i = 0; i < t->n && ranks; i++) {
        uint32_t here = room(&t->v[i], threads, false);

        here = here < ranks ? here : ranks;
        say(out, &t->v[i], here);
        ranks -= here;
    }
    return true;
}

void nodes_clear(struct nodes *t)
{
    for (size_t i = 0; i < t->n; i++)
        t->v[i].used = 0;
}

void nodes_take(struct nodes *t, const char *where, uint32_t ranks, uint32_t threads)
{
    char name[64];
    unsigned n;
    int len;

    if (!where || !t->listed) {
        t->v[0].used += ranks * threads;
        return;
    }
    while (sscanf(where, "%63[^:,]:%u%n", name, &n, &len) == 2) {
        for (size_t i = 0; i < t->n; i++)
            if (strcmp(t->v[i].name, name) == 0)
                t->v[i].used += n * threads;
        where += len;
        where += *where == ',';
    }
}

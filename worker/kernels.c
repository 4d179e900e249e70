/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.c - the lines of a kernel table ("OP KEY PLUGIN/KERNEL VERSION WHY", see
 * kernel/kernel.h) taken apart.
 */
#include "worker/kernels.h"

#include <string.h>

/* Cut the next word off *text. */
static char *word(char **text)
{
    char *w = *text + strspn(*text, " ");
    char *end = w + strcspn(w, " ");

    *text = *end ? end + 1 : end;
    *end = '\0';
    return w;
}

static uint32_t count_nodes(const struct kernel_want *want, size_t n, const char *op,
                            const char *key)
{
    uint32_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += strcmp(want[i].op, op) == 0 && strcmp(want[i].key, key) == 0;
    return count;
}

/* The pieces of the line stay in it. */
static void read_line(char *line, Wire__Kernel *k)
{
    char *slash;

    k->op = word(&line);
    k->dtype = word(&line);
    k->plugin = word(&line);
    word(&line); /* version: every rank has the same */
    k->why = line;
    slash = strchr(k->plugin, '/');
    k->name = slash ? slash + 1 : k->plugin;
    if (slash)
        *slash = '\0';
}

Wire__Kernel **kernels_rows(const char *table, const char *device,
                            const struct kernel_want *want, size_t nwant,
                            struct arena *a, size_t *n)
{
    char *text = arena_strdup(a, table), *rest = NULL;
    Wire__Kernel **row = arena_calloc(a, strlen(text) + 1, sizeof *row);

    *n = 0;
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        Wire__Kernel *k = row[(*n)++] = arena_alloc(a, sizeof *k);

        wire__kernel__init(k);
        read_line(line, k);
        k->has_nodes = 1;
        k->nodes = count_nodes(want, nwant, k->op, k->dtype);
        k->device = (char *)device;
    }
    return row;
}

Wire__Kernel *kernels_way(const struct exec_way *way, const char *device,
                          struct arena *a)
{
    Wire__Kernel *k = way->nodes > 0 && way->by ? arena_alloc(a, sizeof *k) : NULL;

    if (!k)
        return NULL;
    wire__kernel__init(k);
    k->op = "grad.reduce";
    k->dtype = "f32";
    k->name = (char *)way->by;
    k->plugin = (char *)(strcmp(way->by, "host") == 0 ? "nnd" : device);
    k->device = (char *)device;
    k->why = (char *)way->why;
    k->has_nodes = 1;
    k->nodes = (uint32_t)way->nodes;
    return k;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernels.c - the lines of a kernel table ("OP KEY PLUGIN/KERNEL VERSION WHY", see
 * kernel/kernel.h) as messages.
 */
#include "worker/kernels.h"

#include <string.h>

#include "base/log.h"

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

void kernels_tell(struct trainer *t, const char *device, struct agent *a)
{
    struct arena *mem = arena_create();
    char *text = arena_strdup(mem, trainer_kernels(t)), *rest = NULL;
    Wire__Kernel **row = arena_calloc(mem, strlen(text) + 1, sizeof *row);
    struct kernel_want *want;
    size_t nwant, n = 0;
    struct err e;

    if (exec_wants(trainer_graph(t), mem, &want, &nwant, &e) < 0) {
        log_warn("%s", e.text);
        nwant = 0;
    }
    for (char *line = strtok_r(text, "\n", &rest); line;
         line = strtok_r(NULL, "\n", &rest)) {
        row[n] = arena_alloc(mem, sizeof **row);
        wire__kernel__init(row[n]);
        read_line(line, row[n]);
        row[n]->has_nodes = nwant > 0;
        row[n]->nodes = count_nodes(want, nwant, row[n]->op, row[n]->dtype);
        row[n++]->device = (char *)device;
    }
    agent_kernels(a, row, n);
    arena_destroy(mem);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.c - the selection of a job: kept, printed, read back on another rank.
 */
#include "kernel/table.h"

#include <string.h>

#include "base/arena.h"

/* How an empty key is written. */
#define NO_KEY "-"

struct kernel_table {
    struct arena *arena;
    struct table_row *rows;
    size_t count, room;
};

struct kernel_table *table_create(void)
{
    struct arena *arena = arena_create();
    struct kernel_table *t = arena_alloc(arena, sizeof *t);
    t->arena = arena;
    return t;
}

void kernel_table_destroy(struct kernel_table *t)
{
    if (t)
        arena_destroy(t->arena);
}

void table_add(struct kernel_table *t, const struct table_row *row)
{
    if (t->count == t->room) {
        size_t room = t->room ? 2 * t->room : 32;
        struct table_row *more = arena_calloc(t->arena, room, sizeof *more);
        if (t->count)
            memcpy(more, t->rows, t->count * sizeof *more);
        t->rows = more;
        t->room = room;
    }
    struct table_row *r = &t->rows[t->count++];
    *r = *row;
    r->op = arena_strdup(t->arena, row->op);
    r->key = arena_strdup(t->arena, row->key);
    r->sum = arena_strdup(t->arena, row->sum);
    r->why = arena_strdup(t->arena, row->why);
}

static const struct table_row *find(const struct kernel_table *t, const char *op,
                                    const char *key)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->rows[i].op, op) == 0 && strcmp(t->rows[i].key, key) == 0)
            return &t->rows[i];
    return NULL;
}

const struct nnd_kernel *kernel_table_find(const struct kernel_table *t, const char *op,
                                           const char *key)
{
    const struct table_row *row = find(t, op, key);
    return row ? row->kernel : NULL;
}

void kernel_table_print(const struct kernel_table *t, struct buf *out)
{
    for (size_t i = 0; i < t->count; i++) {
        const struct table_row *r = &t->rows[i];
        buf_printf(out, "%s %s %s/%s %s%s%s %s\n", r->op, r->key[0] ? r->key : NO_KEY,
                   r->plugin->name, r->kernel->name, r->plugin->version,
                   r->sum[0] ? "#" : "", r->sum, r->why);
    }
}

/* Cut the next word off *text; "" at the end of the line. */
static char *next_word(char **text)
{
    char *word = *text + strspn(*text, " ");
    char *end = word + strcspn(word, " ");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

/* Of the same version two files may compute two things. */
static int same_file(const struct kernels *ks, size_t plugin, const char *name,
                     const char *sum, struct table_row *row, struct err *e)
{
    const char *mine = kernels_plugin_sha256(ks, plugin);
    size_t n = strlen(sum);
    row->sum = sum;
    if (strncmp(mine, sum, n) == 0 && (n > 0 || !mine[0]))
        return 0;
    return err_set(
        e, ERR_FAILED,
        "kernel %s: the job uses a file of this version with sha256 %s, this "
        "process has %s with %.*s",
        name, n ? sum : "none", kernels_plugin_path(ks, plugin), TABLE_SUM,
        mine[0] ? mine : "none");
}

static int find_kernel(const struct kernels *ks, const char *name, const char *version,
                       const char *sum, struct table_row *row, struct err *e)
{
    const char *slash = strchr(name, '/');
    size_t n = slash ? (size_t)(slash - name) : strlen(name);
    for (size_t i = 0; slash && i < kernels_plugin_count(ks); i++) {
        const struct nnd_plugin *p = kernels_plugin(ks, i);
        if (strncmp(p->name, name, n) != 0 || p->name[n] != '\0')
            continue;
        if (strcmp(p->version, version) != 0)
            return err_set(e, ERR_FAILED,
                           "kernel %s: this process has plugin %s %s, the job uses %s",
                           name, p->name, p->version, version);
        for (uint32_t j = 0; j < p->nkernels; j++)
            if (strcmp(p->kernels[j]->name, slash + 1) == 0) {
                row->plugin = p;
                row->kernel = p->kernels[j];
                return same_file(ks, i, name, sum, row, e);
            }
        return err_set(e, ERR_NOTFOUND, "kernel %s: plugin %s %s has no such kernel",
                       name, p->name, p->version);
    }
    return err_set(e, ERR_NOTFOUND, "kernel %s: this process has no such plugin", name);
}

static int parse_line(const struct kernels *ks, char *line, struct kernel_table *t,
                      struct err *e)
{
    struct table_row row = {0};
    row.op = next_word(&line);
    row.key = next_word(&line);
    const char *name = next_word(&line);
    char *version = next_word(&line), *sum = version + strcspn(version, "#");
    row.why = line;
    if (!*version)
        return err_set(
            e, ERR_PROTOCOL,
            "kernel table: \"%s %s %s\": wanted OP KEY PLUGIN/KERNEL VERSION", row.op,
            row.key, name);
    if (strcmp(row.key, NO_KEY) == 0)
        row.key = "";
    if (*sum)
        *sum++ = '\0';
    int rc = find_kernel(ks, name, version, sum, &row, e);
    if (rc < 0)
        return rc;
    if (strcmp(row.kernel->op, row.op) != 0)
        return err_set(e, ERR_PROTOCOL, "kernel table: %s serves %s, not %s", name,
                       row.kernel->op, row.op);
    if (find(t, row.op, row.key))
        return err_set(e, ERR_PROTOCOL, "kernel table: two rows for %s %s", row.op,
                       row.key);
    table_add(t, &row);
    return 0;
}

int kernel_table_parse(const struct kernels *ks, const char *text,
                       struct kernel_table **out, struct err *e)
{
    struct kernel_table *t = table_create();
    char *rest = arena_strdup(t->arena, text);
    for (char *line; (line = strsep(&rest, "\n"));) {
        int rc = *line ? parse_line(ks, line, t, e) : 0;
        if (rc < 0) {
            kernel_table_destroy(t);
            return rc;
        }
    }
    *out = t;
    return 0;
}

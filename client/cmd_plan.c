/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cmd_plan.c - what a job will take, with nothing run: nnd-worker computes it.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client/child.h"
#include "client/cmd.h"
#include "client/jobfile.h"
#include "client/table.h"

struct options {
    struct jobfile file;
};

/* --- text ------------------------------------------------------------------------- */

/* "1,234,567": figures that are compared digit by digit. */
static void number(json_int_t n, char *out, size_t size)
{
    char digits[32];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;

    for (size_t i = 0; i < len && at + 2 < size; i++) {
        if (i > 0 && (len - i) % 3 == 0 && digits[i - 1] != '-')
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

static void head_line(const json_t *plan, const char *key, const char *name)
{
    char text[48];

    number(json_integer_value(json_object_get(plan, key)), text, sizeof text);
    printf("%-18s %16s\n", name, text);
}

/* A number, or text, of a row. */
static void cell(struct table *t, size_t column, const json_t *v)
{
    char text[48];

    if (json_is_string(v)) {
        table_cell(t, column, "%s", json_string_value(v));
    } else if (json_is_integer(v)) {
        number(json_integer_value(v), text, sizeof text);
        table_cell(t, column, "%s", text);
    }
}

static void print_ranks(struct client *c, const json_t *ranks)
{
    static const char *const kinds[] = {
        "weights", "master", "moments", "gradients", "activations", "buffers", "total"};
    static const struct column columns[] = {
        {"RANK", true},    {"WEIGHTS", true},   {"MASTER", true},
        {"MOMENTS", true}, {"GRADIENTS", true}, {"ACTIVATIONS", true},
        {"BUFFERS", true}, {"TOTAL", true},
    };
    struct table t;
    size_t i;
    json_t *rank;

    table_init(&t, columns, sizeof columns / sizeof *columns, c->arena);
    json_array_foreach(ranks, i, rank)
    {
        const json_t *bytes = json_object_get(rank, "bytes");

        table_row(&t);
        cell(&t, 0, json_object_get(rank, "rank"));
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
            cell(&t, k + 1, json_object_get(bytes, kinds[k]));
    }
    puts("\nbytes of memory");
    table_print(&t, true, stdout);
}

/* One table whose columns are keys of the objects in a list. */
static void print_list(struct client *c, const json_t *list, const char *title,
                       const char *const *keys, const struct column *columns, size_t n)
{
    struct table t;
    size_t i;
    json_t *row;

    if (json_array_size(list) == 0)
        return;
    table_init(&t, columns, n, c->arena);
    json_array_foreach(list, i, row)
    {
        table_row(&t);
        for (size_t k = 0; k < n; k++)
            cell(&t, k, json_object_get(row, keys[k]));
    }
    printf("\n%s\n", title);
    table_print(&t, true, stdout);
}

static void print_plan(struct client *c, const json_t *plan)
{
    static const char *const wire_keys[] = {"collective", "where", "calls", "bytes"};
    static const struct column wire[] = {
        {"COLLECTIVE", false}, {"WHERE", false}, {"CALLS", true}, {"BYTES", true}};
    static const char *const kernel_keys[] = {"op", "name", "plugin", "dtype", "nodes"};
    static const struct column kernel[] = {{"OP", false},
                                           {"KERNEL", false},
                                           {"PLUGIN", false},
                                           {"DTYPE", false},
                                           {"NODES", true}};

    head_line(plan, "params", "parameters");
    head_line(plan, "active_params", "active per token");
    head_line(plan, "flops_per_token", "FLOPs per token");
    print_ranks(c, json_object_get(plan, "ranks"));
    print_list(c, json_object_get(plan, "wire"), "bytes on the wire per step",
               wire_keys, wire, 4);
    print_list(c, json_object_get(plan, "kernels"), "kernels", kernel_keys, kernel, 5);
}

/* --- the verb -----------------------------------------------------------------------
 */

/* The packed job in a file without a name; its descriptor, which children inherit. */
static int pack_to_file(const struct spec *s, struct err *e)
{
    struct buf packed = {0};
    int fd = -1, rc = spec_pack(s, &packed, e);

    if (rc == 0) {
        fd = memfd_create("job", 0);
        if (fd < 0 || write(fd, packed.data, packed.len) != (ssize_t)packed.len)
            rc = err_sys(e, ERR_FAILED, errno, "packed job");
    }
    buf_free(&packed);
    if (rc == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return rc;
}

static int ask_worker(struct client *c, const struct spec *s, struct buf *out,
                      struct err *e)
{
    struct child_args a = {.arena = c->arena};
    char path[40];
    int rc, fd = pack_to_file(s, e);

    if (fd < 0)
        return fd;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    child_arg(&a, "nnd-worker");
    child_arg(&a, "plan");
    child_option(&a, "--job", path);
    child_arg(&a, "--json");
    rc = child_read(CHILD_WORKER, &a, out, e);
    close(fd);
    return rc;
}

static int show(struct client *c, const struct buf *text, struct err *e)
{
    json_t *plan = json_loadb(text->data, text->len, 0, NULL);

    if (!json_is_object(plan)) {
        json_decref(plan);
        return err_set(e, ERR_PROTOCOL,
                       "nnd-worker plan: printed what is no JSON object");
    }
    if (c->opt.json)
        fwrite(text->data, 1, text->len, stdout);
    else
        print_plan(c, plan);
    json_decref(plan);
    return 0;
}

static int run(struct client *c, void *values, int argc, char **argv, struct err *e)
{
    const struct options *o = values;
    struct buf text = {0};
    struct spec *s;
    int rc = jobfile_read(&o->file, argc, argv, &s, e);

    if (rc < 0)
        return rc;
    jobfile_hint(c, s);
    rc = ask_worker(c, s, &text, e);
    spec_destroy(s);
    if (rc == 0)
        rc = show(c, &text, e);
    buf_free(&text);
    return rc; /* above 0: the worker's, which has said why */
}

const struct verb verb_plan = {
    .name = "plan",
    .args = "JOB.yaml",
    .max_args = 1,
    .brief = "say what a job will take, without running it",
    .text =
        "Parameters, floating-point operations per token, bytes of memory of each "
        "rank by kind, and bytes on the wire per step and collective. Training uses "
        "the same plan. Needs no nnd.",
    .options = {jobfile_options},
    .size = sizeof(struct options),
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * why.c - "why": the choice among the plugins that are found, for one call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "kernel/kernel.h"
#include "probe.h"
#include "run.h"
#include "shape.h"

enum { WHY_SECONDS = 30 };

static const struct types all_types[] = {
    {"f32", NND_F32, NND_F32, NND_F32},
    {"bf16", NND_BF16, NND_BF16, NND_BF16},
    {"f16", NND_F16, NND_F16, NND_F16},
};
static const struct layout plain = {.name = "contiguous", .step = 1};

static const struct types *types_of(const char *name)
{
    for (size_t i = 0; name && i < sizeof all_types / sizeof all_types[0]; i++)
        if (strcmp(all_types[i].name, name) == 0)
            return &all_types[i];
    return name ? NULL : &all_types[0];
}

static int load_all(struct kernels *ks, struct buf *refused, struct err *e)
{
    struct buf folders = {0};
    char *rest = NULL;
    int rc = 0;
    probe_folders(&folders);
    for (char *dir = strtok_r(folders.data, ":", &rest); rc == 0 && dir;
         dir = strtok_r(NULL, ":", &rest))
        rc = kernels_load_dir(ks, dir, e);
    buf_puts(refused, kernels_refused(ks));
    buf_free(&folders);
    return rc;
}

/* As in `mode: reproducible`, the default. */
static int choose(struct kernels *ks, const struct options *o, struct buf *out,
                  struct err *e)
{
    const struct types *types = types_of(o->dtype);
    struct trial t = {
        .device = kernels_device(ks, "cpu"), .types = types, .layout = &plain};
    struct shape_work work;
    struct call c;
    struct kernel_table *table;
    if (!types)
        return err_set(e, ERR_USAGE, "--dtype: wanted f32, bf16 or f16, found \"%s\"",
                       o->dtype);
    call_init(&c, arena_create());
    if (shape_call(o->files[0], o->nfiles > 1 ? o->files[1] : NULL, &c, &work, e) < 0)
        return e->code;
    run_shape(&c, &t);
    struct kernel_want want = {o->files[0], types->name, c.text, &c.params, false};
    struct kernel_policy policy = {.device = "cpu",
                                   .flags = NND_K_DETERMINISTIC | NND_K_INVARIANT,
                                   .rules = o->rules,
                                   .nrules = (size_t)o->nrules,
                                   .all = true};
    int rc = kernel_select(ks, &policy, &want, 1, &table, e);
    if (rc == 0)
        kernel_table_print(table, out);
    return rc;
}

/* In the child. */
static int why(void *arg, struct buf *out, struct err *e)
{
    const struct options *o = arg;
    struct pool *pool;
    struct kernels *ks;
    struct buf refused = {0}, table = {0};
    child_stage("loading");
    if (pool_create(1, NULL, NULL, &pool, e) < 0 || kernels_create(pool, &ks, e) < 0)
        return -1;
    kernels_quarantine(ks, o->quarantine, true);
    if (load_all(ks, &refused, e) < 0 || choose(ks, o, &table, e) < 0)
        return -1;
    char op[64] = "", key[64] = "", kernel[160] = "", version[80] = "";
    int at = 0;
    sscanf(table.data, "%63s %63s %159s %79s %n", op, key, kernel, version, &at);
    table.data[strcspn(table.data, "\n")] = '\0';
    json_t *j = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "v", 1, "op", op,
                          "dtype", key, "kernel", kernel, "version", version, "why",
                          table.data + at, "refused", refused.data ? refused.data : "");
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    buf_puts(out, text ? text : "{}");
    return 0;
}

/* Where the next reason begins, "; PLUGIN/KERNEL: ", or the end: others have "; " too.
 */
static const char *next_reason(const char *at)
{
    for (; (at = strchr(at, ';')); at++) {
        const char *name = at + 2;
        size_t n = at[1] == ' ' ? strcspn(name, " :;") : 0;
        if (n > 0 && name[n] == ':' && memchr(name, '/', n))
            return at;
    }
    return NULL;
}

static void print_reasons(const char *text)
{
    for (const char *at = text, *end; at; at = end ? end + 2 : NULL) {
        end = next_reason(at);
        printf("  %.*s\n", (int)(end ? (size_t)(end - at) : strlen(at)), at);
    }
}

int probe_why(const struct options *o)
{
    struct buf out = {0};
    struct err e = {0};
    double seconds = o->seconds > 0 ? o->seconds : WHY_SECONDS;
    int rc = child_run(why, (void *)o, seconds, &out, &e);
    json_t *j = rc == 0 ? json_loads(out.data, 0, NULL) : NULL;
    if (j && o->json) {
        puts(out.data);
    } else if (j) {
        printf("%s %s: %s %s\n", json_string_value(json_object_get(j, "op")),
               json_string_value(json_object_get(j, "dtype")),
               json_string_value(json_object_get(j, "kernel")),
               json_string_value(json_object_get(j, "version")));
        print_reasons(json_string_value(json_object_get(j, "why")));
        fputs(json_string_value(json_object_get(j, "refused")), stdout);
    } else {
        fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
    }
    bool some = j != NULL;
    json_decref(j);
    buf_free(&out);
    return some ? 0 : probe_status(&e);
}

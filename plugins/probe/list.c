/* SPDX-License-Identifier: Apache-2.0 */
/*
 * list.c - "list": what a plugin file says it is.
 */
#include "probe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "base/str.h"
#include "child.h"
#include "kernel/elf.h"
#include "kernel/hygiene.h"
#include "kernel/kernel.h"
#include "kernel/loader.h"
#include "tensor/dtype.h"
#include "trust/quarantine.h"

enum { LIST_SECONDS = 10 };

static const struct {
    unsigned flag;
    const char *name;
} flags[] = {
    {NND_K_DETERMINISTIC, "deterministic"},
    {NND_K_INVARIANT, "invariant"},
    {NND_K_REENTRANT, "reentrant"},
    {NND_K_CAPTURABLE, "capturable"},
};

static json_t *flag_names(unsigned set)
{
    json_t *names = json_array();
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (set & flags[i].flag)
            json_array_append_new(names, json_string(flags[i].name));
    return names;
}

static json_t *kernel_list(const struct nnd_plugin *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->nkernels; i++) {
        const struct nnd_kernel *k = p->kernels[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:i, s:o}", "name",
                                              k->name, "op", k->op, "device", k->device,
                                              "op_version", (int)k->op_version,
                                              "priority", (int)k->priority, "flags",
                                              flag_names(k->flags)));
    }
    return list;
}

static json_t *device_list(const struct nnd_plugin *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->ndevices; i++)
        json_array_append_new(list, json_string(p->devices[i]->type));
    return list;
}

static json_t *arg_names(const struct nnd_arg_def *args, uint32_t n)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(
            list, json_sprintf("%s%s", args[i].name, args[i].optional ? "?" : ""));
    return list;
}

static json_t *attr_names(const struct nnd_op_def *d)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < d->nattr; i++)
        json_array_append_new(list, json_string(d->attr[i].name));
    return list;
}

/* Operators that it brings. */
static json_t *op_list(const struct nnd_plugin *p)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < p->nops; i++) {
        const struct nnd_op_def *d = p->ops[i];
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:s}", "name",
                                              d->name, "in", arg_names(d->in, d->nin),
                                              "out", arg_names(d->out, d->nout),
                                              "attributes", attr_names(d), "backward",
                                              d->backward ? d->backward : ""));
    }
    return list;
}

/* Why the devices are missing that a table is there for, by type. */
static json_t *unavailable_list(const struct nnd_plugin *p)
{
    json_t *list = json_object();
    child_device();
    for (uint32_t i = 0; i < p->ndevices; i++) {
        const struct nnd_device_ops *d = p->devices[i];
        struct nnd_error why = {{0}};
        if (d->count() > 0)
            continue;
        d->health(0, &why);
        why.text[sizeof why.text - 1] = '\0';
        json_object_set_new(list, d->type,
                            json_string(why.text[0] ? why.text : "no device"));
    }
    return list;
}

/* What its devices say of themselves, by type; asked for behind unavailable_list. */
static json_t *found_list(const struct nnd_plugin *p)
{
    json_t *list = json_object();
    for (uint32_t i = 0; i < p->ndevices; i++) {
        const struct nnd_device_ops *d = p->devices[i];
        json_t *each = json_array();
        char text[600] = "";
        for (int dev = 0; d->info && dev < d->count(); dev++)
            if (d->info(dev, text, sizeof text) == NND_OK) {
                text[sizeof text - 1] = '\0';
                json_t *j = json_loads(text, 0, NULL);
                json_array_append_new(each, j ? j : json_string("no JSON"));
            }
        json_object_set_new(list, d->type, each);
    }
    return list;
}

/* Element types that it brings: nobody else is in this process. */
static json_t *dtype_list(void)
{
    json_t *list = json_array();
    const struct nnd_dtype_def *d;
    for (int i = 0; (d = dtype_outside(NND_DTYPE_EXT + i)); i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:i, s:i}", "name", d->name, "bits",
                                        (int)d->bits, "block", (int)d->block));
    return list;
}

/* Text of a plugin as JSON; what is not UTF-8 is left out. */
static json_t *text_of(const char *text)
{
    json_t *s = json_string(text ? text : "");
    return s ? s : json_string("");
}

/* What loading it did that is not forbidden, but should not be; or "". */
static json_t *odd_of(const struct hygiene *before)
{
    struct hygiene after;
    struct buf forbidden = {0}, odd = {0};
    hygiene_take(&after);
    hygiene_compare(before, &after, &forbidden, &odd);
    json_t *text = json_string(odd.data ? odd.data : "");
    buf_free(&forbidden);
    buf_free(&odd);
    return text;
}

/* In the child. */
static int describe(void *arg, struct buf *out, struct err *e)
{
    const char *path = arg;
    struct pool *pool;
    struct kernels *ks;
    const struct nnd_plugin *p;
    struct hygiene before;
    if (pool_create(1, NULL, NULL, &pool, e) < 0 || kernels_create(pool, &ks, e) < 0)
        return -1;
    child_stage("loading");
    hygiene_take(&before);
    if (loader_open(path, kernels_host(ks), &p, e) < 0)
        return -1;
    child_stage("describing");
    char abi[32];
    snprintf(abi, sizeof abi, "%u.%u", p->abi_major, p->abi_minor);
    json_t *odd = odd_of(&before); /* before a device is asked for */
    json_t *j = json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
                          "s:o}",
                          "name", p->name, "version", p->version, "abi", abi, "license",
                          text_of(p->license), "build", text_of(p->build), "kernels",
                          kernel_list(p), "devices", device_list(p), "unavailable",
                          unavailable_list(p), "found", found_list(p), "operators",
                          op_list(p), "dtypes", dtype_list(), "odd", odd);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (!text)
        return err_set(e, ERR_FAILED, "%s: cannot be described as JSON", path);
    buf_puts(out, text);
    return 0;
}

/* In a child of its own: the ABI of a file that lacks a symbol. */
static int ask_abi(void *arg, struct buf *out, struct err *e)
{
    struct pool *pool;
    struct kernels *ks;
    uint32_t major, minor;
    if (pool_create(1, NULL, NULL, &pool, e) < 0 || kernels_create(pool, &ks, e) < 0 ||
        loader_abi(arg, kernels_host(ks), &major, &minor, e) < 0)
        return -1;
    buf_printf(out, "; it is built against plugin ABI %u.%u, this nnd has %d.%d", major,
               minor, NND_ABI_MAJOR, NND_ABI_MINOR);
    return 0;
}

/* What is missing may be missing because of it. */
static void add_abi(const char *path, double seconds, struct err *e)
{
    struct buf out = {0};
    struct err other;
    size_t n = strlen(e->text);
    if (strstr(e->text, "undefined symbol") &&
        child_run(ask_abi, (void *)path, seconds, &out, &other) == 0)
        snprintf(e->text + n, sizeof e->text - n, "%s", out.data);
    buf_free(&out);
}

/* Errors of the loader begin with the path; that a child died does not. */
static json_t *error_of(const char *path, struct err *e)
{
    if (!str_starts(e->text, path))
        err_prefix(e, "%s", path);
    return json_pack("{s:s, s:b, s:s}", "path", path, "ok", 0, "error", e->text);
}

const char *probe_text(const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? s : "";
}

void probe_condemn(const struct options *o, const json_t *plugin, const char *kernel,
                   const char *op, const char *stage, const char *reason)
{
    struct quarantine_file f = {.path = probe_text(plugin, "path"),
                                .plugin = probe_text(plugin, "name"),
                                .version = probe_text(plugin, "version")};
    char abi[32];
    struct err e;
    snprintf(abi, sizeof abi, "%d.%d", NND_ABI_MAJOR, NND_ABI_MINOR);
    snprintf(f.sha256, sizeof f.sha256, "%s", probe_text(plugin, "sha256"));
    struct quarantine_note n = {
        .kernel = kernel, .op = op, .stage = stage, .reason = reason, .abi = abi};
    if (o->quarantine && quarantine_add(o->quarantine, &f, &n, &e) < 0)
        fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
}

json_t *probe_describe(const struct options *o, const char *path)
{
    struct buf out = {0};
    struct err e = {0};
    char hex[SHA256_HEX] = "", *file = realpath(path, NULL);
    double seconds = o->seconds > 0 ? o->seconds : LIST_SECONDS;
    int rc = CHILD_SAID;
    json_t *j = NULL;
    if (!file)
        err_sys(&e, ERR_NOTFOUND, errno, "%s", path[0] ? path : "\"\"");
    else if (elf_check(file, &e) == 0 && sha256_file(file, hex, &e) == 0 &&
             (rc = child_run(describe, file, seconds, &out, &e)) == 0)
        j = json_loads(out.data, JSON_REJECT_DUPLICATES, NULL);
    if (rc == CHILD_SAID && file)
        add_abi(file, seconds, &e);
    if (j) {
        json_object_set_new(j, "path", json_string(file));
        json_object_set_new(j, "ok", json_true());
    } else {
        j = error_of(file ? file : path, &e);
    }
    if (hex[0])
        json_object_set_new(j, "sha256", json_string(hex));
    if (rc == CHILD_DIED || (rc == CHILD_LATE && seconds >= LIST_SECONDS))
        /* the next process shall not try it */
        probe_condemn(o, j, "", "", "loading", probe_text(j, "error"));
    buf_free(&out);
    free(file);
    return j;
}

static void print_flags(const json_t *names)
{
    for (size_t i = 0; i < json_array_size(names); i++)
        printf("%s%s", i ? "," : " ", json_string_value(json_array_get(names, i)));
}

static void print_found(const char *type, const json_t *each)
{
    for (size_t i = 0; i < json_array_size(each); i++) {
        char *text = json_dumps(json_array_get(each, i), JSON_COMPACT);
        printf("  device %s %zu: %s\n", type, i, text ? text : "");
        free(text);
    }
}

static void print_devices(const json_t *p)
{
    json_t *missing = json_object_get(p, "unavailable"), *why;
    json_t *found = json_object_get(p, "found"), *each;
    const char *type;
    json_object_foreach(missing, type, why)
        printf("  device %s: unavailable (%s)\n", type, json_string_value(why));
    json_object_foreach(found, type, each) print_found(type, each);
}

static void print_plugin(const json_t *p)
{
    const json_t *kernels = json_object_get(p, "kernels");
    printf("%s %s  abi %s  sha256 %.12s  %s\n", probe_text(p, "name"),
           probe_text(p, "version"), probe_text(p, "abi"), probe_text(p, "sha256"),
           probe_text(p, "path"));
    print_devices(p);
    for (size_t i = 0; i < json_array_size(kernels); i++) {
        const json_t *k = json_array_get(kernels, i);
        printf("  %-20s %-16s %-5s priority %3d ", probe_text(k, "name"),
               probe_text(k, "op"), probe_text(k, "device"),
               (int)json_integer_value(json_object_get(k, "priority")));
        print_flags(json_object_get(k, "flags"));
        putchar('\n');
    }
}

int probe_list(const struct options *o)
{
    json_t *all = json_array();
    int status = 0;
    for (int i = 0; i < o->nfiles; i++) {
        json_t *p = probe_describe(o, o->files[i]);
        bool ok = json_is_true(json_object_get(p, "ok"));
        status |= !ok;
        if (!o->json && ok)
            print_plugin(p);
        if (!o->json && !ok)
            fprintf(stderr, "nnd-plugin-probe: %s\n", probe_text(p, "error"));
        json_array_append_new(all, p);
    }
    if (o->json) {
        json_t *top = json_pack("{s:i, s:O}", "version", 1, "plugins", all);
        json_dumpf(top, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(top);
    }
    json_decref(all);
    return status;
}

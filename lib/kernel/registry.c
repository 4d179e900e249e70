/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry.c - the plugins of a process and the host table that they see.
 */
#include "kernel/kernel.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "kernel/cpu.h"
#include "kernel/elf.h"
#include "kernel/loader.h"
#include "tensor/dtype.h"
#include "trust/quarantine.h"

/* The entry of plugins/ref, which is compiled in. */
nnd_plugin_v1_f ref_plugin;

/* What a compiled-in plugin has for a path. */
#define BUILT_IN "built in"

struct plugin {
    const struct nnd_plugin *table;
    const char *path;
    struct quarantine_file *known; /* its sum, and what is known of it */
};

struct kernels {
    struct arena *arena;
    struct pool *pool;
    atomic_flag busy; /* the pool is at work for a kernel */
    struct nnd_host host;
    struct plugin *plugins;
    size_t count, room;
    struct buf refused;
    char threads[16];
    const char *quarantine; /* folder, or NULL */
    bool suspects;
};

static void host_log(void *h, int level, const char *msg)
{
    (void)h;
    switch (level) {
    case 0:
        log_error("plugin: %s", msg);
        break;
    case 1:
        log_warn("plugin: %s", msg);
        break;
    case 2:
        log_info("plugin: %s", msg);
        break;
    default:
        log_debug("plugin: %s", msg);
        break;
    }
}

static void *host_alloc(void *h, size_t size, size_t align)
{
    (void)h;
    void *p;
    if (align < sizeof(void *))
        align = sizeof(void *);
    return posix_memalign(&p, align, size ? size : 1) == 0 ? p : NULL;
}

static void host_free(void *h, void *p)
{
    (void)h;
    free(p);
}

static int host_parallel(void *h, int n, void (*fn)(void *arg, int i), void *arg)
{
    struct kernels *ks = h;
    if (n < 0)
        return NND_EINVAL;
    /* The pool serves one caller at a time; others help themselves. */
    if (atomic_flag_test_and_set(&ks->busy)) {
        for (int i = 0; i < n; i++)
            fn(arg, i);
        return NND_OK;
    }
    pool_run(ks->pool, n, fn, arg);
    atomic_flag_clear(&ks->busy);
    return NND_OK;
}

/* "threads" is how many parallel() has: a kernel that gives each of them room
 * must know it when it is asked what it needs. */
static const char *host_config(void *h, const char *key)
{
    struct kernels *ks = h;
    return strcmp(key, "threads") == 0 ? ks->threads : NULL;
}

static int host_register_dtype(void *h, const struct nnd_dtype_def *def, int32_t *id)
{
    (void)h;
    const char *why = "no definition";
    int dtype = def ? dtype_register(def, &why) : 0;
    if (!dtype) {
        loader_note("register_dtype", def && def->name ? def->name : "a type", why);
        return NND_EINVAL;
    }
    *id = dtype;
    return NND_OK;
}

static const struct nnd_device_ops *host_device(void *h, const char *type)
{
    return kernels_device(h, type);
}

static int32_t find_dtype(const char *name)
{
    return dtype_parse(name ? name : "");
}

static const struct nnd_dtype_def *dtype_def(int32_t id)
{
    return dtype_outside(id);
}

static const struct nnd_dtype_ext dtype_ext = {
    .struct_size = sizeof dtype_ext, .find = find_dtype, .def = dtype_def};

static const struct {
    const char *name;
    const void *table;
} extensions[] = {
    {"nnd.dtype.1", &dtype_ext},
};

static const void *host_extension(void *h, const char *name)
{
    (void)h;
    for (size_t i = 0; name && i < sizeof extensions / sizeof extensions[0]; i++)
        if (strcmp(extensions[i].name, name) == 0)
            return extensions[i].table;
    return NULL;
}

static void host_fill(struct kernels *ks)
{
    ks->host = (struct nnd_host){
        .struct_size = sizeof ks->host,
        .abi_major = NND_ABI_MAJOR,
        .abi_minor = NND_ABI_MINOR,
        .h = ks,
        .log = host_log,
        .alloc = host_alloc,
        .free = host_free,
        .parallel = host_parallel,
        .config = host_config,
        .register_dtype = host_register_dtype,
        .device = host_device,
        .extension = host_extension,
    };
}

static void append(struct kernels *ks, const struct nnd_plugin *table, const char *path,
                   struct quarantine_file *known)
{
    if (ks->count == ks->room) {
        size_t room = ks->room ? 2 * ks->room : 8;
        struct plugin *more = arena_calloc(ks->arena, room, sizeof *more);
        if (ks->count)
            memcpy(more, ks->plugins, ks->count * sizeof *more);
        ks->plugins = more;
        ks->room = room;
    }
    ks->plugins[ks->count++] =
        (struct plugin){table, arena_strdup(ks->arena, path), known};
}

/* A name is taken once.  A file that is the same as what is compiled in is
 * neither an error nor used. */
static int add(struct kernels *ks, const struct nnd_plugin *table, const char *path,
               struct quarantine_file *known, struct err *e)
{
    for (size_t i = 0; i < ks->count; i++) {
        const struct plugin *other = &ks->plugins[i];
        if (strcmp(other->table->name, table->name) != 0)
            continue;
        if (strcmp(other->path, BUILT_IN) == 0 &&
            strcmp(other->table->version, table->version) == 0)
            return 0;
        return err_set(e, ERR_FAILED, "%s: plugin %s %s is already here as %s (%s)",
                       path, table->name, table->version, other->table->version,
                       other->path);
    }
    for (uint32_t i = 0; i < table->nops; i++)
        if (kernels_op(ks, table->ops[i]->name))
            return err_set(e, ERR_FAILED, "%s: operator %s is already here", path,
                           table->ops[i]->name);
    for (uint32_t i = 0; i < table->ndevices; i++)
        if (kernels_device(ks, table->devices[i]->type))
            return err_set(e, ERR_FAILED, "%s: device type %s already has a table",
                           path, table->devices[i]->type);
    append(ks, table, path, known);
    return 0;
}

int kernels_add(struct kernels *ks, const struct nnd_plugin *table, const char *path,
                struct err *e)
{
    int rc = loader_check(path, table, e);
    return rc < 0 ? rc : add(ks, table, path, NULL, e);
}

static int add_built_in(struct kernels *ks, struct err *e)
{
    struct nnd_error why = {{0}};
    const struct nnd_plugin *table = ref_plugin(&ks->host, &why);
    if (!table)
        return err_set(e, ERR_FAILED, "ref: %s", why.text);
    return kernels_add(ks, table, BUILT_IN, e);
}

int kernels_create(struct pool *pool, struct kernels **out, struct err *e)
{
    struct arena *arena = arena_create();
    struct kernels *ks = arena_alloc(arena, sizeof *ks);
    ks->arena = arena;
    ks->pool = pool;
    snprintf(ks->threads, sizeof ks->threads, "%d", pool_threads(pool));
    host_fill(ks);
    int rc = add_built_in(ks, e);
    if (rc < 0) {
        kernels_destroy(ks);
        return rc;
    }
    *out = ks;
    return 0;
}

void kernels_destroy(struct kernels *ks)
{
    if (!ks)
        return;
    for (size_t i = ks->count; i-- > 0;)
        if (ks->plugins[i].table->fini)
            ks->plugins[i].table->fini();
    buf_free(&ks->refused);
    arena_destroy(ks->arena);
}

/* The file's sum and the notes on it; an error when one speaks of all of it. */
static int look_up(struct kernels *ks, const char *path, struct quarantine_file **out,
                   struct err *e)
{
    struct quarantine_file *f = arena_alloc(ks->arena, sizeof *f);
    char hex[SHA256_HEX];
    int rc = sha256_file(path, hex, e);
    if (rc < 0)
        return rc;
    if (ks->quarantine)
        quarantine_read(ks->quarantine, hex, ks->arena, f);
    strcpy(f->sha256, hex);
    *out = f;
    for (size_t i = 0; i < f->nnotes; i++)
        if (!f->notes[i].kernel[0])
            return err_set(e, ERR_FAILED,
                           "%s: in quarantine (%s: %s; nnctl plugin "
                           "clear %.12s)",
                           path, f->notes[i].stage, f->notes[i].reason, f->sha256);
    return 0;
}

/* The file is checked first: one that cannot be read has no sum either. */
int kernels_load(struct kernels *ks, const char *path, struct err *e)
{
    const struct nnd_plugin *table;
    struct quarantine_file *known = NULL;
    int rc = elf_check(path, e);
    if (rc == 0)
        rc = look_up(ks, path, &known, e);
    if (rc == 0)
        rc = loader_open(path, &ks->host, &table, e);
    return rc < 0 ? rc : add(ks, table, path, known, e);
}

void kernels_quarantine(struct kernels *ks, const char *dir, bool suspects)
{
    ks->quarantine = dir ? arena_strdup(ks->arena, dir) : NULL;
    ks->suspects = suspects;
}

static int is_plugin_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return n > 3 && d->d_name[0] != '.' && strcmp(d->d_name + n - 3, ".so") == 0;
}

/* By bytes: the order of loading must not depend on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int kernels_load_dir(struct kernels *ks, const char *dir, struct err *e)
{
    struct dirent **files;
    int n = scandir(dir, &files, is_plugin_file, by_name);
    if (n < 0)
        return err_sys(e, errno == ENOENT ? ERR_NOTFOUND : ERR_FAILED, errno,
                       "plugin folder %s", dir);
    for (int i = 0; i < n; i++) {
        struct err why;
        const char *path = arena_printf(ks->arena, "%s/%s", dir, files[i]->d_name);
        if (kernels_load(ks, path, &why) < 0)
            buf_printf(&ks->refused, "%s\n", why.text);
        free(files[i]);
    }
    free(files);
    return 0;
}

size_t kernels_plugin_count(const struct kernels *ks)
{
    return ks->count;
}

const struct nnd_plugin *kernels_plugin(const struct kernels *ks, size_t i)
{
    return ks->plugins[i].table;
}

const char *kernels_plugin_path(const struct kernels *ks, size_t i)
{
    return ks->plugins[i].path;
}

const char *kernels_plugin_sha256(const struct kernels *ks, size_t i)
{
    return ks->plugins[i].known ? ks->plugins[i].known->sha256 : "";
}

int kernels_plugin_of(const struct kernels *ks, const struct nnd_kernel *k)
{
    for (size_t i = 0; i < ks->count; i++)
        for (uint32_t j = 0; j < ks->plugins[i].table->nkernels; j++)
            if (ks->plugins[i].table->kernels[j] == k)
                return (int)i;
    return -1;
}

const char *kernels_quarantined(const struct kernels *ks, const struct nnd_kernel *k)
{
    int i = kernels_plugin_of(ks, k);
    const struct quarantine_file *f = i < 0 ? NULL : ks->plugins[i].known;
    const struct quarantine_note *n =
        f ? quarantine_find(f, k->name, ks->suspects) : NULL;
    return n ? arena_printf(ks->arena,
                            "in quarantine (%s: %s; nnctl plugin clear %.12s)",
                            n->stage, n->reason, f->sha256)
             : NULL;
}

/* Forget what was known and read it again, with the new note. */
int kernels_condemn(struct kernels *ks, const struct nnd_kernel *k, const char *stage,
                    const char *reason, struct err *e)
{
    int i = kernels_plugin_of(ks, k);
    struct plugin *p = i < 0 ? NULL : &ks->plugins[i];
    struct quarantine_file f = {0};
    char abi[32], sum[SHA256_HEX];
    if (!p || !p->known || !ks->quarantine)
        return 0;
    snprintf(abi, sizeof abi, "%d.%d", NND_ABI_MAJOR, NND_ABI_MINOR);
    strcpy(sum, p->known->sha256);
    strcpy(f.sha256, sum);
    f.path = p->path;
    f.plugin = p->table->name;
    f.version = p->table->version;
    struct quarantine_note n = {
        .kernel = k->name, .op = k->op, .stage = stage, .reason = reason, .abi = abi};
    int rc = quarantine_add(ks->quarantine, &f, &n, e);
    if (rc == 0)
        quarantine_read(ks->quarantine, sum, ks->arena, p->known);
    return rc;
}

const struct nnd_kernel *kernels_ref(const struct kernels *ks, const char *op)
{
    const struct nnd_plugin *ref = ks->plugins[0].table;
    for (uint32_t i = 0; i < ref->nkernels; i++)
        if (strcmp(ref->kernels[i]->op, op) == 0)
            return ref->kernels[i];
    return NULL;
}

const struct nnd_host *kernels_host(const struct kernels *ks)
{
    return &ks->host;
}

const char *kernels_refused(const struct kernels *ks)
{
    return ks->refused.data ? ks->refused.data : "";
}

const struct nnd_device_ops *kernels_device(const struct kernels *ks, const char *type)
{
    if (strcmp(type, cpu_device.type) == 0)
        return &cpu_device;
    for (size_t i = 0; i < ks->count; i++) {
        const struct nnd_plugin *p = ks->plugins[i].table;
        for (uint32_t j = 0; j < p->ndevices; j++)
            if (strcmp(p->devices[j]->type, type) == 0)
                return p->devices[j];
    }
    return NULL;
}

const struct nnd_op_def *kernels_op(const struct kernels *ks, const char *name)
{
    for (size_t i = 0; i < ks->count; i++) {
        const struct nnd_plugin *p = ks->plugins[i].table;
        for (uint32_t j = 0; j < p->nops; j++)
            if (strcmp(p->ops[j]->name, name) == 0)
                return p->ops[j];
    }
    return NULL;
}

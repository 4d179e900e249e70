/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.c - dlopen, the entry point, and the checks of what it returned.
 */
#include "kernel/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fenv.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "kernel/elf.h"
#include "kernel/hygiene.h"
#include "kernel/op.h"

enum { NAME_MAX_LEN = 63, KERNELS_MAX = 4096 };

/* ABI 1.0 ended its structs here; a later one is never shorter. */
#define END_OF(T, f) (offsetof(struct T, f) + sizeof(((struct T *)0)->f))

/* Names are printed, parsed and compared: no blanks, no slash, no surprise. */
static bool is_word(const char *s, const char *extra)
{
    if (!s || !*s || strlen(s) > NAME_MAX_LEN)
        return false;
    for (; *s; s++) {
        bool plain = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') ||
                     (*s >= '0' && *s <= '9');
        if (!plain && !strchr(extra, *s))
            return false;
    }
    return true;
}

static int check_kernel(const char *where, const struct nnd_plugin *p, uint32_t i,
                        struct err *e)
{
    const struct nnd_kernel *k = p->kernels[i];
    size_t least = END_OF(nnd_kernel, launch);
    if (!k)
        return err_set(e, ERR_FAILED, "%s: kernel %u of %s is NULL", where, i, p->name);
    if (k->struct_size < least)
        return err_set(e, ERR_FAILED,
                       "%s: struct nnd_kernel %u of %zu bytes, ABI %d.0 has %zu", where,
                       i, k->struct_size, NND_ABI_MAJOR, least);
    if (!is_word(k->name, "._-"))
        return err_set(e, ERR_FAILED,
                       "%s: kernel %u of %s has no name of 1 to %d characters out of "
                       "A-Za-z0-9._-",
                       where, i, p->name, NAME_MAX_LEN);
    if (!is_word(k->op, "._-") || !is_word(k->device, "._-"))
        return err_set(e, ERR_FAILED, "%s: kernel %s/%s names no op or no device",
                       where, p->name, k->name);
    if (!k->supports || !k->need || !k->launch)
        return err_set(e, ERR_FAILED, "%s: kernel %s/%s lacks %s()", where, p->name,
                       k->name,
                       !k->supports ? "supports"
                       : !k->need   ? "need"
                                    : "launch");
    if (k->priority < 0 || k->priority > 100)
        return err_set(e, ERR_FAILED, "%s: kernel %s/%s has priority %d, wanted 0..100",
                       where, p->name, k->name, k->priority);
    for (uint32_t j = 0; j < i; j++)
        if (strcmp(p->kernels[j]->name, k->name) == 0)
            return err_set(e, ERR_FAILED, "%s: two kernels are named %s/%s", where,
                           p->name, k->name);
    return 0;
}

static int check_device(const char *where, const struct nnd_plugin *p, uint32_t i,
                        struct err *e)
{
    const struct nnd_device_ops *d = p->devices[i];
    size_t least = END_OF(nnd_device_ops, health);
    if (!d || d->struct_size < least)
        return err_set(e, ERR_FAILED,
                       "%s: struct nnd_device_ops %u of %zu bytes, ABI %d.0 has %zu",
                       where, i, d ? d->struct_size : 0, NND_ABI_MAJOR, least);
    if (!is_word(d->type, "._-"))
        return err_set(e, ERR_FAILED, "%s: device table %u of %s has no type", where, i,
                       p->name);
    if (!d->count || !d->info || !d->alloc || !d->free || !d->alloc_pinned ||
        !d->free_pinned || !d->copy || !d->fill || !d->stream_new || !d->stream_del ||
        !d->stream_sync || !d->event_new || !d->event_del || !d->event_record ||
        !d->event_wait || !d->event_query || !d->event_ms || !d->health)
        return err_set(e, ERR_FAILED, "%s: device table %s of %s lacks a function",
                       where, d->type, p->name);
    return 0;
}

static bool are_named(const struct nnd_op_def *d)
{
    bool all = true;
    for (uint32_t i = 0; i < d->nin; i++)
        all &= is_word(d->in[i].name, "._-");
    for (uint32_t i = 0; i < d->nout; i++)
        all &= is_word(d->out[i].name, "._-");
    for (uint32_t i = 0; i < d->nattr; i++)
        all &= is_word(d->attr[i].name, "._-") && d->attr[i].type >= NND_ATTR_INT &&
               d->attr[i].type <= NND_ATTR_FLOAT;
    return all;
}

static int check_op(const char *where, const struct nnd_plugin *p, uint32_t i,
                    struct err *e)
{
    const struct nnd_op_def *d = p->ops[i];
    size_t least = END_OF(nnd_op_def, flops);
    if (!d || d->struct_size < least)
        return err_set(e, ERR_FAILED,
                       "%s: struct nnd_op_def %u of %zu bytes, ABI %d.0 has %zu", where,
                       i, d ? d->struct_size : 0, NND_ABI_MAJOR, least);
    if (!is_word(d->name, "._-") || !strchr(d->name, '.') || op_known(d->name))
        return err_set(e, ERR_FAILED,
                       "%s: operator %u of %s: wanted a name \"vendor.op\" that the "
                       "catalogue does not have",
                       where, i, p->name);
    if (!d->shape || d->nin > NND_FRAME_IN || !d->nout || d->nout > NND_FRAME_OUT ||
        d->nattr > NND_FRAME_ATTRS || (d->nin && !d->in) || !d->out ||
        (d->nattr && !d->attr) || !are_named(d))
        return err_set(e, ERR_FAILED,
                       "%s: operator %s: its schema is incomplete, or has more than %d "
                       "inputs, %d outputs or %d attributes",
                       where, d->name, NND_FRAME_IN, NND_FRAME_OUT, NND_FRAME_ATTRS);
    return 0;
}

int loader_check(const char *where, const struct nnd_plugin *p, struct err *e)
{
    size_t least = END_OF(nnd_plugin, fini);
    if (p->struct_size < END_OF(nnd_plugin, abi_minor))
        return err_set(e, ERR_FAILED,
                       "%s: struct nnd_plugin of %zu bytes, ABI %d.0 has %zu", where,
                       p->struct_size, NND_ABI_MAJOR, least);
    if (p->abi_major != NND_ABI_MAJOR)
        return err_set(e, ERR_FAILED,
                       "%s: built for plugin ABI %u.%u, this nnd has %d.%d", where,
                       p->abi_major, p->abi_minor, NND_ABI_MAJOR, NND_ABI_MINOR);
    if (p->struct_size < least)
        return err_set(e, ERR_FAILED,
                       "%s: struct nnd_plugin of %zu bytes, ABI %d.0 has %zu", where,
                       p->struct_size, NND_ABI_MAJOR, least);
    if (!is_word(p->name, "._-") || !is_word(p->version, "._-+~:"))
        return err_set(e, ERR_FAILED,
                       "%s: the plugin has no name or version of 1 to %d characters "
                       "without blanks",
                       where, NAME_MAX_LEN);
    if (p->nkernels > KERNELS_MAX || (p->nkernels && !p->kernels) ||
        (p->ndevices && !p->devices) || (p->nops && !p->ops))
        return err_set(e, ERR_FAILED,
                       "%s: %s announces %u kernels, %u devices and %u operators%s",
                       where, p->name, p->nkernels, p->ndevices, p->nops,
                       p->nkernels > KERNELS_MAX ? ", too many" : " without a table");
    for (uint32_t i = 0; i < p->nkernels; i++)
        if (check_kernel(where, p, i, e) < 0)
            return ERR_FAILED;
    for (uint32_t i = 0; i < p->ndevices; i++)
        if (check_device(where, p, i, e) < 0)
            return ERR_FAILED;
    for (uint32_t i = 0; i < p->nops; i++)
        if (check_op(where, p, i, e) < 0)
            return ERR_FAILED;
    return 0;
}

/* The entry point of another major ABI, to say so rather than "not found". */
static int other_abi(void *so)
{
    for (int major = 1; major < 100; major++) {
        char symbol[32];
        snprintf(symbol, sizeof symbol, "nnd_plugin_v%d", major);
        if (major != NND_ABI_MAJOR && dlsym(so, symbol))
            return major;
    }
    return 0;
}

static int find_entry(const char *path, void *so, nnd_plugin_v1_f **entry,
                      struct err *e)
{
    dlerror();
    void *symbol = dlsym(so, NND_ENTRY);
    if (symbol) {
        memcpy(entry, &symbol, sizeof symbol);
        return 0;
    }
    const char *said = dlerror(); /* until the next call of dl... */
    int rc = err_set(e, ERR_FAILED, "%s: not a plugin: %s%s", path,
                     said ? said : NND_ENTRY " is NULL",
                     said ? "; -fvisibility=hidden hides it without "
                            "__attribute__((visibility(\"default\")))"
                          : "");
    int other = other_abi(so);
    if (!other)
        return rc;
    return err_set(e, ERR_FAILED, "%s: built for plugin ABI %d, this nnd has %d.%d",
                   path, other, NND_ABI_MAJOR, NND_ABI_MINOR);
}

/* What the system says, and of the one fault that it words for its own authors alone,
 * the way out. */
static int cannot_open(const char *path, struct err *e)
{
    const char *said = dlerror();
    bool tls = strstr(said, "static TLS") != NULL;
    bool named = str_starts(said, path);
    return err_set(e, ERR_FAILED, "%s%s%s%s", named ? "" : path, named ? "" : ": ",
                   said,
                   tls ? "; build it, and what it links, without initial-exec TLS and "
                         "without an allocator of its own"
                       : "");
}

/* What the host has refused while an entry ran; plugins are loaded one by one. */
static char noted[200];

void loader_note(const char *service, const char *what, const char *why)
{
    snprintf(noted, sizeof noted, "; %s: %.64s: %s", service, what, why);
}

static int open_and_call(const char *path, const struct nnd_host *host,
                         const struct nnd_plugin **out, struct err *e)
{
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!so)
        return cannot_open(path, e);
    nnd_plugin_v1_f *entry = NULL;
    int rc = find_entry(path, so, &entry, e);
    if (rc < 0)
        return rc;
    struct nnd_error why = {{0}};
    noted[0] = '\0';
    const struct nnd_plugin *p = entry(host, &why);
    why.text[sizeof why.text - 1] = '\0';
    if (!p)
        return err_set(e, ERR_FAILED, "%s: the plugin refuses: %s%s", path,
                       why.text[0] ? why.text : "no reason given", noted);
    *out = p;
    return loader_check(path, p, e);
}

int loader_abi(const char *path, const struct nnd_host *host, uint32_t *major,
               uint32_t *minor, struct err *e)
{
    void *so = dlopen(path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE);
    nnd_plugin_v1_f *entry = NULL;
    struct nnd_error why = {{0}};
    if (!so)
        return cannot_open(path, e);
    if (find_entry(path, so, &entry, e) < 0)
        return e->code;
    const struct nnd_plugin *p = entry(host, &why);
    if (!p || p->struct_size < END_OF(nnd_plugin, abi_minor))
        return err_set(e, ERR_FAILED, "%s: does not say what it is built against",
                       path);
    *major = p->abi_major;
    *minor = p->abi_minor;
    return 0;
}

/* What the plugin did to the process besides returning a table. */
static int check_manners(const char *path, const struct hygiene *before, struct err *e)
{
    struct hygiene after;
    struct buf forbidden = {0}, odd = {0};
    int rc = 0;
    hygiene_take(&after);
    hygiene_compare(before, &after, &forbidden, &odd);
    hygiene_restore(before);
    if (forbidden.len)
        rc = err_set(e, ERR_FAILED, "%s: loading it %s", path, forbidden.data);
    else if (odd.len)
        log_warn("%s: loading it %s", path, odd.data);
    buf_free(&forbidden);
    buf_free(&odd);
    return rc;
}

int loader_open(const char *path, const struct nnd_host *host,
                const struct nnd_plugin **out, struct err *e)
{
    char real[PATH_MAX]; /* a bare name would be searched in the system's folders */
    if (!realpath(path, real))
        return err_sys(e, errno == ENOENT ? ERR_NOTFOUND : ERR_FAILED, errno, "%s",
                       path);
    int rc = elf_check(real, e);
    if (rc < 0)
        return rc;
    struct hygiene before;
    fenv_t env;
    hygiene_take(&before);
    fegetenv(&env);
    const struct nnd_plugin *p = NULL;
    rc = open_and_call(real, host, &p, e);
    if (rc == 0)
        rc = check_manners(real, &before, e);
    else
        hygiene_restore(&before); /* what it did before it was refused */
    fesetenv(&env);
    if (rc == 0)
        *out = p;
    return rc;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel.h - the kernels a process has, and which one serves which call.
 *
 * Plugins are loaded once and never unloaded.  One selection is made per job:
 * calls with the same operator and the same key (their dtypes) form a row of
 * the table, a row has one kernel, and every rank uses the same table.  What
 * the params mean is the business of <nnd/plugin.h> and of lib/graph.
 */
#ifndef KERNEL_KERNEL_H
#define KERNEL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

#include <nnd/plugin.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/pool.h"

struct kernels;

/* A registry with the compiled-in `ref` plugin.  `pool` serves
 * nnd_host.parallel and must outlive the registry. */
int kernels_create(struct pool *pool, struct kernels **out, struct err *e);
void kernels_destroy(struct kernels *ks);

/* Plugins of which DIR has notes (trust/quarantine.h) are refused from now on, when a
 * note speaks of the whole file, or lack the kernels that it names.  `suspects`:
 * kernels that a process died in as well. */
void kernels_quarantine(struct kernels *ks, const char *dir, bool suspects);

/* dlopen one plugin file (RTLD_NOW|RTLD_LOCAL|RTLD_NODELETE) after checking its
 * ELF header, owner and mode; refuse another ABI, naming both numbers.  A file
 * of the name and version of a compiled-in plugin is accepted and not used. */
int kernels_load(struct kernels *ks, const char *path, struct err *e);

/* Take a table that is linked into the program; `path` stands for its file.  The
 * checks are those of kernels_load. */
int kernels_add(struct kernels *ks, const struct nnd_plugin *table, const char *path,
                struct err *e);

/* Load every *.so of a folder in name order.  A plugin that cannot be loaded is
 * recorded with its reason (kernels_refused), not fatal. */
int kernels_load_dir(struct kernels *ks, const char *dir, struct err *e);

size_t kernels_plugin_count(const struct kernels *ks);
const struct nnd_plugin *kernels_plugin(const struct kernels *ks, size_t i);
const char *kernels_plugin_path(const struct kernels *ks, size_t i);

/* Of the file; "" of what is built in. */
const char *kernels_plugin_sha256(const struct kernels *ks, size_t i);

/* The plugin that a kernel is of; its number, or -1. */
int kernels_plugin_of(const struct kernels *ks, const struct nnd_kernel *k);

/* Why a kernel is in quarantine, in one line; NULL when it is not. */
const char *kernels_quarantined(const struct kernels *ks, const struct nnd_kernel *k);

/* Put a kernel into quarantine: a note for later processes, and this one's
 * kernels_quarantined.  Without a folder, or for what is built in, nothing is
 * written. */
int kernels_condemn(struct kernels *ks, const struct nnd_kernel *k, const char *stage,
                    const char *reason, struct err *e);

/* The plain kernel of an op, of the compiled-in plugin; NULL when it has none. */
const struct nnd_kernel *kernels_ref(const struct kernels *ks, const char *op);

/* The services that plugins are given. */
const struct nnd_host *kernels_host(const struct kernels *ks);

/* Text lines "PATH: reason" of what was refused; "" if nothing. */
const char *kernels_refused(const struct kernels *ks);

/* The memory and streams of a kind of device; "cpu" is always there. */
const struct nnd_device_ops *kernels_device(const struct kernels *ks, const char *type);

/* An operator from outside by its name, or NULL. */
const struct nnd_op_def *kernels_op(const struct kernels *ks, const char *name);

/* One call that the job will make.  params: the op's struct, data NULL. */
struct kernel_want {
    const char *op, *key; /* "gemm", "bf16,bf16,f32" */
    const char *where;    /* for messages: "layer.3.mlp.gate" */
    const void *params;
    bool optional; /* without a kernel it is the caller's: the row is left out */
};

/* Flags every chosen kernel must have (NND_K_...), the device, and the user's
 * rules: OP=NAME (required), OP=NAME? (preferred), OP=!NAME (excluded); OP may
 * be a prefix up to a dot ("attn"), and narrowed to OP/DTYPE@DEVICE, where DTYPE is
 * that of the first input, or a whole key; NAME is PLUGIN, PLUGIN/KERNEL or KERNEL.
 * Of several rules for a row that require, or that prefer, the closest counts, then the
 * last; of those that exclude each one counts. */
struct kernel_policy {
    const char *device;
    unsigned flags;
    const char *const *rules;
    size_t nrules;
    struct tune *tune; /* tune.h: time goes before priority; or NULL */
    bool all;          /* of each candidate tell why it was not taken, those that come
                          after the chosen one too */
};

struct kernel_table;

/* Is it the name of one of our own plugins? */
bool kernel_in_tree(const char *plugin);

/* Choose: candidates for the op and device that have the flags and support
 * every want of the row and are not in quarantine, ordered by rule, measured time
 * where it is asked for, priority, in-tree before others, plugin name, kernel name.
 * None, or a required one that refuses: an error with every candidate's reason.  An
 * unknown name in a rule is an error. */
int kernel_select(const struct kernels *ks, const struct kernel_policy *p,
                  const struct kernel_want *wants, size_t nwants,
                  struct kernel_table **out, struct err *e);
void kernel_table_destroy(struct kernel_table *t);

/* Rules that are narrowed to a whole key have to speak of one of the wants, where the
 * operator has any: a key that is written wrongly would narrow them to nothing. */
int kernel_rules_check(const struct kernels *ks, const struct kernel_policy *p,
                       const struct kernel_want *wants, size_t nwants, struct err *e);

/* The table as lines "OP KEY PLUGIN/KERNEL VERSION#SUM WHY", for the other ranks and
 * for `nnctl show --kernels`; SUM is the beginning of the file's SHA-256, absent where
 * there is no file.  Reading it back fails when this process lacks a kernel, or has it
 * in another version or file. */
void kernel_table_print(const struct kernel_table *t, struct buf *out);
int kernel_table_parse(const struct kernels *ks, const char *text,
                       struct kernel_table **out, struct err *e);

/* The kernel of a row, or NULL. */
const struct nnd_kernel *kernel_table_find(const struct kernel_table *t, const char *op,
                                           const char *key);

#endif

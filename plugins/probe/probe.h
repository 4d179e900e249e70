/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe.h - the commands of nnd-plugin-probe.  See nnd-plugin-probe(8).
 */
#ifndef PROBE_PROBE_H
#define PROBE_PROBE_H

#include <stdbool.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

struct options {
    bool json, full;
    const char *op;           /* check: this operator, or all below it; or NULL */
    const char *dtype, *mode; /* check: one type, one mode; or NULL             */
    const char *shape, *vs;   /* bench, and check's mode perf                   */
    const char *quarantine;   /* folder for notes on what did harm, or NULL     */
    const char **rules;       /* why; check, bench: names of kernels, or none   */
    int nrules;
    double seconds; /* per child; 0: the command's default */
    const char *const *files;
    int nfiles;
};

/* Load one file in a child and describe it: path, sha256, name, version, abi,
 * license, build, kernels, devices; or path and error.  With a quarantine, one that
 * ended the child gets a note there.  A new reference. */
json_t *probe_describe(const struct options *o, const char *path);

/* A note on a kernel of a described plugin, or on all of it (kernel ""). */
void probe_condemn(const struct options *o, const json_t *plugin, const char *kernel,
                   const char *op, const char *stage, const char *reason);

/* Judge kernel `index` of a described plugin in a child: trials, refused, failed, skip,
 * unable, failures.  Not sound: it failed, or ended the child.  A new reference. */
struct judge_scope;
json_t *probe_judge(const json_t *plugin, size_t index, const struct judge_scope *scope,
                    double seconds, bool *sound);

/* The same for the first failure of a kernel's verdict. */
void probe_condemn_kernel(const struct options *o, const json_t *plugin,
                          const json_t *kernel, const json_t *verdict,
                          const char *stage);

/* The program's exit status for an error: 2 for a wrong command line, else 1. */
int probe_status(const struct err *e);

/* Is a kernel of this name and operator asked for by --kernel and --op? */
bool probe_asks(const struct options *o, const char *kernel, const char *op);

/* The text at a key of an object, or "". */
const char *probe_text(const json_t *j, const char *key);

/* Append the folders that plugins lie in for this program, separated by ':'. */
void probe_folders(struct buf *out);

struct kernels;
struct nnd_plugin;
struct nnd_device_ops;

/* The table of a kind of device: the plugin's own, or one of those loaded; or NULL. */
const struct nnd_device_ops *probe_device(const struct kernels *ks,
                                          const struct nnd_plugin *p, const char *type);

/* The commands; each returns the program's exit status. */
int probe_list(const struct options *o);
int probe_meet(const struct options *o);
int probe_info(const struct options *o);
int probe_check(const struct options *o);
int probe_group(const struct options *o); /* check --mode group */
int probe_bench(const struct options *o);
int probe_why(const struct options *o);

#endif

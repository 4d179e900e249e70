/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loader.h - from a file to a plugin's table that may be believed.
 *
 * Checks what can be checked without running the file, then runs it.  A file
 * that crashes or loops while loading takes this process with it, which is why
 * nnd-plugin-probe meets each file first.
 */
#ifndef KERNEL_LOADER_H
#define KERNEL_LOADER_H

#include <nnd/plugin.h>

#include "base/err.h"

/* Load `path` and return its table, which lives as long as the process.  Every
 * error begins with the path. */
int loader_open(const char *path, const struct nnd_host *host,
                const struct nnd_plugin **out, struct err *e);

/* Refuse a table of another ABI, with structs too small, or with names,
 * functions or values that the contract does not allow.  `where` begins every
 * error. */
int loader_check(const char *where, const struct nnd_plugin *p, struct err *e);

/* Of a file that lacks a symbol, and so cannot be loaded: the ABI that it was built
 * against.  Its code runs, and ends the process when it comes to what is missing: for a
 * process that has nothing else to do. */
int loader_abi(const char *path, const struct nnd_host *host, uint32_t *major,
               uint32_t *minor, struct err *e);

/* A service of the host has refused what a plugin's entry asked for: when the plugin
 * then refuses, that is said as well. */
void loader_note(const char *service, const char *what, const char *why);

#endif

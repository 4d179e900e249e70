/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fs.h - files, whole: read, replace atomically, make and remove folders.
 */
#ifndef BASE_FS_H
#define BASE_FS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

/* Read all of `path` and append it to `out`, which stays as it is on failure.
 * A file of more than max bytes is an error; 0 = no limit. */
int fs_read(const char *path, size_t max, struct buf *out, struct err *e);

/* Write beside, fsync, rename over `path`, fsync the folder: after a crash the
 * old or the new contents are there, whole.  The new file has mode 0600. */
int fs_replace(const char *path, const void *data, size_t len, struct err *e);

/* The same of what a person asked for by its name: its mode is as umask has it. */
int fs_publish(const char *path, const void *data, size_t len, struct err *e);

/* mkdir -p with mode 0700 for what it makes. */
int fs_mkdirs(const char *path, struct err *e);

/* Remove a folder and all below it; a missing one is no error.  Follows no links. */
int fs_remove_tree(const char *path, struct err *e);

/* The same for what nobody wants any more: folders that their owner must not change go
 * too, and one thing that cannot be removed keeps nothing else. */
int fs_remove_all(const char *path, struct err *e);

/* fsync a folder, so that a rename in it is durable. */
int fs_sync_dir(const char *path, struct err *e);

bool fs_exists(const char *path);

/* The path without slashes at its end, as what is made beside it wants it; "/" stays.
 * ERR_USAGE: it does not fit into `size` bytes. */
int fs_trim(const char *path, char *out, size_t size, struct err *e);

/* Where the installed file `target` is: a tree that was installed in one place and
 * moved to another is found by this program, which was configured to be in folder
 * `own`.  Both are absolute.  The target as configured when it is not so. */
void fs_installed(const char *own, const char *target, char *out, size_t size);

#endif

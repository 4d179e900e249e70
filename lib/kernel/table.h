/* SPDX-License-Identifier: Apache-2.0 */
/*
 * table.h - rows of a selection, as select.c writes them and table.c keeps them.
 */
#ifndef KERNEL_TABLE_H
#define KERNEL_TABLE_H

#include "kernel/kernel.h"

/* One row; all text is copied by table_add. */
struct table_row {
    const char *op, *key;
    const struct nnd_plugin *plugin;
    const struct nnd_kernel *kernel;
    const char *sum; /* the beginning of its file's SHA-256, or "" */
    const char *why;
};

enum { TABLE_SUM = 12 }; /* digits of a file's sum */

struct kernel_table *table_create(void);
void table_add(struct kernel_table *t, const struct table_row *row);

#endif

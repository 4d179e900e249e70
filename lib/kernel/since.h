/* SPDX-License-Identifier: Apache-2.0 */
/*
 * since.h - which fields of params came with which minor version of the ABI.
 *
 * A kernel looks at no field that its header did not have, and so would compute
 * something else without a word.  Who chooses kernels asks here first.
 */
#ifndef KERNEL_SINCE_H
#define KERNEL_SINCE_H

#include <stdbool.h>
#include <stddef.h>

#include <nnd/plugin.h>

/* Does a call of `op` use a field that a kernel of plugin p, by the ABI it was built
 * for, cannot know?  Then text says which. */
bool since_newer(const struct nnd_plugin *p, const char *op, const void *params,
                 char *text, size_t size);

/* Does a device's table have what keeps launches (ABI 1.1)? */
bool since_graphs(const struct nnd_device_ops *d);

/* What ranks with a device each do together (ABI 1.1), or NULL. */
const struct nnd_collectives *since_collectives(const struct nnd_device_ops *d);

/* Bytes of each device that a group of so many ranks takes; 0: it says nothing. */
size_t since_group_bytes(const struct nnd_collectives *c, int ranks);

#endif

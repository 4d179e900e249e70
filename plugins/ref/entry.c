/* SPDX-License-Identifier: Apache-2.0 */
/*
 * entry.c - the one symbol of ref as a shared object.
 */
#include "ref.h"

nnd_plugin_v1_f nnd_plugin_v1;

const struct nnd_plugin *nnd_plugin_v1(const struct nnd_host *host, struct nnd_error *e)
{
    return ref_plugin(host, e);
}

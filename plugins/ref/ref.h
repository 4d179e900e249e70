/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ref.h - the entry of the ref plugin under a name that can be linked.
 */
#ifndef REF_REF_H
#define REF_REF_H

#include <nnd/plugin.h>

nnd_plugin_v1_f ref_plugin;

#endif

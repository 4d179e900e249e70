/* SPDX-License-Identifier: Apache-2.0 */
/*
 * folders.h - where a program's plugins lie.
 *
 * Programs read options and the environment; what they found decides, and else
 * what belongs to them: the plugins of the build tree they were built in, or the
 * folder they were installed with.
 */
#ifndef KERNEL_FOLDERS_H
#define KERNEL_FOLDERS_H

#include "base/buf.h"

/* Append folders, separated by ':': `given` when not empty, else those of the build
 * tree that the running program lies in, else `installed` if it is there. */
void kernel_folders(const char *given, const char *installed, struct buf *out);

/* The same for tokenizers (nnd/tokenizer.h). */
void tokenizer_plugin_folders(const char *given, const char *installed,
                              struct buf *out);

#endif

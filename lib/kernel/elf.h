/* SPDX-License-Identifier: Apache-2.0 */
/*
 * elf.h - is this file a whole shared object for this machine?
 *
 * The dynamic linker does not ask: it dies of SIGBUS on a file that was cut.
 */
#ifndef KERNEL_ELF_H
#define KERNEL_ELF_H

#include "base/err.h"

/* Check owner (root or this user), mode (not writable by others), and that the
 * ELF header fits this machine and all that it names lies within the file. */
int elf_check(const char *path, struct err *e);

#endif

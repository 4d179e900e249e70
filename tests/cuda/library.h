/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.h - in place of libraries that plugins/cuda opens: their functions by name,
 * in plain C (cublaslt.cc, nvidia_ml.cc).
 */
#ifndef EMU_LIBRARY_H
#define EMU_LIBRARY_H

#include <stddef.h>

void *emu_function(const char *name);
void *emu_nvml(const char *name);

static inline void *library_open(const char *const *names)
{
    return (void *)names;
}

static inline void *library_symbol(void *, const char *name)
{
    void *f = emu_function(name);
    return f ? f : emu_nvml(name);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * library.h - in place of libraries that plugins/cuda opens: their functions by name,
 * in plain C (cublaslt.cc, nvidia_ml.cc).  NCCL's stand-in (nccl.cc) is a library of
 * its own, which may be missing.
 */
#ifndef EMU_LIBRARY_H
#define EMU_LIBRARY_H

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

void *emu_function(const char *name);
void *emu_nvml(const char *name);

static inline void *library_open(const char *const *names)
{
    if (strncmp(names[0], "libnccl", 7) == 0)
        return dlopen(names[0], RTLD_NOW | RTLD_LOCAL);
    return (void *)names;
}

static inline const char *library_why(void)
{
    const char *why = dlerror();
    return why ? why : "no reason given";
}

static inline void *library_symbol(void *library, const char *name)
{
    if (strncmp(name, "nccl", 4) == 0)
        return dlsym(library, name);
    void *f = emu_function(name);
    return f ? f : emu_nvml(name);
}

#endif

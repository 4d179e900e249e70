/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvidia_ml.cc - as much of NVML as plugins/cuda asks of it, for the emulated device.
 */
#include "cuda_runtime.h"

#include <stdio.h>

static int start(void)
{
    return 0;
}

static int by_bus(const char *bus, void **device)
{
    static int one;
    *device = &one;
    return strcmp(bus, "0000:00:00.0") != 0;
}

static int driver(char *text, unsigned size)
{
    snprintf(text, size, "000.00");
    return 0;
}

static int clock_of(void *, int which, unsigned *mhz)
{
    *mhz = which == 1 ? 1000 : 2000;
    return 0;
}

/* This process, and nobody else. */
static int processes(void *, unsigned *n, void *)
{
    *n = 1;
    return 0;
}

void *emu_nvml(const char *name)
{
    static const struct {
        const char *name;
        void *f;
    } all[] = {
        {"nvmlInit_v2", (void *)start},
        {"nvmlDeviceGetHandleByPciBusId_v2", (void *)by_bus},
        {"nvmlSystemGetDriverVersion", (void *)driver},
        {"nvmlDeviceGetClockInfo", (void *)clock_of},
        {"nvmlDeviceGetMaxClockInfo", (void *)clock_of},
        {"nvmlDeviceGetComputeRunningProcesses_v3", (void *)processes},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i].f;
    return NULL;
}

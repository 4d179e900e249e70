/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvml.cu - what NVML says of a device: the driver, clocks, who else is on it.
 *
 * The library comes with the driver and is opened when somebody asks for the first
 * time; where it is missing, that is what is said.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "families.h"
#include "library.h"

/* Of NVML's interface, which stays as it is from version to version. */
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2, NVML_TOO_SMALL = 7, PROCESSES = 64 };

struct nvml_process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu, compute;
};

typedef void *nvml_device;

static struct {
    int (*init)(void);
    int (*by_bus)(const char *bus, nvml_device *device);
    int (*driver)(char *text, unsigned size);
    int (*clock)(nvml_device device, int which, unsigned *mhz);
    int (*most)(nvml_device device, int which, unsigned *mhz);
    int (*processes)(nvml_device device, unsigned *n, struct nvml_process *all);
    const char *why; /* it cannot be used, or NULL */
} nvml;

static const struct {
    const char *name;
    void **to;
} symbols[] = {
    {"nvmlInit_v2", (void **)&nvml.init},
    {"nvmlDeviceGetHandleByPciBusId_v2", (void **)&nvml.by_bus},
    {"nvmlSystemGetDriverVersion", (void **)&nvml.driver},
    {"nvmlDeviceGetClockInfo", (void **)&nvml.clock},
    {"nvmlDeviceGetMaxClockInfo", (void **)&nvml.most},
    {"nvmlDeviceGetComputeRunningProcesses_v3", (void **)&nvml.processes},
};

static void nvml_open(void)
{
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};
    void *library = library_open(names);
    nvml.why = library ? NULL : "libnvidia-ml.so.1 is not here";
    for (size_t i = 0; !nvml.why && i < sizeof symbols / sizeof *symbols; i++) {
        *symbols[i].to = library_symbol(library, symbols[i].name);
        if (!*symbols[i].to)
            nvml.why = "libnvidia-ml.so.1 is too old";
    }
    if (!nvml.why && nvml.init())
        nvml.why = "libnvidia-ml.so.1 does not start";
}

extern "C" void cuda_nvml(const char *bus, char *json, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct nvml_process all[PROCESSES];
    unsigned sm = 0, memory = 0, most = 0, users = PROCESSES;
    char driver[80] = "";
    nvml_device device;
    pthread_once(&once, nvml_open);
    if (nvml.why || nvml.by_bus(bus, &device)) {
        snprintf(json, len, "\"nvml\":\"%s\"",
                 nvml.why ? nvml.why : "it does not know the device");
        return;
    }
    nvml.driver(driver, sizeof driver);
    nvml.clock(device, NVML_CLOCK_SM, &sm);
    nvml.most(device, NVML_CLOCK_SM, &most);
    nvml.clock(device, NVML_CLOCK_MEM, &memory);
    int r = nvml.processes(device, &users, all); /* how many, if there is no room */
    if (r && r != NVML_TOO_SMALL)
        users = 0;
    snprintf(json, len,
             "\"driver\":\"%s\",\"mhz\":%u,\"mhz_max\":%u,\"memory_mhz\":%u,"
             "\"processes\":%u",
             driver, sm, most, memory, users);
}

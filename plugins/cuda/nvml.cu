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
#include "lazy.h"

/* Of NVML's interface, which stays as it is from version to version. */
enum { NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2, NVML_TOO_SMALL = 7, PROCESSES = 64 };

struct nvml_process {
    unsigned pid;
    unsigned long long bytes;
    unsigned gpu, compute;
};

typedef void *nvml_device;

/* The library's functions, in the order of their names below. */
static struct {
    int (*init)(void);
    int (*by_bus)(const char *bus, nvml_device *device);
    int (*driver)(char *text, unsigned size);
    int (*clock)(nvml_device device, int which, unsigned *mhz);
    int (*most)(nvml_device device, int which, unsigned *mhz);
    int (*processes)(nvml_device device, unsigned *n, struct nvml_process *all);
} nvml;

static const char *const functions[] = {"nvmlInit_v2",
                                        "nvmlDeviceGetHandleByPciBusId_v2",
                                        "nvmlSystemGetDriverVersion",
                                        "nvmlDeviceGetClockInfo",
                                        "nvmlDeviceGetMaxClockInfo",
                                        "nvmlDeviceGetComputeRunningProcesses_v3",
                                        NULL};

static char why[200]; /* the library cannot be used, or "" */

static void nvml_open(void)
{
    static const char *const names[] = {"libnvidia-ml.so.1", NULL};
    lazy_open(names, functions, (void **)&nvml, why, sizeof why);
    if (!why[0] && nvml.init())
        snprintf(why, sizeof why, "%s does not start", names[0]);
}

extern "C" void cuda_nvml(const char *bus, char *json, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct nvml_process all[PROCESSES];
    unsigned sm = 0, memory = 0, most = 0, users = PROCESSES;
    char driver[80] = "";
    nvml_device device;
    pthread_once(&once, nvml_open);
    if (why[0] || nvml.by_bus(bus, &device)) {
        snprintf(json, len, "\"nvml\":\"%s\"",
                 why[0] ? why : "it does not know the device");
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

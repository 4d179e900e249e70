/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad-load.c - plugins that should not be loaded, one per FAULT_X given to the
 * compiler; plugin_load.test builds them all.  With FAULT_NONE a sound one.
 */
#include <nnd/plugin.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined FAULT_CRASH
__attribute__((constructor)) static void crash(void)
{
    *(volatile int *)8 = 1;
}
#elif defined FAULT_LOOP
__attribute__((constructor)) static void loop(void)
{
    for (volatile int i = 0;; i++)
        ;
}
#elif defined FAULT_EXIT
__attribute__((constructor)) static void leave(void)
{
    exit(0);
}
#elif defined FAULT_SIGNAL || defined FAULT_CATCH
static void quiet(int sig)
{
    (void)sig;
}

__attribute__((constructor)) static void catch (void)
{
#if defined FAULT_CATCH
    signal(SIGTERM, quiet);
    signal(SIGUSR2, quiet);
#else
    signal(SIGSEGV, quiet);
#endif
}
#elif defined FAULT_TRAPS
#include <fenv.h>
__attribute__((constructor)) static void trap(void)
{
    feenableexcept(FE_INVALID);
}
#elif defined FAULT_THREAD
static void *idle(void *arg)
{
    pause();
    return arg;
}

__attribute__((constructor)) static void start(void)
{
    pthread_t thread;
    pthread_create(&thread, NULL, idle, NULL);
}
#elif defined FAULT_FILE
__attribute__((constructor)) static void leave_open(void)
{
    open("/dev/null", O_RDONLY);
    if (chdir("/") != 0)
        abort();
}
#elif defined FAULT_TLS
__attribute__((tls_model("initial-exec"))) __thread char own[1 << 20];
#elif defined FAULT_UNDEFINED
extern int nobody_defines_this(void);
#endif

static int supports(const void *self, const void *params, struct nnd_error *e)
{
    (void)self;
    (void)params;
    (void)e;
#if defined FAULT_UNDEFINED
    return nobody_defines_this();
#else
    return NND_OK;
#endif
}

static int need(const void *self, const void *params, struct nnd_need *out)
{
    (void)self;
    (void)params;
    out->workspace = 0;
    return NND_OK;
}

static int launch(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e)
{
    (void)self;
    (void)plan;
    (void)params;
    (void)l;
    (void)e;
    return NND_OK;
}

static struct nnd_kernel kernel = {
    .struct_size = sizeof kernel,
    .name = "nothing",
    .op = "sum",
    .device = "cpu",
    .op_version = 1,
    .supports = supports,
    .need = need,
    .launch = launch,
};

static const struct nnd_kernel *const kernels[] = {&kernel, &kernel};

static struct nnd_plugin plugin = {
    .struct_size = sizeof plugin,
    .abi_major = NND_ABI_MAJOR,
    .abi_minor = NND_ABI_MINOR,
    .name = "bad",
    .version = "0.1",
    .license = "Apache-2.0",
    .build = "test",
    .kernels = kernels,
    .nkernels = 1,
};

#if defined FAULT_ABI
#define ENTRY nnd_plugin_v2
#elif defined FAULT_ENTRY
#define ENTRY nnd_something_else
#else
#define ENTRY nnd_plugin_v1
#endif

nnd_plugin_v1_f ENTRY;

const struct nnd_plugin *ENTRY(const struct nnd_host *host, struct nnd_error *e)
{
    (void)host;
#if defined FAULT_TLS
    own[sizeof own - 1] = 1;
#elif defined FAULT_REFUSE || defined FAULT_CATCH
    strcpy(e->text, "unavailable: no driver");
    return NULL;
#endif
    (void)e;
#if defined FAULT_MAJOR
    plugin.abi_major = 2;
    plugin.abi_minor = 7;
#elif defined FAULT_SMALL
    plugin.struct_size = 16;
#elif defined FAULT_SMALL_KERNEL
    kernel.struct_size = 40;
#elif defined FAULT_NAME
    plugin.name = "a b";
#elif defined FAULT_TWICE
    plugin.nkernels = 2;
#elif defined FAULT_LAUNCH
    kernel.launch = NULL;
#elif defined FAULT_MANY
    plugin.nkernels = 1u << 30;
#endif
    return &plugin;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * emu.cc - grids on the host: threads as fibers, and a device that is the host's
 * memory.
 *
 * A fiber runs until it waits.  When every fiber of a block has been asked, a barrier
 * at which all of them wait opens; one at which only some wait is an error, as it is
 * on a GPU.  Most kernels' threads never wait: each then runs to its end on the same
 * stack.  Faults can be ordered by NND_EMU (see emu_know): "none", no device;
 * "sm=80", an older one; "shared=N", so much shared memory for a block; "bytes=N", so
 * much memory; "fault=N", the N-th launch breaks the device; "nograph", captures end in
 * an error; "count=FILE", a line at the end of the process: how often the host read
 * memory, a stream was waited for, a kernel and a graph launched; "gpus=N", so many
 * devices; "late=main", what streams are given is done when somebody waits for it, and
 * not before; "late=side", the same of streams that are more urgent than the first
 * ones; what cuBLASLt refuses: see cublaslt.cc.
 */
#include "cuda.h"
#include "emu.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

enum { THREADS = 1024, STACK = 256 << 10 };

/* ---- switching ---- */

#if defined(__x86_64__)
/* What a function call keeps: six registers on the stack, and the stack. */
extern "C" void emu_switch(void **from, void *to);
__asm__(".text\n.globl emu_switch\n.hidden emu_switch\n.type emu_switch,@function\n"
        "emu_switch:\n"
        "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
        "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
        "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n"
        ".size emu_switch,.-emu_switch\n");
typedef void *context;
#else
typedef ucontext_t context;
#endif

enum state { FRESH, READY, AT_BLOCK, AT_WARP, UNTIL, DONE };

struct fiber {
    struct emu_thread thread; /* first: emu_now points here */
    context at;
    char *stack;
    enum state state;
    int where;     /* the barrier it waits at       */
    unsigned mask; /* lanes it exchanges with       */
    int turn;      /* exchanges so far, of two buffers */
    int (*ready)(void *);
    void *ready_arg; /* what it waits for, see emu_until */
};

static struct fiber fibers[THREADS];
static context scheduler;
alignas(32) static char bring[THREADS / 32][2][32 * EMU_SLOT];
static void (*body)(void *);
static void *body_arg;
static pthread_mutex_t one_grid = PTHREAD_MUTEX_INITIALIZER;

struct emu_thread *emu_now;
uint3 emu_block;
dim3 emu_block_dim, emu_grid_dim;
static unsigned char dynamic[EMU_SHARED] __attribute__((aligned(1024)));
unsigned char *emu_dynamic = dynamic;

void emu_die(const char *what, int a, int b)
{
    fprintf(stderr, "cuda-emu: %s (%d, %d); block %u,%u,%u thread %d\n", what, a, b,
            emu_block.x, emu_block.y, emu_block.z, emu_now ? emu_now->id : -1);
    abort();
}

static struct fiber *fiber_now(void)
{
    return (struct fiber *)emu_now;
}

/* To the warp's next fiber that can go on, or else to who asks them all. */
static void hand_over(void)
{
    struct fiber *f = fiber_now(), *next = f + 1;
    while ((next - fibers) % 32 && next->state != READY)
        next++;
    context *to = &scheduler;
    if ((next - fibers) % 32) {
        to = &next->at;
        emu_now = &next->thread;
    }
#if defined(__x86_64__)
    emu_switch(&f->at, *to);
#else
    swapcontext(&f->at, to);
#endif
}

static void fiber_main(void)
{
    for (;;) {
        body(body_arg);
        fiber_now()->state = DONE;
        hand_over();
    }
}

static void fiber_make(struct fiber *f)
{
    void *p = f->stack;
    if (!p)
        p = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
    if (p == MAP_FAILED)
        emu_die("no stack", 0, 0);
    f->stack = (char *)p;
#if defined(__x86_64__)
    void **top = (void **)(f->stack + STACK - 64);
    *--top = NULL; /* where a return address would be: calls align on it */
    *--top = (void *)fiber_main;
    top -= 6;
    memset(top, 0, 6 * sizeof *top);
    f->at = top;
#else
    getcontext(&f->at);
    f->at.uc_stack.ss_sp = f->stack;
    f->at.uc_stack.ss_size = STACK;
    f->at.uc_link = NULL;
    makecontext(&f->at, fiber_main, 0);
#endif
}

static void fiber_run(struct fiber *f)
{
    emu_now = &f->thread;
#if defined(__x86_64__)
    emu_switch(&scheduler, f->at);
#else
    swapcontext(&scheduler, &f->at);
#endif
}

/* ---- barriers ---- */

void emu_sync(int where)
{
    fiber_now()->state = AT_BLOCK;
    fiber_now()->where = where;
    hand_over();
}

void emu_until(int (*ready)(void *arg), void *arg)
{
    struct fiber *f = fiber_now();
    if (ready(arg))
        return;
    f->state = UNTIL;
    f->ready = ready;
    f->ready_arg = arg;
    hand_over();
}

const void *emu_exchange(unsigned mask, int where, const void *mine, size_t size)
{
    struct fiber *f = fiber_now();
    char *to = bring[f->thread.id / 32][f->turn & 1];
    if (!(mask >> (f->thread.id & 31) & 1))
        emu_die("a lane that its own mask leaves out", where, (int)mask);
    memcpy(to + (size_t)(f->thread.id & 31) * EMU_SLOT, mine, size);
    f->state = AT_WARP;
    f->where = where;
    f->mask = mask;
    f->turn++;
    hand_over();
    return to;
}

/* ---- copies ---- */

enum { COPIES = 128 };

/* What a thread has asked for and not waited for; group: that copies join now. */
static struct {
    struct {
        void *to;
        const void *from; /* NULL: zeros */
        int group;
    } list[COPIES];
    int n, group;
} copies[THREADS];

/* From now on nobody may count on what was there. */
void emu_copy(void *to, const void *from, bool take)
{
    auto *c = &copies[emu_now->id];
    if (c->n == COPIES)
        emu_die("too many copies in flight", c->n, 0);
    memset(to, 0xff, 16);
    c->list[c->n++] = {to, take ? from : NULL, c->group};
}

void copy_commit(void)
{
    copies[emu_now->id].group++;
}

void emu_copy_wait(int left)
{
    auto *c = &copies[emu_now->id];
    int done = 0;
    for (; done < c->n && c->list[done].group < c->group - left; done++)
        if (c->list[done].from)
            memcpy(c->list[done].to, c->list[done].from, 16);
        else
            memset(c->list[done].to, 0, 16);
    memmove(c->list, c->list + done, (size_t)(c->n - done) * sizeof c->list[0]);
    c->n -= done;
}

static void check_copies(int threads)
{
    for (int i = 0; i < threads; i++) {
        if (copies[i].n)
            emu_die("copies that nobody waits for", i, copies[i].n);
        copies[i].group = 0;
    }
}

/* All 32 lanes at one exchange, which is nearly always so. */
static int open_all(struct fiber *warp, int lanes)
{
    int all = lanes == 32;
    for (int i = 0; all && i < 32; i++)
        all = warp[i].state == AT_WARP && warp[i].mask == 0xffffffffu &&
              warp[i].where == warp[0].where;
    for (int i = 0; all && i < 32; i++)
        warp[i].state = READY;
    return all;
}

/* Let those lanes of a warp go on that all wait for each other. */
static int open_warp(struct fiber *warp, int lanes)
{
    int opened = 0;
    if (open_all(warp, lanes))
        return 1;
    for (int i = 0; i < lanes; i++) {
        struct fiber *f = &warp[i];
        if (f->state != AT_WARP)
            continue;
        int all = 1;
        for (int j = 0; j < 32; j++) {
            if (!(f->mask >> j & 1))
                continue;
            if (j >= lanes || warp[j].state == DONE || warp[j].state == AT_BLOCK)
                emu_die("lanes that never meet", f->where, j);
            all &= warp[j].state == AT_WARP;
        }
        if (!all)
            continue;
        for (int j = 0; j < lanes; j++)
            if (f->mask >> j & 1) {
                if (warp[j].where != f->where || warp[j].mask != f->mask)
                    emu_die("lanes at different exchanges", f->where, warp[j].where);
                warp[j].state = READY;
            }
        opened = 1;
    }
    return opened;
}

static int run_warp(struct fiber *warp, int lanes)
{
    int moved = 0;
    for (int i = 0; i < lanes; i++)
        if (warp[i].state == UNTIL && warp[i].ready(warp[i].ready_arg))
            warp[i].state = READY;
    do {
        for (int i = 0; i < lanes; i++)
            if (warp[i].state == READY || warp[i].state == FRESH) {
                if (warp[i].state == FRESH) /* a stack that a finished one left */
                    fiber_make(&warp[i]);
                warp[i].state = READY;
                fiber_run(&warp[i]);
                moved = 1;
            }
    } while (open_warp(warp, lanes));
    return moved;
}

static void open_block(int n)
{
    int waiting = 0, where = 0, later = 0;
    for (int i = 0; i < n; i++) {
        later += fibers[i].state == UNTIL;
        if (fibers[i].state == AT_BLOCK) {
            if (waiting && fibers[i].where != where)
                emu_die("threads at different barriers", where, fibers[i].where);
            where = fibers[i].where;
            waiting++;
        }
    }
    if (later)
        return; /* they may still come */
    if (waiting && waiting != n)
        emu_die("a barrier that not all threads reach", where, n - waiting);
    for (int i = 0; i < n; i++)
        fibers[i].state = READY;
}

static void run_block(int n)
{
    int done = 0;
    for (int i = 0; i < n; i++) {
        struct fiber *f = &fibers[i];
        unsigned x = emu_block_dim.x, y = emu_block_dim.y;
        f->thread.id = i;
        f->thread.at = {(unsigned)i % x, (unsigned)i / x % y, (unsigned)i / x / y};
        f->turn = 0;
        f->state = f->stack ? READY : FRESH;
    }
    for (;;) {
        int moved = 0;
        for (int w = 0; w < n; w += 32)
            moved |= run_warp(&fibers[w], n - w < 32 ? n - w : 32);
        done = 0;
        for (int i = 0; i < n; i++)
            done += fibers[i].state == DONE;
        if (done == n)
            break;
        if (!moved)
            emu_die("threads that wait for each other", done, n);
        open_block(n);
    }
    check_copies(n);
    emu_hopper_end();
}

/* ---- the device ---- */

struct emu_device emu_device;
static thread_local int current;  /* the one that a thread's calls go to */
static thread_local bool entered; /* this thread has a context */

/* What cudaMalloc gave. */
enum { BLOCKS = 4096 };
static struct {
    char *at;
    size_t size;
} blocks[BLOCKS];
static pthread_mutex_t blocks_lock = PTHREAD_MUTEX_INITIALIZER; /* used as well */

static int is_device(const void *p)
{
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].at && (const char *)p >= blocks[i].at &&
            (const char *)p < blocks[i].at + blocks[i].size)
            return 1;
    return 0;
}

static void tell_counts(void)
{
    FILE *f = fopen(emu_device.count, "a");
    if (!f)
        return;
    fprintf(f, "reads %ld waits %ld launches %ld graphs %ld\n", emu_device.reads,
            emu_device.waits, emu_device.launches, emu_device.graphs);
    fclose(f);
}

void emu_know(void)
{
    if (emu_device.known)
        return;
    emu_device.known = 1;
    emu_device.bytes = (size_t)1 << 30;
    emu_device.sm = 90;
    emu_device.shared = EMU_SHARED;
    emu_device.gpus = 1;
    const char *s = getenv("NND_EMU");
    for (; s && *s; s = strchr(s, ',') ? strchr(s, ',') + 1 : "") {
        if (strncmp(s, "nograph", 7) == 0)
            emu_device.nograph = 1;
        if (strncmp(s, "late=main", 9) == 0)
            emu_device.late_main = 1;
        if (strncmp(s, "late=side", 9) == 0)
            emu_device.late_side = 1;
        if (strncmp(s, "none", 4) == 0)
            emu_device.gpus = 0;
        if (strncmp(s, "gpus=", 5) == 0)
            emu_device.gpus = (int)strtol(s + 5, NULL, 10);
        if (strncmp(s, "sm=", 3) == 0)
            emu_device.sm = (int)strtol(s + 3, NULL, 10);
        if (strncmp(s, "shared=", 7) == 0)
            emu_device.shared = strtoull(s + 7, NULL, 0);
        if (strncmp(s, "bytes=", 6) == 0)
            emu_device.bytes = strtoull(s + 6, NULL, 0);
        if (strncmp(s, "fault=", 6) == 0)
            emu_device.fault = strtol(s + 6, NULL, 0);
        if (strncmp(s, "count=", 6) == 0) {
            emu_device.count = strndup(s + 6, strcspn(s + 6, ","));
            atexit(tell_counts);
        }
    }
}

cudaError_t emu_answer(cudaError_t e)
{
    if (emu_device.sticky)
        e = emu_device.sticky;
    if (e)
        emu_device.last = e;
    return e;
}

bool emu_shared_allows(int n)
{
    emu_know();
    return (size_t)n <= emu_device.shared;
}

cudaError_t emu_launch(void (*f)(void *), void *arg, dim3 grid, dim3 block,
                       size_t shared)
{
    unsigned n = block.x * block.y * block.z;
    if (n < 1 || n > THREADS || !emu_shared_allows((int)shared) || grid.x < 1 ||
        grid.y < 1 || grid.z < 1 || grid.x > 0x7fffffffu || grid.y > 65535 ||
        grid.z > 65535)
        return emu_answer(cudaErrorInvalidValue);
    pthread_mutex_lock(&one_grid);
    emu_know();
    if (++emu_device.launches == emu_device.fault)
        emu_device.sticky = cudaErrorLaunchFailure;
    if (!emu_device.sticky) {
        body = f, body_arg = arg;
        emu_grid_dim = grid, emu_block_dim = block;
        for (emu_block.z = 0; emu_block.z < grid.z; emu_block.z++)
            for (emu_block.y = 0; emu_block.y < grid.y; emu_block.y++)
                for (emu_block.x = 0; emu_block.x < grid.x; emu_block.x++) {
                    memset(emu_dynamic, 0xff, shared); /* NaN: nobody cleared it */
                    run_block((int)n);
                }
    }
    pthread_mutex_unlock(&one_grid);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaGetDeviceCount(int *n)
{
    emu_know();
    *n = emu_device.gpus;
    return emu_device.gpus ? cudaSuccess : emu_answer(cudaErrorNoDevice);
}

static cudaError_t look_for(int dev)
{
    emu_know();
    return emu_answer(dev < 0 || (dev > 0 && dev >= emu_device.gpus)
                          ? cudaErrorInvalidValue
                          : cudaSuccess);
}

/* What only asks makes no context, as with the real runtime. */
cudaError_t cudaSetDevice(int dev)
{
    cudaError_t rc = look_for(dev);
    if (rc == cudaSuccess)
        current = dev, entered = true;
    return rc;
}

bool emu_has_context(void)
{
    return entered;
}

cudaError_t cudaGetDevice(int *dev)
{
    *dev = current;
    return emu_answer(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int dev)
{
    *p = {};
    emu_know();
    snprintf(p->name, sizeof p->name, "emulated");
    p->totalGlobalMem = emu_device.bytes;
    p->major = emu_device.sm / 10;
    p->minor = emu_device.sm % 10;
    p->multiProcessorCount = 4;
    return look_for(dev);
}

cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int dev)
{
    emu_know();
    *v = a == cudaDevAttrMultiProcessorCount            ? 4
         : a == cudaDevAttrComputeCapabilityMajor       ? emu_device.sm / 10
         : a == cudaDevAttrComputeCapabilityMinor       ? emu_device.sm % 10
         : a == cudaDevAttrMaxSharedMemoryPerBlockOptin ? (int)emu_device.shared
                                                        : 0;
    return look_for(dev);
}

/* The driver's functions that are asked for by name; a device that is older than
 * Hopper stands for a driver that is. */
cudaError_t cudaGetDriverEntryPointByVersion(const char *name, void **at, unsigned,
                                             unsigned long long,
                                             enum cudaDriverEntryPointQueryResult *how)
{
    bool here = strcmp(name, "cuTensorMapEncodeTiled") == 0 && emu_device.sm >= 90;
    *at = here ? (void *)cuTensorMapEncodeTiled : NULL;
    *how = here ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int len, int dev)
{
    snprintf(text, (size_t)len, "0000:%02x:00.0", (unsigned)dev);
    return look_for(dev);
}

/* ---- memory ---- */

/* Blocks carry their size before them; AddressSanitizer fences them. */
cudaError_t cudaMalloc(void **p, size_t n)
{
    emu_know();
    entered = true;
    if (emu_device.capturing)
        return emu_answer(cudaErrorStreamCaptureUnsupported);
    if (n > emu_device.bytes - emu_device.used)
        return emu_answer(cudaErrorMemoryAllocation);
    char *block = (char *)aligned_alloc(256, (n + 511) / 256 * 256);
    if (!block)
        return emu_answer(cudaErrorMemoryAllocation);
    memcpy(block, &n, sizeof n);
    *p = block + 256;
    pthread_mutex_lock(&blocks_lock);
    emu_device.used += n;
    for (int i = 0; i < BLOCKS; i++)
        if (!blocks[i].at) {
            blocks[i] = {block + 256, n};
            break;
        }
    pthread_mutex_unlock(&blocks_lock);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaFree(void *p)
{
    size_t n;
    if (!p)
        return cudaSuccess;
    emu_finish();
    memcpy(&n, (char *)p - 256, sizeof n);
    pthread_mutex_lock(&blocks_lock);
    emu_device.used -= n;
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].at == p)
            blocks[i].at = NULL;
    pthread_mutex_unlock(&blocks_lock);
    free((char *)p - 256);
    return emu_answer(cudaSuccess);
}

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    *left = emu_device.bytes - emu_device.used;
    *all = emu_device.bytes;
    return emu_answer(cudaSuccess);
}

cudaError_t cudaHostAlloc(void **p, size_t n, unsigned)
{
    *p = malloc(n ? n : 1);
    return *p ? cudaSuccess : emu_answer(cudaErrorMemoryAllocation);
}

cudaError_t cudaFreeHost(void *p)
{
    emu_finish();
    free(p);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind,
                            cudaStream_t s)
{
    return emu_do(s, [=]() {
        emu_device.reads += is_device(from) && !is_device(to);
        if (!emu_device.sticky && n)
            memmove(to, from, n);
        return emu_answer(cudaSuccess);
    });
}

cudaError_t cudaMemsetAsync(void *to, int byte, size_t n, cudaStream_t s)
{
    return emu_do(s, [=]() {
        if (!emu_device.sticky && n)
            memset(to, byte, n);
        return emu_answer(cudaSuccess);
    });
}

/* ---- errors ---- */

cudaError_t cudaGetLastError(void)
{
    cudaError_t e = emu_device.last;
    emu_device.last = cudaSuccess;
    return emu_device.sticky ? emu_device.sticky : e;
}

cudaError_t cudaPeekAtLastError(void)
{
    return emu_device.sticky ? emu_device.sticky : emu_device.last;
}

const char *cudaGetErrorString(cudaError_t e)
{
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorNoDevice:
        return "no CUDA-capable device is detected";
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    default:
        return "an error of the emulated device";
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nnd/plugin.h - the contract between nnd and a kernel plugin, ABI v1.
 *
 * The only header of nnd that a plugin includes; the catalogue of operators, nnd/ops.h,
 * comes with it.  A plugin is a shared object that exports one function,
 * nnd_plugin_v1(), which returns a table of kernels (and, for a new kind of device, its
 * memory and streams).  A kernel serves one operator on one kind of device; it is a
 * table of functions over one params struct:
 *
 *   supports()  can you do this call?  "no" always comes with a reason, and is
 *               NND_EKERNEL where this machine can do none
 *   need()      how much workspace?
 *   plan()      optional: prepare what does not depend on data
 *   pack()      optional: a weight in an order of the kernel's own
 *   launch()    enqueue the work; no sync, allocation, MPI or new threads
 *
 * The first two see params with every data pointer NULL.  Any thread may call a kernel,
 * but no two at once, other than launch() with NND_K_REENTRANT.  Structs grow at the
 * end only; `struct_size` says how much of a struct its maker knew (NND_HAS).
 *
 * RULES THAT EVERY KERNEL MEETS (nnd-plugin-probe checks them)
 *  - Accumulate in f32 or wider.  16-bit results are rounded to nearest, even.
 *  - beta = 0 does not read the destination; it may hold NaN.
 *  - What is only read does not change.  Results overlap neither that nor each other,
 *    unless the operator says that one may be another.  The workspace holds anything
 *    when launch() begins.
 *  - Contents of padding rows (pos < 0, target < 0, expert < 0) never change
 *    any other result, NaN included.
 *  - A fully masked attention row, or an empty sequence: o = 0, lse = -inf,
 *    all its gradients 0.  An empty group of a grouped GEMM: a zero result.
 *  - NND_K_DETERMINISTIC: same inputs, same bits, whatever nthreads is.
 *  - NND_K_INVARIANT: besides, a row's bits depend neither on the number of
 *    rows, nor on the row's place, nor on its neighbours.  Orders of summation
 *    depend on shapes along the summed axis alone; sums over rows (weight
 *    gradients) run in row order, or in blocks of NND_BLOCK_ROWS rows added in
 *    row order.  `mode: reproducible` takes only such kernels.
 *
 * Letters: T rows (tokens) of a call, N and K matrix sides, H query heads, Hk key/value
 * heads, D head size, E experts, V vocabulary, B sequences.  Tensors are row-major
 * unless their strides say otherwise.
 */
#ifndef NND_PLUGIN_H
#define NND_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NND_ABI_MAJOR 1 /* a break: new entry symbol nnd_plugin_v2 */
#define NND_ABI_MINOR 1 /* growth at the end of structs            */
#define NND_ENTRY     "nnd_plugin_v1"

/* Field f exists in *p as its maker compiled it.  Never compare for equality. */
#define NND_HAS(T, p, f) ((p)->struct_size >= offsetof(struct T, f) + sizeof((p)->f))

/* Grouped by the largest thing that can no longer be used. */
enum nnd_status {
    NND_OK = 0,
    NND_EUNSUPPORTED = -1, /* this call: not in this kernel's domain */
    NND_EINVAL = -2,       /* this call: params contradict themselves */
    NND_ENOMEM = -3,
    NND_EKERNEL = -20, /* this kernel: quarantine it          */
    NND_EDEVICE = -40, /* the device context: restart worker  */
    NND_EFATAL = -60   /* the process: abort                  */
};

/* Caller-owned, NUL-terminated, one line. */
struct nnd_error {
    char text[256];
};

enum nnd_dtype {
    NND_F64 = 1,
    NND_F32,
    NND_TF32, /* compute type only */
    NND_BF16,
    NND_F16,
    NND_E4M3,
    NND_E5M2,
    NND_I64,
    NND_I32,
    NND_I8,
    NND_U8,
    NND_BOOL,
    NND_E8M0,           /* 2^(x - 127): a type of scales; 255 is NaN */
    NND_DTYPE_EXT = 256 /* from register_dtype() upward */
};

#define NND_MAX_DIMS 6

/* Frozen in v1: embedded by value everywhere, cannot grow.  ndim 0 = absent.
 * 8-bit numbers may come with scales (f32 or e8m0): element (r, c), r its row over
 * all axes but the last, c its column, is worth
 *     data * scale[r / scale_rows * scale_stride + c / scale_block].
 * Blocks of 1 x 32 with e8m0 are those of OCP's Microscaling Formats 1.0 (MX); 1 x
 * 128 and 128 x 128 with f32 serve activations and weights of fp8 products; 0
 * columns is one scale for the tensor.  A product that sums along another axis than
 * the blocks' has to have its operand quantized again, as its hardware does. */
struct nnd_tensor {
    void *data;                   /* device address; NULL while planning   */
    int64_t dim[NND_MAX_DIMS];    /* elements                              */
    int64_t stride[NND_MAX_DIMS]; /* elements                              */
    int32_t ndim, dtype;
    int32_t device, align_log2;       /* alignment of data and of row strides  */
    const void *scale;                /* of 8-bit numbers, same device, or 0   */
    int32_t scale_dtype, scale_block; /* columns of a block; 0: one for all  */
    int64_t scale_stride;             /* scales from one row of blocks on    */
    int32_t scale_rows, reserved;     /* rows of a block; 0 or 1: each       */
};

struct nnd_stream {
    int32_t device, reserved;
    void *native; /* "cpu": NULL; "cuda": cudaStream_t */
};

#define NND_GROUP_ID 128 /* bytes */

/* What ranks with a device each do together.  All ranks of a group make the same calls
 * in the same order, from one thread; parts are in bytes, as many as there are ranks.
 * Where a rank is lost, stream_sync and event_query give NND_EDEVICE, not waiting for
 * it, and health() says why. */
struct nnd_collectives {
    size_t struct_size;
    const char *name; /* "nccl" */
    /* A text that no other device has, on whatever machine; or why there are none. */
    int (*place)(int dev, char *text, size_t len, struct nnd_error *e);
    /* By one rank; all others of the group are given what it wrote. */
    int (*make_id)(void *id, struct nnd_error *e);
    int (*join)(int dev, const void *id, int rank, int ranks, void **group,
                struct nnd_error *e);
    /* All ranks together, with nothing under way; or one alone, at once. */
    int (*leave)(void *group, int at_once);
    /* Enqueue, in place: numbers in buf[off[r], +len[r]) of all ranks are added, in any
     * order, into those of rank r; others' parts are as they were. */
    int (*reduce)(void *group, const struct nnd_stream *, void *buf, int32_t dtype,
                  const size_t *len, const size_t *off, struct nnd_error *e);
    /* Enqueue, in place: rank r's buf[off[r], +len[r]) reaches all ranks. */
    int (*gather)(void *group, const struct nnd_stream *, void *buf, const size_t *len,
                  const size_t *off, struct nnd_error *e);
    /* Optional: bytes of each device that a group of so many ranks takes, about. */
    size_t (*bytes)(int ranks);
};

/* One table per kind of device.  The host calls it; kernels may too. */
struct nnd_device_ops {
    size_t struct_size;
    const char *type; /* "cpu", "cuda" */
    int (*count)(void);
    int (*info)(int dev, char *json, size_t len); /* name, arch, bytes */
    int (*alloc)(int dev, size_t size, void **p); /* 256-byte aligned  */
    int (*free)(int dev, void *p);
    int (*alloc_pinned)(size_t size, void **p);
    int (*free_pinned)(void *p);
    int (*copy)(const struct nnd_stream *, void *dst, const void *src, size_t);
    int (*fill)(const struct nnd_stream *, void *dst, int32_t byte, size_t);
    int (*stream_new)(int dev, int prio, struct nnd_stream *); /* < 0: more urgent */
    int (*stream_del)(struct nnd_stream *);
    int (*stream_sync)(const struct nnd_stream *);
    int (*event_new)(int dev, void **ev);
    int (*event_del)(void *ev);
    int (*event_record)(void *ev, const struct nnd_stream *);
    /* On the device, for the last event_record before this call. */
    int (*event_wait)(const struct nnd_stream *, void *ev);
    int (*event_query)(void *ev); /* 1 done, 0 not yet, < 0 status */
    int (*event_ms)(void *a, void *b, float *ms);
    int (*health)(int dev, struct nnd_error *); /* sticky fault pending? */
    /* Optional, all or none: what is enqueued between begin and end (kernels with
     * NND_K_CAPTURABLE, copies, fills) is kept and not run; each launch runs it. */
    int (*graph_begin)(const struct nnd_stream *);
    int (*graph_end)(const struct nnd_stream *, void **graph);
    int (*graph_launch)(const struct nnd_stream *, void *graph);
    int (*graph_del)(void *graph);
    const struct nnd_collectives *collectives; /* optional */
};

struct nnd_dtype_def; /* both at the end of this file */
struct nnd_op_def;

/* Services of the host; valid for the life of the process.  Any thread. */
struct nnd_host {
    size_t struct_size;
    uint32_t abi_major, abi_minor;
    void *h;
    void (*log)(void *h, int level, const char *msg); /* 0 error .. 3 debug */
    void *(*alloc)(void *h, size_t size, size_t align);
    void (*free)(void *h, void *p);
    /* Run fn(arg, i) for 0 <= i < n over the host's threads; returns when all
     * have ended.  Kernels start no threads of their own. */
    int (*parallel)(void *h, int n, void (*fn)(void *arg, int i), void *arg);
    /* A setting, or NULL.  "threads": how many parallel() has. */
    const char *(*config)(void *h, const char *key);
    /* From the plugin's entry alone: *id is the type's number in this process, at least
     * NND_DTYPE_EXT.  A name is taken once; the definition lives with the process. */
    int (*register_dtype)(void *h, const struct nnd_dtype_def *, int32_t *id);
    const struct nnd_device_ops *(*device)(void *h, const char *type);
    /* Services by a name that says its version, or NULL where this host has none of
     * that name.  Those of nnd begin with "nnd."; below: "nnd.dtype.1". */
    const void *(*extension)(void *h, const char *name);
};

/* Everything launch() may touch besides its params. */
struct nnd_launch {
    size_t struct_size;
    struct nnd_stream stream;
    void *workspace;
    size_t workspace_size;
    int32_t nthreads; /* of host->parallel */
    uint32_t flags;
};

/* Out: what a call would take. */
struct nnd_need {
    size_t struct_size;
    size_t workspace; /* bytes, 256-aligned, for the time of launch() */
    size_t packed;    /* bytes that pack() writes; 0: it is of no use here */
};

enum {
    NND_K_DETERMINISTIC = 1u,
    NND_K_INVARIANT = 2u,
    NND_K_REENTRANT = 4u, /* launch() from two threads at once */
    NND_K_CAPTURABLE = 8u /* into a CUDA graph                 */
};

struct nnd_kernel {
    size_t struct_size;
    const char *name;   /* unique in the plugin: "gemm-skx"          */
    const char *op;     /* a name in nnd/ops.h: "gemm"              */
    const char *device; /* "cpu", "cuda"                             */
    uint32_t op_version, flags;
    int32_t priority, reserved; /* 0..100; 50 = good, 0 = last resort */
    const void *self;
    int (*supports)(const void *self, const void *params, struct nnd_error *e);
    int (*need)(const void *self, const void *params, struct nnd_need *out);
    int (*plan)(const void *self, const void *params, void **plan, struct nnd_error *e);
    void (*plan_free)(void *plan);
    int (*launch)(const void *self, void *plan, const void *params,
                  const struct nnd_launch *l, struct nnd_error *e);
    /* Optional, of products: write params->packed, u8 of need()'s size, 256-aligned,
     * from b (and b2) in the order that launch() likes to read.  What is written
     * depends on b, b2 and trans_b alone, and fits every call with the same, whatever
     * its a and d are, for which need() gives a size; all such calls give the same one.
     * launch() with `packed` has the bits of one without, and may read b too.  The host
     * packs a weight when it has changed, and launches many times. */
    int (*pack)(const void *self, const void *params, const struct nnd_launch *l,
                struct nnd_error *e);
};

struct nnd_plugin {
    size_t struct_size;
    uint32_t abi_major, abi_minor;
    const char *name, *version, *license, *build;
    const struct nnd_kernel *const *kernels; /* arrays of pointers */
    const struct nnd_device_ops *const *devices;
    const struct nnd_op_def *const *ops;
    uint32_t nkernels, ndevices, nops, flags;
    void (*fini)(void); /* optional; there is no unload */
};

/* Called once, from one thread.  Touches no device, starts no thread, installs
 * no signal handler, leaves the floating-point environment alone.  NULL = the
 * plugin refuses, and e says why ("unavailable: no driver"). */
typedef const struct nnd_plugin *nnd_plugin_v1_f(const struct nnd_host *host,
                                                 struct nnd_error *e);

/* ------------------------------------------------------------------------- */
/* Operators and element types from outside.                                 */

/* An element type that the host does not know.  It can be stored, moved, and looked
 * at as f32; computing with it is the business of the kernels that take it. */
struct nnd_dtype_def {
    size_t struct_size;
    const char *name; /* "vendor.type", of all processes the same meaning */
    int32_t bits;     /* of an element in memory: 8, 16, 32 or 64         */
    int32_t block;    /* elements that are converted together, 1 or more:
                         tensors of it have whole blocks                  */
    /* n elements, contiguous, n a multiple of block; no overlap. */
    void (*to_f32)(const void *src, float *dst, size_t n);
    void (*from_f32)(const float *src, void *dst, size_t n);
};

/* host->extension(h, "nnd.dtype.1"): types by name, those of other plugins too, for
 * kernels that take them.  Plugins are loaded in the order of their files' names; who
 * does not find a type at its entry asks again in supports(). */
struct nnd_dtype_ext {
    size_t struct_size;
    int32_t (*find)(const char *name); /* "bf16", "vendor.type"; 0: there is none */
    const struct nnd_dtype_def *(*def)(int32_t id); /* of one from outside, or NULL */
};

#define NND_FRAME_IN    12
#define NND_FRAME_OUT   6
#define NND_FRAME_ATTRS 12

enum { NND_ATTR_INT = 1, NND_ATTR_FLOAT = 2 };

union nnd_attr {
    int64_t i;
    double f;
};

/* The params of an operator from outside: its tensors and attributes in the order
 * of its schema, absent ones with ndim 0. */
struct nnd_frame {
    size_t struct_size;
    struct nnd_tensor in[NND_FRAME_IN], out[NND_FRAME_OUT];
    union nnd_attr attr[NND_FRAME_ATTRS];
    int32_t nin, nout, nattr, reserved;
};

/* One input or output, and one attribute, of a schema. */
struct nnd_arg_def {
    const char *name;
    uint32_t optional, reserved;
};

struct nnd_attr_def {
    const char *name;
    int32_t type, reserved; /* NND_ATTR_... */
};

/* An operator that the catalogue does not have.  Kernels serve it like any other:
 * their `op` is its name, their params are a struct nnd_frame. */
struct nnd_op_def {
    size_t struct_size;
    const char *name; /* "vendor.op" */
    const struct nnd_arg_def *in, *out;
    const struct nnd_attr_def *attr;
    uint32_t nin, nout, nattr, flags;
    /* Give the outputs ndim, dim and dtype from the inputs' and the attributes, all
     * data NULL; the host adds strides.  "No" says why. */
    int (*shape)(struct nnd_frame *f, struct nnd_error *e);
    /* The operator of its gradients, or NULL.  Its inputs are this one's inputs,
     * this one's outputs, and the outputs' gradients (absent: nothing flows), its
     * outputs are the inputs' gradients (absent: not wanted), of their shapes;
     * its own shape() is not asked.  The attributes are the same. */
    const char *backward;
    int64_t (*flops)(const struct nnd_frame *f); /* multiply-adds count two; or NULL */
};

#ifdef __cplusplus
}
#endif

#include <nnd/ops.h> /* the catalogue */

#endif

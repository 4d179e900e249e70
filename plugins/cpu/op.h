/* SPDX-License-Identifier: Apache-2.0 */
/*
 * op.h - how the kernels of the plugins cpu, blis and cuda are described and listed.
 *
 * A kernel is one row of a table: its operator, what its params must look like (for
 * operators that several plugins serve calls.c says that), its workspace, its work.
 * op.c turns rows into struct nnd_kernel; it is compiled for the oldest CPU, so that a
 * kernel that does not run here can say so.  A source that is compiled once for each
 * instruction set exports nothing but its table, under a name of its own: OPS(norm) is
 * norm_ops_v3.
 */
#ifndef CPU_OP_H
#define CPU_OP_H

#include <nnd/plugin.h>

/* Instruction sets, as the x86-64 psABI numbers them, and v4 with products of bf16.
 * Elsewhere: BASE. */
enum isa { ISA_BASE, ISA_V3, ISA_V4, ISA_BF16, ISA_COUNT };

#define ISA_PASTE(name, suffix) name##_##suffix
#define ISA_NAME(name, suffix)  ISA_PASTE(name, suffix)
#ifdef ISA_SUFFIX
#define OPS(family) ISA_NAME(family##_ops, ISA_SUFFIX)
#endif

/* Sets of dtypes. */
#define IN_F32    (1u << NND_F32)
#define IN_F64    (1u << NND_F64)
#define IN_I32    (1u << NND_I32)
#define IN_FLOATS (IN_F32 | 1u << NND_BF16 | 1u << NND_F16)

enum {
    ARG_OPTIONAL = 1,
    ARG_PACKED = 2,    /* no gaps between rows                              */
    ARG_ANY_ORDER = 4, /* the first axes may be in any order in memory      */
    ARG_NONE = 8       /* of the struct's other operators: may not be given  */
};

/* One tensor of a params struct.  Each letter of `dims` is a size: the first
 * argument that names it sets it, the later ones must agree; '*' is any size, '1'
 * is one.
 * The last axis has stride 1; rows may lie apart, but not on one another. */
struct arg {
    const char *name;
    size_t offset;
    const char *dims;
    unsigned dtypes;
    unsigned flags;
};

#define ARG_MAX 16
#define ARG(type, field, dims, dtypes, flags)                                          \
    {                                                                                  \
#field, offsetof(struct type, field), dims, dtypes, flags                      \
    }

struct op {
    const char *name;   /* of the catalogue */
    size_t params_size; /* sizeof the params struct; 0: it and args are in calls.c */
    struct arg args[ARG_MAX];
    /* The three below see params that met `args`; the first two may be NULL. */
    int (*check)(const void *params, struct nnd_error *e);
    size_t (*workspace)(const void *params); /* bytes */
    int (*launch)(const void *params, const struct nnd_launch *l);
};

/* What nnd_kernel.self points to. */
struct op_kernel {
    const struct op *op;
    const struct op *call; /* whose args its params are checked by */
    enum isa isa;
    char name[40];
};

/* calls.c: the row that says what calls of op look like, op itself where it does. */
const struct op *op_call(const struct op *op);

/* Fill *out, using *k as its self: operator `op` on instruction set `isa`, named
 * "op-suffix".  Both live as long as the plugin. */
void op_describe(const struct op *op, enum isa isa, const char *suffix,
                 struct op_kernel *k, struct nnd_kernel *out);

/* 1 when this machine and its kernel run `isa`. */
int isa_runs(enum isa isa);
const char *isa_name(enum isa isa);

/* Seconds that a processor takes for a tile of bf16 products from its nearest cache,
 * the same multiply-adds in each instruction set; the least of some turns
 * (gemm_rate.c). */
typedef double tile_seconds_f(void);

/* Write "op: text" into *e; returns code. */
int op_refuse(struct nnd_error *e, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What launch() returns where numbers that only it reads contradict the call: words for
 * what it found, which the host gets; NND_EINVAL.  From the thread that launch() is
 * in. */
int op_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * warpgroup.cc - barriers that count bytes, tiles, and products of four warps, on the
 * host: the semantics of the PTX manual, for what plugins/cuda uses of it.
 *
 * A mistake that a GPU would answer with wrong numbers or a hang gives wrong numbers
 * or a line and the end here: a layout, a swizzle or a stride that does not fit, a
 * stage that is filled while it is read, a wait that is missing, a barrier with a
 * wrong count.  What is not seen: missing fences.
 */
#include "hopper_layer.h"

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "emu.h"

enum { THREADS = 1024, WARPGROUP = 128, FLYING = 64, TILES = 64, ROW = 128 };

static int used; /* by this block */

static int thread_id(void)
{
    return emu_now->id;
}

/* ---- shared memory ---- */

uint32_t shared_address(const void *p)
{
    ptrdiff_t at = (const unsigned char *)p - emu_dynamic;
    if (at < 0 || at >= EMU_SHARED)
        emu_die("an address outside dynamic shared memory", (int)at, 0);
    return (uint32_t)at + EMU_SHARED_BASE;
}

/* 128-byte swizzle: the 16-byte chunk of a row is xored with the row's number. */
static unsigned char *swizzled(uint32_t address)
{
    address ^= (address >> 7 & 7) << 4;
    if (address < EMU_SHARED_BASE || address >= EMU_SHARED_BASE + EMU_SHARED)
        emu_die("a tile outside shared memory", (int)address, 0);
    return emu_dynamic + (address - EMU_SHARED_BASE);
}

/* ---- barriers ---- */

/* The 64 bits of a barrier. */
struct barrier {
    uint64_t pending : 20, arrivals : 20, phase : 1;
    int64_t bytes : 23;
};
static_assert(sizeof(struct barrier) == sizeof(uint64_t));

static struct barrier *barrier_of(uint64_t *b)
{
    shared_address(b);
    return (struct barrier *)b;
}

static void barrier_turn(struct barrier *b)
{
    if (b->pending || b->bytes)
        return;
    b->phase ^= 1;
    b->pending = b->arrivals;
}

void barrier_init(uint64_t *b, uint32_t arrivals)
{
    used = 1;
    *barrier_of(b) = {arrivals, arrivals, 0, 0};
}

static void arrive(uint64_t *at, uint32_t bytes)
{
    struct barrier *b = barrier_of(at);
    if (!b->arrivals || b->arrivals > THREADS || !b->pending)
        emu_die("a barrier that is not ready for an arrival", b->arrivals, b->pending);
    b->bytes += bytes;
    b->pending--;
    barrier_turn(b);
}

void barrier_arrive(uint64_t *b)
{
    arrive(b, 0);
}

void barrier_expect(uint64_t *b, uint32_t bytes)
{
    arrive(b, bytes);
}

static void tiles_arrive(uint64_t *b);

struct wait {
    uint64_t *barrier;
    uint32_t parity;
};

static int phase_ended(void *arg)
{
    const struct wait *w = (const struct wait *)arg;
    tiles_arrive(w->barrier);
    return barrier_of(w->barrier)->phase != w->parity;
}

void barrier_wait(uint64_t *b, uint32_t parity)
{
    struct wait w = {b, parity};
    emu_until(phase_ended, &w);
}

/* ---- named barriers ---- */

static struct group {
    int arrived, threads;
    unsigned turn;
} groups[16];

static struct group *group_join(int id, int threads)
{
    if (id < 1 || id > 15 || threads % 32 || threads > THREADS)
        emu_die("no such barrier", id, threads);
    struct group *g = &groups[id];
    if (g->arrived && g->threads != threads)
        emu_die("a barrier of two sizes", g->threads, threads);
    g->threads = threads;
    if (++g->arrived == threads) {
        g->arrived = 0;
        g->turn++;
    }
    return g;
}

struct turn {
    struct group *group;
    unsigned turn;
};

static int has_turned(void *arg)
{
    const struct turn *t = (const struct turn *)arg;
    return t->group->turn != t->turn;
}

void group_sync(int id, int threads)
{
    struct turn t = {&groups[id & 15], groups[id & 15].turn};
    group_join(id, threads);
    emu_until(has_turned, &t);
}

void group_arrive(int id, int threads)
{
    group_join(id, threads);
}

static int registers[THREADS / WARPGROUP]; /* that warpgroups have asked for */

void emu_registers(int n)
{
    if (n < 24 || n > 256 || n % 8)
        emu_die("no such number of registers", n, 0);
    registers[thread_id() / WARPGROUP] = n;
}

/* A block has what was there for all of its threads when it began, and no more. */
static void check_registers(void)
{
    int groups = (int)(emu_block_dim.x / WARPGROUP), all = 65536 / (groups * WARPGROUP);
    int asked = 0;
    for (int i = 0; i < groups; i++)
        asked += registers[i];
    if (asked > all / 8 * 8 * groups)
        emu_die("more registers than a block has", asked, all / 8 * 8 * groups);
    memset(registers, 0, sizeof registers);
}

/* ---- maps and tiles ---- */

/* What is in a map of ours. */
struct map {
    const char *at;
    cuuint64_t dim[3], step[2]; /* step: bytes from one of y, of z to the next */
    cuuint32_t box[3], known;
};
enum { KNOWN = 0x6d617073 };
static_assert(sizeof(struct map) <= sizeof(CUtensorMap));

/* Nothing but tiles of rows of 128 bytes, 16 bits an element, is made here. */
extern "C" CUresult
cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType type, cuuint32_t rank,
                       void *at, const cuuint64_t *dim, const cuuint64_t *step,
                       const cuuint32_t *box, const cuuint32_t *each,
                       CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                       CUtensorMapL2promotion, CUtensorMapFloatOOBfill)
{
    struct map m = {(const char *)at, {}, {}, {}, KNOWN};
    bool bad = (uintptr_t)map % 64 || (uintptr_t)at % 16 || !at || rank != 3 ||
               (type != CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 &&
                type != CU_TENSOR_MAP_DATA_TYPE_FLOAT16) ||
               swizzle != CU_TENSOR_MAP_SWIZZLE_128B || box[0] * 2 != ROW;
    for (int i = 0; i < 3; i++) {
        bad |= dim[i] < 1 || dim[i] > (cuuint64_t)1 << 32 || box[i] < 1 ||
               box[i] > 256 || each[i] != 1;
        m.dim[i] = dim[i];
        m.box[i] = box[i];
    }
    for (int i = 0; i < 2; i++) {
        bad |= step[i] % 16 || step[i] >= (cuuint64_t)1 << 40;
        m.step[i] = step[i];
    }
    if (!emu_has_context())
        return 201; /* CUDA_ERROR_INVALID_CONTEXT */
    if (bad)
        return 1;
    memcpy(map, &m, sizeof m);
    return 0;
}

struct tile {
    unsigned char *to;
    struct map map;
    uint64_t *barrier;
    int at[3];
};
static struct tile tiles[TILES];
static int ntiles;

static struct map map_of(const CUtensorMap *from)
{
    struct map m;
    memcpy(&m, from, sizeof m);
    if (m.known != KNOWN || (uintptr_t)from % 64)
        emu_die("a map that nobody made", (int)m.known, 0);
    return m;
}

static unsigned tile_bytes(const struct map *m)
{
    return m->box[0] * m->box[1] * m->box[2] * 2;
}

/* From now on nobody may count on what was there. */
void tile_load(void *to, const CUtensorMap *map, uint64_t *b, int x, int y, int z)
{
    struct map m = map_of(map);
    uint32_t address = shared_address(to);
    if (address % 1024)
        emu_die("a tile at an address that swizzles differently", (int)address, 0);
    if (ntiles == TILES)
        emu_die("too many tiles in flight", ntiles, 0);
    memset(to, 0xff, tile_bytes(&m));
    tiles[ntiles++] = {(unsigned char *)to, m, b, {x, y, z}};
}

static bool inside(int64_t at, cuuint64_t dim)
{
    return at >= 0 && (cuuint64_t)at < dim;
}

static void tile_arrive(const struct tile *t)
{
    const struct map m = t->map;
    uint32_t address = shared_address(t->to);
    for (int64_t z = t->at[2]; z < (int64_t)t->at[2] + m.box[2]; z++)
        for (int64_t y = t->at[1]; y < (int64_t)t->at[1] + m.box[1]; y++)
            for (int64_t x = t->at[0]; x < (int64_t)t->at[0] + m.box[0]; x++) {
                uint16_t v = 0;
                if (inside(x, m.dim[0]) && inside(y, m.dim[1]) && inside(z, m.dim[2]))
                    memcpy(&v,
                           m.at + x * 2 + y * (int64_t)m.step[0] +
                               z * (int64_t)m.step[1],
                           sizeof v);
                memcpy(swizzled(address), &v, sizeof v);
                address += 2;
            }
    struct barrier *b = barrier_of(t->barrier);
    b->bytes -= tile_bytes(&m);
}

/* Those that count for b, in any order: the last first.  Bytes that were not awaited
 * keep the phase from ending. */
static void tiles_arrive(uint64_t *b)
{
    int before = ntiles;
    for (int i = ntiles - 1; i >= 0; i--)
        if (tiles[i].barrier == b) {
            struct tile t = tiles[i];
            tiles[i] = tiles[--ntiles];
            tile_arrive(&t);
        }
    if (ntiles < before)
        barrier_turn(barrier_of(b));
}

/* ---- products ---- */

static struct flight {
    struct emu_product list[FLYING];
    int n, group; /* group: that products join now */
} flights[THREADS];

static struct meeting {
    int arrived;
    unsigned turn;
} meetings[THREADS / WARPGROUP];

void emu_product(const struct emu_product *p)
{
    struct flight *f = &flights[thread_id()];
    if (f->n == FLYING)
        emu_die("too many products in flight", f->n, 0);
    f->list[f->n] = *p;
    f->list[f->n++].group = f->group;
}

void product_commit(void)
{
    flights[thread_id()].group++;
}

static float number(const void *p, int bf16)
{
    uint16_t bits;
    memcpy(&bits, p, sizeof bits);
    return bf16 ? __bfloat162float({bits}) : __half2float({bits});
}

/* A matrix in shared memory: where it begins, and its two strides. */
struct matrix {
    uint32_t at, leading, stride;
};

static struct matrix matrix_of(uint64_t d)
{
    const uint64_t used = 0xc000000000000000u | 0x3fff3fff3fffu;
    if ((d & ~used) || d >> 62 != 1)
        emu_die("a descriptor of another kind", (int)(d >> 32), (int)d);
    return {(uint32_t)(d & 0x3fff) << 4, (uint32_t)(d >> 16 & 0x3fff) << 4,
            (uint32_t)(d >> 32 & 0x3fff) << 4};
}

/* Rows of 16 that lie one after another, 8 to a stride. */
static void read_rows(uint64_t descriptor, int rows, int bf16, float *to)
{
    struct matrix m = matrix_of(descriptor);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < 16; k++)
            to[r * 16 + k] =
                number(swizzled(m.at + r / 8 * m.stride + r % 8 * ROW + k * 2), bf16);
}

/* The same of 16 rows of which each has 64 of ours one after another; the next 64
 * after `leading`, the next 8 rows after `stride`. */
static void read_turned(uint64_t descriptor, int rows, int bf16, float *to)
{
    struct matrix m = matrix_of(descriptor);
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < 16; k++)
            to[r * 16 + k] =
                number(swizzled(m.at + r / 64 * m.leading + k / 8 * m.stride +
                                k % 8 * ROW + r % 64 * 2),
                       bf16);
}

/* A of four warps' registers, as mma.m16n8k16 has it. */
static void read_registers(int first, int at, int bf16, float *to)
{
    for (int r = 0; r < 64; r++)
        for (int k = 0; k < 16; k++) {
            int thread = first + r / 16 * 32 + r % 8 * 4 + k % 8 / 2;
            const uint32_t *a = flights[thread].list[at].registers;
            const char *word = (const char *)&a[r % 16 / 8 + k / 8 * 2];
            to[r * 16 + k] = number(word + k % 2 * 2, bf16);
        }
}

static void check_alike(int first, int at)
{
    const struct emu_product *p = &flights[first].list[at];
    for (int i = first + 1; i < first + WARPGROUP; i++) {
        const struct emu_product *q = &flights[i].list[at];
        if (flights[i].n <= at || q->a != p->a || q->b != p->b || q->n != p->n ||
            q->bf16 != p->bf16 || q->turned != p->turned ||
            q->a_turned != p->a_turned || !q->add != !p->add || q->group != p->group ||
            !q->registers != !p->registers)
            emu_die("threads with different products", i, at);
    }
}

/* Product `at` of the four warps from thread `first` on. */
static void multiply(int first, int at)
{
    static float a[64 * 16], b[256 * 16], turned[16][256], d[256];
    check_alike(first, at);
    const struct emu_product *p = &flights[first].list[at];
    if (p->registers)
        read_registers(first, at, p->bf16, a);
    else if (p->a_turned)
        read_turned(p->a, 64, p->bf16, a);
    else
        read_rows(p->a, 64, p->bf16, a);
    if (p->turned)
        read_turned(p->b, p->n, p->bf16, b);
    else
        read_rows(p->b, p->n, p->bf16, b);
    for (int n = 0; n < p->n; n++)
        for (int k = 0; k < 16; k++)
            turned[k][n] = b[n * 16 + k];
    for (int r = 0; r < 64; r++) {
        memset(d, 0, sizeof d);
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < p->n; n++)
                d[n] += a[r * 16 + k] * turned[k][n];
        for (int lane = 0; lane < 4; lane++) {
            int thread = first + r / 16 * 32 + r % 8 * 4 + lane;
            float *to = flights[thread].list[at].d + r % 16 / 8 * 2;
            for (int n = lane * 2; n < p->n; n += 8, to += 4) {
                to[0] = p->add ? to[0] + d[n] : d[n];
                to[1] = p->add ? to[1] + d[n + 1] : d[n + 1];
            }
        }
    }
}

/* All groups but the last `left` of the four warps. */
static void land(int first, int left)
{
    struct flight *f = &flights[first];
    int n = f->n, done = 0;
    while (done < n && f->list[done].group < f->group - left)
        multiply(first, done++);
    for (int i = first; i < first + WARPGROUP; i++) {
        struct flight *g = &flights[i];
        if (g->n != n)
            emu_die("threads with different products", i, g->n);
        memmove(g->list, g->list + done, (size_t)(g->n - done) * sizeof g->list[0]);
        g->n -= done;
    }
}

struct met {
    const struct meeting *meeting;
    unsigned turn;
};

static int has_met(void *arg)
{
    const struct met *m = (const struct met *)arg;
    return m->meeting->turn != m->turn;
}

void emu_product_wait(int left)
{
    struct meeting *m = &meetings[thread_id() / WARPGROUP];
    struct met met = {m, m->turn};
    if (++m->arrived == WARPGROUP) {
        m->arrived = 0;
        m->turn++;
        land(thread_id() / WARPGROUP * WARPGROUP, left);
    }
    emu_until(has_met, &met);
}

/* ---- blocks ---- */

void emu_hopper_end(void)
{
    if (!used)
        return;
    used = 0;
    check_registers();
    if (ntiles)
        emu_die("tiles that nobody waited for", ntiles, 0);
    for (int i = 0; i < 16; i++)
        if (groups[i].arrived)
            emu_die("a barrier that is left half full", i, groups[i].arrived);
    for (int i = 0; i < THREADS; i++) {
        if (flights[i].n)
            emu_die("products that nobody waited for", i, flights[i].n);
        flights[i].group = 0;
    }
    memset(groups, 0, sizeof groups);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compare.c - tolerance and equality.
 */
#include "compare.h"

#include <math.h>
#include <stdio.h>

#include "tensor/dtype.h"

/* Of so many numbers of 16 bits, not counting those that are nothing beside others, the
 * errors may not lean by more than this part of a unit: rounded to nearest they do not,
 * cut off they lean to 0 by 0.64. */
enum { LEAN_COUNT = 256 };
#define LEAN 0.45

/* A single number may be so many times further off than all of them on the whole. */
enum { SPOT = 8 };

static bool is_output(const struct slot *s)
{
    return s->role == ROLE_OUT || s->role == ROLE_INOUT;
}

/* "y[3,0,5]". */
static const char *place_of(const struct slot *s, int64_t i, char *text, size_t size)
{
    int64_t at[CALL_DIMS] = {0};
    for (int axis = s->ndim - 1; axis >= 0; axis--) {
        at[axis] = i % s->dim[axis];
        i /= s->dim[axis];
    }
    int n = snprintf(text, size, "%s", s->name);
    for (int axis = 0; axis < s->ndim && n > 0 && (size_t)n < size; axis++)
        n += snprintf(text + n, size - (size_t)n, "%c%lld", axis ? ',' : '[',
                      (long long)at[axis]);
    if (n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, "]");
    return text;
}

/* `through`: the type that numbers on the way were rounded to. */
static double allowed(const struct slot *s, int dtype, int through)
{
    if (s->slack == SLACK_COPY)
        return 0;
    double u32 = dtype_unit(NND_F32), u = dtype_unit(through);
    if (dtype == NND_F64)
        return 4 * (s->single ? u32 : u) * sqrt((double)s->terms);
    double sum = 4 * u32 * sqrt(fmax(1, (double)s->terms));
    return through == NND_F32 ? sum : s->slack * u + sum;
}

/* Half the distance between the smallest numbers of a type. */
static double floor_of(int dtype)
{
    return dtype == NND_F16 ? 0x1p-25 : 0;
}

/* One element that needs no norm: 0 fine, 1 to be measured, -1 wrong. */
static int check_element(const struct slot *s, int64_t i, const struct result *r,
                         const struct result *oracle, int n, struct err *e)
{
    char place[80];
    double x = r->value[n][i], want = oracle->value[n][i];
    bool written = r->written[n][i], should = oracle->written[n][i];
    if (s->any && s->any[i])
        return 0;
    if (written != should && !(should && isnan(want)))
        return err_set(e, ERR_FAILED, "%s is %s", place_of(s, i, place, sizeof place),
                       written ? "written, though nothing asks for it"
                               : "not written, or made of what was there before");
    if (!should || (isnan(want) && isnan(x)))
        return 0;
    if (isfinite(want) && isfinite(x) && s->kind != KIND_I32)
        return 1;
    if (x == want)
        return 0;
    return err_set(e, ERR_FAILED, "%s is %.9g, wanted %.9g",
                   place_of(s, i, place, sizeof place), x, want);
}

double compare_allowed(const struct call *c, int n, const struct result *r)
{
    const struct slot *s = &c->slot[n];
    return allowed(s, r->dtype[n], s->like ? r->dtype[s->like - 1] : r->dtype[n]);
}

/* What is measured in a slot's numbers. */
struct errors {
    double error, norm; /* squares, summed    */
    double lean;        /* products of error and size, summed */
    double fourth;      /* fourth powers of sizes, summed */
    double worst;       /* the largest, at `at` */
    int64_t at, count;
};

static int sum_up(const struct slot *s, int n, const struct result *r,
                  const struct result *oracle, struct errors *out, struct err *e)
{
    *out = (struct errors){.worst = -1};
    for (int64_t i = 0; i < s->count; i++) {
        int rc = check_element(s, i, r, oracle, n, e);
        if (rc < 0)
            return rc;
        if (rc == 0)
            continue;
        double want = oracle->value[n][i], d = r->value[n][i] - want;
        out->error += d * d;
        out->lean += d * want;
        out->norm += want * want;
        out->fourth += want * want * want * want;
        out->count++;
        if (fabs(d) > out->worst) {
            out->worst = fabs(d);
            out->at = i;
        }
    }
    return 0;
}

/* An error that is just what is allowed needs all of it, and none needs nothing. */
static double part_of(double error, double most)
{
    return error > 0 ? error / most : 0;
}

/* One that is far off does not show in the norm of many. */
static int compare_each(const struct slot *s, int n, const struct result *r,
                        const struct result *oracle, double usual, double share,
                        double floor, double *used, struct err *e)
{
    char place[80];
    for (int64_t i = 0; i < s->count; i++) {
        double x = r->value[n][i], want = oracle->value[n][i], size = fabs(want);
        size = fmax(size, usual);
        if (!oracle->written[n][i] || !isfinite(want) || !isfinite(x))
            continue;
        double part = part_of(fabs(x - want), SPOT * (share * size + floor));
        *used = fmax(*used, part);
        if (part <= 1)
            continue;
        return err_set(e, ERR_FAILED,
                       "%s is %.9g, wanted %.9g; alone it is off by %.2g of its size, "
                       "allowed %.2g",
                       place_of(s, i, place, sizeof place), x, want,
                       fabs(x - want) / size, SPOT * share);
    }
    return 0;
}

/* Errors that point the same way add up over steps, however small each is. */
static int check_lean(const struct slot *s, int dtype, const struct errors *d,
                      struct err *e)
{
    double lean = d->norm > 0 ? d->lean / d->norm / dtype_unit(dtype) : 0;
    double count = d->fourth > 0 ? d->norm * d->norm / d->fourth : 0;
    bool rounded = (dtype == NND_BF16 || dtype == NND_F16) && s->slack != SLACK_COPY;
    if (!rounded || count < LEAN_COUNT || s->floor > 0 || fabs(lean) <= LEAN)
        return 0;
    return err_set(e, ERR_FAILED,
                   "%s is not rounded to nearest: on the whole its numbers are off by "
                   "%.2g units of %s, allowed %.2g",
                   s->name, lean, dtype_name(dtype), LEAN);
}

static int compare_slot(const struct slot *s, int n, const struct result *r,
                        const struct result *oracle, double *used, struct err *e)
{
    int dtype = r->dtype[n], through = s->like ? r->dtype[s->like - 1] : dtype;
    double share = allowed(s, dtype, through);
    struct errors d;
    char place[80];
    if (sum_up(s, n, r, oracle, &d, e) < 0)
        return -1;
    double root = sqrt((double)d.count), size = fmax(sqrt(d.norm), s->floor * root);
    if (d.count == 0 || s->kind == KIND_I32)
        return 0;
    double part = part_of(sqrt(d.error), share * size + floor_of(dtype) * root);
    *used = fmax(*used, part);
    if (part > 1)
        return err_set(e, ERR_FAILED,
                       "%s is %.9g, wanted %.9g; relative error of %s %.2g, allowed "
                       "%.2g",
                       place_of(s, d.at, place, sizeof place), r->value[n][d.at],
                       oracle->value[n][d.at], s->name, sqrt(d.error) / size, share);
    if (check_lean(s, dtype, &d, e) < 0)
        return -1;
    return compare_each(s, n, r, oracle, size / root, share, floor_of(dtype), used, e);
}

int compare_values(const struct call *c, const struct result *r,
                   const struct result *oracle, double *used, struct err *e)
{
    for (int n = 0; n < c->nslots; n++)
        if (is_output(&c->slot[n]) &&
            compare_slot(&c->slot[n], n, r, oracle, used, e) < 0)
            return -1;
    return 0;
}

bool compare_is_exact(const struct call *c)
{
    bool exact = true;
    for (int n = 0; n < c->nslots; n++)
        if (is_output(&c->slot[n]))
            exact &= c->slot[n].kind == KIND_I32 || c->slot[n].slack == SLACK_COPY;
    return exact || c->exact;
}

int compare_written(const struct call *c, const struct result *r, struct err *e)
{
    char place[80];
    for (int n = 0; n < c->nslots; n++)
        for (int64_t i = 0; is_output(&c->slot[n]) && i < c->slot[n].count; i++)
            if (!r->written[n][i])
                return err_set(e, ERR_FAILED, "%s is not written",
                               place_of(&c->slot[n], i, place, sizeof place));
    return 0;
}

static bool same(const struct result *a, int64_t i, const struct result *b, int64_t j,
                 int n)
{
    return a->bits[n][i] == b->bits[n][j] ||
           (isnan(a->value[n][i]) && isnan(b->value[n][j]));
}

static int differ(const struct slot *s, int n, const struct result *a, int64_t i,
                  const struct result *b, int64_t j, struct err *e)
{
    char place[80];
    return err_set(e, ERR_FAILED, "%s is %.9g and then %.9g",
                   place_of(s, i, place, sizeof place), a->value[n][i], b->value[n][j]);
}

static int compare_slot_bits(const struct slot *s, int n, const struct result *a,
                             const struct result *b, struct err *e)
{
    for (int64_t i = 0; i < s->count; i++)
        if (!same(a, i, b, i, n))
            return differ(s, n, a, i, b, i, e);
    return 0;
}

int compare_bits(const struct call *c, const struct result *a, const struct result *b,
                 struct err *e)
{
    for (int n = 0; n < c->nslots; n++)
        if (is_output(&c->slot[n]) && compare_slot_bits(&c->slot[n], n, a, b, e) < 0)
            return -1;
    return 0;
}

/* Element `within` of row `row` of a slot. */
static int64_t element_of(const struct slot *s, int64_t row, int64_t within)
{
    int64_t inner = 1;
    for (int axis = s->row_axis + 1; axis < s->ndim; axis++)
        inner *= s->dim[axis];
    return (within / inner * s->dim[s->row_axis] + row) * inner + within % inner;
}

/* Most calls have their rows in order. */
static int64_t find_row(const struct slot *s, int64_t id)
{
    int64_t rows = s->dim[s->row_axis], likely = rows > 0 ? id - s->row[0] : -1;
    if (likely >= 0 && likely < rows && s->row[likely] == id)
        return likely;
    for (int64_t r = 0; r < rows; r++)
        if (s->row[r] == id)
            return r;
    return -1;
}

static int compare_slot_rows(const struct slot *sa, const struct result *a,
                             const struct slot *sb, const struct result *b, int n,
                             struct err *e)
{
    int64_t rows = sb->dim[sb->row_axis], inner = rows ? sb->count / rows : 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t other = sb->row[r] < 0 ? -1 : find_row(sa, sb->row[r]);
        for (int64_t k = 0; other >= 0 && k < inner; k++) {
            int64_t i = element_of(sa, other, k), j = element_of(sb, r, k);
            if (!same(a, i, b, j, n))
                return differ(sa, n, a, i, b, j, e);
        }
    }
    return 0;
}

int compare_rows(const struct call *ca, const struct result *a, const struct call *cb,
                 const struct result *b, bool sums, struct err *e)
{
    for (int n = 0; n < ca->nslots; n++) {
        const struct slot *sa = &ca->slot[n], *sb = &cb->slot[n];
        int rc = 0;
        if (!is_output(sa))
            continue;
        if (sa->row)
            rc = compare_slot_rows(sa, a, sb, b, n, e);
        else if (sums && sa->count == sb->count)
            rc = compare_slot_bits(sa, n, a, b, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

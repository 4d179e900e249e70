/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tfevents.c - records of TensorBoard's event files.
 */
#include "worker/tfevents.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/oom.h"

struct tfevents {
    int fd;
    char path[4200];
};

uint32_t tfevents_crc(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = ~UINT32_C(0);

    while (len-- > 0) {
        crc ^= *p++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & -(crc & 1));
    }
    return ~crc;
}

uint32_t tfevents_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + UINT32_C(0xa282ead8);
}

/* --- protobuf, as much as is needed ------------------------------------------- */

static void put_varint(struct buf *b, uint64_t v)
{
    while (v >= 0x80) {
        buf_add(b, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
        v >>= 7;
    }
    buf_add(b, &(uint8_t){(uint8_t)v}, 1);
}

static void put_le(struct buf *b, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        buf_add(b, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static void put_bytes(struct buf *b, int field, const void *data, size_t len)
{
    put_varint(b, (uint64_t)field << 3 | 2);
    put_varint(b, len);
    buf_add(b, data, len);
}

/* Event: wall_time = 1 (double), step = 2 (int64). */
static void put_start(struct buf *b, int64_t step)
{
    double now = (double)clock_wall_us() / 1e6;
    uint64_t bits;

    memcpy(&bits, &now, sizeof bits);
    put_varint(b, 1 << 3 | 1);
    put_le(b, bits, 8);
    put_varint(b, 2 << 3 | 0);
    put_varint(b, (uint64_t)step);
}

/* Summary.Value: tag = 1, simple_value = 2 (float). */
static void put_value(struct buf *summary, const struct tfevents_value *v)
{
    struct buf b = {0};
    uint32_t bits;

    memcpy(&bits, &v->value, sizeof bits);
    put_bytes(&b, 1, v->tag, strlen(v->tag));
    put_varint(&b, 2 << 3 | 5);
    put_le(&b, bits, 4);
    put_bytes(summary, 1, b.data, b.len);
    buf_free(&b);
}

/* One record, in one write: who is killed leaves whole records. */
static int add_record(struct tfevents *f, const struct buf *event, struct err *e)
{
    struct buf b = {0};
    ssize_t n;
    int rc = 0;

    put_le(&b, event->len, 8);
    put_le(&b, tfevents_mask(tfevents_crc(b.data, 8)), 4);
    buf_add(&b, event->data, event->len);
    put_le(&b, tfevents_mask(tfevents_crc(event->data, event->len)), 4);
    n = write(f->fd, b.data, b.len);
    if (n < 0)
        rc = err_sys(e, ERR_FAILED, errno, "write %s", f->path);
    else if ((size_t)n != b.len)
        rc = err_set(e, ERR_FAILED, "write %s: wanted %zu bytes, found room for %zd",
                     f->path, b.len, n);
    buf_free(&b);
    return rc;
}

/* --- the file -------------------------------------------------------------------- */

/* The first record names the format; the second hides what an attempt before this one
 * has said of its steps, be it from the beginning: that one may have died before its
 * first checkpoint. */
static int begin(struct tfevents *f, int64_t first_step, struct err *e)
{
    static const char version[] = "brain.Event:2";
    static const uint8_t start[] = {1 << 3 | 0, 2}; /* SessionLog.status = START */
    struct buf b = {0};
    int rc;

    put_start(&b, 0);
    put_bytes(&b, 3, version, strlen(version)); /* file_version = 3 */
    rc = add_record(f, &b, e);
    b.len = 0;
    if (rc == 0) {
        put_start(&b, first_step);
        put_bytes(&b, 7, start, sizeof start); /* session_log = 7 */
        rc = add_record(f, &b, e);
    }
    buf_free(&b);
    return rc;
}

int tfevents_open(const char *dir, int64_t first_step, struct tfevents **out,
                  struct err *e)
{
    struct tfevents *f = oom_calloc(1, sizeof *f);
    char host[64] = "here";
    int rc = fs_mkdirs(dir, e);

    f->fd = -1;
    gethostname(host, sizeof host - 1);
    snprintf(f->path, sizeof f->path, "%.4000s/events.out.tfevents.%010lld.%s.%d", dir,
             (long long)(clock_wall_us() / 1000000), host, (int)getpid());
    if (rc == 0) {
        f->fd = open(f->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (f->fd < 0)
            rc = err_sys(e, err_code_of(errno), errno, "open %s", f->path);
    }
    if (rc == 0)
        rc = begin(f, first_step, e);
    if (rc < 0) {
        tfevents_close(f);
        return rc;
    }
    *out = f;
    return 0;
}

void tfevents_close(struct tfevents *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

int tfevents_add(struct tfevents *f, int64_t step, const struct tfevents_value *v,
                 size_t n, struct err *e)
{
    struct buf event = {0}, summary = {0};
    int rc = 0;

    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i].value))
            put_value(&summary, &v[i]);
    put_start(&event, step);
    put_bytes(&event, 5, summary.data, summary.len); /* summary = 5 */
    if (summary.len > 0)
        rc = add_record(f, &event, e);
    buf_free(&event);
    buf_free(&summary);
    return rc;
}

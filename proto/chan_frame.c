/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chan_frame.c - what a message is: the table of the protocol, the header, and
 * the careful way from foreign bytes to a message.  Moves no bytes itself.
 */
#include "proto/chan.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "proto/wire.pb-c.h"

#define OP(TYPE, name, request, reply)                                                 \
    {                                                                                  \
        WIRE__TYPE__##TYPE, name, &wire__##request##__descriptor,                      \
            &wire__##reply##__descriptor                                               \
    }

static const struct chan_op ops[] = {
    OP(HELLO, "hello", hello, hello_reply),
    OP(SUBMIT, "submit", submit, submit_reply),
    OP(LIST, "list", list, list_reply),
    OP(SHOW, "show", show, show_reply),
    OP(CHANGE, "change", change, change_reply),
    OP(EVENTS, "events", events, events_reply),
    OP(METRICS, "metrics", metrics, metrics_reply),
    OP(LOG, "log", log, log_reply),
    OP(KERNELS, "kernels", kernels, kernels_reply),
    OP(SHUTDOWN, "shutdown", shutdown, shutdown_reply),
    OP(PURGE, "purge", purge, purge_reply),
    OP(DOCTOR, "doctor", doctor, doctor_reply),
    OP(RELOAD, "reload", reload, reload_reply),
    OP(RANK_HELLO, "rank-hello", rank_hello, rank_reply),
    OP(RANK_BEAT, "rank-beat", rank_beat, rank_reply),
    OP(RANK_METRIC, "rank-metric", rank_metric, rank_reply),
    OP(RANK_KERNELS, "rank-kernels", rank_kernels, rank_reply),
    OP(RANK_SAVED, "rank-saved", rank_saved, rank_reply),
    OP(RANK_ENDED, "rank-ended", rank_ended, rank_reply),
    OP(RANK_NOTE, "rank-note", rank_note, rank_reply),
};

const struct chan_op *chan_op(unsigned type)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (ops[i].type == type)
            return &ops[i];
    return NULL;
}

/* --- header --------------------------------------------------------------- */

static const uint8_t magic[4] = {'n', 'n', 'd', '1'};

static void put_u32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

void chan_header_put(const struct chan_header *h, uint8_t out[CHAN_HEADER])
{
    memcpy(out, magic, sizeof magic);
    out[4] = h->version;
    out[5] = h->flags;
    out[6] = (uint8_t)(h->type >> 8);
    out[7] = (uint8_t)h->type;
    put_u32(out + 8, h->length);
    put_u32(out + 12, h->id);
}

int chan_header_get(const void *data, size_t size, struct chan_header *out,
                    struct err *e)
{
    const uint8_t *p = data;

    if (size != CHAN_HEADER)
        return err_set(e, ERR_PROTOCOL, "message header: must be %d bytes, got %zu",
                       CHAN_HEADER, size);
    if (memcmp(p, magic, sizeof magic) != 0)
        return err_set(e, ERR_PROTOCOL, "message header: does not start with \"nnd1\"");
    if (get_u32(p + 8) > CHAN_MAX_MESSAGE)
        return err_set(e, ERR_PROTOCOL,
                       "message header: length must be at most %d, got %u",
                       CHAN_MAX_MESSAGE, get_u32(p + 8));
    *out = (struct chan_header){
        .version = p[4],
        .flags = p[5],
        .type = (uint16_t)(p[6] << 8 | p[7]),
        .length = get_u32(p + 8),
        .id = get_u32(p + 12),
    };
    return 0;
}

/* --- unpacking ------------------------------------------------------------ */

/* A stretch of foreign bytes, read from the front. */
struct span {
    const uint8_t *p, *end;
};

static bool span_varint(struct span *s, uint64_t *out)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 70 && s->p < s->end; shift += 7) {
        uint8_t byte = *s->p++;

        if (shift < 64)
            v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

/* Take n bytes off the front. */
static bool span_take(struct span *s, uint64_t n, struct span *out)
{
    if (n > (uint64_t)(s->end - s->p))
        return false;
    *out = (struct span){s->p, s->p + n};
    s->p += n;
    return true;
}

/* Take one field off the front: its number, and its bytes if it has a length. */
static bool span_field(struct span *s, uint32_t *number, bool *has_bytes,
                       struct span *bytes)
{
    uint64_t tag, value;

    if (!span_varint(s, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX)
        return false;
    *number = (uint32_t)(tag >> 3);
    *has_bytes = (tag & 7) == 2;
    switch (tag & 7) {
    case 0:
        return span_varint(s, &value);
    case 1:
        return span_take(s, 8, bytes);
    case 2:
        return span_varint(s, &value) && span_take(s, value, bytes);
    case 5:
        return span_take(s, 4, bytes);
    default:
        return false;
    }
}

/* protobuf-c takes any bytes for text and hides what follows a NUL, so text is
 * looked at while it still is bytes.  The depth is that of the schema, in which
 * no message contains itself. */
static int check_text(const ProtobufCMessageDescriptor *type, struct span s,
                      struct err *e)
{
    while (s.p < s.end) {
        const ProtobufCFieldDescriptor *field;
        struct span bytes = {NULL, NULL};
        uint32_t number;
        bool has_bytes;

        if (!span_field(&s, &number, &has_bytes, &bytes))
            return err_set(e, ERR_PROTOCOL, "%s: malformed message", type->short_name);
        field = protobuf_c_message_descriptor_get_field(type, number);
        if (!field || !has_bytes)
            continue;
        if (field->type == PROTOBUF_C_TYPE_STRING &&
            !str_is_utf8((const char *)bytes.p, (size_t)(bytes.end - bytes.p)))
            return err_set(e, ERR_PROTOCOL, "%s.%s: is not UTF-8 text",
                           type->short_name, field->name);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            int rc = check_text(field->descriptor, bytes, e);

            if (rc < 0)
                return rc;
        }
    }
    return 0;
}

/* A few bytes on the wire can ask for a lot of memory; this bounds them. */
struct allowance {
    size_t left;
};

static void *allowance_alloc(void *data, size_t size)
{
    struct allowance *a = data;

    if (size > a->left)
        return NULL;
    a->left -= size;
    return malloc(size);
}

static void allowance_free(void *data, void *p)
{
    (void)data;
    free(p);
}

int chan_unpack(const ProtobufCMessageDescriptor *type, const void *data, size_t size,
                ProtobufCMessage **out, struct err *e)
{
    struct allowance left = {CHAN_MAX_UNPACKED};
    ProtobufCAllocator alloc = {allowance_alloc, allowance_free, &left};
    struct span s = {data, (const uint8_t *)data + size};
    ProtobufCMessage *m;
    int rc;

    if (size > CHAN_MAX_MESSAGE)
        return err_set(e, ERR_PROTOCOL, "%s: must be at most %d bytes, got %zu",
                       type->short_name, CHAN_MAX_MESSAGE, size);
    rc = check_text(type, s, e);
    if (rc < 0)
        return rc;
    m = protobuf_c_message_unpack(type, &alloc, size, data);
    if (!m)
        return err_set(e, ERR_PROTOCOL, "%s: malformed message", type->short_name);
    *out = m;
    return 0;
}

void chan_free(ProtobufCMessage *m)
{
    if (m)
        protobuf_c_message_free_unpacked(m, NULL);
}

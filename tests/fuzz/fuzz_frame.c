/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_frame.c - a frame: 16 bytes of header, and every message of wire.proto.
 * parser: proto/chan_frame.c
 */
#include "tests/fuzz/fuzz.h"

#include <string.h>

#include "base/buf.h"
#include "proto/chan.h"
#include "proto/wire.pb-c.h"

static const ProtobufCMessageDescriptor *type_of(const struct chan_header *h)
{
    const struct chan_op *op = chan_op(h->type);

    if (h->flags & CHAN_ERROR)
        return &wire__error__descriptor;
    if (!op)
        return NULL;
    return h->flags & CHAN_ANSWER ? op->reply : op->request;
}

static void pack(const ProtobufCMessage *m, struct buf *out)
{
    out->len = protobuf_c_message_get_packed_size(m);
    buf_reserve(out, 1);
    protobuf_c_message_pack(m, (uint8_t *)out->data);
}

/* What was taken can be said again, and means the same. */
static void again(const ProtobufCMessage *m)
{
    struct buf one = {0}, two = {0};
    ProtobufCMessage *back;
    size_t size = protobuf_c_message_get_packed_size(m);

    buf_reserve(&one, size + 1);
    buf_reserve(&two, size + 1);
    pack(m, &one);
    FUZZ_HOLDS(chan_unpack(m->descriptor, one.data, one.len, &back, NULL) == 0 ||
               one.len > CHAN_MAX_MESSAGE);
    if (one.len <= CHAN_MAX_MESSAGE) {
        FUZZ_HOLDS(protobuf_c_message_get_packed_size(back) == size);
        pack(back, &two);
        FUZZ_HOLDS(memcmp(one.data, two.data, size) == 0);
        chan_free(back);
    }
    buf_free(&one);
    buf_free(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t head = size < CHAN_HEADER ? size : CHAN_HEADER;
    const ProtobufCMessageDescriptor *type;
    struct chan_header h;
    uint8_t bytes[CHAN_HEADER];
    ProtobufCMessage *m;
    struct err e;

    if (chan_header_get(data, head, &h, &e) < 0)
        return 0;
    chan_header_put(&h, bytes);
    FUZZ_HOLDS(memcmp(bytes, data, CHAN_HEADER) == 0);
    type = type_of(&h);
    if (!type || chan_unpack(type, data + head, size - head, &m, &e) < 0)
        return 0;
    again(m);
    chan_free(m);
    return 0;
}

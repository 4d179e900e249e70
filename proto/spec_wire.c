/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_wire.c - a job as bytes.
 *
 * Whoever can reach a socket or a file can write such bytes, so unpacking takes
 * bounded memory from an arena and trusts nothing: unknown fields, repeated
 * single fields and texts with a NUL in them are refused along with values that
 * spec_resolve refuses.  protobuf-c unpacks as deep as the schema goes and no
 * deeper; what is nested wrongly is an unknown field or an error.
 */
#include <string.h>

#include "proto/spec_impl.h"

struct budget {
    struct arena *arena;
    size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *b = data;

    if (size > b->left)
        return NULL;
    b->left -= size;
    return arena_alloc(b->arena, size);
}

/* The arena frees all at once. */
static void budget_free(void *data, void *p)
{
    (void)data, (void)p;
}

int spec_pack(const struct spec *s, struct buf *out, struct err *e)
{
    size_t size = nnd__job__get_packed_size(s->job);

    if (size > SPEC_PACKED_MAX)
        return err_set(e, ERR_SPEC, "job: wanted at most %d bytes packed, found %zu",
                       SPEC_PACKED_MAX, size);
    buf_reserve(out, size);
    nnd__job__pack(s->job, (uint8_t *)out->data + out->len);
    out->len += size;
    out->data[out->len] = '\0';
    return 0;
}

/* Fields of a newer schema must not be lost without a word. */
static int check_known(const ProtobufCMessage *m, const char *section, struct err *e)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;

    if (m->n_unknown_fields > 0)
        return err_set(e, ERR_SPEC,
                       "message: %s: wanted fields of this version, found "
                       "field number %u",
                       section, m->unknown_fields[0].tag);
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &type->fields[i];
        ProtobufCMessage *below;

        if (d->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        below = field_message((ProtobufCMessage *)m, d, NULL);
        if (below && check_known(below, d->name, e))
            return ERR_SPEC;
    }
    return 0;
}

/* A message has no folder that a path could be relative to. */
static int check_paths(const struct spec *s, struct err *e)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < nrules; i++) {
        const struct rule *r = &rules[i];

        if (!(r->flags & RULE_PATH))
            continue;
        spec_locate(s, r, &m, &d);
        for (size_t k = 0; k < field_count(m, d); k++) {
            const char *path = *(char **)field_value(m, d, k);

            if (path[0] != '/' && path[0] != '\0')
                return spec_refuse(s, e, r->path, NULL,
                                   "wanted an absolute path, found \"%.60s\"", path);
        }
    }
    return 0;
}

static void mark_given(struct spec *s)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < nrules; i++) {
        spec_locate(s, &rules[i], &m, &d);
        if (field_count(m, d) > 0)
            s->origins[i].kind = ORIGIN_MESSAGE;
    }
}

/* Lists that were checked: what protobuf-c made has no room for -S to add to. */
static void adopt_lists(struct spec *s)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < nrules; i++) {
        spec_locate(s, &rules[i], &m, &d);
        field_adopt(m, d, s->arena);
    }
}

static int unpack(struct spec *s, const void *data, size_t len, struct err *e)
{
    struct budget budget = {s->arena, SPEC_MEMORY_MAX};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    Nnd__Job *job;

    if (len > SPEC_PACKED_MAX)
        return err_set(e, ERR_SPEC, "message: job: wanted at most %d bytes, found %zu",
                       SPEC_PACKED_MAX, len);
    job = nnd__job__unpack(&allocator, len, data);
    if (!job)
        return err_set(e, ERR_SPEC,
                       "message: job: wanted a packed job, found %zu bytes "
                       "that are none",
                       len);
    if (check_known(&job->base, "job", e))
        return ERR_SPEC;
    if (nnd__job__get_packed_size(job) != len)
        return err_set(e, ERR_SPEC,
                       "message: job: wanted each value once and texts without NUL, in "
                       "%zu bytes, found %zu",
                       nnd__job__get_packed_size(job), len);
    s->job = job;
    s->top = &job->base;
    mark_given(s);
    return 0;
}

int spec_unpack(const void *data, size_t len, struct spec **out, struct err *e)
{
    struct spec *s = spec_create();
    int rc = unpack(s, data, len, e);

    if (rc == 0)
        rc = spec_resolve(s, e);
    if (rc == 0)
        rc = check_paths(s, e);
    if (rc == 0 && s->job->train->batch == 0)
        rc = spec_refuse(s, e, "train.batch", NULL,
                         "wanted a number, found fit, which nnctl works out");
    if (rc) {
        spec_destroy(s);
        return rc;
    }
    adopt_lists(s);
    *out = s;
    return 0;
}

int spec_hash(const struct spec *s, char hex[SHA256_HEX], struct err *e)
{
    struct buf packed = {0};
    int rc = spec_pack(s, &packed, e);

    if (rc == 0)
        sha256_bytes(packed.data, packed.len, hex);
    buf_free(&packed);
    return rc;
}

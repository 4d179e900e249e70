/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_json.c - messages of wire.proto as JSON, by walking their descriptors,
 * so that a field added there is shown here.
 */
#include "client/wire_json.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* --- words ---------------------------------------------------------------- */

/* Each state's word and Slurm's letters, by number. */
static const struct {
    const char *name, *code, *paint;
} states[] = {
    [WIRE__STATE__NEW] = {"new", "N", NULL},
    [WIRE__STATE__HELD] = {"held", "H", NULL},
    [WIRE__STATE__QUEUED] = {"queued", "PD", NULL},
    [WIRE__STATE__STARTING] = {"starting", "CF", NULL},
    [WIRE__STATE__RUNNING] = {"running", "R", "32"},
    [WIRE__STATE__SUSPENDED] = {"suspended", "S", "33"},
    [WIRE__STATE__STOPPING] = {"stopping", "CG", "33"},
    [WIRE__STATE__RETRY_WAIT] = {"retry_wait", "RW", "33"},
    [WIRE__STATE__COMPLETED] = {"completed", "CD", NULL},
    [WIRE__STATE__FAILED] = {"failed", "F", "31"},
    [WIRE__STATE__CANCELED] = {"canceled", "CA", NULL},
    [WIRE__STATE__TIMEOUT] = {"timeout", "TO", "31"},
};

static const char *const failures[] = {
    [WIRE__FAILURE__NO_FAILURE] = "no_failure",
    [WIRE__FAILURE__APP_ERROR] = "app_error",
    [WIRE__FAILURE__OOM] = "oom",
    [WIRE__FAILURE__SIGNAL] = "signal",
    [WIRE__FAILURE__NODE_LOST] = "node_lost",
    [WIRE__FAILURE__HANG] = "hang",
    [WIRE__FAILURE__NAN] = "nan",
    [WIRE__FAILURE__PREEMPT] = "preempt",
    [WIRE__FAILURE__START_FAIL] = "start_fail",
    [WIRE__FAILURE__DAEMON_LOST] = "daemon_lost",
    [WIRE__FAILURE__TIME_LIMIT] = "time_limit",
    [WIRE__FAILURE__KERNEL] = "kernel",
};

static const char *const phases[] = {
    [WIRE__PHASE__INIT] = "init", [WIRE__PHASE__TRAIN] = "train",
    [WIRE__PHASE__EVAL] = "eval", [WIRE__PHASE__SAVE] = "save",
    [WIRE__PHASE__DONE] = "done",
};

#define COUNT(table) (sizeof(table) / sizeof *(table))

const char *wire_state_name(Wire__State s)
{
    return (unsigned)s < COUNT(states) ? states[s].name : "?";
}

const char *wire_state_code(Wire__State s)
{
    return (unsigned)s < COUNT(states) ? states[s].code : "?";
}

const char *wire_state_paint(Wire__State s)
{
    return (unsigned)s < COUNT(states) ? states[s].paint : NULL;
}

const char *wire_failure_name(Wire__Failure f)
{
    return (unsigned)f < COUNT(failures) ? failures[f] : "?";
}

const char *wire_phase_name(Wire__Phase p)
{
    return (unsigned)p < COUNT(phases) ? phases[p] : "?";
}

int wire_state_is_final(Wire__State s)
{
    return s == WIRE__STATE__COMPLETED || s == WIRE__STATE__FAILED ||
           s == WIRE__STATE__CANCELED || s == WIRE__STATE__TIMEOUT;
}

/* --- values --------------------------------------------------------------- */

static json_t *word(const ProtobufCFieldDescriptor *d, int number)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(d->descriptor, number);
    char text[64];

    snprintf(text, sizeof text, "%s", v ? v->name : "?");
    for (char *p = text; *p; p++)
        *p = (char)tolower((unsigned char)*p);
    return json_string(text);
}

static json_t *real(double x)
{
    return isfinite(x) ? json_real(x) : json_null();
}

static bool is_time(const ProtobufCFieldDescriptor *d)
{
    size_t n = strlen(d->name);

    return d->type == PROTOBUF_C_TYPE_UINT64 && n > 3 &&
           strcmp(d->name + n - 3, "_us") == 0;
}

static json_t *number(const ProtobufCFieldDescriptor *d, uint64_t n)
{
    char text[40];

    if (!is_time(d))
        return json_integer((json_int_t)n);
    clock_iso((int64_t)n, text, sizeof text);
    return json_string(text);
}

/* The value at p, in protobuf-c's form; NULL for what JSON cannot say. */
static json_t *value(const ProtobufCFieldDescriptor *d, const void *p)
{
    switch (d->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return json_integer(*(const uint32_t *)p);
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
        return json_integer(*(const int32_t *)p);
    case PROTOBUF_C_TYPE_UINT64:
        return number(d, *(const uint64_t *)p);
    case PROTOBUF_C_TYPE_DOUBLE:
        return real(*(const double *)p);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)p);
    case PROTOBUF_C_TYPE_ENUM:
        return word(d, *(const int *)p);
    case PROTOBUF_C_TYPE_STRING:
        return json_string(*(char *const *)p);
    case PROTOBUF_C_TYPE_MESSAGE:
        return wire_json(*(void *const *)p);
    default:
        return NULL;
    }
}

static size_t value_size(const ProtobufCFieldDescriptor *d)
{
    switch (d->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

/* --- messages ------------------------------------------------------------- */

static json_t *list(const ProtobufCFieldDescriptor *d, const char *m)
{
    size_t n = *(const size_t *)(m + d->quantifier_offset);
    const char *items = *(char *const *)(m + d->offset);
    json_t *array = json_array();

    for (size_t i = 0; i < n; i++) {
        json_t *v = value(d, items + i * value_size(d));

        json_array_append_new(array, v ? v : json_null());
    }
    return array;
}

static bool is_set(const ProtobufCFieldDescriptor *d, const char *m)
{
    if (d->type == PROTOBUF_C_TYPE_STRING || d->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)(m + d->offset) != NULL;
    return *(const protobuf_c_boolean *)(m + d->quantifier_offset);
}

void wire_json_key(const ProtobufCFieldDescriptor *d, char *out, size_t size)
{
    snprintf(out, size, "%.*s", (int)strlen(d->name) - (is_time(d) ? 3 : 0), d->name);
}

static void put(json_t *object, const ProtobufCFieldDescriptor *d, json_t *v)
{
    char name[64];

    if (!v)
        return;
    wire_json_key(d, name, sizeof name);
    json_object_set_new(object, name, v);
}

json_t *wire_json(const void *message)
{
    const ProtobufCMessageDescriptor *type =
        ((const ProtobufCMessage *)message)->descriptor;
    json_t *object = json_object();

    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &type->fields[i];

        if (d->label == PROTOBUF_C_LABEL_REPEATED)
            put(object, d, list(d, message));
        else if (is_set(d, message))
            put(object, d, value(d, (const char *)message + d->offset));
    }
    return object;
}

json_t *wire_json_job(const Wire__JobInfo *j)
{
    json_t *object = wire_json(j);

    json_object_del(object, "version");
    return object;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire_json.h - messages of wire.proto as JSON and as words.
 */
#ifndef CLIENT_WIRE_JSON_H
#define CLIENT_WIRE_JSON_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "proto/wire.pb-c.h"

/* The message as an object with the field names of wire.proto.  A field that is
 * not set has no key; a list is always there.  Enumerations are words in lower
 * case; x_us becomes "x", a time of RFC 3339; numbers that are not finite
 * become null; bytes that are not text are left out. */
json_t *wire_json(const void *message);

/* The key that a field has there. */
void wire_json_key(const ProtobufCFieldDescriptor *d, char *out, size_t size);

/* A JobInfo, without what only matters on the wire. */
json_t *wire_json_job(const Wire__JobInfo *j);

/* "running", "node_lost"; "?" for a number without a name. */
const char *wire_state_name(Wire__State s);
const char *wire_failure_name(Wire__Failure f);
const char *wire_phase_name(Wire__Phase p);

/* "R": as Slurm says it; nnctl(1), JOB STATES. */
const char *wire_state_code(Wire__State s);

/* The colour of a state on a terminal, "31"; NULL where none is called for. */
const char *wire_state_paint(Wire__State s);

/* COMPLETED, FAILED, CANCELED, TIMEOUT. */
int wire_state_is_final(Wire__State s);

#endif

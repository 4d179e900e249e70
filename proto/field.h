/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field.h - one field of a message, reached by its protobuf-c descriptor.
 *
 * What knows no job: getting at a value, adding one, text to value and back.
 * A "value" is a pointer to the C form that protobuf-c uses: uint32_t,
 * uint64_t, double, protobuf_c_boolean, int (enumerations), char *.  Only the
 * types that job.proto uses are known.
 */
#ifndef PROTO_FIELD_H
#define PROTO_FIELD_H

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

/* Room for a value of any type. */
union field_any {
    uint32_t uint32;
    uint64_t uint64;
    double real;
    protobuf_c_boolean truth;
    int number;
    char *text;
};

/* Bytes of one value. */
size_t field_size(const ProtobufCFieldDescriptor *d);

/* How many values the field holds: 0 or 1, or the length of a list. */
size_t field_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d);

/* The i-th value, 0 <= i < field_count. */
void *field_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                  size_t i);

/* Room for a single value, or for one more of a list; the field then counts it.
 * Lists are grown in the arena. */
void *field_add(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                struct arena *a);

/* Move a list that was not made by field_add to where that can go on with it; of
 * other fields nothing changes. */
void field_adopt(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                 struct arena *a);

/* Forget all values: the field is absent, the list empty. */
void field_clear(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d);

/* Set to the default of the .proto file: 0, "" or the empty list where it names
 * none.  The field is present afterwards. */
void field_set_default(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                       struct arena *a);

/* The message below field d of m; made and set up in the arena when absent, or
 * NULL then if there is no arena. */
ProtobufCMessage *field_message(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                                struct arena *a);

/* Follow "model.moe.experts" down from `top`: *d becomes its descriptor, *m the
 * message that holds it, made where absent.  False when there is no such field. */
bool field_find(ProtobufCMessage *top, const char *path, struct arena *a,
                ProtobufCMessage **m, const ProtobufCFieldDescriptor **d);

/* Text to value; false, and nothing written, when it is not of d's type. */
bool field_parse(const ProtobufCFieldDescriptor *d, const char *text, struct arena *a,
                 void *value);

/* A number's or boolean's value as a double. */
double field_number(const ProtobufCFieldDescriptor *d, const void *value);

/* Append the value as text that field_parse reads back to the same bits.  An
 * enumeration's number without a name is printed as a number. */
void field_print(const ProtobufCFieldDescriptor *d, const void *value, struct buf *out);

/* The pieces of it: the shortest text of x; an enumeration's name in lower case. */
void field_print_double(double x, struct buf *out);
void field_print_name(const char *name, struct buf *out);

/* Append the value, or text that should have been one, as an error's "found"
 * shows it: numbers bare, words in quotes, control characters escaped, long
 * text cut. */
void field_found(const ProtobufCFieldDescriptor *d, const void *value, struct buf *out);
void field_quote(const char *text, struct buf *out);

/* True for UTF-8 text without control characters: safe to print on a terminal. */
bool field_is_clean(const char *text);

#endif

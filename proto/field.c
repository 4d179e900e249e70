/* SPDX-License-Identifier: Apache-2.0 */
/*
 * field.c - values of protobuf-c messages by descriptor: a row per type.
 */
#include "proto/field.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

#define QUOTE_MAX 60 /* bytes of a wrong value that an error shows */

typedef bool parse_f(const ProtobufCFieldDescriptor *d, const char *text,
                     struct arena *a, void *value);
typedef void print_f(const ProtobufCFieldDescriptor *d, const void *value,
                     struct buf *out);

static bool parse_uint32(const ProtobufCFieldDescriptor *d, const char *text,
                         struct arena *a, void *value)
{
    uint64_t x;

    (void)d, (void)a;
    if (!str_to_u64(text, &x) || x > UINT32_MAX)
        return false;
    *(uint32_t *)value = (uint32_t)x;
    return true;
}

static bool parse_uint64(const ProtobufCFieldDescriptor *d, const char *text,
                         struct arena *a, void *value)
{
    (void)d, (void)a;
    return str_to_u64(text, value);
}

static bool parse_double(const ProtobufCFieldDescriptor *d, const char *text,
                         struct arena *a, void *value)
{
    (void)d, (void)a;
    return str_to_double(text, value);
}

static bool parse_bool(const ProtobufCFieldDescriptor *d, const char *text,
                       struct arena *a, void *value)
{
    static const char *const words[2][3] = {{"false", "no", "off"},
                                            {"true", "yes", "on"}};

    (void)d, (void)a;
    for (int truth = 0; truth < 2; truth++)
        for (int i = 0; i < 3; i++)
            if (strcasecmp(text, words[truth][i]) == 0) {
                *(protobuf_c_boolean *)value = truth;
                return true;
            }
    return false;
}

static bool parse_enum(const ProtobufCFieldDescriptor *d, const char *text,
                       struct arena *a, void *value)
{
    const ProtobufCEnumDescriptor *names = d->descriptor;

    (void)a;
    for (unsigned i = 0; i < names->n_values; i++)
        if (strcasecmp(text, names->values[i].name) == 0) {
            *(int *)value = names->values[i].value;
            return true;
        }
    return false;
}

static bool parse_string(const ProtobufCFieldDescriptor *d, const char *text,
                         struct arena *a, void *value)
{
    (void)d;
    *(char **)value = arena_strdup(a, text);
    return true;
}

static void print_uint32(const ProtobufCFieldDescriptor *d, const void *value,
                         struct buf *out)
{
    (void)d;
    buf_printf(out, "%" PRIu32, *(const uint32_t *)value);
}

static void print_uint64(const ProtobufCFieldDescriptor *d, const void *value,
                         struct buf *out)
{
    (void)d;
    buf_printf(out, "%" PRIu64, *(const uint64_t *)value);
}

static void print_double(const ProtobufCFieldDescriptor *d, const void *value,
                         struct buf *out)
{
    (void)d;
    field_print_double(*(const double *)value, out);
}

static void print_bool(const ProtobufCFieldDescriptor *d, const void *value,
                       struct buf *out)
{
    (void)d;
    buf_puts(out, *(const protobuf_c_boolean *)value ? "true" : "false");
}

static void print_enum(const ProtobufCFieldDescriptor *d, const void *value,
                       struct buf *out)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(d->descriptor, *(const int *)value);

    if (v)
        field_print_name(v->name, out);
    else
        buf_printf(out, "%d", *(const int *)value);
}

static void print_string(const ProtobufCFieldDescriptor *d, const void *value,
                         struct buf *out)
{
    (void)d;
    buf_puts(out, *(char *const *)value);
}

struct kind {
    ProtobufCType type;
    size_t size;
    parse_f *parse;
    print_f *print;
};

static const struct kind kinds[] = {
    {PROTOBUF_C_TYPE_UINT32, sizeof(uint32_t), parse_uint32, print_uint32},
    {PROTOBUF_C_TYPE_UINT64, sizeof(uint64_t), parse_uint64, print_uint64},
    {PROTOBUF_C_TYPE_DOUBLE, sizeof(double), parse_double, print_double},
    {PROTOBUF_C_TYPE_BOOL, sizeof(protobuf_c_boolean), parse_bool, print_bool},
    {PROTOBUF_C_TYPE_ENUM, sizeof(int), parse_enum, print_enum},
    {PROTOBUF_C_TYPE_STRING, sizeof(char *), parse_string, print_string},
};

static const struct kind *kind_of(const ProtobufCFieldDescriptor *d)
{
    size_t i = 0;

    while (kinds[i].type != d->type) {
        i++;
        assert(i < sizeof(kinds) / sizeof(kinds[0]));
    }
    return &kinds[i];
}

size_t field_size(const ProtobufCFieldDescriptor *d)
{
    return kind_of(d)->size;
}

static void *member(const ProtobufCMessage *m, unsigned offset)
{
    return (char *)m + offset;
}

static bool is_list(const ProtobufCFieldDescriptor *d)
{
    return d->label == PROTOBUF_C_LABEL_REPEATED;
}

/* Strings and messages are there when their pointer is; an absent string points
 * at the default's text, so that its address tells. */
static bool has_pointer(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
    const void *p = *(void *const *)member(m, d->offset);

    return p && p != d->default_value;
}

size_t field_count(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
    if (is_list(d))
        return *(size_t *)member(m, d->quantifier_offset);
    if (d->type == PROTOBUF_C_TYPE_STRING || d->type == PROTOBUF_C_TYPE_MESSAGE)
        return has_pointer(m, d);
    return *(protobuf_c_boolean *)member(m, d->quantifier_offset) != 0;
}

void *field_value(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                  size_t i)
{
    void *at = member(m, d->offset);

    return is_list(d) ? *(char **)at + i * kind_of(d)->size : at;
}

/* Lists have room for a power of two of values. */
static void *list_add(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                      struct arena *a)
{
    size_t *n = member(m, d->quantifier_offset), size = kind_of(d)->size;
    char **items = member(m, d->offset);

    if ((*n & (*n - 1)) == 0) {
        char *grown = arena_calloc(a, *n ? 2 * *n : 1, size);

        if (*n)
            memcpy(grown, *items, *n * size);
        *items = grown;
    }
    return *items + (*n)++ * size;
}

void field_adopt(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                 struct arena *a)
{
    size_t n = field_count(m, d), size, room = 1;
    char **items = member(m, d->offset), *mine;

    if (!is_list(d) || n == 0)
        return;
    size = kind_of(d)->size;
    while (room < n)
        room *= 2;
    mine = arena_calloc(a, room, size);
    memcpy(mine, *items, n * size);
    *items = mine;
}

void *field_add(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d, struct arena *a)
{
    if (is_list(d))
        return list_add(m, d, a);
    if (d->type != PROTOBUF_C_TYPE_STRING)
        *(protobuf_c_boolean *)member(m, d->quantifier_offset) = 1;
    return member(m, d->offset);
}

void field_clear(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d)
{
    if (is_list(d)) {
        *(size_t *)member(m, d->quantifier_offset) = 0;
        *(void **)member(m, d->offset) = NULL;
    } else if (d->type == PROTOBUF_C_TYPE_STRING) {
        *(const void **)member(m, d->offset) = d->default_value;
    } else {
        *(protobuf_c_boolean *)member(m, d->quantifier_offset) = 0;
    }
}

void field_set_default(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                       struct arena *a)
{
    void *value;

    field_clear(m, d);
    if (is_list(d))
        return;
    value = field_add(m, d, a);
    if (d->type == PROTOBUF_C_TYPE_STRING)
        *(char **)value = arena_strdup(a, d->default_value ? d->default_value : "");
    else if (d->default_value)
        memcpy(value, d->default_value, kind_of(d)->size);
    else
        memset(value, 0, kind_of(d)->size);
}

ProtobufCMessage *field_message(ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                                struct arena *a)
{
    ProtobufCMessage **below = member(m, d->offset);
    const ProtobufCMessageDescriptor *type = d->descriptor;

    if (!*below && a) {
        *below = arena_alloc(a, type->sizeof_message);
        protobuf_c_message_init(type, *below);
    }
    return *below;
}

bool field_find(ProtobufCMessage *top, const char *path, struct arena *a,
                ProtobufCMessage **m, const ProtobufCFieldDescriptor **d)
{
    const char *dot;

    *m = top;
    for (; (dot = strchr(path, '.')) != NULL; path = dot + 1) {
        char name[64];

        if ((size_t)(dot - path) >= sizeof name)
            return false;
        memcpy(name, path, (size_t)(dot - path));
        name[dot - path] = '\0';
        *d = protobuf_c_message_descriptor_get_field_by_name((*m)->descriptor, name);
        if (!*d || (*d)->type != PROTOBUF_C_TYPE_MESSAGE)
            return false;
        *m = field_message(*m, *d, a);
    }
    *d = protobuf_c_message_descriptor_get_field_by_name((*m)->descriptor, path);
    return *d != NULL;
}

bool field_parse(const ProtobufCFieldDescriptor *d, const char *text, struct arena *a,
                 void *value)
{
    return kind_of(d)->parse(d, text, a, value);
}

double field_number(const ProtobufCFieldDescriptor *d, const void *value)
{
    switch (d->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return *(const uint32_t *)value;
    case PROTOBUF_C_TYPE_UINT64:
        return (double)*(const uint64_t *)value;
    case PROTOBUF_C_TYPE_DOUBLE:
        return *(const double *)value;
    default:
        assert(d->type == PROTOBUF_C_TYPE_BOOL);
        return *(const protobuf_c_boolean *)value;
    }
}

void field_print(const ProtobufCFieldDescriptor *d, const void *value, struct buf *out)
{
    kind_of(d)->print(d, value, out);
}

/* "1e-05" is 1e-5 for people. */
static void shorten_exponent(char *text)
{
    char *e = strchr(text, 'e'), *from;

    if (!e)
        return;
    e++;
    from = e + strspn(e, "+-");
    if (*e == '-')
        e++;
    from += strspn(from, "0");
    memmove(e, from, strlen(from) + 1);
}

void field_print_double(double x, struct buf *out)
{
    char text[32];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, x);
        if (strtod(text, NULL) == x)
            break;
    }
    /* Whole numbers of everyday size read better without an exponent. */
    if (x > -1e10 && x < 1e10 && x == (double)(int64_t)x)
        snprintf(text, sizeof(text), "%.0f", x);
    shorten_exponent(text);
    buf_puts(out, isnan(x) ? "nan" : text); /* its sign means nothing */
}

void field_print_name(const char *name, struct buf *out)
{
    for (; *name; name++) {
        char c = (char)tolower((unsigned char)*name);

        buf_add(out, &c, 1);
    }
}

/* U+0080 to U+009F: a terminal may obey these as well. */
static bool is_c1(const char *p)
{
    return (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 &&
           (unsigned char)p[1] < 0xa0;
}

static bool has_c1(const char *text)
{
    for (; *text; text++)
        if (is_c1(text))
            return true;
    return false;
}

void field_quote(const char *text, struct buf *out)
{
    size_t len = strlen(text), show = len > QUOTE_MAX ? QUOTE_MAX : len;
    bool escape = !str_is_utf8(text, len) || has_c1(text);

    while (show < len && show > 0 && ((unsigned char)text[show] & 0xc0) == 0x80)
        show--; /* not inside a character */
    buf_puts(out, "\"");
    for (size_t i = 0; i < show; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < 0x20 || c == 0x7f || (escape && c >= 0x80))
            buf_printf(out, "\\x%02x", c);
        else
            buf_add(out, &text[i], 1);
    }
    buf_puts(out, len > show ? "...\"" : "\"");
}

void field_found(const ProtobufCFieldDescriptor *d, const void *value, struct buf *out)
{
    if (d->type == PROTOBUF_C_TYPE_STRING)
        field_quote(*(char *const *)value, out);
    else
        field_print(d, value, out);
}

bool field_is_clean(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return !has_c1(text) && str_is_utf8(text, strlen(text));
}

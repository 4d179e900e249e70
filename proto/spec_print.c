/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_print.c - a job for people (YAML with origins) and for programs (JSON).
 */
#include <string.h>

#include "base/str.h"
#include "proto/spec_impl.h"

#define NOTE_COLUMN_MAX 44 /* a longer line's origin follows right behind */

/* Text that YAML would read as something else, or that holds its signs. */
static bool needs_quotes(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789/._-+";
    static const char *const words[] = {"",   "~",  "null", "true", "false", "yes",
                                        "no", "on", "off",  "-",    "---",   "..."};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return text[0] == '-' || text[strspn(text, plain)] != '\0';
}

/* Characters that end a line for YAML, or that it does not know. */
static const struct {
    const char *text, *escape;
} odd[] = {
    {"\xe2\x80\xa8", "\\u2028"}, {"\xe2\x80\xa9", "\\u2029"},
    {"\xef\xbb\xbf", "\\ufeff"}, {"\xef\xbf\xbe", "\\ufffe"},
    {"\xef\xbf\xbf", "\\uffff"},
};

/* Append the first character of clean text, or a byte of it; returns what is behind. */
static const char *print_char(const char *text, struct buf *out)
{
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        if (str_starts(text, odd[i].text)) {
            buf_puts(out, odd[i].escape);
            return text + strlen(odd[i].text);
        }
    buf_add(out, text, 1);
    return text + 1;
}

/* Values are clean text, so that few escapes are enough. */
static void print_text(const char *text, struct buf *out)
{
    if (!needs_quotes(text)) {
        buf_puts(out, text);
        return;
    }
    buf_puts(out, "\"");
    while (*text) {
        if (*text == '"' || *text == '\\')
            buf_puts(out, "\\");
        text = print_char(text, out);
    }
    buf_puts(out, "\"");
}

static void print_value(const ProtobufCFieldDescriptor *d, const void *value,
                        struct buf *out)
{
    if (d->type == PROTOBUF_C_TYPE_STRING)
        print_text(*(char *const *)value, out);
    else
        field_print(d, value, out);
}

static void print_field(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *d,
                        struct buf *out)
{
    bool list = d->label == PROTOBUF_C_LABEL_REPEATED;

    buf_printf(out, "%s: %s", d->name, list ? "[" : "");
    for (size_t i = 0; i < field_count(m, d); i++) {
        buf_puts(out, i ? ", " : "");
        print_value(d, field_value(m, d, i), out);
    }
    buf_puts(out, list ? "]" : "");
}

struct printer {
    struct spec *spec;
    size_t column; /* where origins stand; while 0, lines are only measured */
    size_t longest;
    struct buf *out;
};

static void print_line(struct printer *p, const struct buf *line, const char *path)
{
    size_t pad = line->len < p->column ? p->column - line->len : 0;

    if (line->len > p->longest && line->len <= NOTE_COLUMN_MAX)
        p->longest = line->len;
    if (p->column == 0)
        return;
    buf_printf(p->out, "%s%*s  # ", line->data, (int)pad, "");
    for (const char *note = spec_origin(p->spec, path); *note;)
        note = print_char(note, p->out);
    buf_puts(p->out, "\n");
}

static void print_section(struct printer *p, const ProtobufCMessage *m,
                          const char *section, int indent)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    struct arena *a = p->spec->arena;

    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &type->fields[i];
        const char *path = arena_printf(a, "%s%s", section, d->name);
        struct buf line = {0};

        buf_printf(&line, "%*s", indent, "");
        if (d->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (p->column > 0)
                buf_printf(p->out, "%*s%s:\n", indent, "", d->name);
            print_section(p, field_message((ProtobufCMessage *)m, d, a),
                          arena_printf(a, "%s.", path), indent + 2);
        } else {
            print_field(m, d, &line);
            print_line(p, &line, path);
        }
        buf_free(&line);
    }
}

void spec_print_yaml(struct spec *s, struct buf *out)
{
    struct printer p = {.spec = s, .out = out};

    print_section(&p, s->top, "", 0);
    p.column = p.longest + 1;
    print_section(&p, s->top, "", 0);
}

static json_t *json_of_value(const ProtobufCFieldDescriptor *d, const void *value)
{
    struct buf name = {0};
    json_t *j;

    switch (d->type) {
    case PROTOBUF_C_TYPE_UINT32:
        return json_integer(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_UINT64:
        return json_integer((json_int_t) * (const uint64_t *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_real(*(const double *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)value);
    default:
        field_print(d, value, &name);
        j = json_string(name.data);
        buf_free(&name);
        return j;
    }
}

static json_t *json_of_message(const ProtobufCMessage *m);

static json_t *json_of_field(const ProtobufCMessage *m,
                             const ProtobufCFieldDescriptor *d)
{
    json_t *list;

    if (d->type == PROTOBUF_C_TYPE_MESSAGE)
        return json_of_message(field_message((ProtobufCMessage *)m, d, NULL));
    if (d->label != PROTOBUF_C_LABEL_REPEATED)
        return json_of_value(d, field_value(m, d, 0));
    list = json_array();
    for (size_t i = 0; i < field_count(m, d); i++)
        json_array_append_new(list, json_of_value(d, field_value(m, d, i)));
    return list;
}

static json_t *json_of_message(const ProtobufCMessage *m)
{
    json_t *object = json_object();

    for (unsigned i = 0; m && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *d = &m->descriptor->fields[i];

        json_object_set_new(object, d->name, json_of_field(m, d));
    }
    return object;
}

json_t *spec_to_json(const Nnd__Job *job)
{
    return json_of_message(&job->base);
}

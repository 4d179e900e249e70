/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.c - a job and the origin of each of its values; overrides by text.
 *
 * Reading files is spec_load.c's, defaults and computed values spec_resolve.c's,
 * combinations spec_check.c's, bytes spec_wire.c's, output spec_print.c's.
 */
#include "proto/spec.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "proto/spec_impl.h"

struct spec *spec_create_as(const struct schema *schema)
{
    struct arena *a = arena_create();
    struct spec *s = arena_alloc(a, sizeof(*s));

    *s = (struct spec){.arena = a, .schema = schema};
    s->top = arena_alloc(a, schema->type->sizeof_message);
    protobuf_c_message_init(schema->type, s->top);
    s->origins = arena_calloc(a, schema->nrules, sizeof(*s->origins));
    return s;
}

struct spec *spec_create(void)
{
    struct spec *s = spec_create_as(&schema_job);

    s->job = (Nnd__Job *)s->top;
    return s;
}

const ProtobufCMessage *spec_message(const struct spec *s)
{
    return s->top;
}

void spec_destroy(struct spec *s)
{
    if (s)
        arena_destroy(s->arena);
}

const Nnd__Job *spec_job(const struct spec *s)
{
    return s->job;
}

void spec_locate(const struct spec *s, const struct rule *r, ProtobufCMessage **m,
                 const ProtobufCFieldDescriptor **d)
{
    bool known = field_find(s->top, r->path, s->arena, m, d);

    assert(known);
    (void)known;
}

struct origin *spec_origin_of(const struct spec *s, const struct rule *r)
{
    return &s->origins[r - s->schema->rules];
}

bool spec_rule_is_given(const struct spec *s, const struct rule *r)
{
    enum origin_kind kind = spec_origin_of(s, r)->kind;

    return kind != ORIGIN_DEFAULT && kind != ORIGIN_COMPUTED;
}

bool spec_is_given(const struct spec *s, const char *path)
{
    return spec_rule_is_given(s, schema_rule(s->schema, path));
}

bool spec_is_typed(const struct spec *s, const char *path)
{
    enum origin_kind kind = spec_origin_of(s, schema_rule(s->schema, path))->kind;

    return kind == ORIGIN_FILE || kind == ORIGIN_OPTION;
}

/* "demo.yaml:3:5", "-S", "message".  What nobody wrote is missing from the file
 * as a whole. */
static void print_place(const struct spec *s, const struct origin *o, struct buf *out)
{
    if (o->kind == ORIGIN_FILE)
        buf_printf(out, "%s:%d:%d", o->text, o->line, o->col);
    else if (o->kind == ORIGIN_OPTION)
        buf_puts(out, o->text);
    else if (o->kind == ORIGIN_MESSAGE)
        buf_puts(out, "message");
    else if (s->file)
        buf_printf(out, "%s:1:1", s->file);
    else
        buf_puts(out, s->schema->noun);
}

int spec_refuse_prefixed(const struct spec *s, struct err *e, const char *path,
                         const char *other)
{
    const char *blamed = other && !spec_is_given(s, path) ? other : path;
    struct buf at = {0};

    print_place(s, spec_origin_of(s, schema_rule(s->schema, blamed)), &at);
    err_prefix(e, "%s: %s", at.data, path);
    buf_free(&at);
    return ERR_SPEC;
}

int spec_refuse(const struct spec *s, struct err *e, const char *path,
                const char *other, const char *fmt, ...)
{
    char text[700];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    err_set(e, ERR_SPEC, "%s", text);
    return spec_refuse_prefixed(s, e, path, other);
}

/* The name of a file, which may be any bytes, as text. */
static const char *clean_name(struct spec *s, const char *name)
{
    struct buf quoted = {0};
    const char *text = name;

    if (!field_is_clean(name)) {
        field_quote(name, &quoted);
        text = arena_strdup(s->arena, quoted.data);
    }
    buf_free(&quoted);
    return text;
}

const char *spec_origin(struct spec *s, const char *path)
{
    const struct rule *r = schema_rule(s->schema, path);
    const struct origin *o = r ? spec_origin_of(s, r) : NULL;

    if (!o)
        return NULL;
    switch (o->kind) {
    case ORIGIN_FILE:
        return arena_printf(s->arena, "%s:%d", clean_name(s, o->text), o->line);
    case ORIGIN_OPTION:
        return o->text;
    case ORIGIN_MESSAGE:
        return "message";
    case ORIGIN_COMPUTED:
        return arena_printf(s->arena, "computed: %s", o->text);
    default:
        return "default";
    }
}

/* "; did you mean "bf16"?", or nothing. */
static void suggest_name(struct spec *s, const ProtobufCFieldDescriptor *d,
                         const char *text, struct buf *out)
{
    const ProtobufCEnumDescriptor *names = d->descriptor;
    const char **words = arena_calloc(s->arena, names->n_values, sizeof(*words));
    const char *near;

    for (unsigned i = 0; i < names->n_values; i++) {
        struct buf name = {0};

        field_print_name(names->values[i].name, &name);
        words[i] = arena_strdup(s->arena, name.data);
        buf_free(&name);
    }
    near = str_nearest(text, words, names->n_values);
    if (near)
        buf_printf(out, "; did you mean \"%s\"?", near);
}

static int refuse_text(struct spec *s, const struct rule *r,
                       const ProtobufCFieldDescriptor *d, const char *text,
                       struct err *e)
{
    struct buf wanted = {0}, found = {0};
    double number;

    rule_wanted(r, d, &wanted);
    if (text[0] == '\0')
        buf_puts(&found, "nothing");
    else if (str_to_double(text, &number))
        buf_puts(&found, text);
    else
        field_quote(text, &found);
    if (d->type == PROTOBUF_C_TYPE_ENUM)
        suggest_name(s, d, text, &found);
    err_set(e, ERR_SPEC, "wanted %s, found %s", wanted.data, found.data);
    buf_free(&wanted);
    buf_free(&found);
    return ERR_SPEC;
}

/* Times as people write them, and any number of seconds as it is printed. */
static bool parse_time(const char *text, double *seconds)
{
    struct err e;

    return clock_duration(text, seconds, &e) == 0 || str_to_double(text, seconds);
}

int spec_store(struct spec *s, const struct rule *r, const char *text, struct err *e)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;
    union field_any value;
    int rc;

    spec_locate(s, r, &m, &d);
    if (r->items && field_count(m, d) >= r->items)
        return err_set(e, ERR_SPEC, "wanted at most %u values, found more", r->items);
    if ((r->flags & RULE_FIT) && strcmp(text, "fit") == 0)
        text = "0";
    if (!((r->flags & RULE_TIME) ? parse_time(text, &value.real)
                                 : field_parse(d, text, s->arena, &value)))
        return refuse_text(s, r, d, text, e);
    rc = rule_check(r, d, &value, e);
    if (rc == 0)
        memcpy(field_add(m, d, s->arena), &value, field_size(d));
    return rc;
}

static void list_keys(const ProtobufCMessageDescriptor *d, struct buf *out)
{
    buf_puts(out, "; its keys are ");
    for (unsigned i = 0; i < d->n_fields; i++)
        buf_printf(out, "%s%s", i ? ", " : "", d->fields[i].name);
}

/* The path of a value called `name`, or the path itself: people forget the
 * section, or write dots where a file wants nesting. */
static const char *path_elsewhere(const struct schema *c, const char *name)
{
    for (size_t i = 0; i < c->nrules; i++) {
        const char *path = c->rules[i].path, *dot = strrchr(path, '.');

        if (strcmp(path, name) == 0 || (dot && strcmp(dot + 1, name) == 0))
            return path;
    }
    return NULL;
}

static void suggest_key(const struct schema *c, const ProtobufCMessageDescriptor *d,
                        const char *name, bool in_file, struct buf *out)
{
    const char *words[64], *near, *path = path_elsewhere(c, name), *dot;

    assert(d->n_fields <= sizeof(words) / sizeof(words[0]));
    for (unsigned i = 0; i < d->n_fields; i++)
        words[i] = d->fields[i].name;
    near = str_nearest(name, words, d->n_fields);
    dot = path ? strrchr(path, '.') : NULL;
    if (dot && in_file)
        buf_printf(out, "; write \"%s\" below \"%.*s\"", dot + 1, (int)(dot - path),
                   path);
    else if (path || near)
        buf_printf(out, "; did you mean \"%s\"?", path ? path : near);
    else
        list_keys(d, out);
}

int spec_unknown(const struct schema *c, const ProtobufCMessageDescriptor *d,
                 const char *section, const char *name, bool in_file, struct err *e)
{
    struct buf found = {0};

    field_quote(name, &found);
    suggest_key(c, d, name, in_file, &found);
    err_set(e, ERR_SPEC, "%s: wanted one of its keys, found %s",
            section[0] ? section : c->noun, found.data);
    buf_free(&found);
    return ERR_SPEC;
}

/* `path` names no value: say of which section it should have been a key. */
static int refuse_path(struct spec *s, const char *path, struct err *e)
{
    const ProtobufCMessageDescriptor *m = s->schema->type;
    const ProtobufCFieldDescriptor *section;
    const char *name = path, *dot;

    for (; (dot = strchr(name, '.')) != NULL; name = dot + 1) {
        const ProtobufCFieldDescriptor *d =
            protobuf_c_message_descriptor_get_field_by_name(
                m, arena_printf(s->arena, "%.*s", (int)(dot - name), name));

        if (!d || d->type != PROTOBUF_C_TYPE_MESSAGE)
            break;
        m = d->descriptor;
    }
    section = protobuf_c_message_descriptor_get_field_by_name(m, name);
    if (section) {
        const ProtobufCMessageDescriptor *below = section->descriptor;

        return err_set(e, ERR_SPEC,
                       "%s: wanted a key of it, such as %s.%s, found the "
                       "section alone",
                       path, path, below->fields[0].name);
    }
    return spec_unknown(
        s->schema, m,
        arena_printf(s->arena, "%.*s", name == path ? 0 : (int)(name - path - 1), path),
        name, false, e);
}

/* Read a value given on a command line; `text` may be a list in brackets. */
static int put_value(struct spec *s, const struct rule *r, const char *text,
                     struct err *e)
{
    if (r->items && text[0] == '[')
        return spec_load_list(s, r, text, e);
    return spec_store(s, r, text, e);
}

/* Bytes of the file's name that are the folder which relative paths of this origin
 * start from; -1 where that is the current one. */
static int folder_of(const struct origin *o)
{
    const char *slash = o->kind == ORIGIN_FILE ? strrchr(o->text, '/') : NULL;

    return slash ? (int)(slash - o->text) : -1;
}

/* Put a folder in front of a relative path. */
static void anchor_path(const struct spec *s, char **path, int len, const char *folder)
{
    const char *rest = *path;

    while (rest[0] == '.' && rest[1] == '/')
        rest += 2;
    if (rest[0] != '/' && rest[0] != '\0')
        *path = arena_printf(s->arena, "%.*s/%s", len, folder, rest);
}

/* What comes to a list from a command line starts from elsewhere than the n values of
 * a file before it, and the list has one origin: theirs goes into their text. */
static void keep_folder(const struct spec *s, const struct rule *r, size_t n)
{
    const struct origin *o = spec_origin_of(s, r);
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    if (!(r->flags & RULE_PATH) || folder_of(o) < 0)
        return;
    spec_locate(s, r, &m, &d);
    for (size_t k = 0; k < n; k++)
        anchor_path(s, field_value(m, d, k), folder_of(o), o->text);
}

static int put(struct spec *s, const char *path, const char *value, const char *origin,
               bool more, struct err *e)
{
    const struct rule *r = schema_rule(s->schema, path);
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;
    size_t before;

    if (!r) {
        refuse_path(s, path, e);
        return err_prefix(e, "%s", origin);
    }
    if (more && !r->items)
        return err_set(e, ERR_SPEC,
                       "%s: %s: wanted = and one value, found += for "
                       "what is no list",
                       origin, path);
    spec_locate(s, r, &m, &d);
    if (r->items && !more)
        field_clear(m, d);
    before = more ? field_count(m, d) : 0;
    if (put_value(s, r, value, e))
        return err_prefix(e, "%s: %s", origin, path);
    keep_folder(s, r, before);
    *spec_origin_of(s, r) =
        (struct origin){.kind = ORIGIN_OPTION, .text = arena_strdup(s->arena, origin)};
    return 0;
}

int spec_put(struct spec *s, const char *path, const char *value, const char *origin,
             struct err *e)
{
    return put(s, path, value, origin, false, e);
}

int spec_add(struct spec *s, const char *path, const char *value, const char *origin,
             struct err *e)
{
    return put(s, path, value, origin, true, e);
}

/* The folder that relative paths of this origin start from. */
static const char *anchor_of(const struct spec *s, const struct origin *o,
                             const char *cwd)
{
    int len = folder_of(o);

    if (len < 0)
        return cwd;
    if (o->text[0] == '/')
        return arena_printf(s->arena, "%.*s", len, o->text);
    return arena_printf(s->arena, "%s/%.*s", cwd, len, o->text);
}

void spec_anchor(struct spec *s, const char *cwd)
{
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    for (size_t i = 0; i < s->schema->nrules; i++) {
        const struct rule *r = &s->schema->rules[i];
        const char *folder;

        if (!(r->flags & RULE_PATH))
            continue;
        spec_locate(s, r, &m, &d);
        folder = anchor_of(s, &s->origins[i], cwd);
        for (size_t k = 0; k < field_count(m, d); k++)
            anchor_path(s, field_value(m, d, k), (int)strlen(folder), folder);
    }
}

int spec_set(struct spec *s, const char *assignment, struct err *e)
{
    const char *equals = strchr(assignment, '=');
    bool more = equals && equals > assignment && equals[-1] == '+';
    struct buf found = {0};
    char *path;

    if (!equals || equals == assignment) {
        field_quote(assignment, &found);
        err_set(e, ERR_USAGE, "-S: wanted KEY=VALUE, found %s", found.data);
        buf_free(&found);
        return ERR_USAGE;
    }
    path =
        arena_printf(s->arena, "%.*s", (int)(equals - more - assignment), assignment);
    return put(s, path, equals + 1, "-S", more, e);
}

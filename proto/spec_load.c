/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_load.c - a job file: YAML events in, fields of the job set.
 *
 * The descriptors say which keys there are and of which type; nothing here
 * knows a job.  What YAML can do and a job does not need is refused rather than
 * guessed at: anchors and aliases, tags, several documents, a key given twice,
 * numbers in quotes.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/str.h"
#include "proto/spec_impl.h"

struct loader {
    struct spec *spec;
    const char *file; /* NULL: a list of -S; no places in errors */
    const char *text;
    size_t len;
    yaml_parser_t parser;
    yaml_event_t event; /* the current one */
    bool has_event;
    struct err *e;
};

/* Write "FILE:LINE:COL: KEY: " and the rest; `key` may be empty. */
__attribute__((format(printf, 4, 5))) static int
refuse(struct loader *l, const yaml_mark_t *at, const char *key, const char *fmt, ...)
{
    struct buf text = {0};
    char rest[900];
    va_list args;

    va_start(args, fmt);
    vsnprintf(rest, sizeof(rest), fmt, args);
    va_end(args);
    if (l->file)
        buf_printf(&text, "%s:%zu:%zu: ", l->file, at->line + 1, at->column + 1);
    if (l->file)
        buf_printf(&text, "%s: ", key[0] ? key : l->spec->schema->noun);
    err_set(l->e, ERR_SPEC, "%s%s", text.data ? text.data : "", rest);
    buf_free(&text);
    return ERR_SPEC;
}

/* The same in front of a text that is already in l->e. */
static int place(struct loader *l, const yaml_mark_t *at, const char *key)
{
    if (!l->file)
        return l->e->code;
    if (key)
        err_prefix(l->e, "%s", key);
    return err_prefix(l->e, "%s:%zu:%zu", l->file, at->line + 1, at->column + 1);
}

/* The mark of byte `offset`; columns are characters. */
static yaml_mark_t mark_of(const char *text, size_t offset)
{
    yaml_mark_t m = {0, 0, 0};

    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            m.line++;
            m.column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            m.column++;
        }
    }
    return m;
}

/* libyaml gives the byte where its reader stopped, but no line. */
static int refuse_bytes(struct loader *l)
{
    size_t offset = l->parser.problem_offset;
    yaml_mark_t at;

    if (offset >= l->len)
        offset = l->len - 1; /* a reader error needs a byte */
    at = mark_of(l->text, offset);
    return refuse(l, &at, "", "wanted UTF-8 text, found byte 0x%02x",
                  (unsigned char)l->text[offset]);
}

/* Tabs look like spaces: say so where one begins what YAML cannot read. */
static bool is_tab_line(const struct loader *l, size_t line)
{
    const char *p = l->text, *end = l->text + l->len;

    while (line-- > 0 && p) {
        p = memchr(p, '\n', (size_t)(end - p));
        p = p ? p + 1 : NULL;
    }
    while (p && p < end && *p == ' ')
        p++;
    return p && p < end && *p == '\t';
}

/* libyaml says what it expected in two ways; NULL when in neither. */
static const char *expected(const char *problem)
{
    static const char *const starts[] = {"did not find expected ",
                                         "could not find expected "};

    for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
        if (str_starts(problem, starts[i]))
            return problem + strlen(starts[i]);
    return NULL;
}

static int refuse_syntax(struct loader *l)
{
    const yaml_mark_t *at = &l->parser.problem_mark;
    const char *problem = l->parser.problem ? l->parser.problem : "no memory";
    const char *context = l->parser.context ? l->parser.context : "";
    const char *wanted = expected(problem), *space = context[0] ? " " : "";

    if (l->parser.error == YAML_READER_ERROR)
        return refuse_bytes(l);
    if (is_tab_line(l, at->line))
        return refuse(l, at, "", "wanted spaces to indent with, found a tab");
    if (wanted && strcmp(wanted, "<document start>") == 0)
        return refuse(l, at, "", "wanted the end of the text, found more");
    if (wanted)
        return refuse(l, at, "", "wanted %s, found something else%s%s", wanted, space,
                      context);
    if (str_starts(problem, "found "))
        return refuse(l, at, "", "wanted YAML, %s%s%s", problem, space, context);
    return refuse(l, at, "", "wanted YAML, found a mistake: %s%s%s", problem, space,
                  context);
}

/* Move to the next event; what a job file may nowhere have ends here. */
static int next(struct loader *l)
{
    if (l->has_event)
        yaml_event_delete(&l->event);
    l->has_event = yaml_parser_parse(&l->parser, &l->event);
    if (!l->has_event)
        return refuse_syntax(l);
    if (l->event.type == YAML_ALIAS_EVENT)
        return refuse(l, &l->event.start_mark, "",
                      "wanted the value itself, found an alias (*)");
    return 0;
}

/* Anchors and tags of the current node. */
static int check_plain(struct loader *l, const char *key)
{
    const yaml_event_t *v = &l->event;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (v->type == YAML_SCALAR_EVENT) {
        anchor = v->data.scalar.anchor;
        tag = v->data.scalar.tag;
    } else if (v->type == YAML_SEQUENCE_START_EVENT) {
        anchor = v->data.sequence_start.anchor;
        tag = v->data.sequence_start.tag;
    } else if (v->type == YAML_MAPPING_START_EVENT) {
        anchor = v->data.mapping_start.anchor;
        tag = v->data.mapping_start.tag;
    }
    if (anchor)
        return refuse(l, &v->start_mark, key,
                      "wanted a plain value, found an anchor (&)");
    if (tag)
        return refuse(l, &v->start_mark, key, "wanted a plain value, found a tag (!)");
    return 0;
}

static const char *node_noun(const yaml_event_t *v)
{
    if (v->type == YAML_MAPPING_START_EVENT)
        return "keys and values";
    return v->type == YAML_SEQUENCE_START_EVENT ? "a list" : "a single value";
}

/* A key, or a value, that says nothing: "lr:" or "lr: null". */
static bool is_null(const yaml_event_t *v)
{
    const char *text = (const char *)v->data.scalar.value;

    return v->type == YAML_SCALAR_EVENT &&
           v->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (text[0] == '\0' || strcmp(text, "~") == 0 || strcmp(text, "null") == 0);
}

static int refuse_value(struct loader *l, const struct rule *r,
                        const ProtobufCFieldDescriptor *d, const char *found)
{
    struct buf wanted = {0};
    int rc;

    rule_wanted(r, d, &wanted);
    rc = refuse(l, &l->event.start_mark, r->path, "wanted %s, found %s", wanted.data,
                found);
    buf_free(&wanted);
    return rc;
}

/* The current event is one value of r. */
static int load_scalar(struct loader *l, const struct rule *r,
                       const ProtobufCFieldDescriptor *d)
{
    const yaml_event_t *v = &l->event;
    const char *text = (const char *)v->data.scalar.value;
    bool is_text = d->type == PROTOBUF_C_TYPE_STRING || d->type == PROTOBUF_C_TYPE_ENUM;

    if (check_plain(l, r->path))
        return ERR_SPEC;
    if (v->type != YAML_SCALAR_EVENT)
        return refuse_value(l, r, d, node_noun(v));
    if (is_null(v))
        return refuse_value(l, r, d, text[0] ? text : "nothing");
    if (strlen(text) != v->data.scalar.length)
        return refuse_value(l, r, d, "a text with a NUL in it");
    if (!is_text && v->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return refuse_value(l, r, d, "a text; take the quotes away");
    if (spec_store(l->spec, r, text, l->e))
        return place(l, &v->start_mark, r->path);
    return 0;
}

static int load_list(struct loader *l, const struct rule *r,
                     const ProtobufCFieldDescriptor *d)
{
    if (check_plain(l, r->path) || next(l))
        return ERR_SPEC;
    while (l->event.type != YAML_SEQUENCE_END_EVENT)
        if (load_scalar(l, r, d) || next(l))
            return ERR_SPEC;
    return 0;
}

/* The current event begins the value of the field that `path` names. */
static int load_value(struct loader *l, const char *path, const yaml_mark_t *key)
{
    const struct rule *r = schema_rule(l->spec->schema, path);
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;

    spec_locate(l->spec, r, &m, &d);
    field_clear(m, d);
    *spec_origin_of(l->spec, r) = (struct origin){
        .kind = ORIGIN_FILE,
        .text = l->file,
        .line = (int)key->line + 1,
        .col = (int)key->column + 1,
    };
    if (r->items && l->event.type == YAML_SEQUENCE_START_EVENT)
        return load_list(l, r, d);
    return load_scalar(l, r, d);
}

static int load_section(struct loader *l, const ProtobufCMessageDescriptor *type,
                        const char *section);

/* The current event is a key of `section`; ends on the last event of its value. */
static int load_pair(struct loader *l, const ProtobufCMessageDescriptor *type,
                     const char *section, size_t *lines)
{
    const ProtobufCFieldDescriptor *d;
    yaml_mark_t at = l->event.start_mark;
    const char *name, *path;

    if (check_plain(l, section))
        return ERR_SPEC;
    if (l->event.type != YAML_SCALAR_EVENT)
        return refuse(l, &at, section, "wanted one of its keys, found %s",
                      node_noun(&l->event));
    name = arena_strdup(l->spec->arena, (const char *)l->event.data.scalar.value);
    d = protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (!d) {
        spec_unknown(l->spec->schema, type, section, name, true, l->e);
        return place(l, &at, NULL);
    }
    path = section[0] ? arena_printf(l->spec->arena, "%s.%s", section, name) : name;
    if (lines[d - type->fields])
        return refuse(l, &at, path, "wanted it once, found it again after line %zu",
                      lines[d - type->fields]);
    lines[d - type->fields] = at.line + 1;
    if (next(l))
        return ERR_SPEC;
    return d->type == PROTOBUF_C_TYPE_MESSAGE ? load_section(l, d->descriptor, path)
                                              : load_value(l, path, &at);
}

/* The current event begins a section; ends on its last event.  An empty section
 * is one of defaults. */
static int load_section(struct loader *l, const ProtobufCMessageDescriptor *type,
                        const char *section)
{
    size_t *lines = arena_calloc(l->spec->arena, type->n_fields, sizeof(*lines));

    if (check_plain(l, section))
        return ERR_SPEC;
    if (is_null(&l->event))
        return 0;
    if (l->event.type != YAML_MAPPING_START_EVENT)
        return refuse(l, &l->event.start_mark, section,
                      "wanted keys and values, found %s", node_noun(&l->event));
    if (next(l))
        return ERR_SPEC;
    while (l->event.type != YAML_MAPPING_END_EVENT)
        if (load_pair(l, type, section, lines) || next(l))
            return ERR_SPEC;
    return 0;
}

/* From the start of the stream to the first event of the only document. */
static int open_document(struct loader *l)
{
    if (next(l) || next(l))
        return ERR_SPEC;
    if (l->event.type != YAML_DOCUMENT_START_EVENT)
        return refuse(l, &l->event.start_mark, "",
                      "wanted keys and values, found an empty file");
    return next(l);
}

/* From the last event of the document to the end of the stream. */
static int close_document(struct loader *l)
{
    if (next(l) || next(l))
        return ERR_SPEC;
    if (l->event.type != YAML_STREAM_END_EVENT)
        return refuse(l, &l->event.start_mark, "",
                      "wanted one document, found another (---)");
    return 0;
}

static int loader_open(struct loader *l, struct spec *s, const char *file,
                       const char *text, size_t len, struct err *e)
{
    *l = (struct loader){.spec = s, .text = text, .len = len, .e = e};
    l->file = arena_strdup(s->arena, file);
    if (!yaml_parser_initialize(&l->parser))
        return err_set(e, ERR_NOMEM, "%s: out of memory", file);
    yaml_parser_set_encoding(&l->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&l->parser, (const unsigned char *)text, len);
    return 0;
}

static void loader_close(struct loader *l)
{
    if (l->has_event)
        yaml_event_delete(&l->event);
    yaml_parser_delete(&l->parser);
}

int spec_load_text(struct spec *s, const char *file, const char *text, size_t len,
                   struct err *e)
{
    struct loader l;
    struct err local;
    size_t mark = str_mark(text, len); /* libyaml would take it for text */
    int rc;

    if (len > SPEC_TEXT_MAX)
        return err_set(e, ERR_SPEC, "%s:1:1: %s: wanted at most %d bytes, found more",
                       file, s->schema->noun, SPEC_TEXT_MAX);
    rc = loader_open(&l, s, file, text + mark, len - mark, e ? e : &local);
    if (rc)
        return rc;
    s->file = l.file;
    rc = open_document(&l);
    if (rc == 0)
        rc = load_section(&l, s->schema->type, "");
    if (rc == 0)
        rc = close_document(&l);
    loader_close(&l);
    return rc;
}

/* What is longer than a job file can be is read so far that spec_load_text sees it. */
static int read_file(const char *path, struct buf *out, struct err *e)
{
    FILE *f = fopen(path, "re");
    size_t n = 1;
    int rc = 0;

    if (!f)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    while (n > 0 && out->len <= SPEC_TEXT_MAX) {
        buf_reserve(out, 65536);
        n = fread(out->data + out->len, 1, 65536, f);
        out->len += n;
    }
    if (ferror(f))
        rc = err_sys(e, err_code_of(errno), errno, "read %s", path);
    fclose(f);
    return rc;
}

int spec_load_file(struct spec *s, const char *path, struct err *e)
{
    struct buf text = {0};
    int rc = read_file(path, &text, e);

    if (rc == 0)
        rc = spec_load_text(s, path, text.data, text.len, e);
    buf_free(&text);
    return rc;
}

int spec_load_list(struct spec *s, const struct rule *r, const char *text,
                   struct err *e)
{
    struct loader l;
    struct err local;
    ProtobufCMessage *m;
    const ProtobufCFieldDescriptor *d;
    int rc = loader_open(&l, s, NULL, text, strlen(text), e ? e : &local);

    if (rc)
        return rc;
    spec_locate(s, r, &m, &d);
    rc = open_document(&l);
    if (rc == 0)
        rc = load_list(&l, r, d);
    if (rc == 0)
        rc = close_document(&l);
    loader_close(&l);
    return rc;
}

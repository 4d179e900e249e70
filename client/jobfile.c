/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jobfile.c - from a job file to a job that nnd has accepted.
 */
#include "client/jobfile.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "client/fit.h"
#include "client/term.h"
#include "proto/rules.h"

enum {
    SUBMIT_TRIES = 5,
    PLUGINS_MS = 40000, /* for nnd to look at plugins, where a job speaks of them; */
    LOOKS = 4,          /* it looks for so many jobs of an array at a time, and    */
    LOOKS_MAX = 16,     /* for no more than the first of them                      */
};

const struct opt jobfile_options[] = {
    {OPT_TEXT, 'f', "file", "JOB.yaml", offsetof(struct jobfile, file),
     "the job file; - reads standard input"},
    {OPT_LIST, 'S', "set", "KEY=VALUE", offsetof(struct jobfile, set),
     "override a value, for example train.lr=3e-4; KEY+=VALUE adds to a list"},
    {OPT_TEXT, 0, "name", "NAME", offsetof(struct jobfile, name),
     "the job's name, instead of the file's"},
    {OPT_LIST, 0, "kernel", "OP=NAME", offsetof(struct jobfile, kernel),
     "add a rule to kernels.rule: OP=NAME, OP=NAME? or OP=!NAME"},
    {OPT_TEXT, 0, "check-kernels", "WHICH", offsetof(struct jobfile, check),
     "sets kernels.check: off, first, sample:N or all"},
    {0},
};

/* Read once: a sweep makes many jobs of it. */
static int read_stdin(struct spec *s, struct err *e)
{
    static struct buf text;
    size_t n;

    if (!text.data) {
        do {
            buf_reserve(&text, 65536);
            n = fread(text.data + text.len, 1, 65536, stdin);
            text.len += n;
        } while (n > 0 && text.len <= SPEC_TEXT_MAX);
        buf_add(&text, "", 0);
    }
    if (ferror(stdin))
        return err_sys(e, ERR_FAILED, errno, "standard input");
    return spec_load_text(s, "stdin", text.data, text.len, e);
}

static int override(const struct jobfile *o, struct spec *s, struct err *e)
{
    int rc = 0;

    for (size_t i = 0; i < o->set.n && rc == 0; i++)
        rc = spec_set(s, o->set.items[i], e);
    for (size_t i = 0; i < o->kernel.n && rc == 0; i++)
        rc = spec_add(s, "kernels.rule", o->kernel.items[i], "--kernel", e);
    if (rc == 0 && o->check)
        rc = spec_put(s, "kernels.check", o->check, "--check-kernels", e);
    if (rc == 0 && o->name)
        rc = spec_put(s, "name", o->name, "--name", e);
    return rc;
}

static int read_job(const struct jobfile *o, const char *file, const char *const *more,
                    size_t n, struct spec *s, struct err *e)
{
    char cwd[4096];
    int rc = strcmp(file, "-") == 0 ? read_stdin(s, e) : spec_load_file(s, file, e);

    if (rc == 0)
        rc = override(o, s, e);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = spec_set(s, more[i], e);
    if (rc == 0 && !getcwd(cwd, sizeof cwd))
        rc = err_sys(e, ERR_FAILED, errno, "the current folder");
    if (rc == 0) {
        spec_anchor(s, cwd);
        rc = spec_resolve(s, e);
    }
    return rc < 0 ? rc : fit_resolve(s, e);
}

int jobfile_read(const struct jobfile *o, int argc, char **args, struct spec **out,
                 struct err *e)
{
    return jobfile_read_with(o, argc, args, NULL, 0, out, e);
}

int jobfile_read_with(const struct jobfile *o, int argc, char **args,
                      const char *const *more, size_t n, struct spec **out,
                      struct err *e)
{
    const char *file = o->file ? o->file : argc ? args[0] : NULL;
    struct spec *s;
    int rc;

    if (!file)
        return err_set(e, ERR_USAGE, "needs JOB.yaml, or - for standard input");
    if (o->file && argc)
        return err_set(e, ERR_USAGE, "takes one job file, got \"%s\" and \"%s\"",
                       o->file, args[0]);
    s = spec_create();
    rc = read_job(o, file, more, n, s, e);
    if (rc < 0) {
        spec_destroy(s);
        return rc;
    }
    *out = s;
    return 0;
}

void jobfile_hint(const struct client *c, const struct spec *s)
{
    struct buf lines = {0};

    spec_hints(s, &lines);
    for (char *line = lines.data, *next; line && *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = '\0';
        client_say(c, "hint: %s", line);
    }
    buf_free(&lines);
}

void jobfile_print(const struct client *c, struct spec *s)
{
    struct buf yaml = {0};
    json_t *origins;

    if (!c->opt.json) {
        spec_print_yaml(s, &yaml);
        fwrite(yaml.data, 1, yaml.len, stdout);
        buf_free(&yaml);
        return;
    }
    origins = json_object();
    for (size_t i = 0; i < nrules; i++) {
        const char *origin = spec_origin(s, rules[i].path);

        if (origin)
            json_object_set_new(origins, rules[i].path, json_string(origin));
    }
    client_print_json(
        json_pack("{soso}", "job", spec_to_json(spec_job(s)), "origins", origins));
}

/* Whether a job was accepted must be known, so a signal waits: the same key makes
 * no second job. */
static int submit(struct client *c, const Wire__Submit *q, int wait_ms,
                  Wire__SubmitReply **reply, struct err *e)
{
    int rc, tries = 0;

    do {
        rc = client_call(c, WIRE__TYPE__SUBMIT, q, wait_ms, reply, e);
    } while (rc == ERR_FAILED && term_has_signal() && tries++ < SUBMIT_TRIES);
    return rc;
}

static const struct {
    const char *word;
    Wire__Need need;
} needs[] = {
    {"ok:", WIRE__NEED__OK},
    {"any:", WIRE__NEED__ANY},
    {"notok:", WIRE__NEED__NOT_OK},
    {"", WIRE__NEED__OK},
};

static int read_need(const char *text, Wire__After *m, struct err *e)
{
    size_t i = 0;
    int rc;

    while (!str_starts(text, needs[i].word))
        i++;
    wire__after__init(m);
    m->has_need = m->has_id = true;
    m->need = needs[i].need;
    rc = client_id(text + strlen(needs[i].word), &m->id, NULL);
    return rc == 0
               ? 0
               : err_set(e, ERR_USAGE,
                         "--after: must be ok:ID, any:ID or notok:ID, got \"%.60s\"",
                         text);
}

static int read_needs(struct client *c, const struct opt_list *after, Wire__Submit *q,
                      struct err *e)
{
    size_t n = after ? after->n : 0;
    int rc = 0;

    q->after = arena_calloc(c->arena, n + 1, sizeof(Wire__After *));
    for (q->n_after = 0; q->n_after < n && rc == 0; q->n_after++) {
        q->after[q->n_after] = arena_calloc(c->arena, 1, sizeof(Wire__After));
        rc = read_need(after->items[q->n_after], q->after[q->n_after], e);
    }
    return rc;
}

static int pack_jobs(struct client *c, const struct spec *const *jobs, size_t n,
                     Wire__Submit *q, struct err *e)
{
    q->more = arena_calloc(c->arena, n, sizeof *q->more);
    for (size_t i = 0; i < n; i++) {
        struct buf packed = {0};
        ProtobufCBinaryData *to = i == 0 ? &q->job : &q->more[q->n_more++];
        int rc = spec_pack(jobs[i], &packed, e);

        if (rc < 0)
            return rc;
        to->len = packed.len;
        to->data = arena_memdup(c->arena, packed.data, packed.len);
        buf_free(&packed);
    }
    q->has_job = true;
    return 0;
}

/* What nnd may need to look at rules for kernels, and for devices; processors are
 * there. */
static int look_ms(const struct spec *const *jobs, size_t n)
{
    int looks = 0;

    for (size_t i = 0; i < n && i < LOOKS_MAX; i++) {
        const Nnd__Kernels *k = spec_job(jobs[i])->kernels;

        looks += k->n_rule > 0 || strcmp(k->device, "cpu") != 0;
    }
    return PLUGINS_MS * ((looks + LOOKS - 1) / LOOKS);
}

int jobfile_submit(struct client *c, const struct spec *const *jobs, size_t n,
                   const struct jobfile_terms *t, uint64_t *id, bool *known,
                   struct err *e)
{
    Wire__Submit q = WIRE__SUBMIT__INIT;
    Wire__SubmitReply *reply;
    char cwd[4096], own_key[33];
    int rc = pack_jobs(c, jobs, n, &q, e);

    if (rc == 0)
        rc = read_needs(c, t->after, &q, e);
    if (rc == 0 && !getcwd(cwd, sizeof cwd))
        rc = err_sys(e, ERR_FAILED, errno, "the current folder");
    if (rc < 0)
        return rc;
    chan_key(own_key);
    q.key = t->key ? (char *)t->key : own_key;
    q.cwd = cwd;
    q.has_hold = q.hold = t->hold;
    q.label = (char **)t->labels;
    q.n_label = t->labels ? n : 0;
    rc = submit(c, &q, look_ms(jobs, n), &reply, e);
    if (rc < 0)
        return rc;
    *id = reply->id;
    *known = reply->known;
    chan_free(&reply->base);
    return 0;
}

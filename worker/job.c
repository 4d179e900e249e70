/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - jobs out of files and checkpoints.
 */
#include "worker/job.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "train/checkpoint.h"
#include "worker/world.h"

/* What was packed holds zeros, for every field is written; text holds none. */
static bool is_packed(const struct buf *b)
{
    return b->len && memchr(b->data, 0, b->len) != NULL;
}

static int read_text(const char *path, const struct buf *b, struct spec **out,
                     struct err *e)
{
    struct spec *s = spec_create();
    int rc = spec_load_text(s, path, b->data ? b->data : "", b->len, e);

    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    return rc;
}

static int read_file(const char *path, struct spec **out, struct err *e)
{
    struct buf b = {0};
    int rc = fs_read(path, SPEC_TEXT_MAX, &b, e);

    if (rc == 0 && !is_packed(&b))
        rc = read_text(path, &b, out, e);
    else if (rc == 0 && (rc = spec_unpack(b.data, b.len, out, e)) < 0)
        err_prefix(e, "%s", path);
    buf_free(&b);
    return rc;
}

static int override(struct spec *s, const struct arg_list *set, struct err *e)
{
    char cwd[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < set->n; i++)
        rc = spec_set(s, set->value[i], e);
    if (rc < 0)
        return rc;
    spec_anchor(s, getcwd(cwd, sizeof cwd) ? cwd : "/");
    return spec_resolve(s, e);
}

int job_read(const char *path, const struct arg_list *set, struct spec **out,
             struct err *e)
{
    struct spec *s;
    int rc = read_file(path, &s, e);

    if (rc < 0)
        return rc;
    rc = override(s, set, e);
    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    return rc;
}

/* JSON is YAML; the paths in it are absolute already. */
static int parse_json(const char *path, const struct buf *json, struct spec **out,
                      struct err *e)
{
    struct spec *s;
    int rc = read_text(path, json, &s, e);

    if (rc < 0)
        return rc;
    rc = spec_resolve(s, e);
    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    return rc;
}

int job_of_checkpoint(const char *path, struct spec **out, struct lexicon *lexicon,
                      struct err *e)
{
    struct buf job = {0}, text = {0};
    struct spec *s = NULL;
    int rc = checkpoint_read_job(path, &job, &text, e);

    if (rc == 0)
        rc = parse_json(path, &job, &s, e);
    if (rc == 0)
        rc = lexicon_load(path, text.data, text.len, lexicon, e);
    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    buf_free(&job);
    buf_free(&text);
    return rc;
}

/* `wants` of the job, 0 for as many as the tokenizer has. */
static int count_ids(const char *key, uint32_t wants, const struct tokenizer *t,
                     uint32_t *out, struct err *e)
{
    uint32_t has = tokenizer_vocab(t);

    if (wants && wants < has)
        return err_set(
            e, ERR_SPEC,
            "%s: wanted at least the %u tokens of the %s tokenizer, found %u", key, has,
            tokenizer_name(t), wants);
    *out = wants ? wants : has;
    return 0;
}

static int source_vocab(struct spec *s, const struct lexicon *l, struct err *e)
{
    static const char key[] = "model.source_vocab";
    char text[16];
    uint32_t n;

    if (count_ids(key, spec_job(s)->model->source_vocab, lexicon_source(l), &n, e) < 0)
        return e->code;
    snprintf(text, sizeof text, "%u", n);
    if (n == spec_job(s)->model->source_vocab)
        return 0;
    return spec_put(s, key, text, "tokenizer", e) < 0 ? e->code : spec_resolve(s, e);
}

int job_vocab(struct spec *s, const struct lexicon *l, int64_t *out, struct err *e)
{
    const Nnd__Job *job = spec_job(s);
    uint32_t n;

    if (count_ids("model.vocab", job->model->vocab, l->target, &n, e) < 0)
        return e->code;
    if (job->data->format == NND__DATA__FORMAT__PAIRS && source_vocab(s, l, e) < 0)
        return e->code;
    *out = n;
    return 0;
}

int job_json(const Nnd__Job *job, struct buf *out, struct err *e)
{
    json_t *j = spec_to_json(job);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    if (!text)
        return err_set(e, ERR_NOMEM, "memory: the job as JSON");
    buf_puts(out, text);
    free(text);
    return 0;
}

/* --- teachers ------------------------------------------------------------- */

/* Ids have to mean the same on both sides. */
static int same_words(const struct lexicon *mine, const struct lexicon *theirs,
                      const char *path, struct err *e)
{
    struct buf a = {0}, b = {0};
    int rc = lexicon_save(mine, &a, e);

    if (rc == 0)
        rc = lexicon_save(theirs, &b, e);
    if (rc == 0 && (a.len != b.len || memcmp(a.data, b.data, a.len) != 0))
        rc = err_set(e, ERR_SPEC,
                     "distill.teacher: %s: wanted the student's vocabulary, found "
                     "another",
                     path);
    buf_free(&a);
    buf_free(&b);
    return rc;
}

static bool is_hugging_face(const char *folder)
{
    char path[PATH_MAX + 16];

    snprintf(path, sizeof path, "%s/config.json", folder);
    return fs_exists(path);
}

int job_teacher(const Nnd__Job *student, const struct lexicon *words,
                struct comm *world, char path[PATH_MAX], struct spec **out,
                struct err *e)
{
    struct lexicon theirs = {0};
    struct buf notes = {0};
    int rc;

    *out = NULL;
    if (!student->distill || !*student->distill->teacher)
        return 0;
    rc = checkpoint_newest(student->distill->teacher, world, path, PATH_MAX, &notes, e);
    if (comm_rank(world) == 0)
        world_warn(notes.data);
    buf_free(&notes);
    if (rc < 0 && is_hugging_face(student->distill->teacher))
        rc = err_set(e, ERR_SPEC,
                     "%s: wanted a checkpoint, found a folder of Hugging Face's: nnctl "
                     "import makes one of it",
                     student->distill->teacher);
    if (rc == 0)
        rc = job_of_checkpoint(path, out, &theirs, e);
    if (rc < 0)
        err_prefix(e, "distill.teacher");
    if (rc == 0)
        rc = same_words(words, &theirs, path, e);
    lexicon_free(&theirs);
    return rc;
}

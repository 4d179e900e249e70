/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - jobs out of files and checkpoints.
 */
#include "worker/job.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "train/checkpoint.h"

static bool is_packed(const char *path)
{
    size_t n = strlen(path);

    return n > 3 && strcmp(path + n - 3, ".pb") == 0;
}

static int read_packed(const char *path, struct spec **out, struct err *e)
{
    struct buf b = {0};
    int rc = fs_read(path, SPEC_PACKED_MAX, &b, e);

    if (rc == 0 && (rc = spec_unpack(b.data, b.len, out, e)) < 0)
        err_prefix(e, "%s", path);
    buf_free(&b);
    return rc;
}

static int read_yaml(const char *path, struct spec **out, struct err *e)
{
    struct spec *s = spec_create();
    int rc = spec_load_file(s, path, e);

    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
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
    int rc = is_packed(path) ? read_packed(path, &s, e) : read_yaml(path, &s, e);

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
static int parse_job(const char *path, const struct buf *json, struct spec **out,
                     struct err *e)
{
    struct spec *s = spec_create();
    int rc = spec_load_text(s, path, json->data, json->len, e);

    if (rc == 0)
        rc = spec_resolve(s, e);
    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    return rc;
}

int job_of_checkpoint(const char *path, struct spec **out, struct tokenizer **tokens,
                      struct err *e)
{
    struct buf job = {0}, text = {0};
    struct spec *s = NULL;
    int rc = checkpoint_read_job(path, &job, &text, e);

    if (rc == 0)
        rc = parse_job(path, &job, &s, e);
    if (rc == 0)
        rc = tokenizer_load(path, text.data, text.len, tokens, e);
    if (rc < 0)
        spec_destroy(s);
    else
        *out = s;
    buf_free(&job);
    buf_free(&text);
    return rc;
}

int job_vocab(const Nnd__Job *job, const struct tokenizer *t, int64_t *out,
              struct err *e)
{
    uint32_t has = tokenizer_vocab(t), wants = job->model->vocab;

    if (wants && wants < has)
        return err_set(e, ERR_SPEC,
                       "model.vocab: wanted at least the %u tokens of the %s "
                       "tokenizer, found %u",
                       has, tokenizer_name(t), wants);
    *out = wants ? wants : has;
    return 0;
}

int job_json(const Nnd__Job *job, struct buf *out, struct err *e)
{
    json_t *j = spec_to_json(job);
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;

    json_decref(j);
    if (!text)
        return err_set(e, ERR_FAILED, "memory: the job as JSON");
    buf_puts(out, text);
    free(text);
    return 0;
}

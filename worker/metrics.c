/* SPDX-License-Identifier: Apache-2.0 */
/*
 * metrics.c - metrics.jsonl, and the same for TensorBoard.
 */
#include "worker/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/tfevents.h"

struct metrics_file {
    char *path;
    int fd;
    struct tfevents *board;
};

double metrics_tokens_per_s(const struct metrics *m)
{
    return (double)m->report.targets / m->report.seconds;
}

/* --- a line --------------------------------------------------------------- */

static void put_real(json_t *j, const char *key, double v)
{
    if (isfinite(v))
        json_object_set_new(j, key, json_real(v));
}

static void put_int(json_t *j, const char *key, int64_t v)
{
    json_object_set_new(j, key, json_integer(v));
}

/* The loss is there already. */
static void put_quality(json_t *j, const struct metrics *m)
{
    char key[64];

    if (!m->quality || isnan(m->val_loss) || strcmp(m->quality, "loss") == 0)
        return;
    snprintf(key, sizeof key, "val_%s", m->quality);
    put_real(j, key, m->value);
}

static json_t *to_json(const struct metrics *m)
{
    const struct step_report *r = &m->report;
    json_t *j = json_object();
    char now[32];

    clock_iso(clock_wall_us(), now, sizeof now);
    put_int(j, "step", r->step);
    put_real(j, "loss", r->loss);
    put_real(j, "val_loss", m->val_loss);
    put_quality(j, m);
    put_real(j, "lr", r->lr);
    put_real(j, "grad_norm", r->grad_norm);
    put_real(j, "tokens_per_s", metrics_tokens_per_s(m));
    put_real(j, "step_seconds", r->seconds);
    if (r->send_seconds > 0) {
        put_real(j, "send_seconds", r->send_seconds);
        put_real(j, "send_hidden", r->send_hidden);
    }
    put_real(j, "loss_scale", r->loss_scale);
    put_int(j, "tokens", m->tokens);
    if (r->moe_layers) {
        put_real(j, "aux_loss", r->aux_loss);
        put_real(j, "z_loss", r->z_loss);
        put_int(j, "dead_experts", r->dead_experts);
        put_real(j, "max_overload", r->overload);
    }
    if (r->skipped)
        json_object_set_new(j, "skipped", json_true());
    put_int(j, "attempt", m->attempt);
    json_object_set_new(j, "time", json_string(now));
    return j;
}

static int add_to_board(struct metrics_file *f, const struct metrics *m, struct err *e)
{
    const struct step_report *r = &m->report;
    const struct tfevents_value values[] = {
        {"loss/train", (float)r->loss},
        {"loss/valid", (float)m->val_loss},
        {"train/lr", (float)r->lr},
        {"train/grad_norm", (float)r->grad_norm},
        {"train/tokens_per_s", (float)metrics_tokens_per_s(m)},
        {"train/send_hidden", r->send_seconds > 0 ? (float)r->send_hidden : NAN},
        {"moe/aux_loss", r->moe_layers ? (float)r->aux_loss : NAN},
        {"moe/dead_experts", r->moe_layers ? (float)r->dead_experts : NAN},
        {"moe/max_overload", r->moe_layers ? (float)r->overload : NAN},
    };

    return tfevents_add(f->board, r->step, values, sizeof values / sizeof *values, e);
}

static int add_line(struct metrics_file *f, const struct metrics *m, struct err *e)
{
    json_t *j = to_json(m);
    char *text = json_dumps(j, JSON_COMPACT);
    size_t n = text ? strlen(text) : 0;
    ssize_t wrote = -1;

    json_decref(j);
    if (!text)
        return err_set(e, ERR_NOMEM, "memory: a line of %s", f->path);
    text[n] = '\n'; /* in place of the NUL: all of it in one write */
    do
        wrote = write(f->fd, text, n + 1);
    while (wrote < 0 && errno == EINTR);
    free(text);
    if (wrote < 0)
        return err_sys(e, ERR_FAILED, errno, "write %s", f->path);
    if ((size_t)wrote != n + 1)
        return err_set(e, ERR_FAILED, "write %s: wanted %zu bytes, found room for %zd",
                       f->path, n + 1, wrote);
    return 0;
}

int metrics_add(struct metrics_file *f, const struct metrics *m, struct err *e)
{
    int rc = add_line(f, m, e);

    return rc < 0 ? rc : add_to_board(f, m, e);
}

/* --- the file ------------------------------------------------------------- */

/* The step that a line is about; -1 where it is none of ours, or cut short. */
static int64_t step_of(const char *line, size_t len)
{
    json_t *j = len && line[len - 1] == '\n' ? json_loadb(line, len, 0, NULL) : NULL;
    json_t *step = json_object_get(j, "step");
    int64_t v = json_is_integer(step) ? json_integer_value(step) : -1;

    json_decref(j);
    return v;
}

/* Where the first line begins that does not stay.  Steps only grow in the file, so
 * nothing after it stays either. */
static int find_cut(const char *path, int64_t last, off_t *cut, struct err *e)
{
    FILE *in = fopen(path, "re");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    int rc = 0;

    *cut = 0;
    if (!in)
        return err_sys(e, err_code_of(errno), errno, "open %s", path);
    while ((n = getline(&line, &room, in)) > 0) {
        int64_t step = step_of(line, (size_t)n);

        if (step < 0 || step > last)
            break;
        *cut += n;
    }
    if (ferror(in))
        rc = err_sys(e, ERR_FAILED, errno, "read %s", path);
    free(line);
    fclose(in);
    return rc;
}

/* TensorBoard's files only grow: a new one hides what the others say of later steps. */
static int start_board(struct metrics_file *f, int64_t last, struct err *e)
{
    const char *slash = strrchr(f->path, '/');
    char dir[PATH_MAX];

    snprintf(dir, sizeof dir, "%.*s/tensorboard", slash ? (int)(slash - f->path) : 1,
             slash ? f->path : ".");
    tfevents_close(f->board);
    f->board = NULL;
    return tfevents_open(dir, last + 1, &f->board, e);
}

int metrics_drop(struct metrics_file *f, int64_t last, struct err *e)
{
    off_t cut;
    int rc = find_cut(f->path, last, &cut, e);

    if (rc == 0 && ftruncate(f->fd, cut) < 0)
        rc = err_sys(e, ERR_FAILED, errno, "cut %s", f->path);
    return rc < 0 ? rc : start_board(f, last, e);
}

int metrics_open(const char *path, int64_t last, struct metrics_file **out,
                 struct err *e)
{
    struct metrics_file *f = calloc(1, sizeof *f);
    int rc;

    if (!f || !(f->path = strdup(path))) {
        free(f);
        return err_sys(e, ERR_NOMEM, ENOMEM, "open %s", path);
    }
    f->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (f->fd < 0)
        rc = err_sys(e, err_code_of(errno), errno, "open %s", path);
    else
        rc = metrics_drop(f, last, e);
    if (rc < 0)
        metrics_close(f);
    else
        *out = f;
    return rc;
}

void metrics_close(struct metrics_file *f)
{
    if (!f)
        return;
    if (f->fd >= 0)
        close(f->fd);
    tfevents_close(f->board);
    free(f->path);
    free(f);
}

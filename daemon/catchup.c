/* SPDX-License-Identifier: Apache-2.0 */
/*
 * catchup.c - reads a job's files; what is not understood is passed over.
 */
#include "daemon/catchup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "base/buf.h"
#include "base/str.h"
#include "daemon/job.h"

enum { TAIL = 64 << 10 };

/* --- metrics -------------------------------------------------------------- */

/* A JSON object's numbers under the names of RankMetric's fields. */
static void take_object(const json_t *object, Wire__RankMetric *m)
{
    const ProtobufCMessageDescriptor *d = &wire__rank_metric__descriptor;

    for (unsigned i = 0; i < d->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &d->fields[i];
        const json_t *v = json_object_get(object, f->name);
        char *at = (char *)m + f->offset;

        if (!v || f->type == PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (f->type == PROTOBUF_C_TYPE_DOUBLE && json_is_number(v))
            *(double *)at = json_number_value(v);
        else if (f->type == PROTOBUF_C_TYPE_UINT64 && json_is_integer(v))
            *(uint64_t *)at = (uint64_t)json_integer_value(v);
        else if (f->type == PROTOBUF_C_TYPE_UINT32 && json_is_integer(v))
            *(uint32_t *)at = (uint32_t)json_integer_value(v);
        else if (f->type == PROTOBUF_C_TYPE_BOOL && json_is_boolean(v))
            *(protobuf_c_boolean *)at = json_is_true(v);
        else
            continue;
        *(protobuf_c_boolean *)((char *)m + f->quantifier_offset) = 1;
    }
}

/* The end of a file, from the first whole line on. */
static void read_tail(const char *path, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;
    off_t from;
    ssize_t n;
    char *nl;

    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        from = st.st_size > TAIL ? st.st_size - TAIL : 0;
        buf_reserve(out, TAIL + 1);
        n = pread(fd, out->data, TAIL, from);
        out->len = n > 0 ? (size_t)n : 0;
        out->data[out->len] = '\0';
        nl = from > 0 ? memchr(out->data, '\n', out->len) : NULL;
        if (nl) {
            out->len -= (size_t)(nl + 1 - out->data);
            memmove(out->data, nl + 1, out->len + 1);
        }
    }
    close(fd);
}

uint32_t catchup_metrics(const char *job_dir, Wire__RankMetric *m)
{
    char path[PATH_MAX];
    struct buf text = {0};
    char *save = NULL;
    uint32_t attempt = 0;

    snprintf(path, sizeof path, "%.4000s/metrics.jsonl", job_dir);
    read_tail(path, &text);
    for (char *l = text.data ? strtok_r(text.data, "\n", &save) : NULL; l;
         l = strtok_r(NULL, "\n", &save)) {
        json_t *object = json_loads(l, 0, NULL);

        if (json_is_object(object)) {
            take_object(object, m);
            attempt = (uint32_t)json_integer_value(json_object_get(object, "attempt"));
        }
        json_decref(object);
    }
    buf_free(&text);
    return attempt;
}

/* --- checkpoints ---------------------------------------------------------- */

static bool is_whole(const char *job_dir, const char *name, uint64_t *step)
{
    char path[PATH_MAX];
    const char *digits = name + strlen("step-");

    if (!str_starts(name, "step-"))
        return false;
    digits += strspn(digits, "0");
    *step = 0;
    if (*digits && !str_to_u64(digits, step))
        return false;
    snprintf(path, sizeof path, "%.3800s/checkpoints/%.200s/manifest.json", job_dir,
             name);
    return access(path, R_OK) == 0;
}

bool catchup_checkpoint(const char *job_dir, char out[PATH_MAX], uint64_t *step)
{
    char path[PATH_MAX];
    struct dirent *entry;
    uint64_t n, best = 0;
    DIR *d;

    snprintf(path, sizeof path, "%.4000s/checkpoints", job_dir);
    d = opendir(path);
    while (d && (entry = readdir(d))) {
        if (!is_whole(job_dir, entry->d_name, &n) || n <= best)
            continue;
        best = n;
        snprintf(out, PATH_MAX, "%.3800s/checkpoints/%.200s", job_dir, entry->d_name);
    }
    if (d)
        closedir(d);
    *step = best;
    return best > 0;
}

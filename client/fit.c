/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fit.c - asks `nnd-worker plan` for the size of a step.
 */
#include "client/fit.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/child.h"

int fit_job_file(struct spec *s, struct err *e)
{
    struct buf yaml = {0};
    int fd = memfd_create("job", 0), rc = 0;

    spec_print_yaml(s, &yaml);
    if (fd < 0 || write(fd, yaml.data, yaml.len) != (ssize_t)yaml.len)
        rc = err_sys(e, ERR_FAILED, errno, "job for nnd-worker");
    buf_free(&yaml);
    if (rc < 0 && fd >= 0)
        close(fd);
    return rc < 0 ? rc : fd;
}

_Noreturn static void become_worker(int job, int out)
{
    struct child_args a = {.arena = arena_create()};
    struct err e;
    char path[40];

    snprintf(path, sizeof path, "/proc/self/fd/%d", job);
    child_arg(&a, "nnd-worker");
    child_arg(&a, "plan");
    child_option(&a, "--job", path);
    child_arg(&a, "--json");
    if (dup2(out, STDOUT_FILENO) >= 0)
        child_become(CHILD_WORKER, &a, &e);
    fprintf(stderr, "nnctl: %s\n", e.text);
    _exit(1);
}

/* All that the child writes; its exit status. */
static int hear(int from, pid_t pid, struct buf *out)
{
    ssize_t n;
    int status;

    do {
        buf_reserve(out, 65536);
        n = read(from, out->data + out->len, 65536);
        out->len += n > 0 ? (size_t)n : 0;
    } while (n > 0 || (n < 0 && errno == EINTR));
    buf_add(out, "", 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int ask(int job, struct buf *out, struct err *e)
{
    int ends[2], status;
    pid_t pid;

    if (pipe(ends) < 0)
        return err_sys(e, ERR_FAILED, errno, "nnd-worker");
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        close(ends[0]);
        become_worker(job, ends[1]);
    }
    close(ends[1]);
    status = pid < 0 ? 1 : hear(ends[0], pid, out);
    close(ends[0]);
    return status ? err_set(e, status > 9 ? ERR_FAILED : (enum err_code) - status,
                            "train.batch: fit: nnd-worker could not plan the job")
                  : 0;
}

static int store(struct spec *s, const json_t *plan, const char *path, const char *key,
                 struct err *e)
{
    const json_t *value = json_object_get(plan, key);
    char text[24];

    if (!json_is_integer(value))
        return err_set(e, ERR_PROTOCOL, "nnd-worker: plan: wanted \"%s\"", key);
    snprintf(text, sizeof text, "%lld", (long long)json_integer_value(value));
    return spec_put(s, path, text, "fit to memory", e);
}

int fit_resolve(struct spec *s, struct err *e)
{
    struct buf out = {0};
    json_t *plan;
    int job, rc;

    if (spec_job(s)->train->batch > 0)
        return 0;
    job = fit_job_file(s, e);
    if (job < 0)
        return job;
    rc = ask(job, &out, e);
    close(job);
    plan = rc == 0 ? json_loadb(out.data, out.len, 0, NULL) : NULL;
    if (rc == 0)
        rc = store(s, plan, "train.batch", "batch", e);
    if (rc == 0)
        rc = store(s, plan, "train.batch_tokens", "batch_tokens", e);
    json_decref(plan);
    buf_free(&out);
    return rc < 0 ? rc : spec_resolve(s, e);
}

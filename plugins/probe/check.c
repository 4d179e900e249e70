/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.c - "check": every kernel of a plugin against its contract, each in a
 * child of its own, so that one that crashes is a failure among others.
 */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "child.h"
#include "endure.h"
#include "family.h"
#include "judge.h"
#include "kernel/loader.h"
#include "kernel/op.h"
#include "probe.h"

enum { CHECK_SECONDS = 300, THREADS = 3, FULL_THREADS = 8, TOGETHER = 3, NAMED = 6 };
enum { EXIT_UNABLE = -ERR_RETRY }; /* nothing failed, but not all could be tried */

static const struct {
    const char *name;
    unsigned what;
} modes[] = {
    {"support", JUDGE_SUPPORT}, {"correct", JUDGE_CORRECT}, {"grad", JUDGE_GRAD},
    {"hygiene", JUDGE_HYGIENE}, {"endure", JUDGE_ENDURE},   {"huge", JUDGE_HUGE},
};

struct job {
    const char *path, *name; /* of the file, of the kernel */
    size_t index;            /* of the kernel              */
    struct judge_scope scope;
};

/* Is it the mode that was asked for?  "endure" and "huge" may say how much: "=N". */
static bool is_mode(const char *name, unsigned what, const char *asked, int64_t *number)
{
    size_t n = strlen(name);
    *number = 0;
    if (strncmp(name, asked, n) != 0)
        return false;
    return !asked[n] || ((what & (JUDGE_ENDURE | JUDGE_HUGE)) && asked[n] == '=' &&
                         str_to_i64(asked + n + 1, number) && *number > 0);
}

/* What is checked: of a mode, or of --full, or of most kernels most of the time; 0:
 * there is no such mode. */
static unsigned what_of(const struct options *o, int64_t *number)
{
    for (size_t i = 0; o->mode && i < sizeof modes / sizeof modes[0]; i++)
        if (is_mode(modes[i].name, modes[i].what, o->mode, number))
            return modes[i].what;
    *number = 0;
    return o->mode   ? 0
           : o->full ? JUDGE_CORRECT | JUDGE_GRAD | JUDGE_HYGIENE
                     : JUDGE_CORRECT | JUDGE_HYGIENE;
}

static struct judge_scope scope_of(const struct options *o)
{
    int64_t number;
    unsigned what = what_of(o, &number);
    return (struct judge_scope){.what = what,
                                .number = number,
                                .dtype = o->dtype,
                                .threads = o->full ? FULL_THREADS : THREADS,
                                .together = o->full ? 30 * TOGETHER : TOGETHER};
}

const struct nnd_device_ops *probe_device(const struct kernels *ks,
                                          const struct nnd_plugin *p, const char *type)
{
    for (uint32_t i = 0; i < p->ndevices; i++)
        if (strcmp(p->devices[i]->type, type) == 0) {
            child_device();
            return p->devices[i];
        }
    return kernels_device(ks, type);
}

static json_t *lines_of(const char *text)
{
    json_t *list = json_array();
    while (text && *text) {
        size_t n = strcspn(text, "\n");
        json_t *line = json_stringn(text, n);
        json_array_append_new(list, line ? line : json_string("(not UTF-8)"));
        text += n + (text[n] == '\n');
    }
    return list;
}

/* A check that has verified nothing has not passed, nor a promise that nothing could
 * break.  What rows are is known of the catalogue alone. */
static void close_verdict(const struct nnd_kernel *k, unsigned what, struct verdict *v)
{
    if (what == JUDGE_MEET) /* whatever is left over is seen by the first real call */
        return;
    bool promised = (k->flags & NND_K_INVARIANT) && (what & JUDGE_CORRECT);
    if (v->failed > JUDGE_FAILURES)
        buf_printf(&v->failures, "%s: left alone after %d failures\n", k->name,
                   v->failed);
    if (v->skip[0] || v->unable[0])
        return;
    if (v->trials == 0) {
        v->failed++;
        buf_printf(&v->failures, "%s: the suite has no call of it with such inputs\n",
                   k->name);
    } else if (v->refused == v->trials) {
        v->failed++;
        buf_printf(&v->failures, "%s: refused all %d trials, at last: %s\n", k->name,
                   v->trials, v->refusal);
    } else if (promised && !v->failed && !v->invariant && family_find(k->op)) {
        v->failed++;
        buf_printf(&v->failures,
                   "%s: promises NND_K_INVARIANT and takes no call that can show it\n",
                   k->name);
    }
}

/* In the child. */
static int judge(void *arg, struct buf *out, struct err *e)
{
    const struct job *job = arg;
    struct pool *pool;
    struct kernels *ks;
    const struct nnd_plugin *p;
    child_stage("loading");
    if (!job->path)
        return err_set(e, ERR_FAILED, "%s: the path of its plugin is not UTF-8",
                       job->name);
    if (pool_create(job->scope.threads, NULL, NULL, &pool, e) < 0 ||
        kernels_create(pool, &ks, e) < 0 ||
        loader_open(job->path, kernels_host(ks), &p, e) < 0)
        return -1;
    if (job->index >= p->nkernels)
        return err_set(e, ERR_FAILED, "%s: has fewer kernels than before", job->path);
    const struct nnd_kernel *k = p->kernels[job->index];
    struct verdict v = {0};
    bool alone = job->scope.what & (JUDGE_ENDURE | JUDGE_HUGE);
    (alone ? endure_kernel : judge_kernel)(ks, p, k, probe_device(ks, p, k->device),
                                           &job->scope, &v);
    close_verdict(k, job->scope.what, &v);
    json_t *j =
        json_pack("{s:i, s:i, s:i, s:i, s:s, s:s, s:f, s:s, s:o}", "trials", v.trials,
                  "refused", v.refused, "invariant", v.invariant, "failed", v.failed,
                  "skip", v.skip, "unable", v.unable, "used", v.used, "nearest",
                  v.nearest, "failures", lines_of(v.failures.data));
    char *text = j ? json_dumps(j, JSON_COMPACT) : NULL;
    if (!text)
        return err_set(e, ERR_FAILED, "%s: no verdict could be written", k->name);
    buf_puts(out, text);
    return 0;
}

void probe_condemn_kernel(const struct options *o, const json_t *plugin,
                          const json_t *kernel, const json_t *verdict,
                          const char *stage)
{
    const json_t *failures = json_object_get(verdict, "failures");
    probe_condemn(o, plugin, json_string_value(json_object_get(kernel, "name")),
                  json_string_value(json_object_get(kernel, "op")), stage,
                  json_string_value(json_array_get(failures, 0)));
}

/* A verdict on a kernel that took its process along. */
static json_t *broken(const char *kernel, bool late, const struct err *e)
{
    json_t *line = json_sprintf("%s: %s", kernel, e->text);
    return json_pack("{s:i, s:i, s:i, s:i, s:s, s:s, s:b, s:[o]}", "trials", 0,
                     "refused", 0, "invariant", 0, "failed", 1, "skip", "", "unable",
                     "", "late", late, "failures", line ? line : json_string(kernel));
}

/* On one that could not be tried. */
static json_t *untried(const struct err *e)
{
    json_t *why = json_string(e->text);
    return json_pack("{s:i, s:i, s:i, s:i, s:s, s:o, s:[]}", "trials", 0, "refused", 0,
                     "invariant", 0, "failed", 0, "skip", "", "unable",
                     why ? why : json_string("(not UTF-8)"), "failures");
}

static int number(const json_t *j, const char *key)
{
    return (int)json_integer_value(json_object_get(j, key));
}

static void print_verdict(const json_t *k, const json_t *v)
{
    const json_t *failures = json_object_get(v, "failures");
    const char *unable = probe_text(v, "unable");
    const char *skip = *unable ? unable : probe_text(v, "skip");
    bool near = json_real_value(json_object_get(v, "used")) > JUDGE_NEAR;
    printf("%-6s %-20s %-16s",
           number(v, "failed") ? "FAILED"
           : *unable           ? "unable"
           : *skip             ? "skip"
           : near              ? "warn"
                               : "ok",
           json_string_value(json_object_get(k, "name")),
           json_string_value(json_object_get(k, "op")));
    if (*skip && !number(v, "failed"))
        printf(" %s\n", skip);
    else
        printf(" %d trials, %d refused, %d failed\n", number(v, "trials"),
               number(v, "refused"), number(v, "failed"));
    for (size_t i = 0; i < json_array_size(failures); i++)
        printf("  %s\n", json_string_value(json_array_get(failures, i)));
    if (near)
        printf("  %s\n", json_string_value(json_object_get(v, "nearest")));
    fflush(stdout);
}

json_t *probe_judge(const json_t *plugin, size_t index, const struct judge_scope *scope,
                    double seconds, bool *sound)
{
    const json_t *k = json_array_get(json_object_get(plugin, "kernels"), index);
    struct job job = {json_string_value(json_object_get(plugin, "path")),
                      json_string_value(json_object_get(k, "name")), index, *scope};
    struct buf out = {0};
    struct err e = {0};
    int rc = child_run(judge, &job, seconds, &out, &e);
    json_t *v = rc == 0 ? json_loads(out.data, 0, NULL) : NULL;
    if (!v)
        v = rc == CHILD_SAID || rc == CHILD_UNABLE
                ? untried(&e)
                : broken(job.name, rc == CHILD_LATE, &e);
    *sound = number(v, "failed") == 0;
    buf_free(&out);
    return v;
}

/* Did it do what nobody should come upon?  A kernel that refused whatever was asked has
 * only shown nothing, and so has one that was given less time than the suite takes. */
static bool is_harm(const json_t *v, double seconds)
{
    if (json_is_true(json_object_get(v, "late")) && seconds < CHECK_SECONDS)
        return false;
    int trials = number(v, "trials");
    return number(v, "failed") > 0 &&
           (json_object_get(v, "used") == NULL || number(v, "refused") < trials);
}

/* Judge kernel `index` of a described plugin and put the verdict into it; what it means
 * for the program's exit status. */
static int check_kernel(const struct options *o, const json_t *plugin, size_t index)
{
    json_t *k = json_array_get(json_object_get(plugin, "kernels"), index);
    struct judge_scope scope = scope_of(o);
    double seconds = o->seconds > 0 ? o->seconds : CHECK_SECONDS;
    bool sound;
    json_t *v = probe_judge(plugin, index, &scope, seconds, &sound);
    int status = number(v, "failed") ? 1 : *probe_text(v, "unable") ? EXIT_UNABLE : 0;
    if (!o->json)
        print_verdict(k, v);
    if (is_harm(v, seconds))
        probe_condemn_kernel(o, plugin, k, v, "check");
    json_object_update(k, v);
    json_decref(v);
    return status;
}

bool probe_asks(const struct options *o, const char *kernel, const char *op)
{
    bool named = o->nrules == 0;
    for (int i = 0; i < o->nrules; i++)
        named |= strcmp(kernel, o->rules[i]) == 0;
    return named && (!o->op || op_matches(op, o->op));
}

static bool is_asked(const struct options *o, const json_t *kernel)
{
    return probe_asks(o, probe_text(kernel, "name"), probe_text(kernel, "op"));
}

/* What was asked for, and what there is; at most a line of it. */
static void no_kernel(const struct options *o, const json_t *plugin)
{
    const json_t *kernels = json_object_get(plugin, "kernels");
    size_t n = json_array_size(kernels);
    fprintf(stderr, "nnd-plugin-probe: %s: wanted", o->files[0]);
    for (int i = 0; i < o->nrules; i++)
        fprintf(stderr, "%s \"%s\"", i ? "," : " --kernel", o->rules[i]);
    if (o->op)
        fprintf(stderr, " --op \"%s\"", o->op);
    fprintf(stderr, ", found %s", n ? "" : "no kernel");
    for (size_t i = 0; i < n && i < NAMED; i++)
        fprintf(stderr, "%s%s (%s)", i ? ", " : "",
                probe_text(json_array_get(kernels, i), "name"),
                probe_text(json_array_get(kernels, i), "op"));
    fprintf(stderr, "%s\n", n > NAMED ? " and others" : "");
}

static int check_all(const struct options *o, json_t *plugin)
{
    json_t *kernels = json_object_get(plugin, "kernels");
    int status = 0;
    bool any = false;
    for (size_t i = 0; i < json_array_size(kernels); i++)
        if (is_asked(o, json_array_get(kernels, i))) {
            int one = check_kernel(o, plugin, i);
            status = one && status != 1 ? one : status;
            any = true;
        }
    if (!any)
        no_kernel(o, plugin);
    for (size_t i = json_array_size(kernels); i-- > 0;)
        if (!is_asked(o, json_array_get(kernels, i)))
            json_array_remove(kernels, i);
    return any ? status : 1;
}

static bool is_called(const char *mode, const char *name)
{
    return mode && strcmp(mode, name) == 0;
}

/* An option that the mode does nothing with was meant for something else. */
static int check_options(const struct options *o, struct err *e)
{
    bool perf = is_called(o->mode, "perf"), group = is_called(o->mode, "group");
    bool hard = is_called(o->mode, "correct") || is_called(o->mode, "hygiene");
    const struct {
        bool given, taken;
        const char *name;
    } all[] = {
        {o->op, !group, "op"},         {o->dtype, !group, "dtype"},
        {o->nrules, !group, "kernel"}, {o->full, !o->mode || hard, "full"},
        {o->shape, perf, "shape"},     {o->vs, perf, "vs"},
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].given && !all[i].taken)
            return err_set(e, ERR_USAGE, "check%s%s takes no --%s",
                           o->mode ? " --mode " : "", o->mode ? o->mode : "",
                           all[i].name);
    return o->dtype ? judge_dtype(o->dtype, e) : 0;
}

int probe_check(const struct options *o)
{
    struct err e;
    if (check_options(o, &e) < 0) {
        fprintf(stderr, "nnd-plugin-probe: %s\n", e.text);
        return probe_status(&e);
    }
    if (is_called(o->mode, "perf"))
        return probe_bench(o);
    if (is_called(o->mode, "group"))
        return probe_group(o);
    if (!scope_of(o).what) {
        fprintf(stderr,
                "nnd-plugin-probe: --mode wants support, correct, grad, perf, hygiene, "
                "endure[=N], huge[=N] or group, found \"%s\"\n",
                o->mode);
        return 2;
    }
    json_t *plugin = probe_describe(o, o->files[0]);
    int status = 1;
    if (json_is_true(json_object_get(plugin, "ok")))
        status = check_all(o, plugin);
    else if (!o->json)
        fprintf(stderr, "nnd-plugin-probe: %s\n",
                json_string_value(json_object_get(plugin, "error")));
    if (o->json) {
        json_object_set_new(plugin, "version_of_format", json_integer(1));
        json_object_set_new(plugin, "ok", json_boolean(status == 0));
        json_dumpf(plugin, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(plugin);
    return status;
}

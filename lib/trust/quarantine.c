/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quarantine.c - notes as JSON, a file of them for each plugin file.
 */
#include "trust/quarantine.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/fs.h"

enum { FORMAT = 1, FILE_MAX = 1 << 20, PREFIX_MIN = 6 };

const char *quarantine_arch(char out[128])
{
    struct utsname u;
    char line[256], model[100] = "";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %99[^\n]", model) == 1)
            break;
    if (f)
        fclose(f);
    snprintf(out, 128, "%.20s%s%.99s", uname(&u) == 0 ? u.machine : "?",
             model[0] ? " " : "", model);
    return out;
}

/* --- reading -------------------------------------------------------------- */

static const char *text_of(struct arena *a, const json_t *j, const char *key)
{
    const char *s = json_string_value(json_object_get(j, key));
    return s ? arena_strdup(a, s) : "";
}

static void read_notes(const json_t *list, struct arena *a, struct quarantine_file *out)
{
    size_t n = json_array_size(list);
    struct quarantine_note *notes = arena_calloc(a, n + 1, sizeof *notes);
    for (size_t i = 0; i < n; i++) {
        const json_t *j = json_array_get(list, i);
        notes[i] = (struct quarantine_note){
            .kernel = text_of(a, j, "kernel"),
            .op = text_of(a, j, "op"),
            .stage = text_of(a, j, "stage"),
            .reason = text_of(a, j, "reason"),
            .abi = text_of(a, j, "abi"),
            .arch = text_of(a, j, "arch"),
            .time = text_of(a, j, "time"),
            .suspect = json_is_true(json_object_get(j, "suspect")),
        };
    }
    out->notes = notes;
    out->nnotes = n;
}

static void path_of(const char *dir, const char *sha256, char *out, size_t size)
{
    snprintf(out, size, "%s/%s.json", dir, sha256);
}

/* A new reference, or NULL. */
static json_t *load(const char *dir, const char *sha256)
{
    char path[4300];
    struct buf b = {0};
    struct err e;
    json_t *j = NULL;
    path_of(dir, sha256, path, sizeof path);
    if (fs_read(path, FILE_MAX, &b, &e) == 0)
        j = json_loadb(b.data ? b.data : "", b.len, 0, NULL);
    buf_free(&b);
    return j;
}

void quarantine_read(const char *dir, const char *sha256, struct arena *a,
                     struct quarantine_file *out)
{
    json_t *j = load(dir, sha256);
    *out = (struct quarantine_file){.path = text_of(a, j, "path"),
                                    .plugin = text_of(a, j, "plugin"),
                                    .version = text_of(a, j, "version")};
    snprintf(out->sha256, sizeof out->sha256, "%s", sha256);
    read_notes(json_object_get(j, "notes"), a, out);
    json_decref(j);
}

const struct quarantine_note *quarantine_find(const struct quarantine_file *f,
                                              const char *kernel, bool suspects)
{
    for (size_t i = 0; i < f->nnotes; i++) {
        const struct quarantine_note *n = &f->notes[i];
        if (n->suspect && !suspects)
            continue;
        if (!n->kernel[0] || strcmp(n->kernel, kernel) == 0)
            return n;
    }
    return NULL;
}

/* --- writing -------------------------------------------------------------- */

/* Text as JSON can hold it. */
static json_t *string(const char *s)
{
    json_t *j = json_string(s ? s : "");
    return j ? j : json_string("(not UTF-8)");
}

static json_t *note_json(const struct quarantine_note *n)
{
    char arch[128], now[40];
    clock_iso(clock_wall_us(), now, sizeof now);
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "kernel",
                     string(n->kernel), "op", string(n->op), "stage", string(n->stage),
                     "reason", string(n->reason), "abi", string(n->abi), "arch",
                     string(n->arch ? n->arch : quarantine_arch(arch)), "time",
                     string(n->time ? n->time : now), "suspect", (int)n->suspect);
}

static bool is_text(const json_t *note, const char *key, const char *want)
{
    const char *s = json_string_value(json_object_get(note, key));
    return s && strcmp(s, want ? want : "") == 0;
}

static void put_note(json_t *notes, const struct quarantine_note *n)
{
    for (size_t i = json_array_size(notes); i-- > 0;) {
        const json_t *old = json_array_get(notes, i);
        if (is_text(old, "kernel", n->kernel) && is_text(old, "stage", n->stage))
            json_array_remove(notes, i);
    }
    json_array_append_new(notes, note_json(n));
}

static int add_locked(const char *dir, const struct quarantine_file *f,
                      const struct quarantine_note *note, struct err *e)
{
    char path[4300];
    json_t *old = load(dir, f->sha256), *notes = json_object_get(old, "notes");
    notes = json_is_array(notes) ? json_incref(notes) : json_array();
    put_note(notes, note);
    json_t *j =
        json_pack("{s:i, s:s, s:o, s:o, s:o, s:o}", "v", FORMAT, "sha256", f->sha256,
                  "path", string(f->path), "plugin", string(f->plugin), "version",
                  string(f->version), "notes", notes);
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    path_of(dir, f->sha256, path, sizeof path);
    int rc = text ? fs_replace(path, text, strlen(text), e)
                  : err_set(e, ERR_FAILED, "%s: cannot be written as JSON", path);
    free(text);
    json_decref(j);
    json_decref(old);
    return rc;
}

/* Ranks may find the same fault at the same time. */
int quarantine_add(const char *dir, const struct quarantine_file *file,
                   const struct quarantine_note *note, struct err *e)
{
    if (strlen(file->sha256) != SHA256_HEX - 1)
        return err_set(e, ERR_USAGE, "quarantine: wanted a SHA-256, found \"%s\"",
                       file->sha256);
    int rc = fs_mkdirs(dir, e);
    if (rc < 0)
        return rc;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) != 0)
        rc = err_sys(e, ERR_FAILED, errno, "quarantine %s", dir);
    else
        rc = add_locked(dir, file, note, e);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void mark_of(const char *dir, const char *sha256, char *out, size_t size)
{
    snprintf(out, size, "%s/%s.met", dir, sha256);
}

bool quarantine_trusts(const char *dir, const char *sha256)
{
    char path[4300];
    mark_of(dir, sha256, path, sizeof path);
    return fs_exists(path);
}

int quarantine_trust(const char *dir, const char *sha256, struct err *e)
{
    char path[4300];
    int rc = fs_mkdirs(dir, e);
    mark_of(dir, sha256, path, sizeof path);
    return rc < 0 ? rc : fs_replace(path, "", 0, e);
}

/* --- all of them ---------------------------------------------------------- */

static int is_note_file(const struct dirent *d)
{
    return strlen(d->d_name) == SHA256_HEX - 1 + 5 &&
           strcmp(d->d_name + SHA256_HEX - 1, ".json") == 0;
}

/* By bytes, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int scan(const char *dir, struct dirent ***out, struct err *e)
{
    int n = scandir(dir, out, is_note_file, by_name);
    if (n >= 0)
        return n;
    *out = NULL;
    return errno == ENOENT ? 0 : err_sys(e, ERR_FAILED, errno, "quarantine %s", dir);
}

int quarantine_list(const char *dir, struct arena *a, struct quarantine_file **out,
                    size_t *n, struct err *e)
{
    struct dirent **found;
    int count = scan(dir, &found, e);
    if (count < 0)
        return count;
    struct quarantine_file *files = arena_calloc(a, (size_t)count + 1, sizeof *files);
    for (int i = 0; i < count; i++) {
        found[i]->d_name[SHA256_HEX - 1] = '\0';
        quarantine_read(dir, found[i]->d_name, a, &files[i]);
        free(found[i]);
    }
    free(found);
    *out = files;
    *n = (size_t)count;
    return 0;
}

static int check_prefix(const char *prefix, struct err *e)
{
    size_t n = prefix ? strlen(prefix) : PREFIX_MIN;
    if (n >= PREFIX_MIN && n < SHA256_HEX &&
        (!prefix || strspn(prefix, "0123456789abcdef") == n))
        return 0;
    return err_set(e, ERR_USAGE, "quarantine: wanted %d to %d hex digits, found \"%s\"",
                   PREFIX_MIN, SHA256_HEX - 1, prefix);
}

int quarantine_clear(const char *dir, const char *prefix, struct err *e)
{
    struct dirent **found;
    int cleared = 0, rc = check_prefix(prefix, e);
    int count = rc < 0 ? rc : scan(dir, &found, e);
    if (count < 0)
        return count;
    for (int i = 0; i < count; i++) {
        char path[4300];
        snprintf(path, sizeof path, "%s/%s", dir, found[i]->d_name);
        if (!prefix || strncmp(found[i]->d_name, prefix, strlen(prefix)) == 0) {
            if (unlink(path) != 0 && rc == 0)
                rc = err_sys(e, ERR_FAILED, errno, "%s", path);
            cleared++;
        }
        free(found[i]);
    }
    free(found);
    if (rc == 0 && prefix && cleared == 0)
        rc = err_set(e, ERR_NOTFOUND, "quarantine: nothing begins with %s", prefix);
    return rc < 0 ? rc : cleared;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_train_checkpoint.c - several ranks, each a thread, write checkpoints of one
 * model on meshes of all kinds: the bytes are the same, each of them is guarded,
 * and what goes wrong on one rank is told to all and leaves nothing behind.
 *
 * The ranks' memory holds numbers made of tensor and element; training and loading
 * into a trainer are tests/num/checkpoint.test's.
 */
#include "train/checkpoint.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "comm/comm.h"
#include "proto/spec.h"
#include "train/checkpoint_folder.h"
#include "train/checkpoint_layout.h"
#include "train/checkpoint_meet.h"
#include "train/checkpoint_stored.h"
#include "train/checkpoint_write.h"
#include "train/trainer_impl.h"
#include "unit.h"

enum { RANKS = 4 };

/* Experts of two blocks, the second one short; states; dense and MoE layers. */
static const char job_text[] =
    "seed: 7\n"
    "model:\n"
    "  {layers: 2, width: 32, heads: 2, ffn: 96, context: 8,\n"
    "   moe: {experts: 4, top_k: 2, expert_ffn: 160, every: 2, score: sigmoid,\n"
    "         bias_rate: 0.001}}\n"
    "data: {train: [/nowhere]}\n"
    "train: {batch: 8, chunks: 4}\n";

static const char *const file_names[] = {"model.safetensors", "optimizer.safetensors",
                                         "tokenizer.json", "manifest.json"};

/* ---- ranks ---------------------------------------------------------------- */

struct rank {
    struct spec *spec;
    struct programs programs;
    struct layout *layout;
    struct checkpoint_part part;
    struct err e;
    int rc;
    pthread_t thread;
    bool runs;
};

struct ranks {
    int n;
    struct rank r[RANKS];
};

/* Element i of the tensor of this name. */
static float element(const char *name, int64_t i)
{
    uint32_t h = 2166136261u;

    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 16777619u;
    return (float)((h + (uint64_t)i * 2654435761u) % 1000003u);
}

static void *fill(const struct layout *l)
{
    float *data = malloc(layout_owned_bytes(l) + 1), *to = data;

    for (int i = 0; i < l->nsource; i++) {
        const struct layout_source *s = &l->source[i];

        if (!s->owned)
            continue;
        for (int k = s->first; k < s->end; k++) {
            const struct layout_slice *p = &l->slice[k];

            for (int64_t j = p->lo; j < p->hi; j++)
                to[p->offset + j - p->lo] = element(l->tensor[p->tensor].at->name, j);
        }
        to += shape_elements(&s->value->shape);
    }
    return data;
}

static struct spec *job_of(int dp, int ep, const char *optimizer)
{
    struct spec *s = spec_create();
    char set[3][64];
    struct err e;

    assert_int_equal(spec_load_text(s, "job", job_text, sizeof job_text - 1, &e), 0);
    snprintf(set[0], sizeof set[0], "parallel.dp=%d", dp);
    snprintf(set[1], sizeof set[1], "parallel.ep=%d", ep);
    snprintf(set[2], sizeof set[2], "train.optimizer=%s", optimizer);
    for (int i = 0; i < 3; i++)
        assert_int_equal(spec_set(s, set[i], &e), 0);
    if (spec_resolve(s, &e))
        fail_msg("%s", e.text);
    return s;
}

static struct rank rank_make(void **state, int dp, int ep, int rank, const char *opt)
{
    struct rank r = {.spec = job_of(dp, ep, opt)};
    struct err e;

    if (programs_build(spec_job(r.spec), rank, 256, &r.programs, &e) ||
        layout_create(r.programs.g, &r.programs.update, &r.layout, &e))
        fail_msg("%s", e.text);
    r.part = (struct checkpoint_part){.dir = *state,
                                      .attempt = 1,
                                      .serial = 1,
                                      .keep = 2,
                                      .rank = rank,
                                      .world = dp,
                                      .patience = 20,
                                      .layout = r.layout,
                                      .data = fill(r.layout),
                                      .io = malloc(CHECKPOINT_IO_BYTES),
                                      .state = {.step = 10, .loss_scale = 1},
                                      .seed = "7",
                                      .job = "{}",
                                      .tokenizer = "{\"kind\":\"byte\"}\n"};
    return r;
}

static struct ranks ranks_make(void **state, int dp, int ep, const char *optimizer)
{
    struct ranks all = {.n = dp};

    for (int i = 0; i < dp; i++)
        all.r[i] = rank_make(state, dp, ep, i, optimizer);
    return all;
}

static void ranks_free(struct ranks *all)
{
    for (int i = 0; i < all->n; i++) {
        free((void *)all->r[i].part.data);
        free((void *)all->r[i].part.at);
        free(all->r[i].part.io);
        layout_destroy(all->r[i].layout);
        graph_destroy(all->r[i].programs.g);
        spec_destroy(all->r[i].spec);
    }
}

static void *rank_main(void *arg)
{
    struct rank *r = arg;

    r->rc = checkpoint_write(&r->part, &r->e);
    return NULL;
}

static void start(struct rank *r)
{
    r->runs = pthread_create(&r->thread, NULL, rank_main, r) == 0;
    assert_true(r->runs);
}

static void join(struct ranks *all)
{
    for (int i = 0; i < all->n; i++)
        if (all->r[i].runs)
            pthread_join(all->r[i].thread, NULL);
}

static void write_all(struct ranks *all, int64_t step)
{
    for (int i = 0; i < all->n; i++) {
        all->r[i].part.state.step = step;
        start(&all->r[i]);
    }
    join(all);
    for (int i = 0; i < all->n; i++)
        if (all->r[i].rc < 0)
            fail_msg("rank %d: %s", i, all->r[i].e.text);
}

/* A whole checkpoint of one rank in the test's folder. */
static const char *write_one(void **state, int64_t step)
{
    static char path[128];
    struct ranks one = ranks_make(state, 1, 1, "adamw");
    struct err e;

    write_all(&one, step);
    ranks_free(&one);
    assert_int_equal(folder_path(*state, step, path, sizeof path, &e), 0);
    return path;
}

static struct buf contents(const char *folder, const char *name)
{
    struct buf b = {0};
    char path[256];
    struct err e;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (fs_read(path, 0, &b, &e))
        fail_msg("%s", e.text);
    return b;
}

/* Entries of the test's folder. */
static size_t entries(void **state)
{
    char command[128];
    size_t n = 0;
    FILE *f;

    snprintf(command, sizeof command, "ls -A '%s' | wc -l", (char *)*state);
    f = popen(command, "r");
    assert_int_equal(fscanf(f, "%zu", &n), 1);
    pclose(f);
    return n;
}

/* ---- the same bytes ------------------------------------------------------- */

/* Every source backwards, not side by side. */
static void lay_apart(struct rank *r)
{
    const char *from = r->part.data;
    char *to = malloc(layout_owned_bytes(r->layout) + 1);
    size_t end = layout_owned_bytes(r->layout);

    r->part.at = calloc((size_t)r->layout->nsource + 1, sizeof *r->part.at);
    for (int i = 0; i < r->layout->nsource; i++) {
        size_t bytes = value_bytes(r->layout->source[i].value);
        if (r->layout->source[i].owned)
            ((void **)r->part.at)[i] = memcpy(to + (end -= bytes), from, bytes);
        from += r->layout->source[i].owned ? bytes : 0;
    }
    free((void *)r->part.data);
    r->part.data = to;
}

static void every_mesh_writes_the_same_bytes(void **state)
{
    static const int mesh[][2] = {{1, 1}, {2, 1}, {2, 2}, {4, 1}, {4, 2}, {4, 4}};
    struct buf first[4] = {0};

    for (size_t i = 0; i < sizeof mesh / sizeof *mesh; i++) {
        struct ranks all = ranks_make(state, mesh[i][0], mesh[i][1], "adamw");
        char path[128];
        struct err e;

        for (int k = 0; i % 2 && k < all.n; k++)
            lay_apart(&all.r[k]);
        write_all(&all, (int64_t)10);
        ranks_free(&all);
        assert_int_equal(folder_path(*state, 10, path, sizeof path, &e), 0);
        assert_int_equal(entries(state), 1);
        for (int f = 0; f < 4; f++) {
            struct buf b = contents(path, file_names[f]);

            if (i == 0) {
                first[f] = b;
                continue;
            }
            assert_int_equal(b.len, first[f].len);
            assert_memory_equal(b.data, first[f].data, b.len);
            buf_free(&b);
        }
        assert_int_equal(fs_remove_tree(path, &e), 0);
    }
    for (int f = 0; f < 4; f++)
        buf_free(&first[f]);
}

static void check_element(const struct safetensors *s, const char *name, uint64_t at)
{
    const struct safetensors_tensor *t = safetensors_find(s, name);
    float x;
    struct err e;

    assert_non_null(t);
    assert_int_equal(safetensors_read(s, t, at, at + 1, &x, &e), 0);
    assert_true(x == element(name, (int64_t)at));
}

static void tensors_have_their_names_and_elements(void **state)
{
    struct ranks all = ranks_make(state, 4, 2, "adamw");
    int64_t bias[] = {4};
    const struct safetensors_tensor *t;
    struct stored *s;
    char path[128];
    struct err e;

    write_all(&all, 3);
    assert_int_equal(folder_path(*state, 3, path, sizeof path, &e), 0);
    if (stored_open(path, &s, &e) || stored_verify(s, false, 0, 1, &e))
        fail_msg("%s", e.text);
    for (size_t i = 0; i < safetensors_count(s->file[0]); i++) {
        const char *name = safetensors_at(s->file[0], i)->name;
        uint64_t last = safetensors_at(s->file[0], i)->elements - 1;
        char moment[128];

        check_element(s->file[0], name, 0);
        check_element(s->file[0], name, last);
        if (strstr(name, "e_score_correction_bias"))
            continue;
        snprintf(moment, sizeof moment, "m.%s", name);
        check_element(s->file[1], moment, last / 2);
        moment[0] = 'v';
        check_element(s->file[1], moment, last / 3);
    }
    assert_null(safetensors_find(s->file[0], "stats"));
    assert_int_equal(safetensors_want(s->file[0],
                                      "model.layers.1.mlp.gate.e_score_correction_bias",
                                      NND_F32, 1, bias, &t, &e),
                     0);
    assert_int_equal(s->manifest.nparams, all.r[0].layout->nparams);
    assert_int_equal(s->manifest.state.step, 3);
    stored_close(s);
    ranks_free(&all);
}

static void sgd_has_one_moment(void **state)
{
    struct ranks all = ranks_make(state, 2, 1, "sgd");
    struct stored *s;
    char path[128];
    struct err e;

    write_all(&all, 1);
    assert_int_equal(folder_path(*state, 1, path, sizeof path, &e), 0);
    assert_int_equal(stored_open(path, &s, &e), 0);
    assert_int_equal(safetensors_count(s->file[1]) + 1, safetensors_count(s->file[0]));
    stored_close(s);
    ranks_free(&all);
}

static void bytes_are_told_before(void **state)
{
    struct ranks all = ranks_make(state, 4, 2, "adamw");
    size_t sum = 0;

    for (int i = 0; i < 4; i++)
        sum += checkpoint_bytes(all.r[i].programs.g, &all.r[i].programs.update, false) -
               checkpoint_bytes(all.r[i].programs.g, &all.r[i].programs.update, true);
    assert_int_equal(sum, (3 * all.r[0].layout->nparams + 4 /* biases */) * 4);
    assert_int_equal(
        checkpoint_bytes(all.r[0].programs.g, &all.r[0].programs.update, true),
        CHECKPOINT_IO_BYTES);
    ranks_free(&all);
}

/* ---- damage --------------------------------------------------------------- */

static int open_and_verify(const char *path, struct err *e)
{
    struct stored *s = NULL;
    int rc = stored_open(path, &s, e);

    if (rc == 0)
        rc = stored_verify(s, false, 0, 1, e);
    stored_close(s);
    return rc;
}

static void flip(const char *folder, const char *name, off_t at)
{
    char path[256];
    unsigned char c;
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &c, 1, at), 1);
    c ^= 4;
    assert_int_equal(pwrite(fd, &c, 1, at), 1);
    close(fd);
}

static void expect_damage(const char *folder, const char *name, off_t at,
                          const char *tensor)
{
    struct err e = {0};

    flip(folder, name, at);
    if (open_and_verify(folder, &e) >= 0)
        fail_msg("%s: byte %lld was changed unseen", name, (long long)at);
    assert_non_null(strstr(e.text, name));
    if (tensor && !strstr(e.text, tensor))
        fail_msg("wanted tensor %s, found: %s", tensor, e.text);
    flip(folder, name, at);
}

static void a_changed_byte_is_named(void **state)
{
    const char *path = write_one(state, 10);
    struct stored *s;
    struct err e;

    assert_int_equal(open_and_verify(path, &e), 0);
    assert_int_equal(stored_open(path, &s, &e), 0);
    for (int f = 0; f < LAYOUT_FILES; f++) {
        uint64_t head = s->manifest.file[f].head;

        for (size_t i = 0; i < safetensors_count(s->file[f]); i += 7) {
            const struct safetensors_tensor *t = safetensors_at(s->file[f], i);
            uint64_t last = t->offset + t->elements * t->element_size - 1;

            expect_damage(path, file_names[f], (off_t)t->offset, t->name);
            expect_damage(path, file_names[f], (off_t)last, t->name);
        }
        for (uint64_t at = 0; at < head; at += 97)
            expect_damage(path, file_names[f], (off_t)at, NULL);
    }
    for (off_t at = 0; at < (off_t)strlen("{\"kind\":\"byte\"}\n"); at++)
        expect_damage(path, "tokenizer.json", at, NULL);
    for (off_t at = 0; at < 2000; at += 131)
        expect_damage(path, "manifest.json", at, NULL);
    stored_close(s);
    assert_int_equal(open_and_verify(path, &e), 0);
}

static void a_cut_or_missing_file_is_named(void **state)
{
    const char *path = write_one(state, 10);
    char name[256];
    struct err e;

    for (int f = 0; f < 4; f++) {
        struct buf b = contents(path, file_names[f]);

        snprintf(name, sizeof name, "%s/%s", path, file_names[f]);
        assert_int_equal(truncate(name, (off_t)b.len - 1), 0);
        assert_int_equal(open_and_verify(path, &e), ERR_SPEC);
        assert_non_null(strstr(e.text, name));
        assert_int_equal(unlink(name), 0);
        assert_int_equal(open_and_verify(path, &e), ERR_NOTFOUND);
        assert_non_null(strstr(e.text, name));
        assert_int_equal(fs_replace(name, b.data, b.len, &e), 0);
        buf_free(&b);
    }
    assert_int_equal(open_and_verify(path, &e), 0);
}

/* Rewrite the manifest of `path` after a change by f. */
static void remanifest(const char *path, void (*f)(struct manifest *))
{
    struct arena *a = arena_create();
    struct manifest m;
    struct buf text = {0};
    char name[256];
    struct err e;

    assert_int_equal(stored_manifest(path, a, &m, &e), 0);
    f(&m);
    manifest_print(&m, &text);
    snprintf(name, sizeof name, "%s/manifest.json", path);
    assert_int_equal(fs_replace(name, text.data, text.len, &e), 0);
    buf_free(&text);
    arena_destroy(a);
}

static void forget_second(struct manifest *m)
{
    m->ntensor--;
    memmove(&m->tensor[1], &m->tensor[2], (m->ntensor - 1) * sizeof *m->tensor);
}

static void rename_second(struct manifest *m)
{
    m->tensor[1].name = "ghost";
}

static void lead_astray(struct manifest *m)
{
    m->tensor[1].file = "../../etc/passwd";
}

static void a_manifest_of_other_tensors_is_refused(void **state)
{
    static const struct {
        void (*change)(struct manifest *);
        const char *why;
    } bad[] = {
        {forget_second, "wanted it in the manifest, found none of this name"},
        {rename_second, "model.safetensors: wanted tensor ghost, found"},
        {lead_astray, "wanted a file of the checkpoint, found ../../etc/passwd"},
    };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *path = write_one(state, 10);
        struct err e;

        remanifest(path, bad[i].change);
        assert_int_not_equal(open_and_verify(path, &e), 0);
        if (!strstr(e.text, bad[i].why))
            fail_msg("wanted \"%s\" in: %s", bad[i].why, e.text);
    }
}

/* ---- finding and keeping -------------------------------------------------- */

static void find(void **state, const char *want, const char *noted)
{
    struct comm *self;
    struct buf notes = {0};
    char path[128] = "?";
    struct err e;

    assert_int_equal(comm_self(&self, &e), 0);
    if (checkpoint_find(*state, self, path, sizeof path, &notes, &e))
        fail_msg("%s", e.text);
    assert_string_equal(path, want);
    if (noted && (!notes.data || !strstr(notes.data, noted)))
        fail_msg("wanted a note of %s, found: %s", noted, notes.data);
    if (!noted)
        assert_int_equal(notes.len, 0);
    buf_free(&notes);
    comm_destroy(self);
}

static void make_folder(void **state, const char *name)
{
    assert_int_equal(mkdir(unit_path(state, name), 0700), 0);
}

static void the_newest_whole_one_is_found(void **state)
{
    struct ranks one = ranks_make(state, 1, 1, "adamw");
    char older[128];

    find(state, "", NULL);
    write_all(&one, 9);
    write_all(&one, 10);
    make_folder(state, ".step-000000011.attempt-1.tmp");
    make_folder(state, "step-12");
    make_folder(state, "step-000000012x");
    find(state, unit_path(state, "step-000000010"), NULL);
    flip(unit_path(state, "step-000000010"), "model.safetensors", 20000);
    snprintf(older, sizeof older, "%s", unit_path(state, "step-000000009"));
    find(state, older, "step-000000010/model.safetensors: tensor model.");
    make_folder(state, "step-000000011");
    find(state, older, "step-000000011/manifest.json");
    ranks_free(&one);
}

static void no_folder_is_no_checkpoint(void **state)
{
    static char nowhere[128];
    void *there = nowhere;

    snprintf(nowhere, sizeof nowhere, "%s/nowhere", (char *)*state);
    find(&there, "", NULL);
}

static bool exists(void **state, const char *name)
{
    return fs_exists(unit_path(state, name));
}

static void old_ones_and_leavings_go(void **state)
{
    struct ranks one = ranks_make(state, 1, 1, "adamw");

    one.r[0].part.attempt = 3;
    write_all(&one, 40); /* of a later life: it stays, and does not count */
    write_all(&one, 5);
    make_folder(state, "step-000000004"); /* lost its manifest */
    make_folder(state, ".step-000000007.attempt-2.tmp");
    make_folder(state, ".step-000000009.attempt-3.tmp"); /* the next is begun */
    make_folder(state, ".step-000000007.attempt-4.tmp");
    write_all(&one, 6);
    assert_true(exists(state, "step-000000005"));
    write_all(&one, 7);
    assert_false(exists(state, "step-000000004"));
    assert_false(exists(state, "step-000000005"));
    assert_true(exists(state, "step-000000006"));
    assert_true(exists(state, "step-000000007"));
    assert_true(exists(state, "step-000000040"));
    assert_false(exists(state, ".step-000000007.attempt-2.tmp"));
    assert_true(exists(state, ".step-000000009.attempt-3.tmp"));
    assert_true(exists(state, ".step-000000007.attempt-4.tmp"));
    ranks_free(&one);
}

static void a_step_written_again_replaces_the_old(void **state)
{
    const char *path = write_one(state, 10);
    struct err e;

    flip(path, "model.safetensors", 20000);
    assert_int_not_equal(open_and_verify(path, &e), 0);
    write_one(state, 10);
    assert_int_equal(open_and_verify(path, &e), 0);
    assert_int_equal(entries(state), 1);
}

static void job_and_tokenizer_are_read_alone(void **state)
{
    const char *path = write_one(state, 10);
    struct buf job = {0}, tokenizer = {0};
    struct err e;

    assert_int_equal(checkpoint_read_job(path, &job, &tokenizer, &e), 0);
    assert_string_equal(job.data, "{}");
    assert_string_equal(tokenizer.data, "{\"kind\":\"byte\"}\n");
    buf_clear(&job);
    buf_clear(&tokenizer);
    flip(path, "tokenizer.json", 3);
    assert_int_equal(checkpoint_read_job(path, &job, &tokenizer, &e), ERR_SPEC);
    assert_int_equal(job.len + tokenizer.len, 0);
    buf_free(&job);
    buf_free(&tokenizer);
}

/* ---- what goes wrong ------------------------------------------------------ */

static void expect_failure(const struct rank *r, const char *why)
{
    assert_int_not_equal(r->rc, 0);
    if (!strstr(r->e.text, why))
        fail_msg("wanted \"%s\" in: %s", why, r->e.text);
}

static void a_missing_rank_is_named(void **state)
{
    struct ranks all = ranks_make(state, 4, 2, "adamw");

    for (int i = 0; i < 4; i++) {
        all.r[i].part.patience = 2;
        if (i != 2)
            start(&all.r[i]);
    }
    join(&all);
    expect_failure(&all.r[0], "wanted rank 2 to finish its part, found no sign of it");
    expect_failure(&all.r[1], "wanted rank 2 to finish its part");
    expect_failure(&all.r[3], "wanted rank 2 to finish its part");
    assert_int_equal(entries(state), 0);
    ranks_free(&all);
}

static void without_rank_0_nobody_begins(void **state)
{
    struct ranks all = ranks_make(state, 2, 1, "adamw");

    all.r[1].part.patience = 0.2;
    start(&all.r[1]);
    join(&all);
    expect_failure(&all.r[1], "wanted rank 0 to begin, found no sign of it for");
    ranks_free(&all);
}

static void a_slow_rank_is_waited_for(void **state)
{
    struct ranks all = ranks_make(state, 2, 1, "adamw");
    struct meet slow;
    char folder[128];
    struct err e;

    all.r[0].part.patience = 1;
    start(&all.r[0]);
    assert_int_equal(folder_temporary(*state, 10, 1, folder, sizeof folder, &e), 0);
    slow = (struct meet){
        .folder = folder, .serial = 1, .rank = 1, .world = 2, .patience = 10};
    while (!fs_exists(folder))
        usleep(1000);
    assert_int_equal(meet_wait_ready(&slow, &e), 0);
    assert_int_equal(meet_here(&slow, &e), 0);
    for (int i = 0; i < 40; i++) {
        usleep(50000);
        meet_touch(&slow);
    }
    all.r[1].part.state = all.r[0].part.state;
    start(&all.r[1]);
    join(&all);
    if (all.r[0].rc || all.r[1].rc)
        fail_msg("%s; %s", all.r[0].e.text, all.r[1].e.text);
    ranks_free(&all);
}

static void a_rank_that_fails_tells_all(void **state)
{
    struct ranks all = ranks_make(state, 4, 2, "adamw");
    struct meet bad;
    char folder[128];
    struct err e;

    for (int i = 0; i < 4; i++)
        if (i != 2)
            start(&all.r[i]);
    assert_int_equal(folder_temporary(*state, 10, 1, folder, sizeof folder, &e), 0);
    bad = (struct meet){
        .folder = folder, .serial = 1, .rank = 2, .world = 4, .patience = 10};
    while (!fs_exists(folder))
        usleep(1000);
    assert_int_equal(meet_wait_ready(&bad, &e), 0);
    meet_failed(&bad, "the disk is on fire");
    join(&all);
    expect_failure(&all.r[0], "rank 2: the disk is on fire");
    expect_failure(&all.r[1], "rank 2: the disk is on fire");
    expect_failure(&all.r[3], "rank 2: the disk is on fire");
    assert_int_equal(entries(state), 0);
    ranks_free(&all);
}

/* As a full disk would: the limit on a file's size makes writing fail. */
static void without_room_all_know_and_nothing_stays(void **state)
{
    struct ranks all = ranks_make(state, 4, 2, "adamw");
    struct rlimit before, small;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 4; i++)
        start(&all.r[i]);
    join(&all);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    for (int i = 0; i < 4; i++)
        expect_failure(&all.r[i], "model.safetensors: cannot make room for");
    assert_int_equal(entries(state), 0);
    for (int i = 0; i < 4; i++)
        all.r[i].part.serial++;
    write_all(&all, 11);
    ranks_free(&all);
}

/* Let a rank believe that the last state is its to write, or not. */
static void own_state(struct rank *r, bool owned)
{
    struct layout *l = r->layout;

    l->source[l->nsource - 1].owned = owned;
    free((void *)r->part.data);
    r->part.data = fill(l);
    r->part.serial++;
}

static void each_element_is_written_once(void **state)
{
    static const struct {
        bool owned[2];
        const char *why;
    } bad[] = {
        {{true, true}, "bias: wanted element 4 to be written next, found 0"},
        {{false, false}, "bias: wanted 4 elements written, found 0"},
    };
    struct ranks all = ranks_make(state, 2, 1, "adamw");

    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 2; i++) {
            own_state(&all.r[i], bad[k].owned[i]);
            start(&all.r[i]);
        }
        join(&all);
        expect_failure(&all.r[0], bad[k].why);
        expect_failure(&all.r[1], bad[k].why);
        assert_int_equal(entries(state), 0);
    }
    ranks_free(&all);
}

#define IN_FOLDER(f)                                                                   \
    cmocka_unit_test_setup_teardown(f, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(every_mesh_writes_the_same_bytes),
        IN_FOLDER(tensors_have_their_names_and_elements),
        IN_FOLDER(sgd_has_one_moment),
        IN_FOLDER(bytes_are_told_before),
        IN_FOLDER(a_changed_byte_is_named),
        IN_FOLDER(a_cut_or_missing_file_is_named),
        IN_FOLDER(a_manifest_of_other_tensors_is_refused),
        IN_FOLDER(the_newest_whole_one_is_found),
        IN_FOLDER(no_folder_is_no_checkpoint),
        IN_FOLDER(old_ones_and_leavings_go),
        IN_FOLDER(a_step_written_again_replaces_the_old),
        IN_FOLDER(job_and_tokenizer_are_read_alone),
        IN_FOLDER(a_missing_rank_is_named),
        IN_FOLDER(without_rank_0_nobody_begins),
        IN_FOLDER(a_slow_rank_is_waited_for),
        IN_FOLDER(a_rank_that_fails_tells_all),
        IN_FOLDER(without_room_all_know_and_nothing_stays),
        IN_FOLDER(each_element_is_written_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_outcome.c - how an attempt's end is read: exit codes, lines of the log,
 * the status file, pauses, and processes found by their marks.
 */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/catchup.h"
#include "daemon/cgroup.h"
#include "daemon/launch.h"
#include "daemon/launch_slurm.h"
#include "daemon/outcome.h"
#include "daemon/proc.h"
#include "daemon/shortage.h"
#include "daemon/status.h"

static void test_backoff(void **state)
{
    (void)state;
    assert_float_equal(outcome_backoff(1, 1, UINT32_MAX / 2), 1, 1e-3);
    assert_float_equal(outcome_backoff(1, 2, UINT32_MAX / 2), 2, 1e-3);
    assert_float_equal(outcome_backoff(5, 4, UINT32_MAX / 2), 40, 1e-2);
    assert_float_equal(outcome_backoff(5, 1000, UINT32_MAX / 2), 300, 0.1);
    assert_float_equal(outcome_backoff(10, 1, 0), 8, 1e-3);
    assert_float_equal(outcome_backoff(10, 1, UINT32_MAX), 12, 1e-3);
    assert_float_equal(outcome_backoff(0, 3, 77), 0, 0);
}

static void test_policy(void **state)
{
    /* none, app_error, oom, signal, node_lost, hang, nan, preempt, start_fail,
     * daemon_lost, time_limit, kernel, and numbers of the future */
    static const char wanted[] = "nnnyyynyyynyn";

    (void)state;
    for (int f = 0; wanted[f]; f++)
        assert_int_equal(outcome_is_retried((Wire__Failure)f), wanted[f] == 'y');
}

/* --- what mpirun says ------------------------------------------------------- */

static void test_exit_codes(void **state)
{
    static const struct {
        int wait, code, signal;
        bool self;
    } cases[] = {
        {0, 0, 0, false},
        {3 << 8, 3, 0, false},
        {75 << 8, 75, 0, false},
        {137 << 8, 0, 9, false},
        {139 << 8, 0, 11, false},
        {SIGKILL, 0, 9, true},
        {128 << 8, 128, 0, false},
        {255 << 8, 255, 0, false},
        {SIGSEGV | 0x80, 0, 11, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct launch_exit out = {.code = 9, .signal = 9, .self = true};

        launch_local.classify(cases[i].wait, &out);
        assert_int_equal(out.code, cases[i].code);
        assert_int_equal(out.signal, cases[i].signal);
        assert_int_equal(out.self, cases[i].self);
    }
}

static void test_lines(void **state)
{
    static const struct {
        const char *text;
        int rank;
        bool err;
        size_t skip;
    } cases[] = {
        {"[1,0]<stdout>:step 5", 0, false, 14},
        {"[1,12]<stderr>:oops", 12, true, 15},
        {"[1,0]<stderr>:", 0, true, 14},
        {"mpirun noticed", -1, true, 0},
        {"", -1, true, 0},
        {"[1,0]<stdou", -1, true, 0},
        {"[1,]<stdout>:x", -1, true, 0},
        {"[1,99999999999]<stdout>:x", -1, true, 0},
        {"[1,3]<stdxxx>:x", -1, true, 0},
        {"[2,3]<stdout>:x", -1, true, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rank = 77;
        bool err = false;
        size_t skip =
            launch_local.line(cases[i].text, strlen(cases[i].text), &rank, &err);

        assert_int_equal(rank, cases[i].rank);
        assert_int_equal(err, cases[i].err);
        assert_int_equal(skip, cases[i].skip);
    }
}

static void test_blame(void **state)
{
    static const struct {
        const char *text;
        int rank; /* -1: nobody */
    } cases[] = {
        {"mpirun noticed that process rank 1 with PID 55 on node vm exited on signal 9 "
         "(Killed).",
         1},
        {"  Process name: [[52143,1],13]", 13},
        {"  Exit code:    3", -1},
        {"mpirun noticed that process rank ", -1},
        {"Process name: [[", -1},
        {"", -1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rank = -1, code = 7;
        bool found =
            launch_local.blame(cases[i].text, strlen(cases[i].text), &rank, &code);

        assert_int_equal(found, cases[i].rank >= 0);
        assert_int_equal(rank, cases[i].rank);
    }
}

/* --- what Slurm and lost nodes say --------------------------------------------- */

static void test_slurm_ends(void **state)
{
    static const struct {
        int wait, code, signal;
        Wire__Failure failure;
    } cases[] = {
        {0, 0, 0, WIRE__FAILURE__NO_FAILURE},
        {3 << 8, 3, 0, WIRE__FAILURE__NO_FAILURE},
        {137 << 8, 0, 9, WIRE__FAILURE__NO_FAILURE},
        {SLURM_NODE_FAIL << 8, SLURM_NODE_FAIL, 0, WIRE__FAILURE__NODE_LOST},
        {SLURM_PREEMPTED << 8, SLURM_PREEMPTED, 0, WIRE__FAILURE__PREEMPT},
        {SLURM_OUT_OF_MEMORY << 8, SLURM_OUT_OF_MEMORY, 0, WIRE__FAILURE__OOM},
        {SLURM_GONE << 8, SLURM_GONE, 0, WIRE__FAILURE__NODE_LOST},
        {(SLURM_END_LAST + 1) << 8, SLURM_END_LAST + 1, 0, WIRE__FAILURE__NO_FAILURE},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct launch_exit out = {.code = 9, .signal = 9, .self = true};

        launch_slurm.classify(cases[i].wait, &out);
        assert_int_equal(out.code, cases[i].code);
        assert_int_equal(out.signal, cases[i].signal);
        assert_int_equal(out.failure, cases[i].failure);
        assert_int_equal(out.text != NULL, out.failure != 0);
        assert_false(out.self);
    }
}

static void test_slurm_lines(void **state)
{
    static const struct {
        const char *text;
        int rank;
        size_t skip;
    } cases[] = {
        {"0: step 5", 0, 3},    {" 12: oops", 12, 5}, {"3:oops", -1, 0},
        {"srun: error", -1, 0}, {"", -1, 0},          {"1234567: x", -1, 0},
        {"7", -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rank = 77;
        bool err = false;

        assert_int_equal(
            launch_slurm.line(cases[i].text, strlen(cases[i].text), &rank, &err),
            cases[i].skip);
        assert_int_equal(rank, cases[i].rank);
    }
}

static void test_slurm_blame(void **state)
{
    static const struct {
        const char *text;
        int rank, code;
    } cases[] = {
        {"srun: error: vm: task 1: Killed", 1, 0},
        {"srun: error: n1: task 3: Exited with exit code 17", 3, 17},
        {"srun: error: n1: tasks 3-4: Exited with exit code 17", -1, 0},
        {"0: srun: error: ", -1, 0},
        {"srun: error: n1: task ", -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rank = -1, code = 0;

        assert_int_equal(
            launch_slurm.blame(cases[i].text, strlen(cases[i].text), &rank, &code),
            cases[i].rank >= 0);
        assert_int_equal(rank, cases[i].rank);
        assert_int_equal(code, cases[i].code);
    }
}

static void test_lost_node(void **state)
{
    static const char text[] = "  Remote daemon: [[2389,0],1] on node nodeb";
    const char *name = NULL;
    struct launch_exit out;

    (void)state;
    assert_int_equal(launch_ssh.lost(text, sizeof text - 1, &name), 5);
    assert_memory_equal(name, "nodeb", 5);
    assert_int_equal(launch_ssh.lost("rank on node b", 14, &name), 0);
    assert_int_equal(
        launch_ssh.lost("  HNP daemon   : [[2389,0],0] on node a", 38, &name), 0);
    launch_ssh.classify(205 << 8, &out);
    assert_int_equal(out.failure, WIRE__FAILURE__NODE_LOST);
    launch_ssh.classify(3 << 8, &out);
    assert_int_equal(out.failure, WIRE__FAILURE__NO_FAILURE);
}

static void test_table(void **state)
{
    struct err e;

    assert_ptr_equal(launch_find("ssh"), &launch_ssh);
    assert_null(launch_find("ss"));
    assert_ptr_equal(launch_noted(*state), &launch_local);
    assert_int_equal(launch_note(*state, &launch_slurm, &e), 0);
    assert_ptr_equal(launch_noted(*state), &launch_slurm);
}

static void test_command(void **state)
{
    struct arena *arena = arena_create();
    struct launch l = {.mpirun = "mpirun",
                       .worker = "worker",
                       .job_file = "/j/job.pb",
                       .job_dir = "/j",
                       .attempt_dir = "/j/a",
                       .tmp_dir = "/j/a/tmp",
                       .uri = "ipc://u",
                       .ranks = 3,
                       .threads = 2,
                       .attempt = 4,
                       .epoch = 99};
    char **argv = launch_local.argv(&l, arena);
    bool ranks = false, epoch = false, root = false;
    size_t n = 0;

    (void)state;
    for (; argv[n]; n++) {
        ranks |= strcmp(argv[n], "-np") == 0 && strcmp(argv[n + 1], "3") == 0;
        epoch |= strcmp(argv[n], "--epoch") == 0 && strcmp(argv[n + 1], "99") == 0;
        root |= strcmp(argv[n], "--allow-run-as-root") == 0;
    }
    assert_true(ranks && epoch && !root);
    assert_string_equal(argv[n - 1], "ipc://u");
    arena_destroy(arena);
}

/* --- files ------------------------------------------------------------------ */

static void put(const char *dir, const char *name, const char *text)
{
    char path[256];
    struct err e;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(fs_replace(path, text, strlen(text), &e), 0);
}

static void test_status(void **state)
{
    struct status s = {.boot = "some-boot-id",
                       .pid = 123,
                       .start = 1ull << 38,
                       .started_us = 1,
                       .ended_us = 2,
                       .ended = 1,
                       .wait = 0x8b00,
                       .exec_errno = 2,
                       .asked = 1,
                       .left = 3},
                  back;

    assert_int_equal(status_read(*state, &back), -1);
    assert_int_equal(status_write(*state, &s), 0);
    assert_int_equal(status_read(*state, &back), 0);
    assert_string_equal(back.boot, s.boot);
    assert_int_equal(back.pid, s.pid);
    assert_true(back.start == s.start);
    assert_int_equal(back.started_us, s.started_us);
    assert_int_equal(back.ended_us, s.ended_us);
    assert_int_equal(back.ended, s.ended);
    assert_int_equal(back.wait, s.wait);
    assert_int_equal(back.exec_errno, s.exec_errno);
    assert_int_equal(back.asked, s.asked);
    assert_int_equal(back.left, s.left);
    put(*state, "status", "version 2\nboot x\n");
    assert_int_equal(status_read(*state, &back), -1);
    put(*state, "status", "version 1\nboot x\npid 5\nstart 7\nstarted_us");
    assert_int_equal(status_read(*state, &back), -1);
    put(*state, "status", "");
    assert_int_equal(status_read(*state, &back), -1);
}

/* A status file with this pid and this start, cut by so many bytes. */
static int status_of(const char *pid, const char *start, size_t cut)
{
    struct status s;
    char text[400];

    snprintf(text, sizeof text,
             "version 1\nboot x\npid %s\nstart %s\nstarted_us 1\nended_us 0\nended 0\n"
             "wait 0\nexec_errno 0\nasked 0\nleft 12\n",
             pid, start);
    return status_parse(text, strlen(text) - cut, &s);
}

/* What nnd signals is never everybody, a group, or a process read by half. */
static void test_status_is_doubted(void **state)
{
    (void)state;
    assert_int_equal(status_of("7", "9", 0), 0); /* of before 0.2: no line "oom" */
    assert_int_equal(status_of("7", "9", 1), -1);
    assert_int_equal(status_of("7", "9", 2), -1);
    assert_int_equal(status_of("0", "9", 0), -1);
    assert_int_equal(status_of("-1", "9", 0), -1);
    assert_int_equal(status_of("4294967303", "9", 0), -1);
    assert_int_equal(status_of("7x", "9", 0), -1);
    assert_int_equal(status_of(" 7", "9", 0), -1);
    assert_int_equal(status_of("7", "9223372036854775807", 0), -1);
    assert_int_equal(status_of("7", "99999999999999999999", 0), -1);
}

static void test_catch_up(void **state)
{
    Wire__RankMetric m = WIRE__RANK_METRIC__INIT;
    char path[PATH_MAX], dir[256];
    uint64_t step;
    struct err e;

    assert_int_equal(catchup_metrics(*state, &m), 0);
    assert_false(m.has_step);
    assert_false(catchup_checkpoint(*state, path, &step));
    put(*state, "metrics.jsonl",
        "{\"step\":1,\"loss\":3.5,\"val_loss\":3,\"attempt\":1}\nnot json\n[1,2]\n"
        "{\"step\":2,\"loss\":2.5,\"dead_experts\":4,\"lr\":\"text\",\"skipped\":true,"
        "\"attempt\":2}\n"
        "{\"step\":3,\"lo");
    assert_int_equal(catchup_metrics(*state, &m), 2);
    assert_int_equal(m.step, 2);
    assert_true(m.loss == 2.5 && m.val_loss == 3);
    assert_int_equal(m.dead_experts, 4);
    assert_true(m.has_skipped && m.skipped);
    assert_false(m.has_lr);
    for (int i = 8; i <= 11; i++) {
        snprintf(dir, sizeof dir, "%s/checkpoints/step-%09d", (char *)*state, i);
        assert_int_equal(fs_mkdirs(dir, &e), 0);
        if (i < 11) /* the newest is not whole yet */
            put(dir, "manifest.json", "{}");
    }
    assert_true(catchup_checkpoint(*state, path, &step));
    assert_int_equal(step, 10);
    assert_non_null(strstr(path, "/checkpoints/step-000000010"));
}

/* --- processes -------------------------------------------------------------- */

static pid_t sleeper(const char *marker, bool new_session)
{
    int ready[2];
    char byte;
    pid_t pid;

    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        if (new_session)
            setsid();
        setenv(PROC_MARKER, marker, 1);
        execl("/bin/sleep", "sleep", "60", (char *)NULL);
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0); /* closed by exec */
    close(ready[0]);
    return pid;
}

static void test_processes(void **state)
{
    struct proc_match mine = {.marker = "unit-test.1"};
    struct proc_match other = {.marker = "unit-test"};
    struct proc_id id = {.pid = sleeper("unit-test.1", true)};
    pid_t second = sleeper("unit-test.1", false);

    (void)state;
    assert_true(proc_boot(id.boot));
    assert_true(proc_start(id.pid, &id.start));
    assert_true(proc_alive(&id));
    assert_int_equal(proc_signal_all(&mine, 0), 2);
    assert_int_equal(proc_signal_all(&other, SIGKILL), 0);
    assert_int_equal(proc_signal_all(&mine, SIGKILL), 2);
    for (int i = 0; i < 500 && proc_alive(&id); i++)
        usleep(10000);
    assert_false(proc_alive(&id)); /* a zombie does not live */
    assert_int_equal(waitpid(second, NULL, 0), second);
    assert_int_equal(waitpid(id.pid, NULL, 0), id.pid);
    assert_int_equal(proc_signal_all(&mine, 0), 0);
    assert_int_equal(proc_open(&id), -1);
    id.pid = getpid(); /* the pid lives, but it is another process */
    assert_false(proc_alive(&id));
    assert_int_equal(proc_open(&id), -1);
}

/* The machine's count says whose end it was by nothing but the time. */
static void test_shortage(void **state)
{
    struct shortage s;

    shortage_begin(&s, 7);
    shortage_look(&s, 7, 1000);
    assert_false(shortage_is_near(&s, 1000));
    shortage_look(&s, 9, 2000); /* somebody else's, as the attempt goes on */
    assert_true(shortage_is_near(&s, 4000));
    for (int64_t ms = 3000; ms <= 60000; ms += SHORTAGE_LOOK_MS)
        shortage_look(&s, 9, ms);
    assert_false(shortage_is_near(&s, 60000));
    shortage_look(&s, 10, 61000);
    assert_true(shortage_is_near(&s, 63000));
    assert_int_equal(cgroup_oom(""), -1);
    assert_int_equal(cgroup_oom(*state), -1);
    put(*state, "memory.events", "low 0\noom 3\noom_kill 2\n");
    assert_int_equal(cgroup_oom(*state), 2);
}

static void test_processes_unseen(void **state)
{
    struct proc_match none = {.marker = "unit-test.none"};
    struct rlimit files, no = {0};
    int found;

    (void)state;
    assert_int_equal(proc_signal_all(&none, 0), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    no.rlim_max = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &no), 0);
    found = proc_signal_all(&none, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    assert_int_not_equal(found, 0);
}

#define IN_DIR(fn)                                                                     \
    cmocka_unit_test_setup_teardown(fn, unit_dir_setup, unit_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_exit_codes),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_slurm_ends),
        cmocka_unit_test(test_slurm_lines),
        cmocka_unit_test(test_slurm_blame),
        cmocka_unit_test(test_lost_node),
        cmocka_unit_test_setup_teardown(test_table, unit_dir_setup, unit_dir_teardown),
        cmocka_unit_test(test_command),
        cmocka_unit_test(test_status_is_doubted),
        IN_DIR(test_status),
        IN_DIR(test_catch_up),
        cmocka_unit_test(test_processes),
        IN_DIR(test_shortage),
        cmocka_unit_test(test_processes_unseen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

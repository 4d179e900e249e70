# SPDX-License-Identifier: Apache-2.0
#
# daemon/local.mk - nnd, the coordinator, and nnd-shepherd.

sbin_PROGRAMS += daemon/nnd
pkglibexec_PROGRAMS += daemon/nnd-shepherd daemon/nnd-slurm
noinst_LTLIBRARIES += daemon/libdaemon.la

daemon_libdaemon_la_CPPFLAGS = $(PROGRAM_CPPFLAGS) -DNND_MPIRUN='"$(MPIRUN)"' \
    -DNND_SBINDIR='"$(sbindir)"'
daemon_libdaemon_la_LIBADD = \
    $(MICROHTTPD_LIBS) \
    lib/trust/libtrust.la $(SQLITE_LIBS) $(ZMQ_LIBS) $(HWLOC_LIBS)
daemon_libdaemon_la_SOURCES = \
    daemon/access.c daemon/access.h \
    daemon/attempt.c daemon/attempt.h \
    daemon/attempt_impl.h \
    daemon/attempt_start.c \
    daemon/catchup.c daemon/catchup.h \
    daemon/cgroup.c daemon/cgroup.h \
    daemon/child.c daemon/child.h \
    daemon/exporter.c daemon/exporter.h \
    daemon/failpoint.c daemon/failpoint.h \
    daemon/folder.c daemon/folder.h \
    daemon/hang.c daemon/hang.h \
    daemon/hub.c daemon/hub.h daemon/hub_impl.h \
    daemon/hub_open.c \
    daemon/job.c daemon/job.h \
    daemon/launch.c daemon/launch.h \
    daemon/launch_local.c \
    daemon/launch_mpirun.c daemon/launch_mpirun.h \
    daemon/launch_slurm.c daemon/launch_slurm.h \
    daemon/launch_ssh.c \
    daemon/limit.c daemon/limit.h \
    daemon/need.c daemon/need.h \
    daemon/node.c daemon/node.h \
    daemon/outcome.c daemon/outcome.h \
    daemon/notify.c daemon/notify.h \
    daemon/proc.c daemon/proc.h \
    daemon/purge.c daemon/purge.h \
    daemon/queue.c daemon/queue.h \
    daemon/rpc.c daemon/rpc.h \
    daemon/rpc_change.c \
    daemon/rpc_job.c \
    daemon/rpc_log.c \
    daemon/rpc_rank.c \
    daemon/rpc_submit.c \
    daemon/rules.c daemon/rules.h \
    daemon/settings.c daemon/settings.h \
    daemon/shortage.c daemon/shortage.h \
    daemon/state.c daemon/state.h \
    daemon/status.c daemon/status.h \
    daemon/store.c daemon/store.h \
    daemon/store_impl.h \
    daemon/store_mend.c \
    daemon/store_open.c \
    daemon/store_read.c \
    daemon/store_salvage.c \
    daemon/sweep.c daemon/sweep.h

# The unit for systemd, with the folders of this installation.
systemdunitdir = $(libdir)/systemd/system
nodist_systemdunit_DATA = daemon/nnd.service
EXTRA_DIST += daemon/nnd.service.in
CLEANFILES += daemon/nnd.service
daemon/nnd.service: daemon/nnd.service.in
	$(AM_V_GEN)$(MKDIR_P) daemon && sed -e 's|@sbindir[@]|$(sbindir)|' \
	    -e 's|@sysconfdir[@]|$(sysconfdir)|' $(srcdir)/daemon/nnd.service.in >$@

daemon_nnd_SOURCES = daemon/main.c
daemon_nnd_LDADD = \
    daemon/libdaemon.la \
    $(JOB_LIBS)

# The shepherd needs libc alone: there is little in it that could fail.
daemon_nnd_shepherd_SOURCES = \
    daemon/shepherd.c \
    daemon/failpoint.c daemon/failpoint.h \
    daemon/cgroup.c daemon/cgroup.h \
    daemon/proc.c daemon/proc.h \
    daemon/shortage.c daemon/shortage.h \
    daemon/status.c daemon/status.h
daemon_nnd_shepherd_CFLAGS = $(AM_CFLAGS)
daemon_nnd_shepherd_LDADD =

daemon_nnd_slurm_SOURCES = daemon/slurm.c daemon/launch_slurm.h
daemon_nnd_slurm_CFLAGS = $(AM_CFLAGS)
daemon_nnd_slurm_LDADD =

# For the system tests: a rank that trains nothing, a client of few words, and
# one of bad manners.
check_PROGRAMS += tests/sys/fake-worker tests/sys/ask tests/sys/hostile
tests_sys_fake_worker_SOURCES = tests/sys/fake-worker.c
tests_sys_fake_worker_LDADD = $(MPI_COMM_LIBS) lib/comm/libcomm.la $(JOB_LIBS)
tests_sys_ask_SOURCES = tests/sys/ask.c
tests_sys_ask_LDADD = $(JOB_LIBS)
check_PROGRAMS += tests/sys/golden
tests_sys_golden_SOURCES = tests/sys/golden.c
tests_sys_golden_LDADD = $(SQLITE_LIBS) $(JOB_LIBS)
check_PROGRAMS += tests/sys/ask-http
tests_sys_ask_http_SOURCES = tests/sys/ask-http.c
tests_sys_ask_http_LDADD =
tests_sys_hostile_SOURCES = tests/sys/hostile.c
tests_sys_hostile_LDADD = $(JOB_LIBS)
check_PROGRAMS += tests/sys/rage
tests_sys_rage_SOURCES = tests/sys/rage.c
tests_sys_rage_LDADD = $(JOB_LIBS)
check_PROGRAMS += tests/sys/press
tests_sys_press_SOURCES = tests/sys/press.c
tests_sys_press_LDADD = daemon/libdaemon.la $(JOB_LIBS)
check_PROGRAMS += tests/sys/image
tests_sys_image_SOURCES = tests/sys/image.c tests/sys/shim.h
tests_sys_image_LDADD = $(BASE_LIBS)

# Between nnd and its files; a module needs a place that it is never installed to.
check_LTLIBRARIES += tests/sys/shim.la
tests_sys_shim_la_SOURCES = tests/sys/shim.c tests/sys/shim.h
tests_sys_shim_la_LDFLAGS = -module -avoid-version -shared -rpath /nowhere

daemon_test_libs = daemon/libdaemon.la $(JOB_LIBS) $(CMOCKA_LIBS)
unit_tests += \
    tests/unit/test_chan \
    tests/unit/test_hang \
    tests/unit/test_node \
    tests/unit/test_outcome \
    tests/unit/test_queue \
    tests/unit/test_state \
    tests/unit/test_store
tests_unit_test_chan_LDADD = $(daemon_test_libs)
tests_unit_test_hang_LDADD = $(daemon_test_libs)
tests_unit_test_node_LDADD = $(daemon_test_libs)
tests_unit_test_outcome_LDADD = $(daemon_test_libs)
tests_unit_test_queue_LDADD = $(daemon_test_libs)
tests_unit_test_state_LDADD = $(daemon_test_libs)
tests_unit_test_store_LDADD = $(daemon_test_libs)
slow_tests += \
    tests/sys/daemon_crash.test \
    tests/sys/daemon_disk.test \
    tests/sys/daemon_hang.test \
    tests/sys/daemon_kill.test \
    tests/sys/daemon_queue.test \
    tests/sys/daemon_storm.test \
    tests/sys/launch_slurm.test \
    tests/sys/survive.test
sys_tests += \
    tests/sys/daemon_conf.test \
    tests/sys/daemon_golden.test \
    tests/sys/daemon_guard.test \
    tests/sys/daemon_hostile.test \
    tests/sys/daemon_keys.test \
    tests/sys/daemon_life.test \
    tests/sys/daemon_older.test \
    tests/sys/daemon_points.test \
    tests/sys/daemon_outlive.test \
    tests/sys/daemon_power.test \
    tests/sys/launch_far.test \
    tests/sys/launch_ssh.test \
    tests/sys/daemon_watch.test \
    tests/sys/plugin_rules.test
EXTRA_DIST += tests/fixtures/client-1.frames tests/fixtures/store-2.sql
EXTRA_DIST += tests/sys/daemon.sh tests/sys/netns.sh tests/sys/slurm.sh \
    tests/sys/storm.sh

# SPDX-License-Identifier: Apache-2.0
#
# worker/local.mk - nnd-worker, one rank.

# All of the worker but its main, for tests as well.
noinst_LTLIBRARIES += worker/libworker.la

worker_libworker_la_CPPFLAGS = $(PROGRAM_CPPFLAGS)
worker_libworker_la_LIBADD = $(HWLOC_LIBS) $(JANSSON_LIBS)
worker_libworker_la_SOURCES = \
    worker/agent.c worker/agent.h \
    worker/args.c worker/args.h \
    worker/engine.c worker/engine.h \
    worker/fit.c worker/fit.h \
    worker/heat.c worker/heat.h \
    worker/job.c worker/job.h \
    worker/kernels.c worker/kernels.h \
    worker/lengths.c worker/lengths.h \
    worker/likelihood.c worker/likelihood.h \
    worker/lines.c worker/lines.h \
    worker/loop.c \
    worker/measure.c worker/measure.h \
    worker/metrics.c worker/metrics.h \
    worker/probe.c worker/probe.h \
    worker/run.c worker/run.h \
    worker/scores.c worker/scores.h \
    worker/stop.c worker/stop.h \
    worker/svg.c worker/svg.h \
    worker/task.h \
    worker/task_average.c \
    worker/task_eval.c \
    worker/task_export.c \
    worker/task_generate.c \
    worker/task_import.c \
    worker/task_kernels.c \
    worker/task_plan.c \
    worker/task_tokenizer.c \
    worker/task_train.c \
    worker/task_translate.c \
    worker/tfevents.c worker/tfevents.h \
    worker/topo.c worker/topo.h \
    worker/trained.c worker/trained.h \
    worker/world.c worker/world.h \
    worker/writer.c worker/writer.h

pkglibexec_PROGRAMS += worker/nnd-worker
worker_nnd_worker_SOURCES = worker/main.c
worker_nnd_worker_LDADD = \
    worker/libworker.la \
    $(MPI_COMM_LIBS) \
    $(ENGINE_LIBS) -lm

dist_man_MANS += doc/nnd-worker.8
slow_tests += tests/sys/worker_hang.test
sys_tests += \
    tests/sys/bad_text.test \
    tests/sys/eval.test \
    tests/sys/examples_text.test \
    tests/sys/fit.test \
    tests/sys/sentencepiece.test \
    tests/sys/tokenizer.test \
    tests/sys/translate.test \
    tests/sys/worker.test
unit_tests += \
    tests/unit/test_worker_agent \
    tests/unit/test_worker_tfevents \
    tests/unit/test_worker_files \
    tests/unit/test_worker_topo
tests_unit_test_worker_tfevents_LDADD = worker/libworker.la $(LDADD)
tests_unit_test_worker_agent_LDADD = worker/libworker.la $(LDADD) $(ZMQ_LIBS)
tests_unit_test_worker_files_LDADD = worker/libworker.la $(MPI_COMM_LIBS) $(LDADD)
tests_unit_test_worker_topo_LDADD = worker/libworker.la $(LDADD)

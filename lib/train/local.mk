# SPDX-License-Identifier: Apache-2.0
#
# lib/train/local.mk - loop, optimizers, schedules, loss scale, checkpoints.

noinst_LTLIBRARIES += lib/train/libtrain.la

lib_train_libtrain_la_LIBADD = $(JANSSON_LIBS)
lib_train_libtrain_la_SOURCES = \
    lib/train/carry.c lib/train/carry.h \
    lib/train/checkpoint.c lib/train/checkpoint.h \
    lib/train/checkpoint_average.c \
    lib/train/checkpoint_folder.c lib/train/checkpoint_folder.h \
    lib/train/checkpoint_layout.c lib/train/checkpoint_layout.h \
    lib/train/checkpoint_load.c \
    lib/train/checkpoint_meet.c lib/train/checkpoint_meet.h \
    lib/train/checkpoint_stored.c lib/train/checkpoint_stored.h \
    lib/train/checkpoint_write.c lib/train/checkpoint_write.h \
    lib/train/init.c lib/train/init.h \
    lib/train/manifest.c lib/train/manifest.h \
    lib/train/pads.c lib/train/pads.h \
    lib/train/plan_report.c lib/train/plan_report.h \
    lib/train/profile.c \
    lib/train/retrace.c lib/train/retrace.h \
    lib/train/schedule.c lib/train/schedule.h \
    lib/train/teacher.c lib/train/teacher.h \
    lib/train/trainer.c lib/train/trainer.h lib/train/trainer_impl.h \
    lib/train/update.c lib/train/update.h

# Programs that tests run under mpirun.
check_LTLIBRARIES += tests/num/liblab.la
tests_num_liblab_la_SOURCES = tests/num/lab.c tests/num/lab.h

check_PROGRAMS += tests/num/train_plan tests/num/train_steps
tests_num_train_plan_SOURCES = tests/num/train_plan.c
tests_num_train_plan_LDADD = \
    worker/libworker.la tests/num/liblab.la $(MPI_COMM_LIBS) $(LDADD)
tests_num_train_steps_SOURCES = tests/num/train_steps.c
tests_num_train_steps_LDADD = tests/num/liblab.la $(MPI_COMM_LIBS) $(LDADD)

slow_tests += tests/num/checkpoint.test tests/num/layout.test \
    tests/num/packed.test
sys_tests += tests/num/plan.test

# Fixtures are made by the script, which needs PyTorch; the tests do not.
num_tests += tests/num/test_anew tests/num/test_experts tests/num/test_mistakes \
    tests/num/test_parity
tests_num_test_anew_SOURCES = \
    tests/num/hand.c tests/num/hand.h \
    tests/num/test_anew.c
tests_num_test_experts_SOURCES = \
    tests/num/hand.c tests/num/hand.h \
    tests/num/test_experts.c
tests_num_test_mistakes_SOURCES = \
    tests/num/hand.c tests/num/hand.h \
    tests/num/lab_comm.c tests/num/lab_comm.h \
    tests/num/op_lab.c tests/num/op_lab.h \
    tests/num/test_mistakes.c
tests_num_test_parity_SOURCES = \
    tests/num/hand.c tests/num/hand.h \
    tests/num/test_parity.c
EXTRA_DIST += \
    tests/fixtures/make_parity.py \
    tests/fixtures/make_parity_seq.py \
    tests/fixtures/parity-encdec-own.safetensors \
    tests/fixtures/parity-encdec-post.safetensors \
    tests/fixtures/parity-encdec-pre.safetensors \
    tests/fixtures/parity-gpt2.safetensors \
    tests/fixtures/parity-llama.safetensors \
    tests/fixtures/parity-mixtral.safetensors \
    tests/fixtures/parity-qwen3-norm.safetensors \
    tests/fixtures/parity-qwen3-raw.safetensors \
    tests/fixtures/parity-rnnlm-gru.safetensors \
    tests/fixtures/parity-rnnlm-lines.safetensors \
    tests/fixtures/parity-rnnlm-lstm.safetensors \
    tests/fixtures/parity-rnnlm-own.safetensors \
    tests/fixtures/parity-rnnlm-rnn.safetensors \
    tests/fixtures/parity-rnnlm-taught.safetensors \
    tests/fixtures/parity-seq2seq-additive.safetensors \
    tests/fixtures/parity-seq2seq-before.safetensors \
    tests/fixtures/parity-seq2seq-concat.safetensors \
    tests/fixtures/parity-seq2seq-dot.safetensors \
    tests/fixtures/parity-seq2seq-lstm.safetensors \
    tests/fixtures/parity-seq2seq-none.safetensors \
    tests/fixtures/parity-seq2seq-own.safetensors \
    tests/fixtures/parity-seq2seq-rnn.safetensors \
    tests/fixtures/parity-seq2seq-taught.safetensors

unit_tests += \
    tests/unit/test_train_checkpoint \
    tests/unit/test_train_manifest \
    tests/unit/test_train_meet \
    tests/unit/test_train_schedule

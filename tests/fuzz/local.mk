# SPDX-License-Identifier: Apache-2.0
#
# tests/fuzz/local.mk - targets for fuzzing, here driven over their corpus.

check_LTLIBRARIES += tests/fuzz/libfeed.la
tests_fuzz_libfeed_la_SOURCES = tests/fuzz/feed.c tests/fuzz/dir.c tests/fuzz/fuzz.h

check_PROGRAMS += \
    tests/fuzz/fuzz_allow \
    tests/fuzz/fuzz_bpe \
    tests/fuzz/fuzz_conf \
    tests/fuzz/fuzz_frame \
    tests/fuzz/fuzz_hf \
    tests/fuzz/fuzz_job \
    tests/fuzz/fuzz_key \
    tests/fuzz/fuzz_lexicon \
    tests/fuzz/fuzz_manifest \
    tests/fuzz/fuzz_packed \
    tests/fuzz/fuzz_replay \
    tests/fuzz/fuzz_safetensors \
    tests/fuzz/fuzz_status
tests_fuzz_fuzz_allow_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_bpe_LDADD = tests/fuzz/libfeed.la $(ENGINE_LIBS) -lm
tests_fuzz_fuzz_conf_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_frame_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_hf_LDADD = tests/fuzz/libfeed.la $(ENGINE_LIBS) -lm
tests_fuzz_fuzz_job_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_key_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_lexicon_LDADD = tests/fuzz/libfeed.la $(ENGINE_LIBS) -lm
tests_fuzz_fuzz_manifest_LDADD = tests/fuzz/libfeed.la $(ENGINE_LIBS) -lm
tests_fuzz_fuzz_packed_LDADD = tests/fuzz/libfeed.la $(JOB_LIBS)
tests_fuzz_fuzz_replay_LDADD = tests/fuzz/libfeed.la daemon/libdaemon.la $(JOB_LIBS)
tests_fuzz_fuzz_safetensors_LDADD = tests/fuzz/libfeed.la $(ENGINE_LIBS) -lm
tests_fuzz_fuzz_status_LDADD = tests/fuzz/libfeed.la daemon/libdaemon.la $(JOB_LIBS)

sys_tests += tests/fuzz/corpus.test
EXTRA_DIST += tests/fuzz/corpus tests/fuzz/run.sh

# SPDX-License-Identifier: Apache-2.0
#
# tests/local.mk - how tests are run; which there are is said by the fragment
# of the directory under test.  Every test speaks TAP.

style_tests = \
    tests/style/headers.test \
    tests/style/layers.test \
    tests/style/links.test \
    tests/style/text.test

sys_tests += $(style_tests)

# What takes long begins first: nothing is left to wait for at the end.
system_tests = $(slow_tests) $(sys_tests)
TESTS = $(slow_tests) $(unit_tests) $(num_tests) $(sys_tests)
TEST_EXTENSIONS = .test
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
LOG_DRIVER = $(TAP_DRIVER)
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/tap-run
TEST_LOG_DRIVER = $(TAP_DRIVER)

# Tests wait more than they compute: three at once on a core, unless -j was given.
AM_MAKEFLAGS = $(if $(filter check%,$(MAKECMDGOALS)),$(if \
    $(findstring -j,$(MAKEFLAGS)),,-j$(shell echo $$((3 * $$(nproc))))))

# Ranks of a test share this machine, whoever runs it and however few cores
# there are.
AM_TESTS_ENVIRONMENT = \
    NND_BUILDDIR='$(abs_top_builddir)'; export NND_BUILDDIR; \
    NND_SRCDIR='$(abs_top_srcdir)'; export NND_SRCDIR; \
    NND_CPPFLAGS='$(AM_CPPFLAGS) $(CMOCKA_CFLAGS) $(BLIS_CFLAGS)'; \
    export NND_CPPFLAGS; \
    CC='$(CC)'; export CC; \
    MPIRUN='$(MPIRUN)'; export MPIRUN; \
    CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; \
    OMPI_ALLOW_RUN_AS_ROOT=1; export OMPI_ALLOW_RUN_AS_ROOT; \
    OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM; \
    OMPI_MCA_pml=ob1; export OMPI_MCA_pml; \
    OMPI_MCA_btl=self,vader; export OMPI_MCA_btl; \
    OMPI_MCA_rmaps_base_oversubscribe=1; export OMPI_MCA_rmaps_base_oversubscribe; \
    OMPI_MCA_mpi_yield_when_idle=1; export OMPI_MCA_mpi_yield_when_idle; \
    OMPI_MCA_hwloc_base_binding_policy=none; \
    export OMPI_MCA_hwloc_base_binding_policy;

# A part of the tests by name: make check-unit, make check-sys, ...
check-unit:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(unit_tests)'
check-num:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(num_tests)'
check-sys:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(system_tests)'
check-style:
	$(MAKE) $(AM_MAKEFLAGS) check TESTS='$(style_tests)'
.PHONY: check-unit check-num check-sys check-style

EXTRA_DIST += \
    $(system_tests) \
    tests/tap-run \
    tests/tap.sh \
    tests/tsan.supp \
    tests/style/allowed \
    tests/style/layers \
    tests/style/layers.awk \
    tests/style/text.awk \
    tests/unit/unit.h

# SPDX-License-Identifier: Apache-2.0
#
# lib/comm/local.mk - collectives: of one process, and over MPI.

noinst_LTLIBRARIES += lib/comm/libcomm.la

lib_comm_libcomm_la_SOURCES = \
    lib/comm/comm.c lib/comm/comm.h \
    lib/comm/comm_impl.h \
    lib/comm/comm_reduce.c \
    lib/comm/comm_self.c \
    lib/comm/lane.c lib/comm/lane.h

# comm_mpi.c alone is compiled and linked with MPI.
if WITH_MPI
noinst_LTLIBRARIES += lib/comm/libcommmpi.la

lib_comm_libcommmpi_la_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
lib_comm_libcommmpi_la_LIBADD = $(MPI_LIBS)
lib_comm_libcommmpi_la_SOURCES = lib/comm/comm_mpi.c

check_PROGRAMS += tests/num/test_comm_mpi
tests_num_test_comm_mpi_LDADD = $(MPI_COMM_LIBS) $(LDADD)
sys_tests += tests/num/comm_mpi.test
else
lib_comm_libcomm_la_SOURCES += lib/comm/comm_nompi.c
endif

EXTRA_DIST += tests/num/comm_mpi.test
unit_tests += tests/unit/test_comm_lane tests/unit/test_comm_self

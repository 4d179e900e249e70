# SPDX-License-Identifier: Apache-2.0
#
# lib/comm/local.mk - collectives: of one process, and over MPI.

noinst_LTLIBRARIES += lib/comm/libcomm.la

lib_comm_libcomm_la_SOURCES =

# comm_mpi.c alone is compiled and linked with MPI.
if WITH_MPI
noinst_LTLIBRARIES += lib/comm/libcommmpi.la

lib_comm_libcommmpi_la_CPPFLAGS = $(AM_CPPFLAGS) $(MPI_CFLAGS)
lib_comm_libcommmpi_la_LIBADD = $(MPI_LIBS)
lib_comm_libcommmpi_la_SOURCES =
endif

# SPDX-License-Identifier: Apache-2.0
#
# include/local.mk - what is installed for those who write plugins.

nndincludedir = $(includedir)/nnd
nndinclude_HEADERS = include/nnd/plugin.h

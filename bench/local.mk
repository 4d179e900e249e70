# SPDX-License-Identifier: Apache-2.0
#
# bench/local.mk - benchmarks; none is run by make check.

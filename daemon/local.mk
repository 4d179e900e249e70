# SPDX-License-Identifier: Apache-2.0
#
# daemon/local.mk - nnd, the coordinator, and nnd-shepherd.

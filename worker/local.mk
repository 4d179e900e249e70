# SPDX-License-Identifier: Apache-2.0
#
# worker/local.mk - nnd-worker, one rank.

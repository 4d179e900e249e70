# SPDX-License-Identifier: Apache-2.0
#
# plugins/ref/local.mk - plain C kernels, the oracle.

# SPDX-License-Identifier: Apache-2.0
#
# plugins/blis/local.mk - kernels over BLIS.

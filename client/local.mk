# SPDX-License-Identifier: Apache-2.0
#
# client/local.mk - nnctl, the client.

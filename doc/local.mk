# SPDX-License-Identifier: Apache-2.0
#
# doc/local.mk - manual pages and other documents.

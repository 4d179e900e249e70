/* SPDX-License-Identifier: Apache-2.0 */
/*
 * template.h - the files of a new plugin, with @NAME@ where its name goes.
 */
#ifndef CLIENT_TEMPLATE_H
#define CLIENT_TEMPLATE_H

extern const char template_plugin[], template_Makefile[];

#endif

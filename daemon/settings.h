/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - nnd's command line and configuration file, joined.
 *
 * Every key of conf.proto is an option of the same name; an option wins over the
 * file.  The file is read again on HUP: what it says then counts from then on, or,
 * when it is wrong, nothing changes.
 */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"
#include "daemon/hub.h"
#include "proto/conf.h"

#define SETTINGS_MAX 64 /* options on one command line */

struct settings {
    const char *file; /* --config, or NULL */
    bool background, check, debug;
    struct {
        const struct rule *rule;
        const char *value, *option;
    } given[SETTINGS_MAX];
    size_t ngiven;
    struct spec *spec; /* what counts now; strings of options are its */
    char dir[PATH_MAX], uri[PATH_MAX];
    char worker[PATH_MAX], shepherd[PATH_MAX], mpirun[PATH_MAX], slurm[PATH_MAX];
};

/* Read the command line; --help and --version print and exit. */
int settings_parse(int argc, char **argv, struct settings *s, struct err *e);

/* Read the file, apply the options, work out what is left open.  After the first
 * time only what may change in a running nnd may differ.  On error nothing has
 * changed; *out points into s. */
int settings_load(struct settings *s, struct hub_options *out, struct err *e);

void settings_free(struct settings *s);

#endif

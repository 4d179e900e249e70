/* SPDX-License-Identifier: Apache-2.0 */
/*
 * quarantine.h - plugins and kernels that did harm, remembered by what is in the
 * file: DIR/<sha256>.json, a list of notes.
 *
 * Who saw it writes a note: the probe, a rank's check of a kernel's first call, nnd
 * when a rank died inside a kernel.  Who chooses kernels reads them.  A file that is
 * built anew has another sum and gets another chance.
 */
#ifndef TRUST_QUARANTINE_H
#define TRUST_QUARANTINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/sha256.h"

/* What was seen of a kernel, or of a whole file. */
struct quarantine_note {
    const char *kernel; /* "" for the whole file                        */
    const char *op;     /* "attn.fwd", or ""                            */
    const char *stage;  /* "loading", "self-check", "check", "first call", ... */
    const char *reason; /* one line                                     */
    const char *abi;    /* the host's, "1.0"                            */
    const char *arch;   /* quarantine_arch's                            */
    const char *time;   /* when, ISO 8601                               */
    bool suspect;       /* it was running when its process died, nothing more */
};

/* A file of which something is known. */
struct quarantine_file {
    char sha256[SHA256_HEX];
    const char *path, *plugin, *version; /* when the last note was made; or "" */
    const struct quarantine_note *notes;
    size_t nnotes;
};

/* Add a note; arch and time are filled in when NULL.  The note takes the place of an
 * older one of the same kernel and stage.  DIR is made when it is not there. */
int quarantine_add(const char *dir, const struct quarantine_file *file,
                   const struct quarantine_note *note, struct err *e);

/* What is known of the file with this sum: 0 notes when nothing is, or when what is
 * there cannot be understood - who cannot read a warning is not stopped by it. */
void quarantine_read(const char *dir, const char *sha256, struct arena *a,
                     struct quarantine_file *out);

/* All files of which something is known, in the order of their sums. */
int quarantine_list(const char *dir, struct arena *a, struct quarantine_file **out,
                    size_t *n, struct err *e);

/* Forget the files whose sums begin with `prefix`, of at least 6 digits; NULL: all.
 * Returns how many; ERR_NOTFOUND when a prefix is nobody's. */
int quarantine_clear(const char *dir, const char *prefix, struct err *e);

/* The note that speaks of a kernel, or of the whole file; suspects only if asked.
 * NULL if none does. */
const struct quarantine_note *quarantine_find(const struct quarantine_file *f,
                                              const char *kernel, bool suspects);

/* A file that was loaded and tried has a mark beside the notes: nobody need do it
 * again. */
bool quarantine_trusts(const char *dir, const char *sha256);
int quarantine_trust(const char *dir, const char *sha256, struct err *e);

/* "x86_64 Intel(R) Xeon(R) ...": what decides how a kernel behaves here. */
const char *quarantine_arch(char out[128]);

#endif

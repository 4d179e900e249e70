/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sweep.h - the end of an attempt's processes, after its shepherd: wherever they are,
 * and whatever they changed about themselves, none may be left when the attempt is
 * called over.
 */
#ifndef DAEMON_SWEEP_H
#define DAEMON_SWEEP_H

#include "daemon/attempt.h"

/* Kill what is there; true once nothing is.  To be called again until then. */
bool sweep_act(struct hub *h, struct attempt *a);

#endif

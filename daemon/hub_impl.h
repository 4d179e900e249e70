/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hub_impl.h - what the hub's sources share; for nobody else.
 */
#ifndef DAEMON_HUB_IMPL_H
#define DAEMON_HUB_IMPL_H

#include "daemon/hub.h"

/* Take the job's durable fields from the store again; false when it is not there. */
bool hub_reread(struct hub *h, struct job *j);

/* Put a job among those that have an attempt. */
void hub_live(struct hub *h, struct job *j);

#endif

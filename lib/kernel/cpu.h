/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpu.h - the device table of the host's own memory.
 */
#ifndef KERNEL_CPU_H
#define KERNEL_CPU_H

#include <nnd/plugin.h>

/* Type "cpu", one device.  Work is done when a call returns, so streams are
 * empty and events are points in time. */
extern const struct nnd_device_ops cpu_device;

#endif

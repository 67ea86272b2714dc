/*
 * The forced end of all processes below this one: SIGTERM, and SIGKILL after a grace period until
 * none is left. Each function signals first; what it has to report comes after.
 */
#ifndef DFLOCKCTL_TERMINATION_H
#define DFLOCKCTL_TERMINATION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "dflockctl/descendants.h"

struct termination {
    int64_t kill_ms; /* when to call termination_kill next */
    uint64_t grace_s;
    int64_t give_up_ms; /* 0: SIGKILL was not sent yet */
};

/*
 * Sends SIGTERM (SIGKILL if `grace_s` is 0) to `command`, a child or 0, and all other descendants.
 * Then reports on stderr: `event`, what was sent, and each process that could not be signalled.
 */
void termination_begin(struct termination *termination, pid_t command, uint64_t grace_s,
                       const char *event);

/*
 * To be called from `kill_ms` on while processes are left: sends SIGKILL to all of them. Returns
 * true, or false if processes are left that this user may not signal: that is reported, and waiting
 * for them is useless.
 */
bool termination_kill(struct termination *termination, pid_t command);

#endif

/*
 * The process that runs the command of `lock` and `sem`, renews the lock, and ends the command if
 * the lock is lost. `lock` may have several keys: "the lock" means all of them.
 *
 *   shell ── outer process ──┬── supervisor ── command ── its processes
 *                            └── group witness
 *
 * Outer process (outer.h): the process that the user started. It is in the shell's job, receives
 * signals, and ends as the command ended. It waited for the grant, too, before it started the
 * others.
 *
 * Supervisor: has the connection. Two reasons make it a process of its own. It is a new process
 * without children, and a subreaper, so that its descendants are exactly the command and what that
 * started; children that the outer process inherited by exec(2) are not among them. And it survives
 * `kill -9` of the outer process, and of the whole process group as by `timeout -k`, because it is
 * in a process group of its own: then it ends all processes of the command, and holds the lock
 * meanwhile. It blocks all signals. It never waits for the outer process.
 *
 * Group witness: see relay.h.
 *
 * The command is in the process group of the outer process. So job control, and signals of the
 * terminal, work as without dflockctl.
 */
#ifndef DFLOCKCTL_SUPERVISOR_H
#define DFLOCKCTL_SUPERVISOR_H

#include <stdint.h>
#include <sys/types.h>

#include "dflockctl/holds.h"
#include "dflockctl/loop.h"
#include "dflockctl/settings.h"

/* Messages between the processes, over sockets that keep the boundaries. */

/* From the outer process and from the witness: it received a signal. */
struct supervisor_signal {
    int32_t signal;
    uint32_t continues; /* SIGCONTs that the outer process has received so far */
};

enum supervisor_event {
    SUPERVISOR_STARTED,   /* the command runs; `number` is its pid */
    SUPERVISOR_STOPPED,   /* `number` stopped the command */
    SUPERVISOR_CONTINUED, /* the command runs again */
    SUPERVISOR_ENDED      /* all is over; `number` is the exit status */
};

/* To the outer process. */
struct supervisor_report {
    int32_t event;
    int32_t number;
    int32_t ended_by;   /* on ENDED: the signal that ended the command with that status, or 0 */
    uint32_t continues; /* the last that the outer process sent, to recognise old STOPPED */
};

/* What the supervisor is started with. */
struct supervisor_context {
    const struct settings *settings;
    struct holds *holds;
    struct loop *loop; /* of the outer process */
    int outer;         /* socket to the outer process */
    int witness;       /* socket to the witness */
    pid_t outer_pid;
};

/* In a child of the outer process, just forked: does all of the above and exits. */
_Noreturn void supervisor_run(const struct supervisor_context *context);

#endif

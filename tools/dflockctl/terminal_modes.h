/*
 * Modes of the controlling terminal (raw, no echo, ...), saved before a command runs and restored
 * if it could not do that itself because a signal ended it.
 */
#ifndef DFLOCKCTL_TERMINAL_MODES_H
#define DFLOCKCTL_TERMINAL_MODES_H

#include <sys/types.h>
#include <termios.h>

struct terminal_modes {
    int terminal; /* descriptor; -1: no controlling terminal */
    struct termios saved;
};

/* Opens the controlling terminal, if there is one, and saves its modes. */
void terminal_modes_save(struct terminal_modes *modes);

/*
 * Restores the modes if `group` is the foreground process group of the terminal, or if that group
 * no longer has a process. The terminal belongs to other processes otherwise. The caller has
 * SIGTTOU blocked, so that this works from a background process. Does not wait for output.
 */
void terminal_modes_restore(const struct terminal_modes *modes, pid_t group);

#endif

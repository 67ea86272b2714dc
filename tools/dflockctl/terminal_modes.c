#include "dflockctl/terminal_modes.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

void terminal_modes_save(struct terminal_modes *modes)
{
    modes->terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (modes->terminal >= 0 && tcgetattr(modes->terminal, &modes->saved) < 0) {
        close(modes->terminal);
        modes->terminal = -1;
    }
}

void terminal_modes_restore(const struct terminal_modes *modes, pid_t group)
{
    pid_t foreground;

    if (modes->terminal < 0)
        return;
    foreground = tcgetpgrp(modes->terminal);
    if (foreground != group) {
        /* A command with job control of its own may have died with the terminal in its group. */
        if (foreground <= 0 || kill(-foreground, 0) == 0 || errno != ESRCH)
            return;
        tcsetpgrp(modes->terminal, group);
    }
    /* TCSADRAIN would wait for ever on a terminal that ^S has stopped. */
    tcsetattr(modes->terminal, TCSANOW, &modes->saved);
}

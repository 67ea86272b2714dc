/*
 * Sockets that the service manager opened and passes on, as sd_listen_fds(3) describes: LISTEN_FDS
 * of them from descriptor 3 on, for the process LISTEN_PID.
 */
#ifndef OS_ACTIVATION_H
#define OS_ACTIVATION_H

#include <stdint.h>

#include "os/sockets.h"

enum {
    ACTIVATION_MAX = 8
};

/*
 * Takes over the passed sockets, which must be listening stream sockets of TCP or a path. Returns
 * their number, 0 without a service manager. On failure returns -1 and sets `problem`, one line.
 */
int activation_take(struct listener listeners[ACTIVATION_MAX], char problem[SOCKETS_TEXT_MAX]);

#endif

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
 * How many there are, 0 without a service manager; or -1, and `problem` says in a line what is
 * wrong with them. Each is a stream socket that listens, of TCP or of a path.
 */
int activation_take(struct listener listeners[ACTIVATION_MAX], char problem[SOCKETS_TEXT_MAX]);

#endif

/*
 * A write that never waits and never raises SIGPIPE, to a descriptor that other processes share.
 *
 * O_NONBLOCK belongs to the open file, so setting it would change the descriptor of those processes
 * as well.
 */
#ifndef DFLOCKCTL_WRITE_NONBLOCKING_H
#define DFLOCKCTL_WRITE_NONBLOCKING_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Writes at most `length` bytes (up to PIPE_BUF, for which a pipe has room for all or takes none).
 * Returns whether all were written. Otherwise the rest is lost: nobody reads, there is no room, or
 * ^S has stopped the terminal.
 */
bool write_nonblocking(int descriptor, const char *bytes, size_t length);

#endif

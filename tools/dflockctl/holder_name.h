/*
 * The name that `show` prints for a lock of `lock`, `sem` or `acquire`.
 */
#ifndef DFLOCKCTL_HOLDER_NAME_H
#define DFLOCKCTL_HOLDER_NAME_H

#include "dflockctl/settings.h"

/*
 * Writes "USER@HOST PROGRAM". PROGRAM is the command that runs under the lock, without its
 * directory and its arguments: they may contain secrets, and each client of the server can read
 * names.
 */
void holder_name_build(char name[DFLOCKD_NAME_MAX + 1], const struct settings *settings);

#endif

/*
 * The name of a program's connections, which `dflockctl show` prints.
 */
#ifndef CLIENT_NAME_H
#define CLIENT_NAME_H

#include <stdbool.h>

#include "dflockd/protocol.h"

/* Returns whether the server accepts it: 1 to DFLOCKD_NAME_MAX bytes of printable UTF-8. */
bool name_is_valid(const char *name);

/* Writes `user@host program`, without bytes that name_is_valid refuses, and cut to its size. */
void name_build(char name[DFLOCKD_NAME_MAX + 1], const char *program);

#endif

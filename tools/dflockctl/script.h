/*
 * Locks whose holder is a script: `acquire`, `release` and `renew`, each a program's life of its
 * own.
 */
#ifndef DFLOCKCTL_SCRIPT_H
#define DFLOCKCTL_SCRIPT_H

#include "dflockctl/settings.h"

/* Commands. */
int script_acquire(const struct settings *settings);
int script_release(const struct settings *settings);
int script_renew(const struct settings *settings);

#endif

/*
 * The options of a program, which may have been compiled for another version of the library: a
 * structure starts with its size, and later versions add members at its end.
 */
#ifndef CLIENT_OPTIONS_H
#define CLIENT_OPTIONS_H

#include <stdbool.h>

#include "dflockd/client.h"

/*
 * Copy the members that this version knows, and set the defaults of those that the program does not
 * have. Return false if the size was not set, or if a member that this version does not know is
 * not 0. Then options_copy writes the reason to `given->problem` if the size was set.
 */
bool options_copy(struct dflockd_options *copy, const struct dflockd_options *given);
bool options_copy_lock(struct dflockd_lock_options *copy, const struct dflockd_lock_options *given);

#endif

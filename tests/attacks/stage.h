/*
 * The stage of an attack: the server's process, a bystander that measures other clients, and the
 * moment when the attack begins.
 */
#ifndef ATTACKS_STAGE_H
#define ATTACKS_STAGE_H

#include <stdint.h>

#include "attacks/settings.h"

/* Starts the bystander. `mode` is "", "renew" or "tls". */
void stage_open(const struct settings *settings, const char *mode);

/* Restarts the bystander's measurement: the attack begins now. */
void stage_begin(void);

/*
 * Waits until shortly before `first_ns` and begins. With `stop`, the server's process is stopped
 * until `last_ns`, so that everything is due when it continues. Returns the time at which it
 * continued, or `first_ns`.
 */
uint64_t stage_begin_at(const struct settings *settings, uint64_t first_ns, uint64_t last_ns);

/*
 * Waits until the server has little to do. Ends the bystander. Sets its figures, and the problem
 * that it found, in `result`.
 */
void stage_close(const struct settings *settings, struct result *result);

#endif

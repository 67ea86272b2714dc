/*
 * The requests of a claim, and the statuses and problems that its caller gets. Without side
 * effects.
 */
#ifndef CLIENT_CLAIM_TEXT_H
#define CLIENT_CLAIM_TEXT_H

#include "client/claim.h"

/* Returns a request of the claim's kind. `command` is that of an exclusive lock. */
struct dflockd_request claim_request(const struct claim *claim, enum dflockd_command command);

/* Returns the request of LEASE_SEND_RENEW or LEASE_SEND_OWN. */
struct dflockd_request claim_action_request(const struct claim *claim, enum lease_action action);

/* Keeps a problem that is set already: it says more than `why`. */
void claim_note_problem(struct claim *claim, enum dflockd_status why);

/* A caller that waits for a grant, or releases one, gets LOST if the server does not know the
 * grant. */
enum dflockd_status claim_caller_status(enum dflockd_status why);

#endif

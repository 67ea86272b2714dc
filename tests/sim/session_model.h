/*
 * A session and its model: both process the same input, and each reply of the session must match
 * the model's.
 */
#ifndef TESTS_SIM_SESSION_MODEL_H
#define TESTS_SIM_SESSION_MODEL_H

#include "world.h"

void session_model_start(struct session_model *session_model, bool auth);

/* Adds a request to the bytes that the peer sends. */
void session_model_add_request(struct sim_peer *peer, const struct sim_request *request);

/* The peer reads all output. */
void session_model_read_output(struct world *world, struct sim_peer *peer);

/* Passes the received, unserved bytes to the session. */
void session_model_read(struct world *world, struct sim_peer *peer);

/* Delivers the reply to the pending request; then the session continues. */
void session_model_effect(struct world *world, struct sim_peer *peer,
                          const struct lock_answer *answer, const struct model_effect *effect);

/* See session_input_ended, session_fail, session_drain, claims_watch. */
void session_model_end_input(struct world *world, struct sim_peer *peer);
void session_model_fail(struct world *world, struct sim_peer *peer);
void session_model_drain(struct world *world, struct sim_peer *peer);
void session_model_watch(struct world *world, struct sim_peer *peer);

/* See session_disconnect. Returns true when all is done. */
bool session_model_disconnect(struct world *world, struct sim_peer *peer, uint32_t steps);

#endif

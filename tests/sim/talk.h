/*
 * A session beside its model: what comes is given to the session, and each line that it says must
 * be the one that the model says.
 */
#ifndef TESTS_SIM_TALK_H
#define TESTS_SIM_TALK_H

#include "world.h"

void talk_start(struct talk *talk, bool auth);

/* A request that the peer says, behind what it said before. */
void talk_ask(struct peer *peer, const struct asked *asked);

/* The peer reads all that it was told. */
void talk_hear(struct world *world, struct peer *peer);

/* Gives the session what came and was not served. */
void talk_read(struct world *world, struct peer *peer);

/* The answer to the pending request; the session goes on behind it. */
void talk_effect(struct world *world, struct peer *peer, const struct lock_answer *answer,
                 const struct model_news *news);

/* See session_input_ended, session_fail, session_drain, session_watch. */
void talk_end(struct world *world, struct peer *peer);
void talk_fail(struct world *world, struct peer *peer);
void talk_drain(struct world *world, struct peer *peer);
void talk_watch(struct world *world, struct peer *peer);

/* See session_disconnect; true when all is done. */
bool talk_disconnect(struct world *world, struct peer *peer, uint32_t steps);

#endif

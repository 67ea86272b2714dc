/*
 * Requests to bytes, and lines to replies. Pure.
 */
#ifndef CLIENT_SPEECH_H
#define CLIENT_SPEECH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/client.h"

/* Whether the protocol has such a request: what its command takes is there and in its range. */
bool speech_valid(const struct dflockd_request *request);

/* Bytes that speech_ask may write for a valid request. */
size_t speech_room(const struct dflockd_request *request);

/* Writes a valid request at `to`; how many bytes it has. */
size_t speech_ask(uint8_t *to, const struct dflockd_request *request);

/*
 * What a line, without its newline, answers to a request. False where the protocol has no such
 * answer to it. `reply->text` borrows the line.
 */
bool speech_hear(struct dflockd_reply *reply, enum dflockd_command command, const char *line,
                 size_t length);

/* The outcome that a line of one word is, or DFLOCKD_OUTCOME_COUNT. */
enum dflockd_outcome speech_outcome(const char *word, size_t length);

#endif

/*
 * Encodes requests to bytes, and parses lines to replies. Pure.
 */
#ifndef CLIENT_CODEC_H
#define CLIENT_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockd/client.h"

/* Returns whether the command exists and its members are set and within their limits. */
bool codec_request_is_valid(const struct dflockd_request *request);

/* Returns the most bytes that codec_encode_request writes for a valid request. */
size_t codec_request_size_max(const struct dflockd_request *request);

/* Writes a valid request to `to`. Returns its length. */
size_t codec_encode_request(uint8_t *to, const struct dflockd_request *request);

/*
 * Parses a line, without its newline, that replies to `command`. Returns false if the protocol has
 * no such reply to it. `reply->text` borrows the line.
 */
bool codec_parse_reply(struct dflockd_reply *reply, enum dflockd_command command, const char *line,
                       size_t length);

/* Returns the outcome that has this word, or DFLOCKD_OUTCOME_COUNT if there is none. */
enum dflockd_outcome codec_parse_outcome(const char *word, size_t length);

#endif

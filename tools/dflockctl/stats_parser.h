/*
 * Parses the JSON of a `stats` reply that arrives in parts, and counts totals.
 */
#ifndef DFLOCKCTL_STATS_PARSER_H
#define DFLOCKCTL_STATS_PARSER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dflockctl/json_parser.h"
#include "dflockctl/key_stats.h"

/* Totals of one server. */
struct stats_totals {
    uint64_t connections;
    uint64_t locks;      /* that have a holder or waiters */
    uint64_t semaphores; /* likewise */
    uint64_t holders;    /* of locks and semaphores */
    uint64_t waiters;
    uint64_t idle; /* keys */
};

/* Takes the statistics of a key. The entry and its texts are valid until the function returns. */
typedef void stats_key_function(void *context, const struct key_stats *entry);

struct stats_parser {
    struct stats_totals totals;

    /* Private. */
    struct json_parser json;
    stats_key_function *take; /* NULL: none */
    void *context;
    size_t server;
    unsigned depth;
    unsigned section;       /* number of the member of the statistics; SECTION_COUNT: unknown */
    unsigned sections;      /* bits of those that were complete */
    unsigned member;        /* number of the member of a key; MEMBER_COUNT: unknown */
    unsigned members;       /* bits of those that were read */
    struct key_stats entry; /* of the key that is being read */
    char key[JSON_TEXT_MAX];
};

/* Begins the statistics of server number `server`. `take` may be NULL. */
void stats_parser_begin(struct stats_parser *parser, size_t server, stats_key_function *take,
                        void *context);

/* Parses the next part. */
void stats_parser_read(struct stats_parser *parser, const char *part, size_t length);

/* Returns whether the parts were statistics as a dflockd writes them, from begin to end. */
bool stats_parser_is_complete(const struct stats_parser *parser);

#endif

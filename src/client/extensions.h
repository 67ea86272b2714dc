/*
 * What a server understands of the commands that dflockd adds to the published protocol.
 *
 * A server replies `error` to a command that it does not know. Upstream 2.1 keeps the connection,
 * 0.1.0 to 0.5.0 close it. So the library first asks for something harmless, once per server and on
 * a connection that holds nothing: `w` for a key that it has not enqueued. 0.5.0 replies `error`,
 * older ones also close the connection, and later ones reply `error_not_enqueued`. Only after that
 * reply it sends `name`, and `own` for a grant. The first replies to those show whether the server
 * knows them. After any other one, or none, it connects again and sends neither.
 *
 * `rl` and `re` need no such probe. The library sends them on a connection that holds nothing, and
 * drops the connection after `error`.
 *
 * Threads of a client share this. Another server may take the place of the known one: then the
 * replies are as those of a server that was never asked.
 */
#ifndef CLIENT_EXTENSIONS_H
#define CLIENT_EXTENSIONS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "dflockd/client.h"

enum knowledge {
    KNOWLEDGE_NONE,
    KNOWLEDGE_YES,
    KNOWLEDGE_NO
};

/* All 0: nothing is known. */
struct extensions {
    _Atomic(enum knowledge) survives; /* the connection survives an unknown command */
    _Atomic(enum knowledge) name;     /* it knows `name`, and so `show` and `revoke` */
    _Atomic(enum knowledge) own;
};

/* Returns the request that finds out `survives`. */
struct dflockd_request extensions_probe(void);

/* Note the reply to the probe, and to `name`. */
void extensions_take_probe(struct extensions *extensions, const struct dflockd_reply *reply);
void extensions_take_name(struct extensions *extensions, const struct dflockd_reply *reply);

/* The connection has ended instead of the reply to `command`: probe again before the next one. */
void extensions_disconnected(struct extensions *extensions, enum dflockd_command command);

#endif

/*
 * A client: its servers, and the thread that renews its locks.
 */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "client/renewer.h"
#include "client/servers.h"

struct dflockd_client {
    struct servers servers;
    struct renewer renewer;
};

#endif

/*
 * What the locks of a client share: where its servers are, and the thread that renews.
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

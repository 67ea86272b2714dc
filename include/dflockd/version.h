/* The version of the server, the tools and the client library. */
#ifndef DFLOCKD_VERSION_H
#define DFLOCKD_VERSION_H

#define DFLOCKD_VERSION "0.1.0"

#endif

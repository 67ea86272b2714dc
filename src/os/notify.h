/*
 * Tells the service manager of our state, as sd_notify(3) describes the protocol: a datagram to
 * the socket that NOTIFY_SOCKET names. Where the variable is not set, nothing happens.
 */
#ifndef OS_NOTIFY_H
#define OS_NOTIFY_H

/* `state` is for example "READY=1". 0, or -errno when it could not be told. */
int notify_service_manager(const char *state);

#endif

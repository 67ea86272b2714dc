/*
 * Reports the state of this process to the service manager, by the protocol of sd_notify(3): a
 * datagram to the socket that NOTIFY_SOCKET names.
 */
#ifndef OS_NOTIFY_H
#define OS_NOTIFY_H

/*
 * Sends `state`, for example "READY=1". Returns 0, also if the variable is not set, or -errno.
 */
int notify_service_manager(const char *state);

#endif

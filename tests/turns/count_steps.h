/*
 * Included before sources that the test compiles again: their calls of these functions go to
 * tests/turns/steps.c, which counts the work and passes the call on.
 */
#define request_read       counted_request_read
#define table_disconnect   counted_table_disconnect
#define table_leave_queues counted_table_leave_queues
#define table_expire       counted_table_expire
#define table_walk         counted_table_walk
#define mailbox_post       counted_mailbox_post
#define mailbox_take       counted_mailbox_take
#define slots_at           counted_slots_at
#define connection_advance counted_connection_advance
#define connection_start   counted_connection_start
#define peers_describe     counted_peers_describe

/*
 * Waits for a lock in the event loop of the program, and prints a dot four times a second
 * meanwhile.
 *
 *     events [SERVER]
 */
#include <dflockd/client.h>
#include <poll.h>
#include <stdio.h>

enum {
    TICK_MS = 250
};

int main(int count, char **arguments)
{
    const char *server = count > 1 ? arguments[1] : "127.0.0.1:6388";
    struct dflockd_request request = {.command = DFLOCKD_ACQUIRE, .key = "foo", .timeout_s = 30};
    struct dflockd_options options;
    struct dflockd_connection *connection;
    struct dflockd_reply reply;
    char problem[DFLOCKD_PROBLEM_MAX] = "out of memory";
    enum dflockd_status status;

    dflockd_options_init(&options);
    options.servers = &server;
    options.server_count = 1;
    options.problem = problem;
    if (dflockd_connection_open(&connection, &options, 0) != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "events: %s\n", problem);
        return 1;
    }
    status = dflockd_connection_send(connection, &request);
    while (status == DFLOCKD_STATUS_DONE &&
           (status = dflockd_connection_receive(connection, &reply)) == DFLOCKD_STATUS_AGAIN) {
        struct pollfd watched = {
            .fd = dflockd_connection_descriptor(connection),
            .events = dflockd_connection_events(connection),
        };

        /* A loop without other work would wait for dflockd_connection_timeout. */
        if (poll(&watched, 1, TICK_MS) == 0) {
            printf(".");
            fflush(stdout);
        }
        status = DFLOCKD_STATUS_DONE;
    }
    if (status != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "events: %s\n", dflockd_connection_problem(connection));
    } else if (reply.status != DFLOCKD_STATUS_DONE) {
        status = reply.status;
        fprintf(stderr, "events: %s\n", dflockd_status_text(status));
    } else {
        printf("done, fence %llu\n", (unsigned long long)reply.fence);
    }
    dflockd_connection_close(connection); /* releases the lock */
    return status != DFLOCKD_STATUS_DONE;
}

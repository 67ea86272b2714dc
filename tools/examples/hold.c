/*
 * Holds a lock for 45 seconds. The library renews its lease of 20 seconds in the background.
 *
 *     hold [SERVER]
 */
#include <dflockd/client.h>
#include <stdio.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    const char *server = count > 1 ? arguments[1] : "127.0.0.1:6388";
    struct dflockd_options options;
    struct dflockd_lock_options lock_options;
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    dflockd_options_init(&options);
    options.problem = problem;
    options.servers = &server;
    options.server_count = 1;
    dflockd_lock_options_init(&lock_options);
    lock_options.lease_s = 20;
    status = dflockd_client_open(&client, &options);
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_lock_new(&lock, client, "foo", &lock_options);
    if (status != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "hold: %s %s\n", dflockd_status_text(status), problem);
        return 1;
    }
    status = dflockd_lock_acquire(lock, 10000);
    if (status == DFLOCKD_STATUS_DONE) {
        dflockd_lock_token(lock, token);
        printf("acquired key=%s token=%s\n", dflockd_lock_key(lock), token);
        fflush(stdout);
        sleep(45);
        status = dflockd_lock_release(lock);
        if (status == DFLOCKD_STATUS_DONE)
            printf("done critical section\n");
    }
    if (status != DFLOCKD_STATUS_DONE) {
        dflockd_lock_problem(lock, problem);
        fprintf(stderr, "hold: %s %s\n", dflockd_status_text(status), problem);
    }
    dflockd_lock_free(lock);
    dflockd_client_close(client);
    return status != DFLOCKD_STATUS_DONE;
}

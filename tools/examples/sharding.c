/*
 * Spreads keys over several servers. All clients use the same server for a key.
 *
 *     sharding [SERVER...]
 */
#include <dflockd/client.h>
#include <stdio.h>

int main(int count, char **arguments)
{
    static const char *const names[] = {"server1:6388", "server2:6388", "server3:6388"};
    struct dflockd_options options;
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    dflockd_options_init(&options);
    options.problem = problem;
    options.servers = count > 1 ? (const char *const *)(arguments + 1) : names;
    options.server_count = count > 1 ? (size_t)count - 1 : 3;
    status = dflockd_client_open(&client, &options);
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_lock_new(&lock, client, "my-key", NULL);
    if (status != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "sharding: %s %s\n", dflockd_status_text(status), problem);
        return 1;
    }
    status = dflockd_lock_acquire(lock, 10000);
    if (status == DFLOCKD_STATUS_DONE && dflockd_lock_token(lock, token))
        printf("token=%s server=%zu\n", token, dflockd_client_server(client, "my-key"));
    if (status != DFLOCKD_STATUS_DONE) {
        dflockd_lock_problem(lock, problem);
        fprintf(stderr, "sharding: %s %s\n", dflockd_status_text(status), problem);
    }
    dflockd_lock_free(lock);
    dflockd_client_close(client);
    return status != DFLOCKD_STATUS_DONE;
}

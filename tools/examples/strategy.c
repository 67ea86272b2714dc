/*
 * Chooses the server of a key by a custom strategy.
 *
 *     strategy [SERVER...]
 */
#include <dflockd/client.h>
#include <stdio.h>

/* All keys go to the first server. */
static size_t first_server(void *context, const char *key, size_t server_count)
{
    (void)context;
    (void)key;
    (void)server_count;
    return 0;
}

int main(int count, char **arguments)
{
    static const char *const names[] = {"server1:6388", "server2:6388"};
    struct dflockd_options options;
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status;

    dflockd_options_init(&options);
    options.problem = problem;
    options.servers = count > 1 ? (const char *const *)(arguments + 1) : names;
    options.server_count = count > 1 ? (size_t)count - 1 : 2;
    options.shard = first_server;
    status = dflockd_client_open(&client, &options);
    if (status == DFLOCKD_STATUS_DONE)
        status = dflockd_lock_new(&lock, client, "my-key", NULL);
    if (status != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "strategy: %s %s\n", dflockd_status_text(status), problem);
        return 1;
    }
    status = dflockd_lock_acquire(lock, 10000);
    if (status == DFLOCKD_STATUS_DONE && dflockd_lock_token(lock, token))
        printf("token=%s\n", token);
    if (status != DFLOCKD_STATUS_DONE) {
        dflockd_lock_problem(lock, problem);
        fprintf(stderr, "strategy: %s %s\n", dflockd_status_text(status), problem);
    }
    dflockd_lock_free(lock);
    dflockd_client_close(client);
    return status != DFLOCKD_STATUS_DONE;
}

/*
 * Nine workers acquire the same lock. The server grants it in the order of requests.
 *
 *     fifo [SERVER]
 */
#include <dflockd/client.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    WORKERS = 9
};

struct worker {
    struct dflockd_client *client;
    int number;
    bool failed;
    pthread_t thread;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct dflockd_lock *lock;
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    char problem[DFLOCKD_PROBLEM_MAX] = "";
    enum dflockd_status status = dflockd_lock_new(&lock, worker->client, "foo", NULL);

    if (status == DFLOCKD_STATUS_DONE) {
        status = dflockd_lock_acquire(lock, 30000);
        dflockd_lock_problem(lock, problem);
    }
    worker->failed = status != DFLOCKD_STATUS_DONE;
    if (worker->failed) {
        fprintf(stderr, "fifo: worker %d: %s %s\n", worker->number, dflockd_status_text(status),
                problem);
    } else {
        dflockd_lock_token(lock, token);
        printf("acquired  (%d): %s\n", worker->number, token);
        sleep(1);
        printf("released  (%d): %s\n", worker->number, token);
    }
    dflockd_lock_free(lock); /* also releases it */
    return NULL;
}

int main(int count, char **arguments)
{
    const char *server = count > 1 ? arguments[1] : "127.0.0.1:6388";
    struct dflockd_options options;
    struct dflockd_client *client;
    struct worker workers[WORKERS];
    char problem[DFLOCKD_PROBLEM_MAX] = "out of memory";
    bool failed = false;

    dflockd_options_init(&options);
    options.servers = &server;
    options.server_count = 1;
    options.problem = problem;
    if (dflockd_client_open(&client, &options) != DFLOCKD_STATUS_DONE) {
        fprintf(stderr, "fifo: %s\n", problem);
        return 1;
    }
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.client = client, .number = i};
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
            abort();
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(workers[i].thread, NULL);
        failed |= workers[i].failed;
    }
    dflockd_client_close(client);
    return failed;
}

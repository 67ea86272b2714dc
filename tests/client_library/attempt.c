/*
 * Runs actions on a lock and prints their results, for tests in other languages.
 *
 *     attempt server=127.0.0.1:6388 key=foo acquire=5 release
 *
 * Options come first, then actions. Each action prints a line: its name, its status without
 * DFLOCKD_STATUS_, and details.
 */
#include <dflockd/client.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SERVERS_MAX = 16,
    MANY_MAX = 64
};

struct attempt {
    struct dflockd_options options;
    struct dflockd_lock_options lock_options;
    const char *servers[SERVERS_MAX];
    const char *key;
    struct dflockd_client *client;
    struct dflockd_lock *lock;
    struct dflockd_lock *many[MANY_MAX];
    unsigned many_count;
    char problem[DFLOCKD_PROBLEM_MAX];
};

static const char *name_of(enum dflockd_status status)
{
    static const char *const names[] = {
#define X(name, text) #name,
        DFLOCKD_STATUSES(X)
#undef X
    };

    return names[status];
}

static size_t first_byte(void *context, const char *key, size_t server_count)
{
    (void)context;
    return (unsigned char)key[0] % server_count;
}

static size_t shard_beyond_end(void *context, const char *key, size_t server_count)
{
    (void)context;
    (void)key;
    return server_count;
}

static void say_lost(void *context, struct dflockd_lock *lock, enum dflockd_status why)
{
    (void)context;
    (void)lock;
    printf("lost %s\n", name_of(why));
    fflush(stdout);
}

static bool set_option(struct attempt *attempt, const char *name, const char *value)
{
    struct dflockd_options *options = &attempt->options;
    const struct {
        const char *name;
        const char **place;
    } texts[] = {
        {"key", &attempt->key},         {"auth", &options->auth_token},
        {"ca", &options->tls_ca_file},  {"certificate", &options->tls_certificate},
        {"private", &options->tls_key}, {"name", &options->tls_server_name},
        {"as", &options->name},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].place = value;
            return true;
        }
    }
    if (strcmp(name, "server") == 0 && options->server_count < SERVERS_MAX)
        attempt->servers[options->server_count++] = value;
    else if (strcmp(name, "tls") == 0)
        options->tls = true;
    else if (strcmp(name, "insecure") == 0)
        options->tls_insecure = true;
    else if (strcmp(name, "timeout") == 0)
        options->connect_timeout_ms = (uint32_t)atoi(value);
    else if (strcmp(name, "reply") == 0)
        options->reply_timeout_ms = (uint32_t)atoi(value);
    else if (strcmp(name, "limit") == 0)
        attempt->lock_options.limit = (uint32_t)atoi(value);
    else if (strcmp(name, "shared") == 0)
        attempt->lock_options.shared = true;
    else if (strcmp(name, "lease") == 0)
        attempt->lock_options.lease_s = (uint64_t)atoi(value);
    else if (strcmp(name, "strategy") == 0)
        options->shard = strcmp(value, "beyond") == 0 ? shard_beyond_end : first_byte;
    else
        return false;
    return true;
}

/* Acquires locks on key-0, key-1 and so on. Returns the first status that is not DONE. */
static enum dflockd_status acquire_many(struct attempt *attempt, unsigned count)
{
    enum dflockd_status status = DFLOCKD_STATUS_DONE;

    while (status == DFLOCKD_STATUS_DONE && attempt->many_count < count) {
        struct dflockd_lock **lock = &attempt->many[attempt->many_count];
        char key[16];

        snprintf(key, sizeof(key), "key-%u", attempt->many_count);
        status = dflockd_lock_new(lock, attempt->client, key, &attempt->lock_options);
        if (status != DFLOCKD_STATUS_DONE)
            break;
        attempt->many_count++;
        status = dflockd_lock_acquire(*lock, 0);
    }
    return status;
}

static void print_held(const struct attempt *attempt)
{
    unsigned held = 0;

    for (unsigned i = 0; i < attempt->many_count; i++)
        held += dflockd_lock_held(attempt->many[i]);
    printf("%u ", held);
}

/* Returns the status of an action, and prints its details. */
static enum dflockd_status do_action(struct attempt *attempt, const char *name, unsigned number)
{
    struct dflockd_lock *lock = attempt->lock;
    enum dflockd_status status;
    char *json;

    if (strcmp(name, "acquire") == 0)
        return dflockd_lock_acquire(lock, (int64_t)number * 1000);
    if (strcmp(name, "enqueue") == 0)
        return dflockd_lock_enqueue(lock);
    if (strcmp(name, "wait") == 0)
        return dflockd_lock_wait(lock, (int64_t)number * 1000);
    if (strcmp(name, "renew") == 0)
        return dflockd_lock_renew(lock, number);
    if (strcmp(name, "release") == 0)
        return dflockd_lock_release(lock);
    if (strcmp(name, "many") == 0)
        return acquire_many(attempt, number < MANY_MAX ? number : MANY_MAX);
    if (strcmp(name, "held") == 0) {
        print_held(attempt);
        return DFLOCKD_STATUS_DONE;
    }
    if (strcmp(name, "release-many") == 0)
        return dflockd_locks_release(attempt->many, attempt->many_count);
    if (strcmp(name, "ping") == 0)
        return dflockd_client_ping(attempt->client, number);
    if (strcmp(name, "stats") == 0) {
        status = dflockd_client_stats(attempt->client, number, &json);
        printf("%s", json ? json : "");
        free(json);
        return status;
    }
    if (strcmp(name, "show") == 0) {
        status = dflockd_client_show(attempt->client, attempt->key, false, &json);
        free(json);
        return status;
    }
    if (strcmp(name, "revoke") == 0)
        return dflockd_client_revoke(attempt->client, attempt->key, false, number);
    usleep(number * 1000);
    return DFLOCKD_STATUS_DONE;
}

static bool open_all(struct attempt *attempt)
{
    enum dflockd_status status;

    attempt->options.servers = attempt->servers;
    attempt->options.problem = attempt->problem;
    status = dflockd_client_open(&attempt->client, &attempt->options);
    if (status == DFLOCKD_STATUS_DONE)
        status =
            dflockd_lock_new(&attempt->lock, attempt->client, attempt->key, &attempt->lock_options);
    if (status != DFLOCKD_STATUS_DONE)
        printf("open %s %s\n", name_of(status), attempt->problem);
    return status == DFLOCKD_STATUS_DONE;
}

int main(int count, char **arguments)
{
    struct attempt attempt = {.key = "key"};
    bool opened = false;

    setvbuf(stdout, NULL, _IOLBF, 0);
    dflockd_options_init(&attempt.options);
    dflockd_lock_options_init(&attempt.lock_options);
    attempt.lock_options.lost = say_lost;
    for (int i = 1; i < count; i++) {
        char *value = strchr(arguments[i], '=');
        enum dflockd_status status;

        if (value)
            *value++ = '\0';
        if (!opened && value && set_option(&attempt, arguments[i], value))
            continue;
        if (!opened && !open_all(&attempt))
            break;
        opened = true;
        status = do_action(&attempt, arguments[i], value ? (unsigned)atoi(value) : 0);
        dflockd_lock_problem(attempt.lock, attempt.problem);
        printf("%s %s %s\n", arguments[i], name_of(status), attempt.problem);
    }
    for (unsigned i = 0; i < attempt.many_count; i++)
        dflockd_lock_free(attempt.many[i]);
    dflockd_lock_free(attempt.lock);
    dflockd_client_close(attempt.client);
    return 0;
}

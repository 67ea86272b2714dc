/*
 * The command line of dflockd-bench, parsed and checked.
 */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/flags.h"
#include "bench/server.h"

enum {
    SETTINGS_THREADS_MAX = 64,
    SETTINGS_KEY_MAX = 160, /* of the prefix, so that a key has room for what follows it */
    WEIGHT_UNIT = 1000      /* weights of loads have three decimals */
};

/* The loads and their names on the command line. */
#define SETTINGS_LOADS(X)     \
    X(LOCK, "lock")           \
    X(SEMAPHORE, "semaphore") \
    X(TRY, "try")             \
    X(TWO_PHASE, "two-phase") \
    X(RENEW, "renew")         \
    X(PING, "ping")           \
    X(SHARED, "shared")       \
    X(SHARED_TWO_PHASE, "shared-two-phase")

enum load {
#define X(name, word) LOAD_##name,
    SETTINGS_LOADS(X)
#undef X
    LOAD_COUNT
};

/* How a round chooses its key. */
enum key_choice {
    KEYS_OWN,     /* one key for each worker and each of its concurrent rounds */
    KEYS_SHARED,  /* one key for all */
    KEYS_UNIFORM, /* any of `key_count` with the same probability */
    KEYS_ZIPF     /* any of `key_count`, the first ones most often */
};

/* Texts point into the arguments. */
struct settings {
    /* As given. */
    const char *server_list;
    const char *load_text;
    const char *keys_text;
    const char *key;
    const char *protocol;
    const char *auth_token_file;
    const char *auth_token_given; /* NULL after settings_read */
    const char *hdr_file;
    const char *tls_ca;          /* NULL: the system's authorities */
    const char *tls_certificate; /* NULL: none; so for the next two */
    const char *tls_key;
    const char *tls_server_name;
    uint64_t workers;
    uint64_t connections; /* of each worker, at least 1 */
    uint64_t rounds;      /* of each worker; 0: until the time ends */
    uint64_t duration_ms; /* 0: until the rounds are done */
    uint64_t warmup;      /* rounds of each worker */
    uint64_t warmup_ms;
    uint64_t timeout_s;
    uint64_t lease_s;
    uint64_t limit;
    uint64_t depth;
    uint64_t idle;
    uint64_t held;
    uint64_t hold_us;
    uint64_t ramp_ms;
    uint64_t rate; /* rounds per second of all workers; 0: each round follows the previous one */
    uint64_t threads;
    uint64_t seed;
    uint64_t server_pid; /* 0: unknown */
    uint64_t connect_timeout_s;
    uint64_t reply_timeout_s;
    uint64_t reconnect_ms; /* 0: a worker ends when it loses its connection */
    bool shared_key;
    bool new_connection;
    bool check;
    bool tls;
    bool tls_insecure;
    bool quiet;
    bool json;
    bool csv;

    /* Derived. */
    struct server servers[SERVERS_MAX];
    uint32_t server_count;
    uint32_t weights[LOAD_COUNT]; /* in 1 / WEIGHT_UNIT */
    uint32_t weight_sum;
    bool shared; /* some rounds acquire shared locks */
    enum key_choice key_choice;
    uint32_t key_count; /* of KEYS_UNIFORM and KEYS_ZIPF */
    double zipf_exponent;
    bool redis;
    char *auth_token; /* or NULL; freed by settings_free */
};

/*
 * Wipes the secret in the arguments and in the environment, which other users may see. On
 * FLAGS_WRONG, sets `problem` to one line.
 */
enum flags_result settings_read(struct settings *settings, int count, char *const *arguments,
                                char problem[FLAGS_PROBLEM_MAX]);

/* Returns whether the load has readers and writers that never meet, because they share no key. */
bool settings_has_separate_readers(const struct settings *settings);

void settings_free(struct settings *settings);

void settings_print_help(void);

#endif

/*
 * What the load is to be: the command line of dflockd-bench, read and checked.
 */
#ifndef BENCH_SETTINGS_H
#define BENCH_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/flags.h"
#include "bench/address.h"

enum {
    SETTINGS_THREADS_MAX = 64,
    SETTINGS_KEY_MAX = 160 /* of the prefix; what follows it fits into a key as well */
};

/* What a round does, and its name on the command line. */
#define SETTINGS_LOADS(X)     \
    X(LOCK, "lock")           \
    X(SEMAPHORE, "semaphore") \
    X(TRY, "try")             \
    X(TWO_PHASE, "two-phase") \
    X(RENEW, "renew")         \
    X(PING, "ping")

enum load {
#define X(name, word) LOAD_##name,
    SETTINGS_LOADS(X)
#undef X
    LOAD_COUNT
};

/* Which key a round is about. */
enum key_choice {
    KEYS_OWN,     /* nobody else's: one for each worker, and each of the rounds at a time */
    KEYS_SHARED,  /* one for all */
    KEYS_UNIFORM, /* any of `key_count` */
    KEYS_ZIPF     /* likewise, the first ones most often */
};

/* Texts are borrowed from the arguments. */
struct settings {
    /* As given. */
    const char *server_list;
    const char *load_text;
    const char *keys_text;
    const char *key;
    const char *protocol;
    const char *auth_token_file;
    const char *hdr_file;
    const char *tls_ca; /* NULL: what the system trusts */
    uint64_t workers;
    uint64_t connections; /* of each worker, 1 at least */
    uint64_t rounds;      /* of each worker; 0: until the time is over */
    uint64_t duration_s;  /* 0: until the rounds are done */
    uint64_t warmup;      /* rounds of each worker */
    uint64_t warmup_s;
    uint64_t timeout_s;
    uint64_t lease_s;
    uint64_t limit;
    uint64_t depth;
    uint64_t idle;
    uint64_t held;
    uint64_t hold_us;
    uint64_t ramp_s;
    uint64_t rate; /* rounds per second in all; 0: each follows the one before */
    uint64_t threads;
    uint64_t seed;
    uint64_t server_pid; /* 0: not known */
    bool shared_key;
    bool new_connection;
    bool check;
    bool tls;
    bool tls_insecure;
    bool quiet;
    bool json;
    bool csv;

    /* What that comes to. */
    struct address addresses[ADDRESSES_MAX];
    uint32_t address_count;
    uint32_t weights[LOAD_COUNT];
    uint32_t weight_sum;
    enum key_choice key_choice;
    uint32_t key_count; /* of KEYS_UNIFORM and KEYS_ZIPF */
    double zipf_exponent;
    bool redis;
    char *auth_token; /* or NULL; see settings_free */
};

/* Where the result is FLAGS_WRONG, `problem` says in one line what is wrong. */
enum flags_result settings_read(struct settings *settings, int count, char *const *arguments,
                                char problem[FLAGS_PROBLEM_MAX]);

void settings_free(struct settings *settings);

void settings_print_help(void);

const char *settings_load_name(enum load load);

#endif

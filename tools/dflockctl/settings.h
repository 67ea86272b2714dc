/*
 * What a command line says: which command, with which flags, about what, on which servers.
 *
 *   dflockctl [FLAG]... COMMAND [FLAG]... [WORD]... [-- WORD...]
 *
 * Flags may stand before and behind the words. Behind `--` nothing is a flag; `lock` and `sem` have
 * there, once they know the key, the command to run.
 */
#ifndef DFLOCKCTL_SETTINGS_H
#define DFLOCKCTL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/flags.h"
#include "dflockd/client.h"

enum {
    SETTINGS_SERVERS_MAX = 64,
    SETTINGS_WORDS_MAX = 2
};

struct command;

/* Whether to ask for a lock again if no server can grant it now. */
enum retry {
    RETRY_NEVER,
    RETRY_WAITERS, /* once a lock server has answered: waiters survive its restart */
    RETRY_ALWAYS
};

/* Texts are borrowed from the arguments and the environment. */
struct settings {
    /* As given: which servers, and how. */
    const char *server_list;
    const char *auth_token_given;
    const char *auth_token_file;
    const char *tls_ca;
    const char *tls_certificate;
    const char *tls_key;
    const char *tls_server_name;
    bool tls;
    bool tls_insecure;
    uint64_t connect_timeout_s;
    uint64_t reply_timeout_s;

    /* Of commands that hold something. */
    bool try_once;
    uint64_t timeout_s; /* DFLOCKD_SECONDS_MAX: as long as it takes */
    enum retry retry;
    bool retry_given; /* as --retry or --no-retry says; see `retry` */
    uint64_t lease_s; /* 0: the server's */
    uint64_t limit;   /* 0: a lock, no semaphore */
    uint64_t grace_s;
    bool hold;
    uint64_t while_pid; /* 0: none */

    /* Of commands that look. */
    const char *sort;
    bool reverse;
    bool idle;
    bool json;
    bool probe;
    uint64_t count;
    uint64_t interval_s;

    /* What that comes to. */
    const struct command *command;
    char *words[SETTINGS_WORDS_MAX + 1];
    size_t word_count;
    char **command_line; /* to be run, ends with NULL; NULL: none */
    char *auth_token;    /* or NULL; see settings_free */
    const char *servers[SETTINGS_SERVERS_MAX];
    char *servers_text;
    struct dflockd_options options;
    char problem[DFLOCKD_PROBLEM_MAX]; /* where the options let the library write */
};

/*
 * Reads all but arguments[0]. FLAGS_HELP: help is asked for, about `command` where that is set.
 * FLAGS_WRONG: `problem` says what is wrong, and what to do. Wipes the secret from the arguments
 * and the environment as others see them.
 */
enum flags_result settings_read(struct settings *settings, int count, char **arguments,
                                char problem[FLAGS_PROBLEM_MAX]);

void settings_free(struct settings *settings);

/* 1 to DFLOCKD_KEY_MAX bytes without blanks. */
bool settings_is_key(const char *text);

#endif

/*
 * The command line: a command, its flags, its words and the servers.
 *
 *   dflockctl [FLAG]... COMMAND [FLAG]... [WORD]... [-- WORD...]
 *
 * Flags may precede or follow the words. After `--` no argument is a flag. For `lock` and `sem` the
 * command to run follows the first `--` after a key. A `--` before the key allows a key that begins
 * with a dash; then the command follows that key, with or without another `--`.
 */
#ifndef DFLOCKCTL_SETTINGS_H
#define DFLOCKCTL_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/flags.h"
#include "dflockd/client.h"
#include "os/address.h"

enum {
    SETTINGS_SERVERS_MAX = ADDRESS_LIST_MAX,
    SETTINGS_WORDS_MAX = 64 /* keys of one `lock` */
};

#define SETTINGS_NO_TIMEOUT UINT64_MAX

struct command;

/* Whether to request a lock again if its server failed. */
enum retry {
    RETRY_NEVER,
    RETRY_WAITERS, /* only after a lock server has answered: a waiter survives its restart */
    RETRY_ALWAYS
};

/* Texts are borrowed from the arguments and the environment. */
struct settings {
    /* Servers. */
    const char *server_list;
    const char *auth_token_given;
    const char *auth_token_file;
    uint64_t connect_timeout_ms;
    uint64_t reply_timeout_ms;

    /* Commands that acquire. */
    bool try_once;
    uint64_t timeout_ms; /* SETTINGS_NO_TIMEOUT: no limit */
    enum retry retry;
    bool retry_given; /* value of --retry if that was given; `retry` is the result */
    uint64_t lease_s; /* 0: the server's default */
    uint64_t limit;   /* 0: a lock */
    bool shared;
    const char *name; /* that show prints; NULL: see holder_name.h */
    uint64_t grace_s;
    bool hold;
    uint64_t while_pid; /* 0: none */
    const char *on_loss_given;
    int on_loss;              /* signal for `while_pid`; 0: none */
    uint64_t conflict_status; /* exit status if not granted in time */
    char *shell_line;         /* of -c; NULL: none */

    /* Commands that show. */
    const char *sort;
    bool reverse;
    bool idle;
    bool json;
    bool probe;
    uint64_t count;
    uint64_t interval_ms; /* 0: once */
    bool keys;
    bool all;

    /* Commands that revoke. */
    const char *fence_given;
    uint64_t fence; /* 0: none */
    bool yes;

    /* Results. */
    const struct command *command;
    char *words[SETTINGS_WORDS_MAX + 1];
    size_t word_count;
    char **command_line;                       /* to run, ends with NULL; NULL: none */
    char *shell_command[4];                    /* `command_line` of -c */
    char *auth_token;                          /* NULL: none */
    char holder_name[DFLOCKD_NAME_MAX + 1];    /* of commands that acquire, without --name */
    struct address *addresses;                 /* of the servers */
    const char *servers[SETTINGS_SERVERS_MAX]; /* their texts */
    struct dflockd_options options;            /* flags of TLS set its members */
    char problem[DFLOCKD_PROBLEM_MAX];         /* the library writes it, see `options` */
};

/*
 * Reads all but arguments[0]. Wipes the secret in the arguments and in the environment, which other
 * users may see. The caller calls settings_free in any case.
 *
 * Returns FLAGS_RUN and sets `settings`; FLAGS_HELP, about `settings->command` unless that is NULL;
 * FLAGS_VERSION; or FLAGS_WRONG and sets `problem`.
 */
enum flags_result settings_read(struct settings *settings, int count, char **arguments,
                                char problem[FLAGS_PROBLEM_MAX]);

void settings_free(struct settings *settings);

/* Returns whether a server accepts `key`. If not, sets `problem`. */
bool settings_check_key(const char *key, char problem[FLAGS_PROBLEM_MAX]);

/* Returns the number of the server that `key` belongs to. */
size_t settings_server_of(const struct settings *settings, const char *key);

#endif

#include "dflockctl/command.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "dflockctl/acquire.h"
#include "dflockctl/list.h"
#include "dflockctl/run_locked.h"
#include "dflockctl/servers.h"
#include "dflockctl/status.h"
#include "dflockctl/token.h"
#include "dflockctl/top.h"
#include "dflockd/protocol.h"

#define FLAGS_STRUCT struct settings

/* ---- flags ---- */

/* Of every command, last in its table. */
#define SERVER_FLAGS                                                                              \
    TEXT_FLAG("servers", "SERVERS", server_list, "127.0.0.1:6388",                                \
              "host:port, [::1]:port or unix:/path, several with commas between them: each key "  \
              "belongs to one of them, by its CRC-32"),                                           \
        TEXT_FLAG("auth-token-file", "AUTH_TOKEN_FILE", auth_token_file, NULL,                    \
                  "File with the secret of the servers"),                                         \
        TEXT_FLAG("auth-token", "AUTH_TOKEN", auth_token_given, NULL,                             \
                  "That secret itself; others may see it for a moment, so rather use the file"),  \
        BOOLEAN_FLAG("tls", "TLS", tls, NULL, "Speak TLS"),                                       \
        TEXT_FLAG("tls-ca", "TLS_CA", tls_ca, NULL,                                               \
                  "File with the authorities to trust, in PEM (by default those of the system)"), \
        TEXT_FLAG("tls-client-cert", "TLS_CLIENT_CERT", tls_certificate, NULL,                    \
                  "File with a certificate to show, in PEM, where the servers ask for one"),      \
        TEXT_FLAG("tls-client-key", "TLS_CLIENT_KEY", tls_key, NULL, "File with its key"),        \
        TEXT_FLAG("tls-server-name", "TLS_SERVER_NAME", tls_server_name, NULL,                    \
                  "Name that the servers' certificate must be for (by default the host's)"),      \
        BOOLEAN_FLAG(                                                                             \
            "tls-insecure", "TLS_INSECURE", tls_insecure, NULL,                                   \
            "Trust any certificate: then anybody between may read and change everything"),        \
        NUMBER_FLAG("connect-timeout", "CONNECT_TIMEOUT_S", NULL, connect_timeout_s, 1, 86400,    \
                    "10", "Seconds to look up, connect to and authenticate at a server"),         \
        NUMBER_FLAG(                                                                              \
            "reply-timeout", "REPLY_TIMEOUT_S", NULL, reply_timeout_s, 1, 86400, "5",             \
            "Seconds for a server's reply, beside the time that it waits for other holders"),     \
        HELP_FLAGS, VERSION_FLAG(NULL),

#define WAIT_FLAGS                                                                             \
    NUMBER_FLAG(                                                                               \
        "timeout", NULL, NULL, timeout_s, 0, DFLOCKD_SECONDS_MAX, NULL,                        \
        "Seconds to wait for other holders (by default without limit); connecting and the "    \
        "reply may "                                                                           \
        "add --connect-timeout and --reply-timeout"),                                          \
        BOOLEAN_FLAG("try", NULL, try_once, NULL, "Do not wait: the same as --timeout 0"),     \
        BOOLEAN_FLAG("retry", NULL, retry_given, NULL,                                         \
                     "While no server answers, ask again (by default only if no --timeout is " \
                     "given, and only after a lock server has answered before)"),              \
        NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, NULL,                \
                    "Seconds of the lease (by default the server's)"),

#define RUN_LOCKED_FLAGS                                \
    WAIT_FLAGS NUMBER_FLAG(                             \
        "grace", NULL, NULL, grace_s, 0, INT_MAX, "10", \
        "Seconds from SIGTERM to SIGKILL after the lock is lost; 0: SIGKILL at once"),

#define LIMIT_FLAGS(help)                                                  \
    NUMBER_FLAG("n", NULL, NULL, limit, 1, DFLOCKD_LIMIT_MAX, NULL, help), \
        NUMBER_FLAG("limit", NULL, NULL, limit, 1, DFLOCKD_LIMIT_MAX, NULL, NULL),

#define JSON_FLAG BOOLEAN_FLAG("json", NULL, json, NULL, "Print JSON"),

static const struct flag server_flags[] = {SERVER_FLAGS};
static const struct flag lock_flags[] = {RUN_LOCKED_FLAGS SERVER_FLAGS};
static const struct flag sem_flags[] = {LIMIT_FLAGS(
    "How many may hold it at a time; the same for all who do") RUN_LOCKED_FLAGS SERVER_FLAGS};
static const struct flag acquire_flags[] = {
    WAIT_FLAGS LIMIT_FLAGS("Take a slot of a semaphore, which so many may hold at a time")
        BOOLEAN_FLAG("hold", NULL, hold, "true",
                     "Leave a process behind that keeps the connection, and so the lock"),
    NUMBER_FLAG("while", NULL, NULL, while_pid, 1, INT_MAX, NULL,
                "Process, as in --while $$: hold it, renewed, until that ends, then release it"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag renew_flags[] = {
    NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, NULL,
                "Seconds of the new lease (by default the server's)"),
    SERVER_FLAGS};
static const struct flag ls_flags[] = {
    TEXT_FLAG("sort", NULL, sort, "key", "Order: key, kind, holders, waiters, lease or server"),
    BOOLEAN_FLAG("reverse", NULL, reverse, NULL, "The other way round"),
    BOOLEAN_FLAG("idle", NULL, idle, NULL,
                 "Also keys that nobody holds or waits for, and are still known"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag look_flags[] = {JSON_FLAG SERVER_FLAGS};
static const struct flag ping_flags[] = {
    NUMBER_FLAG("count", NULL, NULL, count, 1, INT_MAX, "1", "How often, with a second between"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag top_flags[] = {
    NUMBER_FLAG("interval", NULL, NULL, interval_s, 1, 3600, "1",
                "Seconds from one look to the next"),
    BOOLEAN_FLAG("probe", NULL, probe, "true",
                 "Count grants, by a lock of its own that it takes for a moment at each look"),
    SERVER_FLAGS};

#define FLAGS(table)                                          \
    {                                                         \
        table, sizeof(table) / sizeof((table)[0]), "DFLOCKD_" \
    }

/* ---- commands ---- */

#define RUN_LOCKED_DETAILS                                                                       \
    "The lock is renewed in the background while the command runs, and released when the\n"      \
    "command ends. The exit status is the command's, or 128 plus the number of the signal\n"     \
    "that ended it. If SIGINT or SIGQUIT ended the command or the wait, dflockctl ends by the\n" \
    "same signal, so that ^C also ends a shell's loop around it.\n"                              \
    "\n"                                                                                         \
    "The command has DFLOCKD_KEY, DFLOCKD_TOKEN and DFLOCKD_FENCE in its environment. The\n"     \
    "fence is a number that rises with every grant, by which a resource can refuse a late\n"     \
    "writer. The environment does not contain the secret of --auth-token or\n"                   \
    "DFLOCKD_AUTH_TOKEN; for a dflockctl inside the command, set DFLOCKD_AUTH_TOKEN_FILE.\n"     \
    "\n"                                                                                         \
    "Signals: the command receives HUP, INT, QUIT, TERM, USR1, USR2, ALRM, CONT, WINCH, TSTP,\n" \
    "TTIN and TTOU once, whether they are sent to dflockctl, to its process group, or by the\n"  \
    "terminal. One that is sent to dflockctl alone is forwarded after 0.1 s. While dflockctl\n"  \
    "waits for the lock, HUP, INT, QUIT, TERM, USR1, USR2 and ALRM end the wait.\n"              \
    "\n"                                                                                         \
    "If the connection is lost, dflockctl connects again and asks the server whether it still\n" \
    "knows the grant; the command goes on meanwhile. The lock is lost if the server does not\n"  \
    "know the grant, or does not answer until the lease ends. Then the command and every\n"      \
    "process that it started receive SIGTERM, and SIGKILL after --grace. The exit status is\n"   \
    "76, whatever the command's is; also if the connection is lost when the command ends. A\n"   \
    "process that could not be signalled is reported. The same happens if dflockctl is\n"        \
    "killed with SIGKILL: a second process of dflockctl, the parent of the command, keeps\n"     \
    "the lock until all of them have ended.\n"                                                   \
    "\n"                                                                                         \
    "While the command is stopped, for example by ^Z, dflockctl stops the processes that it\n"   \
    "started, and does not renew the lock. When the command continues and the lease has\n"       \
    "ended, the lock is lost.\n"

static const struct command commands[] = {
    {
        .name = "lock",
        .arguments = "KEY -- COMMAND [ARGUMENT]...",
        .summary = "Run a command while holding a lock",
        .details = RUN_LOCKED_DETAILS,
        .words_least = 1,
        .words_most = 1,
        .runs = true,
        .flags = FLAGS(lock_flags),
        .run = run_locked_main,
    },
    {
        .name = "sem",
        .arguments = "KEY -n N -- COMMAND [ARGUMENT]...",
        .summary = "Run a command while holding one of N slots of a semaphore",
        .details = RUN_LOCKED_DETAILS,
        .words_least = 1,
        .words_most = 1,
        .runs = true,
        .flags = FLAGS(sem_flags),
        .run = run_locked_main,
    },
    {
        .name = "acquire",
        .arguments = "KEY",
        .summary = "Take a lock, or a slot of a semaphore (-n N), and print its token",
        .details =
            "For scripts that can't wrap what they do into one command (rather use lock or sem):\n"
            "\n"
            "  token=$(dflockctl acquire deploy --while $$) || exit\n"
            "  ...\n"
            "  dflockctl release deploy \"$token\"\n"
            "\n"
            "A server releases what a connection holds when the connection ends. So acquire\n"
            "leaves a process behind that keeps it open. With --while PID this process renews\n"
            "the lock until process PID ends, then releases it. Without --while, only dflockctl\n"
            "renew renews it, and the lock ends with its lease (--lease). Killing the process\n"
            "releases the lock.\n"
            "\n"
            "The process ends within about two seconds when the lock is released or its lease\n"
            "ends. For that it asks the server once a second. Before, it takes a slot of a\n"
            "semaphore \"dflockctl.probe\" for a moment, to see whether the server knows the\n"
            "command \"own\"; with one that does not, it ends after the server's read timeout.\n"
            "\n"
            "If the token cannot be printed, acquire releases the lock; exit status 74.\n"
            "\n"
            "--no-hold leaves none behind. It is for servers that run with\n"
            "--no-auto-release-on-disconnect; with others the lock is gone at once, which is "
            "told,\n"
            "with exit status 76.\n"
            "\n"
            "Nobody is told when such a lock is lost; dflockctl renew tells whether it is held.\n",
        .words_least = 1,
        .words_most = 1,
        .flags = FLAGS(acquire_flags),
        .run = acquire_run,
    },
    {
        .name = "release",
        .arguments = "[KEY [TOKEN]]",
        .summary = "Give back what acquire took",
        .details = "What is not given is taken from DFLOCKD_KEY and DFLOCKD_TOKEN.\n"
                   "Exit status 76: this token does not hold it (any more).\n",
        .words_most = 2,
        .flags = FLAGS(server_flags),
        .run = token_release,
    },
    {
        .name = "renew",
        .arguments = "[KEY [TOKEN]]",
        .summary = "Begin the lease of what acquire took anew, and print its seconds",
        .details = "What is not given is taken from DFLOCKD_KEY and DFLOCKD_TOKEN.\n"
                   "Exit status 76: this token does not hold it (any more).\n",
        .words_most = 2,
        .flags = FLAGS(renew_flags),
        .run = token_renew,
    },
    {
        .name = "ls",
        .arguments = "",
        .summary = "List what is held and waited for",
        .details =
            "Columns: key, kind, holders (of a semaphore: of how many), waiters, seconds to the "
            "end\n"
            "of the lease (- for semaphores, whose slots have one each), connection of the "
            "holder,\n"
            "server. On a terminal it is a table, else lines with tabs between and no heading.\n"
            "Control characters in a key are written \\xNN, a backslash twice.\n",
        .flags = FLAGS(ls_flags),
        .run = list_keys,
    },
    {
        .name = "show",
        .arguments = "KEY",
        .summary = "Tell who holds a key and how many wait",
        .details = "The lock and the semaphore of one name are two things; both are shown.\n",
        .words_least = 1,
        .words_most = 1,
        .flags = FLAGS(look_flags),
        .run = list_key,
    },
    {
        .name = "stats",
        .arguments = "",
        .summary = "Count connections, locks, semaphores and waiters of each server",
        .details =
            "Columns: server, connections, locks held, semaphores with holders, their holders,\n"
            "waiters, keys that are idle. With --json all that the servers tell.\n",
        .flags = FLAGS(look_flags),
        .run = list_stats,
    },
    {
        .name = "ping",
        .arguments = "",
        .summary = "Ask each server whether it is there",
        .details =
            "Tells how long it took to connect (with TLS and authentication) and to answer.\n",
        .flags = FLAGS(ping_flags),
        .run = servers_ping,
    },
    {
        .name = "top",
        .arguments = "",
        .summary = "Watch connections, grants per second and the most contended keys",
        .details =
            "Keys: q ends, s changes the order, r turns it round, space stops and goes on.\n"
            "Grants are counted by fences: dflockctl takes a lock \"dflockctl.top.PID\" at each "
            "look,\n"
            "and reads off how many grants there were since the last. --no-probe leaves that.\n",
        .flags = FLAGS(top_flags),
        .run = top_run,
    },
    {
        .name = "shard",
        .arguments = "KEY",
        .summary = "Tell which server of the list a key belongs to",
        .details = "Nobody is asked: it is the CRC-32 of the key modulo the number of servers.\n",
        .words_least = 1,
        .words_most = 1,
        .flags = FLAGS(look_flags),
        .run = servers_shard,
    },
};

enum {
    COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]),
    NAME_MAX_BYTES = 16, /* a longer name is like none of ours */
    LIKE_MOST = 2        /* changes between names that are alike */
};

static const struct flags before_command = FLAGS(server_flags);

const struct flags *command_flags(void)
{
    return &before_command;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

/* Letters to change, add, leave out or swap with the next, to make one name of the other. */
static size_t distance(const char *one, const char *other)
{
    size_t changes[NAME_MAX_BYTES + 1][NAME_MAX_BYTES + 1];
    size_t height = strlen(one);
    size_t width = strlen(other);

    if (height > NAME_MAX_BYTES || width > NAME_MAX_BYTES)
        return NAME_MAX_BYTES;
    for (size_t i = 0; i <= height; i++) {
        for (size_t j = 0; j <= width; j++) {
            size_t least;

            if (i == 0 || j == 0) {
                changes[i][j] = i + j;
                continue;
            }
            least = changes[i - 1][j - 1] + (one[i - 1] != other[j - 1]);
            if (changes[i - 1][j] + 1 < least)
                least = changes[i - 1][j] + 1;
            if (changes[i][j - 1] + 1 < least)
                least = changes[i][j - 1] + 1;
            if (i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] &&
                changes[i - 2][j - 2] + 1 < least)
                least = changes[i - 2][j - 2] + 1;
            changes[i][j] = least;
        }
    }
    return changes[height][width];
}

const struct command *command_like(const char *name)
{
    const struct command *like = NULL;
    size_t least = LIKE_MOST + 1;

    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t changes = distance(name, commands[i].name);

        if (changes < least && changes < strlen(commands[i].name)) {
            least = changes;
            like = &commands[i];
        }
    }
    return like;
}

void command_help(const struct command *command)
{
    printf("Usage: dflockctl %s [flags] %s\n\n%s.\n\n%s\n", command->name, command->arguments,
           command->summary, command->details);
    flags_print(&command->flags);
}

void command_help_all(void)
{
    printf("Usage: dflockctl COMMAND [flags] [arguments]\n\n"
           "Locks and semaphores of dflockd servers, for shells and people.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    printf("\ndflockctl COMMAND --help tells more of each. All take these flags; a flag wins over "
           "its\nenvironment variable:\n\n");
    flags_print(&before_command);
    printf("\nExit status:\n\n");
    status_print();
}

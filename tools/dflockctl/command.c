#include "dflockctl/command.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/similar.h"
#include "dflockctl/status.h"
#include "dflockd/protocol.h"

#define FLAGS_STRUCT struct settings

/* ---- flags ---- */

/* All commands have these, last in their tables. */
#define SERVER_FLAGS                                                                             \
    TEXT_FLAG("servers", "SERVERS", server_list, "127.0.0.1:6388",                               \
              "`Servers` as host:port, [::1]:port or unix:/path, separated by commas; the "      \
              "CRC-32 of a key selects its server"),                                             \
        TEXT_FLAG("auth-token-file", "AUTH_TOKEN_FILE", auth_token_file, NULL,                   \
                  "`File` with the secret for authentication"),                                  \
        TEXT_FLAG("auth-token", "AUTH_TOKEN", auth_token_given, NULL,                            \
                  "The `secret` itself, which other users may see for a moment; it takes "       \
                  "precedence over the file, but a flag over both variables"),                   \
        BOOLEAN_FLAG("tls", "TLS", options.tls, NULL, "Connect with TLS"),                       \
        TEXT_FLAG("tls-ca", "TLS_CA", options.tls_ca_file, NULL,                                 \
                  "`File` with trusted certificate authorities, in PEM; by default those of "    \
                  "the system"),                                                                 \
        TEXT_FLAG("tls-client-cert", "TLS_CLIENT_CERT", options.tls_certificate, NULL,           \
                  "`File` with the client's certificate, in PEM, for servers that request one"), \
        TEXT_FLAG("tls-client-key", "TLS_CLIENT_KEY", options.tls_key, NULL,                     \
                  "`File` with the private key of that certificate, in PEM"),                    \
        TEXT_FLAG("tls-server-name", "TLS_SERVER_NAME", options.tls_server_name, NULL,           \
                  "`Name` in the certificate of the servers; by default the host of the "        \
                  "address"),                                                                    \
        BOOLEAN_FLAG("tls-insecure", "TLS_INSECURE", options.tls_insecure, NULL,                 \
                     "Accept any certificate: an attacker in the network can read and change "   \
                     "everything"),                                                              \
        SECONDS_FLAG("connect-timeout", "CONNECT_TIMEOUT_S", connect_timeout_ms, 1, 86400000,    \
                     "10",                                                                       \
                     "`Seconds` for look-up, connection, TLS handshake and authentication "      \
                     "together"),                                                                \
        SECONDS_FLAG("reply-timeout", "REPLY_TIMEOUT_S", reply_timeout_ms, 1, 86400000, "5",     \
                     "`Seconds` for a reply once connected, in addition to the time to wait "    \
                     "for other holders"),                                                       \
        HELP_FLAGS, VERSION_FLAG("Print the version and exit"),

#define WAIT_FLAGS                                                                                \
    SECONDS_FLAG("timeout", NULL, timeout_ms, 0, DFLOCKD_SECONDS_MAX * 1000, NULL,                \
                 "`Seconds` to wait for other holders, such as 0.5, by default without limit; "   \
                 "connecting and the reply have timeouts of their own"),                          \
        BOOLEAN_FLAG("try", NULL, try_once, NULL,                                                 \
                     "Do not wait for other holders: the same as --timeout 0"),                   \
        NUMBER_FLAG("conflict-exit-code", NULL, NULL, conflict_status, 0, 255, NULL,              \
                    "Exit status if it is not granted in time, also -E; by default 75"),          \
        NUMBER_FLAG("E", NULL, NULL, conflict_status, 0, 255, NULL, NULL),                        \
        BOOLEAN_FLAG("retry", NULL, retry_given, NULL,                                            \
                     "Try again while no server answers; by default only without --timeout, "     \
                     "and only after a lock server has answered once"),                           \
        NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, NULL,                   \
                    "Whole `seconds` of the lease; by default those of the server"),              \
        TEXT_FLAG("name", NULL, name, NULL,                                                       \
                  "`Text` that show prints for the holder, by default USER@HOST and the program " \
                  "that runs under the lock; empty: none"),

#define SHARED_FLAGS                                                                             \
    BOOLEAN_FLAG("shared", NULL, shared, NULL,                                                   \
                 "Hold it together with other shared holders, also -s; by default exclusively"), \
        BOOLEAN_FLAG("s", NULL, shared, NULL, NULL),

#define LOCK_FLAGS                                                                                 \
    WAIT_FLAGS NUMBER_FLAG("grace", NULL, NULL, grace_s, 0, INT_MAX, "10",                         \
                           "`Seconds` from SIGTERM to SIGKILL after the lock is lost; 0: SIGKILL " \
                           "at once"),                                                             \
        TEXT_FLAG(                                                                                 \
            "command", NULL, shell_line, NULL,                                                     \
            "`Line` that $SHELL runs with -c, or else /bin/sh, also -c; in place of -- COMMAND"),  \
        TEXT_FLAG("c", NULL, shell_line, NULL, NULL),

#define LIMIT_FLAGS(help)                                                  \
    NUMBER_FLAG("n", NULL, NULL, limit, 1, DFLOCKD_LIMIT_MAX, NULL, help), \
        NUMBER_FLAG("limit", NULL, NULL, limit, 1, DFLOCKD_LIMIT_MAX, NULL, NULL),

#define JSON_FLAG BOOLEAN_FLAG("json", NULL, json, NULL, "Print JSON"),

static const struct flag server_flags[] = {SERVER_FLAGS};
static const struct flag lock_flags[] = {SHARED_FLAGS LOCK_FLAGS SERVER_FLAGS};
static const struct flag sem_flags[] = {LIMIT_FLAGS(
    "`Number` of slots of the semaphore, also --limit; all its clients must give the same")
                                            LOCK_FLAGS SERVER_FLAGS};
static const struct flag acquire_flags[] = {
    SHARED_FLAGS WAIT_FLAGS LIMIT_FLAGS(
        "Acquire a slot of a semaphore with this `number` of slots, also --limit")
        BOOLEAN_FLAG("hold", NULL, hold, "true",
                     "Leave a process that keeps the connection open, and so the lock"),
    NUMBER_FLAG("while", NULL, NULL, while_pid, 1, INT_MAX, NULL,
                "Renew the lock until the process with this `pid` ends, then release it; $$ is "
                "the shell"),
    TEXT_FLAG("on-loss", NULL, on_loss_given, NULL,
              "`Signal` for the process of --while if the lock is lost, such as TERM or 15"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag renew_flags[] = {
    NUMBER_FLAG("lease", NULL, NULL, lease_s, 1, DFLOCKD_SECONDS_MAX, NULL,
                "`Seconds` of the new lease; by default as above"),
    SERVER_FLAGS};
static const struct flag ls_flags[] = {
    TEXT_FLAG("sort", NULL, sort, "key",
              "`Column` to sort by: key, kind, holders, waiters, lease or server"),
    BOOLEAN_FLAG("reverse", NULL, reverse, NULL, "Reverse the order"),
    BOOLEAN_FLAG("idle", NULL, idle, NULL,
                 "Also list keys without holders and waiters that the server still stores"),
    BOOLEAN_FLAG("keys", NULL, keys, NULL,
                 "Print only the keys; unless stdout is a terminal, without \\xNN for any byte"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag json_flags[] = {JSON_FLAG SERVER_FLAGS};
static const struct flag show_flags[] = {
    BOOLEAN_FLAG("all", NULL, all, NULL,
                 "On a terminal, list all that the server lists; by default what fits on it"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag revoke_flags[] = {
    TEXT_FLAG("fence", NULL, fence_given, NULL, "`Fence` of the grant, as show prints it"),
    BOOLEAN_FLAG("all", NULL, all, NULL, "Revoke all holders that show lists"),
    BOOLEAN_FLAG("yes", NULL, yes, NULL, "Do not ask, also -y"),
    BOOLEAN_FLAG("y", NULL, yes, NULL, NULL), SERVER_FLAGS};
static const struct flag stats_flags[] = {
    SECONDS_FLAG("interval", NULL, interval_ms, 10, 86400000, NULL,
                 "Repeat after this many `seconds`, and print changes per second, until ^C"),
    NUMBER_FLAG("count", NULL, NULL, count, 0, INT_MAX, "0",
                "`Number` of intervals with --interval; 0: until ^C"),
    BOOLEAN_FLAG("probe", NULL, probe, "true",
                 "With --interval, measure grants per second: acquire a slot for a moment at "
                 "each"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag ping_flags[] = {
    NUMBER_FLAG("count", NULL, NULL, count, 0, INT_MAX, "1", "`Number` of pings; 0: until ^C"),
    SECONDS_FLAG("interval", NULL, interval_ms, 10, 86400000, "1",
                 "`Seconds` from a ping to the next one"),
    JSON_FLAG SERVER_FLAGS};
static const struct flag top_flags[] = {
    SECONDS_FLAG("interval", NULL, interval_ms, 100, 3600000, "1", "`Seconds` between two polls"),
    BOOLEAN_FLAG("probe", NULL, probe, "true",
                 "Measure grants per second: acquire a slot for a moment at each poll"),
    SERVER_FLAGS};

#define FLAGS(table)                                                \
    {                                                               \
        table, sizeof(table) / sizeof((table)[0]), "DFLOCKD_", NULL \
    }

/* ---- commands ---- */

#define LOCK_DETAILS                                                                     \
    "The lock is renewed in the background while the command runs, and released when\n"  \
    "the command ends. The exit status is the command's, or 128 plus the number of\n"    \
    "the signal that ended it. If SIGINT or SIGQUIT ended the command or the wait,\n"    \
    "dflockctl ends by the same signal, so that ^C also ends a shell's loop around\n"    \
    "it.\n"                                                                              \
    "\n"                                                                                 \
    "The command has DFLOCKD_KEY, DFLOCKD_TOKEN, DFLOCKD_FENCE and DFLOCKD_LEASE\n"      \
    "(seconds) in its environment. The fence is a number that rises with every\n"        \
    "grant, by which a resource can refuse a late writer. The environment does not\n"    \
    "contain the secret of --auth-token or DFLOCKD_AUTH_TOKEN; for a dflockctl inside\n" \
    "the command, set DFLOCKD_AUTH_TOKEN_FILE.\n"                                        \
    "\n"                                                                                 \
    "lock takes several keys, also of several servers. It acquires them in the order\n"  \
    "of their bytes, so that two such commands cannot block each other for ever, and\n"  \
    "within one --timeout. If one is not granted or is lost, it releases all. The\n"     \
    "command then has DFLOCKD_KEYS, DFLOCKD_TOKENS and DFLOCKD_FENCES, with blanks\n"    \
    "between the words, in the order of the arguments, and not the variables of a\n"     \
    "single key. One key sets both kinds of variables.\n"                                \
    "\n"                                                                                 \
    "With lock --shared, several clients hold the lock together, and a client without\n" \
    "--shared excludes them all. The server grants in the order of the requests.\n"      \
    "--shared is for all keys.\n"                                                        \
    "\n"                                                                                 \
    "Without a command, dflockctl prints the token once the lock is held, and holds\n"   \
    "it until a signal. The exit status is then 0 for SIGINT and SIGTERM. It does not\n" \
    "read standard input. A key that begins with a dash: -- KEY -- COMMAND.\n"           \
    "\n"                                                                                 \
    "Signals: the command receives HUP, INT, QUIT, TERM, USR1, USR2, ALRM, CONT,\n"      \
    "WINCH, TSTP, TTIN and TTOU once, whether they are sent to dflockctl, to its\n"      \
    "process group, or by the terminal. dflockctl forwards a signal that it alone\n"     \
    "received after 0.1 s. While it waits for the lock, HUP, INT, QUIT, TERM, USR1,\n"   \
    "USR2 and ALRM end the wait.\n"                                                      \
    "\n"                                                                                 \
    "If the connection is lost, dflockctl connects again and asks the server whether\n"  \
    "it still knows the grant; the command continues meanwhile. The lock is lost if\n"   \
    "the server does not know the grant, or does not reply before the lease ends.\n"     \
    "Then the command and every process that it started receive SIGTERM, and SIGKILL\n"  \
    "after --grace. The exit status is 76, whatever the command's is; also if the\n"     \
    "connection is lost when the command ends. A process that could not be signalled\n"  \
    "is reported. The same happens if dflockctl is killed with SIGKILL: a second\n"      \
    "process of dflockctl, the parent of the command, keeps the lock until all of\n"     \
    "them have ended.\n"                                                                 \
    "\n"                                                                                 \
    "While the command is stopped, for example by ^Z, dflockctl stops the processes\n"   \
    "that it started, and does not renew the lock. If the lease has ended when the\n"    \
    "command continues, the lock is lost.\n"

#define TOKEN_DETAILS                                               \
    "KEY and TOKEN are by default DFLOCKD_KEY and DFLOCKD_TOKEN.\n" \
    "Exit status 76: the token does not hold the key, or no longer does.\n"

static const struct command commands[] = {
    {
        .name = "lock",
        .arguments = "KEY... [-- COMMAND [ARGUMENT]...]",
        .summary = "Run a command while holding a lock, or hold it until ^C",
        .details = LOCK_DETAILS,
        .words_min = 1,
        .words_max = SETTINGS_WORDS_MAX,
        .runs = true,
        .waits = true,
        .flags = FLAGS(lock_flags),
        .run = lock_run,
    },
    {
        .name = "sem",
        .arguments = "KEY -n NUMBER [-- COMMAND [ARGUMENT]...]",
        .summary = "Run a command while holding a semaphore's slot, or hold it until ^C",
        .details = LOCK_DETAILS,
        .words_min = 1,
        .words_max = 1,
        .runs = true,
        .waits = true,
        .flags = FLAGS(sem_flags),
        .run = lock_run,
    },
    {
        .name = "acquire",
        .arguments = "KEY",
        .summary = "Acquire a lock or a slot of a semaphore, and print its token",
        .details =
            "For scripts that cannot use lock or sem because their work is not one command:\n"
            "\n"
            "  token=$(dflockctl acquire deploy --while $$) || exit\n"
            "  ...\n"
            "  dflockctl release deploy \"$token\"\n"
            "\n"
            "A server releases the locks of a connection that is closed. So acquire leaves a\n"
            "process that keeps the connection open. With --while PID this process renews the\n"
            "lock until process PID ends, then releases it. Without --while, only dflockctl\n"
            "renew renews it, and the lock ends with its lease (--lease). Killing the process\n"
            "releases the lock, and sends no signal of --on-loss.\n"
            "\n"
            "The process ends within about two seconds after the lock is released or its\n"
            "lease has ended. To notice that, it sends the command \"own\" once a second.\n"
            "Before, it acquires a slot of a semaphore \"dflockctl.probe\" for a moment, to\n"
            "find out whether the server knows \"own\". Otherwise it ends after the server's\n"
            "read timeout.\n"
            "\n"
            "If the token cannot be printed, acquire releases the lock; exit status 74.\n"
            "\n"
            "With --no-hold, acquire leaves no process. That is for servers that run with\n"
            "--no-auto-release-on-disconnect. Others release the lock at once, which acquire\n"
            "reports with exit status 76.\n"
            "\n"
            "With --on-loss SIGNAL, the process of --while receives that signal if the lock\n"
            "is lost after acquire has ended, also if an administrator revokes it. A server\n"
            "does not report how a lock ended. So each end of the lock counts as a loss,\n"
            "except a release by dflockctl release as the same user on the same machine (in\n"
            "the same network namespace). If the server knows \"own\", the signal comes within\n"
            "about two seconds, otherwise at the next renewal.\n"
            "Without --on-loss the script receives no message; dflockctl renew reports a\n"
            "loss.\n",
        .words_min = 1,
        .words_max = 1,
        .waits = true,
        .flags = FLAGS(acquire_flags),
        .run = acquire_run,
    },
    {
        .name = "release",
        .arguments = "[KEY [TOKEN]]",
        .summary = "Release a lock or slot by the token that acquire printed",
        .details = TOKEN_DETAILS,
        .words_max = 2,
        .flags = FLAGS(server_flags),
        .run = release_run,
    },
    {
        .name = "renew",
        .arguments = "[KEY [TOKEN]]",
        .summary = "Renew the lease of a lock or slot, and print its seconds",
        .details = TOKEN_DETAILS
        "\n"
        "The length of the new lease, in this order:\n"
        "\n"
        "  1. --lease\n"
        "  2. DFLOCKD_LEASE, if TOKEN is DFLOCKD_TOKEN: lock and sem set both\n"
        "  3. the seconds that remain, or the server's default if that is longer\n"
        "  4. the server's default, if the server does not report the rest\n"
        "\n"
        "Servers do not report the length of a lease, only what remains of it. So give\n"
        "--lease in a script that renews a long lease again and again. Older servers\n"
        "report the rest only for a lock, and all servers only for the first 100 holders.\n"
        "For rule 3, renew requests it by \"show\" or \"stats\", and acquires a slot of a\n"
        "semaphore \"dflockctl.probe\" for a moment, whose lease is the default.\n",
        .words_max = 2,
        .flags = FLAGS(renew_flags),
        .run = renew_run,
    },
    {
        .name = "ls",
        .arguments = "[PREFIX]",
        .summary = "List the keys that have holders or waiters",
        .words_max = 1,
        .details =
            "Columns: key; kind; holders (of a semaphore: holders/slots); waiters; seconds\n"
            "until the lease ends (- for a semaphore: each of its slots has a lease);\n"
            "connection of the holder; server. On a terminal ls prints a table, otherwise\n"
            "lines without a heading and with tabs between the columns. It writes control\n"
            "characters in a key as \\xNN, and a backslash as two. With PREFIX, ls lists only\n"
            "the keys that begin with it. Numbers are sorted in descending order.\n",
        .flags = FLAGS(ls_flags),
        .run = ls_run,
    },
    {
        .name = "show",
        .arguments = "KEY",
        .summary = "Show who holds a key and who waits for it",
        .details =
            "A lock and a semaphore may have the same key. show prints both.\n"
            "\n"
            "Holders are listed in the order of their grants: name; address; connection; time\n"
            "since the grant; rest of the lease; fence, by which revoke names the grant.\n"
            "Waiters in their order: name; address; connection; time since the request; rest\n"
            "of the timeout; place in the queue; mode, if it is a lock. A rest of more than\n"
            "100 years is \"none\". A dash stands for a value that the server does not know,\n"
            "such as the name of a client that sends none. The server lists the first 100 of\n"
            "both, and counts all. With --json, show prints an array of the server's replies\n"
            "about the lock and the semaphore.\n",
        .words_min = 1,
        .words_max = 1,
        .flags = FLAGS(show_flags),
        .run = show_run,
    },
    {
        .name = "revoke",
        .arguments = "KEY",
        .summary = "Take a lock or a slot away from its holder",
        .details =
            "For administrators. The server ends the grant as if its lease were over, and\n"
            "grants the key to the next waiter. The holder finds out at its next renewal: a\n"
            "command under dflockctl lock then ends as at the loss of the lock. Until then\n"
            "the command still runs. So first try to end the holder, and revoke the lock only\n"
            "if that fails.\n"
            "\n"
            "The secret of --auth-token-file or --auth-token must be that of the server's\n"
            "--admin-token. Without --admin-token a server does not revoke.\n"
            "\n"
            "Without --fence there must be one holder; several are listed. On a terminal,\n"
            "revoke shows the holder and asks. It sends the fence that it has shown: a client\n"
            "that was granted the key meanwhile keeps it.\n"
            "\n"
            "Exit status 64: several holders and neither --fence nor --all, or no terminal to\n"
            "ask on and no --yes; 75: done, but there are more holders than the server lists;\n"
            "76: nobody holds the key with that fence, or no longer does; 77: the secret is\n"
            "not the administrator's, or the server has no --admin-token; 130: the answer was\n"
            "not yes.\n",
        .words_min = 1,
        .words_max = 1,
        .flags = FLAGS(revoke_flags),
        .run = revoke_run,
    },
    {
        .name = "stats",
        .arguments = "",
        .summary = "Count connections, locks, semaphores and waiters of each server",
        .details = "Columns: server; connections; locks and semaphores with holders or waiters;\n"
                   "holders of both; waiters; idle keys. With --json, stats prints the whole\n"
                   "statistics.\n"
                   "\n"
                   "With --interval, stats prints a line for each server at each interval: time,\n"
                   "the columns above, then grants per second, and the changes per second of\n"
                   "connections, holders and waiters (- if unknown); with --json an object a\n"
                   "line. ^C ends it with exit status 0. To count grants, stats acquires a slot\n"
                   "of a semaphore \"dflockctl.probe\" at each interval, and compares its fence\n"
                   "with that of the interval before.\n",
        .flags = FLAGS(stats_flags),
        .run = stats_run,
    },
    {
        .name = "ping",
        .arguments = "",
        .summary = "Test whether each server answers",
        .details = "Prints the time of a first ping, with connection, TLS handshake and\n"
                   "authentication, and of a second one over the same connection. All servers are\n"
                   "pinged at the same time. With --json, ping prints an object a line. After the\n"
                   "last of several pings, or ^C, it prints a summary of the second ones.\n",
        .flags = FLAGS(ping_flags),
        .run = ping_run,
    },
    {
        .name = "top",
        .arguments = "",
        .summary = "Watch connections, grants per second and the most contended keys",
        .details =
            "Keys: q quits, s changes the sort order, r reverses it, space pauses and\n"
            "continues. To count grants, top acquires a slot of a semaphore\n"
            "\"dflockctl.probe\" at each poll, and compares its fence with that of the poll\n"
            "before. With --no-probe it does not.\n",
        .flags = FLAGS(top_flags),
        .run = top_run,
    },
    {
        .name = "shard",
        .arguments = "KEY",
        .summary = "Print which server of the list a key belongs to",
        .details = "It is the CRC-32 of the key modulo the number of servers. dflockctl does not\n"
                   "connect to a server.\n",
        .words_min = 1,
        .words_max = 1,
        .flags = FLAGS(json_flags),
        .run = shard_run,
    },
};

enum {
    COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]),
    COMMAND_SIMILAR_MAX = 2, /* changes between similar names */
    COMMAND_SHORT = 6        /* bytes; shorter names are similar only with one change */
};

static const struct flags command_flags_before = FLAGS(server_flags);

const struct flags *command_flags(void)
{
    return &command_flags_before;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    }
    return NULL;
}

const struct command *command_at(size_t index)
{
    return index < COMMAND_COUNT ? &commands[index] : NULL;
}

const struct command *command_find_similar(const char *name)
{
    static const struct {
        const char *other; /* name in another program */
        const char *name;
    } known[] = {
        {"run", "lock"},       {"exec", "lock"},        {"list", "ls"},
        {"unlock", "release"}, {"semaphore", "sem"},    {"status", "stats"},
        {"info", "stats"},     {"keep-alive", "renew"}, {"force-unlock", "revoke"},
        {"holders", "show"},
    };
    const struct command *similar = NULL;
    size_t least = (strlen(name) < COMMAND_SHORT ? 1 : COMMAND_SIMILAR_MAX) + 1;

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].other, name) == 0)
            return command_find(known[i].name);
    }

    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t changes = similar_distance(name, strlen(name), commands[i].name);

        if (changes < least && changes < strlen(commands[i].name)) {
            least = changes;
            similar = &commands[i];
        }
    }
    return similar;
}

void command_help(const struct command *command)
{
    printf("Usage: dflockctl %s [flags]%s%s\n\n%s.\n\n%s\n", command->name,
           *command->arguments ? " " : "", command->arguments, command->summary, command->details);
    flags_print(&command->flags);
}

void command_help_all(void)
{
    printf("Usage: dflockctl COMMAND [flags] [arguments]\n\n"
           "Use the locks and semaphores of dflockd servers from the shell.\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    printf("\nFor the flags of a command: dflockctl COMMAND --help\n"
           "All commands have these flags. A flag takes precedence over its environment\n"
           "variable.\n\n");
    flags_print(&command_flags_before);
    printf("\nExit status:\n\n");
    status_print();
}

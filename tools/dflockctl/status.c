#include "dflockctl/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dflockctl/write_nonblocking.h"

enum {
    LINE_MAX_BYTES = 4096 /* PIPE_BUF; a longer message is cut: a shown key may take 1,536 */
};

void status_print(void)
{
    static const struct {
        int number;
        const char *text;
    } statuses[] = {
#define X(name, number, text) {number, text},
        STATUSES(X)
#undef X
    };

    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        printf("  %3d  %s\n", statuses[i].number, statuses[i].text);
    printf("  128 plus a signal's number: it ended the command, or the wait\n");
}

enum status status_of(enum dflockd_status status)
{
    switch (status) {
    case DFLOCKD_STATUS_DONE:
        return STATUS_DONE;
    case DFLOCKD_STATUS_TIMED_OUT:
        return STATUS_TIMED_OUT;
    case DFLOCKD_STATUS_NOT_HELD:
    case DFLOCKD_STATUS_LOST:
        return STATUS_LOST;
    case DFLOCKD_STATUS_LIMIT_MISMATCH:
    case DFLOCKD_STATUS_MAX_LOCKS:
    case DFLOCKD_STATUS_MAX_WAITERS:
    case DFLOCKD_STATUS_REFUSED:
    case DFLOCKD_STATUS_UNTRUSTED:
        return STATUS_REFUSED;
    case DFLOCKD_STATUS_DRAINING:
    case DFLOCKD_STATUS_UNREACHABLE:
    case DFLOCKD_STATUS_DISCONNECTED:
    case DFLOCKD_STATUS_AGAIN:
    case DFLOCKD_STATUS_NO_REPLY:
        return STATUS_NO_SERVER;
    case DFLOCKD_STATUS_INVALID:
        return STATUS_USAGE;
    case DFLOCKD_STATUS_NO_MEMORY:
        return STATUS_SYSTEM;
    default:
        return STATUS_STRANGE;
    }
}

const char *status_advice(enum dflockd_status status)
{
    switch (status) {
    case DFLOCKD_STATUS_TIMED_OUT:
        return "; dflockctl show tells who holds it, --timeout how long to wait";
    case DFLOCKD_STATUS_LIMIT_MISMATCH:
        return "; dflockctl show tells which: give that with -n";
    case DFLOCKD_STATUS_MAX_LOCKS:
    case DFLOCKD_STATUS_MAX_WAITERS:
        return "; try again later, or start the server with more";
    case DFLOCKD_STATUS_DRAINING:
        return "; try again once it is back";
    case DFLOCKD_STATUS_REFUSED:
        return "; --auth-token-file FILE gives the secret that it wants";
    case DFLOCKD_STATUS_UNTRUSTED:
        return "; --tls-ca FILE names the authority to trust, --tls-server-name whom to expect";
    case DFLOCKD_STATUS_UNREACHABLE:
        return "; is dflockd running there? --servers names where it is";
    case DFLOCKD_STATUS_DISCONNECTED:
        return "; it may want --tls, have no connection left, or have just ended";
    case DFLOCKD_STATUS_AGAIN:
    case DFLOCKD_STATUS_NO_REPLY:
        return "; it may be overloaded or stopped: try again, or look at its log";
    case DFLOCKD_STATUS_STRANGE_ANSWER:
        return "; is it a dflockd, and does it want --tls?";
    case DFLOCKD_STATUS_FAILED:
        return "; its log says why";
    default:
        return "";
    }
}

void say(const char *format, ...)
{
    static const char prefix[] = "dflockctl: ";
    char line[LINE_MAX_BYTES] = "";
    size_t start = sizeof(prefix) - 1;
    size_t length;
    va_list arguments;

    memcpy(line, prefix, start);
    va_start(arguments, format);
    /* One byte is left for the end of the line. */
    vsnprintf(line + start, sizeof(line) - start - 1, format, arguments);
    va_end(arguments);
    length = strlen(line);
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == '\x7f')
            line[i] = '?';
    }
    line[length++] = '\n';
    write_nonblocking(STDERR_FILENO, line, length);
}

_Noreturn void die_of_memory(void)
{
    say("out of memory");
    exit(STATUS_SYSTEM);
}

void *new_memory(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);

    if (!memory)
        die_of_memory();
    return memory;
}

#include "dflockctl/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/advice.h"
#include "dflockctl/write_nonblocking.h"

enum {
    STATUS_LINE_MAX = 4096 /* PIPE_BUF; longer messages are cut. A shown key has up to 1,536. */
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
    printf("  128  plus the number of the signal that ended the command or the wait\n");
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

const char *status_advice(enum dflockd_status status, const char *problem)
{
    const char *advice = advice_for(problem);

    if (advice)
        return advice;
    switch (status) {
    case DFLOCKD_STATUS_TIMED_OUT:
        return "; dflockctl show prints the holder, --timeout sets the time to wait";
    case DFLOCKD_STATUS_LIMIT_MISMATCH:
        return "; give the limit of the other clients with -n, or wait until the server removes "
               "the idle key";
    case DFLOCKD_STATUS_MAX_LOCKS:
    case DFLOCKD_STATUS_MAX_WAITERS:
        return "; try again later, or raise the server's limit";
    case DFLOCKD_STATUS_DRAINING:
        return "; try again after its restart";
    case DFLOCKD_STATUS_REFUSED:
        return "; check the secret of --auth-token-file or --auth-token, or of their variables";
    case DFLOCKD_STATUS_UNTRUSTED:
        return "; check whether the server uses TLS, and --tls-ca and --tls-server-name";
    case DFLOCKD_STATUS_UNREACHABLE:
        /* A server that uses TLS closes a connection that begins with the secret. */
        if (strstr(problem, "the server closed the connection"))
            return status_advice(DFLOCKD_STATUS_DISCONNECTED, "");
        return "; check --servers, and whether dflockd runs there";
    case DFLOCKD_STATUS_DISCONNECTED:
        return "; the server may need --tls, have no connection left, or have just ended";
    case DFLOCKD_STATUS_AGAIN:
    case DFLOCKD_STATUS_NO_REPLY:
        return "; try again, or read the server's log";
    case DFLOCKD_STATUS_STRANGE_ANSWER:
        return "; check whether it is a dflockd, and whether it needs --tls";
    case DFLOCKD_STATUS_FAILED:
        return "; read the server's log";
    default:
        return "";
    }
}

void status_report(const char *format, ...)
{
    static const char prefix[] = "dflockctl: ";
    char line[STATUS_LINE_MAX] = "";
    size_t start = sizeof(prefix) - 1;
    size_t length;
    va_list arguments;

    memcpy(line, prefix, start);
    va_start(arguments, format);
    /* Leaves one byte for the newline. */
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
    status_report("out of memory");
    exit(STATUS_SYSTEM);
}

void *new_memory(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);

    if (!memory)
        die_of_memory();
    return memory;
}

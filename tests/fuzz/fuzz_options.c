/*
 * options_read. NUL bytes cut the input into pieces. A piece that begins with '$' is a variable
 * (`$PORT=1`), one that begins with '@' is the content of every file, any other is an argument.
 */
#include "fuzz.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

#include "dflockd/protocol.h"
#include "server/connection_id.h"
#include "server/options.h"

enum {
    PIECES_MAX = 32,
    INPUT_MAX = 4096
};

/* ---- files: those of the fuzzer, and the one of the input ---- */

static bool reading;
static const char *file_text;

/* Replaces the C library's function, by which the server opens a token file. */
FILE *fopen(const char *restrict path, const char *restrict mode)
{
    static FILE *(*real)(const char *, const char *);

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fopen");
    if (!reading)
        return real(path, mode);
    if (!file_text) {
        errno = ENOENT;
        return NULL;
    }
    return fmemopen((void *)(uintptr_t)file_text, strlen(file_text), "r");
}

/* ---- the input ---- */

struct given {
    char *pieces[PIECES_MAX]; /* to be freed */
    int piece_count;
    char *arguments[PIECES_MAX + 1];
    int argument_count;
    char *variables[PIECES_MAX + 1];
    int variable_count;
};

static char *text_of(const char *before, const uint8_t *bytes, size_t length)
{
    size_t start = strlen(before);
    char *text = malloc(start + length + 1);

    must(text, "there is memory");
    memcpy(text, before, start);
    if (length > 0)
        memcpy(text + start, bytes, length);
    text[start + length] = '\0';
    return text;
}

static void take_piece(struct given *given, const uint8_t *bytes, size_t length)
{
    char **piece = &given->pieces[given->piece_count++];

    if (length > 0 && bytes[0] == '$') {
        *piece = text_of("DFLOCKD_", bytes + 1, length - 1);
        given->variables[given->variable_count++] = *piece;
    } else if (length > 0 && bytes[0] == '@') {
        *piece = text_of("", bytes + 1, length - 1);
        file_text = *piece;
    } else {
        *piece = text_of("", bytes, length);
        given->arguments[given->argument_count++] = *piece;
    }
}

static void take_arguments(struct given *given, const uint8_t *bytes, size_t length)
{
    static char name[] = "dflockd";

    given->arguments[given->argument_count++] = name;
    while (length > 0 && given->piece_count < PIECES_MAX) {
        const uint8_t *end = memchr(bytes, '\0', length);
        size_t piece = end ? (size_t)(end - bytes) : length;

        take_piece(given, bytes, piece);
        piece += end != NULL;
        bytes += piece;
        length -= piece;
    }
}

/* ---- checks ---- */

static void check_problem(const char *problem)
{
    size_t length = strnlen(problem, OPTIONS_PROBLEM_MAX);

    must(length > 0 && length < OPTIONS_PROBLEM_MAX, "a problem has a text and an end");
    for (size_t i = 0; i < length; i++)
        must(!iscntrl((unsigned char)problem[i]), "a problem is one line");
    must(strstr(problem, ": "), "a problem has a name before its text");
}

static void check_token(const char *token)
{
    size_t length = strlen(token);

    must(length > 0 && length <= DFLOCKD_AUTH_LINE_MAX, "a token can be sent");
    must(!strpbrk(token, "\r\n"), "a token is one line");
    must(!isspace((unsigned char)token[0]) && !isspace((unsigned char)token[length - 1]),
         "a token is trimmed");
}

static void check_options(const struct options *options)
{
    must(options->host, "there is a host");
    must(options->port <= 65535, "a port is one");
    must(options->default_lease_s >= 1 && options->default_lease_s <= DFLOCKD_SECONDS_MAX,
         "a lease is within its limits");
    must(options->gc_interval_s >= 1 && options->gc_interval_s <= INT32_MAX, "the tables need it");
    must(options->gc_max_idle_s <= INT32_MAX, "an idle time is within its limits");
    must(options->max_locks >= 1 && options->max_locks <= INT32_MAX, "there may be a lock");
    must(options->max_waiters <= INT32_MAX, "waiters are counted in 32 bits");
    must(options->read_timeout_s >= 1 && options->read_timeout_s <= INT32_MAX, "reads end");
    must(options->write_timeout_s <= INT32_MAX, "a time-out is within its limits");
    must(options->shutdown_timeout_s <= INT32_MAX, "a time-out is within its limits");
    must(options->threads <= WORKERS_MAX, "a worker's number fits into a connection's id");
    for (int role = 0; role < SECRETS_ROLES; role++) {
        const struct options_secret *secret = &options->secrets[role];

        if (secret->token)
            check_token(secret->token);
        must(secret->token || (!secret->given && !secret->file),
             "an option of a token yields a token");
    }
    if (options->secrets[0].token && options->secrets[1].token)
        must(strcmp(options->secrets[0].token, options->secrets[1].token) != 0,
             "the secrets of two roles differ");
}

static enum options_result read_and_check(const struct given *given)
{
    char *problem = malloc(OPTIONS_PROBLEM_MAX);
    struct options *options = malloc(sizeof(*options));
    enum options_result result;

    must(problem && options, "there is memory");
    reading = true;
    result = options_read(options, given->argument_count, given->arguments, problem);
    reading = false;
    if (result == OPTIONS_WRONG)
        check_problem(problem);
    else if (result == OPTIONS_RUN)
        check_options(options);
    options_free(options);
    must(!options->secrets[0].token && !options->secrets[1].token, "a freed token is NULL");
    free(options);
    free(problem);
    return result;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    char **environment = environ;
    struct given given = {.piece_count = 0};

    if (length > INPUT_MAX)
        return -1;
    file_text = NULL;
    take_arguments(&given, bytes, length);
    environ = given.variables;
    must(read_and_check(&given) == read_and_check(&given), "reading twice gives the same");
    environ = environment;
    for (int i = 0; i < given.piece_count; i++)
        free(given.pieces[i]);
    return 0;
}

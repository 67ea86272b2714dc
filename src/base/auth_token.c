#include "base/auth_token.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file_error.h"
#include "dflockd/protocol.h"

enum {
    FILE_MAX_BYTES = 1 << 20 /* including blanks around the token */
};

/* The same bytes as `auth` trims from a client's token (wire/request.c). */
static bool auth_token_is_blank(char byte)
{
    return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

static void auth_token_set_problem(char problem[AUTH_TOKEN_PROBLEM_MAX], const char *what)
{
    snprintf(problem, AUTH_TOKEN_PROBLEM_MAX, "%s", what);
}

char *auth_token_new(const char *text, size_t length, char problem[AUTH_TOKEN_PROBLEM_MAX])
{
    char *token = NULL;

    while (length > 0 && auth_token_is_blank(text[length - 1]))
        length--;
    while (length > 0 && auth_token_is_blank(text[0])) {
        text++;
        length--;
    }
    if (length == 0)
        auth_token_set_problem(problem, "the secret is empty; give at least one byte");
    else if (length > DFLOCKD_AUTH_LINE_MAX)
        auth_token_set_problem(problem,
                               "the secret is longer than 65536 bytes; give a shorter one");
    else if (memchr(text, '\n', length) || memchr(text, '\r', length))
        auth_token_set_problem(problem, "the secret holds a newline; write it in one line");
    else if (memchr(text, '\0', length))
        auth_token_set_problem(problem,
                               "the secret holds a NUL byte; write it as text, such as base64");
    else if (!(token = strndup(text, length)))
        auth_token_set_problem(problem, "out of memory");
    return token;
}

static void auth_token_set_read_problem(char problem[AUTH_TOKEN_PROBLEM_MAX], const char *path)
{
    snprintf(problem, AUTH_TOKEN_PROBLEM_MAX, "cannot read '%.200s': %s", path,
             file_error_explain(errno));
}

/* As auth_token_new; the problem names the file. */
static char *auth_token_new_from_file(const char *text, size_t length, const char *path,
                                      char problem[AUTH_TOKEN_PROBLEM_MAX])
{
    char what[AUTH_TOKEN_PROBLEM_MAX] = "longer than a secret with blanks around it";
    char *token = length < FILE_MAX_BYTES ? auth_token_new(text, length, what) : NULL;

    if (!token)
        snprintf(problem, AUTH_TOKEN_PROBLEM_MAX, "'%.200s': %.80s", path, what);
    return token;
}

/* Closes `file`. NULL: opening it failed with errno. */
static char *auth_token_read_file(FILE *file, const char *path,
                                  char problem[AUTH_TOKEN_PROBLEM_MAX])
{
    char *text = file ? malloc(FILE_MAX_BYTES) : NULL;
    char *token = NULL;

    if (file)
        setvbuf(file, NULL, _IONBF, 0); /* keep no copy of the secret in a stdio buffer */
    if (!text) {
        auth_token_set_read_problem(problem, path);
    } else {
        size_t length = fread(text, 1, FILE_MAX_BYTES, file);

        if (ferror(file))
            auth_token_set_read_problem(problem, path);
        else
            token = auth_token_new_from_file(text, length, path, problem);
        sodium_memzero(text, FILE_MAX_BYTES);
        free(text);
    }
    if (file)
        fclose(file);
    return token;
}

char *auth_token_read(const char *path, char problem[AUTH_TOKEN_PROBLEM_MAX])
{
    return auth_token_read_file(fopen(path, "re"), path, problem);
}

char *auth_token_reread(const char *path, char problem[AUTH_TOKEN_PROBLEM_MAX])
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat status;
    FILE *file;

    if (descriptor >= 0 && fstat(descriptor, &status) == 0 && !S_ISREG(status.st_mode)) {
        snprintf(problem, AUTH_TOKEN_PROBLEM_MAX,
                 "cannot read '%.200s': not a regular file; give a file", path);
        close(descriptor);
        return NULL;
    }
    file = descriptor >= 0 ? fdopen(descriptor, "r") : NULL;
    if (!file && descriptor >= 0)
        close(descriptor);
    return auth_token_read_file(file, path, problem);
}

void auth_token_name_file(const char *name, char file_name[AUTH_TOKEN_FLAG_MAX])
{
    snprintf(file_name, AUTH_TOKEN_FLAG_MAX, "%s-file", name);
}

bool auth_token_from_flags(struct flags_reading *reading, const char *name, const char *given,
                           const char *file, char **token, const char **source)
{
    char problem[AUTH_TOKEN_PROBLEM_MAX];
    char file_name[AUTH_TOKEN_FLAG_MAX];
    bool token_wins;

    auth_token_name_file(name, file_name);
    token_wins = flags_given(reading, name) || !flags_given(reading, file_name);
    *token = NULL;
    *source = NULL;
    if (given && token_wins) {
        *token = auth_token_new(given, strlen(given), problem);
        return *token || flags_wrong_value(reading, name, problem);
    }
    if (!file)
        return true;
    *source = file;
    *token = auth_token_read(file, problem);
    return *token || flags_wrong_value(reading, file_name, problem);
}

void auth_token_free(char *token)
{
    if (token)
        sodium_memzero(token, strlen(token));
    free(token);
}

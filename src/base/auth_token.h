/*
 * A secret that clients authenticate with, from a text or a file. Blanks around it are
 * trimmed, as the server trims those of a client's token.
 */
#ifndef BASE_AUTH_TOKEN_H
#define BASE_AUTH_TOKEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/flags.h"

enum {
    AUTH_TOKEN_PROBLEM_MAX = 300
};

/*
 * Return a copy to release with auth_token_free, or NULL and set `problem`. A token has 1 to
 * DFLOCKD_AUTH_LINE_MAX bytes without newlines and NUL.
 */
char *auth_token_new(const char *text, size_t length, char problem[AUTH_TOKEN_PROBLEM_MAX]);
char *auth_token_read(const char *path, char problem[AUTH_TOKEN_PROBLEM_MAX]);

/* Like auth_token_read, but accepts only a regular file, so the caller never blocks on a pipe. */
char *auth_token_reread(const char *path, char problem[AUTH_TOKEN_PROBLEM_MAX]);

enum {
    AUTH_TOKEN_FLAG_MAX = 24 /* bytes of the name of a flag */
};

/* Writes the flag of the file of a token to `file_name`: `name` and "-file". */
void auth_token_name_file(const char *name, char file_name[AUTH_TOKEN_FLAG_MAX]);

/*
 * Reads the token that the flag `name`, whose value is `given`, and that of its file, whose value
 * is `file`, name; NULL if not set. A flag wins over a variable, the token over the file.
 *
 * Returns true and sets `*token` to a copy, or to NULL if there is none, and `*source` to the file
 * that it was read from, or to NULL. Returns false after flags_wrong_value if the token is invalid.
 */
bool auth_token_from_flags(struct flags_reading *reading, const char *name, const char *given,
                           const char *file, char **token, const char **source);

/* Wipes and frees the token. NULL is allowed. */
void auth_token_free(char *token);

#endif

#include "dflockctl/token.h"

#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"

/* The word, or else the variable. Returns NULL if neither is given. */
static const char *token_word(const struct settings *settings, size_t index, const char *variable)
{
    return settings->word_count > index ? settings->words[index] : getenv(variable);
}

static bool token_is_valid(const char *token)
{
    return strlen(token) == DFLOCKD_TOKEN_LENGTH &&
           strspn(token, "0123456789abcdef") == DFLOCKD_TOKEN_LENGTH;
}

/* Sets the key and the token. Returns false after it reported that one is missing or invalid. */
static bool token_read(const struct settings *settings, struct dflockd_request *request)
{
    const char *command = settings->command->name;
    char problem[FLAGS_PROBLEM_MAX];

    request->key = token_word(settings, 0, "DFLOCKD_KEY");
    request->token = token_word(settings, 1, "DFLOCKD_TOKEN");
    if (!request->key)
        status_report("%s: no key; try: dflockctl %s --help", command, command);
    else if (!settings_check_key(request->key, problem))
        status_report("%s", problem);
    else if (!request->token)
        status_report("%s: no token; give the one that acquire printed", command);
    else if (!token_is_valid(request->token))
        status_report("%s: not a token; give the %d hexadecimal digits that acquire printed",
                      command, DFLOCKD_TOKEN_LENGTH);
    else
        return true;
    return false;
}

int token_run(const struct settings *settings, enum dflockd_command lock,
              enum dflockd_command semaphore, struct dflockd_reply *reply)
{
    struct dflockd_request request = {.command = lock, .lease_s = settings->lease_s};
    struct query query = {0};
    enum dflockd_status status;
    size_t server;

    if (!token_read(settings, &request))
        return STATUS_USAGE;
    server = settings_server_of(settings, request.key);
    status = query_run(&query, settings, server, &request);
    if (status == DFLOCKD_STATUS_NOT_HELD) {
        request.command = semaphore;
        status = query_run(&query, settings, server, &request);
    }
    *reply = query.reply;
    query_close(&query);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status_report("'%s': not held by this token; its lease may have ended", request.key);
    else if (reply->status != DFLOCKD_STATUS_DONE)
        query_report(settings, server, status);
    return (int)status_of(status);
}

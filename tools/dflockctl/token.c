#include "dflockctl/token.h"

#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"

/* The word, or else the variable. Sets `*source` to its name. Returns NULL if neither is given. */
static const char *token_word(const struct settings *settings, size_t index, const char *variable,
                              const char **source)
{
    static const char *const names[] = {"KEY", "TOKEN"};
    const char *value = getenv(variable);

    *source = settings->word_count > index ? names[index] : variable;
    if (settings->word_count > index)
        return settings->words[index];
    return value && *value ? value : NULL;
}

static bool token_is_valid(const char *token)
{
    return strlen(token) == DFLOCKD_TOKEN_LENGTH &&
           strspn(token, "0123456789abcdef") == DFLOCKD_TOKEN_LENGTH;
}

bool token_read(const struct settings *settings, struct dflockd_request *request)
{
    const char *command = settings->command->name;
    char problem[FLAGS_PROBLEM_MAX];
    const char *source;

    request->key = token_word(settings, 0, "DFLOCKD_KEY", &source);
    if (!request->key) {
        status_report("%s: no key; try: dflockctl %s --help", command, command);
        return false;
    }
    if (!settings_check_key(request->key, problem)) {
        status_report("%s%s%s", *source == 'D' ? source : "", *source == 'D' ? ": " : "", problem);
        return false;
    }
    request->token = token_word(settings, 1, "DFLOCKD_TOKEN", &source);
    if (request->token && *request->token == '\0')
        status_report("%s: empty; did acquire fail?", source);
    else if (!request->token)
        status_report("%s: no token; give the one that acquire printed", command);
    else if (!token_is_valid(request->token))
        status_report("%s: not a token (%d hex digits, lower case); give the one that acquire "
                      "printed",
                      source, DFLOCKD_TOKEN_LENGTH);
    else
        return true;
    return false;
}

int token_run(const struct settings *settings, struct dflockd_request *request,
              enum dflockd_command lock, enum dflockd_command semaphore,
              struct dflockd_reply *reply)
{
    struct query query = {0};
    enum dflockd_status status;
    size_t server = settings_server_of(settings, request->key);

    request->command = lock;
    status = query_run(&query, settings, server, request);
    if (status == DFLOCKD_STATUS_NOT_HELD) {
        request->command = semaphore;
        status = query_run(&query, settings, server, request);
    }
    *reply = query.reply;
    query_close(&query);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status_report("'%s': not held by this token; its lease may have ended, or an administrator "
                      "may have revoked it",
                      request->key);
    else if (reply->status != DFLOCKD_STATUS_DONE)
        query_report(settings, server, status);
    return (int)status_of(status);
}

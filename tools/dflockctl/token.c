#include "dflockctl/token.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/servers.h"
#include "dflockctl/status.h"
#include "os/standard_output.h"

/* Finds key and token in the words, or else in the environment. Returns false if it reported that
 * one is missing. */
static bool token_find(const struct settings *settings, const char **key, const char **token)
{
    *key = settings->word_count > 0 ? settings->words[0] : getenv("DFLOCKD_KEY");
    *token = settings->word_count > 1 ? settings->words[1] : getenv("DFLOCKD_TOKEN");
    if (!*key || !*token || !settings_is_key(*key) || !settings_is_key(*token)) {
        say("%s needs a key and the token that acquire printed; try: dflockctl %s --help",
            settings->command->name, settings->command->name);
        return false;
    }
    return true;
}

/*
 * Sends the request for a lock, and if the token holds no lock, the one for a semaphore: a token
 * does not say which of both it is of, and a request changes nothing if the token does not hold the
 * key. Reports a failure. Returns the exit status.
 */
static int token_ask(const struct settings *settings, enum dflockd_command lock,
                     enum dflockd_command semaphore, struct dflockd_reply *reply)
{
    struct dflockd_request request = {.command = lock, .lease_s = settings->lease_s};
    struct question question = {0};
    enum dflockd_status status;
    size_t server;

    if (!token_find(settings, &request.key, &request.token))
        return STATUS_USAGE;
    server = servers_of(settings, request.key);
    status = question_ask(&question, settings, server, &request);
    if (status == DFLOCKD_STATUS_NOT_HELD) {
        request.command = semaphore;
        status = question_ask(&question, settings, server, &request);
    }
    *reply = question.reply;
    question_close(&question);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        say("not held by this token, or not any more; dflockctl acquire takes it again");
    else if (status != DFLOCKD_STATUS_DONE && status == reply->status)
        say("%s%s", dflockd_status_text(status), status_advice(status));
    return (int)status_of(status);
}

int token_release(const struct settings *settings)
{
    struct dflockd_reply reply;

    return token_ask(settings, DFLOCKD_RELEASE, DFLOCKD_SEMAPHORE_RELEASE, &reply);
}

int token_renew(const struct settings *settings)
{
    struct dflockd_reply reply;
    int status = token_ask(settings, DFLOCKD_RENEW, DFLOCKD_SEMAPHORE_RENEW, &reply);
    int error;

    if (status != STATUS_DONE)
        return status;
    printf("%" PRIu64 "\n", reply.lease_s);
    error = standard_output_flush();
    if (error == 0)
        return STATUS_DONE;
    say("standard output: %s; the lease is renewed, for %" PRIu64 " s", strerror(-error),
        reply.lease_s);
    return STATUS_OUTPUT;
}

#include "server/credentials.h"

#include <stddef.h>

#include "base/auth_token.h"
#include "base/time_units.h"
#include "server/log.h"

static struct tls_context *credentials_load_tls(const struct options *options,
                                                char problem[TLS_PROBLEM_MAX])
{
    const struct tls_files files = {
        .certificate = options->tls_certificate,
        .key = options->tls_key,
        .client_ca = options->tls_client_ca,
        .certificate_source = options->sources[OPTIONS_TLS_CERT],
        .key_source = options->sources[OPTIONS_TLS_KEY],
        .client_ca_source = options->sources[OPTIONS_TLS_CLIENT_CA],
    };

    return tls_context_load(&files, problem);
}

bool credentials_load(struct credentials *credentials, struct options *options,
                      char problem[TLS_PROBLEM_MAX])
{
    *credentials = (struct credentials){.options = options, .secret_ends_ns = UINT64_MAX};
    if (options->tls_certificate) {
        struct tls_context *context = credentials_load_tls(options, problem);

        if (!context)
            return false;
        tls_place_init(&credentials->loaded_tls, context);
        credentials->tls = &credentials->loaded_tls;
    }
    if (options->auth_token) {
        secret_init(&credentials->loaded_secret, options->auth_token);
        options->auth_token = NULL;
        credentials->secret = &credentials->loaded_secret;
    }
    return true;
}

static void credentials_reload_tls(struct credentials *credentials)
{
    char problem[TLS_PROBLEM_MAX];
    struct tls_context *context = credentials_load_tls(credentials->options, problem);

    if (context) {
        tls_place_change(credentials->tls, context);
        log_line(LOG_INFO, "TLS certificate reloaded", "file",
                 credentials->options->tls_certificate, NULL);
    } else {
        log_line(LOG_ERROR, "TLS certificate not reloaded, the old one stays", "error", problem,
                 NULL);
    }
}

/* Clients need time to learn the new secret. An open connection is authenticated already. */
static void credentials_reload_secret(struct credentials *credentials, uint64_t now_ns)
{
    const struct options *options = credentials->options;
    uint64_t ends_ns = now_ns + options->read_timeout_s * NS_PER_S;
    char problem[AUTH_TOKEN_PROBLEM_MAX];
    char *token = auth_token_reread(options->auth_token_source, problem);

    if (!token) {
        log_line(LOG_ERROR, "secret not reloaded, the old one stays", "file",
                 options->auth_token_source, "error", problem, NULL);
    } else if (secret_change(credentials->secret, token, ends_ns) == SECRET_UNCHANGED) {
        log_line(LOG_INFO, "secret unchanged", "file", options->auth_token_source, NULL);
    } else {
        credentials->secret_ends_ns = ends_ns;
        log_line(LOG_INFO, "secret reloaded", "file", options->auth_token_source, NULL);
    }
}

void credentials_reload(struct credentials *credentials, uint64_t now_ns)
{
    const char *secret_file = credentials->options->auth_token_source;

    if (credentials->tls)
        credentials_reload_tls(credentials);
    if (secret_file)
        credentials_reload_secret(credentials, now_ns);
    if (!credentials->tls && !secret_file)
        log_line(LOG_INFO, "nothing to reload", "reason",
                 "SIGHUP reloads TLS files and secret files", NULL);
}

void credentials_expire(struct credentials *credentials, uint64_t now_ns)
{
    if (now_ns < credentials->secret_ends_ns)
        return;
    credentials->secret_ends_ns = UINT64_MAX;
    secret_expire(credentials->secret, now_ns);
}

void credentials_free(struct credentials *credentials)
{
    if (credentials->tls)
        tls_place_free(credentials->tls);
    if (credentials->secret)
        secret_free(credentials->secret);
}

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
    char *tokens[SECRETS_ROLES];

    *credentials = (struct credentials){.options = options, .secret_ends_ns = UINT64_MAX};
    if (options->tls_certificate) {
        struct tls_context *context = credentials_load_tls(options, problem);

        if (!context)
            return false;
        tls_place_init(&credentials->loaded_tls, context);
        credentials->tls = &credentials->loaded_tls;
    }
    for (int role = 0; role < SECRETS_ROLES; role++) {
        tokens[role] = options->secrets[role].token;
        options->secrets[role].token = NULL;
    }
    secrets_init(&credentials->secrets, tokens);
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

/* `error` NULL: there is none. */
static void credentials_log_secret(enum log_level level, const char *message,
                                   const struct credentials *credentials, enum secrets_role role,
                                   const char *error)
{
    static const char *const names[SECRETS_ROLES] = {
        [SECRETS_CLIENT] = "client",
        [SECRETS_ADMINISTRATOR] = "administrator",
    };

    log_line(level, message, "file", credentials->options->secrets[role].source, "role",
             names[role], error ? "error" : NULL, error, NULL);
}

/* Clients need time to learn the new secret. An open connection keeps its rights. */
static void credentials_reload_secret(struct credentials *credentials, enum secrets_role role,
                                      uint64_t now_ns)
{
    static const char refused[] = "secret not reloaded, the old one stays";
    static const char *const taken[SECRETS_ROLES] = {
        [SECRETS_CLIENT] = "valid for administrators, perhaps as their previous secret; "
                           "give clients another one",
        [SECRETS_ADMINISTRATOR] = "valid for clients, perhaps as their previous secret; "
                                  "give administrators another one",
    };
    uint64_t ends_ns = now_ns + credentials->options->read_timeout_s * NS_PER_S;
    char problem[AUTH_TOKEN_PROBLEM_MAX];
    char *token = auth_token_reread(credentials->options->secrets[role].source, problem);

    if (!token) {
        credentials_log_secret(LOG_ERROR, refused, credentials, role, problem);
        return;
    }
    switch (secrets_change(&credentials->secrets, role, token, now_ns, ends_ns)) {
    case SECRETS_CHANGED:
        if (ends_ns < credentials->secret_ends_ns)
            credentials->secret_ends_ns = ends_ns;
        credentials_log_secret(LOG_INFO, "secret reloaded", credentials, role, NULL);
        break;
    case SECRETS_UNCHANGED:
        credentials_log_secret(LOG_INFO, "secret unchanged", credentials, role, NULL);
        break;
    case SECRETS_OF_OTHER:
        credentials_log_secret(LOG_ERROR, refused, credentials, role, taken[role]);
        break;
    }
}

void credentials_reload(struct credentials *credentials, uint64_t now_ns)
{
    bool any = credentials->tls;

    if (credentials->tls)
        credentials_reload_tls(credentials);
    for (int role = 0; role < SECRETS_ROLES; role++) {
        if (!credentials->options->secrets[role].source)
            continue;
        credentials_reload_secret(credentials, (enum secrets_role)role, now_ns);
        any = true;
    }
    if (!any)
        log_line(LOG_INFO, "nothing to reload", "reason",
                 "SIGHUP reloads TLS files and secret files", NULL);
}

void credentials_expire(struct credentials *credentials, uint64_t now_ns)
{
    if (now_ns >= credentials->secret_ends_ns)
        credentials->secret_ends_ns = secrets_expire(&credentials->secrets, now_ns);
}

void credentials_free(struct credentials *credentials)
{
    if (credentials->tls)
        tls_place_free(credentials->tls);
    secrets_free(&credentials->secrets);
}

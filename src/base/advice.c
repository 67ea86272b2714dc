#include "base/advice.h"

#include <stddef.h>
#include <string.h>

const char *advice_for(const char *problem)
{
    static const struct {
        const char *problem; /* a part of it */
        const char *advice;
    } known[] = {
        {"the server does not use a secret",
         "; leave out --auth-token-file and --auth-token, and their variables"},
        {"the server requires a secret", "; give it with --auth-token-file"},
        {"the server refused the secret",
         "; check the secret of --auth-token-file or --auth-token, or of their variables"},
        {"Certificate is required",
         "; give a certificate that the server trusts with --tls-client-cert and --tls-client-key"},
        {"unexpected TLS packet", "; the server may not use TLS: leave out --tls"},
        {"not signed by a trusted CA", "; check --tls-ca"},
        {"is for another name", "; check --tls-server-name"},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strstr(problem, known[i].problem))
            return known[i].advice;
    }
    return NULL;
}

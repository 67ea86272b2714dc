/*
 * The only file that uses GnuTLS. Its transport is the caller's memory.
 *
 * GnuTLS keeps an incomplete record itself. So it always consumes all input, and the caller need
 * not keep any.
 */
#include "os/tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file_error.h"

enum {
    FILE_MAX_BYTES = 1 << 20,
    CERTIFICATES_MAX = 16, /* of a chain */
    /* The longest message is a certificate chain; GnuTLS limits their number. */
    HANDSHAKE_MESSAGE_MAX = 64 * 1024
};

/*
 * Only key exchanges with forward secrecy and without parameters. The first group is the one whose
 * share clients send unrequested; another group costs one more round trip.
 */
static const char priorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-DHE-RSA:%SERVER_PRECEDENCE:"
    "-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1";

struct tls_context {
    _Atomic uint32_t holders;
    gnutls_certificate_credentials_t credentials;
    gnutls_priority_t priorities;
    /* New in each context: sessions of old certificates cannot be resumed. */
    gnutls_datum_t ticket_key;
    bool verifies; /* the peer must have a trusted certificate */
};

struct tls {
    struct tls_context *context;
    gnutls_session_t session;
    tls_sender *send;
    void *receiver;
    const uint8_t *input;
    size_t input_length;
    int error;
    bool ready;
    bool ended; /* our side */
};

/* ---- files ---- */

/*
 * Returns a text until the thread's next call. Texts of GnuTLS end with a full stop, which is left
 * out: the caller may append a remedy.
 */
static const char *tls_explain_as(const char *prefix, const char *why)
{
    static _Thread_local char text[128];
    size_t length = (size_t)snprintf(text, sizeof(text), "%s%s", prefix, why);

    if (length > 0 && length < sizeof(text) && text[length - 1] == '.')
        text[length - 1] = '\0';
    return text;
}

static const char *tls_explain(int error)
{
    return tls_explain_as("", gnutls_strerror(error));
}

static void tls_set_problem(char problem[TLS_PROBLEM_MAX], const char *what, const char *path,
                            const char *why)
{
    snprintf(problem, TLS_PROBLEM_MAX, "%s '%.200s': %s", what, path, why);
}

/* Explains a file without the certificate or the key that belongs there. */
static const char *tls_explain_content(const gnutls_datum_t *text, bool certificate)
{
    const char *other = certificate ? "PRIVATE KEY-----" : "-----BEGIN CERTIFICATE-----";

    if (memmem(text->data, text->size, other, strlen(other)))
        return certificate ? "holds a private key instead of a certificate; give the certificate"
                           : "holds a certificate instead of a private key; give the key";
    /* The first byte of DER: a sequence. */
    if (text->size > 0 && text->data[0] == 0x30)
        return certificate ? "is not in PEM; convert it: openssl x509 -inform der"
                           : "is not in PEM; convert it: openssl pkey -inform der";
    return certificate ? "holds no certificate in PEM; give a file with one"
                       : "holds no private key in PEM; give a file with one";
}

/* The file may hold a key, so its memory is wiped; the compiler must not remove this. */
static void tls_wipe(gnutls_datum_t *text)
{
    if (text->data)
        gnutls_memset(text->data, 0, FILE_MAX_BYTES);
    free(text->data);
    *text = (gnutls_datum_t){0};
}

/* The server would wait for the bytes of a pipe or a terminal. */
static bool tls_is_regular(int descriptor)
{
    struct stat status;

    return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

/* Reads up to `size` bytes without stdio, whose buffer would keep a copy of a key. */
static ssize_t tls_read_all(int descriptor, uint8_t *to, size_t size)
{
    size_t length = 0;
    ssize_t count;

    while (length < size && (count = read(descriptor, to + length, size - length)) != 0) {
        if (count < 0)
            return -1;
        length += (size_t)count;
    }
    return (ssize_t)length;
}

static bool tls_read_file(gnutls_datum_t *text, const char *what, const char *path,
                          char problem[TLS_PROBLEM_MAX])
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const char *why = NULL;
    ssize_t length = 0;

    *text = (gnutls_datum_t){0};
    if (descriptor < 0) {
        tls_set_problem(problem, what, path, file_error_explain(errno));
        return false;
    }
    text->data = malloc(FILE_MAX_BYTES);
    if (!text->data)
        why = "out of memory";
    else if (!tls_is_regular(descriptor))
        why = "not a regular file; give a file";
    else if ((length = tls_read_all(descriptor, text->data, FILE_MAX_BYTES)) < 0)
        why = file_error_explain(errno);
    else if (length == FILE_MAX_BYTES)
        why = "too large; give a file with certificates or a key only";
    close(descriptor);
    text->size = (unsigned)length;
    if (!why)
        return true;
    tls_set_problem(problem, what, path, why);
    tls_wipe(text);
    return false;
}

static bool tls_check_dates(gnutls_x509_crt_t certificate, const char *what, const char *path,
                            char problem[TLS_PROBLEM_MAX])
{
    time_t now = time(NULL);
    time_t from = gnutls_x509_crt_get_activation_time(certificate);
    time_t until = gnutls_x509_crt_get_expiration_time(certificate);
    time_t then = now < from ? from : until;
    char date[32] = "an unknown time";
    char why[80];
    struct tm parts;

    if (now >= from && now <= until)
        return true;
    if (gmtime_r(&then, &parts))
        strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", &parts);
    snprintf(why, sizeof(why),
             now < from ? "not valid before %s; check the clock" : "expired at %s; renew it", date);
    tls_set_problem(problem, what, path, why);
    return false;
}

static bool tls_check_certificate(const gnutls_datum_t *text, const char *what, const char *path,
                                  char problem[TLS_PROBLEM_MAX])
{
    gnutls_x509_crt_t chain[CERTIFICATES_MAX];
    unsigned count = CERTIFICATES_MAX;
    int result = gnutls_x509_crt_list_import(chain, &count, text, GNUTLS_X509_FMT_PEM,
                                             GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
    bool fine;

    if (result <= 0) {
        tls_set_problem(problem, what, path,
                        result == GNUTLS_E_SHORT_MEMORY_BUFFER
                            ? "more than 16 certificates; give the chain of one certificate"
                            : tls_explain_content(text, true));
        return false;
    }
    fine = tls_check_dates(chain[0], what, path, problem);
    for (int i = 0; i < result; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return fine;
}

static bool tls_check_key(const gnutls_datum_t *text, const char *what, const char *path,
                          char problem[TLS_PROBLEM_MAX])
{
    gnutls_x509_privkey_t key;
    int result = gnutls_x509_privkey_init(&key);

    if (result == 0) {
        result = gnutls_x509_privkey_import2(key, text, GNUTLS_X509_FMT_PEM, NULL, 0);
        gnutls_x509_privkey_deinit(key);
    }
    if (result == GNUTLS_E_DECRYPTION_FAILED)
        tls_set_problem(problem, what, path, "encrypted; use a key without a passphrase");
    else if (result < 0)
        tls_set_problem(problem, what, path, tls_explain_content(text, false));
    return result == 0;
}

static bool tls_context_load_certificate(struct tls_context *context, const struct tls_files *files,
                                         char problem[TLS_PROBLEM_MAX])
{
    const char *what = files->certificate_source ? files->certificate_source : "TLS certificate";
    const char *what_key = files->key_source ? files->key_source : "TLS key";
    gnutls_datum_t certificate;
    gnutls_datum_t key = {0};
    bool fine = tls_read_file(&certificate, what, files->certificate, problem) &&
                tls_check_certificate(&certificate, what, files->certificate, problem) &&
                tls_read_file(&key, what_key, files->key, problem) &&
                tls_check_key(&key, what_key, files->key, problem);

    if (fine) {
        int result = gnutls_certificate_set_x509_key_mem2(context->credentials, &certificate, &key,
                                                          GNUTLS_X509_FMT_PEM, NULL, 0);

        fine = result >= 0;
        if (result == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
            snprintf(problem, TLS_PROBLEM_MAX,
                     "%s '%.150s': is not the key of the certificate '%.150s'; give the key that "
                     "belongs "
                     "to it",
                     what_key, files->key, files->certificate);
        else if (!fine)
            tls_set_problem(problem, what, files->certificate, tls_explain(result));
    }
    tls_wipe(&certificate);
    tls_wipe(&key);
    return fine;
}

static bool tls_context_trust(struct tls_context *context, const char *what, const char *path,
                              char problem[TLS_PROBLEM_MAX])
{
    gnutls_datum_t text;
    int result;

    if (!tls_read_file(&text, what, path, problem))
        return false;
    result =
        gnutls_certificate_set_x509_trust_mem(context->credentials, &text, GNUTLS_X509_FMT_PEM);
    if (result <= 0)
        tls_set_problem(problem, what, path, tls_explain_content(&text, true));
    tls_wipe(&text);
    return result > 0;
}

/* ---- contexts ---- */

static struct tls_context *tls_context_new(char problem[TLS_PROBLEM_MAX])
{
    struct tls_context *context = calloc(1, sizeof(*context));

    snprintf(problem, TLS_PROBLEM_MAX, "TLS: out of memory");
    if (!context)
        return NULL;
    context->holders = 1;
    if (gnutls_certificate_allocate_credentials(&context->credentials) == 0 &&
        gnutls_priority_init2(&context->priorities, priorities, NULL, 0) == 0)
        return context;
    tls_context_drop(context);
    return NULL;
}

struct tls_context *tls_context_load(const struct tls_files *files, char problem[TLS_PROBLEM_MAX])
{
    struct tls_context *context = tls_context_new(problem);

    if (!context)
        return NULL;
    context->verifies = files->client_ca != NULL;
    if (gnutls_session_ticket_key_generate(&context->ticket_key) == 0 &&
        tls_context_load_certificate(context, files, problem) &&
        (!files->client_ca ||
         tls_context_trust(context,
                           files->client_ca_source ? files->client_ca_source : "TLS client CA",
                           files->client_ca, problem)))
        return context;
    tls_context_drop(context);
    return NULL;
}

struct tls_context *tls_context_for_clients(const char *ca_file, bool insecure,
                                            char problem[TLS_PROBLEM_MAX])
{
    struct tls_context *context;

    errno = 0;
    context = tls_context_new(problem);
    if (!context)
        return NULL;
    context->verifies = !insecure;
    if (insecure)
        return context;
    if (ca_file) {
        if (tls_context_trust(context, "TLS CA", ca_file, problem))
            return context;
    } else {
        if (gnutls_certificate_set_x509_system_trust(context->credentials) > 0)
            return context;
        snprintf(problem, TLS_PROBLEM_MAX, "TLS: this system trusts no certificate");
    }
    tls_context_drop(context);
    return NULL;
}

bool tls_context_show(struct tls_context *context, const char *certificate, const char *key,
                      char problem[TLS_PROBLEM_MAX])
{
    const struct tls_files files = {.certificate = certificate, .key = key};

    errno = 0;
    return tls_context_load_certificate(context, &files, problem);
}

void tls_context_drop(struct tls_context *context)
{
    if (!context || atomic_fetch_sub(&context->holders, 1) > 1)
        return;
    if (context->priorities)
        gnutls_priority_deinit(context->priorities);
    if (context->credentials)
        gnutls_certificate_free_credentials(context->credentials);
    if (context->ticket_key.data)
        gnutls_memset(context->ticket_key.data, 0, context->ticket_key.size);
    gnutls_free(context->ticket_key.data);
    free(context);
}

void tls_place_init(struct tls_place *place, struct tls_context *context)
{
    pthread_mutex_init(&place->mutex, NULL);
    place->context = context;
}

void tls_place_free(struct tls_place *place)
{
    tls_context_drop(place->context);
    pthread_mutex_destroy(&place->mutex);
}

void tls_place_change(struct tls_place *place, struct tls_context *context)
{
    struct tls_context *old;

    pthread_mutex_lock(&place->mutex);
    old = place->context;
    place->context = context;
    pthread_mutex_unlock(&place->mutex);
    tls_context_drop(old);
}

static struct tls_context *tls_context_hold(struct tls_context *context)
{
    atomic_fetch_add(&context->holders, 1);
    return context;
}

/* ---- the transport ---- */

static ssize_t tls_push(gnutls_transport_ptr_t pointer, const void *bytes, size_t length)
{
    struct tls *tls = pointer;

    if (tls->send(tls->receiver, bytes, length))
        return (ssize_t)length;
    gnutls_transport_set_errno(tls->session, ENOMEM);
    return -1;
}

static ssize_t tls_pull(gnutls_transport_ptr_t pointer, void *to, size_t size)
{
    struct tls *tls = pointer;
    size_t length = size < tls->input_length ? size : tls->input_length;

    if (length == 0) {
        gnutls_transport_set_errno(tls->session, EAGAIN);
        return -1;
    }
    memcpy(to, tls->input, length);
    tls->input += length;
    tls->input_length -= length;
    return (ssize_t)length;
}

/* GnuTLS calls this before it would wait; here it never waits. */
static int tls_pull_timeout(gnutls_transport_ptr_t pointer, unsigned milliseconds)
{
    const struct tls *tls = pointer;

    (void)milliseconds;
    return tls->input_length > 0;
}

/* ---- connections ---- */

/* Takes over the caller's hold on `context`. */
static struct tls *tls_new(struct tls_context *context, unsigned role, tls_sender *send,
                           void *receiver)
{
    struct tls *tls = calloc(1, sizeof(*tls));

    if (!tls) {
        tls_context_drop(context);
        return NULL;
    }
    tls->context = context;
    tls->send = send;
    tls->receiver = receiver;
    if (gnutls_init(&tls->session, role | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
        tls->session = NULL;
    } else if (gnutls_priority_set(tls->session, context->priorities) == 0 &&
               gnutls_credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, context->credentials) ==
                   0) {
        gnutls_transport_set_ptr(tls->session, tls);
        gnutls_transport_set_push_function(tls->session, tls_push);
        gnutls_transport_set_pull_function(tls->session, tls_pull);
        gnutls_transport_set_pull_timeout_function(tls->session, tls_pull_timeout);
        gnutls_handshake_set_timeout(tls->session, 0);
        gnutls_handshake_set_max_packet_length(tls->session, HANDSHAKE_MESSAGE_MAX);
        return tls;
    }
    tls_free(tls);
    return NULL;
}

struct tls *tls_serve(struct tls_place *place, tls_sender *send, void *receiver)
{
    struct tls_context *context;
    struct tls *tls;

    pthread_mutex_lock(&place->mutex);
    context = tls_context_hold(place->context);
    pthread_mutex_unlock(&place->mutex);
    tls = tls_new(context, GNUTLS_SERVER, send, receiver);
    if (!tls)
        return NULL;
    if (context->verifies) {
        /* GnuTLS does not copy this, and reads it during the handshake. */
        static unsigned char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
        static gnutls_typed_vdata_st wanted = {
            .type = GNUTLS_DT_KEY_PURPOSE_OID,
            .data = purpose,
        };

        gnutls_certificate_server_set_request(tls->session, GNUTLS_CERT_REQUIRE);
        gnutls_session_set_verify_cert2(tls->session, &wanted, 1, 0);
    }
    if (gnutls_session_ticket_enable_server(tls->session, &context->ticket_key) < 0) {
        tls_free(tls);
        return NULL;
    }
    return tls;
}

/* Clients do not send a literal address as server name (RFC 6066, 3). */
static bool tls_is_address(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

struct tls *tls_call(struct tls_context *context, const char *host, tls_sender *send,
                     void *receiver)
{
    struct tls *tls = tls_new(tls_context_hold(context), GNUTLS_CLIENT, send, receiver);

    if (!tls)
        return NULL;
    if (host && !tls_is_address(host) &&
        gnutls_server_name_set(tls->session, GNUTLS_NAME_DNS, host, strlen(host)) < 0) {
        tls_free(tls);
        return NULL;
    }
    if (context->verifies)
        gnutls_session_set_verify_cert(tls->session, host, 0);
    return tls;
}

struct tls_context *tls_context_of(const struct tls *tls)
{
    return tls->context;
}

void tls_free(struct tls *tls)
{
    if (!tls)
        return;
    if (tls->session)
        gnutls_deinit(tls->session);
    tls_context_drop(tls->context);
    free(tls);
}

void tls_give(struct tls *tls, const uint8_t *bytes, size_t length)
{
    tls->input = bytes;
    tls->input_length = length;
}

static enum tls_result tls_fail(struct tls *tls, int error)
{
    tls->error = error;
    tls->input_length = 0;
    if (!tls->ended) {
        tls->ended = true;
        if (error == GNUTLS_E_REHANDSHAKE)
            gnutls_alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_NO_RENEGOTIATION);
        else if (error != GNUTLS_E_FATAL_ALERT_RECEIVED)
            gnutls_alert_send_appropriate(tls->session, error);
    }
    return TLS_BROKEN;
}

/* Returns whether to repeat a call without a result: input is left. */
static bool tls_must_repeat(const struct tls *tls, int result, size_t length_before)
{
    if (result == GNUTLS_E_WARNING_ALERT_RECEIVED)
        return true;
    return tls->input_length > 0 && tls->input_length < length_before;
}

/* GnuTLS may return AGAIN after a record of its own, though more records follow. */
enum tls_result tls_read(struct tls *tls, uint8_t *to, size_t size, size_t *length)
{
    size_t before;
    ssize_t result;

    if (tls->error)
        return TLS_BROKEN;
    do {
        before = tls->input_length;
        if (tls->ready) {
            result = gnutls_record_recv(tls->session, to, size);
        } else {
            result = gnutls_handshake(tls->session);
            if (result == 0) {
                tls->ready = true;
                result = gnutls_record_recv(tls->session, to, size);
            }
        }
        if (result > 0) {
            *length = (size_t)result;
            return TLS_BYTES;
        }
        if (result == 0)
            return TLS_ENDED;
        if (result == GNUTLS_E_REHANDSHAKE || gnutls_error_is_fatal((int)result))
            return tls_fail(tls, (int)result);
    } while (tls_must_repeat(tls, (int)result, before));
    return TLS_WAITS;
}

bool tls_ready(const struct tls *tls)
{
    return tls->ready;
}

bool tls_write(struct tls *tls, const uint8_t *bytes, size_t length)
{
    assert(tls->ready && length > 0);
    while (length > 0 && !tls->ended) {
        ssize_t count = gnutls_record_send(tls->session, bytes, length);

        if (count <= 0)
            return false;
        bytes += count;
        length -= (size_t)count;
    }
    return true;
}

void tls_end(struct tls *tls)
{
    if (!tls->ready || tls->ended)
        return;
    tls->ended = true;
    gnutls_bye(tls->session, GNUTLS_SHUT_WR);
}

static const char *tls_explain_distrust(gnutls_session_t session)
{
    unsigned status = gnutls_session_get_verify_cert_status(session);

    if (status & GNUTLS_CERT_UNEXPECTED_OWNER)
        return "the certificate is for another name";
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return "the certificate is not signed by a trusted CA";
    if (status & (GNUTLS_CERT_EXPIRED | GNUTLS_CERT_NOT_ACTIVATED))
        return "the certificate is not valid now";
    return tls_explain(GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR);
}

/* A peer may send any number; most have no name. */
static const char *tls_explain_alert(gnutls_session_t session)
{
    const char *name = gnutls_alert_get_name(gnutls_alert_get(session));

    return tls_explain_as("alert of the peer: ", name ? name : "of an unknown kind");
}

/* The sender fails only if memory is short: see tls_push. */
bool tls_short_of_memory(const struct tls *tls)
{
    return tls->error == GNUTLS_E_MEMORY_ERROR || tls->error == GNUTLS_E_PUSH_ERROR;
}

const char *tls_problem(const struct tls *tls)
{
    if (tls_short_of_memory(tls))
        return "out of memory";
    if (tls->error == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return tls_explain_alert(tls->session);
    if (tls->error == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR)
        return tls_explain_distrust(tls->session);
    if (tls->error == GNUTLS_E_CERTIFICATE_REQUIRED || tls->error == GNUTLS_E_NO_CERTIFICATE_FOUND)
        return "the peer sent no certificate of a trusted CA";
    /* The first record of an OpenSSL client that rejects the certificate is an alert in plain text.
     */
    if (tls->error == GNUTLS_E_DECRYPTION_FAILED && !tls->ready)
        return "the peer's record cannot be decrypted: it may not trust the certificate";
    return tls_explain(tls->error);
}

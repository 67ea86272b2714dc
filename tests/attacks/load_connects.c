/* Many clients connect, or begin a TLS handshake, at once. */
#include <errno.h>
#include <gnutls/gnutls.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "attacks/crowd.h"
#include "attacks/loads.h"
#include "attacks/stage.h"
#include "base/time_units.h"

void attack_connects(const struct settings *settings, struct result *result)
{
    struct crowd crowd = crowd_create(settings, result, settings->connections);
    uint64_t begin_ns;

    stage_open(settings, "");
    if (settings->stop) {
        kill((pid_t)settings->pid, SIGSTOP);
        crowd_start_connecting(&crowd);
        sleep_until(clock_ns() + 100 * NS_PER_MS);
    }
    begin_ns = clock_ns();
    stage_begin();
    if (settings->stop)
        kill((pid_t)settings->pid, SIGCONT);
    else
        crowd_start_connecting(&crowd);
    crowd_exchange(&crowd, &PINGS, ALL_REPLIED, 1);
    result->seconds = seconds_since(begin_ns);
    if (crowd.closed > 0)
        result_fail(result, "closed", "a new connection");
    stage_close(settings, result);
    crowd_free(&crowd);
}

/* ---- handshakes ---- */

struct hello {
    size_t length;
    char bytes[4096];
};

static ssize_t keep_hello(gnutls_transport_ptr_t place, const void *bytes, size_t length)
{
    struct hello *hello = place;

    if (hello->length + length <= sizeof(hello->bytes)) {
        memcpy(hello->bytes + hello->length, bytes, length);
        hello->length += length;
    }
    return (ssize_t)length;
}

static ssize_t receive_nothing(gnutls_transport_ptr_t place, void *bytes, size_t size)
{
    (void)place;
    (void)bytes;
    (void)size;
    errno = EAGAIN;
    return -1;
}

/* Sets the first bytes that a client of TLS sends. */
static void make_hello(struct hello *hello)
{
    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;

    gnutls_certificate_allocate_credentials(&credentials);
    gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
    gnutls_set_default_priority(session);
    gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
    gnutls_transport_set_ptr(session, hello);
    gnutls_transport_set_push_function(session, keep_hello);
    gnutls_transport_set_pull_function(session, receive_nothing);
    gnutls_handshake(session);
    gnutls_deinit(session);
    gnutls_certificate_free_credentials(credentials);
}

/* All connections send the same hello, which costs the client little. No handshake completes. */
void attack_handshakes(const struct settings *settings, struct result *result)
{
    struct crowd crowd = crowd_create(settings, result, settings->connections);
    struct hello hello = {0};
    uint64_t begin_ns;
    char byte;

    make_hello(&hello);
    crowd_connect(&crowd);
    stage_open(settings, "tls");
    begin_ns = clock_ns();
    stage_begin();
    for (uint32_t i = 0; i < crowd.count; i++)
        if (send(crowd.members[i].fd, hello.bytes, hello.length, MSG_NOSIGNAL) < 0)
            result_fail(result, "send", strerror(errno));
    for (uint32_t i = 0; i < crowd.count; i++) {
        if (recv(crowd.members[i].fd, &byte, 1, 0) == 1)
            result->replies++;
        else
            result->closed++;
    }
    result->seconds = seconds_since(begin_ns);
    stage_close(settings, result);
    crowd_free(&crowd);
}

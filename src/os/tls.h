/*
 * TLS 1.2 and 1.3 on memory. The caller passes received ciphertext and gets plain bytes; a function
 * of the caller takes ciphertext to send. TLS uses no descriptor and never blocks, so that the ring
 * sends and receives as without TLS. Only this module uses GnuTLS.
 *
 * A context holds certificates and keys for many connections. It lives as long as a connection
 * holds it, so that it can be replaced at any time. A connection belongs to one thread, a context
 * to all.
 */
#ifndef OS_TLS_H
#define OS_TLS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TLS_PROBLEM_MAX = 400,
    TLS_FIRST_BYTE = 0x16, /* the first byte from a TLS client */
    TLS_RECORD_MAX = 16384 /* plain bytes of one record */
};

struct tls_context;
struct tls;

struct tls_files {
    const char *certificate; /* PEM: the server's certificate, then intermediate ones */
    const char *key;
    const char *client_ca; /* CAs for client certificates; NULL: clients need none */
    /* The flags or variables of the files, for problems. NULL: a description. */
    const char *certificate_source;
    const char *key_source;
    const char *client_ca_source;
};

/*
 * Creates a server's context from the files, which must match and be valid now. On failure returns
 * NULL and sets `problem`, one line.
 */
struct tls_context *tls_context_load(const struct tls_files *files, char problem[TLS_PROBLEM_MAX]);

/*
 * Creates a client's context. It trusts the CAs in `ca_file`, or those of the system if that is
 * NULL. With `insecure` it accepts any certificate. On failure returns NULL and sets `problem`;
 * errno is ENOMEM only if memory is short.
 */
struct tls_context *tls_context_for_clients(const char *ca_file, bool insecure,
                                            char problem[TLS_PROBLEM_MAX]);

/*
 * Sets the certificate that a client sends on request, before the first connection. On failure
 * returns false and sets `problem` and errno as tls_context_for_clients.
 */
bool tls_context_show(struct tls_context *context, const char *certificate, const char *key,
                      char problem[TLS_PROBLEM_MAX]);

/* Releases the context, which may be NULL. */
void tls_context_drop(struct tls_context *context);

/* The current context, for all threads. */
struct tls_place {
    pthread_mutex_t mutex;
    struct tls_context *context; /* NULL: no TLS */
};

/* Takes over `context`. */
void tls_place_init(struct tls_place *place, struct tls_context *context);
void tls_place_free(struct tls_place *place);

/* Takes over `context` in place of the old one. Open connections keep the old one. */
void tls_place_change(struct tls_place *place, struct tls_context *context);

/* Takes all of `bytes` to send them. Returns false if memory is short. */
typedef bool tls_sender(void *receiver, const uint8_t *bytes, size_t length);

/* Creates a server's connection with the current context. Returns NULL if memory is short. */
struct tls *tls_serve(struct tls_place *place, tls_sender *send, void *receiver);

/*
 * Creates a client's connection. The server's certificate must be for `host`, which must live as
 * long as the connection; NULL: any name. A host name, unlike an address, is sent to the server.
 * The first tls_read begins the handshake. Returns NULL if memory is short.
 */
struct tls *tls_call(struct tls_context *context, const char *host, tls_sender *send,
                     void *receiver);

/* Returns the context that tls_call got. It is valid until tls_free. */
struct tls_context *tls_context_of(const struct tls *tls);

void tls_free(struct tls *tls);

enum tls_result {
    TLS_BYTES, /* some plain bytes were read */
    TLS_WAITS, /* all input is consumed */
    TLS_ENDED, /* the peer has ended its output */
    TLS_BROKEN /* the connection failed, and the peer got an alert */
};

/* Passes received bytes, borrowed until tls_read has consumed them or the next tls_give. */
void tls_give(struct tls *tls, const uint8_t *bytes, size_t length);

/* Continues the handshake, then reads up to `size` plain bytes and sets `*length`. */
enum tls_result tls_read(struct tls *tls, uint8_t *to, size_t size, size_t *length);

/* Returns whether the handshake is complete. Do not write before. */
bool tls_ready(const struct tls *tls);

/* Sends `length` bytes, at least 1. Returns false if memory is short. */
bool tls_write(struct tls *tls, const uint8_t *bytes, size_t length);

/* Ends output. No effect before the handshake is complete, or a second time. */
void tls_end(struct tls *tls);

/* Returns the cause of TLS_BROKEN in a few words; never NULL. */
const char *tls_problem(const struct tls *tls);

/* Returns whether the cause is short memory, here or in the tls_sender. */
bool tls_short_of_memory(const struct tls *tls);

#endif

/*
 * TLS 1.2 and 1.3 on memory: ciphertext is given, plain bytes come out, and what is to be sent is
 * handed to a function. No descriptor is touched and nothing blocks, so that the ring receives and
 * sends as it does without TLS. The only place that knows GnuTLS.
 *
 * A context is what many connections share; it lives as long as one of them holds it, so that a new
 * one can take its place at any time. Connections belong to one thread each, contexts to all.
 */
#ifndef OS_TLS_H
#define OS_TLS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TLS_PROBLEM_MAX = 400,
    TLS_FIRST_BYTE = 0x16, /* of what any client of TLS says first */
    TLS_RECORD_MAX = 16384 /* plain bytes of one record */
};

struct tls_context;
struct tls;

struct tls_files {
    const char *certificate; /* PEM: the server's own, then those between it and the root */
    const char *key;
    const char *client_ca; /* who must have signed the clients' certificates; NULL: none is asked */
};

/*
 * A server's context: reads the files, which must fit together and be valid now. NULL where
 * `problem` says in one line what is wrong.
 */
struct tls_context *tls_context_load(const struct tls_files *files, char problem[TLS_PROBLEM_MAX]);

/*
 * A client's context. The server's certificate must be signed by one in `ca_file`, or by one that
 * the system trusts where it is NULL; with `insecure` nothing is asked of it. NULL where `problem`
 * says what is wrong; errno is ENOMEM then where memory is short, and nowhere else.
 */
struct tls_context *tls_context_for_clients(const char *ca_file, bool insecure,
                                            char problem[TLS_PROBLEM_MAX]);

/* A client that is asked for a certificate shows this one. False where `problem` says what is wrong
 * with it, and errno as above. Before the first connection. */
bool tls_context_show(struct tls_context *context, const char *certificate, const char *key,
                      char problem[TLS_PROBLEM_MAX]);

/* Lets go of it; NULL is fine. */
void tls_context_drop(struct tls_context *context);

/* Where all threads find the context of the day. */
struct tls_place {
    pthread_mutex_t mutex;
    struct tls_context *context; /* NULL: no TLS */
};

/* Takes `context` over. */
void tls_place_init(struct tls_place *place, struct tls_context *context);
void tls_place_free(struct tls_place *place);

/* The same with `context` instead of the old one, which lives on in its connections. */
void tls_place_change(struct tls_place *place, struct tls_context *context);

/* Takes all of `bytes` to be sent; false when there is no memory for them. */
typedef bool tls_sender(void *receiver, const uint8_t *bytes, size_t length);

/* A connection with the context of the day, or NULL when memory is short. */
struct tls *tls_serve(struct tls_place *place, tls_sender *send, void *receiver);

/*
 * The client's side. `host` is whom the certificate must name, and must live as long; where it is a
 * name the server hears it. NULL: it may be anybody. The first tls_read begins the handshake.
 */
struct tls *tls_call(struct tls_context *context, const char *host, tls_sender *send,
                     void *receiver);

void tls_free(struct tls *tls);

enum tls_result {
    TLS_BYTES, /* some were read */
    TLS_WAITS, /* all that was given is used up */
    TLS_ENDED, /* the peer said that it sends no more */
    TLS_BROKEN /* nothing can be read or written any more; the peer was told why */
};

/* Received bytes, borrowed until tls_read has used them up or tls_give is called again. */
void tls_give(struct tls *tls, const uint8_t *bytes, size_t length);

/* Goes on with the handshake, then reads up to `size` plain bytes, `*length` of them. */
enum tls_result tls_read(struct tls *tls, uint8_t *to, size_t size, size_t *length);

/* Whether the handshake is done: nothing may be written before. */
bool tls_ready(const struct tls *tls);

/* Sends `length` bytes, not 0. False when memory is short. */
bool tls_write(struct tls *tls, const uint8_t *bytes, size_t length);

/* Says that no more is sent. Only the first time counts, and not before the handshake is done. */
void tls_end(struct tls *tls);

/* Why it is TLS_BROKEN, in a few words; never NULL. */
const char *tls_problem(const struct tls *tls);

/* Whether that is because memory is short, here or where bytes are to be sent. */
bool tls_short_of_memory(const struct tls *tls);

/* Whether an earlier session was taken up, which spares most of the handshake. */
bool tls_resumed(const struct tls *tls);

#endif

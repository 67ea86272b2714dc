/*
 * TLS on memory: our client and server exchange bytes through two buffers, in pieces of any size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/tls.h"
#include "seeded.h"
#include "tls_files.h"

enum {
    PIPE_MAX = 1 << 20,
    RECEIVED_MAX = 1 << 18,
    HOUR = 3600
};

/* One direction: the bytes that were sent and not delivered yet. */
struct pipe {
    uint8_t bytes[PIPE_MAX];
    size_t length;
    bool full; /* accepts no more bytes */
};

struct side {
    struct tls *tls;
    struct pipe out;
    uint8_t received[RECEIVED_MAX];
    size_t received_length;
    enum tls_result last;
};

struct fixture {
    struct tls_made made;
    struct tls_place place;
    struct tls_context *clients;
    struct side server;
    struct side client;
};

static bool receive_bytes(void *receiver, const uint8_t *bytes, size_t length)
{
    struct pipe *pipe = receiver;

    if (pipe->full || length > PIPE_MAX - pipe->length)
        return false;
    memcpy(pipe->bytes + pipe->length, bytes, length);
    pipe->length += length;
    return true;
}

static struct tls_context *load_context(const struct tls_made *made, char problem[TLS_PROBLEM_MAX])
{
    struct tls_files files = {.certificate = made->certificate, .key = made->key};

    return tls_context_load(&files, problem);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char problem[TLS_PROBLEM_MAX];

    if (!f)
        return -1;
    tls_made_make(&f->made, -HOUR, HOUR);
    tls_place_init(&f->place, load_context(&f->made, problem));
    f->clients = tls_context_for_clients(f->made.certificate, false, problem);
    if (!f->place.context || !f->clients)
        return -1;
    *state = f;
    return 0;
}

static void close_connection(struct fixture *f)
{
    tls_free(f->server.tls);
    tls_free(f->client.tls);
    memset(&f->server, 0, sizeof(f->server));
    memset(&f->client, 0, sizeof(f->client));
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    close_connection(f);
    tls_context_drop(f->clients);
    tls_place_free(&f->place);
    tls_made_remove(&f->made);
    free(f);
    return 0;
}

static void connect_sides(struct fixture *f, const char *host)
{
    close_connection(f);
    f->server.tls = tls_serve(&f->place, receive_bytes, &f->server.out);
    f->client.tls = tls_call(f->clients, host, receive_bytes, &f->client.out);
    assert_non_null(f->server.tls);
    assert_non_null(f->client.tls);
}

static void receive_from(struct side *side, const uint8_t *bytes, size_t length)
{
    tls_give(side->tls, bytes, length);
    do {
        size_t count = 0;

        side->last = tls_read(side->tls, side->received + side->received_length,
                              RECEIVED_MAX - side->received_length, &count);
        if (side->last == TLS_BYTES)
            side->received_length += count;
    } while (side->last == TLS_BYTES);
    tls_give(side->tls, NULL, 0);
}

/* Passes the output of `from` to `to`, at most `piece` bytes at a time. */
static bool carry_bytes(struct side *from, struct side *to, size_t piece)
{
    static uint8_t sent[PIPE_MAX];
    size_t length = from->out.length;

    memcpy(sent, from->out.bytes, length);
    from->out.length = 0;
    for (size_t at = 0; at < length; at += piece)
        receive_from(to, sent + at, length - at < piece ? length - at : piece);
    return length > 0;
}

static void carry_all(struct fixture *f, size_t piece)
{
    if (!tls_ready(f->client.tls))
        receive_from(&f->client, NULL, 0);
    while (carry_bytes(&f->client, &f->server, piece) | carry_bytes(&f->server, &f->client, piece))
        ;
}

static void complete_handshake(struct fixture *f, size_t piece)
{
    connect_sides(f, "localhost");
    carry_all(f, piece);
    assert_true(tls_ready(f->server.tls) && tls_ready(f->client.tls));
}

/* ---- talking ---- */

static void bytes_arrive_in_pieces_of_any_size(void **state)
{
    struct fixture *f = *state;

    for (size_t piece = 1; piece < PIPE_MAX; piece = piece * 7 + 3) {
        complete_handshake(f, piece);
        assert_true(tls_write(f->client.tls, (const uint8_t *)"question", 8));
        assert_true(tls_write(f->server.tls, (const uint8_t *)"answer", 6));
        carry_all(f, piece);
        assert_memory_equal(f->server.received, "question", 8);
        assert_memory_equal(f->client.received, "answer", 6);
        assert_int_equal(f->server.received_length, 8);
        assert_int_equal(f->client.received_length, 6);
        assert_int_equal(f->server.last, TLS_WAITS);
    }
}

static void more_bytes_than_a_record_arrive(void **state)
{
    struct fixture *f = *state;
    struct seeded seeded;
    static uint8_t much[TLS_RECORD_MAX * 5 + 1];

    seeded_init(&seeded, "more_bytes_than_a_record_arrive");
    for (size_t i = 0; i < sizeof(much); i++)
        much[i] = (uint8_t)seeded_below(&seeded, 256);
    complete_handshake(f, 2048);
    assert_true(tls_write(f->client.tls, much, sizeof(much)));
    carry_all(f, 2048);
    assert_int_equal(f->server.received_length, sizeof(much));
    assert_memory_equal(f->server.received, much, sizeof(much));
}

static void each_side_ends_its_own_output(void **state)
{
    struct fixture *f = *state;

    complete_handshake(f, PIPE_MAX);
    tls_end(f->client.tls);
    tls_end(f->client.tls);
    carry_all(f, PIPE_MAX);
    assert_int_equal(f->server.last, TLS_ENDED);
    assert_true(tls_write(f->server.tls, (const uint8_t *)"answer", 6));
    tls_end(f->server.tls);
    carry_all(f, PIPE_MAX);
    assert_memory_equal(f->client.received, "answer", 6);
    assert_int_equal(f->client.last, TLS_ENDED);
}

static void an_incomplete_handshake_ends_without_an_alert(void **state)
{
    struct fixture *f = *state;

    connect_sides(f, "localhost");
    tls_end(f->server.tls);
    assert_int_equal(f->server.out.length, 0);
}

/* ---- errors ---- */

static void a_changed_bit_fails_the_connection_and_sends_an_alert(void **state)
{
    struct fixture *f = *state;

    complete_handshake(f, PIPE_MAX);
    assert_true(tls_write(f->client.tls, (const uint8_t *)"question", 8));
    f->client.out.bytes[f->client.out.length - 1] ^= 1;
    carry_all(f, PIPE_MAX);
    assert_int_equal(f->server.last, TLS_BROKEN);
    assert_int_equal(f->server.received_length, 0);
    /* A caller appends "; remedy". */
    assert_string_equal(tls_problem(f->server.tls), "Decryption has failed");
    assert_false(tls_short_of_memory(f->server.tls));
    assert_int_equal(f->client.last, TLS_BROKEN);
    receive_from(&f->server, (const uint8_t *)"more", 4);
    assert_int_equal(f->server.last, TLS_BROKEN);
}

/* Replaces the extension for 1.3 in a client's first message by an unknown one. */
static void offer_only_1_2(struct pipe *hello)
{
    static const uint8_t versions[] = {0, 43, 0, 5, 4, 3, 4, 3, 3}; /* RFC 8446, 4.2.1 */
    uint8_t *found = memmem(hello->bytes, hello->length, versions, sizeof(versions));

    assert_non_null(found);
    found[0] = 0xfe;
}

static void each_fatal_alert_has_a_name(void **state)
{
    struct fixture *f = *state;
    static const char prefix[] = "alert of the peer: ";
    uint8_t record[] = {0x15, 3, 3, 0, 2, 2, 0};

    for (uint32_t kind = 1; kind < 256; kind++) { /* 0 is close_notify */
        record[6] = (uint8_t)kind;
        connect_sides(f, "localhost");
        receive_from(&f->client, NULL, 0);
        offer_only_1_2(&f->client.out); /* in 1.3 an alert is encrypted */
        carry_bytes(&f->client, &f->server, PIPE_MAX);
        assert_int_equal(f->server.last, TLS_WAITS);
        receive_from(&f->server, record, sizeof(record));
        assert_int_equal(f->server.last, TLS_BROKEN);
        assert_int_equal(strncmp(tls_problem(f->server.tls), prefix, strlen(prefix)), 0);
        assert_true(strlen(tls_problem(f->server.tls)) > strlen(prefix));
    }
}

static void a_certificate_for_another_name_is_refused(void **state)
{
    struct fixture *f = *state;

    connect_sides(f, "elsewhere");
    carry_all(f, PIPE_MAX);
    assert_int_equal(f->client.last, TLS_BROKEN);
    assert_int_equal(f->server.last, TLS_BROKEN);
}

static void an_endless_handshake_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t record[5 + 16000] = {TLS_FIRST_BYTE, 3, 1, 16000 >> 8, 16000 & 255, 1, 0, 0xff};
    uint32_t given = 0;

    connect_sides(f, "localhost");
    for (; f->server.last != TLS_BROKEN && given < 100; given++)
        receive_from(&f->server, record, sizeof(record));
    assert_true(given < 12);
}

/* A TLS 1.3 server must ignore such records, for compatibility with old middleboxes. */
static void empty_records_do_not_prolong_a_handshake(void **state)
{
    struct fixture *f = *state;
    static uint8_t records[6 * 1000];
    uint32_t given = 0;

    for (size_t at = 0; at < sizeof(records); at += 6)
        memcpy(records + at, "\x14\x03\x03\x00\x01\x01", 6);
    connect_sides(f, "localhost");
    receive_from(&f->client, NULL, 0);
    carry_bytes(&f->client, &f->server, SIZE_MAX);
    for (; f->server.last != TLS_BROKEN && given < 100; given++)
        receive_from(&f->server, records, sizeof(records));
    assert_true(given < 100);
}

static void short_memory_fails_the_connection(void **state)
{
    struct fixture *f = *state;

    complete_handshake(f, PIPE_MAX);
    f->server.out.full = true;
    assert_false(tls_write(f->server.tls, (const uint8_t *)"answer", 6));
    connect_sides(f, "localhost");
    f->server.out.full = true;
    carry_all(f, PIPE_MAX);
    assert_int_equal(f->server.last, TLS_BROKEN);
    assert_true(tls_short_of_memory(f->server.tls));
}

/* ---- contexts ---- */

static void a_context_lives_as_long_as_its_connections(void **state)
{
    struct fixture *f = *state;
    char problem[TLS_PROBLEM_MAX];

    complete_handshake(f, PIPE_MAX);
    for (int i = 0; i < 3; i++)
        tls_place_change(&f->place, load_context(&f->made, problem));
    assert_true(tls_write(f->server.tls, (const uint8_t *)"answer", 6));
    carry_all(f, PIPE_MAX);
    assert_memory_equal(f->client.received, "answer", 6);
    /* Also one that is in the middle of its handshake. */
    connect_sides(f, "localhost");
    receive_from(&f->client, NULL, 0);
    carry_bytes(&f->client, &f->server, PIPE_MAX);
    tls_place_change(&f->place, load_context(&f->made, problem));
    carry_all(f, PIPE_MAX);
    assert_true(tls_ready(f->server.tls) && tls_ready(f->client.tls));
}

static void files_that_do_not_match_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tls_made other;
    char problem[TLS_PROBLEM_MAX];
    struct tls_files files = {.certificate = f->made.certificate};

    tls_made_make(&other, -HOUR, -60);
    assert_null(load_context(&other, problem));
    assert_non_null(strstr(problem, "expired at"));
    files.key = other.key;
    assert_null(tls_context_load(&files, problem));
    assert_non_null(strstr(problem, "is not the key of"));
    files.key = "/nowhere";
    assert_null(tls_context_load(&files, problem));
    assert_non_null(strstr(problem, "TLS key '/nowhere': No such file"));
    files.key = f->made.key;
    files.client_ca = f->made.key;
    assert_null(tls_context_load(&files, problem));
    assert_non_null(strstr(problem, "TLS client CA"));
    assert_null(tls_context_for_clients("/nowhere", false, problem));
    tls_made_remove(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        TEST(bytes_arrive_in_pieces_of_any_size),
        TEST(more_bytes_than_a_record_arrive),
        TEST(each_side_ends_its_own_output),
        TEST(an_incomplete_handshake_ends_without_an_alert),
        TEST(a_changed_bit_fails_the_connection_and_sends_an_alert),
        TEST(each_fatal_alert_has_a_name),
        TEST(a_certificate_for_another_name_is_refused),
        TEST(an_endless_handshake_is_refused),
        TEST(empty_records_do_not_prolong_a_handshake),
        TEST(short_memory_fails_the_connection),
        TEST(a_context_lives_as_long_as_its_connections),
        TEST(files_that_do_not_match_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

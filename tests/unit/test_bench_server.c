/*
 * Connections of the load to a server with several addresses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/server.h"

/* Adds a port of 127.0.0.1 to the server, and returns its listener. */
static int add_choice(struct server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct address_choice *choice = &server->choices.at[server->choices.count++];
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    choice->length = sizeof(address);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&choice->socket, &choice->length), 0);
    return listener;
}

static void assert_connected_to(int descriptor, const struct server *server, uint32_t choice)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof(peer);

    assert_true(descriptor >= 0);
    assert_int_equal(getpeername(descriptor, (struct sockaddr *)&peer, &length), 0);
    assert_memory_equal(&peer, &server->choices.at[choice].socket, length);
    close(descriptor);
}

static void all_addresses_are_tried(void **state)
{
    struct server server = {.connect_timeout_s = 10, .reply_timeout_s = 10};
    int listeners[3] = {add_choice(&server), add_choice(&server), add_choice(&server)};
    uint32_t choice = 0;

    (void)state;
    assert_true(server_connect(&server, &choice) < 0);
    listen(listeners[1], 8);
    assert_connected_to(server_connect(&server, &choice), &server, 1);
    assert_int_equal(choice, 1);
    server.preferred = 2;
    assert_connected_to(server_connect(&server, &choice), &server, 1);
    assert_int_equal(choice, 1);
    for (int i = 0; i < 3; i++)
        close(listeners[i]);
}

static void each_attempt_takes_the_next_address(void **state)
{
    struct server server = {.connect_timeout_s = 10, .reply_timeout_s = 10, .preferred = 1};
    int listeners[2] = {add_choice(&server), add_choice(&server)};

    (void)state;
    listen(listeners[0], 8);
    listen(listeners[1], 8);
    for (uint32_t attempt = 0; attempt < 4; attempt++)
        assert_connected_to(server_start_connecting(&server, attempt), &server, (attempt + 1) % 2);
    close(listeners[0]);
    close(listeners[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_addresses_are_tried),
        cmocka_unit_test(each_attempt_takes_the_next_address),
    };

    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}

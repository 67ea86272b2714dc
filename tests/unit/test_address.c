/*
 * Addresses of servers: texts, lists, and the choice of an IPv4 address.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "os/address.h"

static char address_problem[ADDRESS_PROBLEM_MAX];

static void assert_parsed(const char *text, const char *host, const char *port)
{
    struct address address;

    assert_true(address_parse(&address, text, address_problem));
    assert_string_equal(address.text, text);
    assert_string_equal(address.host, host);
    assert_string_equal(address.port, port);
    assert_false(address.is_unix);
    assert_string_equal(address_tls_name(&address), host);
}

static void hosts_have_a_port_or_the_default_one(void **state)
{
    (void)state;
    assert_parsed("host", "host", "6388");
    assert_parsed("host:1", "host", "1");
    assert_parsed("127.0.0.1:65535", "127.0.0.1", "65535");
    assert_parsed("[::1]:7000", "::1", "7000");
    assert_parsed("[::1]", "::1", "6388");
    assert_parsed("::1", "::1", "6388");
}

static void a_path_is_a_unix_socket(void **state)
{
    struct address address;
    struct address_choices choices;

    (void)state;
    assert_true(address_parse(&address, "unix:/run/a b", address_problem));
    assert_true(address.is_unix);
    assert_string_equal(address.host, "/run/a b");
    assert_string_equal(address_tls_name(&address), "localhost");
    assert_int_equal(address_resolve(&address, true, &choices), 0);
    assert_int_equal(choices.count, 1);
    assert_int_equal(choices.at[0].socket.ss_family, AF_UNIX);
}

static void invalid_addresses_are_reported(void **state)
{
    static const char *const texts[] = {"",        ":1",      "host:",   "host:0", "host:65536",
                                        "host:1x", "host:-1", "[::1",    "[]:1",   "[::1]1",
                                        "unix:",   "[::1]:",  "host:+1", "/path",  "http://host"};
    char text[ADDRESS_TEXT_MAX + 1];
    struct address address;

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_false(address_parse(&address, texts[i], address_problem));
        assert_non_null(strstr(address_problem, texts[i]));
    }
    assert_string_equal(address_problem,
                        "'http://host' is not host:port or unix:/path; leave out http://");
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_false(address_parse(&address, text, address_problem));
    memcpy(text, "unix:", 5); /* longer than sockaddr_un allows */
    text[200] = '\0';
    assert_false(address_parse(&address, text, address_problem));
}

static void a_list_has_commas_and_spaces_between_addresses(void **state)
{
    struct address addresses[ADDRESS_LIST_MAX];
    uint32_t count;

    (void)state;
    assert_true(address_parse_list(addresses, &count, "a , b:2,unix:/c", address_problem));
    assert_int_equal(count, 3);
    assert_string_equal(addresses[0].text, "a");
    assert_string_equal(addresses[1].text, "b:2");
    assert_string_equal(addresses[2].text, "unix:/c");
    assert_false(address_parse_list(addresses, &count, "a,,b", address_problem));
    assert_false(address_parse_list(addresses, &count, "a,", address_problem));
    assert_false(address_parse_list(addresses, &count, "", address_problem));
    assert_false(address_parse_list(addresses, &count, "a,b:99999", address_problem));
    assert_non_null(strstr(address_problem, "'b:99999'"));
}

static void a_list_has_a_maximum(void **state)
{
    char list[2 * ADDRESS_LIST_MAX + 2];
    struct address addresses[ADDRESS_LIST_MAX];
    uint32_t count;

    (void)state;
    for (size_t i = 0; i < sizeof(list); i++)
        list[i] = i % 2 ? ',' : 'a';
    list[2 * ADDRESS_LIST_MAX - 1] = '\0';
    assert_true(address_parse_list(addresses, &count, list, address_problem));
    assert_int_equal(count, ADDRESS_LIST_MAX);
    list[2 * ADDRESS_LIST_MAX - 1] = ',';
    list[2 * ADDRESS_LIST_MAX + 1] = '\0';
    assert_false(address_parse_list(addresses, &count, list, address_problem));
    assert_string_equal(address_problem, "more than 64 servers");
}

static void a_caller_that_tries_one_address_gets_ipv4(void **state)
{
    struct address_choices choices = {.count = 3};

    (void)state;
    choices.at[0].socket.ss_family = AF_INET6;
    choices.at[1].socket.ss_family = AF_INET;
    choices.at[2].socket.ss_family = AF_INET;
    assert_ptr_equal(address_prefer_ipv4(&choices), &choices.at[1]);
    choices.count = 1;
    assert_ptr_equal(address_prefer_ipv4(&choices), &choices.at[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_have_a_port_or_the_default_one),
        cmocka_unit_test(a_path_is_a_unix_socket),
        cmocka_unit_test(invalid_addresses_are_reported),
        cmocka_unit_test(a_list_has_commas_and_spaces_between_addresses),
        cmocka_unit_test(a_list_has_a_maximum),
        cmocka_unit_test(a_caller_that_tries_one_address_gets_ipv4),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

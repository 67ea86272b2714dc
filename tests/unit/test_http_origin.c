/*
 * Origins and hosts: lists of allowed origins, and which requests they admit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "http/origin.h"

static char problem[ORIGINS_PROBLEM_MAX];

static struct origins *parse(const char *text)
{
    struct origins *origins = origins_parse(text, problem);

    if (!origins)
        fail_msg("%s: %s", text, problem);
    return origins;
}

static void assert_allowed(const char *list, const char *origin, const char *value)
{
    struct origins *origins = parse(list);
    const char *allowed = origins_allow(origins, origin);

    if (!value != !allowed || (value && strcmp(value, allowed) != 0))
        fail_msg("%s by %s: %s", origin, list, allowed ? allowed : "not allowed");
    origins_free(origins);
}

static bool accepted(const char *list, const char *origin, const char *host)
{
    struct origins *origins = parse(list);
    bool accepts = origins_accept(origins, origin, host);

    origins_free(origins);
    return accepts;
}

static bool host_accepted(const char *list, const char *host)
{
    struct origins *origins = parse(list);
    bool accepts = origins_accept_host(origins, host, "locks.internal", "box");

    origins_free(origins);
    return accepts;
}

/* ---- lists ---- */

static void lists_are_separated_by_commas(void **state)
{
    const char *list = " https://app.example.com ,http://localhost:3000,\thttp://[::1]:8080";

    (void)state;
    assert_allowed(list, "https://app.example.com", "https://app.example.com");
    assert_allowed(list, "http://localhost:3000", "http://localhost:3000");
    assert_allowed(list, "http://[::1]:8080", "http://[::1]:8080");
    assert_allowed(list, "https://example.com", NULL);
    assert_allowed(list, "https://www.app.example.com", NULL);
    assert_allowed(list, "http://app.example.com", NULL);
    assert_allowed(list, "https://app.example.com:444", NULL);
    assert_allowed(list, "https://app.example.com.evil.com", NULL);
    assert_allowed(list, "http://localhost", NULL);
    assert_allowed(list, "null", NULL);
    assert_allowed(list, "", NULL);
    assert_allowed(list, NULL, NULL);
}

static void an_empty_list_allows_none(void **state)
{
    (void)state;
    assert_allowed("", "https://a", NULL);
    assert_allowed(" \t", "https://a", NULL);
    assert_allowed("", "null", NULL);
}

static void a_star_allows_any(void **state)
{
    (void)state;
    assert_allowed("*", "https://a", "*");
    assert_allowed("https://b, *", "null", "*");
    assert_allowed("*", "x y z", "*");
    assert_allowed("*", NULL, NULL);
}

static void spellings_of_an_origin_are_equal(void **state)
{
    (void)state;
    assert_allowed("HTTPS://App.Example.COM:443", "https://app.example.com",
                   "https://app.example.com");
    assert_allowed("https://a.com", "https://A.com:443", "https://A.com:443");
    assert_allowed("http://a.com.", "http://a.com:80", "http://a.com:80");
    assert_allowed("http://[0:0::1]", "http://[::1]", "http://[::1]");
    assert_allowed("http://a.com:443", "http://a.com", NULL);
    assert_allowed("http://[::2]", "http://[::1]", NULL);
}

static void other_texts_are_refused(void **state)
{
    static const char *const lists[] = {
        ",",
        "https://a,",
        ",https://a",
        "https://a,,https://b",
        "app.example.com",
        "https://",
        "https:///",
        "https://a/",
        "https://a/b",
        "https://a?b",
        "https://u@a",
        "https://a:b",
        "https://a:0",
        "https://a:65536",
        "https://a:123456",
        "https://a:1:2",
        "https://*.a",
        "https://a b",
        "https://a\nb",
        "https://.",
        "https://[::1",
        "https://[::1]x",
        "https://[]",
        "https://[g::]",
        "https://::1",
        "https://[fe80::1%25eth0]",
        "ftp://a",
        "null",
        "**",
        "\xff",
        "https://\xc3\xa4.de",
    };
    char name[400];

    (void)state;
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        if (origins_parse(lists[i], problem))
            fail_msg("%s: parsed", lists[i]);
        assert_non_null(strstr(problem, "must be '*' or http[s]://HOST[:PORT]"));
        for (const char *at = problem; *at; at++)
            assert_false(iscntrl((unsigned char)*at));
    }
    assert_null(origins_parse("https://ok,x", problem));
    assert_string_equal(problem, "'x': must be '*' or http[s]://HOST[:PORT], without a path");
    snprintf(name, sizeof(name), "https://%0253d", 0);
    origins_free(parse(name));
    snprintf(name, sizeof(name), "https://%0254d", 0);
    assert_null(origins_parse(name, problem));
    assert_non_null(strstr(problem, "0...'"));
}

static void a_list_has_at_most_256_origins(void **state)
{
    static char list[ORIGINS_MAX * 16];
    size_t length = 0;

    (void)state;
    for (int i = 0; i < ORIGINS_MAX; i++)
        length += (size_t)snprintf(list + length, sizeof(list) - length, ",http://h%d", i);
    assert_allowed(list + 1, "http://h255", "http://h255");
    assert_null(origins_parse(list, problem));
    assert_string_equal(problem, "must be at most 256 origins");
}

/* ---- requests ---- */

static void an_origin_is_served_if_it_is_that_of_the_host(void **state)
{
    (void)state;
    assert_true(accepted("", NULL, "a"));
    assert_true(accepted("", NULL, NULL));
    assert_true(accepted("", "http://a:8080", "a:8080"));
    assert_true(accepted("", "https://a:8080", "a:8080"));
    assert_true(accepted("", "http://a", "a"));
    assert_true(accepted("", "http://a", "A:80"));
    assert_true(accepted("", "https://a:443", "a"));
    assert_true(accepted("", "https://a", "a:"));
    assert_true(accepted("", "http://[::1]:80", "[::1]"));
    assert_true(accepted("", "http://[::1]:6389", "[::1]:6389"));
    assert_true(accepted("", "http://LOCALHOST.:1", "localhost:1"));
    assert_false(accepted("", "http://b", "a"));
    assert_false(accepted("", "http://a:81", "a:80"));
    assert_false(accepted("", "http://a", "a:443"));
    assert_false(accepted("", "https://a", "a:80"));
    assert_false(accepted("", "http://a", NULL));
    assert_false(accepted("", "http://a", ""));
    assert_false(accepted("", "http://", ""));
    assert_false(accepted("", "null", "a"));
    assert_false(accepted("", "null", "null"));
    assert_false(accepted("", "", "a"));
    assert_false(accepted("", "a", "a"));
    assert_false(accepted("", "http://a/", "a"));
    assert_false(accepted("", "http://a http://b", "a"));
    assert_false(accepted("", "http://b@a", "a"));
    assert_false(accepted("", "ftp://a", "a"));
    assert_false(accepted("", "http://a", "a, b"));
}

static void an_allowed_origin_is_served(void **state)
{
    (void)state;
    assert_true(accepted("https://b", "https://b", "a"));
    assert_true(accepted("https://b", "https://b", NULL));
    assert_false(accepted("https://b", "http://b", "a"));
    assert_true(accepted("*", "http://b", "a"));
    assert_true(accepted("*", "null", "a"));
}

static void hosts_that_strangers_cannot_name_are_served(void **state)
{
    static const char *const served[] = {
        "127.0.0.1",      "127.0.0.1:6389", "10.1.2.3:1",           "[::1]",        "[::1]:80",
        "[2001:DB8::1]",  "localhost",      "LocalHost:5",          "localhost.:5", "a.localhost",
        "x.y.LOCALHOST.", "locks.internal", "Locks.Internal.:6389", "box",          "BOX:1",
    };
    static const char *const refused[] = {
        "",
        "evil.com",
        "localhost.evil.com",
        "evillocalhost",
        ".localhos",
        "127.0.0.1.evil.com",
        "1.2.3",
        "127.1",
        "0x7f000001",
        "::1",
        "[::1",
        "[::1]:x",
        "[::1]]",
        "127.0.0.1:0",
        "localhost:65536",
        "localhost:1:2",
        "box.evil.com",
        "local host",
        "localhost/",
        "a@localhost",
        "256.0.0.1",
        "locks",
        "localhost, evil.com",
        "evil.com:localhost",
        ":80",
        ".",
        "[]",
        "[:]",
        "[v1.x]",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++) {
        if (!host_accepted("", served[i]))
            fail_msg("%s: refused", served[i]);
    }
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        if (host_accepted("", refused[i]))
            fail_msg("%s: served", refused[i]);
    }
    assert_true(host_accepted("", NULL));
}

static void hosts_of_allowed_origins_are_served(void **state)
{
    (void)state;
    assert_true(host_accepted("https://app.example.com:8443", "app.example.com"));
    assert_true(host_accepted("https://app.example.com", "APP.example.com:6389"));
    assert_false(host_accepted("https://app.example.com", "example.com"));
    assert_true(host_accepted("*", "evil.com"));
    assert_false(host_accepted("*", "not a host"));
}

static void names_of_the_server_may_be_missing(void **state)
{
    struct origins *origins = parse("");

    (void)state;
    assert_false(origins_accept_host(origins, "box", NULL, NULL));
    assert_false(origins_accept_host(origins, "box", "", ""));
    assert_false(origins_accept_host(origins, "box", ".", "."));
    assert_true(origins_accept_host(origins, "box", NULL, "box."));
    assert_true(origins_accept_host(origins, "[::1]", "::1", NULL));
    origins_free(origins);
    origins_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_separated_by_commas),
        cmocka_unit_test(an_empty_list_allows_none),
        cmocka_unit_test(a_star_allows_any),
        cmocka_unit_test(spellings_of_an_origin_are_equal),
        cmocka_unit_test(other_texts_are_refused),
        cmocka_unit_test(a_list_has_at_most_256_origins),
        cmocka_unit_test(an_origin_is_served_if_it_is_that_of_the_host),
        cmocka_unit_test(an_allowed_origin_is_served),
        cmocka_unit_test(hosts_that_strangers_cannot_name_are_served),
        cmocka_unit_test(hosts_of_allowed_origins_are_served),
        cmocka_unit_test(names_of_the_server_may_be_missing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

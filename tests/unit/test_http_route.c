/*
 * Endpoints: which method and path finds which, keys and ids in paths, percent-encoding.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http/route.h"
#include "wire/request.h"

#define SESSION_ID "0123456789abcdef0123456789abcdef"

enum {
    PATH_MAX_BYTES = 4096
};

static struct route_match found;

static void assert_found(const char *method, const char *path, enum route_endpoint endpoint)
{
    if (route_find(method, path, &found) != ROUTE_FOUND)
        fail_msg("%s %s: not found", method, path);
    assert_int_equal(found.route->endpoint, endpoint);
}

static void assert_key(const char *method, const char *path, enum route_endpoint endpoint,
                       const char *key)
{
    assert_found(method, path, endpoint);
    assert_null(found.bad_segment);
    assert_int_equal(found.segment_length, strlen(key));
    assert_memory_equal(found.segment, key, strlen(key));
}

static void assert_unknown(const char *path)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"};

    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (route_find(methods[i], path, &found) != ROUTE_UNKNOWN)
            fail_msg("%s %s: not unknown", methods[i], path);
        assert_null(found.route);
        assert_string_equal(found.allow, "");
    }
}

static void assert_bad(const char *path, const char *problem)
{
    assert_found("POST", path, ROUTE_ACQUIRE);
    assert_non_null(found.bad_segment);
    assert_non_null(strstr(found.bad_segment, problem));
    assert_int_equal(found.segment_length, 0);
}

/* ---- endpoints ---- */

static void each_endpoint_is_found_by_its_method_and_path(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        enum route_endpoint endpoint;
    } cases[] = {
        {"GET", "/health", ROUTE_HEALTH},
        {"GET", "/ready", ROUTE_READY},
        {"GET", "/metrics", ROUTE_METRICS},
        {"GET", "/v1/openapi.json", ROUTE_OPENAPI},
        {"GET", "/v1/stats", ROUTE_STATS},
        {"GET", "/v1/keys", ROUTE_KEYS},
        {"POST", "/v1/sessions", ROUTE_SESSION_CREATE},
        {"DELETE", "/v1/sessions/" SESSION_ID, ROUTE_SESSION_DELETE},
        {"POST", "/v1/sessions/" SESSION_ID "/ping", ROUTE_SESSION_PING},
        {"POST", "/v1/locks/k", ROUTE_ACQUIRE},
        {"POST", "/v1/locks/k/release", ROUTE_RELEASE},
        {"POST", "/v1/locks/k/renew", ROUTE_RENEW},
        {"POST", "/v1/locks/k/enqueue", ROUTE_ENQUEUE},
        {"POST", "/v1/locks/k/wait", ROUTE_WAIT},
        {"POST", "/v1/locks/k/own", ROUTE_OWN},
        {"GET", "/v1/locks/k", ROUTE_SHOW},
        {"POST", "/v1/locks/k/revoke", ROUTE_REVOKE},
        {"POST", "/v1/semaphores/k", ROUTE_ACQUIRE},
        {"POST", "/v1/semaphores/k/release", ROUTE_RELEASE},
        {"POST", "/v1/semaphores/k/renew", ROUTE_RENEW},
        {"POST", "/v1/semaphores/k/enqueue", ROUTE_ENQUEUE},
        {"POST", "/v1/semaphores/k/wait", ROUTE_WAIT},
        {"POST", "/v1/semaphores/k/own", ROUTE_OWN},
        {"GET", "/v1/semaphores/k", ROUTE_SHOW},
        {"POST", "/v1/semaphores/k/revoke", ROUTE_REVOKE},
        {"GET", "/", ROUTE_PAGE},
        {"GET", "/page/app.js", ROUTE_PAGE_SCRIPT},
        {"GET", "/page/style.css", ROUTE_PAGE_STYLE},
        {"GET", "/page/icon.svg", ROUTE_PAGE_ICON},
    };
    const uint32_t count = sizeof(cases) / sizeof(cases[0]);

    (void)state;
    assert_int_equal(route_count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_found(cases[i].method, cases[i].path, cases[i].endpoint);
        assert_null(found.bad_segment);
        assert_int_equal(found.route->semaphore, strstr(cases[i].path, "semaphores") != NULL);
        for (uint32_t j = 0; j < i; j++)
            assert_true(&route_table[i] != &route_table[j] &&
                        (route_table[i].method != route_table[j].method ||
                         strcmp(route_table[i].pattern, route_table[j].pattern) != 0));
    }
}

static void head_is_found_as_get(void **state)
{
    (void)state;
    assert_found("HEAD", "/health", ROUTE_HEALTH);
    assert_key("HEAD", "/v1/locks/k", ROUTE_SHOW, "k");
}

static void only_probes_the_document_and_the_page_are_open(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < route_count; i++) {
        enum route_endpoint endpoint = route_table[i].endpoint;

        assert_int_equal(route_table[i].open, endpoint == ROUTE_HEALTH || endpoint == ROUTE_READY ||
                                                  endpoint == ROUTE_OPENAPI ||
                                                  endpoint >= ROUTE_PAGE);
    }
}

static void requests_for_claims_need_a_session(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < route_count; i++) {
        enum route_endpoint endpoint = route_table[i].endpoint;

        assert_int_equal(route_table[i].needs_session,
                         endpoint >= ROUTE_ACQUIRE && endpoint <= ROUTE_OWN);
    }
}

static void a_wrong_method_is_answered_with_those_of_the_path(void **state)
{
    static const struct {
        const char *method;
        const char *path;
        const char *allow;
    } cases[] = {
        {"POST", "/health", "GET, HEAD"},
        {"DELETE", "/", "GET, HEAD"},
        {"GET", "/v1/sessions", "POST"},
        {"POST", "/v1/sessions/" SESSION_ID, "DELETE"},
        {"DELETE", "/v1/locks/k", "GET, HEAD, POST"},
        {"GET", "/v1/locks/k/release", "POST"},
        {"OPTIONS", "/v1/semaphores/k/wait", "POST"},
        {"get", "/health", "GET, HEAD"},
        {"", "/v1/stats", "GET, HEAD"},
        {"PATCH", "/v1/locks/%zz", "GET, HEAD, POST"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(route_find(cases[i].method, cases[i].path, &found), ROUTE_WRONG_METHOD);
        assert_string_equal(found.allow, cases[i].allow);
        assert_null(found.route);
    }
}

static void other_paths_are_unknown(void **state)
{
    static const char *const paths[] = {
        "",
        "*",
        "//",
        "health",
        "/health/",
        "/Health",
        "/healthy",
        "/heal",
        "/v1",
        "/v1/",
        "/v1/locks",
        "/v1/locks/",
        "/v1/locks//",
        "/v1/locks//release",
        "/v1/locks/k/",
        "/v1/locks/k/release/",
        "/v1/locks/k//release",
        "/v1/locks/k/releases",
        "/v1/locks/foo/bar",
        "/v1/locks/k/%72elease",
        "/v1//locks/k",
        "/v1/%6cocks/k",
        "//v1/locks/k",
        "/v1/locks/../k",
        "/v1/semaphore/k",
        "/v1/sessions/",
        "/v1/sessions//ping",
        "/v1/sessions/" SESSION_ID "/",
        "/v1/stats?",
        "/v2/stats",
        "/page",
        "/page/",
        "/page/app.js/",
        "/page/../page/app.js",
        "http:/health",
        "ftp://host/health",
        "http://host//health",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_unknown(paths[i]);
}

static void the_path_of_an_absolute_uri_counts(void **state)
{
    (void)state;
    assert_found("GET", "http://host/health", ROUTE_HEALTH);
    assert_found("GET", "HTTPS://host:1/health", ROUTE_HEALTH);
    assert_found("GET", "http://host", ROUTE_PAGE);
    assert_found("GET", "http://", ROUTE_PAGE);
    assert_key("POST", "http://[::1]:80/v1/locks/a%2Fb", ROUTE_ACQUIRE, "a/b");
}

/* ---- keys ---- */

static void a_key_is_one_decoded_segment(void **state)
{
    static const struct {
        const char *path;
        const char *key;
    } cases[] = {
        {"/v1/locks/foo", "foo"},
        {"/v1/locks/foo%2Fbar", "foo/bar"},
        {"/v1/locks/%2f", "/"},
        {"/v1/locks/%66%6F%6f", "foo"},
        {"/v1/locks/.", "."},
        {"/v1/locks/..", ".."},
        {"/v1/locks/%2e%2E", ".."},
        {"/v1/locks/a+b", "a+b"},
        {"/v1/locks/%25", "%"},
        {"/v1/locks/%2525", "%25"},
        {"/v1/locks/%ff%fe", "\xff\xfe"},
        {"/v1/locks/\xc3\xa4", "\xc3\xa4"},
        {"/v1/locks/{key}", "{key}"},
        {"/v1/locks/a;b=c,d@e:f", "a;b=c,d@e:f"},
        {"/v1/locks/%01%0b%0c%7f", "\x01\x0b\x0c\x7f"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_key("POST", cases[i].path, ROUTE_ACQUIRE, cases[i].key);
    assert_found("POST", "/v1/locks/a%00b", ROUTE_ACQUIRE);
    assert_int_equal(found.segment_length, 3);
    assert_memory_equal(found.segment, "a\0b", 3);
}

static void keys_may_be_named_as_operations(void **state)
{
    (void)state;
    assert_key("POST", "/v1/locks/release", ROUTE_ACQUIRE, "release");
    assert_key("POST", "/v1/locks/release/release", ROUTE_RELEASE, "release");
    assert_key("POST", "/v1/locks/wait/enqueue", ROUTE_ENQUEUE, "wait");
    assert_key("POST", "/v1/semaphores/%2Frelease/renew", ROUTE_RENEW, "/release");
}

static void wrong_escapes_are_reported(void **state)
{
    static const char *const paths[] = {"%", "%2", "%zz", "%2g", "%g2", "a%", "%%41", "% 1", "%-1"};

    (void)state;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        char path[PATH_MAX_BYTES];

        snprintf(path, sizeof(path), "/v1/locks/%s", paths[i]);
        assert_bad(path, "two hexadecimal digits");
    }
    assert_found("POST", "/v1/locks/%zz/release", ROUTE_RELEASE);
    assert_non_null(found.bad_segment);
}

static void keys_are_checked_as_on_tcp(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char path[64];
        uint8_t key[] = {'a', (uint8_t)byte, 'b'};

        snprintf(path, sizeof(path), "/v1/locks/a%%%02xb", (unsigned)byte);
        if (request_key_valid((struct slice){.bytes = key, .length = sizeof(key)})) {
            assert_found("POST", path, ROUTE_ACQUIRE);
            assert_null(found.bad_segment);
            assert_memory_equal(found.segment, key, sizeof(key));
        } else {
            assert_non_null(strchr(" \t\r\n", byte));
            assert_bad(path, "without spaces, tabs and line ends");
        }
    }
    assert_bad("/v1/locks/%0a", "without");
    assert_bad("/v1/locks/a%20", "without");
    assert_bad("/v1/locks/a b", "without");
}

static void a_key_has_at_most_256_bytes(void **state)
{
    char path[PATH_MAX_BYTES];

    (void)state;
    for (int length = 254; length < 300; length++) {
        int start = snprintf(path, sizeof(path), "/v1/locks/");

        memset(path + start, 'k', (size_t)length);
        path[start + length] = '\0';
        assert_found("POST", path, ROUTE_ACQUIRE);
        assert_int_equal(found.segment_length, length <= DFLOCKD_KEY_MAX ? length : 0);
        assert_int_equal(found.bad_segment != NULL, length > DFLOCKD_KEY_MAX);
    }
    for (int count = 255; count < 259; count++) {
        int start = snprintf(path, sizeof(path), "/v1/locks/");

        for (int i = 0; i < count; i++)
            start += snprintf(path + start, sizeof(path) - (size_t)start, "%%2f");
        assert_found("POST", path, ROUTE_ACQUIRE);
        assert_int_equal(found.segment_length, count <= DFLOCKD_KEY_MAX ? count : 0);
    }
}

/* ---- sessions ---- */

static void a_session_id_is_32_lower_case_digits(void **state)
{
    static const char *const wrong[] = {
        "x",
        "0123456789abcdef0123456789abcde",
        "0123456789abcdef0123456789abcdef0",
        "0123456789ABCDEF0123456789abcdef",
        "0123456789abcdef0123456789abcdeg",
        "g123456789abcdef0123456789abcdef",
        "%30123456789abcdef0123456789abcde",
        "%30%31%32%33456789abcdef0123456789",
    };
    char path[PATH_MAX_BYTES];

    (void)state;
    assert_key("DELETE", "/v1/sessions/" SESSION_ID, ROUTE_SESSION_DELETE, SESSION_ID);
    assert_key("POST", "/v1/sessions/" SESSION_ID "/ping", ROUTE_SESSION_PING, SESSION_ID);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        snprintf(path, sizeof(path), "/v1/sessions/%s", wrong[i]);
        assert_found("DELETE", path, ROUTE_SESSION_DELETE);
        assert_non_null(strstr(found.bad_segment, "session id"));
        assert_int_equal(found.segment_length, 0);
    }
    memset(path + 13, '0', 1000);
    path[1013] = '\0';
    assert_found("DELETE", path, ROUTE_SESSION_DELETE);
    assert_non_null(found.bad_segment);
}

/* ---- decoding ---- */

static void decoding_stops_at_the_room_that_there_is(void **state)
{
    uint8_t to[4] = "....";

    (void)state;
    assert_int_equal(route_decode("", 0, to, 0), 0);
    assert_int_equal(route_decode("abc", 3, to, 3), 3);
    assert_memory_equal(to, "abc.", 4);
    assert_int_equal(route_decode("abc", 3, to, 2), ROUTE_TOO_LONG);
    assert_int_equal(route_decode("%61%62%63", 9, to, 2), ROUTE_TOO_LONG);
    assert_int_equal(route_decode("%41", 3, to, 1), 1);
    assert_memory_equal(to, "Abc.", 4);
    assert_int_equal(route_decode("%41", 2, to, 4), ROUTE_MALFORMED);
    assert_int_equal(route_decode("a+%2B", 5, to, 4), 3);
    assert_memory_equal(to, "a++.", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_endpoint_is_found_by_its_method_and_path),
        cmocka_unit_test(head_is_found_as_get),
        cmocka_unit_test(only_probes_the_document_and_the_page_are_open),
        cmocka_unit_test(requests_for_claims_need_a_session),
        cmocka_unit_test(a_wrong_method_is_answered_with_those_of_the_path),
        cmocka_unit_test(other_paths_are_unknown),
        cmocka_unit_test(the_path_of_an_absolute_uri_counts),
        cmocka_unit_test(a_key_is_one_decoded_segment),
        cmocka_unit_test(keys_may_be_named_as_operations),
        cmocka_unit_test(wrong_escapes_are_reported),
        cmocka_unit_test(keys_are_checked_as_on_tcp),
        cmocka_unit_test(a_key_has_at_most_256_bytes),
        cmocka_unit_test(a_session_id_is_32_lower_case_digits),
        cmocka_unit_test(decoding_stops_at_the_room_that_there_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

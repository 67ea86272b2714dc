/*
 * The files of the page: the program has them as they are in the repository.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "http/page.h"

enum {
    FILE_MAX = 1 << 17
};

static void check_file(enum route_endpoint endpoint, const char *path, const char *type)
{
    static uint8_t expected[FILE_MAX];
    struct page_file file = {0};
    FILE *stream = fopen(path, "rb");
    size_t length;

    assert_non_null(stream);
    length = fread(expected, 1, sizeof(expected), stream);
    fclose(stream);
    assert_true(page_find(endpoint, &file));
    assert_string_equal(file.type, type);
    assert_int_equal(file.length, length);
    assert_int_equal(memcmp(file.bytes, expected, length), 0);
}

static void files_are_those_of_the_repository(void **state)
{
    (void)state;
    check_file(ROUTE_PAGE, "src/http/page/index.html", "text/html; charset=utf-8");
    check_file(ROUTE_PAGE_SCRIPT, "src/http/page/app.js", "text/javascript; charset=utf-8");
    check_file(ROUTE_PAGE_STYLE, "src/http/page/style.css", "text/css; charset=utf-8");
    check_file(ROUTE_PAGE_ICON, "src/http/page/icon.svg", "image/svg+xml");
}

static void other_endpoints_have_no_file(void **state)
{
    int endpoint;

    (void)state;
    for (endpoint = 0; endpoint <= ROUTE_ENDPOINTS; endpoint++) {
        struct page_file file;

        assert_int_equal(page_find((enum route_endpoint)endpoint, &file),
                         endpoint >= ROUTE_PAGE && endpoint <= ROUTE_PAGE_ICON);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_those_of_the_repository),
        cmocka_unit_test(other_endpoints_have_no_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

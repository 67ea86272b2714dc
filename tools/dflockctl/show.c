#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/json_copy.h"
#include "dflockctl/key_view.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"
#include "dflockctl/view_table.h"

enum {
    SHOW_OTHER_LINES = 7, /* of a screen: totals, headings, rests and the prompt */
    SHOW_ROWS_MIN = 6
};

/* Shares the rows of a screen between both lists. */
static void show_share_rows(size_t rows, size_t *holders, size_t *waiters)
{
    size_t half = rows / 2;

    if (*holders + *waiters <= rows)
        return;
    if (*holders <= half) {
        *waiters = rows - *holders;
    } else if (*waiters <= half) {
        *holders = rows - *waiters;
    } else {
        *holders = half;
        *waiters = rows - half;
    }
}

/* On a terminal the first holders and waiters fit on one screen. */
static void show_print_lists(const struct settings *settings, const struct key_view *view,
                             enum key_kind kind)
{
    size_t holders = view->holders.count;
    size_t waiters = view->waiters.count;

    if (text_on_terminal() && !settings->all) {
        size_t rows = text_terminal_rows();

        rows = rows > SHOW_OTHER_LINES + SHOW_ROWS_MIN ? rows - SHOW_OTHER_LINES : SHOW_ROWS_MIN;
        show_share_rows(rows, &holders, &waiters);
    }
    view_table_print_holders(view, holders);
    if (view->holders.count > 0 && view->waiters.total > 0)
        printf("\n");
    view_table_print_waiters(view, kind, waiters);
}

static void show_print(const struct settings *settings, const struct key_views *views,
                       size_t server)
{
    const char *key = settings->words[0];
    char *shown = text_shown(key, strlen(key), text_on_terminal());
    bool known = false;

    for (unsigned kind = KEY_LOCK; kind <= KEY_SEMAPHORE; kind++) {
        const struct key_view *view = &views->each[kind];

        if (view->holders.total == 0 && view->waiters.total == 0)
            continue;
        printf("%s%s on %s: ", known ? "\n" : "", shown, settings->servers[server]);
        known = true;
        view_table_print_totals(view, kind);
        show_print_lists(settings, view, kind);
    }
    if (!known)
        printf("%s on %s: free: nobody holds it or waits for it\n", shown,
               settings->servers[server]);
    free(shown);
}

static void show_print_json(const struct settings *settings, const struct key_views *views,
                            size_t server)
{
    struct json_writer writer = json_writer_new();

    json_begin(&writer, '[');
    for (unsigned kind = KEY_LOCK; kind <= KEY_SEMAPHORE; kind++) {
        const struct key_view *view = &views->each[kind];
        struct json_copy copy;

        if (!view->known)
            continue;
        json_begin(&writer, '{');
        json_name(&writer, "server");
        json_text(&writer, settings->servers[server]);
        json_copy_init(&copy, &writer);
        json_copy_read(&copy, view->json, strlen(view->json));
        json_end(&writer, '}');
    }
    json_end(&writer, ']');
}

int show_run(const struct settings *settings)
{
    struct key_views views;
    struct query query = {0};
    size_t server = settings_server_of(settings, settings->words[0]);
    int status = key_views_request(&views, &query, settings, server, settings->words[0]);

    query_close(&query);
    if (status == STATUS_DONE && settings->json)
        show_print_json(settings, &views, server);
    else if (status == STATUS_DONE)
        show_print(settings, &views, server);
    key_views_free(&views);
    return status;
}

#include "dflockctl/key_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/json_parser.h"
#include "dflockctl/status.h"

enum {
    FENCE_DIGITS = 16,
    DEPTH_VIEW = 1,
    DEPTH_CLIENT = 3
};

enum member_type {
    MEMBER_TEXT,
    MEMBER_INTEGER,
    MEMBER_REAL
};

struct member {
    const char *name;
    enum member_type type;
    size_t offset;
};

static const struct member view_members[] = {
    {"limit", MEMBER_INTEGER, offsetof(struct key_view, limit)},
    {"holder_count", MEMBER_INTEGER, offsetof(struct key_view, holders.total)},
    {"waiter_count", MEMBER_INTEGER, offsetof(struct key_view, waiters.total)},
};

static const struct member client_members[] = {
    {"fence", MEMBER_TEXT, offsetof(struct key_view_client, fence)},
    {"mode", MEMBER_TEXT, offsetof(struct key_view_client, mode)},
    {"address", MEMBER_TEXT, offsetof(struct key_view_client, address)},
    {"name", MEMBER_TEXT, offsetof(struct key_view_client, name)},
    {"connection", MEMBER_INTEGER, offsetof(struct key_view_client, connection)},
    {"position", MEMBER_INTEGER, offsetof(struct key_view_client, position)},
    {"held_s", MEMBER_REAL, offsetof(struct key_view_client, for_s)},
    {"waiting_s", MEMBER_REAL, offsetof(struct key_view_client, for_s)},
    {"lease_expires_in_s", MEMBER_REAL, offsetof(struct key_view_client, left_s)},
    {"timeout_in_s", MEMBER_REAL, offsetof(struct key_view_client, left_s)},
};

enum {
    VIEW_MEMBERS = sizeof(view_members) / sizeof(view_members[0]),
    CLIENT_MEMBERS = sizeof(client_members) / sizeof(client_members[0])
};

/* The view of a key while its JSON is parsed. */
struct key_view_reader {
    struct key_view *view;
    unsigned depth;
    const struct member *member; /* NULL: one that a later dflockd has added */
    struct key_view_list *list;  /* the array, or NULL */
    unsigned seen;               /* a bit for each member of `view_members`, and each list */
};

/* ---- JSON ---- */

static const struct member *key_view_find_member(const struct member *members, size_t count,
                                                 const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(members[i].name, name) == 0)
            return &members[i];
    }
    return NULL;
}

static void key_view_take_name(struct key_view_reader *reader, const char *name)
{
    if (reader->depth == DEPTH_CLIENT && reader->list)
        reader->member = key_view_find_member(client_members, CLIENT_MEMBERS, name);
    if (reader->depth != DEPTH_VIEW)
        return;
    reader->member = key_view_find_member(view_members, VIEW_MEMBERS, name);
    reader->list = NULL;
    if (reader->member)
        reader->seen |= 1u << (reader->member - view_members);
    if (strcmp(name, "holders") == 0)
        reader->list = &reader->view->holders;
    else if (strcmp(name, "waiters") == 0)
        reader->list = &reader->view->waiters;
}

static bool key_view_begin_nested(struct key_view_reader *reader, enum json_event event)
{
    struct key_view_list *list = reader->list;
    unsigned depth = ++reader->depth;

    if (depth == DEPTH_VIEW)
        return event == JSON_OBJECT;
    if (!list || depth > DEPTH_CLIENT)
        return reader->member == NULL;
    if (depth < DEPTH_CLIENT) {
        reader->seen |= 1u << (VIEW_MEMBERS + (list == &reader->view->waiters));
        return event == JSON_ARRAY;
    }
    list->each = reallocarray(list->each, list->count + 1, sizeof(*list->each));
    if (!list->each)
        die_of_memory();
    list->each[list->count++] = (struct key_view_client){.left_s = -1};
    return event == JSON_OBJECT;
}

static bool key_view_is_fence(const char *text)
{
    return text && strlen(text) == FENCE_DIGITS && strspn(text, "0123456789abcdef") == FENCE_DIGITS;
}

static bool key_view_end_nested(struct key_view_reader *reader)
{
    const struct key_view_list *holders = &reader->view->holders;
    unsigned depth = reader->depth--;

    if (depth == DEPTH_VIEW)
        return reader->seen == (1u << (VIEW_MEMBERS + 2)) - 1;
    return depth != DEPTH_CLIENT || reader->list != holders ||
           key_view_is_fence(holders->each[holders->count - 1].fence);
}

static bool key_view_set_member(const struct member *member, void *owner, enum json_event event,
                                const char *text)
{
    char *field = (char *)owner + member->offset;
    bool is_null = event == JSON_WORD && strcmp(text, "null") == 0;
    char *copy;

    if (is_null)
        return member->type != MEMBER_INTEGER;
    if (event != (member->type == MEMBER_TEXT ? JSON_STRING : JSON_NUMBER))
        return false;
    errno = 0;
    switch (member->type) {
    case MEMBER_TEXT:
        copy = strdup(text);
        if (!copy)
            die_of_memory();
        free(*(char **)(void *)field);
        *(char **)(void *)field = copy;
        return true;
    case MEMBER_INTEGER:
        *(uint64_t *)(void *)field = strtoull(text, NULL, 10);
        return errno == 0 && text[strspn(text, "0123456789")] == '\0';
    case MEMBER_REAL:
        *(double *)(void *)field = strtod(text, NULL);
        return true;
    }
    return false;
}

/* A json_event_function. */
static bool key_view_take(void *context, enum json_event event, const char *text, size_t length)
{
    struct key_view_reader *reader = context;
    struct key_view_list *list = reader->list;

    (void)length;
    switch (event) {
    case JSON_OBJECT:
    case JSON_ARRAY:
        return key_view_begin_nested(reader, event);
    case JSON_OBJECT_END:
    case JSON_ARRAY_END:
        return key_view_end_nested(reader);
    case JSON_NAME:
        key_view_take_name(reader, text);
        return true;
    default:
        break;
    }
    if (reader->depth == 0 || (list && reader->depth < DEPTH_CLIENT))
        return false;
    if (reader->member && reader->depth == DEPTH_VIEW)
        return key_view_set_member(reader->member, reader->view, event, text);
    if (reader->member && reader->depth == DEPTH_CLIENT && list)
        return key_view_set_member(reader->member, &list->each[list->count - 1], event, text);
    return true;
}

static bool key_view_parse(struct key_view *view)
{
    struct key_view_reader reader = {.view = view};
    struct json_parser *parser = new_memory(1, sizeof(*parser));
    bool complete;

    json_parser_init(parser, key_view_take, &reader);
    json_parser_read(parser, view->json, strlen(view->json));
    complete = json_parser_is_complete(parser);
    free(parser);
    return complete;
}

/* ---- requests ---- */

static enum dflockd_status key_view_ask(struct query *query, const struct settings *settings,
                                        size_t server, const struct dflockd_request *request)
{
    query_begin(query, settings, server, request, NULL, NULL);
    query_wait(query, 1);
    return query->status;
}

static enum dflockd_status key_view_request(struct key_view *view, struct query *query,
                                            const struct settings *settings, size_t server,
                                            const struct dflockd_request *request)
{
    enum dflockd_status status = key_view_ask(query, settings, server, request);

    if (status != DFLOCKD_STATUS_DONE)
        return status;
    view->known = true;
    view->json = strdup(query->reply.text);
    if (!view->json)
        die_of_memory();
    return key_view_parse(view) ? status : DFLOCKD_STATUS_STRANGE_ANSWER;
}

/*
 * `show` answers `error` for an unknown key, and so does a server that has no such command. Later
 * servers than those know `name`. dflockd 0.5.0 closes the connection after an unknown command.
 */
static enum dflockd_status key_view_check_support(struct query *query,
                                                  const struct settings *settings, size_t server)
{
    const struct dflockd_request request = {.command = DFLOCKD_NAME, .text = "dflockctl"};
    enum dflockd_status status = key_view_ask(query, settings, server, &request);

    if (status != DFLOCKD_STATUS_UNSUPPORTED && status != DFLOCKD_STATUS_DISCONNECTED)
        return status;
    query_close(query);
    return DFLOCKD_STATUS_UNSUPPORTED;
}

enum dflockd_status key_views_ask(struct key_views *views, struct query *query,
                                  const struct settings *settings, size_t server, const char *key)
{
    struct dflockd_request request = {.command = DFLOCKD_SHOW, .key = key};
    enum dflockd_status status;

    memset(views, 0, sizeof(*views));
    status = key_view_request(&views->each[KEY_LOCK], query, settings, server, &request);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        status = key_view_check_support(query, settings, server);
    if (status == DFLOCKD_STATUS_DONE) {
        request.semaphore = true;
        status = key_view_request(&views->each[KEY_SEMAPHORE], query, settings, server, &request);
    }
    /* An unknown semaphore. */
    return status == DFLOCKD_STATUS_NOT_HELD ? DFLOCKD_STATUS_DONE : status;
}

int key_views_request(struct key_views *views, struct query *query, const struct settings *settings,
                      size_t server, const char *key)
{
    enum dflockd_status status = key_views_ask(views, query, settings, server, key);

    if (status == DFLOCKD_STATUS_UNSUPPORTED) {
        status_report("%s: this server does not support %s", settings->servers[server],
                      settings->command->name);
    } else if (status != DFLOCKD_STATUS_DONE) {
        query->status = status;
        query_report_failure(query);
    }
    return (int)status_of(status);
}

/* ---- views ---- */

static void key_view_free_list(struct key_view_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->each[i].fence);
        free(list->each[i].mode);
        free(list->each[i].address);
        free(list->each[i].name);
    }
    free(list->each);
}

void key_views_free(struct key_views *views)
{
    for (unsigned kind = KEY_LOCK; kind <= KEY_SEMAPHORE; kind++) {
        key_view_free_list(&views->each[kind].holders);
        key_view_free_list(&views->each[kind].waiters);
        free(views->each[kind].json);
    }
    memset(views, 0, sizeof(*views));
}

uint64_t key_view_fence(const struct key_view_client *holder)
{
    return strtoull(holder->fence, NULL, 16);
}

const struct key_view_client *key_views_find(const struct key_views *views, uint64_t fence,
                                             enum key_kind *kind)
{
    for (*kind = KEY_LOCK; *kind <= KEY_SEMAPHORE; ++*kind) {
        const struct key_view_list *holders = &views->each[*kind].holders;

        for (size_t i = 0; i < holders->count; i++) {
            if (key_view_fence(&holders->each[i]) == fence)
                return &holders->each[i];
        }
    }
    return NULL;
}

const struct key_view_client *key_views_find_token(const struct key_views *views, const char *token)
{
    char fence[FENCE_DIGITS + 1];
    enum key_kind kind;

    snprintf(fence, sizeof(fence), "%.*s", FENCE_DIGITS, token);
    return key_views_find(views, strtoull(fence, NULL, 16), &kind);
}

/*
 * The command `revoke`. It sends only fences that it has shown, so that a client that was granted
 * the lock meanwhile keeps it.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/key_view.h"
#include "dflockctl/query.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"
#include "dflockctl/view_table.h"

enum {
    REVOKE_ANSWER_MAX = 64
};

struct revoke_grant {
    enum key_kind kind;
    uint64_t fence;
    char *holder; /* name and address; "": not among those that the server lists */
    double held_s;
};

struct revoke {
    const struct settings *settings;
    const char *key;
    char *shown; /* the key */
    size_t server;
    struct query query;
    struct key_views views;
    struct revoke_grant *grants;
    size_t count;
    uint64_t left; /* holders that the server did not list */
};

/* ---- the choice ---- */

static void revoke_add(struct revoke *revoke, enum key_kind kind, uint64_t fence,
                       const struct key_view_client *holder)
{
    revoke->grants = reallocarray(revoke->grants, revoke->count + 1, sizeof(*revoke->grants));
    if (!revoke->grants)
        die_of_memory();
    revoke->grants[revoke->count++] = (struct revoke_grant){
        .kind = kind,
        .fence = fence,
        .holder = holder ? view_table_client(holder) : NULL,
        .held_s = holder ? holder->for_s : -1,
    };
}

static void revoke_add_all(struct revoke *revoke)
{
    for (unsigned kind = KEY_LOCK; kind <= KEY_SEMAPHORE; kind++) {
        const struct key_view_list *holders = &revoke->views.each[kind].holders;

        for (size_t i = 0; i < holders->count; i++)
            revoke_add(revoke, kind, key_view_fence(&holders->each[i]), &holders->each[i]);
        revoke->left += holders->total - holders->count;
    }
}

static bool revoke_is_listed_in_part(const struct revoke *revoke, enum key_kind kind)
{
    const struct key_view_list *holders = &revoke->views.each[kind].holders;

    return holders->count < holders->total;
}

/* Returns the exit status. */
static int revoke_choose_fence(struct revoke *revoke)
{
    uint64_t fence = revoke->settings->fence;
    enum key_kind kind;
    const struct key_view_client *holder = key_views_find(&revoke->views, fence, &kind);

    if (holder)
        revoke_add(revoke, kind, fence, holder);
    else if (revoke_is_listed_in_part(revoke, KEY_LOCK))
        revoke_add(revoke, KEY_LOCK, fence, NULL);
    else if (revoke_is_listed_in_part(revoke, KEY_SEMAPHORE))
        revoke_add(revoke, KEY_SEMAPHORE, fence, NULL);
    else
        status_report("'%s': no holder has the fence %016" PRIx64
                      "; dflockctl show prints the holders",
                      revoke->shown, fence);
    return revoke->count > 0 ? STATUS_DONE : STATUS_LOST;
}

static void revoke_list(const struct revoke *revoke)
{
    for (unsigned kind = KEY_LOCK; kind <= KEY_SEMAPHORE; kind++) {
        const struct key_view *view = &revoke->views.each[kind];

        if (view->holders.count > 0) {
            printf("%s on %s: ", revoke->shown, revoke->settings->servers[revoke->server]);
            view_table_print_totals(view, kind);
            view_table_print_holders(view, view->holders.count);
        }
    }
    fflush(stdout);
}

static int revoke_choose(struct revoke *revoke)
{
    if (revoke->settings->fence > 0)
        return revoke_choose_fence(revoke);
    revoke_add_all(revoke);
    if (revoke->count == 0) {
        status_report("'%s': nobody holds it", revoke->shown);
        return STATUS_LOST;
    }
    if (revoke->count == 1 && revoke->left == 0)
        return STATUS_DONE;
    revoke_list(revoke);
    if (revoke->settings->all)
        return STATUS_DONE;
    status_report("'%s': held by several clients; give --fence, or --all", revoke->shown);
    return STATUS_USAGE;
}

/* ---- the question ---- */

static char *revoke_describe(const struct revoke *revoke)
{
    const struct revoke_grant *grant = revoke->grants;
    char duration[TEXT_NUMBER_MAX];
    char *text;
    int length;

    if (revoke->count > 1)
        length = asprintf(&text, "revoke all %zu grants of '%s'", revoke->count, revoke->shown);
    else if (!grant->holder)
        length = asprintf(&text,
                          "revoke the %s '%s' (fence %016" PRIx64 ", not among the first holders)",
                          key_stats_kind_name(grant->kind), revoke->shown, grant->fence);
    else
        length = asprintf(&text, "revoke the %s '%s' held by %s for %s (fence %016" PRIx64 ")",
                          key_stats_kind_name(grant->kind), revoke->shown,
                          *grant->holder ? grant->holder : "a client that has gone",
                          text_duration(duration, grant->held_s), grant->fence);
    if (length < 0)
        die_of_memory();
    return text;
}

/* Returns whether the answer is yes. A signal ends the program. */
static bool revoke_ask(const char *question)
{
    char answer[REVOKE_ANSWER_MAX];

    fprintf(stderr, "%s? [y/N] ", question);
    if (!fgets(answer, sizeof(answer), stdin)) {
        fputc('\n', stderr);
        return false;
    }
    answer[strcspn(answer, "\n")] = '\0';
    return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

/* Returns the exit status. */
static int revoke_confirm(const struct revoke *revoke)
{
    char *question;
    int status = STATUS_DONE;

    if (revoke->settings->yes)
        return status;
    question = revoke_describe(revoke);
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        status_report("%s: cannot ask without a terminal; confirm with --yes", question);
        status = STATUS_USAGE;
    } else if (!revoke_ask(question)) {
        status_report("nothing is revoked");
        status = STATUS_SIGNAL + SIGINT; /* as ^C ends the question */
    }
    free(question);
    return status;
}

/* ---- the request ---- */

/* Finds out why the server refused. Returns the exit status. */
static int revoke_report_refusal(struct revoke *revoke, const struct revoke_grant *grant)
{
    struct key_views views;
    enum key_kind kind;
    int status =
        key_views_request(&views, &revoke->query, revoke->settings, revoke->server, revoke->key);
    bool held = status == STATUS_DONE && key_views_find(&views, grant->fence, &kind);
    bool listed = views.each[grant->kind].holders.count == views.each[grant->kind].holders.total;

    key_views_free(&views);
    if (status != STATUS_DONE)
        return status;
    if (!held && listed) {
        status_report("'%s': no longer held with the fence %016" PRIx64, revoke->shown,
                      grant->fence);
        return STATUS_LOST;
    }
    status_report("'%s': %s; give the secret of the server's --admin-token with --auth-token-file",
                  revoke->shown,
                  held ? "the server has no --admin-token, or the secret is another one"
                       : "no such grant, the server has no --admin-token, or the secret is "
                         "another one");
    return STATUS_REFUSED;
}

static int revoke_send(struct revoke *revoke, const struct revoke_grant *grant)
{
    const struct dflockd_request request = {
        .command = DFLOCKD_REVOKE,
        .key = revoke->key,
        .semaphore = grant->kind == KEY_SEMAPHORE,
        .fence = grant->fence,
    };
    enum dflockd_status status =
        query_run(&revoke->query, revoke->settings, revoke->server, &request);

    if (status == DFLOCKD_STATUS_NOT_HELD)
        return revoke_report_refusal(revoke, grant);
    if (status != DFLOCKD_STATUS_DONE && status == revoke->query.reply.status)
        query_report(revoke->settings, revoke->server, status);
    if (status == DFLOCKD_STATUS_DONE)
        printf("revoked: %s %s, fence %016" PRIx64 "%s%s\n", key_stats_kind_name(grant->kind),
               revoke->shown, grant->fence, grant->holder && *grant->holder ? ", held by " : "",
               grant->holder ? grant->holder : "");
    return (int)status_of(status);
}

/* A grant that has ended meanwhile does not stop --all. */
static int revoke_send_all(struct revoke *revoke)
{
    int result = STATUS_DONE;

    for (size_t i = 0; i < revoke->count; i++) {
        int status = revoke_send(revoke, &revoke->grants[i]);

        if (status != STATUS_DONE)
            result = status;
        if (status != STATUS_DONE && status != STATUS_LOST)
            return result;
    }
    if (revoke->settings->all && revoke->left > 0) {
        status_report("'%s': %" PRIu64 " more held it; run it again", revoke->shown, revoke->left);
        result = STATUS_TIMED_OUT;
    }
    return result;
}

int revoke_run(const struct settings *settings)
{
    struct revoke revoke = {
        .settings = settings,
        .key = settings->words[0],
        .shown = text_shown(settings->words[0], strlen(settings->words[0]), true),
        .server = settings_server_of(settings, settings->words[0]),
    };
    int status =
        key_views_request(&revoke.views, &revoke.query, settings, revoke.server, revoke.key);

    if (status == STATUS_DONE)
        status = revoke_choose(&revoke);
    /* The server closes a connection that is idle for long. */
    query_close(&revoke.query);
    if (status == STATUS_DONE)
        status = revoke_confirm(&revoke);
    if (status == STATUS_DONE)
        status = revoke_send_all(&revoke);
    query_close(&revoke.query);
    for (size_t i = 0; i < revoke.count; i++)
        free(revoke.grants[i].holder);
    free(revoke.grants);
    key_views_free(&revoke.views);
    free(revoke.shown);
    return status;
}

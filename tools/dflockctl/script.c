/*
 * A server gives back what a connection holds when that ends, so somebody must stay who keeps it.
 * acquire starts that process first, since a connection can't be handed on: it asks, hands the
 * grant to acquire by a pipe, and stays. Whoever ends acquire meanwhile closes the pipe.
 *
 * Without --while the one who stays does not renew, and yet outlives a renewal by others: the
 * server closes the connection of who holds nothing any more, and that ends it.
 */
#include "dflockctl/script.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dflockctl/command.h"
#include "dflockctl/hold.h"
#include "dflockctl/loop.h"
#include "dflockctl/output.h"
#include "dflockctl/servers.h"
#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    CLOSE_SETTLES_MS = 200 /* until a server has seen that a connection is gone */
};

/* What goes through the pipe. */
struct grant {
    char token[DFLOCKD_TOKEN_LENGTH + 1];
    uint64_t fence;
    uint64_t lease_s;
};

struct keeper {
    const struct settings *settings;
    struct loop loop;
    struct hold hold;
    int pipe;       /* to acquire; -1 once it has the grant */
    int whose;      /* pidfd of --while; -1: none */
    int *inherited; /* descriptors of whoever called us */
    size_t inherited_count;
};

/* ---- what acquire prints ---- */

static void print_grant(const struct settings *settings, const struct grant *grant, pid_t keeper)
{
    json_t *value;

    if (!settings->json) {
        printf("%s\n", grant->token);
        return;
    }
    value = output_made(json_pack("{s:o, s:s, s:I, s:I}", "key", output_key(settings->words[0]),
                                  "token", grant->token, "fence", (json_int_t)grant->fence,
                                  "lease_s", (json_int_t)grant->lease_s));
    if (keeper > 0)
        json_object_set_new(value, "holder_pid", output_made(json_integer(keeper)));
    output_json(value);
    json_decref(value);
}

/* ---- the one who stays ---- */

/* A pipe that somebody waits at the end of, say, must not stay open for us. */
static void note_inherited(struct keeper *keeper)
{
    DIR *all = opendir("/proc/self/fd");
    const struct dirent *entry;

    while (all && (entry = readdir(all))) {
        int descriptor = (int)strtol(entry->d_name, NULL, 10);

        if (descriptor <= STDERR_FILENO || descriptor == dirfd(all))
            continue;
        keeper->inherited = reallocarray(keeper->inherited, keeper->inherited_count + 1,
                                         sizeof(*keeper->inherited));
        if (!keeper->inherited)
            die_of_memory();
        keeper->inherited[keeper->inherited_count++] = descriptor;
    }
    if (all)
        closedir(all);
}

/* Nothing of whoever called acquire is kept. */
static void detach(struct keeper *keeper)
{
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    for (int standard = STDIN_FILENO; standard <= STDERR_FILENO; standard++)
        dup2(nothing, standard);
    close(nothing);
    for (size_t i = 0; i < keeper->inherited_count; i++)
        close(keeper->inherited[i]);
    if (chdir("/") < 0)
        return; /* a folder that can't be unmounted is no reason to lose a lock */
}

/* False where acquire is gone. */
static bool hand_over(struct keeper *keeper)
{
    struct grant grant = {.fence = keeper->hold.fence, .lease_s = keeper->hold.lease_s};
    bool handed;

    memcpy(grant.token, keeper->hold.token, sizeof(grant.token));
    detach(keeper);
    handed = write(keeper->pipe, &grant, sizeof(grant)) == (ssize_t)sizeof(grant);
    close(keeper->pipe);
    keeper->pipe = -1;
    return handed;
}

/*
 * Waits for the grant, hands it over, and keeps it until it is lost, its time has come, or somebody
 * ends us.
 */
static int keep(struct keeper *keeper)
{
    struct hold *hold = &keeper->hold;

    while (hold_step(hold) != HOLD_OVER) {
        struct pollfd watched[] = {
            hold_watched(hold),
            {.fd = keeper->pipe}, /* an error, once nobody reads */
            {.fd = keeper->whose, .events = POLLIN},
        };
        struct signalfd_siginfo info;

        if (hold->state == HOLD_HELD && keeper->pipe >= 0) {
            if (!hand_over(keeper))
                break;
            continue;
        }
        if (loop_wait(&keeper->loop, watched, 3, hold_next_ms(hold), &info) || watched[1].revents ||
            watched[2].revents)
            break;
    }
    if (hold->state == HOLD_HELD)
        hold_release(hold);
    if (keeper->pipe >= 0 && hold->why != DFLOCKD_STATUS_DONE)
        hold_tell_refused(hold);
    return (int)status_of(hold->why);
}

static int stay(struct keeper *keeper)
{
    static const int none[] = {0};
    int status;

    setsid();
    signal(SIGPIPE, SIG_IGN);
    if (loop_open(&keeper->loop, none) < 0) {
        say("cannot wait for signals: %s", strerror(errno));
        return STATUS_SYSTEM;
    }
    hold_begin(&keeper->hold, keeper->settings);
    keeper->hold.renew = keeper->whose >= 0;
    status = keep(keeper);
    hold_close(&keeper->hold);
    loop_close(&keeper->loop);
    return status;
}

/* ---- acquire ---- */

/* Hears of the grant, or of how the one who should stay has ended. */
static int await_grant(const struct settings *settings, int pipe, pid_t keeper)
{
    struct grant grant;
    ssize_t length;
    int status;

    do {
        length = read(pipe, &grant, sizeof(grant));
    } while (length < 0 && errno == EINTR);
    if (length == (ssize_t)sizeof(grant)) {
        print_grant(settings, &grant, keeper);
        return STATUS_DONE;
    }
    if (waitpid(keeper, &status, 0) == keeper && WIFEXITED(status) && WEXITSTATUS(status))
        return WEXITSTATUS(status);
    say("the process that should keep the lock was killed");
    return STATUS_LOST;
}

static int acquire_and_stay(const struct settings *settings)
{
    struct keeper keeper = {.settings = settings, .whose = -1};
    int ends[2];
    pid_t pid;
    int status;

    note_inherited(&keeper);
    if (settings->while_pid) {
        keeper.whose = pidfd_open((pid_t)settings->while_pid, 0);
        if (keeper.whose < 0) {
            say("--while: process %" PRIu64 ": %s; give $$, the shell's", settings->while_pid,
                strerror(errno));
            return STATUS_USAGE;
        }
    }
    if (pipe2(ends, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
        say("cannot start a process: %s", strerror(errno));
        return STATUS_SYSTEM;
    }
    if (pid == 0) {
        close(ends[0]);
        keeper.pipe = ends[1];
        status = stay(&keeper);
    } else {
        close(ends[1]);
        status = await_grant(settings, ends[0], pid);
    }
    free(keeper.inherited);
    return status;
}

/* Whether the token still holds the key, once the connection that took it is closed. */
static int check_kept(const struct settings *settings, const struct grant *grant)
{
    struct question question = {0};
    struct dflockd_request request = {
        .command = settings->limit ? DFLOCKD_SEMAPHORE_RENEW : DFLOCKD_RENEW,
        .key = settings->words[0],
        .token = grant->token,
        .lease_s = settings->lease_s,
    };
    enum dflockd_status status;

    nanosleep(&(struct timespec){.tv_nsec = CLOSE_SETTLES_MS * 1000000L}, NULL);
    status = question_ask(&question, settings, servers_of(settings, request.key), &request);
    question_close(&question);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        say("granted, and lost with the connection: this server releases on disconnect; leave out "
            "--no-hold");
    else if (status == DFLOCKD_STATUS_DONE)
        print_grant(settings, grant, 0);
    return (int)status_of(status);
}

static int acquire_and_leave(const struct settings *settings)
{
    struct hold hold;
    struct grant grant;

    hold_begin(&hold, settings);
    hold.renew = false;
    while (hold_step(&hold) == HOLD_WAITING) {
        struct pollfd watched = hold_watched(&hold);
        int64_t left_ms = hold_next_ms(&hold) - loop_now_ms();

        poll(&watched, 1, left_ms < 0 ? 0 : left_ms < INT32_MAX ? (int)left_ms : -1);
    }
    if (hold.state == HOLD_OVER) {
        hold_close(&hold);
        return (int)hold_tell_refused(&hold);
    }
    grant = (struct grant){.fence = hold.fence, .lease_s = hold.lease_s};
    memcpy(grant.token, hold.token, sizeof(grant.token));
    hold_close(&hold);
    return check_kept(settings, &grant);
}

int script_acquire(const struct settings *settings)
{
    return settings->hold ? acquire_and_stay(settings) : acquire_and_leave(settings);
}

/* ---- release and renew ---- */

/* The key and the token, from the words or else from the environment. */
static bool find_grant(const struct settings *settings, const char **key, const char **token)
{
    *key = settings->word_count > 0 ? settings->words[0] : getenv("DFLOCKD_KEY");
    *token = settings->word_count > 1 ? settings->words[1] : getenv("DFLOCKD_TOKEN");
    if (!*key || !*token || !settings_is_key(*key) || !settings_is_key(*token)) {
        say("%s needs a key and the token that acquire printed; try: dflockctl %s --help",
            settings->command->name, settings->command->name);
        return false;
    }
    return true;
}

/*
 * Whether it is of a lock or of a semaphore the token does not tell, and one that is not held
 * changes nothing: so both are asked.
 */
static int ask_both(const struct settings *settings, enum dflockd_command lock,
                    enum dflockd_command semaphore, struct dflockd_reply *reply)
{
    struct dflockd_request request = {.command = lock, .lease_s = settings->lease_s};
    struct question question = {0};
    enum dflockd_status status;
    size_t server;

    if (!find_grant(settings, &request.key, &request.token))
        return STATUS_USAGE;
    server = servers_of(settings, request.key);
    status = question_ask(&question, settings, server, &request);
    if (status == DFLOCKD_STATUS_NOT_HELD) {
        request.command = semaphore;
        status = question_ask(&question, settings, server, &request);
    }
    *reply = question.reply;
    question_close(&question);
    if (status == DFLOCKD_STATUS_NOT_HELD)
        say("not held by this token, or not any more; dflockctl acquire takes it anew");
    else if (status != DFLOCKD_STATUS_DONE && status == reply->status)
        say("%s%s", dflockd_status_text(status), status_advice(status));
    return (int)status_of(status);
}

int script_release(const struct settings *settings)
{
    struct dflockd_reply reply;

    return ask_both(settings, DFLOCKD_RELEASE, DFLOCKD_SEMAPHORE_RELEASE, &reply);
}

int script_renew(const struct settings *settings)
{
    struct dflockd_reply reply;
    int status = ask_both(settings, DFLOCKD_RENEW, DFLOCKD_SEMAPHORE_RENEW, &reply);

    if (status == STATUS_DONE)
        printf("%" PRIu64 "\n", reply.lease_s);
    return status;
}

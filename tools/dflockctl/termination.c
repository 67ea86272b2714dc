#include "dflockctl/termination.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "dflockctl/loop.h"
#include "dflockctl/status.h"

enum {
    KILL_AGAIN_MS = 50,
    GIVE_UP_MS = 1000 /* from the first SIGKILL on, for processes that cannot be signalled */
};

static void termination_report_failures(const struct descendants_result *result)
{
    size_t listed = result->failed < DESCENDANTS_FAILURES_MAX ? result->failed
                                                              : (size_t)DESCENDANTS_FAILURES_MAX;

    for (size_t i = 0; i < listed; i++)
        status_report("pid %jd: %s; it was not signalled and may still work without the lock",
                      (intmax_t)result->failures[i].pid, strerror(result->failures[i].error));
    if (result->failed > listed)
        status_report("%zu more processes could not be signalled", result->failed - listed);
    if (result->search_error)
        status_report(
            "/proc: %s; a process below the command is signalled only after its parent has ended",
            strerror(result->search_error));
}

void termination_begin(struct termination *termination, pid_t command, uint64_t grace_s,
                       const char *event)
{
    struct descendants_result result;
    struct descendants_result continued;
    const char *plural;

    memset(termination, 0, sizeof(*termination));
    termination->grace_s = grace_s;
    termination->kill_ms = loop_now_ms() + (int64_t)grace_s * 1000;
    descendants_signal(command, grace_s > 0 ? SIGTERM : SIGKILL, &result);
    /* A stopped process would not act on SIGTERM. */
    if (grace_s > 0)
        descendants_signal(command, SIGCONT, &continued);
    plural = result.signalled == 1 ? "" : "es";
    if (grace_s > 0)
        status_report("%s; sent SIGTERM to %zu process%s, SIGKILL in %" PRIu64 " s", event,
                      result.signalled, plural, grace_s);
    else
        status_report("%s; sent SIGKILL to %zu process%s", event, result.signalled, plural);
    termination_report_failures(&result);
}

bool termination_kill(struct termination *termination, pid_t command)
{
    struct descendants_result result;
    int64_t now_ms;

    descendants_signal(command, SIGKILL, &result);
    now_ms = loop_now_ms();
    termination->kill_ms = now_ms + KILL_AGAIN_MS;
    if (termination->give_up_ms == 0)
        termination->give_up_ms = now_ms + GIVE_UP_MS;
    if (result.failed == 0 || now_ms < termination->give_up_ms)
        return true;
    termination_report_failures(&result);
    return false;
}

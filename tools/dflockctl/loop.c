#include "dflockctl/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "os/clock.h"

int64_t loop_now_ms(void)
{
    return (int64_t)(clock_boottime_ns() / 1000000);
}

static void loop_add_unless_ignored(sigset_t *signals, int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        return;
    sigaddset(signals, number);
}

/* Opens the descriptors for the signals in `loop->caught`. */
static int loop_open_descriptors(struct loop *loop)
{
    int error;

    loop->signals = signalfd(-1, &loop->caught, SFD_CLOEXEC | SFD_NONBLOCK);
    loop->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->signals >= 0 && loop->timer >= 0)
        return 0;
    error = -errno;
    loop_close(loop);
    return error;
}

int loop_open(struct loop *loop, const int *more)
{
    static const int always[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};

    sigemptyset(&loop->caught);
    /* The kernel does not report the end of a child while SIGCHLD is ignored. */
    loop->child_was_ignored = signal(SIGCHLD, SIG_DFL) == SIG_IGN;
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        loop_add_unless_ignored(&loop->caught, always[i]);
    for (; *more; more++)
        loop_add_unless_ignored(&loop->caught, *more);
    sigprocmask(SIG_BLOCK, &loop->caught, &loop->before);
    return loop_open_descriptors(loop);
}

int loop_catch_more(struct loop *loop, const int *more)
{
    for (; *more; more++)
        loop_add_unless_ignored(&loop->caught, *more);
    sigprocmask(SIG_BLOCK, &loop->caught, NULL);
    return signalfd(loop->signals, &loop->caught, 0) < 0 ? -errno : 0;
}

int loop_reopen(struct loop *loop)
{
    loop_close(loop);
    return loop_open_descriptors(loop);
}

void loop_close(struct loop *loop)
{
    if (loop->signals >= 0)
        close(loop->signals);
    if (loop->timer >= 0)
        close(loop->timer);
    loop->signals = loop->timer = -1;
}

void loop_restore(const struct loop *loop)
{
    if (loop->child_was_ignored)
        signal(SIGCHLD, SIG_IGN);
    sigprocmask(SIG_SETMASK, &loop->before, NULL);
}

/* A time in the past expires at once, LOOP_NEVER never. */
static void loop_set_timer(const struct loop *loop, int64_t until_ms)
{
    struct itimerspec timer = {0};

    if (until_ms != LOOP_NEVER) {
        timer.it_value.tv_sec = until_ms > 0 ? until_ms / 1000 : 0;
        timer.it_value.tv_nsec = until_ms > 0 ? until_ms % 1000 * 1000000 : 1;
    }
    timerfd_settime(loop->timer, TFD_TIMER_ABSTIME, &timer, NULL);
}

int loop_wait(struct loop *loop, struct pollfd *watched, size_t count, int64_t until_ms,
              struct signalfd_siginfo *signal)
{
    struct pollfd all[LOOP_WATCHED_MAX + 2] = {
        {.fd = loop->signals, .events = POLLIN},
        {.fd = loop->timer, .events = POLLIN},
    };

    assert(count <= LOOP_WATCHED_MAX);
    for (size_t i = 0; i < count; i++)
        all[i + 2] = watched[i];
    loop_set_timer(loop, until_ms);
    /* Interrupted by SIGCONT or a debugger: the caller checks everything again. */
    if (poll(all, count + 2, -1) < 0) {
        for (size_t i = 0; i < count; i++)
            watched[i].revents = 0;
        return 0;
    }
    for (size_t i = 0; i < count; i++)
        watched[i] = all[i + 2];
    if (read(loop->signals, signal, sizeof(*signal)) == (ssize_t)sizeof(*signal))
        return (int)signal->ssi_signo;
    return 0;
}

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

static void add_unless_ignored(sigset_t *signals, int number)
{
    struct sigaction action;

    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
        return;
    sigaddset(signals, number);
}

int loop_open(struct loop *loop, const int *more)
{
    static const int always[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    sigset_t caught;

    sigemptyset(&caught);
    /* Ignored, it would not tell of a child's end. */
    signal(SIGCHLD, SIG_DFL);
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        add_unless_ignored(&caught, always[i]);
    for (; *more; more++)
        add_unless_ignored(&caught, *more);
    sigprocmask(SIG_BLOCK, &caught, &loop->before);
    loop->signals = signalfd(-1, &caught, SFD_CLOEXEC | SFD_NONBLOCK);
    loop->timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    return loop->signals < 0 || loop->timer < 0 ? -errno : 0;
}

void loop_close(struct loop *loop)
{
    close(loop->signals);
    close(loop->timer);
}

void loop_restore(const struct loop *loop)
{
    sigprocmask(SIG_SETMASK, &loop->before, NULL);
}

/* A time that has come rings at once; none never does. */
static void set_timer(const struct loop *loop, int64_t until_ms)
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
    memcpy(all + 2, watched, count * sizeof(*watched));
    set_timer(loop, until_ms);
    /* Interrupted: by SIGCONT, or a debugger. All is looked at anew. */
    if (poll(all, count + 2, -1) < 0) {
        for (size_t i = 0; i < count; i++)
            watched[i].revents = 0;
        return 0;
    }
    memcpy(watched, all + 2, count * sizeof(*watched));
    if (read(loop->signals, signal, sizeof(*signal)) == (ssize_t)sizeof(*signal))
        return (int)signal->ssi_signo;
    return 0;
}

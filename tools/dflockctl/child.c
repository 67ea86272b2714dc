#include "dflockctl/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dflockctl/status.h"
#include "dflockctl/text.h"

/* In the child: executes the command, or writes errno to `error_pipe`. */
static _Noreturn void child_execute(char *const *command_line, const struct loop *loop,
                                    pid_t parent, int error_pipe)
{
    ssize_t written;
    int error;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(STATUS_LOST);
    loop_restore(loop);
    execvp(command_line[0], command_line);
    error = errno;
    written = write(error_pipe, &error, sizeof(error));
    _exit(written == sizeof(error) ? STATUS_CANNOT_RUN : STATUS_SYSTEM);
}

static void child_report_failure(struct child *child, const char *command, int error)
{
    char *shown = text_shown(command, strlen(command), true);

    child->status = error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
    status_report("'%.500s': cannot run it: %s", shown, strerror(error));
    free(shown);
}

bool child_start(struct child *child, char *const *command_line, const struct loop *loop)
{
    pid_t self = getpid();
    int ends[2];
    int error;
    ssize_t length;

    memset(child, 0, sizeof(*child));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (pipe2(ends, O_CLOEXEC) < 0 || (child->pid = fork()) < 0) {
        status_report("cannot start a process: %s", strerror(errno));
        child->status = STATUS_SYSTEM;
        return false;
    }
    if (child->pid == 0)
        child_execute(command_line, loop, self, ends[1]);
    close(ends[1]);
    do {
        length = read(ends[0], &error, sizeof(error));
    } while (length < 0 && errno == EINTR);
    close(ends[0]);
    if (length != sizeof(error))
        return true;
    waitpid(child->pid, NULL, 0);
    child_report_failure(child, command_line[0], error);
    return false;
}

pid_t child_living_pid(const struct child *child)
{
    return child->ended ? 0 : child->pid;
}

void child_signal(const struct child *child, int signal)
{
    if (!child->ended)
        kill(child->pid, signal);
}

static void child_note(struct child *child, int status)
{
    if (WIFSTOPPED(status)) {
        child->stopped_by = WSTOPSIG(status);
        return;
    }
    child->stopped_by = 0;
    if (WIFCONTINUED(status))
        return;
    child->ended = true;
    child->ended_by = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child->status = child->ended_by ? STATUS_SIGNAL + child->ended_by : WEXITSTATUS(status);
}

void child_reap(struct child *child)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0) {
        if (pid == child->pid && !child->ended)
            child_note(child, status);
    }
    child->others_remain = pid == 0;
}

bool child_any_left(const struct child *child)
{
    return !child->ended || child->others_remain;
}

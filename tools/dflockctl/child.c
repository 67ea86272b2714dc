#include "dflockctl/child.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dflockctl/status.h"
#include "dflockctl/text.h"

enum {
    PATH_BYTES = 80
};

/* ---- start ---- */

/* In the child: becomes the command, or writes to `told` why not. */
static _Noreturn void become(char *const *command_line, const struct loop *loop, pid_t parent,
                             int told)
{
    ssize_t written;
    int error;

    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(STATUS_LOST);
    loop_restore(loop);
    execvp(command_line[0], command_line);
    error = errno;
    written = write(told, &error, sizeof(error));
    _exit(written == sizeof(error) ? STATUS_CANNOT_RUN : STATUS_SYSTEM);
}

static bool fail(struct child *child, const char *command, int error)
{
    char *shown = text_shown(command, strlen(command), true);

    child->status = error == ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
    say("cannot run '%.500s': %s", shown, strerror(error));
    free(shown);
    return false;
}

bool child_start(struct child *child, char *const *command_line, const struct loop *loop)
{
    pid_t self = getpid();
    int told[2];
    int error;
    ssize_t length;

    memset(child, 0, sizeof(*child));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (pipe2(told, O_CLOEXEC) < 0 || (child->pid = fork()) < 0) {
        say("cannot start a process: %s", strerror(errno));
        child->status = STATUS_SYSTEM;
        return false;
    }
    if (child->pid == 0)
        become(command_line, loop, self, told[1]);
    close(told[1]);
    do {
        length = read(told[0], &error, sizeof(error));
    } while (length < 0 && errno == EINTR);
    close(told[0]);
    if (length != sizeof(error))
        return true;
    waitpid(child->pid, NULL, 0);
    return fail(child, command_line[0], error);
}

/* ---- signals ---- */

void child_signal(const struct child *child, int signal)
{
    if (!child->ended)
        kill(child->pid, signal);
}

struct family {
    pid_t *pids;
    size_t count;
    size_t room;
};

static void add(struct family *family, pid_t pid)
{
    if (family->count == family->room) {
        family->room = family->room ? family->room * 2 : 64;
        family->pids = reallocarray(family->pids, family->room, sizeof(*family->pids));
        if (!family->pids)
            die_of_memory();
    }
    family->pids[family->count++] = pid;
}

/* Those that a thread has started: the kernel lists them with blanks between. */
static void add_of_thread(struct family *family, pid_t pid, const char *thread)
{
    char path[PATH_BYTES];
    FILE *children;
    char *list = NULL;
    size_t room = 0;

    snprintf(path, sizeof(path), "/proc/%jd/task/%.20s/children", (intmax_t)pid, thread);
    children = fopen(path, "re");
    if (!children)
        return;
    if (getline(&list, &room, children) > 0) {
        char *end = list;

        for (char *at = list; *at; at = end) {
            long child = strtol(at, &end, 10);

            if (end == at)
                break;
            add(family, (pid_t)child);
            end += strspn(end, " ");
        }
    }
    free(list);
    fclose(children);
}

static void add_of_process(struct family *family, pid_t pid)
{
    char path[PATH_BYTES];
    DIR *threads;
    const struct dirent *thread;

    snprintf(path, sizeof(path), "/proc/%jd/task", (intmax_t)pid);
    threads = opendir(path);
    while (threads && (thread = readdir(threads))) {
        if (thread->d_name[0] != '.')
            add_of_thread(family, pid, thread->d_name);
    }
    if (threads)
        closedir(threads);
}

/* First all are found, then told, parents first: a shell shall not start the next one meanwhile. */
void child_signal_all(int signal)
{
    struct family family = {0};

    add(&family, getpid());
    for (size_t i = 0; i < family.count; i++)
        add_of_process(&family, family.pids[i]);
    for (size_t i = 1; i < family.count; i++)
        kill(family.pids[i], signal);
    free(family.pids);
}

/* ---- the end ---- */

bool child_reap(struct child *child)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != child->pid)
            continue;
        child->ended = true;
        child->status =
            WIFSIGNALED(status) ? STATUS_SIGNAL + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return pid == 0;
}

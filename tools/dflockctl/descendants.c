#include "dflockctl/descendants.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PATH_BYTES = 80,
    SEARCHES_MAX = 8,
    PID_LIMIT = 1 << 22 /* the kernel's largest */
};

/* ---- lists of processes ---- */

struct pid_list {
    pid_t *pids;
    pid_t *parents; /* only in a snapshot */
    size_t count;
    size_t room;
};

/* Returns false without memory. */
static bool pid_list_add(struct pid_list *list, pid_t pid, pid_t parent)
{
    if (list->count == list->room) {
        size_t room = list->room ? list->room * 2 : 64;
        pid_t *pids = reallocarray(list->pids, room, sizeof(*pids));
        pid_t *parents;

        if (!pids)
            return false;
        list->pids = pids;
        parents = reallocarray(list->parents, room, sizeof(*parents));
        if (!parents)
            return false;
        list->parents = parents;
        list->room = room;
    }
    list->pids[list->count] = pid;
    list->parents[list->count] = parent;
    list->count++;
    return true;
}

static bool pid_list_has(const struct pid_list *list, pid_t pid)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->pids[i] == pid)
            return true;
    }
    return false;
}

static void pid_list_free(struct pid_list *list)
{
    free(list->pids);
    free(list->parents);
}

/* ---- search by `children` ---- */

static FILE *descendants_open_children(pid_t pid, const char *thread)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof(path), "/proc/%jd/task/%.20s/children", (intmax_t)pid, thread);
    return fopen(path, "re");
}

/* Adds the children of one thread. The file is one line of numbers with blanks between them. */
static bool descendants_add_of_thread(struct pid_list *found, pid_t pid, const char *thread)
{
    FILE *children = descendants_open_children(pid, thread);
    char *line = NULL;
    size_t room = 0;
    bool added = true;

    if (!children)
        return true;
    if (getline(&line, &room, children) > 0) {
        char *end = line;

        for (char *at = line; added; at = end) {
            long child = strtol(at, &end, 10);

            if (end == at)
                break;
            added = pid_list_add(found, (pid_t)child, 0);
        }
    }
    free(line);
    fclose(children);
    return added;
}

static bool descendants_add_of_process(struct pid_list *found, pid_t pid)
{
    char path[PATH_BYTES];
    DIR *threads;
    const struct dirent *thread;
    bool added = true;

    snprintf(path, sizeof(path), "/proc/%jd/task", (intmax_t)pid);
    threads = opendir(path);
    while (added && threads && (thread = readdir(threads))) {
        if (thread->d_name[0] != '.')
            added = descendants_add_of_thread(found, pid, thread->d_name);
    }
    if (threads)
        closedir(threads);
    return added;
}

/* ---- search by the parents in /proc/PID/stat ---- */

/* Returns the parent, or -1 if the process is gone or its file cannot be read. */
static pid_t descendants_parent_of(const char *pid)
{
    char path[PATH_BYTES];
    char line[512];
    const char *after_name;
    size_t length;
    int parent;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return -1;
    length = fread(line, 1, sizeof(line) - 1, file);
    fclose(file);
    line[length] = '\0';
    /* The name is in parentheses, and may hold blanks and parentheses itself. */
    after_name = strrchr(line, ')');
    if (!after_name || sscanf(after_name, ") %*c %d", &parent) != 1)
        return -1;
    return parent;
}

/* Lists all processes that this one can see, with their parents. */
static bool descendants_take_snapshot(struct pid_list *snapshot)
{
    DIR *all = opendir("/proc");
    const struct dirent *entry;
    bool added = true;

    while (added && all && (entry = readdir(all))) {
        pid_t parent;

        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        parent = descendants_parent_of(entry->d_name);
        if (parent > 0)
            added = pid_list_add(snapshot, (pid_t)strtol(entry->d_name, NULL, 10), parent);
    }
    if (all)
        closedir(all);
    return added;
}

static bool descendants_add_from(struct pid_list *found, const struct pid_list *snapshot,
                                 pid_t parent)
{
    for (size_t i = 0; i < snapshot->count; i++) {
        if (snapshot->parents[i] == parent && !pid_list_has(found, snapshot->pids[i]) &&
            !pid_list_add(found, snapshot->pids[i], parent))
            return false;
    }
    return true;
}

/* ---- the search as a whole ---- */

/*
 * For want of /proc. waitid fails with ECHILD if `pid` is no child of this process. All numbers
 * take the kernel about a second.
 */
static bool descendants_add_own_children(struct pid_list *found)
{
    for (pid_t pid = 2; pid < PID_LIMIT; pid++) {
        siginfo_t info;

        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            !pid_list_add(found, pid, 0))
            return false;
    }
    return true;
}

enum search_method {
    SEARCH_CHILDREN,
    SEARCH_STAT,
    SEARCH_WAITID
};

/* On SEARCH_WAITID, sets `*error` to what is wrong with /proc. */
static enum search_method descendants_choose_method(int *error)
{
    char self[24];
    FILE *file;

    snprintf(self, sizeof(self), "%jd", (intmax_t)getpid());
    file = descendants_open_children(getpid(), self);
    if (file) {
        fclose(file);
        return SEARCH_CHILDREN;
    }
    if (descendants_parent_of(self) >= 0)
        return SEARCH_STAT;
    *error = errno ? errno : ENOENT;
    return SEARCH_WAITID;
}

/* Fills `found` with this process and all descendants, parents first. */
static bool descendants_find(enum search_method method, struct pid_list *found)
{
    struct pid_list snapshot = {0};
    bool complete = pid_list_add(found, getpid(), 0);

    if (method == SEARCH_WAITID)
        return complete && descendants_add_own_children(found);
    if (method == SEARCH_STAT)
        complete = complete && descendants_take_snapshot(&snapshot);
    for (size_t i = 0; complete && i < found->count; i++)
        complete = method == SEARCH_CHILDREN
                       ? descendants_add_of_process(found, found->pids[i])
                       : descendants_add_from(found, &snapshot, found->pids[i]);
    pid_list_free(&snapshot);
    return complete;
}

/* ---- signals ---- */

static void descendants_send(pid_t pid, int signal, struct descendants_result *result)
{
    if (kill(pid, signal) == 0) {
        result->signalled++;
    } else if (errno != ESRCH) {
        if (result->failed < DESCENDANTS_FAILURES_MAX) {
            result->failures[result->failed].pid = pid;
            result->failures[result->failed].error = errno;
        }
        result->failed++;
    }
}

/* Signals the processes in `found` that are not in `done`. Returns whether there were any. */
static bool descendants_signal_new(const struct pid_list *found, int signal, struct pid_list *done,
                                   struct descendants_result *result)
{
    bool any = false;

    for (size_t i = 1; i < found->count; i++) {
        if (pid_list_has(done, found->pids[i]))
            continue;
        any = true;
        descendants_send(found->pids[i], signal, result);
        if (!pid_list_add(done, found->pids[i], 0))
            return false;
    }
    return any;
}

/* Signals all descendants except `first` (0: none). */
static void descendants_signal_rest(pid_t first, int signal, struct descendants_result *result)
{
    enum search_method method = descendants_choose_method(&result->search_error);
    struct pid_list done = {0};
    bool any = first == 0 || pid_list_add(&done, first, 0);

    if (!any)
        result->search_error = ENOMEM;
    for (int searches = 0; any && searches < SEARCHES_MAX; searches++) {
        struct pid_list found = {0};

        if (!descendants_find(method, &found))
            result->search_error = ENOMEM;
        any = descendants_signal_new(&found, signal, &done, result);
        pid_list_free(&found);
        /* That search takes long, and a child's children cannot be found before the child ends. */
        if (method == SEARCH_WAITID)
            break;
    }
    pid_list_free(&done);
}

void descendants_signal(pid_t first, int signal, struct descendants_result *result)
{
    memset(result, 0, sizeof(*result));
    if (first > 0)
        descendants_send(first, signal, result);
    descendants_signal_rest(first, signal, result);
}

void descendants_signal_others(pid_t except, int signal)
{
    struct descendants_result result = {0};

    descendants_signal_rest(except, signal, &result);
}

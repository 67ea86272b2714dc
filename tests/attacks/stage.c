#include "attacks/stage.h"

#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attacks/crowd.h"
#include "base/time_units.h"

enum {
    CONNECTED_MS = 300, /* in which the bystander connects */
    EARLY_MS = 50,      /* before the attack */
    LATE_MS = 20,       /* after everything is due */
    QUIET_MS = 100,
    QUIET_PERCENT = 50, /* CPU time of a server that serves only the bystander */
    QUIET_S_MAX = 60
};

static pid_t bystander;
static int to_bystander, from_bystander;

static void sleep_ms(uint64_t ms)
{
    sleep_until(clock_ns() + ms * NS_PER_MS);
}

/* Sets the path of the bystander, whose folder is beside this program's. */
static void find_bystander(char *path, size_t size)
{
    char folder[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof(folder) - 1);

    folder[length > 0 ? length : 0] = 0;
    for (int i = 0; i < 2; i++)
        if (strrchr(folder, '/'))
            *strrchr(folder, '/') = 0;
    snprintf(path, size, "%s/witness/bystander", folder);
}

void stage_open(const struct settings *settings, const char *mode)
{
    char port[16];
    char pid[16];
    char others[16];
    char path[PATH_MAX + 32];
    int input[2];
    int output[2];

    if (settings->others == 0)
        return;
    snprintf(port, sizeof(port), "%u", settings->port);
    snprintf(pid, sizeof(pid), "pid=%u", settings->pid);
    snprintf(others, sizeof(others), "%u", settings->others);
    find_bystander(path, sizeof(path));
    if (pipe(input) < 0 || pipe(output) < 0 || (bystander = fork()) < 0) {
        perror("attack");
        exit(2);
    }
    if (bystander == 0) {
        dup2(input[0], STDIN_FILENO);
        dup2(output[1], STDOUT_FILENO);
        for (int i = 0; i < 2; i++) {
            close(input[i]);
            close(output[i]);
        }
        execl(path, path, port, others, "1000", pid, mode, (char *)NULL);
        perror(path);
        _exit(2);
    }
    close(input[0]);
    close(output[1]);
    to_bystander = input[1];
    from_bystander = output[0];
    sleep_ms(CONNECTED_MS);
}

void stage_begin(void)
{
    if (bystander && write(to_bystander, "\n", 1) != 1)
        perror("attack: bystander");
}

uint64_t stage_begin_at(const struct settings *settings, uint64_t first_ns, uint64_t last_ns)
{
    uint64_t continued_ns;

    sleep_until(first_ns - EARLY_MS * NS_PER_MS);
    if (!settings->stop) {
        stage_begin();
        return first_ns;
    }
    kill((pid_t)settings->pid, SIGSTOP);
    sleep_until(last_ns + LATE_MS * NS_PER_MS);
    stage_begin();
    continued_ns = clock_ns();
    kill((pid_t)settings->pid, SIGCONT);
    return continued_ns;
}

/* Returns the nanoseconds of CPU time of all threads. */
static uint64_t cpu_ns(uint32_t pid)
{
    char path[300];
    uint64_t sum = 0;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%u/task", pid);
    tasks = opendir(path);
    while (tasks && (entry = readdir(tasks))) {
        unsigned long long spent;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%u/task/%.32s/schedstat", pid, entry->d_name);
        file = fopen(path, "r");
        if (file && fscanf(file, "%llu", &spent) == 1)
            sum += spent;
        if (file)
            fclose(file);
    }
    if (tasks)
        closedir(tasks);
    return sum;
}

static void wait_until_quiet(uint32_t pid)
{
    uint64_t end_ns = clock_ns() + QUIET_S_MAX * NS_PER_S;
    uint64_t before_ns;

    do {
        before_ns = cpu_ns(pid);
        sleep_ms(QUIET_MS);
    } while (cpu_ns(pid) - before_ns > QUIET_MS * NS_PER_MS * QUIET_PERCENT / 100 &&
             clock_ns() < end_ns);
}

void stage_close(const struct settings *settings, struct result *result)
{
    size_t length = 0;
    ssize_t got;

    sleep_ms(settings->settle_ms);
    wait_until_quiet(settings->pid);
    if (!bystander)
        return;
    close(to_bystander);
    while ((got = read(from_bystander, result->others + length,
                       sizeof(result->others) - 1 - length)) > 0)
        length += (size_t)got;
    close(from_bystander);
    waitpid(bystander, NULL, 0);
    if (length > 0 && result->others[length - 1] == '\n')
        length--;
    result->others[length] = 0;
    if (!strstr(result->others, "\"problem\": \"\""))
        result_fail(result, "bystander", "see others");
}

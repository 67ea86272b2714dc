#include "os/fence_file.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/file_error.h"

enum {
    LOCK_ATTEMPTS = 100,
    LOCK_PAUSE_NS = 10000000
};

static int fence_file_fail(char problem[FENCE_FILE_PROBLEM_MAX], const char *path, const char *what)
{
    snprintf(problem, FENCE_FILE_PROBLEM_MAX, "%s: %s", path, what);
    return -1;
}

/* Explains a failure to open or create the file. */
static const char *fence_file_explain(int error)
{
    switch (error) {
    case ENOENT:
        return "its directory does not exist; create it";
    case EACCES:
        return "Permission denied; let the user of this process write the file and its directory";
    default:
        return file_error_explain(error);
    }
}

void fence_file_encode(uint8_t bytes[FENCE_FILE_BYTES], uint64_t ceiling)
{
    uint64_t big_endian = htobe64(ceiling);

    memcpy(bytes, &big_endian, FENCE_FILE_BYTES);
}

int fence_file_store(int file, uint64_t ceiling)
{
    uint8_t bytes[FENCE_FILE_BYTES];
    ssize_t written;

    fence_file_encode(bytes, ceiling);
    written = pwrite(file, bytes, sizeof(bytes), 0);
    if (written < 0)
        return -errno;
    if (written < FENCE_FILE_BYTES)
        return -ENOSPC;
    return fsync(file) < 0 ? -errno : 0;
}

/* A killed process keeps its lock until the kernel has closed its ring. */
static int fence_file_lock(int file)
{
    static const struct timespec pause = {.tv_nsec = LOCK_PAUSE_NS};

    for (int attempt = 0; flock(file, LOCK_EX | LOCK_NB) < 0; attempt++) {
        if (errno != EWOULDBLOCK || attempt == LOCK_ATTEMPTS)
            return -errno;
        nanosleep(&pause, NULL);
    }
    return 0;
}

/* The name of a new file is on disk after its directory has been synced. */
static int fence_file_store_name(const char *path)
{
    char copy[PATH_MAX];
    int directory;
    int error = 0;

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return -ENAMETOOLONG;
    directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return -errno;
    /* EINVAL: this file system does not sync directories. */
    if (fsync(directory) < 0 && errno != EINVAL)
        error = -errno;
    close(directory);
    return error;
}

/*
 * Clears O_NONBLOCK: with it, io_uring ends a write with EAGAIN instead of handing it to a thread,
 * on a device that cannot write without waiting (dm-crypt on Linux 6.1 to 6.3).
 */
static int fence_file_set_blocking(int file)
{
    int flags = fcntl(file, F_GETFL);

    return flags < 0 || fcntl(file, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static int fence_file_check_regular(int file, const char *path,
                                    char problem[FENCE_FILE_PROBLEM_MAX])
{
    struct stat status;

    if (fstat(file, &status) < 0)
        return fence_file_fail(problem, path, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fence_file_fail(problem, path, "not a regular file; give a file");
    return 0;
}

/* Sets `*ceiling` to 0 for an empty file. */
static int fence_file_read(int file, const char *path, uint64_t *ceiling,
                           char problem[FENCE_FILE_PROBLEM_MAX])
{
    uint64_t big_endian;
    struct stat status;

    *ceiling = 0;
    if (fstat(file, &status) < 0)
        return fence_file_fail(problem, path, strerror(errno));
    if (status.st_size == 0)
        return 0;
    if (status.st_size != FENCE_FILE_BYTES) {
        char what[96];

        snprintf(what, sizeof(what), "holds %lld bytes and not %d; not a fence state file",
                 (long long)status.st_size, FENCE_FILE_BYTES);
        return fence_file_fail(problem, path, what);
    }
    if (pread(file, &big_endian, sizeof(big_endian), 0) != sizeof(big_endian))
        return fence_file_fail(problem, path, "cannot be read");
    *ceiling = be64toh(big_endian);
    return 0;
}

/* Locks the file before reading it: the previous server may write it until then. */
static int fence_file_lock_and_read(int file, const char *path, uint64_t *ceiling,
                                    char problem[FENCE_FILE_PROBLEM_MAX])
{
    int error;

    if (fence_file_check_regular(file, path, problem) < 0)
        return -1;
    error = fence_file_set_blocking(file);
    if (error < 0)
        return fence_file_fail(problem, path, strerror(-error));
    error = fence_file_lock(file);
    if (error == -EWOULDBLOCK)
        return fence_file_fail(problem, path,
                               "in use by another server, which holds a lock on it; stop that "
                               "server or give another file");
    if (error < 0)
        return fence_file_fail(problem, path, strerror(-error));
    if (fence_file_read(file, path, ceiling, problem) < 0)
        return -1;
    error = *ceiling == 0 ? fence_file_store_name(path) : 0;
    return error < 0 ? fence_file_fail(problem, path, strerror(-error)) : 0;
}

int fence_file_open(const char *path, uint64_t *ceiling, char problem[FENCE_FILE_PROBLEM_MAX])
{
    /* O_NONBLOCK: open(2) must not wait for a writer of a FIFO. See fence_file_set_blocking. */
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0600);

    if (file < 0)
        return fence_file_fail(problem, path, fence_file_explain(errno));
    if (fence_file_lock_and_read(file, path, ceiling, problem) < 0) {
        close(file);
        return -1;
    }
    return file;
}

/* Checks that a new file could be created. */
static int fence_file_check_directory(const char *path, char problem[FENCE_FILE_PROBLEM_MAX])
{
    char copy[PATH_MAX];

    if (snprintf(copy, sizeof(copy), "%s", path) >= (int)sizeof(copy))
        return fence_file_fail(problem, path, strerror(ENAMETOOLONG));
    if (faccessat(AT_FDCWD, dirname(copy), W_OK | X_OK, AT_EACCESS) < 0)
        return fence_file_fail(problem, path, fence_file_explain(errno));
    return 0;
}

int fence_file_check(const char *path, uint64_t *ceiling, char problem[FENCE_FILE_PROBLEM_MAX])
{
    int file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    int result;

    *ceiling = 0;
    if (file < 0 && errno == ENOENT)
        return fence_file_check_directory(path, problem);
    if (file < 0)
        return fence_file_fail(problem, path, fence_file_explain(errno));
    result = fence_file_check_regular(file, path, problem);
    if (result == 0)
        result = fence_file_read(file, path, ceiling, problem);
    close(file);
    return result;
}

#include "os/standard_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <unistd.h>

/* Every close of a file, also of a copy, reports the errors of its delayed writes. */
static int standard_output_delayed_error(void)
{
    int copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

    if (copy >= 0 && close(copy) < 0 && errno != EINTR)
        return -errno;
    return 0;
}

int standard_output_flush(void)
{
    /* stdio keeps the error of an earlier write as a flag without its number. */
    bool failed_before = ferror(stdout);
    int error = fflush(stdout) == 0 ? 0 : -errno;

    if (error == 0)
        error = failed_before ? -EIO : standard_output_delayed_error();
    if (error < 0) {
        __fpurge(stdout);
        clearerr(stdout);
    }
    return error;
}

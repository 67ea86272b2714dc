#include "os/standard_descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int standard_descriptors_open(void)
{
    for (int descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++) {
        int mode = descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY;

        if (fcntl(descriptor, F_GETFD) >= 0)
            continue;
        /* All lower descriptors are open, so the kernel chooses this one. */
        if (open("/dev/null", mode) < 0)
            return -errno;
    }
    return 0;
}

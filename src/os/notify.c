#include "os/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int notify_service_manager(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    socklen_t address_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    int result = 0;
    int manager;

    if (length == 0)
        return 0;
    if (length >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return -EINVAL;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = '\0'; /* the abstract namespace */
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (manager < 0)
        return -errno;
    if (sendto(manager, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
               address_length) < 0)
        result = -errno;
    close(manager);
    return result;
}

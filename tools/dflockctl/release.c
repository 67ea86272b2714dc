#include "dflockctl/command.h"
#include "dflockctl/status.h"
#include "dflockctl/token.h"

int release_run(const struct settings *settings)
{
    struct dflockd_request request = {0};
    struct dflockd_reply reply;

    if (!token_read(settings, &request))
        return STATUS_USAGE;
    return token_run(settings, &request, DFLOCKD_RELEASE, DFLOCKD_SEMAPHORE_RELEASE, &reply);
}

#include "dflockctl/command.h"
#include "dflockctl/token.h"

int release_run(const struct settings *settings)
{
    struct dflockd_reply reply;

    return token_run(settings, DFLOCKD_RELEASE, DFLOCKD_SEMAPHORE_RELEASE, &reply);
}

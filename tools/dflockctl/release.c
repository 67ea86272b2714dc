#include "dflockctl/command.h"
#include "dflockctl/release_notice.h"
#include "dflockctl/status.h"
#include "dflockctl/token.h"

int release_run(const struct settings *settings)
{
    struct dflockd_request request = {0};
    struct release_announcement announcement;
    struct dflockd_reply reply;
    int status;

    if (!token_read(settings, &request))
        return STATUS_USAGE;
    release_announce(&announcement, request.token);
    status = token_run(settings, &request, DFLOCKD_RELEASE, DFLOCKD_SEMAPHORE_RELEASE, &reply);
    release_announce_result(&announcement, status == STATUS_DONE);
    return status;
}

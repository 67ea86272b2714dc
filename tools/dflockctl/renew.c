#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "dflockctl/command.h"
#include "dflockctl/status.h"
#include "dflockctl/token.h"
#include "os/standard_output.h"

int renew_run(const struct settings *settings)
{
    struct dflockd_reply reply;
    int status = token_run(settings, DFLOCKD_RENEW, DFLOCKD_SEMAPHORE_RENEW, &reply);
    int error;

    if (status != STATUS_DONE)
        return status;
    printf("%" PRIu64 "\n", reply.lease_s);
    error = standard_output_flush();
    if (error == 0)
        return STATUS_DONE;
    status_report("standard output: %s; the lease is renewed, for %" PRIu64 " s", strerror(-error),
                  reply.lease_s);
    return STATUS_OUTPUT;
}

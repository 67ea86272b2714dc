#include "dflockd/client.h"

const char *dflockd_version(void)
{
    return DFLOCKD_VERSION;
}

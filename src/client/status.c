#include "dflockd/client.h"

const char *dflockd_status_text(enum dflockd_status status)
{
    static const char *const texts[] = {
#define X(name, text) text,
        DFLOCKD_STATUSES(X)
#undef X
    };

    return (unsigned)status < DFLOCKD_STATUS_COUNT ? texts[status] : "unknown";
}

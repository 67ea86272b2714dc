#include "client/extensions.h"

struct dflockd_request extensions_probe(void)
{
    return (struct dflockd_request){.command = DFLOCKD_WAIT, .key = "dflockd-probe"};
}

void extensions_take_probe(struct extensions *extensions, const struct dflockd_reply *reply)
{
    if (reply->status == DFLOCKD_STATUS_NOT_ENQUEUED)
        extensions->survives = KNOWLEDGE_YES;
    else if (reply->status == DFLOCKD_STATUS_FAILED)
        extensions->survives = KNOWLEDGE_NO;
}

void extensions_take_name(struct extensions *extensions, const struct dflockd_reply *reply)
{
    if (reply->status == DFLOCKD_STATUS_DONE)
        extensions->name = KNOWLEDGE_YES;
    else if (reply->status == DFLOCKD_STATUS_UNSUPPORTED)
        extensions->name = KNOWLEDGE_NO;
}

void extensions_disconnected(struct extensions *extensions, enum dflockd_command command)
{
    if (command == DFLOCKD_OWN || command >= DFLOCKD_ACQUIRE_SHARED)
        extensions->survives = KNOWLEDGE_NONE;
}

#include "client/cancel.h"

#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

void cancel_init(struct cancel *cancel)
{
    *cancel = (struct cancel){.requested = false};
    pthread_mutex_init(&cancel->mutex, NULL);
}

void cancel_free(struct cancel *cancel)
{
    pthread_mutex_destroy(&cancel->mutex);
}

bool cancel_open_call(struct cancel_call *call)
{
    atomic_init(&call->cancelled, false);
    call->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return call->descriptor >= 0;
}

void cancel_close_call(struct cancel_call *call)
{
    close(call->descriptor);
}

static void cancel_wake(struct cancel_call *call)
{
    uint64_t once = 1;

    call->cancelled = true;
    while (write(call->descriptor, &once, sizeof(once)) < 0 && errno == EINTR)
        continue;
}

void cancel_begin(struct cancel *cancel, struct cancel_call *call)
{
    pthread_mutex_lock(&cancel->mutex);
    cancel->call = call;
    if (cancel->requested)
        cancel_wake(call);
    pthread_mutex_unlock(&cancel->mutex);
}

void cancel_end(struct cancel *cancel, bool was_cancelled)
{
    pthread_mutex_lock(&cancel->mutex);
    cancel->call = NULL;
    if (was_cancelled)
        cancel->requested = false;
    pthread_mutex_unlock(&cancel->mutex);
}

void cancel_request(struct cancel *cancel)
{
    pthread_mutex_lock(&cancel->mutex);
    cancel->requested = true;
    if (cancel->call)
        cancel_wake(cancel->call);
    pthread_mutex_unlock(&cancel->mutex);
}

bool cancel_clear(struct cancel *cancel)
{
    bool requested;

    pthread_mutex_lock(&cancel->mutex);
    requested = cancel->requested;
    cancel->requested = false;
    pthread_mutex_unlock(&cancel->mutex);
    return requested;
}

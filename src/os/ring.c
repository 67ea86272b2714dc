/*
 * The only file that knows liburing.
 *
 * With SINGLE_ISSUER and DEFER_TASKRUN the kernel processes completions in one batch within our
 * system call, and does not interrupt the thread.
 */
#include "os/ring.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/time_units.h"

enum {
    BUFFER_GROUP = 0,
    RING_BUFFERS_FIRST = 64, /* doubled for the next turn if they run out */
    BACK_OFF_NS = 5000000,   /* between attempts at a refused system call */
    TRANSIENT_MAX = 16       /* EAGAIN or EBUSY in a row without such a pause */
};

/*
 * The ring's own tags start here, above addresses and small numbers. Tags of ring_hand have the
 * caller's tag in bits 32 to 47 and the descriptor below.
 */
#define TAG_OWN_MIN (UINT64_MAX << 48)
#define TAG_ALARM   UINT64_MAX

struct ring {
    struct io_uring uring;
    struct __kernel_timespec alarm_time; /* the kernel reads it on submission */
    uint64_t alarm_ns;                   /* UINT64_MAX: no alarm is set */
    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
    size_t mapped_bytes; /* of buffer_ring and the buffers behind it */
    uint32_t buffer_count;
    uint32_t buffers_offered; /* the kernel has had them; the others take no memory yet */
    uint32_t buffer_bytes;
    bool accepts_once;
    bool submitted;     /* the last turn submitted all requests */
    bool starved;       /* a receive found no buffer since the last turn */
    bool refill;        /* dropped completions may have named receive buffers */
    bool drop_reported; /* a drop was noticed before the kernel reported it with EBADR */
    uint32_t dropped;   /* completions so far, by the kernel's count */
    uint32_t refusals;  /* EAGAIN or EBUSY in a row */
    void (*report)(void *context, int error);
    void *context;
};

static size_t ring_round_to_pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static void ring_offer_buffer(struct ring *ring, uint16_t buffer, int offset)
{
    io_uring_buf_ring_add(ring->buffer_ring, ring->buffers + (size_t)buffer * ring->buffer_bytes,
                          ring->buffer_bytes, buffer, io_uring_buf_ring_mask(ring->buffer_count),
                          offset);
}

/* The kernel uses buffers in turn, so that even one client makes it touch all that it has. */
static void ring_offer_buffers(struct ring *ring, uint32_t count)
{
    uint32_t end = count < ring->buffer_count ? count : ring->buffer_count;
    int added = 0;

    while (ring->buffers_offered < end)
        ring_offer_buffer(ring, (uint16_t)ring->buffers_offered++, added++);
    io_uring_buf_ring_advance(ring->buffer_ring, added);
}

/* Gives the kernel the receive buffers that it had before, or the first ones. */
static int ring_register_buffers(struct ring *ring)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uintptr_t)ring->buffer_ring,
        .ring_entries = ring->buffer_count,
        .bgid = BUFFER_GROUP,
    };
    uint32_t count = ring->buffers_offered ? ring->buffers_offered : RING_BUFFERS_FIRST;
    int result = io_uring_register_buf_ring(&ring->uring, &registration, 0);

    if (result < 0)
        return result;
    io_uring_buf_ring_init(ring->buffer_ring);
    ring->buffers_offered = 0;
    ring_offer_buffers(ring, count);
    return 0;
}

static int ring_create_buffers(struct ring *ring, const struct ring_options *options)
{
    size_t ring_bytes = ring_round_to_pages(options->buffers * sizeof(struct io_uring_buf));
    size_t bytes = ring_bytes + (size_t)options->buffers * options->buffer_bytes;
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (mapped == MAP_FAILED)
        return -errno;
    ring->mapped_bytes = bytes;
    ring->buffer_ring = mapped;
    ring->buffers = (uint8_t *)mapped + ring_bytes;
    ring->buffer_count = options->buffers;
    ring->buffer_bytes = options->buffer_bytes;
    return ring_register_buffers(ring);
}

/*
 * Linux 6.6 to 6.8 may complete a multishot accept with a wrong descriptor under DEFER_TASKRUN
 * (axboe/liburing issue 1062). There each connection needs its own request.
 */
static bool ring_multishot_accept_is_broken(void)
{
    struct utsname kernel;
    unsigned long minor;
    char *end;

    if (uname(&kernel) < 0 || strtoul(kernel.release, &end, 10) != 6 || *end != '.')
        return false;
    minor = strtoul(end + 1, NULL, 10);
    return minor >= 6 && minor <= 8;
}

int ring_open(struct ring **opened, const struct ring_options *options)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
                 IORING_SETUP_DEFER_TASKRUN,
        .cq_entries = options->completions,
    };
    struct ring *ring = calloc(1, sizeof(*ring));
    int error;

    if (!ring)
        return -ENOMEM;
    error = io_uring_queue_init_params(options->submissions, &ring->uring, &parameters);
    if (error < 0) {
        free(ring);
        return error;
    }
    error = ring_create_buffers(ring, options);
    if (error < 0) {
        ring_close(ring);
        return error;
    }
    ring->accepts_once = ring_multishot_accept_is_broken();
    ring->alarm_ns = UINT64_MAX;
    ring->report = options->report;
    ring->context = options->context;
    /* An optimisation; the ring also works without it. */
    io_uring_register_ring_fd(&ring->uring);
    *opened = ring;
    return 0;
}

void ring_close(struct ring *ring)
{
    io_uring_queue_exit(&ring->uring);
    if (ring->buffer_ring)
        munmap(ring->buffer_ring, ring->mapped_bytes);
    free(ring);
}

static bool ring_is_disabled_by_sysctl(void)
{
    FILE *file = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    int digit = '0';

    if (file) {
        digit = getc(file);
        fclose(file);
    }
    return digit == '1' || digit == '2';
}

const char *ring_explain(int error)
{
    switch (error) {
    case -ENOSYS:
        return "this kernel has no io_uring, or a seccomp profile hides it; run Linux 6.1 or "
               "later, and allow io_uring_setup, io_uring_enter and io_uring_register";
    case -EPERM:
    case -EACCES:
        if (ring_is_disabled_by_sysctl())
            return "io_uring is switched off by the sysctl kernel.io_uring_disabled; set it to 0 "
                   "(sysctl -w kernel.io_uring_disabled=0)";
        return "io_uring is not permitted here, most likely by a container's seccomp profile; "
               "allow io_uring_setup, io_uring_enter and io_uring_register in it";
    case -EINVAL:
        return "this kernel's io_uring is too old; run Linux 6.1 or later";
    case -ENOMEM:
        return "not enough memory for io_uring, or RLIMIT_MEMLOCK is too low; raise it "
               "(ulimit -l, LimitMEMLOCK= in the unit)";
    case -EMFILE:
    case -ENFILE:
        return "no file descriptor left for io_uring; raise the limit (ulimit -n, LimitNOFILE= "
               "in the unit)";
    default:
        return strerror(-error);
    }
}

int ring_descriptor(const struct ring *ring)
{
    return ring->uring.ring_fd;
}

static void ring_back_off(const struct ring *ring, int error)
{
    static const struct timespec pause = {.tv_nsec = BACK_OFF_NS};

    if (ring->report)
        ring->report(ring->context, error);
    nanosleep(&pause, NULL);
}

/*
 * Handles the result of a system call. EINTR counts as a wake-up. After EBUSY or EAGAIN the caller
 * handles completions, which usually helps. EBADR: see ring_has_lost.
 */
static void ring_check_result(struct ring *ring, int result)
{
    if (result >= 0) {
        ring->refusals = 0;
        return;
    }
    switch (result) {
    case -EINTR:
    case -ETIME:
    case -EBADR:
        return;
    case -EAGAIN:
    case -EBUSY:
        if (++ring->refusals <= TRANSIENT_MAX)
            return;
    }
    ring_back_off(ring, result);
}

/*
 * Returns a free submission entry. If the queue is full, submits it first, and waits until the
 * kernel takes it: a request must not be lost.
 */
static struct io_uring_sqe *ring_get_entry(struct ring *ring)
{
    struct io_uring_sqe *sqe;

    while (!(sqe = io_uring_get_sqe(&ring->uring))) {
        int result = io_uring_submit(&ring->uring);

        if (result < 0)
            io_uring_get_events(&ring->uring);
        ring_check_result(ring, result);
    }
    return sqe;
}

static void ring_finish_entry(struct io_uring_sqe *sqe, uint64_t tag, uint32_t flags)
{
    io_uring_sqe_set_flags(sqe, flags);
    io_uring_sqe_set_data64(sqe, tag);
}

void ring_accept(struct ring *ring, int listener, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    if (ring->accepts_once)
        io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    else
        io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    ring_finish_entry(sqe, tag, 0);
}

void ring_receive(struct ring *ring, int descriptor, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_recv_multishot(sqe, descriptor, NULL, 0, 0);
    ring_finish_entry(sqe, tag, IOSQE_BUFFER_SELECT);
    sqe->buf_group = BUFFER_GROUP;
}

void ring_send_now(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                   uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    /*
     * DONTWAIT: the kernel tries once, during submission, without a poll or a thread. WAITALL: a
     * partial send counts as failure, which completes despite SKIP_SUCCESS, with the number of
     * bytes taken.
     */
    io_uring_prep_send(sqe, descriptor, bytes, length, MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
    ring_finish_entry(sqe, tag, IOSQE_CQE_SKIP_SUCCESS);
}

void ring_send(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
               uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_send(sqe, descriptor, bytes, length, MSG_NOSIGNAL);
    ring_finish_entry(sqe, tag, 0);
}

void ring_watch(struct ring *ring, int descriptor, uint32_t events, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_poll_add(sqe, descriptor, events);
    ring_finish_entry(sqe, tag, 0);
}

void ring_write(struct ring *ring, int descriptor, const uint8_t *bytes, uint32_t length,
                uint64_t offset, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_write(sqe, descriptor, bytes, length, offset);
    ring_finish_entry(sqe, tag, 0);
}

void ring_sync(struct ring *ring, int descriptor, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_fsync(sqe, descriptor, 0);
    ring_finish_entry(sqe, tag, 0);
}

void ring_cancel_counted(struct ring *ring, int descriptor, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_cancel_fd(sqe, descriptor, IORING_ASYNC_CANCEL_ALL);
    ring_finish_entry(sqe, tag, 0);
}

void ring_cancel_tag(struct ring *ring, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_cancel64(sqe, tag, IORING_ASYNC_CANCEL_ALL);
    ring_finish_entry(sqe, 0, IOSQE_CQE_SKIP_SUCCESS);
}

void ring_close_descriptor(struct ring *ring, int descriptor)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_close(sqe, descriptor);
    ring_finish_entry(sqe, 0, IOSQE_CQE_SKIP_SUCCESS);
}

void ring_poke(struct ring *ring, int target, uint64_t tag, uint64_t failure_tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    io_uring_prep_msg_ring(sqe, target, 0, tag, 0);
    ring_finish_entry(sqe, failure_tag, IOSQE_CQE_SKIP_SUCCESS);
}

void ring_hand(struct ring *ring, int target, int descriptor, uint64_t tag)
{
    struct io_uring_sqe *sqe = ring_get_entry(ring);

    assert(tag < RING_HAND_TAGS);
    io_uring_prep_msg_ring(sqe, target, (uint32_t)descriptor, tag, 0);
    ring_finish_entry(sqe, TAG_OWN_MIN | tag << 32 | (uint32_t)descriptor, IOSQE_CQE_SKIP_SUCCESS);
}

/*
 * One timer stays in the ring from turn to turn, and changes only to fire earlier. Nearly all
 * deadlines are far off and become obsolete before they come. A timeout for each wait would set and
 * clear a hardware timer each time, which costs two exits on a virtual machine. The price is an
 * empty turn if the alarm's deadline has become obsolete.
 */
static void ring_set_alarm(struct ring *ring, uint64_t until_ns)
{
    struct io_uring_sqe *sqe;

    if (until_ns >= ring->alarm_ns)
        return;
    sqe = ring_get_entry(ring);
    ring->alarm_time = (struct __kernel_timespec){
        .tv_sec = (int64_t)(until_ns / NS_PER_S),
        .tv_nsec = (int64_t)(until_ns % NS_PER_S),
    };
    if (ring->alarm_ns == UINT64_MAX) {
        io_uring_prep_timeout(sqe, &ring->alarm_time, 0, IORING_TIMEOUT_ABS);
        ring_finish_entry(sqe, TAG_ALARM, 0);
    } else {
        /* Fails if the alarm has just fired; then its completion ends the wait. */
        io_uring_prep_timeout_update(sqe, &ring->alarm_time, TAG_ALARM, IORING_TIMEOUT_ABS);
        ring_finish_entry(sqe, 0, IOSQE_CQE_SKIP_SUCCESS);
    }
    ring->alarm_ns = until_ns;
}

/*
 * Returns whether completions were dropped before a turn's system call returned `result`. The
 * kernel reports drops once, as EBADR, in a later turn that submits nothing. Its count of drops, in
 * the cache line of the queue's flags, is current.
 */
static bool ring_has_lost(struct ring *ring, int result)
{
    uint32_t dropped = *ring->uring.cq.koverflow;

    if (dropped != ring->dropped) {
        ring->dropped = dropped;
        ring->drop_reported = result != -EBADR;
        return true;
    }
    if (result != -EBADR)
        return false;
    if (ring->drop_reported) {
        ring->drop_reported = false;
        return false;
    }
    return true;
}

/* Resets the state that may depend on a dropped completion. */
static void ring_recover(struct ring *ring)
{
    ring->refill = true;
    if (ring->alarm_ns != UINT64_MAX) {
        struct io_uring_sqe *sqe = ring_get_entry(ring);

        io_uring_prep_timeout_remove(sqe, TAG_ALARM, 0);
        ring_finish_entry(sqe, 0, IOSQE_CQE_SKIP_SUCCESS);
        ring->alarm_ns = UINT64_MAX;
    }
}

/*
 * A buffer of a dropped completion is lost until all are registered again. At that time no pending
 * completion may name a buffer.
 */
static void ring_refill_buffers(struct ring *ring)
{
    int error;

    if (io_uring_cq_ready(&ring->uring) > 0 || io_uring_cq_has_overflow(&ring->uring))
        return;
    io_uring_unregister_buf_ring(&ring->uring,
                                 BUFFER_GROUP); /* fails if the last attempt succeeded in this */
    error = ring_register_buffers(ring);
    if (error < 0)
        ring_back_off(ring, error);
    else
        ring->refill = false;
}

void ring_submit(struct ring *ring)
{
    if (io_uring_sq_ready(&ring->uring) > 0)
        ring_check_result(ring, io_uring_submit(&ring->uring));
}

bool ring_turn(struct ring *ring, uint64_t until_ns)
{
    bool lost;
    int result;

    if (ring->refill)
        ring_refill_buffers(ring);
    if (ring->starved)
        ring_offer_buffers(ring, 2 * ring->buffers_offered);
    ring->starved = false;
    if (until_ns == 0) {
        result = io_uring_submit_and_get_events(&ring->uring);
    } else {
        ring_set_alarm(ring, until_ns);
        result = io_uring_submit_and_wait(&ring->uring, 1);
    }
    ring->submitted = io_uring_sq_ready(&ring->uring) == 0;
    lost = ring_has_lost(ring, result);
    ring_check_result(ring, result);
    if (lost)
        ring_recover(ring);
    return !lost;
}

uint64_t ring_alarm(const struct ring *ring)
{
    return ring->alarm_ns;
}

static bool ring_take_completion(struct ring *ring, struct completion *completion)
{
    struct io_uring_cq *queue = &ring->uring.cq;
    unsigned head = *queue->khead;
    const struct io_uring_cqe *cqe;

    if (head == io_uring_smp_load_acquire(queue->ktail))
        return false;
    cqe = &queue->cqes[head & queue->ring_mask];
    completion->tag = cqe->user_data;
    completion->result = cqe->res;
    completion->more = cqe->flags & IORING_CQE_F_MORE;
    completion->buffer = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
    completion->bytes = NULL;
    if (cqe->flags & IORING_CQE_F_BUFFER)
        completion->bytes = ring->buffers + (size_t)completion->buffer * ring->buffer_bytes;
    io_uring_smp_store_release(queue->khead, head + 1);
    if (completion->result == -ENOBUFS)
        ring->starved = true;
    return true;
}

uint64_t ring_ahead(const struct ring *ring, uint32_t count)
{
    const struct io_uring_cq *queue = &ring->uring.cq;
    unsigned head = *queue->khead;
    uint64_t tag;

    if (io_uring_smp_load_acquire(queue->ktail) - head <= count)
        return 0;
    tag = queue->cqes[(head + count) & queue->ring_mask].user_data;
    return tag < TAG_OWN_MIN ? tag : 0;
}

bool ring_next(struct ring *ring, struct completion *completion)
{
    while (ring_take_completion(ring, completion)) {
        if (completion->tag < TAG_OWN_MIN)
            return true;
        if (completion->tag != TAG_ALARM) { /* ring_hand failed */
            completion->result = (int32_t)(uint32_t)completion->tag;
            completion->tag = completion->tag >> 32 & (RING_HAND_TAGS - 1);
            return true;
        }
        /* ECANCELED: ring_recover removed this alarm, and another one may be set since. */
        if (completion->result != -ECANCELED)
            ring->alarm_ns = UINT64_MAX;
    }
    return false;
}

void ring_return_buffer(struct ring *ring, uint16_t buffer)
{
    ring_offer_buffer(ring, buffer, 0);
    io_uring_buf_ring_advance(ring->buffer_ring, 1);
}

bool ring_settled(const struct ring *ring)
{
    return ring->submitted && !io_uring_cq_has_overflow(&ring->uring) &&
           *ring->uring.cq.koverflow == ring->dropped;
}

/*
 * For LD_PRELOAD: injects io_uring errors. RING_FAULTS names a file with a struct faults (see
 * ring_faults.py), which can change at any time. The library replaces the functions of liburing
 * that submit and wait, and counts events into the same file.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct faults {
    /* Orders. A fault ends when its count reaches 0. */
    _Atomic int64_t turn_error;   /* a turn returns this negative errno without a system call */
    _Atomic int64_t turn_skip;    /* turns before the first failing one */
    _Atomic int64_t turn_every;   /* one of this many turns fails */
    _Atomic int64_t turn_count;   /* turns that fail */
    _Atomic int64_t submit_error; /* the same for io_uring_submit and io_uring_get_events */
    _Atomic int64_t submit_count;
    _Atomic int64_t spoil_opcode; /* requests with this opcode get no descriptor and fail */
    _Atomic int64_t spoil_every;  /* one of this many such requests fails */
    _Atomic int64_t spoil_count;
    _Atomic int64_t drop_count; /* turns whose completions are dropped */

    /* Counters. */
    _Atomic int64_t turns;
    _Atomic int64_t failed;
    _Atomic int64_t spoiled;
    _Atomic int64_t dropped;  /* completions */
    _Atomic int64_t receives; /* submitted */
};

static struct faults *map_faults(void)
{
    static _Atomic(struct faults *) shared;

    if (!shared) {
        const char *path = getenv("RING_FAULTS");
        int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *mapped =
            mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

        if (mapped == MAP_FAILED)
            abort();
        close(file);
        shared = mapped;
    }
    return shared;
}

/* Decrements `count`. Returns 0 if it was 0 already. */
static int take_one(_Atomic int64_t *count)
{
    int64_t left = *count;

    while (left > 0) {
        if (atomic_compare_exchange_weak(count, &left, left - 1))
            return 1;
    }
    return 0;
}

static void *find_next(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (!function)
        abort();
    return function;
}

/* Counts receives among the requests about to be submitted, and spoils requests. */
static void spoil_requests(struct io_uring *ring)
{
    static _Atomic int64_t seen;
    struct io_uring_sq *queue = &ring->sq;

    for (unsigned at = queue->sqe_head; at != queue->sqe_tail; at++) {
        struct io_uring_sqe *sqe = &queue->sqes[at & *queue->kring_mask];

        if (sqe->opcode == IORING_OP_RECV)
            map_faults()->receives++;
        if (map_faults()->spoil_count > 0 && sqe->opcode == map_faults()->spoil_opcode &&
            ++seen % map_faults()->spoil_every == 0 && take_one(&map_faults()->spoil_count)) {
            sqe->fd = -1;
            map_faults()->spoiled++;
        }
    }
}

/* Drops completions as a kernel without memory does. `result` is the result of the turn. */
static int drop_completions(struct io_uring *ring, int result)
{
    static _Thread_local int due;
    struct io_uring_cq *queue = &ring->cq;
    unsigned count = *queue->ktail - *queue->khead;

    if (count > 0 && take_one(&map_faults()->drop_count)) {
        *queue->khead += count;
        *queue->koverflow += count;
        map_faults()->dropped += count;
        due = 1;
    }
    /* The kernel reports the drop once, in a turn that submits nothing. */
    if (due && result == 0) {
        due = 0;
        return -EBADR;
    }
    return result;
}

static int take_failure(void)
{
    struct faults *orders = map_faults();

    orders->turns++;
    if (orders->turn_count == 0 || take_one(&orders->turn_skip) ||
        orders->turns % orders->turn_every != 0 || !take_one(&orders->turn_count))
        return 0;
    orders->failed++;
    return 1;
}

int io_uring_submit_and_wait(struct io_uring *ring, unsigned count)
{
    int (*real)(struct io_uring *, unsigned) = find_next("io_uring_submit_and_wait");

    if (take_failure())
        return (int)map_faults()->turn_error;
    spoil_requests(ring);
    return drop_completions(ring, real(ring, count));
}

int io_uring_submit_and_get_events(struct io_uring *ring)
{
    int (*real)(struct io_uring *) = find_next("io_uring_submit_and_get_events");

    if (take_failure())
        return (int)map_faults()->turn_error;
    spoil_requests(ring);
    return drop_completions(ring, real(ring));
}

int io_uring_submit(struct io_uring *ring)
{
    int (*real)(struct io_uring *) = find_next("io_uring_submit");

    if (take_one(&map_faults()->submit_count)) {
        map_faults()->failed++;
        return (int)map_faults()->submit_error;
    }
    spoil_requests(ring);
    return real(ring);
}

int io_uring_get_events(struct io_uring *ring)
{
    int (*real)(struct io_uring *) = find_next("io_uring_get_events");

    return map_faults()->submit_count > 0 ? (int)map_faults()->submit_error : real(ring);
}

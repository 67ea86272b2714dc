/*
 * Server-side sessions over real stripes. The first byte of the input selects the server's options.
 * Operations of some bytes each follow, on six peers and their one or three workers. The fuzzer is
 * the workers: it passes bytes, delivers effects, sets the time and closes connections, as
 * server/connections.c does, and it receives the replies.
 *
 * Checks: the tables are valid and no wake-up is lost; a peer gets one answer for each request, in
 * their order, with a word that fits; in the end no client waits, nothing is held and all memory is
 * returned. Entropy is a counter, so an input always does the same.
 */
#include "fuzz.h"

#include <sys/random.h>

#include "lock_requests.h"
#include "server/connection_id.h"
#include "session_driver.h"

#define SECOND  UINT64_C(1000000000)
#define NOW_MAX (4000000000 * SECOND) /* the end of the longest lease fits in 64 bits then */
#define FOREVER (14000000000 * SECOND)

enum {
    INPUT_MAX = 4096,
    PEERS = 6,
    WORKERS_MOST = 3,
    TOKENS = 8,
    TOKEN_TEXT = DFLOCKD_TOKEN_LENGTH + 1,
    BACKLOG_MOST = 96 * 1024,
    INPUT_BYTES = 512 * 1024, /* more than the operations of one run send */
    REPLY_BYTES = 1024 * 1024,
    EFFECTS_MOST = 64, /* one for each peer, and those of disconnected peers */
    CHECK_EACH = 8,
    STATES_FEW = 3,
    CLAIMS_FEW = 6,
    CLAIMS_FEW_EACH = 3,
    STATES_MANY = 10000,
    FENCES_FEW = 24, /* at first, and whenever more are stored */
    GC_S = 5,
    IDLE_S = 60,
    DEFAULT_LEASE_S = 33
};

static const char secret[] = "secret";
static const char admin_secret[] = "admin";

/* ---- entropy ---- */

static uint64_t entropy_state;

/* Replaces the system's function. */
ssize_t getrandom(void *buffer, size_t length, unsigned int flags)
{
    uint8_t *to = buffer;

    (void)flags;
    for (size_t i = 0; i < length; i++) {
        entropy_state = entropy_state * 6364136223846793005 + 1442695040888963407;
        to[i] = (uint8_t)(entropy_state >> 56);
    }
    return (ssize_t)length;
}

/* ---- memory that counts and runs out ---- */

struct heap_of_blocks {
    uint64_t bytes; /* allocated now */
    uint64_t left;  /* calls that will succeed */
};

static void *block_allocate(void *context, size_t size, size_t alignment)
{
    struct heap_of_blocks *blocks = context;
    void *block;

    if (blocks->left == 0)
        return NULL;
    if (blocks->left != UINT64_MAX)
        blocks->left--;
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    must(posix_memalign(&block, alignment, size) == 0, "there is memory");
    blocks->bytes += size;
    return block;
}

static void block_release(void *context, void *block, size_t size)
{
    struct heap_of_blocks *blocks = context;

    must(blocks->bytes >= size, "no more is released than was allocated");
    blocks->bytes -= size;
    free(block);
}

/* ---- the world ---- */

/* A request that the session has consumed. */
struct sent_request {
    bool valid;
    enum dflockd_command command;
    bool administrator; /* an `auth` with the administrators' secret */
    uint64_t fence;     /* of a release or of a revocation */
    uint64_t lease_s;
};

struct fuzz_peer {
    struct peer driven;
    bool may_be_silent; /* the read timeout does not run: the client holds or waits */
    bool authenticated; /* as its replies say */
    bool administrator;
    struct sent_request *requests;
    size_t answered_count;
    size_t request_count; /* answered ones included */
};

struct world {
    struct heap_of_blocks blocks;
    struct memory memory;
    struct driver driver;
    uint64_t sleeps_until_ns[WORKERS_MOST];
    uint64_t woken; /* workers that must wake */
    bool few;       /* states and fences */
    bool auth;
    bool administrators; /* have a secret */
    uint64_t now_ns;
    uint32_t checks;
    struct fuzz_peer peers[PEERS];
    char tokens[TOKENS][TOKEN_TEXT]; /* of the last grants */
    uint32_t token_count;
    uint64_t granted[INPUT_MAX]; /* fences of grants that a peer received and no peer released */
    uint32_t granted_count;
};

static struct world world;
static uint8_t inputs[PEERS][INPUT_BYTES];
static char replies[PEERS][REPLY_BYTES];

static uint32_t worker_of(const struct fuzz_peer *peer)
{
    return (uint32_t)(peer - world.peers) % world.driver.worker_count;
}

static struct session_context *context_of(const struct fuzz_peer *peer)
{
    return &world.driver.workers[worker_of(peer)].context;
}

static struct mailbox *mailbox_of(uint32_t worker)
{
    return stripes_mailbox(world.driver.stripes, worker);
}

static void world_start(uint8_t kind)
{
    struct driver_options options = {
        .stripes =
            {
                .workers = kind & 1 ? WORKERS_MOST : 1,
                .policy = {.waiters_max = kind & 2 ? 2 : 0,
                           .gc_max_idle_ns = kind & 4 ? 0 : IDLE_S * SECOND,
                           .gc_interval_ns = GC_S * SECOND,
                           .release_on_disconnect = !(kind & 8)},
                .states_max = kind & 16 ? STATES_FEW : STATES_MANY,
                .claims_max = kind & 2 ? CLAIMS_FEW : 0,
                .fence_first = 1,
                .fence_ceiling = kind & 16 ? 1 + FENCES_FEW : 0,
            },
        .effects_max = EFFECTS_MOST,
        .default_lease_s = DEFAULT_LEASE_S,
        .claims_max = kind & 2 ? CLAIMS_FEW_EACH : 0,
        .now_ns = SECOND,
        .auth_token = kind & 32 ? secret : NULL,
        .admin_token = kind & 64 ? admin_secret : NULL,
    };

    memset(&world, 0, sizeof(world));
    entropy_state = 1;
    world.blocks.left = UINT64_MAX;
    world.memory = (struct memory){block_allocate, block_release, &world.blocks};
    world.few = kind & 16;
    world.auth = kind & 32;
    world.administrators = kind & 64;
    world.now_ns = options.now_ns;
    options.workers = options.stripes.workers;
    options.stripes.memory = world.memory;
    for (uint32_t worker = 0; worker < options.workers; worker++)
        options.output_memory[worker] = &world.memory;
    driver_start(&world.driver, &options);
    for (uint32_t i = 0; i < PEERS; i++)
        world.peers[i].driven = (struct peer){.input = inputs[i],
                                              .input_max = INPUT_BYTES,
                                              .replies = replies[i],
                                              .replies_max = REPLY_BYTES};
}

/* ---- replies ---- */

#define BIT(outcome) (1u << DFLOCKD_##outcome)

/* The outcomes of a request, without those of any request. */
static uint32_t words_for(const struct sent_request *request)
{
    switch (request->command) {
    case DFLOCKD_SEMAPHORE_ACQUIRE:
    case DFLOCKD_ACQUIRE:
    case DFLOCKD_ACQUIRE_SHARED:
        return BIT(OK) | BIT(TIMEOUT) | BIT(ERROR_MAX_LOCKS) | BIT(ERROR_MAX_WAITERS) |
               BIT(ERROR_LEASE_EXPIRED) |
               (command_of_semaphores(request->command) ? BIT(ERROR_LIMIT_MISMATCH) : 0);
    case DFLOCKD_SEMAPHORE_ENQUEUE:
    case DFLOCKD_ENQUEUE:
    case DFLOCKD_ENQUEUE_SHARED:
        return BIT(ACQUIRED) | BIT(QUEUED) | BIT(ERROR_ALREADY_ENQUEUED) | BIT(ERROR_MAX_LOCKS) |
               BIT(ERROR_MAX_WAITERS) |
               (command_of_semaphores(request->command) ? BIT(ERROR_LIMIT_MISMATCH) : 0);
    case DFLOCKD_SEMAPHORE_WAIT:
    case DFLOCKD_WAIT:
        return BIT(OK) | BIT(TIMEOUT) | BIT(ERROR_NOT_ENQUEUED) | BIT(ERROR_LEASE_EXPIRED);
    default:
        return BIT(OK);
    }
}

static int outcome_of(const char *word, size_t length)
{
    static const char *const words[] = {
#define X(name, text) [DFLOCKD_##name] = (text),
        DFLOCKD_OUTCOMES(X)
#undef X
    };

    for (int outcome = 0; outcome < DFLOCKD_OUTCOME_COUNT; outcome++) {
        if (strlen(words[outcome]) == length && memcmp(words[outcome], word, length) == 0)
            return outcome;
    }
    return -1;
}

static uint64_t lease_in(const char *text)
{
    char *end;
    uint64_t lease_s = strtoull(text, &end, 10);

    must(text[0] >= '1' && text[0] <= '9' && *end == '\0' && lease_s <= DFLOCKD_SECONDS_MAX,
         "a reply's lease is a number within its limits");
    return lease_s;
}

/* `e` and `w` can return the same fence. */
static void remember_fence(uint64_t fence)
{
    for (uint32_t i = 0; i < world.granted_count; i++) {
        if (world.granted[i] == fence)
            return;
    }
    must(world.granted_count < INPUT_MAX, "there are fewer grants than bytes");
    world.granted[world.granted_count++] = fence;
}

static void forget_fence(uint64_t fence)
{
    for (uint32_t i = 0; i < world.granted_count; i++) {
        if (world.granted[i] == fence)
            world.granted[i] = world.granted[--world.granted_count];
    }
}

static void check_grant(const struct sent_request *request, const char *rest)
{
    bool waited = request->command == DFLOCKD_WAIT || request->command == DFLOCKD_SEMAPHORE_WAIT;
    char fence[DFLOCKD_TOKEN_LENGTH / 2 + 1] = "";
    uint64_t lease_s;

    must(strspn(rest, "0123456789abcdef") == DFLOCKD_TOKEN_LENGTH &&
             rest[DFLOCKD_TOKEN_LENGTH] == ' ',
         "a token has 32 digits");
    lease_s = lease_in(rest + DFLOCKD_TOKEN_LENGTH + 1);
    must(waited || lease_s == request->lease_s, "a grant has the lease of its request");
    memcpy(fence, rest, sizeof(fence) - 1);
    remember_fence(strtoull(fence, NULL, 16));
    memcpy(world.tokens[world.token_count++ % TOKENS], rest, DFLOCKD_TOKEN_LENGTH);
}

static void check_json(const char *json, const char *start)
{
    bool quoted = false;
    int depth = 0;

    must(strncmp(json, start, strlen(start)) == 0, "an object begins with its first member");
    for (const char *at = json; *at; at++) {
        must((uint8_t)*at >= ' ', "an object is one line");
        if (quoted && *at == '\\')
            at++;
        else if (*at == '"')
            quoted = !quoted;
        else if (!quoted && (*at == '{' || *at == '['))
            depth++;
        else if (!quoted && (*at == '}' || *at == ']'))
            depth--;
        must(depth > 0 || at[1] == '\0', "a body is one object");
    }
    must(!quoted && depth == 0, "an object is whole");
}

static void check_answer(struct fuzz_peer *peer, const struct sent_request *request, int outcome,
                         const char *rest)
{
    bool unauthenticated = world.auth && !peer->authenticated;

    must(outcome != DFLOCKD_ERROR_AUTH || unauthenticated ||
             (world.administrators && request && request->command == DFLOCKD_AUTH),
         "error_auth is for those without auth, or who send a wrong secret");
    must(outcome != DFLOCKD_ERROR || !unauthenticated, "a peer without auth gets error_auth");
    if (outcome == DFLOCKD_ERROR || outcome == DFLOCKD_ERROR_AUTH ||
        outcome == DFLOCKD_ERROR_DRAINING) {
        must(!rest, "an error is a word");
        return;
    }
    must(request && request->valid, "an invalid request gets an error");
    must(words_for(request) & 1u << outcome, "an answer fits its request");
    if (request->command == DFLOCKD_AUTH)
        peer->authenticated = true;
    peer->administrator |= request->administrator;
    if (outcome == DFLOCKD_ACQUIRED || (outcome == DFLOCKD_OK && words_for(request) != BIT(OK))) {
        must(rest, "a grant has a token");
        check_grant(request, rest);
    } else if (request->command == DFLOCKD_RENEW || request->command == DFLOCKD_SEMAPHORE_RENEW) {
        must(rest && lease_in(rest) == request->lease_s, "a renewal has the lease of its request");
    } else if (request->command == DFLOCKD_STATS) {
        must(rest, "stats have a body");
        check_json(rest, "{\"connections\":");
    } else if (request->command == DFLOCKD_SHOW) {
        must(rest, "a key that is shown has a body");
        check_json(rest, "{\"key\":\"");
    } else {
        must(!rest, "any other answer is a word");
        must(request->command != DFLOCKD_REVOKE || peer->administrator,
             "an administrator has revoked");
        if (request->command == DFLOCKD_RELEASE || request->command == DFLOCKD_SEMAPHORE_RELEASE ||
            request->command == DFLOCKD_REVOKE)
            forget_fence(request->fence);
    }
}

static void check_line(struct fuzz_peer *peer, const char *line, size_t length)
{
    size_t word = strcspn(line, " ");
    int outcome = outcome_of(line, word);
    const struct sent_request *request = NULL;

    must(strlen(line) == length, "a reply has no NUL");
    must(outcome >= 0, "a reply begins with a known word");
    if (peer->answered_count < peer->request_count)
        request = &peer->requests[peer->answered_count++];
    else
        must(peer->driven.session.state == SESSION_OVER, "there is a request for each answer");
    check_answer(peer, request, outcome, line[word] ? line + word + 1 : NULL);
}

/* Receives up to `most` bytes of the output. Keeps a part of a reply until the rest comes. */
static void take_output(struct fuzz_peer *peer, size_t most)
{
    struct peer *driven = &peer->driven;
    char *line = driven->replies;
    char *end;

    driver_take_output(&world.driver, driven, most);
    while ((end = memchr(line, '\n', driven->reply_length))) {
        *end = '\0';
        check_line(peer, line, (size_t)(end - line));
        driven->reply_length -= (size_t)(end + 1 - line);
        line = end + 1;
    }
    memmove(driven->replies, line, driven->reply_length);
}

/* Receives all output: each request has a reply, except one that is pending. */
static void check_replies(struct fuzz_peer *peer)
{
    size_t open;
    bool answering = peer->driven.session.state == SESSION_BLOCKED ||
                     peer->driven.session.state == SESSION_STATS;

    take_output(peer, SIZE_MAX);
    open = peer->request_count - peer->answered_count;
    if (peer->driven.output.failed)
        return;
    must(open == answering, "each request has its answer");
    must(peer->driven.session.administrator == peer->administrator,
         "an administrator has sent the secret");
    must(peer->driven.reply_length == 0 || peer->driven.session.state == SESSION_STATS,
         "a reply has an end");
}

/* ---- peers, as server/connections.c has them ---- */

static void open_peer(struct fuzz_peer *peer)
{
    uint32_t index = (uint32_t)(peer - world.peers);

    /* A slot is free when all effects for its last connection were delivered. */
    if (peer->driven.state != PEER_GONE || mailbox_of(worker_of(peer))->count > 0)
        return;
    peer->may_be_silent = false;
    peer->authenticated = peer->administrator = false;
    peer->answered_count = peer->request_count = 0;
    driver_connect(&world.driver, &peer->driven, index);
}

static void start_leaving(struct fuzz_peer *peer)
{
    if (peer->driven.state == PEER_OPEN)
        peer->driven.state = PEER_LEAVING;
}

/* Does some steps of the disconnect; after the last one the peer is gone. */
static void continue_leaving(struct fuzz_peer *peer, uint32_t steps)
{
    if (peer->driven.state != PEER_LEAVING ||
        !driver_disconnect(&world.driver, &peer->driven, steps))
        return;
    check_replies(peer);
    output_clear(&peer->driven.output, context_of(peer)->output_pool);
    free(peer->requests);
    peer->requests = NULL;
}

/* Remembers the requests in what the session consumed. */
static void note_requests(struct fuzz_peer *peer, const uint8_t *bytes, size_t length)
{
    struct request request;
    struct request_frame frame;

    while ((frame = request_read(bytes, length, &request)).framing == REQUEST_COMPLETE) {
        bool lease = request.valid && request.lease_s > 0;

        peer->requests =
            realloc(peer->requests, (peer->request_count + 1) * sizeof(*peer->requests));
        must(peer->requests, "there is memory");
        peer->requests[peer->request_count++] = (struct sent_request){
            .valid = request.valid,
            .command = request.command,
            .administrator = request.valid && request.command == DFLOCKD_AUTH &&
                             request.secret.length == strlen(admin_secret) &&
                             memcmp(request.secret.bytes, admin_secret, strlen(admin_secret)) == 0,
            .fence = request.valid ? request.fence : 0,
            .lease_s = lease ? request.lease_s : DEFAULT_LEASE_S,
        };
        bytes += frame.length;
        length -= frame.length;
    }
}

/* Acts on the session's want. */
static void act_on_want(struct fuzz_peer *peer)
{
    enum peer_action action = driver_next_action(&peer->driven);

    if (action == PEER_END_INPUT)
        session_input_ended(&peer->driven.session, context_of(peer), &peer->driven.output);
    if (action != PEER_STAY)
        start_leaving(peer);
}

/* One call of the session with all received bytes, and the actions that its result needs. */
static void read_on(struct fuzz_peer *peer)
{
    const uint8_t *bytes = peer->driven.input + peer->driven.start;
    struct session_progress progress = driver_read(&world.driver, &peer->driven);

    must(progress.lines < 3, "a request of three lines is complete");
    note_requests(peer, bytes, progress.consumed);
    peer->may_be_silent = false;
    must(!peer->driven.output.failed || progress.want == SESSION_WANT_CLOSE ||
             progress.want == SESSION_WANT_TURN,
         "a session that lost a reply serves no request");
    act_on_want(peer);
}

static void receive_bytes(struct fuzz_peer *peer, const void *bytes, size_t length)
{
    if (peer->driven.state != PEER_OPEN || peer->driven.input_ended ||
        peer->driven.end - peer->driven.start + length > BACKLOG_MOST)
        return;
    driver_add_input(&peer->driven, bytes, length);
    if (peer->driven.want == SESSION_WANT_INPUT)
        read_on(peer);
}

static void end_input(struct fuzz_peer *peer)
{
    if (peer->driven.state != PEER_OPEN || peer->driven.input_ended)
        return;
    peer->driven.input_ended = true;
    act_on_want(peer);
}

/* A turn of a peer that waits for one, or for room. */
static void take_turn(struct fuzz_peer *peer)
{
    if (peer->driven.state == PEER_OPEN && driver_can_continue(&peer->driven))
        read_on(peer);
}

/* Returns whether the mailbox has an answer for `peer`, or a notice. */
static bool effect_is_pending(const struct fuzz_peer *peer, bool notice)
{
    const struct mailbox *mailbox = mailbox_of(worker_of(peer));

    for (uint32_t i = 0; i < mailbox->count; i++) {
        uint32_t index = (mailbox->first + i) & (mailbox->capacity - 1);
        struct stripes_effect effect;

        memcpy(&effect, mailbox->messages + index * mailbox->message_bytes, sizeof(effect));
        if (effect.connection_id == peer->driven.session.claims.connection_id &&
            (effect.answer.outcome == LOCK_IDLE) == notice)
            return true;
    }
    return false;
}

static void drain_all(void)
{
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++)
        world.driver.workers[worker].context.draining = true;
    for (struct fuzz_peer *peer = world.peers; peer < world.peers + PEERS; peer++) {
        bool blocked = peer->driven.session.state == SESSION_BLOCKED;

        if (peer->driven.state != PEER_OPEN)
            continue;
        if (driver_drain(&world.driver, &peer->driven))
            read_on(peer);
        else
            must(!blocked || effect_is_pending(peer, false),
                 "a blocked client without an effect is in a queue");
    }
}

/* ---- workers ---- */

/* LOCK_IDLE: the read timeout runs again if the client no longer holds a lock. */
static void handle_idle(struct fuzz_peer *peer)
{
    claims_notice(&peer->driven.session.claims);
    if (peer->driven.want == SESSION_WANT_INPUT && peer->may_be_silent)
        peer->may_be_silent = claims_watch(&peer->driven.session.claims, context_of(peer));
}

/* Delivers up to `most` effects. */
static void deliver_effects(uint32_t worker, uint32_t most)
{
    struct stripes_effect effect;

    while (most-- > 0 && driver_take_effect(&world.driver, worker, &effect)) {
        uint32_t index = driver_index_of(&world.driver, &effect);
        struct fuzz_peer *peer = &world.peers[index];

        must(index < PEERS, "an effect is for a slot in use");
        if (!driver_is_for(&effect, &peer->driven))
            continue;
        if (effect.answer.outcome == LOCK_IDLE) {
            handle_idle(peer);
            continue;
        }
        must(peer->driven.session.state == SESSION_BLOCKED, "an answer is for a blocked session");
        session_effect(&peer->driven.session, context_of(peer), &effect.answer,
                       &peer->driven.output);
        read_on(peer);
    }
    if (mailbox_of(worker)->count == 0)
        world.woken &= ~(1ull << worker);
}

/* Effects are delivered before timeouts, as in a worker. */
static void read_timed_out(struct fuzz_peer *peer)
{
    deliver_effects(worker_of(peer), UINT32_MAX);
    if (peer->driven.state != PEER_OPEN || peer->driven.want != SESSION_WANT_INPUT ||
        peer->may_be_silent)
        return;
    peer->may_be_silent = peer->driven.start == peer->driven.end &&
                          peer->driven.session.state == SESSION_READY &&
                          claims_watch(&peer->driven.session.claims, context_of(peer));
    if (peer->may_be_silent)
        return;
    session_fail(&peer->driven.session, context_of(peer), &peer->driven.output);
    start_leaving(peer);
}

static void advance_clock(uint32_t worker, uint8_t by)
{
    if (by < 64)
        world.now_ns += by * SECOND / 10;
    else if (by < 224)
        world.now_ns += (by - 63u) * SECOND;
    else
        world.now_ns += 60 * SECOND << (by - 224u) / 2;
    if (world.now_ns > NOW_MAX)
        world.now_ns = NOW_MAX;
    world.driver.workers[worker].context.now_ns = world.now_ns;
}

static void expire_deadlines(uint32_t worker, uint32_t steps)
{
    struct session_context *context = &world.driver.workers[worker].context;

    stripes_awake(world.driver.stripes, worker);
    world.sleeps_until_ns[worker] = 0;
    context->now_ns = world.now_ns;
    stripes_expire(world.driver.stripes, context->now_ns, worker, &steps, &context->wake);
}

/* ---- what must hold after each operation ---- */

static void check_workers(void)
{
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++) {
        world.woken |= world.driver.workers[worker].context.wake;
        world.driver.workers[worker].context.wake = 0;
    }
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++) {
        uint64_t until_ns = stripes_sleep(world.driver.stripes, worker, UINT64_MAX);
        bool woken = world.woken >> worker & 1;

        must(woken || mailbox_of(worker)->count == 0, "a worker with effects to deliver is woken");
        must(woken || world.driver.worker_count == 1 || until_ns >= world.sleeps_until_ns[worker],
             "a worker that sleeps beyond a deadline is woken");
        world.sleeps_until_ns[worker] = until_ns;
    }
    must(world.woken >> world.driver.worker_count == 0, "only workers are woken");
}

static void check_tables(void)
{
    const char *problem = NULL;

    if (!stripes_check(world.driver.stripes, &problem))
        must(false, problem);
}

/* Checks one table after each operation, and many tables after CHECK_EACH operations. */
static void check_world(void)
{
    if (world.driver.worker_count == 1 || ++world.checks % CHECK_EACH == 0)
        check_tables();
    check_workers();
}

/* A peer that may be silent holds or waits, or gets LOCK_IDLE. */
static void check_unhurried(struct fuzz_peer *peer)
{
    must(peer->driven.state != PEER_OPEN || !peer->may_be_silent || effect_is_pending(peer, true) ||
             stripes_watch(world.driver.stripes, peer->driven.session.claims.connection_id,
                           peer->driven.session.claims.watched_stripe),
         "a watched client that holds nothing gets a notice");
}

/* ---- operations ---- */

/* Sends a request of one who looks on, or of an administrator. */
static void send_look(struct fuzz_peer *peer, uint8_t command, uint8_t numbers)
{
    static const char *const names[] = {"a b", "\"\xc3\xab\"", "\xe2\x80\xa8", "\x7f"};
    const char *kind = numbers & 1 ? "s" : "l";
    const char *token = world.tokens[(numbers >> 4) % TOKENS];
    char text[256];
    int length;

    if (command % 4 == 0)
        length = snprintf(text, sizeof(text), "name\n_\n%s\n", names[numbers & 3]);
    else if (command % 4 == 1)
        length = snprintf(text, sizeof(text), "show\n%c\n%s\n", 'a' + (numbers >> 4) % 5, kind);
    else if (command & 8) /* fences count from 1 */
        length = snprintf(text, sizeof(text), "revoke\n%c\n%s %016x\n", 'a' + command % 4, kind,
                          numbers >> 1);
    else
        length = snprintf(text, sizeof(text), "revoke\n%c\n%s %.16s\n", 'a' + (numbers >> 1) % 5,
                          kind, token);
    receive_bytes(peer, text, (size_t)length);
}

/* Sends a request made of two bytes: command and key, and numbers. */
static void send_request(struct fuzz_peer *peer, uint8_t what, uint8_t numbers)
{
    static const char *const words[] = {
#define X(name, word) [DFLOCKD_##name] = (word),
        DFLOCKD_COMMANDS(X)
#undef X
    };
    static const char *const timeouts[] = {"0", "1", "5", "9223372036"};
    static const char *const leases[] = {"", " 1", " 7", " 9223372036"};
    static const char *const limits[] = {" 1", " 2", " 2", " 3"};
    static const char *const secrets[] = {"other", secret, admin_secret, secret};
    uint32_t command = what & 15;
    bool semaphore = command_of_semaphores((enum dflockd_command)command);
    uint32_t operation = command == DFLOCKD_ACQUIRE_SHARED   ? DFLOCKD_ACQUIRE
                         : command == DFLOCKD_ENQUEUE_SHARED ? DFLOCKD_ENQUEUE
                         : semaphore                         ? command - DFLOCKD_SEMAPHORE_ACQUIRE
                                                             : command;
    const char *timeout = timeouts[numbers & 3];
    const char *lease = leases[numbers >> 2 & 3];
    const char *limit = semaphore ? limits[numbers >> 4 & 3] : "";
    const char *token = world.tokens[(numbers >> 4) % TOKENS];
    char arg[128] = "";
    char text[256];
    int length;

    if (what >> 4 == 15) {
        send_look(peer, what & 15, numbers);
        return;
    }
    if (operation == DFLOCKD_ACQUIRE)
        snprintf(arg, sizeof(arg), "%s%s%s", timeout, limit, lease);
    else if (operation == DFLOCKD_WAIT)
        snprintf(arg, sizeof(arg), "%s", timeout);
    else if (operation == DFLOCKD_ENQUEUE)
        snprintf(arg, sizeof(arg), "%s%s", limit, lease);
    else if (operation == DFLOCKD_RELEASE)
        snprintf(arg, sizeof(arg), "%s", token);
    else if (operation == DFLOCKD_RENEW)
        snprintf(arg, sizeof(arg), "%s%s", token, lease);
    else if (command == DFLOCKD_AUTH)
        snprintf(arg, sizeof(arg), "%s", secrets[numbers & 3]);
    else if (command == DFLOCKD_OWN)
        snprintf(arg, sizeof(arg), "%s %s", numbers & 1 ? "s" : "l", token);
    length =
        snprintf(text, sizeof(text), "%s\n%c\n%s\n", words[command], 'a' + (what >> 4) % 5, arg);
    receive_bytes(peer, text, (size_t)length);
}

static void send_run(struct fuzz_peer *peer, uint8_t byte, uint8_t count)
{
    uint8_t run[UINT8_MAX];

    memset(run, byte, count);
    receive_bytes(peer, run, count);
}

static void fail_memory(uint8_t after)
{
    world.blocks.left = after < 128 ? after : UINT64_MAX;
}

/* As the fence store does after a write. */
static void add_fences(void)
{
    struct fences *fences = stripes_fences(world.driver.stripes);

    if (world.few)
        fences_raise(fences, fences_ceiling(fences) + FENCES_FEW);
}

static void operate_on_peer(struct fuzz_peer *peer, uint8_t operation, struct input *input)
{
    struct input piece;
    uint8_t byte;

    open_peer(peer);
    switch (operation) {
    case 0:
    case 1:
    case 2:
        byte = input_byte(input);
        send_request(peer, byte, input_byte(input));
        break;
    case 3:
        piece = input_take(input, input_byte(input));
        receive_bytes(peer, piece.bytes, piece.length);
        break;
    case 4:
        byte = input_byte(input);
        send_run(peer, byte, input_byte(input));
        break;
    case 5:
        receive_bytes(peer, world.tokens[input_byte(input) % TOKENS], DFLOCKD_TOKEN_LENGTH);
        break;
    case 6:
        start_leaving(peer);
        continue_leaving(peer, input_byte(input));
        break;
    case 7:
        end_input(peer);
        break;
    case 8:
        read_timed_out(peer);
        break;
    case 9:
        take_output(peer, (size_t)input_byte(input) * 16);
        break;
    default:
        take_turn(peer);
        check_unhurried(peer);
    }
}

static void run_operation(struct input *input)
{
    static const uint32_t steps[] = {3, SESSION_SHOW_MIN, UINT32_MAX};
    uint8_t byte = input_byte(input);
    uint8_t operation = byte & 15;
    uint8_t who = byte >> 4;
    uint32_t worker = who % world.driver.worker_count;

    switch (operation) {
    case 11:
        deliver_effects(worker, who & 8 ? 1 : UINT32_MAX);
        break;
    case 12:
        advance_clock(worker, input_byte(input));
        break;
    case 13:
        expire_deadlines(worker, input_byte(input));
        break;
    case 14:
        fail_memory(input_byte(input));
        break;
    case 15:
        byte = input_byte(input) % 16;
        if (byte == 1)
            drain_all();
        else if (byte >= 2 && byte <= 4)
            world.driver.steps = steps[byte - 2];
        else if (byte > 7)
            add_fences();
        break;
    default:
        operate_on_peer(&world.peers[who % PEERS], operation, input);
    }
    check_world();
}

/* ---- the end ---- */

static void count_holders(void *context, const struct lock_view *view)
{
    *(uint64_t *)context += view->holders;
}

static void show_none(void *context, const struct lock_view *view)
{
    (void)context;
    must(!view, "nothing is left");
}

static void walk_all(void (*show)(void *context, const struct lock_view *view), void *context)
{
    uint64_t position = 0;
    uint32_t stripe = 0;

    while (stripes_walk(world.driver.stripes, world.now_ns, (struct lock_walk){0}, &stripe,
                        &position, &(uint32_t){64}, show, context))
        continue;
}

/* All clients have disconnected: the remaining claims are grants that a peer received. */
static void check_holders(void)
{
    uint64_t holders = 0;

    walk_all(count_holders, &holders);
    must(holders <= world.granted_count, "every held claim is a grant that a peer received");
}

/* All states of the cap can be taken, with a fence each: none has leaked. */
static void check_budget(void)
{
    static const uint8_t names[] = "klmn";
    uint64_t wake = 0;

    for (uint32_t i = 0; i <= STATES_FEW; i++) {
        struct lock_key key = stripes_key(world.driver.stripes, LOCK_KIND_LOCK,
                                          (struct slice){.bytes = names + i, .length = 1});
        struct lock_answer answer =
            apply_to_stripes(world.driver.stripes, FOREVER,
                             acquire_request(connection_id_make(1, 0, 0), &key, 1, 0, 1), &wake);

        must(answer.outcome == (i < STATES_FEW ? DFLOCKD_OK : DFLOCKD_ERROR_MAX_LOCKS),
             "the cap on states is the same as at the start");
    }
}

/* After every timeout, each wait has its answer. */
static void wait_for_answers(void)
{
    world.now_ns = FOREVER - 2000 * SECOND;
    for (struct fuzz_peer *peer = world.peers; peer < world.peers + PEERS; peer++)
        peer->driven.start = peer->driven.end;
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++)
        expire_deadlines(worker, UINT32_MAX);
    check_world();
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++)
        deliver_effects(worker, UINT32_MAX);
    for (const struct fuzz_peer *peer = world.peers; peer < world.peers + PEERS; peer++)
        must(peer->driven.state != PEER_OPEN || peer->driven.session.state != SESSION_BLOCKED,
             "every wait ends");
}

static void world_end(uint8_t kind)
{
    world.blocks.left = UINT64_MAX;
    for (struct fuzz_peer *peer = world.peers; peer < world.peers + PEERS; peer++)
        check_unhurried(peer);
    if (kind & 64)
        drain_all();
    if (kind & 128)
        wait_for_answers();
    for (struct fuzz_peer *peer = world.peers; peer < world.peers + PEERS; peer++) {
        start_leaving(peer);
        while (peer->driven.state == PEER_LEAVING) {
            continue_leaving(peer, 1);
            check_world();
        }
    }
    check_tables();
    check_holders();
    for (world.now_ns = FOREVER - 1000 * SECOND; world.now_ns < FOREVER;
         world.now_ns += 100 * SECOND) {
        for (uint32_t worker = 0; worker < world.driver.worker_count; worker++) {
            deliver_effects(worker, UINT32_MAX);
            expire_deadlines(worker, UINT32_MAX);
        }
        check_world();
    }
    for (uint32_t worker = 0; worker < world.driver.worker_count; worker++)
        must(stripes_sleep(world.driver.stripes, worker, UINT64_MAX) == UINT64_MAX,
             "no deadline is left");
    walk_all(show_none, NULL);
    if (world.few) {
        must(fences_outstanding(stripes_fences(world.driver.stripes)) == 0,
             "no promise of a fence has leaked");
        add_fences();
        check_budget();
    }
    driver_end(&world.driver);
    must(world.blocks.bytes == 0, "all memory is released");
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
    struct input input = {.bytes = bytes, .length = length};
    uint8_t kind;

    if (length > INPUT_MAX)
        return -1;
    kind = input_byte(&input);
    world_start(kind);
    while (input.length > 0)
        run_operation(&input);
    world_end(kind);
    return 0;
}

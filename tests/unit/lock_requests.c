#include "lock_requests.h"

struct lock_request acquire_request(uint64_t connection_id, const struct lock_key *key,
                                    uint32_t limit, uint64_t wait_s, uint64_t lease_s)
{
    return (struct lock_request){.command = DFLOCKD_ACQUIRE,
                                 .connection_id = connection_id,
                                 .key = *key,
                                 .limit = limit,
                                 .wait_s = wait_s,
                                 .lease_s = lease_s};
}

struct lock_request enqueue_request(uint64_t connection_id, const struct lock_key *key,
                                    uint32_t limit, uint64_t lease_s)
{
    return (struct lock_request){.command = DFLOCKD_ENQUEUE,
                                 .connection_id = connection_id,
                                 .key = *key,
                                 .limit = limit,
                                 .lease_s = lease_s};
}

struct lock_request wait_request(uint64_t connection_id, const struct lock_key *key,
                                 uint64_t wait_s)
{
    return (struct lock_request){
        .command = DFLOCKD_WAIT, .connection_id = connection_id, .key = *key, .wait_s = wait_s};
}

struct lock_request release_request(const struct lock_key *key, struct lock_token token)
{
    return (struct lock_request){.command = DFLOCKD_RELEASE, .key = *key, .token = token};
}

struct lock_request renew_request(const struct lock_key *key, struct lock_token token,
                                  uint64_t lease_s)
{
    return (struct lock_request){
        .command = DFLOCKD_RENEW, .key = *key, .lease_s = lease_s, .token = token};
}

struct lock_request own_request(uint64_t connection_id, const struct lock_key *key,
                                struct lock_token token)
{
    return (struct lock_request){
        .command = DFLOCKD_OWN, .connection_id = connection_id, .key = *key, .token = token};
}

struct lock_answer apply_to_table(struct table *table, uint64_t now_ns, struct lock_request request)
{
    return table_apply(table, now_ns, &request);
}

struct lock_answer apply_to_stripes(struct stripes *stripes, uint64_t now_ns,
                                    struct lock_request request, uint64_t *wake)
{
    return stripes_apply(stripes, now_ns, &request, wake);
}

/*
 * Which of several servers a key belongs to. All clients must agree on that, whatever language they
 * are written in: the sum is that of zlib and of Go's crc32.ChecksumIEEE.
 */
#include <assert.h>

#include "dflockd/client.h"

#define CRC32_REVERSED_POLYNOMIAL UINT32_C(0xedb88320)

size_t dflockd_shard(const char *key, size_t server_count)
{
    uint32_t sum = UINT32_MAX;

    assert(server_count > 0);
    for (; *key; key++) {
        sum ^= (uint8_t)*key;
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? CRC32_REVERSED_POLYNOMIAL : 0);
    }
    return ~sum % server_count;
}

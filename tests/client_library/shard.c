/*
 * Reads keys, one a line. Prints the server of each among 1 to 16 servers.
 */
#include <dflockd/client.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    char key[DFLOCKD_KEY_MAX + 2];

    while (fgets(key, sizeof(key), stdin)) {
        key[strcspn(key, "\n")] = '\0';
        for (size_t servers = 1; servers <= 16; servers++)
            printf("%zu ", dflockd_shard(key, servers));
        printf("\n");
    }
    return 0;
}

/*
 * The address of a server: its text, and the socket addresses that the text stands for. Client
 * library, tool and load generator parse their servers here. They and the server resolve here.
 */
#ifndef OS_ADDRESS_H
#define OS_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    ADDRESS_TEXT_MAX = 320,
    ADDRESS_PORT_MAX = 6,
    ADDRESS_PROBLEM_MAX = ADDRESS_TEXT_MAX + 180,
    ADDRESS_LIST_MAX = 64,
    ADDRESS_CHOICES_MAX = 8 /* socket addresses of one name; further ones are ignored */
};

struct address {
    char text[ADDRESS_TEXT_MAX]; /* as the caller wrote it */
    char host[ADDRESS_TEXT_MAX]; /* a name or a number; of a Unix socket its path */
    char port[ADDRESS_PORT_MAX];
    bool is_unix;
};

struct address_choices {
    struct address_choice {
        struct sockaddr_storage socket;
        socklen_t length;
    } at[ADDRESS_CHOICES_MAX];
    uint32_t count;
};

/*
 * Parses `host`, `host:port`, `[host]:port`, an IPv6 address alone, or `unix:path`. The default
 * port is DFLOCKD_PORT. Returns false and writes the reason and a remedy to `problem` if `text` is
 * none of these.
 */
bool address_parse(struct address *address, const char *text, char problem[ADDRESS_PROBLEM_MAX]);

/*
 * Parses addresses with commas between them. Ignores spaces around an address. Returns false and
 * writes the reason to `problem` if an address is invalid or if there are more than
 * ADDRESS_LIST_MAX.
 */
bool address_parse_list(struct address addresses[ADDRESS_LIST_MAX], uint32_t *count,
                        const char *list, char problem[ADDRESS_PROBLEM_MAX]);

/* Returns the name that the server's TLS certificate must contain: the host, or "localhost" for a
 * Unix socket. Lives as long as the address. */
const char *address_tls_name(const struct address *address);

/*
 * Finds the socket addresses of an address. With `numeric_only` it never waits: it converts a path
 * or a number. Without, it looks a name up by getaddrinfo(3), which may wait. Any thread.
 *
 * Returns 0 with at least one choice, or an EAI code of getaddrinfo(3): EAI_NONAME with
 * `numeric_only` if the host is a name, EAI_SYSTEM with the reason in errno.
 */
int address_resolve(const struct address *address, bool numeric_only,
                    struct address_choices *choices);

/* Returns the choice for a caller that tries only one: the first IPv4 address, else the first
 * choice. There must be one. */
const struct address_choice *address_prefer_ipv4(const struct address_choices *choices);

#endif

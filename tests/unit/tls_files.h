/* A key and a certificate signed by itself, for localhost, in files of a folder of their own. */
#ifndef TESTS_UNIT_TLS_FILES_H
#define TESTS_UNIT_TLS_FILES_H

enum {
    TLS_FILES_PATH_MAX = 64,
    TLS_FILES_DAY_S = 86400
};

struct tls_made {
    char folder[TLS_FILES_PATH_MAX];
    char certificate[TLS_FILES_PATH_MAX];
    char key[TLS_FILES_PATH_MAX];
};

/* Makes both, valid from `from_s` to `until_s`, in seconds from now. */
void tls_made_make(struct tls_made *made, int from_s, int until_s);

void tls_made_remove(const struct tls_made *made);

#endif

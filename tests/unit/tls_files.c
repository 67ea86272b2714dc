#include "tls_files.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void tls_made_must(int result)
{
    if (result >= 0)
        return;
    fprintf(stderr, "cannot make a certificate: %s\n", gnutls_strerror(result));
    abort();
}

static void tls_made_write(const char *path, gnutls_datum_t *text)
{
    FILE *file = fopen(path, "we");

    if (!file || fwrite(text->data, 1, text->size, file) != text->size || fclose(file) != 0)
        tls_made_must(GNUTLS_E_FILE_ERROR);
    gnutls_free(text->data);
}

void tls_made_make(struct tls_made *made, int from_s, int until_s)
{
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    gnutls_datum_t text;
    time_t now = time(NULL);

    snprintf(made->folder, sizeof(made->folder), "/tmp/dflockd-tls-XXXXXX");
    if (!mkdtemp(made->folder))
        tls_made_must(GNUTLS_E_FILE_ERROR);
    snprintf(made->certificate, sizeof(made->certificate), "%.40s/certificate", made->folder);
    snprintf(made->key, sizeof(made->key), "%.40s/key", made->folder);
    tls_made_must(gnutls_x509_privkey_init(&key));
    tls_made_must(gnutls_x509_privkey_generate(
        key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    tls_made_must(gnutls_x509_crt_init(&certificate));
    tls_made_must(gnutls_x509_crt_set_version(certificate, 3));
    tls_made_must(gnutls_x509_crt_set_serial(certificate, "\1", 1));
    tls_made_must(gnutls_x509_crt_set_dn(certificate, "CN=localhost", NULL));
    tls_made_must(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, "localhost",
                                                       9, GNUTLS_FSAN_SET));
    tls_made_must(gnutls_x509_crt_set_activation_time(certificate, now + from_s));
    tls_made_must(gnutls_x509_crt_set_expiration_time(certificate, now + until_s));
    tls_made_must(gnutls_x509_crt_set_key(certificate, key));
    tls_made_must(gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0));
    tls_made_must(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &text));
    tls_made_write(made->certificate, &text);
    tls_made_must(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text));
    tls_made_write(made->key, &text);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
}

void tls_made_remove(const struct tls_made *made)
{
    unlink(made->certificate);
    unlink(made->key);
    rmdir(made->folder);
}

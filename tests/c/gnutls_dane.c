/*
 * What GnuTLS makes of a chain and TLSA records, asked as Exim asks it: first the DANE-EE records alone, which know no name;
 * then the DANE-TA records alone, and the host's name.
 *
 * gnutls_dane HOST CHAIN RECORD...     CHAIN: a file of PEM; RECORD: RDATA in hex. Says "ok" or "no".
 */

#include <gnutls/dane.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64 };

static gnutls_datum_t certificates[MOST];
static unsigned count;

static int passes(char *const *data, const int *lengths, unsigned flags) {
    dane_state_t state;
    dane_query_t query;
    unsigned verify = 1;
    if (!data[0] || dane_state_init(&state, 0) || dane_raw_tlsa(state, &query, data, lengths, 1, 0)) return 0;
    int status = dane_verify_crt_raw(state, certificates, (int)count, GNUTLS_CRT_X509, query, 0, flags, &verify);
    return status == 0 && verify == 0;
}

int main(int argc, char **argv) {
    gnutls_datum_t pem;
    gnutls_x509_crt_t *chain = NULL;
    if (argc < 3 || gnutls_load_file(argv[2], &pem)) return 2;
    if (gnutls_x509_crt_list_import2(&chain, &count, &pem, GNUTLS_X509_FMT_PEM, 0) || count > MOST) return 2;
    for (unsigned n = 0; n < count; n++)
        if (gnutls_x509_crt_export2(chain[n], GNUTLS_X509_FMT_DER, &certificates[n])) return 2;

    char *data[2][MOST + 1] = {{NULL}};
    int lengths[2][MOST + 1] = {{0}}, found[2] = {0};
    for (int n = 3; n < argc && n < MOST; n++) {
        size_t length = strlen(argv[n]) / 2;
        unsigned char *octets = malloc(length + 1);
        for (size_t at = 0; at < length; at++)
            if (sscanf(argv[n] + 2 * at, "%2hhx", &octets[at]) != 1) return 2;
        int is_ee = octets[0] == 3;
        data[is_ee][found[is_ee]] = (char *)octets;
        lengths[is_ee][found[is_ee]++] = (int)length;
    }
    int ok = passes(data[1], lengths[1], DANE_VFLAG_ONLY_CHECK_EE_USAGE) ||
             (passes(data[0], lengths[0], 0) && gnutls_x509_crt_check_hostname(chain[0], argv[1]));
    puts(ok ? "ok" : "no");
    return 0;
}

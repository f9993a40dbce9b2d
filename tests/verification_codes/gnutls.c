/* Connects to 127.0.0.1:PORT, completes the handshake whatever the certificate is, and prints what GnuTLS says of it:
 * the number that a mail server passes to from_gnutls. Usage: gnutls PORT HOST ROOTS.pem */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void must(int result, const char *what)
{
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", what, gnutls_strerror(result));
        exit(2);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;

    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        return 2;
    }

    gnutls_certificate_credentials_t credentials;
    gnutls_session_t session;
    must(gnutls_certificate_allocate_credentials(&credentials), "credentials");
    must(gnutls_certificate_set_x509_trust_file(credentials, argv[3], GNUTLS_X509_FMT_PEM), "roots");
    must(gnutls_init(&session, GNUTLS_CLIENT), "session");
    must(gnutls_set_default_priority(session), "priority");
    must(gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials), "credentials");
    must(gnutls_server_name_set(session, GNUTLS_NAME_DNS, argv[2], strlen(argv[2])), "server name");
    gnutls_transport_set_int(session, fd);
    gnutls_handshake_set_timeout(session, 10000);
    must(gnutls_handshake(session), "handshake");

    gnutls_typed_vdata_st wanted[2];
    memset(wanted, 0, sizeof wanted);
    wanted[0].type = GNUTLS_DT_DNS_HOSTNAME;
    wanted[0].data = (unsigned char *)argv[2];
    wanted[1].type = GNUTLS_DT_KEY_PURPOSE_OID;
    wanted[1].data = (unsigned char *)GNUTLS_KP_TLS_WWW_SERVER;
    unsigned int status = 0;
    must(gnutls_certificate_verify_peers(session, wanted, 2, &status), "verify");
    printf("%u\n", status);
    return 0;
}

/*
 * What a sending mail server does for each mail, with libmtasts and no more than C99.
 *
 *     cc deliver.c $(pkg-config --cflags --libs mtasts) -o deliver
 *     ./deliver example.com mx1.example.com chain/1.der chain/2.der
 *
 * asks whether mail for example.com may go to mx1.example.com, which has sent these certificates, its own first. A real
 * mail server has them from its TLS library (SSL_get_peer_cert_chain, gnutls_certificate_get_peers); without any, the
 * host is judged by its name alone.
 *
 * Exit status: 0 deliver, 75 not to this host: try the next one, or keep the mail in the queue.
 */

#include <mtasts.h>

#include <stdio.h>
#include <stdlib.h>

enum { DELIVER = 0, USAGE = 64, UNAVAILABLE = 69, TRY_LATER = 75 };

/* Here, and nowhere else, the library logs what an administrator should know. */
static void log_line(const char *line, void *program) {
    fprintf(stderr, "%s: %s\n", (const char *)program, line);
}

/* Once, at the start. */
static mtasts_context *start(char *program) {
    mtasts_error error = {.size = sizeof error};
    mtasts_settings *settings = NULL;
    mtasts_context *context = NULL;

    if (mtasts_abi_check(MTASTS_ABI) != MTASTS_OK) {
        fprintf(stderr, "%s: built for another libmtasts than %s\n", program, mtasts_version());
        return NULL;
    }
    if (mtasts_settings_of_host(&settings, &error) != MTASTS_OK) {
        fprintf(stderr, "%s: %s\n", program, error.message);
        return NULL;
    }
    mtasts_settings_set_log(settings, log_line, program);
    if (mtasts_context_new(settings, &context, &error) != MTASTS_OK)
        fprintf(stderr, "%s: %s\n", program, error.message);
    mtasts_settings_free(settings);
    return context;
}

/* Reads a file whole; the caller frees `data`. */
static int read_file(const char *name, mtasts_octets *octets) {
    enum { LARGEST = 1 << 20 };
    FILE *file = fopen(name, "rb");
    unsigned char *data = file ? malloc(LARGEST) : NULL;

    if (data) {
        octets->length = fread(data, 1, LARGEST, file);
        octets->data = data;
    } else {
        perror(name);
    }
    if (file)
        fclose(file);
    return data != NULL;
}

/* May mail go to this host, after all that was seen there? Prints the sentence for the log. */
static int may_deliver(mtasts_attempt *attempt, const mtasts_seen *seen) {
    mtasts_error error = {sizeof error, 0, ""};
    mtasts_decision decision = {sizeof decision, 0, 0, "", ""};
    int known = mtasts_attempt_saw(attempt, seen, &decision, &error) == MTASTS_OK;

    printf("%s\n", known ? decision.sentence : error.message);
    return known && mtasts_action_delivers(decision.action);
}

/* Judges the certificates that the host has sent. */
static int may_deliver_over_tls(mtasts_context *context, mtasts_attempt *attempt, const char *host, char **files,
                                size_t count) {
    mtasts_error error = {sizeof error, 0, ""};
    mtasts_check check = {sizeof check, 0, ""};
    mtasts_seen seen = {sizeof seen, MTASTS_SEEN_CERTIFICATE, 0, NULL};
    mtasts_octets *chain = calloc(count, sizeof *chain);
    size_t read = 0;
    int may = 0;

    while (chain && read < count && read_file(files[read], &chain[read]))
        read++;
    if (chain && read == count) {
        if (mtasts_verify_certificate(context, host, MTASTS_NUL_TERMINATED, chain, count, 0, &check, &error) == MTASTS_OK) {
            seen.result = check.result;
            seen.reason = check.reason;
            may = may_deliver(attempt, &seen);
        } else {
            printf("%s\n", error.message);
        }
    }
    while (read > 0)
        free((void *)chain[--read].data);
    free(chain);
    return may;
}

/* For each MX host of the domain. */
static int try_host(mtasts_context *context, const mtasts_answer *answer, const char *host, char **files, size_t count) {
    mtasts_error error = {sizeof error, 0, ""};
    mtasts_seen by_name = {sizeof by_name, MTASTS_SEEN_NAME, 0, NULL};
    mtasts_peer peer = {sizeof peer, count > 0 ? MTASTS_CHANNEL_TLS : MTASTS_CHANNEL_NONE, NULL, NULL};
    mtasts_event event = {.size = sizeof event};
    mtasts_attempt *attempt = NULL;
    int may;

    if (mtasts_attempt_new(answer, host, MTASTS_NUL_TERMINATED, &attempt, &error) != MTASTS_OK) {
        printf("%s\n", error.message);
        return 0;
    }
    /* Before connecting ... */
    may = may_deliver(attempt, &by_name);
    /* ... and after the TLS handshake. */
    if (may && count > 0)
        may = may_deliver_over_tls(context, attempt, host, files, count);
    /* What a TLS report counts: at most one event for each session, a success too. */
    if (mtasts_attempt_finish(attempt, &peer, &event, &error) == 1) {
        if (event.result != 0)
            printf("to be reported as %s: %s\n", mtasts_result_name(event.result), event.reason_code);
        else
            printf("to be reported as a success\n");
    }
    /* To the program that makes the report, if the settings name one: else nothing happens. */
    mtasts_tlsrpt_report(context, attempt, 0, NULL);
    mtasts_attempt_free(attempt);
    return may;
}

/* For each recipient's domain. */
static int deliver(mtasts_context *context, const char *domain, const char *host, char **files, size_t count) {
    mtasts_error error = {sizeof error, 0, ""};
    mtasts_answer *answer = NULL;
    int may;

    if (mtasts_lookup(context, domain, MTASTS_NUL_TERMINATED, 0, &answer, &error) != MTASTS_OK) {
        printf("the mail waits: %s\n", error.message);
        return TRY_LATER;
    }
    printf("%s\n", mtasts_answer_explanation(answer));
    may = try_host(context, answer, host, files, count);
    mtasts_answer_free(answer);
    return may ? DELIVER : TRY_LATER;
}

int main(int argc, char **argv) {
    mtasts_context *context;
    int status;

    if (argc < 3) {
        fprintf(stderr, "usage: %s DOMAIN MX_HOST [CERTIFICATE.der ...]\n", argv[0]);
        return USAGE;
    }
    context = start(argv[0]);
    if (!context)
        return UNAVAILABLE;
    status = deliver(context, argv[1], argv[2], argv + 3, (size_t)argc - 3);
    mtasts_context_free(context);
    return status;
}

/*
 * Lookups in an event loop, with libmtasts and poll(2).
 *
 *     cc poll.c $(pkg-config --cflags --libs mtasts) -o poll
 *     printf '%s\n' example.com example.net | ./poll
 *
 * reads a recipient's domain from each line of standard input, as a mail server gets mails: at any time. It looks all of
 * them up at once and prints what it learns as it comes. Nothing in here ever blocks but poll itself.
 */

#define _POSIX_C_SOURCE 200809L

#include <mtasts.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNAVAILABLE = 69, TIME_LIMIT_MS = 10000 };

/* A mail that waits for the policy of its domain. */
struct mail {
    unsigned long number;
    char domain[256];
};

/* Called by mtasts_queue_next, on this thread. */
static void log_line(const char *line, void *program) {
    fprintf(stderr, "%s: %s\n", (const char *)program, line);
}

static mtasts_queue *start(char *program) {
    mtasts_error error = {.size = sizeof error};
    mtasts_settings *settings = NULL;
    mtasts_context *context = NULL;
    mtasts_queue *queue = NULL;

    if (mtasts_abi_check(MTASTS_ABI) != MTASTS_OK) {
        fprintf(stderr, "%s: built for another libmtasts than %s\n", program, mtasts_version());
        return NULL;
    }
    if (mtasts_settings_of_host(&settings, &error) == MTASTS_OK) {
        mtasts_settings_set_log(settings, log_line, program);
        if (mtasts_context_new(settings, &context, &error) == MTASTS_OK)
            mtasts_queue_new(context, &queue, &error);
    }
    if (!queue)
        fprintf(stderr, "%s: %s\n", program, error.message);
    mtasts_context_free(context); /* the queue keeps what it needs of it */
    mtasts_settings_free(settings);
    return queue;
}

/* Begins a lookup for a mail. Returns how many were begun: one, or none. */
static int submit(mtasts_queue *queue, const char *domain) {
    static unsigned long mails = 0;
    mtasts_error error = {.size = sizeof error};
    struct mail *mail = calloc(1, sizeof *mail);

    if (!mail)
        return 0;
    mail->number = ++mails;
    snprintf(mail->domain, sizeof mail->domain, "%s", domain);
    if (mtasts_queue_submit(queue, domain, MTASTS_NUL_TERMINATED, TIME_LIMIT_MS, mail, NULL, &error) == MTASTS_OK)
        return 1; /* the mail comes back with the completion */
    printf("mail %lu: wait: %s\n", mail->number, error.message);
    free(mail);
    return 0;
}

/* Takes what is complete. Returns how many lookups that were. */
static int complete(mtasts_queue *queue) {
    mtasts_completion done = {.size = sizeof done};
    int count = 0;

    for (; mtasts_queue_next(queue, &done) == 1; count++) {
        struct mail *mail = done.user;
        if (done.status == MTASTS_OK) /* go on with an attempt for each MX host, as in deliver.c */
            printf("mail %lu: %s\n", mail->number, mtasts_answer_explanation(done.answer));
        else
            printf("mail %lu: wait, nothing is known of %s: %s\n", mail->number, mail->domain, done.message);
        mtasts_answer_free(done.answer);
        free(mail);
    }
    fflush(stdout);
    return count;
}

/* Reads what has come on standard input, and submits each whole line. Returns how many lookups that began, or -1 at the
 * end. */
static int read_lines(mtasts_queue *queue) {
    static char buffer[4096];
    static size_t used = 0;
    ssize_t got = read(STDIN_FILENO, buffer + used, sizeof buffer - 1 - used);
    char *line = buffer, *end;
    int count = 0;

    if (got <= 0)
        return -1;
    used += (size_t)got;
    buffer[used] = '\0';
    for (; (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        count += submit(queue, line);
    }
    used -= (size_t)(line - buffer);
    memmove(buffer, line, used);
    if (used == sizeof buffer - 1)
        used = 0; /* no domain is that long */
    return count;
}

int main(int argc, char **argv) {
    mtasts_queue *queue = start(argc > 0 ? argv[0] : "poll");
    struct pollfd wait[2] = {{STDIN_FILENO, POLLIN, 0}, {-1, POLLIN, 0}};
    int in_flight = 0;

    if (!queue)
        return UNAVAILABLE;
    wait[1].fd = mtasts_queue_fd(queue);
    while (wait[0].fd >= 0 || in_flight > 0) {
        if (poll(wait, 2, -1) < 0)
            continue; /* a signal */
        if (wait[0].revents) {
            int count = read_lines(queue);
            if (count < 0)
                wait[0].fd = -1; /* poll ignores it from now on */
            else
                in_flight += count;
        }
        if (wait[1].revents)
            in_flight -= complete(queue);
    }
    mtasts_queue_free(queue);
    return 0;
}

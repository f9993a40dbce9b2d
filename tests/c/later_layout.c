/*
 * A program that was compiled with a later header, whose structs have more fields than those of mtasts.h.
 *
 * later_layout CACHE_DIR unknown     against today's library
 * later_layout CACHE_DIR known       against a library that knows the first of the new fields
 *
 * The cache holds a policy of enforced.example in mode enforce.
 */

#include "check.h"

#include <poll.h>

/* What the later library writes; src/capi/extensible.rs. */
#define WRITTEN UINT64_C(0x67726f776e21)

/* A struct of now, one new field, and others that no library knows yet. */
#define LATER(now)                                                                                                     \
    struct {                                                                                                           \
        now base;                                                                                                      \
        uint64_t next;                                                                                                 \
        unsigned char others[1000];                                                                                    \
        unsigned char behind[8];                                                                                       \
    }

/* Sets the size, which ends before `behind`, and fills all else with `octet`. */
#define FILL(later, octet)                                                                                             \
    do {                                                                                                               \
        memset(&(later), (octet), sizeof(later));                                                                      \
        (later).base.size = sizeof(later) - sizeof(later).behind;                                                      \
    } while (0)

/* The library has written the struct: all that it does not know is zero, and behind it nothing has changed. */
#define WRITTEN_WELL(later)                                                                                            \
    do {                                                                                                               \
        CHECK((later).base.size == sizeof(later) - sizeof(later).behind);                                              \
        CHECK((later).next == (known ? WRITTEN : 0));                                                                  \
        for (size_t i = 0; i < sizeof(later).others; i++)                                                              \
            CHECK((later).others[i] == 0);                                                                             \
        for (size_t i = 0; i < sizeof(later).behind; i++)                                                              \
            CHECK((later).behind[i] == 0x5a);                                                                          \
    } while (0)

static int known;
static LATER(mtasts_error) error;

static void verdict(const mtasts_answer *answer) {
    const char *host = "mx.enforced.example";
    LATER(mtasts_seen) seen;
    LATER(mtasts_decision) decision;

    /* New fields that are not used. */
    FILL(seen, 0);
    FILL(decision, 0x5a);
    GIVES(MTASTS_OK, judge(answer, host, &seen.base, &decision.base, &error.base));
    CHECK(decision.base.action == MTASTS_ACTION_DELIVER);
    WRITTEN_WELL(decision);

    /* A new field that is used: a library that does not know it must not act as if it had not been set. */
    FILL(decision, 0x5a);
    FILL(error, 0x5a);
    seen.next = 1;
    GIVES(known ? MTASTS_OK : MTASTS_E_ARGUMENT,
          judge(answer, host, &seen.base, &decision.base, &error.base));
    if (!known) {
        CHECK(decision.base.action == 0x5a5a5a5a && decision.next == UINT64_C(0x5a5a5a5a5a5a5a5a));
        CHECK(error.base.code == MTASTS_E_ARGUMENT && strstr(error.base.message, "seen has a field set"));
        WRITTEN_WELL(error);
    }

    /* The last octet of one that neither knows. */
    seen.next = 0;
    seen.others[sizeof seen.others - 1] = 1;
    GIVES(MTASTS_E_ARGUMENT,
          judge(answer, host, &seen.base, &decision.base, &error.base));
}

static void others(const mtasts_context *context) {
    LATER(mtasts_check) check;
    LATER(mtasts_completion) done;
    mtasts_queue *queue = NULL;
    uint64_t id = 0;

    FILL(check, 0x5a);
    GIVES(MTASTS_OK, mtasts_from_openssl(10, &check.base));
    CHECK(check.base.result == MTASTS_RESULT_CERTIFICATE_EXPIRED);
    WRITTEN_WELL(check);

    FILL(error, 0x5a);
    GIVES(MTASTS_OK, mtasts_queue_new(context, &queue, &error.base));
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_submit(queue, NULL, 0, 0, NULL, &id, &error.base));
    WRITTEN_WELL(error);
    GIVES(MTASTS_OK, mtasts_queue_submit(queue, "enforced.example", MTASTS_NUL_TERMINATED, 0, NULL, &id, NULL));
    struct pollfd wait = {mtasts_queue_fd(queue), POLLIN, 0};
    CHECK(poll(&wait, 1, 60000) == 1);
    FILL(done, 0x5a);
    GIVES(1, mtasts_queue_next(queue, &done.base));
    CHECK(done.base.id == id && done.base.status == MTASTS_OK);
    WRITTEN_WELL(done);
    mtasts_answer_free(done.base.answer);
    mtasts_queue_free(queue);
}

int main(int argc, char **argv) {
    mtasts_answer *answer = NULL;
    CHECK(argc == 3);
    known = strcmp(argv[2], "known") == 0;
    mtasts_context *context = new_context(argv[1], NULL);
    FILL(error, 0x5a);
    GIVES(MTASTS_OK, mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, &answer, &error.base));
    verdict(answer);
    others(context);
    mtasts_answer_free(answer);
    mtasts_context_free(context);
    return 0;
}

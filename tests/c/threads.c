/*
 * Threads share one context, and one answer.
 *
 * threads CACHE_DIR ROUNDS THREADS     on the test Internet
 */

#include "check.h"

#include <pthread.h>

enum { MOST = 64 };

static const struct {
    const char *domain;
    int32_t mode;
} known[] = {
    {"good.test", MTASTS_MODE_ENFORCE}, {"testing.test", MTASTS_MODE_TESTING}, {"none.test", MTASTS_MODE_NONE},
    {"nopolicy.test", MTASTS_MODE_NONE}, {"wild.test", MTASTS_MODE_ENFORCE},   {"twomx.test", MTASTS_MODE_ENFORCE},
    {"expired.test", MTASTS_MODE_ENFORCE}, {"GOOD.test.", MTASTS_MODE_ENFORCE},
};

static mtasts_context *context;
static mtasts_answer *shared;
static int rounds, count;
static pthread_barrier_t start;

static void *ask(void *argument) {
    size_t first = (size_t)argument;
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};

    pthread_barrier_wait(&start);
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            size_t which = (first + i) % (sizeof known / sizeof *known);
            expect(context, known[which].domain, round % 3 == 2, known[which].mode);
        }
        /* The texts of an answer are made when one is asked for: by all threads at once. */
        const char *domain = mtasts_answer_domain(shared), *mx = mtasts_answer_mx(shared, 0);
        /* It is by an atomic pointer that the others get them, which helgrind does not see; a barrier it does. */
        if (round == 0)
            pthread_barrier_wait(&start);
        CHECK(strcmp(domain, "good.test") == 0);
        CHECK(strcmp(mx, "mx.good.test") == 0);
        GIVES(MTASTS_OK, judge(shared, "mx.good.test", &seen, &decision, NULL));
        CHECK(decision.action == MTASTS_ACTION_DELIVER);
    }
    return NULL;
}

int main(int argc, char **argv) {
    mtasts_error error = {.size = sizeof error};
    pthread_t threads[MOST];

    CHECK(argc == 4);
    rounds = atoi(argv[2]);
    count = atoi(argv[3]);
    CHECK(count > 0 && count <= MOST);
    context = on_the_internet(argv[1]);
    WORKS(mtasts_lookup(context, "good.test", MTASTS_NUL_TERMINATED, 0, &shared, &error));
    CHECK(pthread_barrier_init(&start, NULL, (unsigned)count) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, ask, (void *)(size_t)i) == 0);
    for (int i = 0; i < count; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pthread_barrier_destroy(&start);
    mtasts_answer_free(shared);
    mtasts_context_free(context);
    return 0;
}

/*
 * A program that forks while its threads are inside the library: every child looks up what is known and what is not,
 * so does a child of the child, they free what they inherited, and the parent goes on.
 *
 * fork CACHE_DIR FORKS THREADS     on the test Internet; the first thread counts
 */

#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4, PATIENCE = 300 };

static mtasts_context *context;
static mtasts_answer *held;
static atomic_bool done;

/* In the network most of the time. */
static void *keep_asking(void *argument) {
    const char *domain = argument;
    while (!atomic_load(&done))
        expect(context, domain, 1, MTASTS_MODE_ENFORCE);
    return NULL;
}

/* In the library's memory, and holding its lock, whenever the program forks. */
static void *keep_remembering(void *argument) {
    const char *domain = argument;
    while (!atomic_load(&done))
        expect(context, domain, 0, MTASTS_MODE_ENFORCE);
    return NULL;
}

static void reap(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void child(void) {
    pid_t next = 0;
    for (int generation = 1; generation <= 2 && next == 0; generation++) {
        /* The end of one that hangs, which is this test's failure. */
        alarm(PATIENCE);
        /* In memory or on disk; in DNS; in DNS and over HTTPS, for the first child that comes. */
        expect(context, "good.test", 0, MTASTS_MODE_ENFORCE);
        expect(context, "good.test", 1, MTASTS_MODE_ENFORCE);
        expect(context, "testing.test", 1, MTASTS_MODE_TESTING);
        CHECK(strcmp(mtasts_answer_domain(held), "good.test") == 0);
        if (generation == 1)
            CHECK((next = fork()) != -1);
    }
    if (next > 0)
        reap(next);
    mtasts_answer_free(held);
    mtasts_context_free(context);
    /* As a forking server does: without the exit handlers, which are its parent's. */
    _exit(0);
}

static void *fork_often(void *argument) {
    enum { AT_ONCE = 4 };
    int forks = *(const int *)argument;
    while (forks > 0) {
        pid_t children[AT_ONCE];
        int started = 0;
        for (; started < AT_ONCE && forks > 0; forks--, started++) {
            children[started] = fork();
            CHECK(children[started] != -1);
            if (children[started] == 0)
                child();
        }
        while (started > 0)
            reap(children[--started]);
        expect(context, "good.test", 1, MTASTS_MODE_ENFORCE);
    }
    return NULL;
}

int main(int argc, char **argv) {
    mtasts_error error = {.size = sizeof error};
    static char *domains[MOST] = {"wild.test", "twomx.test", "good.test", "good.test"};
    pthread_t threads[MOST], forker;
    int forks, of_thread, others;

    CHECK(argc == 4);
    others = atoi(argv[3]) - 1;
    CHECK(others >= 0 && others <= MOST);
    context = on_the_internet(argv[1]);
    WORKS(mtasts_lookup(context, "good.test", MTASTS_NUL_TERMINATED, 0, &held, &error));
    for (int i = 0; i < others; i++)
        CHECK(pthread_create(&threads[i], NULL, i < 2 ? keep_asking : keep_remembering, domains[i]) == 0);
    /* Some from the first thread, some from another. */
    of_thread = others > 0 ? atoi(argv[2]) / 4 : 0;
    forks = atoi(argv[2]) - of_thread;
    fork_often(&forks);
    if (of_thread > 0) {
        CHECK(pthread_create(&forker, NULL, fork_often, &of_thread) == 0);
        CHECK(pthread_join(forker, NULL) == 0);
    }
    atomic_store(&done, true);
    for (int i = 0; i < others; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(strcmp(mtasts_answer_domain(held), "good.test") == 0);
    mtasts_answer_free(held);
    mtasts_context_free(context);
    return 0;
}

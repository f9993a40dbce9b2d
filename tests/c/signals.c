/*
 * A program whose alarm rings all the time, and whose calls are not restarted after it: each lookup answers, and the
 * handler runs on the program's own thread alone.
 *
 * signals CACHE_DIR SECONDS THREADS     THREADS is 1; on the test Internet
 */

#include "check.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t rung, elsewhere;
static volatile long own_thread;
static sigset_t alarm_set;

static void ring(int number) {
    (void)number;
    rung++;
    if (syscall(SYS_gettid) != own_thread)
        elsewhere++;
}

/* The only thread of the program that takes the signal: the kernel would give it to any other that does not block it. */
static void *ask(void *arguments) {
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    char **argv = arguments;
    mtasts_context *context = on_the_internet(argv[1]);
    time_t end;
    int rounds = 0;

    own_thread = syscall(SYS_gettid);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &alarm_set, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    end = time(NULL) + atoi(argv[2]);
    do {
        mtasts_answer *answer = NULL;
        expect(context, "good.test", 1, MTASTS_MODE_ENFORCE);
        expect(context, "good.test", 0, MTASTS_MODE_ENFORCE);
        /* A policy host that does not answer: the alarm rings all through the wait. Under helgrind the helper of root
           may need a second of it where others use the processors. */
        GIVES(MTASTS_OK, mtasts_lookup(context, "https-silent.test", MTASTS_NUL_TERMINATED, 3000, &answer, NULL));
        CHECK(mtasts_answer_source(answer) == MTASTS_SOURCE_COULD_NOT_LEARN);
        mtasts_answer_free(answer);
        rounds++;
    } while (time(NULL) < end);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(rounds > 0);
    mtasts_context_free(context);
    return NULL;
}

int main(int argc, char **argv) {
    struct sigaction action;
    pthread_t thread;

    CHECK(argc == 4);
    memset(&action, 0, sizeof action);
    action.sa_handler = ring;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    sigemptyset(&alarm_set);
    sigaddset(&alarm_set, SIGALRM);
    CHECK(pthread_sigmask(SIG_BLOCK, &alarm_set, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, ask, argv) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(rung > 20);
    CHECK(elsewhere == 0);
    return 0;
}

/*
 * A program whose alarm rings all the time, and whose calls are not restarted after it: each lookup answers, and the
 * handler runs on the program's own thread alone.
 *
 * signals CACHE_DIR SECONDS THREADS     THREADS is 1; on the test Internet
 */

#include "check.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t rung, elsewhere;
static long own_thread;

static void ring(int number) {
    (void)number;
    rung++;
    if (syscall(SYS_gettid) != own_thread)
        elsewhere++;
}

int main(int argc, char **argv) {
    const struct itimerval often = {{0, 5000}, {0, 5000}}, never = {{0, 0}, {0, 0}};
    struct sigaction action;
    mtasts_context *context;
    time_t end;
    int rounds = 0;

    CHECK(argc == 4);
    own_thread = syscall(SYS_gettid);
    memset(&action, 0, sizeof action);
    action.sa_handler = ring;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    context = on_the_internet(argv[1]);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    end = time(NULL) + atoi(argv[2]);
    do {
        expect(context, "good.test", 1, MTASTS_MODE_ENFORCE);
        expect(context, "good.test", 0, MTASTS_MODE_ENFORCE);
        /* A policy host that does not answer: the alarm rings all through the wait. */
        mtasts_answer *answer = NULL;
        GIVES(MTASTS_OK, mtasts_lookup(context, "https-silent.test", MTASTS_NUL_TERMINATED, 300, &answer, NULL));
        CHECK(mtasts_answer_source(answer) == MTASTS_SOURCE_COULD_NOT_LEARN);
        mtasts_answer_free(answer);
        rounds++;
    } while (time(NULL) < end);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(rounds > 0 && rung > 20 && elsewhere == 0);
    mtasts_context_free(context);
    return 0;
}

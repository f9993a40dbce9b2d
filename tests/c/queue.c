/*
 * The completion queue from C, on the test Internet: hostile arguments, completions, cancel, a forked child, free in
 * flight. downfirst.test has a policy host that does not answer. Ends with 0 and says nothing, or says what is wrong.
 */

#define _GNU_SOURCE

#include <mtasts.h>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static const char GOOD[] = "good.test", SLOW[] = "downfirst.test";

static mtasts_error error = {.size = sizeof error};

static mtasts_context *new_context(const char *cache_dir) {
    mtasts_settings *settings = NULL;
    mtasts_context *context = NULL;

    CHECK(mtasts_settings_new(&settings) == MTASTS_OK);
    CHECK(mtasts_settings_set(settings, "cache_dir", cache_dir, &error) == MTASTS_OK);
    CHECK(mtasts_settings_set(settings, "allow_addresses", "198.18.0.0/15 2001:2::/48", &error) == MTASTS_OK);
    CHECK(mtasts_settings_set(settings, "timeout", "60s", &error) == MTASTS_OK);
    CHECK(mtasts_context_new(settings, &context, &error) == MTASTS_OK);
    mtasts_settings_free(settings);
    return context;
}

/* A hit would need no thread. */
static void forget(const char *cache_dir, const char *domain) {
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", cache_dir, domain);
    unlink(path);
}

static double now(void) {
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int threads(void) {
    DIR *tasks = opendir("/proc/self/task");
    int count = -2; /* . and .. */

    CHECK(tasks);
    while (readdir(tasks))
        count++;
    closedir(tasks);
    return count;
}

static uint64_t submit(mtasts_queue *queue, const char *domain, uint32_t timeout_ms, void *user) {
    uint64_t id = 0;

    CHECK(mtasts_queue_submit(queue, domain, MTASTS_NUL_TERMINATED, timeout_ms, user, &id, &error) == MTASTS_OK);
    CHECK(id != 0);
    return id;
}

/* Waits for a completion as an event loop does. */
static mtasts_completion next(mtasts_queue *queue) {
    mtasts_completion done = {.size = sizeof done};

    for (;;) {
        struct pollfd wait = {mtasts_queue_fd(queue), POLLIN, 0};
        int more = mtasts_queue_next(queue, &done);
        CHECK(more >= 0);
        if (more)
            return done;
        CHECK(poll(&wait, 1, 120000) == 1);
    }
}

static void hostile(const mtasts_context *context) {
    mtasts_completion done = {.size = sizeof done, .id = 7, .user = &done, .status = 7, .message = "untouched"};
    mtasts_queue *queue = NULL;
    uint64_t id = 7;

    CHECK(mtasts_queue_new(NULL, &queue, &error) == MTASTS_E_ARGUMENT && !queue);
    CHECK(mtasts_queue_new(context, NULL, &error) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_new(context, NULL, NULL) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_fd(NULL) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_submit(NULL, GOOD, MTASTS_NUL_TERMINATED, 0, NULL, &id, &error) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_next(NULL, &done) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_cancel(NULL, 1) == MTASTS_E_ARGUMENT);
    mtasts_queue_free(NULL);

    CHECK(mtasts_queue_new(context, &queue, NULL) == MTASTS_OK && queue);
    CHECK(fcntl(mtasts_queue_fd(queue), F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(mtasts_queue_fd(queue), F_GETFL) & O_NONBLOCK);
    CHECK(mtasts_queue_submit(queue, NULL, 0, 0, NULL, &id, &error) == MTASTS_E_ARGUMENT);
    CHECK(id == 7);
    CHECK(threads() == 1);

    CHECK(mtasts_queue_next(queue, NULL) == MTASTS_E_ARGUMENT);
    CHECK(mtasts_queue_next(queue, &done) == 0);
    CHECK(mtasts_queue_cancel(queue, 0) == 0 && mtasts_queue_cancel(queue, UINT64_MAX) == 0);

    /* A completion struct of another size gets nothing, and the completion waits for a better one. */
    submit(queue, "127.0.0.1.test", 1, &id);
    done.size = 8;
    for (int time = 0; time < 3; time++)
        CHECK(mtasts_queue_next(queue, &done) == MTASTS_E_ARGUMENT);
    CHECK(done.id == 7 && done.user == &done && done.status == 7 && !strcmp(done.message, "untouched"));
    done = next(queue);
    CHECK(done.user == &id);
    mtasts_answer_free(done.answer);
    mtasts_queue_free(queue);
}

static void lookups(const mtasts_context *context) {
    mtasts_queue *queue = NULL;
    int users[4] = {0, 0, 0, 0};
    uint64_t slow;

    CHECK(mtasts_queue_new(context, &queue, &error) == MTASTS_OK);
    for (int user = 0; user < 3; user++)
        submit(queue, GOOD, 0, &users[user]);
    slow = submit(queue, SLOW, 20000, &users[3]);
    CHECK(mtasts_queue_submit(queue, SLOW, MTASTS_NUL_TERMINATED, 1500, NULL, NULL, NULL) == MTASTS_OK);
    CHECK(mtasts_queue_cancel(queue, slow) == 1 && mtasts_queue_cancel(queue, slow) == 0);
    for (int count = 0; count < 5; count++) {
        mtasts_completion done = next(queue);
        CHECK(done.message[0] == '\0');
        if (!done.user) {
            CHECK(done.status == MTASTS_OK && mtasts_answer_source(done.answer) == MTASTS_SOURCE_COULD_NOT_LEARN);
        } else if (done.user == &users[3]) {
            CHECK(done.status == MTASTS_E_CANCELLED && done.id == slow && !done.answer);
        } else {
            CHECK(done.status == MTASTS_OK && mtasts_answer_mode(done.answer) == MTASTS_MODE_ENFORCE);
            CHECK(++*(int *)done.user == 1);
        }
        mtasts_answer_free(done.answer);
    }
    mtasts_queue_free(queue);
}

static void *many(void *queue) {
    for (int count = 0; count < 50; count++)
        submit(queue, GOOD, 0, NULL);
    return NULL;
}

/* Any number of threads may use a queue at once. */
static void shared(const mtasts_context *context) {
    mtasts_queue *queue = NULL;
    pthread_t others[3];

    CHECK(mtasts_queue_new(context, &queue, &error) == MTASTS_OK);
    for (int other = 0; other < 3; other++)
        CHECK(pthread_create(&others[other], NULL, many, queue) == 0);
    for (int count = 0; count < 150; count++)
        mtasts_answer_free(next(queue).answer);
    for (int other = 0; other < 3; other++)
        CHECK(pthread_join(others[other], NULL) == 0);
    mtasts_queue_free(queue);
}

static void forked(const mtasts_context *context) {
    mtasts_completion done = {.size = sizeof done};
    mtasts_queue *queue = NULL;
    pid_t child;
    int status;

    CHECK(mtasts_queue_new(context, &queue, &error) == MTASTS_OK);
    submit(queue, SLOW, 2000, queue);
    fflush(NULL);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        mtasts_queue *own = NULL;
        CHECK(mtasts_queue_fd(queue) == MTASTS_E_FORKED);
        CHECK(mtasts_queue_next(queue, &done) == MTASTS_E_FORKED);
        CHECK(mtasts_queue_cancel(queue, 1) == MTASTS_E_FORKED);
        CHECK(mtasts_queue_submit(queue, GOOD, MTASTS_NUL_TERMINATED, 0, NULL, NULL, &error) == MTASTS_E_FORKED);
        CHECK(mtasts_queue_recheck(queue, GOOD, MTASTS_NUL_TERMINATED, 0, NULL, NULL, &error) == MTASTS_E_FORKED);
        CHECK(error.code == MTASTS_E_FORKED && error.message[0]);
        mtasts_queue_free(queue);
        CHECK(mtasts_queue_new(context, &own, &error) == MTASTS_OK);
        submit(own, GOOD, 0, NULL);
        done = next(own);
        CHECK(done.status == MTASTS_OK);
        mtasts_answer_free(done.answer);
        mtasts_queue_free(own);
        /* And not _exit: valgrind would look for what the parent's other threads hold, which do not exist here. */
        execl("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    done = next(queue);
    CHECK(done.user == queue);
    mtasts_answer_free(done.answer);
    mtasts_queue_free(queue);
}

int main(int argc, char **argv) {
    mtasts_context *context;
    mtasts_queue *queue = NULL;
    double start;

    CHECK(argc == 2);
    context = new_context(argv[1]);
    hostile(context);
    forget(argv[1], GOOD);
    lookups(context);
    shared(context);
    forked(context);

    /* In flight, with what came of one not taken, and the context gone first. */
    forget(argv[1], SLOW);
    CHECK(mtasts_queue_new(context, &queue, &error) == MTASTS_OK);
    mtasts_context_free(context);
    submit(queue, GOOD, 0, NULL);
    submit(queue, SLOW, 3000, NULL);
    start = now();
    mtasts_queue_free(queue);
    CHECK(now() - start < 60); /* it ends; tests/queue has the real bound, without valgrind */
    /* The threads end by themselves. */
    for (start = now(); threads() > 1;) {
        CHECK(now() - start < 120);
        poll(NULL, 0, 20);
    }
    return 0;
}

/*
 * What the library leaves behind in its host: no descriptor, no thread, no signal handler, no other umask, directory or
 * environment. strace sees what happens between the calls of access.
 *
 * traces CACHE_DIR UMASK     on the test Internet; UMASK is octal
 */

#include "check.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum { SIGNALS = 65 };

/* What a program has and did not give to the library. */
struct host {
    char descriptors[4096];
    int threads;
    void *handlers[SIGNALS];
    int flags[SIGNALS];
    sigset_t mask;
    mode_t umask;
    char directory[4096];
    char environment[65536];
    struct itimerval timer;
};

/* The entries of a directory of /proc, with where they lead. */
static int list(const char *name, char *text, size_t size) {
    DIR *directory = opendir(name);
    struct dirent *entry;
    int count = 0;
    size_t used = 0;
    CHECK(directory != NULL);
    while ((entry = readdir(directory)) != NULL) {
        char path[512], target[256] = "";
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
            continue;
        snprintf(path, sizeof path, "%s/%s", name, entry->d_name);
        if (readlink(path, target, sizeof target - 1) == -1)
            target[0] = 0;
        used += (size_t)snprintf(text + used, size - used, "%s -> %s\n", entry->d_name, target);
        CHECK(used < size);
        count++;
    }
    closedir(directory);
    return count;
}

static struct host look(void) {
    static struct host host;
    char threads[4096];
    size_t used = 0;
    memset(&host, 0, sizeof host);
    list("/proc/self/fd", host.descriptors, sizeof host.descriptors);
    host.threads = list("/proc/self/task", threads, sizeof threads);
    for (int number = 1; number < SIGNALS; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) == 0) {
            memcpy(&host.handlers[number], &action.sa_handler, sizeof host.handlers[number]);
            host.flags[number] = action.sa_flags;
        }
    }
    sigprocmask(SIG_SETMASK, NULL, &host.mask);
    host.umask = umask(0);
    umask(host.umask);
    CHECK(getcwd(host.directory, sizeof host.directory) != NULL);
    for (char **variable = environ; *variable; variable++)
        used += (size_t)snprintf(host.environment + used, sizeof host.environment - used, "%s\n", *variable);
    CHECK(used < sizeof host.environment);
    getitimer(ITIMER_REAL, &host.timer);
    return host;
}

static struct host before, now;

static void nothing_has_changed(void) {
    now = look();
    /* A thread that has been joined is in /proc for a moment longer. */
    for (int tries = 0; now.threads != before.threads && tries < 6000; tries++) {
        poll(NULL, 0, 10);
        now = look();
    }
    if (strcmp(before.descriptors, now.descriptors) != 0)
        fprintf(stderr, "descriptors before:\n%sand now:\n%s", before.descriptors, now.descriptors);
    CHECK(memcmp(&before, &now, sizeof before) == 0);
}

static void mark(const char *place) { CHECK(access(place, F_OK) == -1); }

int main(int argc, char **argv) {
    mtasts_context *context;
    mtasts_answer *answer = NULL;

    CHECK(argc == 3);
    umask((mode_t)strtoul(argv[2], NULL, 8));
    before = look();
    nothing_has_changed();

    mark("/making a context");
    context = on_the_internet(argv[1]);
    mark("/a context");
    nothing_has_changed();

    mark("/the first lookup");
    expect(context, "good.test", 0, MTASTS_MODE_ENFORCE);
    mark("/a lookup");
    nothing_has_changed();

    mark("/a hit in memory");
    expect(context, "good.test", 0, MTASTS_MODE_ENFORCE);
    mark("/no more");

    expect(context, "nopolicy.test", 0, MTASTS_MODE_NONE);
    expect(context, "good.test", 1, MTASTS_MODE_ENFORCE);
    GIVES(MTASTS_OK, mtasts_lookup(context, "https-silent.test", MTASTS_NUL_TERMINATED, 2000, &answer, NULL));
    mtasts_answer_free(answer);
    GIVES(MTASTS_OK, mtasts_lookup(context, "txt-silent.test", MTASTS_NUL_TERMINATED, 2000, &answer, NULL));
    mtasts_answer_free(answer);
    nothing_has_changed();

    mtasts_context_free(context);
    nothing_has_changed();
    return 0;
}

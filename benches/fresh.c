/* A fresh process: dlopen, settings, context, one cached lookup, exit; beside the same process without us.
 *
 *     fresh run LIBRARY EMPTY_LIBRARY CACHE_DIR RUNS    starts the others in turn, prints rows of a table
 *     fresh none                                        does nothing
 *     fresh open LIBRARY                                dlopen alone
 *     fresh lookup LIBRARY CACHE_DIR                    the whole
 */
#define _GNU_SOURCE
#include "mtasts.h"
#include <dlfcn.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *open_library(const char *path) {
    void *library = dlopen(path, RTLD_LAZY);
    if (library == NULL) {
        fprintf(stderr, "fresh: %s\n", dlerror());
        exit(1);
    }
    return library;
}

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL) exit(1);
    return found;
}

static int lookup(const char *path, const char *cache_dir) {
    void *library = open_library(path);
    int32_t (*settings_new)(mtasts_settings **) = symbol(library, "mtasts_settings_new");
    int32_t (*settings_set)(mtasts_settings *, const char *, const char *, mtasts_error *) =
        symbol(library, "mtasts_settings_set");
    int32_t (*context_new)(const mtasts_settings *, mtasts_context **, mtasts_error *) =
        symbol(library, "mtasts_context_new");
    int32_t (*look)(const mtasts_context *, const char *, size_t, uint32_t, mtasts_answer **, mtasts_error *) =
        symbol(library, "mtasts_lookup");
    int32_t (*mode)(const mtasts_answer *) = symbol(library, "mtasts_answer_mode");
    mtasts_error error = {.size = sizeof error};
    mtasts_settings *settings;
    mtasts_context *context;
    mtasts_answer *answer;
    settings_new(&settings);
    if (settings_set(settings, "cache_dir", cache_dir, &error) != MTASTS_OK ||
        settings_set(settings, "nameservers", "127.0.0.1:1", &error) != MTASTS_OK ||
        context_new(settings, &context, &error) != MTASTS_OK ||
        look(context, "customer7.example.com", MTASTS_NUL_TERMINATED, 0, &answer, &error) != MTASTS_OK) {
        fprintf(stderr, "fresh: %s\n", error.message);
        return 1;
    }
    return mode(answer) != MTASTS_MODE_ENFORCE;
}

#define KINDS 4

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "none") == 0) return 0;
    if (argc == 3 && strcmp(argv[1], "open") == 0) return open_library(argv[2]) == NULL;
    if (argc == 4 && strcmp(argv[1], "lookup") == 0) return lookup(argv[2], argv[3]);
    if (argc != 6) return 2;
    const char *who = geteuid() == 0 ? "root" : "user";
    size_t runs = strtoul(argv[5], NULL, 10);
    char *self = argv[0];
    char *arguments[KINDS][5] = {
        {self, "none", NULL},
        {self, "open", argv[3], NULL},
        {self, "open", argv[2], NULL},
        {self, "lookup", argv[2], argv[4], NULL},
    };
    const char *what[KINDS] = {"without a library", "dlopen of an empty library", "dlopen of libmtasts",
                               "dlopen, settings, context, cached lookup"};
    double *took[KINDS], *busy[KINDS];
    long rss[KINDS] = {0};
    for (int k = 0; k < KINDS; k++) took[k] = calloc(runs, sizeof **took), busy[k] = calloc(runs, sizeof **busy);
    for (size_t i = 0; i < runs; i++)
        for (int k = 0; k < KINDS; k++) {
            pid_t child;
            int status;
            struct rusage usage;
            double start = now();
            if (posix_spawn(&child, self, NULL, NULL, arguments[k], environ) != 0) return 1;
            if (wait4(child, &status, 0, &usage) != child || status != 0) {
                fprintf(stderr, "fresh: %s failed\n", what[k]);
                return 1;
            }
            took[k][i] = now() - start;
            busy[k][i] = 1e3 * (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                         1e-3 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
            if (usage.ru_maxrss > rss[k]) rss[k] = usage.ru_maxrss;
        }
    for (int k = 0; k < KINDS; k++) {
        qsort(took[k], runs, sizeof **took, by_value);
        qsort(busy[k], runs, sizeof **busy, by_value);
        double p50 = took[k][runs / 2], added = p50 - took[0][runs / 2], cpu = busy[k][runs / 2] - busy[0][runs / 2];
        long kib = rss[k] - rss[0];
        printf("| %s: %s | %.3f | %.3f | %.3f | %.3f | %ld |", who, what[k], p50, took[k][runs / 10], added, cpu, kib);
        /* For an ordinary user: root's child costs a fork. */
        if (k == KINDS - 1 && geteuid() != 0)
            printf(" added < 0.45, RSS <= 3072 | %s |\n", added < 0.45 && kib <= 3072 ? "yes" : "**no**");
        else
            printf(" | |\n");
    }
    return 0;
}

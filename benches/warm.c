/* A warm process: what a cached lookup costs through the C ABI, beside an empty call and a random read of memory.
 *
 *     warm CACHE_DIR COUNT
 *
 * Prints rows of a table. Every round runs each case once; medians of processor time over all rounds. An answer is repeated from memory
 * for some seconds only, so each context is used for a shorter time than that and then replaced by a fresh one.
 */
#include "mtasts.h"
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CASES 9
#define CONTEXTS 20
#define ROUNDS 20
#define CALLS 10000
#define POLICY_SIZE 576

static mtasts_context *context;
static char *names; /* one behind the other, each from where `starts` says */
static size_t *starts, *order;
static size_t **blocks, at;
static size_t count;

/* The wall for how old a context is; the time of this thread for what a call costs, however busy the machine is. */
static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return 1e9 * (double)t.tv_sec + (double)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "warm: %s\n", what);
    exit(1);
}

static mtasts_answer *lookup(size_t i) {
    mtasts_answer *answer;
    if (mtasts_lookup(context, names + starts[i], starts[i + 1] - starts[i], 0, &answer, NULL) != MTASTS_OK) fail("lookup");
    return answer;
}

/* Lookup, mode, free. */
static void mode_of(size_t i) {
    mtasts_answer *answer = lookup(i);
    if (mtasts_answer_mode(answer) != MTASTS_MODE_ENFORCE) fail("not enforce");
    mtasts_answer_free(answer);
}

static void all_of(size_t i) {
    mtasts_answer *answer = lookup(i);
    if (mtasts_answer_mode(answer) != MTASTS_MODE_ENFORCE || mtasts_answer_mx(answer, 0)[0] != 'm') fail("not it");
    if (mtasts_answer_id(answer)[0] != '2') fail("no id");
    mtasts_answer_free(answer);
}

static void mx_of(size_t i) {
    mtasts_answer *answer = lookup(i);
    if (mtasts_answer_mode(answer) != MTASTS_MODE_ENFORCE || mtasts_answer_mx(answer, 0)[0] != 'm') fail("not it");
    mtasts_answer_free(answer);
}

static void allowed_by(size_t i) {
    mtasts_answer *answer = lookup(i);
    if (mtasts_answer_allows_mx(answer, "mail.example.com", 16) != 1) fail("not allowed");
    mtasts_answer_free(answer);
}

static void empty(size_t i) {
    if (mtasts_version_number() == i) fail("version");
}

/* What the processor waits for memory, once: each block says which is the next. */
static void touch(size_t i) {
    at = blocks[at][0];
    if (at == count) fail("memory");
    (void)i;
}

/* Case: name, function, random, target in ns. */
static const struct {
    const char *name;
    void (*run)(size_t);
    int random;
    double target;
} cases[CASES] = {
    {"an empty call", empty, 0, 0},
    {"one wait for memory, in as many octets as 10,000 policies take", touch, 1, 0},
    {"verdict (lookup, mode, free), hot", mode_of, 0, 100},
    {"verdict (lookup, mode, free), random of 10,000 domains", mode_of, 1, 200},
    {"lookup, mode, mx, free, hot", mx_of, 0, 250},
    {"lookup, mode, mx, id, free, hot", all_of, 0, 250},
    {"lookup, mode, mx, id, free, random", all_of, 1, 250},
    {"lookup, allows, free, hot", allowed_by, 0, 0},
    {"lookup, allows, free, random", allowed_by, 1, 0},
};

static double run(int which) {
    double start = now(CLOCK_THREAD_CPUTIME_ID);
    void (*f)(size_t) = cases[which].run;
    if (cases[which].random)
        for (size_t i = 0; i < CALLS; i++) {
            /* A caller has just read the name that it asks for. */
            __builtin_prefetch(names + starts[order[(i + 4) % count]]);
            f(order[i % count]);
        }
    else
        for (size_t i = 0; i < CALLS; i++) f(7 % count);
    return (now(CLOCK_THREAD_CPUTIME_ID) - start) / CALLS;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *samples, size_t n) {
    qsort(samples, n, sizeof *samples, by_value);
    return samples[n / 2];
}

int main(int argc, char **argv) {
    static double samples[CASES][CONTEXTS * ROUNDS], held[CONTEXTS];
    mtasts_settings *settings;
    if (argc != 3 || mtasts_abi_check(MTASTS_ABI) != MTASTS_OK) fail("usage: warm CACHE_DIR COUNT");
    count = strtoul(argv[2], NULL, 10);
    names = calloc(count + 1, 40), starts = calloc(count + 1, sizeof *starts);
    order = calloc(count, sizeof *order), blocks = calloc(count, sizeof *blocks);
    for (size_t i = 0; i < count; i++) {
        starts[i + 1] = starts[i] + (size_t)snprintf(names + starts[i], 40, "customer%zu.example.com", i);
        order[i] = i;
        blocks[i] = calloc(1, POLICY_SIZE);
    }
    srand(1);
    for (size_t i = count - 1; i > 0; i--) {
        size_t j = (size_t)rand() % (i + 1), other = order[i];
        order[i] = order[j], order[j] = other;
    }
    for (size_t i = 0; i < count; i++) blocks[order[i]][0] = order[(i + 1) % count];
    mtasts_settings_new(&settings);
    if (mtasts_settings_set(settings, "cache_dir", argv[1], NULL) != MTASTS_OK) fail("cache_dir");
    /* Should the cache fail us: nobody is there, and no other name server is asked. */
    mtasts_settings_set(settings, "nameservers", "127.0.0.1:1", NULL);
    size_t n = 0;
    for (int c = 0; c < CONTEXTS; c++) {
        mtasts_context_new(settings, &context, NULL);
        mode_of(0);
        size_t before = mallinfo2().uordblks;
        double start = now(CLOCK_MONOTONIC);
        for (size_t i = 0; i < count; i++) mode_of(i);
        held[c] = (double)(mallinfo2().uordblks - before) / (double)count;
        for (int round = 0; round < ROUNDS && now(CLOCK_MONOTONIC) - start < 3.5e9; round++, n++)
            for (int i = 0; i < CASES; i++) samples[i][n] = run(i);
        mtasts_context_free(context);
    }
    if (n < ROUNDS) fail("the machine is too slow: answers left the memory before they were measured");
    double floor = 0;
    for (int i = 0; i < CASES; i++) {
        double m = median(samples[i], n);
        if (i == 0) floor = m;
        printf("| %s | %.1f | %.1f | ", cases[i].name, m, m / floor);
        if (cases[i].target > 0)
            printf("< %.0f | %s |\n", cases[i].target, m < cases[i].target ? "yes" : "**no**");
        else
            printf("| |\n");
    }
    double memory = median(held, CONTEXTS);
    printf("| memory for each policy held in memory, octets | %.0f | | <= 300 | %s |\n", memory,
           memory <= 300 ? "yes" : "**no**");
    mtasts_settings_free(settings);
    return 0;
}

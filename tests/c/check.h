/* What the test programs share. A program ends with 0 and says nothing, or says on stderr what is wrong. */

#ifndef CHECK_H
#define CHECK_H

#include <mtasts.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The call gives this status. */
#define GIVES(status, call)                                                                                            \
    do {                                                                                                               \
        int32_t given = (call);                                                                                        \
        if (given != (status)) {                                                                                       \
            fprintf(stderr, "%s:%d: %s gives %d (%s), not %d\n", __FILE__, __LINE__, #call, (int)given,                \
                    mtasts_strerror(given), (int)(status));                                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* The verdict on a host from one sight. */
static inline int32_t judge(const mtasts_answer *answer, const char *host, const mtasts_seen *seen, mtasts_decision *out,
                            mtasts_error *error) {
    mtasts_attempt *attempt = NULL;
    int32_t status = mtasts_attempt_new(answer, host, MTASTS_NUL_TERMINATED, &attempt, error);
    if (status == MTASTS_OK)
        status = mtasts_attempt_saw(attempt, seen, out, error);
    mtasts_attempt_free(attempt);
    return status;
}

/* The call gives MTASTS_OK, and `error` is an mtasts_error that it was given. */
#define WORKS(call)                                                                                                    \
    do {                                                                                                               \
        int32_t given = (call);                                                                                        \
        if (given != MTASTS_OK) {                                                                                      \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, error.message);                              \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A context with this cache directory and these settings, as pairs of key and value up to a NULL. */
static inline mtasts_context *new_context(const char *cache_dir, const char *const *pairs) {
    mtasts_error error = {.size = sizeof error};
    mtasts_settings *settings = NULL;
    mtasts_context *context = NULL;
    WORKS(mtasts_settings_new(&settings));
    WORKS(mtasts_settings_set(settings, "cache_dir", cache_dir, &error));
    for (; pairs && *pairs; pairs += 2)
        WORKS(mtasts_settings_set(settings, pairs[0], pairs[1], &error));
    WORKS(mtasts_context_new(settings, &context, &error));
    mtasts_settings_free(settings);
    return context;
}

/* A context on the test Internet, whose hosts have addresses that are not public. Under helgrind a lookup takes seconds, and
 * on a busy machine many: it has the time. */
static inline mtasts_context *on_the_internet(const char *cache_dir) {
    const char *const pairs[] = {"allow_addresses", "198.18.0.0/15 2001:2::/48", "timeout", "300s", NULL};
    return new_context(cache_dir, pairs);
}

/* Looks a domain of the test Internet up, or asks DNS again; the mode has to be this. */
static inline void expect(const mtasts_context *context, const char *domain, int again, int32_t mode) {
    mtasts_error error = {.size = sizeof error};
    mtasts_answer *answer = NULL;
    if (again)
        WORKS(mtasts_recheck(context, domain, MTASTS_NUL_TERMINATED, 0, &answer, &error));
    else
        WORKS(mtasts_lookup(context, domain, MTASTS_NUL_TERMINATED, 0, &answer, &error));
    /* Under Valgrind a fetch may take longer than others wait for it. */
    const char *warning = mtasts_answer_warning(answer);
    if (mtasts_answer_mode(answer) != mode || (*warning && !strstr(warning, "without its lock"))) {
        fprintf(stderr, "%s (%s)\n", mtasts_answer_explanation(answer), mtasts_answer_warning(answer));
        exit(1);
    }
    mtasts_answer_free(answer);
}

#endif

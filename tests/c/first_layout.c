/*
 * A program that was compiled with the first released header: it stays as it is, whatever is added later, and has to work
 * with every later library that has the same MTASTS_ABI. So it includes no mtasts.h but says itself what stood there.
 *
 * first_layout CACHE_DIR      the cache holds a policy of enforced.example in mode enforce
 *
 * Each struct ends where memory ends: the library that reads or writes an octet more is killed.
 */

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <poll.h>
#include <unistd.h>

#define NUL_TERMINATED ((size_t)-1)

typedef struct mtasts_settings mtasts_settings;
typedef struct mtasts_context mtasts_context;
typedef struct mtasts_answer mtasts_answer;
typedef struct mtasts_queue mtasts_queue;

typedef struct mtasts_error {
    size_t size;
    int32_t code;
    char message[508];
} mtasts_error;

typedef struct mtasts_octets {
    const uint8_t *data;
    size_t length;
} mtasts_octets;

typedef struct mtasts_check {
    size_t size;
    int32_t result;
    char reason[508];
} mtasts_check;

typedef struct mtasts_seen {
    size_t size;
    int32_t kind;
    int32_t result;
    const char *reason;
} mtasts_seen;

typedef struct mtasts_decision {
    size_t size;
    int32_t action;
    int32_t result;
    char reason_code[508];
    char sentence[1540];
} mtasts_decision;

typedef struct mtasts_completion {
    size_t size;
    uint64_t id;
    void *user;
    mtasts_answer *answer;
    int32_t status;
    char message[508];
} mtasts_completion;

int32_t mtasts_abi_check(uint32_t);
int32_t mtasts_settings_new(mtasts_settings **);
int32_t mtasts_settings_set(mtasts_settings *, const char *, const char *, mtasts_error *);
void mtasts_settings_free(mtasts_settings *);
int32_t mtasts_context_new(const mtasts_settings *, mtasts_context **, mtasts_error *);
void mtasts_context_free(mtasts_context *);
int32_t mtasts_lookup(const mtasts_context *, const char *, size_t, uint32_t, mtasts_answer **, mtasts_error *);
void mtasts_answer_free(mtasts_answer *);
int32_t mtasts_verdict(const mtasts_answer *, const char *, size_t, const mtasts_seen *, mtasts_decision *,
                       mtasts_error *);
int32_t mtasts_check_name(const char *, size_t, const mtasts_octets *, mtasts_check *, mtasts_error *);
int32_t mtasts_from_openssl(int64_t, mtasts_check *);
int32_t mtasts_queue_new(const mtasts_context *, mtasts_queue **, mtasts_error *);
int32_t mtasts_queue_fd(const mtasts_queue *);
int32_t mtasts_queue_submit(const mtasts_queue *, const char *, size_t, uint32_t, void *, uint64_t *, mtasts_error *);
int32_t mtasts_queue_next(const mtasts_queue *, mtasts_completion *);
void mtasts_queue_free(mtasts_queue *);

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A struct of this size whose end is the end of memory, full of rubbish but for its size. */
static void *at_the_end(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && size <= page);
    CHECK(mprotect(memory + page, page, PROT_NONE) == 0);
    memset(memory, 0x5a, page);
    memcpy(memory + page - size, &size, sizeof size);
    return memory + page - size;
}

int main(int argc, char **argv) {
    mtasts_error *error = at_the_end(sizeof *error);
    mtasts_seen *seen = at_the_end(sizeof *seen);
    mtasts_decision *decision = at_the_end(sizeof *decision);
    mtasts_check *check = at_the_end(sizeof *check);
    mtasts_completion *done = at_the_end(sizeof *done);
    mtasts_settings *settings = NULL;
    mtasts_context *context = NULL;
    mtasts_answer *answer = NULL;
    mtasts_queue *queue = NULL;
    const uint8_t rubbish[] = {0x30, 0x82, 0xff};
    const mtasts_octets leaf = {rubbish, sizeof rubbish};
    uint64_t id = 0;

    CHECK(argc == 2 && mtasts_abi_check(1) == 0);
    CHECK(mtasts_settings_new(&settings) == 0);
    CHECK(mtasts_settings_set(settings, "no_such_setting", "1", error) == -4);
    CHECK(error->size == sizeof *error && error->code == -4 && strstr(error->message, "no_such_setting"));
    CHECK(mtasts_settings_set(settings, "cache_dir", argv[1], error) == 0);
    CHECK(mtasts_context_new(settings, &context, error) == 0);
    mtasts_settings_free(settings);
    CHECK(mtasts_lookup(context, "enforced.example", NUL_TERMINATED, 0, &answer, error) == 0);

    /* The host is on the list, and its certificate has expired. */
    CHECK(mtasts_from_openssl(10, check) == 0);
    CHECK(check->size == sizeof *check && check->result == 204 && check->reason[0]);
    seen->kind = 4, seen->result = check->result, seen->reason = check->reason;
    CHECK(mtasts_verdict(answer, "mx.enforced.example", NUL_TERMINATED, seen, decision, error) == 0);
    CHECK(decision->size == sizeof *decision && decision->action == 3 && decision->result == 204);
    /* A token and the reason. */
    CHECK(strncmp(decision->reason_code, "certificate-expired: ", 21) == 0);
    CHECK(strcmp(decision->reason_code + 21, check->reason) == 0 && strstr(decision->sentence, "mx.enforced.example"));
    seen->kind = 0, seen->result = 0, seen->reason = NULL;
    CHECK(mtasts_verdict(answer, "mx.enforced.example", NUL_TERMINATED, seen, decision, error) == 0);
    CHECK(decision->action == 1 && decision->result == 0 && !decision->reason_code[0] && decision->sentence[0]);
    seen->kind = 77;
    CHECK(mtasts_verdict(answer, "mx.enforced.example", NUL_TERMINATED, seen, decision, error) == -1);
    CHECK(error->code == -1 && error->message[0]);
    CHECK(mtasts_check_name("mx.enforced.example", NUL_TERMINATED, &leaf, check, error) == 0);
    CHECK(check->result != 0 && check->reason[0]);
    mtasts_answer_free(answer);

    CHECK(mtasts_queue_new(context, &queue, error) == 0);
    CHECK(mtasts_queue_submit(queue, "enforced.example", NUL_TERMINATED, 0, &id, &id, error) == 0);
    struct pollfd wait = {mtasts_queue_fd(queue), POLLIN, 0};
    CHECK(poll(&wait, 1, 60000) == 1 && mtasts_queue_next(queue, done) == 1);
    CHECK(done->size == sizeof *done && done->id == id && done->user == &id && done->status == 0 && !done->message[0]);
    CHECK(done->answer != NULL);
    mtasts_answer_free(done->answer);
    CHECK(mtasts_queue_next(queue, done) == 0);
    mtasts_queue_free(queue);
    mtasts_context_free(context);
    return 0;
}

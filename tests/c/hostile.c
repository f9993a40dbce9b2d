/*
 * Every exported function with every argument that a hostile or careless caller gives: an error code, no crash, and the
 * results untouched.
 *
 * hostile --list          the functions that are tried
 * hostile CACHE_DIR       tries them; the cache holds a policy of enforced.example in mode enforce
 */

#include "check.h"

#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#define MANY (10u << 20)

static mtasts_context *context;
static mtasts_answer *answer;

/* Ten million letters and no NUL, and behind them memory that must not be read. */
static char *endless;

static void prepare(const char *cache_dir) {
    mtasts_error error = {.size = sizeof error};
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, MANY + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 'a', MANY);
    CHECK(mprotect(memory + MANY, page, PROT_NONE) == 0);
    endless = memory;
    context = new_context(cache_dir, NULL);
    WORKS(mtasts_lookup_cached(context, "enforced.example", MTASTS_NUL_TERMINATED, &answer, &error));
    CHECK(mtasts_answer_mode(answer) == MTASTS_MODE_ENFORCE);
}

static void clean(void) {
    mtasts_answer_free(answer);
    mtasts_context_free(context);
    munmap(endless, MANY);
}

/* ---- error structs ---- */

/* An error that was never written. */
static mtasts_error blank_error(size_t size) {
    mtasts_error error;
    memset(&error, 0x5a, sizeof error);
    error.size = size;
    return error;
}

static bool untouched(const mtasts_error *error, size_t size) {
    mtasts_error blank = blank_error(size);
    return memcmp(error, &blank, sizeof blank) == 0;
}

/* A call that fails with `status`, tried with every kind of error struct: a good one tells, others stay as they are. */
#define FAILS(status, call_with_error)                                                                                 \
    do {                                                                                                               \
        mtasts_error *error = NULL;                                                                                    \
        mtasts_error good = blank_error(sizeof good), small = blank_error(sizeof small - 1), zero = blank_error(0),    \
                     huge = blank_error(SIZE_MAX);                                                                     \
        GIVES(status, call_with_error);                                                                                \
        error = &good;                                                                                                 \
        GIVES(status, call_with_error);                                                                                \
        CHECK(good.size == sizeof good && good.code == (status));                                                      \
        CHECK(good.message[0] && memchr(good.message, 0, sizeof good.message) != NULL);                                \
        for (const char *c = good.message; *c; c++)                                                                    \
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);                                                            \
        error = &small;                                                                                                \
        GIVES(status, call_with_error);                                                                                \
        CHECK(untouched(&small, sizeof small - 1));                                                                    \
        error = &zero;                                                                                                 \
        GIVES(status, call_with_error);                                                                                \
        CHECK(untouched(&zero, 0));                                                                                    \
        error = &huge;                                                                                                 \
        GIVES(status, call_with_error);                                                                                \
        CHECK(untouched(&huge, SIZE_MAX));                                                                             \
    } while (0)

/* ---- names ---- */

static const struct {
    const char *text;
    size_t length;
    int32_t status;
} bad_names[] = {
    {"", 0, MTASTS_E_NAME},
    {"", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {".", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"a..example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {".example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"\xff\xfe.example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"\xc3.example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"\xed\xa0\x80.example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"en\0forced.example", 17, MTASTS_E_NAME},
    {"enforced.example\0", 17, MTASTS_E_NAME},
    {"\0enforced.example", 17, MTASTS_E_NAME},
    {"enforced.example\n", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"enforced.example/..", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"../../etc/passwd", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"a b.example", MTASTS_NUL_TERMINATED, MTASTS_E_NAME},
    {"[192.0.2.1]", MTASTS_NUL_TERMINATED, MTASTS_E_ADDRESS},
    {"[IPv6:2001:db8::1]", MTASTS_NUL_TERMINATED, MTASTS_E_ADDRESS},
    {"192.0.2.1", MTASTS_NUL_TERMINATED, MTASTS_E_ADDRESS},
};

/* `call` uses `name`, `length` and `error`. */
#define REFUSES_BAD_NAMES(call)                                                                                        \
    do {                                                                                                               \
        for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {                                            \
            const char *name = bad_names[i].text;                                                                      \
            size_t length = bad_names[i].length;                                                                       \
            FAILS(bad_names[i].status, call);                                                                          \
        }                                                                                                              \
        const char *name = endless;                                                                                    \
        size_t length = MTASTS_NUL_TERMINATED;                                                                         \
        FAILS(MTASTS_E_NAME, call);                                                                                    \
        const size_t lengths[] = {254, 2048, 2049, MANY, MANY + 1, SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX - 1};      \
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {                                                \
            length = lengths[i];                                                                                       \
            FAILS(MTASTS_E_NAME, call);                                                                                \
        }                                                                                                              \
        name = NULL;                                                                                                   \
        FAILS(MTASTS_E_ARGUMENT, call);                                                                                \
        length = 0;                                                                                                    \
        FAILS(MTASTS_E_ARGUMENT, call);                                                                                \
        length = MTASTS_NUL_TERMINATED;                                                                                \
        FAILS(MTASTS_E_ARGUMENT, call);                                                                                \
    } while (0)

/* A mail domain that cannot have a policy is an answer, whatever it is; a text that is none at all is an error. `call` uses
 * `name`, `length` and `error`; `look` looks at what came of it. */
#define ANSWERS_BAD_NAMES(call, look)                                                                                  \
    do {                                                                                                               \
        mtasts_error *error = NULL;                                                                                    \
        for (size_t i = 0; i < sizeof bad_names / sizeof *bad_names; i++) {                                            \
            const char *name = bad_names[i].text;                                                                      \
            size_t length = bad_names[i].length;                                                                       \
            GIVES(MTASTS_OK, call);                                                                                    \
            look;                                                                                                      \
        }                                                                                                              \
        const size_t lengths[] = {MTASTS_NUL_TERMINATED, 254, 2048, 2049, MANY, MANY + 1, SIZE_MAX / 2};               \
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {                                                \
            const char *name = endless;                                                                                \
            size_t length = lengths[i];                                                                                \
            GIVES(MTASTS_OK, call);                                                                                    \
            look;                                                                                                      \
        }                                                                                                              \
    } while (0);                                                                                                       \
    do {                                                                                                               \
        const struct {                                                                                                 \
            const char *name;                                                                                          \
            size_t length;                                                                                             \
        } no_texts[] = {{endless, SIZE_MAX / 2 + 1}, {endless, SIZE_MAX - 1}, {NULL, 1}, {NULL, 0},                    \
                        {NULL, MTASTS_NUL_TERMINATED}};                                                                \
        for (size_t i = 0; i < sizeof no_texts / sizeof *no_texts; i++) {                                              \
            const char *name = no_texts[i].name;                                                                       \
            size_t length = no_texts[i].length;                                                                        \
            FAILS(MTASTS_E_ARGUMENT, call);                                                                            \
        }                                                                                                              \
    } while (0)

static void cannot_have_a_policy(mtasts_answer *out) {
    CHECK(mtasts_answer_source(out) == MTASTS_SOURCE_NO_POLICY && mtasts_answer_mode(out) == MTASTS_MODE_NONE);
    CHECK(!*mtasts_answer_domain(out) && !*mtasts_answer_id(out) && mtasts_answer_defer_until(out) == 0);
    CHECK(mtasts_answer_result(out) == 0 && !*mtasts_answer_warning(out));
    CHECK(strstr(mtasts_answer_detail(out), " is not a domain name (") != NULL);
    CHECK(strstr(mtasts_answer_explanation(out), "no policy is possible: ") == mtasts_answer_explanation(out));
    for (const char *c = mtasts_answer_explanation(out); *c; c++)
        CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    mtasts_answer_free(out);
}

/* ---- lookups ---- */

static mtasts_answer *const nobody = (mtasts_answer *)-1;

static void lookup(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_lookup(context, name, length, 0, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(NULL, "enforced.example", MTASTS_NUL_TERMINATED, 0, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, error));
    GIVES(MTASTS_OK, mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, UINT32_MAX, &out, NULL));
    mtasts_answer_free(out);
    /* A length that ends before the text does; and no NUL behind it. */
    GIVES(MTASTS_OK, mtasts_lookup(context, "enforced.example/..", 16, 1, &out, NULL));
    mtasts_answer_free(out);
}

static void lookup_cached(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_lookup_cached(context, name, length, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(NULL, "enforced.example", MTASTS_NUL_TERMINATED, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(context, "enforced.example", MTASTS_NUL_TERMINATED, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_lookup_cached(NULL, NULL, SIZE_MAX - 1, NULL, error));
}

static void recheck(void) {
    mtasts_answer *out = nobody;
    ANSWERS_BAD_NAMES(mtasts_recheck(context, name, length, 0, &out, error), cannot_have_a_policy(out); out = nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(NULL, "enforced.example", MTASTS_NUL_TERMINATED, 0, &out, error));
    CHECK(out == nobody);
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_recheck(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, error));
}

/* ---- the cache ---- */

static void listing_new(void) {
    mtasts_listing *const none = (mtasts_listing *)-1;
    mtasts_listing *out = none;
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(NULL, &out, error));
    CHECK(out == none);
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(context, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_listing_new(NULL, NULL, error));
    GIVES(MTASTS_OK, mtasts_listing_new(context, &out, NULL));
    const char *domain = mtasts_listing_next(out);
    CHECK(domain && strcmp(domain, "enforced.example") == 0);
    while (mtasts_listing_next(out)) {
    }
    CHECK(mtasts_listing_next(out) == NULL);
    mtasts_listing_free(out);
}

static void listing_next(void) { CHECK(mtasts_listing_next(NULL) == NULL); }

static void listing_free(void) { mtasts_listing_free(NULL); }

static void purge(void) {
    REFUSES_BAD_NAMES(mtasts_purge(context, name, length, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_purge(NULL, "enforced.example", MTASTS_NUL_TERMINATED, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_purge(NULL, NULL, SIZE_MAX - 1, error));
    GIVES(0, mtasts_purge(context, "unknown.example", MTASTS_NUL_TERMINATED, NULL));
}

static void context_new(void) {
    mtasts_context *out = (mtasts_context *)-1;
    FAILS(MTASTS_E_ARGUMENT, mtasts_context_new(NULL, NULL, error));
    GIVES(MTASTS_OK, mtasts_context_new(NULL, &out, NULL));
    mtasts_context_free(out);
}

static void context_free(void) { mtasts_context_free(NULL); }

static void context_ca_file(void) {
    mtasts_settings *settings = NULL;
    mtasts_context *out = NULL;
    CHECK(mtasts_context_ca_file(NULL) == NULL);
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    CHECK(mtasts_context_ca_file(out) == NULL);
    mtasts_context_free(out);
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "ca_file", "/nowhere/r\xc3\xb6\xc3\xb6ts", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    mtasts_settings_free(settings);
    CHECK(strcmp(mtasts_context_ca_file(out), "/nowhere/r\xc3\xb6\xc3\xb6ts") == 0);
    mtasts_context_free(out);
}

static void context_nameservers(void) {
    mtasts_settings *settings = NULL;
    mtasts_context *out = NULL;
    CHECK(mtasts_context_nameservers(NULL) == NULL);
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    CHECK(mtasts_context_nameservers(out) == NULL);
    mtasts_context_free(out);
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "nameservers", "192.0.2.1, [2001:db8::1]:5353", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &out, NULL));
    mtasts_settings_free(settings);
    CHECK(strcmp(mtasts_context_nameservers(out), "192.0.2.1:53 [2001:db8::1]:5353") == 0);
    mtasts_context_free(out);
}

/* ---- settings ---- */

static void settings_new(void) { GIVES(MTASTS_E_ARGUMENT, mtasts_settings_new(NULL)); }

static void settings_of_host(void) {
    mtasts_settings *const nothing = (mtasts_settings *)-1;
    mtasts_settings *out = nothing;
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_of_host(NULL, error));
    if (geteuid() == 0)
        return;
    setenv("MTASTS_CONFIG", "/nowhere/\xff\x01", 1);
    FAILS(MTASTS_E_SETTINGS, mtasts_settings_of_host(&out, error));
    CHECK(out == nothing);
    unsetenv("MTASTS_CONFIG");
}

static void settings_set(void) {
    static const char *const bad[][2] = {
        {"", ""},
        {"no_such_setting", "1"},
        {"cache_dir", "relative"},
        {"ca_file", ""},
        {"timeout", "0"},
        {"timeout", "-1"},
        {"timeout", "99999999999999999999"},
        {"timeout", ""},
        {"nameservers", "dns.example"},
        {"nameservers", "\x01\x1b[31m"},
        {"allow_addresses", "0.0.0.0/33"},
        {"nat64_prefixes", "64:ff9b::/95"},
        {"first_contact_defer", "\xc3\xa9"},
        {"txt_life_min", "1 h"},
        {"txt_life_max", "d"},
        {"Timeout", "30s"},
        {"\x1b[31m", "1"},
    };
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(MTASTS_E_SETTINGS, mtasts_settings_set(settings, bad[i][0], bad[i][1], error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(NULL, "timeout", "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, NULL, "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, endless, "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", endless, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "\xff", "30s", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(settings, "timeout", "\xff", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_set(NULL, NULL, NULL, error));
    mtasts_settings_free(settings);
}

static void settings_read_file(void) {
    static const char *const bad[] = {"", "/nowhere/mtasts.toml", "/", "/etc/passwd", "/dev/null/x", "\x01\x1b[31m"};
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        FAILS(MTASTS_E_SETTINGS, mtasts_settings_read_file(settings, bad[i], error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(NULL, "/etc/passwd", error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, endless, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_settings_read_file(settings, "/\xff", error));
    mtasts_settings_free(settings);
}

static void say_nothing(const char *line, void *user) {
    (void)line;
    (void)user;
}

static void settings_set_log(void) {
    mtasts_settings *settings = NULL;
    GIVES(MTASTS_E_ARGUMENT, mtasts_settings_set_log(NULL, NULL, NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_settings_set_log(NULL, say_nothing, NULL));
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_settings_set_log(settings, say_nothing, NULL));
    GIVES(MTASTS_OK, mtasts_settings_set_log(settings, NULL, (void *)1));
    mtasts_settings_free(settings);
}

static void settings_free(void) { mtasts_settings_free(NULL); }

/* ---- answers ---- */

static void answer_mode(void) { CHECK(mtasts_answer_mode(NULL) == MTASTS_MODE_NONE); }
static void answer_source(void) { CHECK(mtasts_answer_source(NULL) == 0); }
static void answer_domain(void) { CHECK(*mtasts_answer_domain(NULL) == 0); }
static void answer_id(void) { CHECK(*mtasts_answer_id(NULL) == 0); }
static void answer_fetched(void) { CHECK(mtasts_answer_fetched(NULL) == 0); }
static void answer_expires(void) { CHECK(mtasts_answer_expires(NULL) == 0); }
static void answer_defer_until(void) { CHECK(mtasts_answer_defer_until(NULL) == 0); }
static void answer_mx_count(void) { CHECK(mtasts_answer_mx_count(NULL) == 0); }
static void answer_result(void) { CHECK(mtasts_answer_result(NULL) == 0); }
static void answer_detail(void) { CHECK(*mtasts_answer_detail(NULL) == 0); }
static void answer_warning(void) { CHECK(*mtasts_answer_warning(NULL) == 0); }
static void answer_explanation(void) { CHECK(*mtasts_answer_explanation(NULL) == 0); }
static void answer_free(void) { mtasts_answer_free(NULL); }

static void answer_mx(void) {
    size_t count = mtasts_answer_mx_count(answer);
    CHECK(count == 2 && strcmp(mtasts_answer_mx(answer, 0), "mx.enforced.example") == 0);
    CHECK(strcmp(mtasts_answer_mx(answer, 1), "*.backup.example") == 0);
    CHECK(mtasts_answer_mx(answer, count) == NULL);
    CHECK(mtasts_answer_mx(answer, SIZE_MAX) == NULL);
    CHECK(mtasts_answer_mx(NULL, 0) == NULL);
    CHECK(mtasts_answer_mx(NULL, SIZE_MAX) == NULL);
}

static void answer_policy_key(void) {
    CHECK(strcmp(mtasts_answer_policy_key(NULL), "") == 0);
    CHECK(strncmp(mtasts_answer_policy_key(answer), "enforce ", 8) == 0);
}

static void answer_policy_text(void) {
    size_t length = 77;
    CHECK(mtasts_answer_policy_text(NULL, NULL) == NULL);
    CHECK(mtasts_answer_policy_text(NULL, &length) == NULL && length == 0);
    CHECK(mtasts_answer_policy_text(answer, NULL) != NULL);
    CHECK(memcmp(mtasts_answer_policy_text(answer, &length), "version: STSv1", 14) == 0 && length > 14);
}

/* It has no error struct: `error` keeps the tries of FAILS alike. */
static int32_t allows(const mtasts_answer *of, const char *name, size_t length, mtasts_error *error) {
    int32_t status = mtasts_answer_allows_mx(of, name, length);
    if (error && error->size == sizeof *error) {
        error->code = status;
        strcpy(error->message, mtasts_strerror(status));
    }
    return status;
}

static void answer_allows_mx(void) {
    REFUSES_BAD_NAMES(allows(answer, name, length, error));
    GIVES(MTASTS_E_ARGUMENT, mtasts_answer_allows_mx(NULL, "mx.enforced.example", MTASTS_NUL_TERMINATED));
    GIVES(MTASTS_E_ARGUMENT, mtasts_answer_allows_mx(NULL, NULL, SIZE_MAX - 1));
    GIVES(1, mtasts_answer_allows_mx(answer, "mx.enforced.example", MTASTS_NUL_TERMINATED));
    GIVES(0, mtasts_answer_allows_mx(answer, "mx.enforced.example.org", MTASTS_NUL_TERMINATED));
}

/* ---- DANE ---- */

static void hosts_lookup(void) {
    mtasts_hosts *const nothing = (mtasts_hosts *)-1;
    mtasts_hosts *out = nothing;
    const char *const one[] = {"mx.enforced.example"}, *const none[] = {NULL};
    const size_t nul = MTASTS_NUL_TERMINATED;
    REFUSES_BAD_NAMES(mtasts_hosts_lookup(context, name, length, one, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(NULL, "enforced.example", nul, one, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(context, "enforced.example", nul, NULL, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(context, "enforced.example", nul, none, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(context, "enforced.example", nul, one, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(context, "enforced.example", nul, one, 1, 0, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup(NULL, NULL, SIZE_MAX - 1, NULL, SIZE_MAX, UINT32_MAX, NULL, error));
    CHECK(out == nothing);
    GIVES(MTASTS_OK, mtasts_hosts_lookup(context, "enforced.example", nul, NULL, 0, 0, &out, NULL));
    mtasts_hosts_free(out);
}

static void hosts_lookup_cached(void) {
    mtasts_hosts *const nothing = (mtasts_hosts *)-1;
    mtasts_hosts *out = nothing;
    const char *const one[] = {"mx.enforced.example"}, *const none[] = {NULL};
    const size_t nul = MTASTS_NUL_TERMINATED;
    REFUSES_BAD_NAMES(mtasts_hosts_lookup_cached(context, name, length, one, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup_cached(NULL, "enforced.example", nul, one, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup_cached(context, "enforced.example", nul, NULL, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup_cached(context, "enforced.example", nul, none, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup_cached(context, "enforced.example", nul, one, SIZE_MAX, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_hosts_lookup_cached(context, "enforced.example", nul, one, 1, NULL, error));
    CHECK(out == nothing);
    GIVES(1, mtasts_hosts_lookup_cached(context, "enforced.example", nul, NULL, 0, &out, NULL));
    mtasts_hosts_free(out);
}

static void hosts_free(void) { mtasts_hosts_free(NULL); }

/* An attempt without DANE. */
static mtasts_attempt *an_attempt(void) {
    mtasts_attempt *attempt = NULL;
    GIVES(MTASTS_OK, mtasts_attempt_new(answer, "mx.enforced.example", MTASTS_NUL_TERMINATED, &attempt, NULL));
    return attempt;
}

static void attempt_new_with_hosts(void) {
    mtasts_attempt *const nothing = (mtasts_attempt *)-1;
    mtasts_attempt *out = nothing;
    mtasts_hosts *hosts = NULL;
    const size_t nul = MTASTS_NUL_TERMINATED;
    GIVES(MTASTS_OK, mtasts_hosts_lookup(context, "enforced.example", nul, NULL, 0, 0, &hosts, NULL));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new_with_hosts(NULL, hosts, "mx.enforced.example", nul, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new_with_hosts(answer, NULL, "mx.enforced.example", nul, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new_with_hosts(answer, hosts, NULL, nul, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new_with_hosts(answer, hosts, "mx.enforced.example", nul, NULL, error));
    CHECK(out == nothing);
    GIVES(MTASTS_OK, mtasts_attempt_new_with_hosts(answer, hosts, "mx.enforced.example", nul, &out, NULL));
    mtasts_hosts_free(hosts);
    GIVES(MTASTS_JUDGE_STS, mtasts_attempt_judge(out));
    mtasts_attempt_free(out);
}

static void attempt_judge(void) { GIVES(MTASTS_JUDGE_STS, mtasts_attempt_judge(NULL)); }

static void attempt_name(void) {
    mtasts_attempt *attempt = an_attempt();
    CHECK(mtasts_attempt_name(NULL, 0) == NULL && mtasts_attempt_name(NULL, SIZE_MAX) == NULL);
    CHECK(mtasts_attempt_name(attempt, 0) == NULL && mtasts_attempt_name(attempt, SIZE_MAX) == NULL);
    mtasts_attempt_free(attempt);
}

static void attempt_record(void) {
    mtasts_attempt *attempt = an_attempt();
    mtasts_octets out = {NULL, 77};
    GIVES(MTASTS_E_ARGUMENT, mtasts_attempt_record(attempt, 0, NULL));
    GIVES(0, mtasts_attempt_record(NULL, 0, &out));
    GIVES(0, mtasts_attempt_record(attempt, SIZE_MAX, &out));
    CHECK(out.length == 77);
    mtasts_attempt_free(attempt);
}

static void attempt_saw_chain(void) {
    mtasts_attempt *attempt = an_attempt();
    mtasts_decision out = {.size = sizeof out};
    mtasts_octets bad = {NULL, 5};
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(NULL, context, &bad, 0, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, NULL, &bad, 0, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, context, &bad, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, context, NULL, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, context, &bad, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, context, NULL, 0, 0, NULL, error));
    out.size = 0;
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw_chain(attempt, context, NULL, 0, 0, &out, error));
    mtasts_attempt_free(attempt);
}

/* ---- certificates ---- */

static mtasts_check blank_check(size_t size) {
    mtasts_check check;
    memset(&check, 0x5a, sizeof check);
    check.size = size;
    return check;
}

static void check_untouched(const mtasts_check *check, size_t size) {
    mtasts_check blank = blank_check(size);
    CHECK(memcmp(check, &blank, sizeof blank) == 0);
}

static const size_t wrong_check_sizes[] = {0, 1, sizeof(mtasts_check) - 1, 8193, SIZE_MAX};

static void verify_certificate(void) {
    static const uint8_t junk[] = {0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x30};
    const char *host = "mx.enforced.example";
    mtasts_octets chain[] = {{junk, sizeof junk}, {(const uint8_t *)endless, MANY}, {junk, 0}};
    mtasts_octets none[] = {{NULL, 0}};
    mtasts_octets long_none[] = {{NULL, SIZE_MAX}};
    mtasts_octets too_long[] = {{junk, SIZE_MAX}};
    mtasts_octets longer[] = {{junk, SIZE_MAX / 2 + 1}};
    mtasts_check out = blank_check(sizeof out);
    const size_t nul = MTASTS_NUL_TERMINATED;

    REFUSES_BAD_NAMES(mtasts_verify_certificate(context, name, length, chain, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(NULL, host, nul, chain, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, NULL, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, NULL, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, SIZE_MAX, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 10001, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, none, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, long_none, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, too_long, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, longer, 1, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 1, 0, NULL, error));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_verify_certificate(context, host, nul, chain, 1, 0, &out, error));
        check_untouched(&out, wrong_check_sizes[i]);
    }
    /* Rubbish of any size, at any time, is a bad certificate and no error. */
    const uint64_t times[] = {0, 1, UINT64_MAX / 2, UINT64_MAX};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        for (size_t count = 0; count <= 3; count++) {
            out = blank_check(sizeof out);
            GIVES(MTASTS_OK, mtasts_verify_certificate(context, host, nul, chain, count, times[i], &out, NULL));
            CHECK(mtasts_result_name(out.result) != NULL && out.reason[0]);
            CHECK(memchr(out.reason, 0, sizeof out.reason) != NULL);
        }
    }
    GIVES(MTASTS_OK, mtasts_verify_certificate(context, host, nul, NULL, 0, 0, &out, NULL));
    CHECK(out.result != 0);
}

static void check_name(void) {
    const uint8_t junk[] = {0x30, 0x82, 0xff, 0xff, 0x00};
    const char *host = "mx.enforced.example";
    mtasts_octets leaf = {junk, sizeof junk}, empty = {junk, 0}, none = {NULL, 0}, too_long = {junk, SIZE_MAX};
    mtasts_check out = blank_check(sizeof out);
    const size_t nul = MTASTS_NUL_TERMINATED;

    REFUSES_BAD_NAMES(mtasts_check_name(name, length, &leaf, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, NULL, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &none, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &too_long, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &leaf, NULL, error));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_check_name(host, nul, &leaf, &out, error));
        check_untouched(&out, wrong_check_sizes[i]);
    }
    /* Rubbish is a bad certificate and no error. */
    const mtasts_octets *const rubbish[] = {&leaf, &empty};
    for (size_t i = 0; i < 2; i++) {
        out = blank_check(sizeof out);
        GIVES(MTASTS_OK, mtasts_check_name(host, nul, rubbish[i], &out, NULL));
        CHECK(mtasts_result_name(out.result) != NULL && out.reason[0]);
    }
}

static void check_address(void) {
    static const char *const none[] = {"", "127.0.0.1 ", "[::1]", "fe80::1%eth0", "010.0.0.1", "localhost", "1.2.3.4\n",
                                       "\x1b[31m"};
    static const char *const refused[] = {"127.0.0.1", "::1", "::ffff:10.0.0.1", "0.0.0.0", "169.254.169.254", "2001:1::1"};
    static const char *const good[] = {"8.8.8.8", "2600::1", "64:ff9b::808:808"};
    const size_t nul = MTASTS_NUL_TERMINATED;

    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(NULL, "8.8.8.8", nul, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, NULL, nul, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, "8.8.8.8", 100000, error));
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        FAILS(MTASTS_E_ARGUMENT, mtasts_check_address(context, none[i], nul, error));
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        FAILS(MTASTS_E_REFUSED, mtasts_check_address(context, refused[i], nul, error));
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        GIVES(MTASTS_OK, mtasts_check_address(context, good[i], nul, NULL));
    GIVES(MTASTS_OK, mtasts_check_address(context, "8.8.8.8 and more", 7, NULL));

    mtasts_settings *settings = NULL;
    mtasts_context *lenient = NULL;
    GIVES(MTASTS_OK, mtasts_settings_new(&settings));
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "allow_addresses", "10.1.0.0/16", NULL));
    GIVES(MTASTS_OK, mtasts_settings_set(settings, "nat64_prefixes", "2a00:64::/96", NULL));
    GIVES(MTASTS_OK, mtasts_context_new(settings, &lenient, NULL));
    GIVES(MTASTS_OK, mtasts_check_address(lenient, "10.1.2.3", nul, NULL));
    FAILS(MTASTS_E_REFUSED, mtasts_check_address(lenient, "10.2.0.1", nul, error));
    FAILS(MTASTS_E_REFUSED, mtasts_check_address(lenient, "2a00:64::10.2.0.1", nul, error));
    mtasts_context_free(lenient);
    mtasts_settings_free(settings);
}

static void from_openssl(void) {
    const int64_t codes[] = {INT64_MIN, -1, 0, 10, 62, 9999, INT64_MAX};
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_openssl(0, NULL));
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        GIVES(MTASTS_OK, mtasts_from_openssl(codes[i], &out));
        CHECK((out.result == 0) == (codes[i] == 0));
        CHECK(out.result == 0 || mtasts_result_name(out.result) != NULL);
    }
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_openssl(10, &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}

static void from_gnutls(void) {
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_gnutls(0, NULL));
    for (uint32_t bit = 0; bit < 32; bit++) {
        GIVES(MTASTS_OK, mtasts_from_gnutls((uint32_t)1 << bit, &out));
        CHECK(mtasts_result_name(out.result) != NULL);
    }
    GIVES(MTASTS_OK, mtasts_from_gnutls(UINT32_MAX, &out));
    CHECK(mtasts_result_name(out.result) != NULL);
    GIVES(MTASTS_OK, mtasts_from_gnutls(0, &out));
    CHECK(out.result == 0);
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_gnutls(2, &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}

static void from_node(void) {
    const char *const codes[] = {"", "CERT_HAS_EXPIRED", "cert_has_expired", "no such code", "\x01\x1b[31m\n"};
    mtasts_check out = blank_check(sizeof out);
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(NULL, &out));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("CERT_HAS_EXPIRED", NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(NULL, NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("\xff", &out));
    GIVES(MTASTS_E_ARGUMENT, mtasts_from_node(endless, &out));
    check_untouched(&out, sizeof out);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        GIVES(MTASTS_OK, mtasts_from_node(codes[i], &out));
        CHECK(mtasts_result_name(out.result) != NULL);
        for (const char *c = out.reason; *c; c++)
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
    }
    for (size_t i = 0; i < sizeof wrong_check_sizes / sizeof *wrong_check_sizes; i++) {
        out = blank_check(wrong_check_sizes[i]);
        GIVES(MTASTS_E_ARGUMENT, mtasts_from_node("CERT_HAS_EXPIRED", &out));
        check_untouched(&out, wrong_check_sizes[i]);
    }
}

/* ---- verdict ---- */

static mtasts_decision blank_decision(size_t size) {
    mtasts_decision decision;
    memset(&decision, 0x5a, sizeof decision);
    decision.size = size;
    return decision;
}

static void decision_untouched(const mtasts_decision *decision, size_t size) {
    mtasts_decision blank = blank_decision(size);
    CHECK(memcmp(decision, &blank, sizeof blank) == 0);
}

/* ---- attempts ---- */

static mtasts_attempt *new_attempt(const char *host) {
    mtasts_attempt *attempt = NULL;
    GIVES(MTASTS_OK, mtasts_attempt_new(answer, host, MTASTS_NUL_TERMINATED, &attempt, NULL));
    return attempt;
}

static void attempt_new(void) {
    mtasts_attempt *const none = (mtasts_attempt *)-1, *out = none;
    const char *host = "mx.enforced.example";
    const size_t nul = MTASTS_NUL_TERMINATED;

    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new(NULL, host, nul, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new(answer, NULL, nul, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new(answer, NULL, 0, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new(answer, NULL, SIZE_MAX - 1, &out, error));
    CHECK(out == none);
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_new(answer, host, nul, NULL, error));
    /* Whatever an MX record names is a host that nothing is sent to, and no error. */
    const size_t tries = sizeof bad_names / sizeof *bad_names;
    for (size_t i = 0; i <= tries + 1; i++) {
        const char *name = i < tries ? bad_names[i].text : endless;
        size_t length = i < tries ? bad_names[i].length : i == tries ? nul : MANY;
        mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
        mtasts_decision decision = {.size = sizeof decision};
        mtasts_event event;
        memset(&event, 0x5a, sizeof event);
        event.size = sizeof event;
        GIVES(MTASTS_OK, mtasts_attempt_new(answer, name, length, &out, NULL));
        GIVES(MTASTS_OK, mtasts_attempt_saw(out, &seen, &decision, NULL));
        CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && decision.result == 205);
        GIVES(1, mtasts_attempt_finish(out, NULL, &event, NULL));
        CHECK(strcmp(event.reason_code, "mx-not-a-host-name") == 0);
        CHECK(memchr(event.host, 0, sizeof event.host) != NULL);
        for (const char *c = event.host; *c; c++)
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
        mtasts_attempt_free(out);
    }
}

static void attempt_saw(void) {
    mtasts_attempt *attempt = new_attempt("mx.enforced.example");
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_CERTIFICATE, .result = 204};
    mtasts_decision out = blank_decision(sizeof out);

    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(NULL, &seen, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, NULL, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(NULL, NULL, NULL, error));
    const int32_t kinds[] = {INT32_MIN, -1, MTASTS_SEEN_CERTIFICATE + 1, INT32_MAX};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        seen.kind = kinds[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, &out, error));
    }
    seen.kind = MTASTS_SEEN_CERTIFICATE;
    const int32_t results[] = {INT32_MIN, -1, 1, 200, 206, 300, 307, INT32_MAX};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        seen.result = results[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, &out, error));
    }
    seen.result = 204;
    const char *const reasons[] = {endless, "\xff"};
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        seen.reason = reasons[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, &out, error));
    }
    seen.reason = NULL;
    const size_t seen_sizes[] = {0, 1, sizeof seen - 1, 8193, SIZE_MAX};
    for (size_t i = 0; i < sizeof seen_sizes / sizeof *seen_sizes; i++) {
        seen.size = seen_sizes[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, &out, error));
    }
    seen.size = sizeof seen;
    decision_untouched(&out, sizeof out);
    const size_t sizes[] = {0, 1, sizeof out - 1, 8193, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        out = blank_decision(sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_saw(attempt, &seen, &out, error));
        decision_untouched(&out, sizes[i]);
    }
    /* None of that was seen: the host is good. */
    seen.result = 0;
    out = blank_decision(sizeof out);
    GIVES(MTASTS_OK, mtasts_attempt_saw(attempt, &seen, &out, NULL));
    CHECK(out.action == MTASTS_ACTION_DELIVER && out.result == 0);
    mtasts_attempt_free(attempt);

    /* A reason with everything in it that may not come out: one clean line all the same, and room for the NUL. */
    char reason[60000];
    for (size_t i = 0; i < sizeof reason - 1; i++)
        reason[i] = (char)(i % 127 + 1);
    reason[sizeof reason - 1] = 0;
    seen.result = 204, seen.reason = reason;
    for (seen.kind = MTASTS_SEEN_NAME; seen.kind <= MTASTS_SEEN_CERTIFICATE; seen.kind++) {
        attempt = new_attempt("mx.enforced.example");
        out = blank_decision(sizeof out);
        GIVES(MTASTS_OK, mtasts_attempt_saw(attempt, &seen, &out, NULL));
        CHECK(out.action >= MTASTS_ACTION_DELIVER && out.action <= MTASTS_ACTION_DEFER);
        CHECK(memchr(out.reason_code, 0, sizeof out.reason_code) && memchr(out.sentence, 0, sizeof out.sentence));
        for (const char *c = out.sentence; *c; c++)
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
        for (const char *c = out.reason_code; *c; c++)
            CHECK((unsigned char)*c >= 0x20 && *c != 0x7f);
        mtasts_attempt_free(attempt);
    }
}

static void attempt_finish(void) {
    mtasts_attempt *attempt = new_attempt("evil.example");
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_peer peer = {.size = sizeof peer, .channel = MTASTS_CHANNEL_NONE};
    mtasts_event out, blank;
    memset(&blank, 0x5a, sizeof blank);
    blank.size = sizeof blank;
    out = blank;
    GIVES(MTASTS_OK, mtasts_attempt_saw(attempt, &seen, &decision, NULL));

    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(NULL, &peer, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(NULL, NULL, NULL, error));
    const int32_t channels[] = {INT32_MIN, -1, MTASTS_CHANNEL_TLS + 1, INT32_MAX};
    for (size_t i = 0; i < sizeof channels / sizeof *channels; i++) {
        peer.channel = channels[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, &out, error));
    }
    peer.channel = MTASTS_CHANNEL_TLS;
    const char *const addresses[] = {"", "localhost", "[::1]", "fe80::1%eth0", "127.0.0.1 ", "\xff", endless};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        peer.address = addresses[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, &out, error));
        peer.address = NULL, peer.local_address = addresses[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, &out, error));
        peer.local_address = NULL;
    }
    const size_t peer_sizes[] = {0, 1, sizeof peer - 1, 8193, SIZE_MAX};
    for (size_t i = 0; i < sizeof peer_sizes / sizeof *peer_sizes; i++) {
        peer.size = peer_sizes[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, &out, error));
    }
    peer.size = sizeof peer;
    CHECK(memcmp(&out, &blank, sizeof blank) == 0);
    const size_t sizes[] = {0, 1, offsetof(mtasts_event, policy_domain) - 1, 8193, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        out.size = blank.size = sizes[i];
        FAILS(MTASTS_E_ARGUMENT, mtasts_attempt_finish(attempt, &peer, &out, error));
        CHECK(memcmp(&out, &blank, sizeof blank) == 0);
    }
    /* None of that has ended the attempt, and what ends it is counted once. */
    out.size = sizeof out;
    peer.address = "2001:0db8::0001", peer.local_address = "192.0.2.1";
    GIVES(1, mtasts_attempt_finish(attempt, &peer, &out, NULL));
    CHECK(out.policy_type == MTASTS_POLICY_STS && out.result == 205);
    CHECK(strcmp(out.host, "evil.example") == 0 && strcmp(out.reason_code, "mx-host-not-in-policy") == 0);
    CHECK(strcmp(out.address, "2001:db8::1") == 0 && strcmp(out.local_address, "192.0.2.1") == 0);
    out = blank;
    out.size = blank.size = sizeof out;
    GIVES(0, mtasts_attempt_finish(attempt, &peer, &out, NULL));
    CHECK(memcmp(&out, &blank, sizeof blank) == 0);
    mtasts_attempt_free(attempt);
}

static void attempt_free(void) { mtasts_attempt_free(NULL); }

static void verdict_without_host(void) {
    mtasts_decision out = blank_decision(sizeof out);
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host(NULL, MTASTS_NO_HOST_LEFT, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host(answer, MTASTS_NO_HOST_LEFT, NULL, error));
    const int32_t whys[] = {INT32_MIN, -1, MTASTS_NO_HOST_NOT_LISTED + 1, INT32_MAX};
    for (size_t i = 0; i < sizeof whys / sizeof *whys; i++)
        FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host(answer, whys[i], &out, error));
    decision_untouched(&out, sizeof out);
    const size_t sizes[] = {0, 1, sizeof out - 1, 8193, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        out = blank_decision(sizes[i]);
        FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host(answer, MTASTS_NO_HOST_NXDOMAIN, &out, error));
        decision_untouched(&out, sizes[i]);
    }
    for (int32_t why = MTASTS_NO_HOST_LEFT; why <= MTASTS_NO_HOST_NOT_LISTED; why++) {
        out = blank_decision(sizeof out);
        GIVES(MTASTS_OK, mtasts_verdict_without_host(answer, why, &out, NULL));
        CHECK(out.action == MTASTS_ACTION_DEFER && out.sentence[0] && out.reason_code[0]);
    }
}

static void verdict_without_host_of(void) {
    mtasts_decision out = blank_decision(sizeof out);
    const char *hosts[] = {"mx.elsewhere.example", "\xff\xfe", ""};
    const char *reasons[] = {"a: b", NULL, "\xff"};
    const char *none[] = {NULL};
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(NULL, MTASTS_NO_HOST_LEFT, hosts, reasons, 3, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, hosts, reasons, 3, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(answer, -1, hosts, reasons, 3, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, NULL, reasons, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, none, NULL, 1, &out, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, hosts, NULL, SIZE_MAX, &out, error));
    decision_untouched(&out, sizeof out);
    for (int32_t why = MTASTS_NO_HOST_LEFT; why <= MTASTS_NO_HOST_NOT_LISTED; why++) {
        out = blank_decision(sizeof out);
        GIVES(MTASTS_OK, mtasts_verdict_without_host_of(answer, why, hosts, reasons, 3, &out, NULL));
        CHECK(out.action == MTASTS_ACTION_DEFER && strstr(out.sentence, "mx.elsewhere.example [a: b]"));
    }
}

static void answer_is_same_policy(void) {
    GIVES(MTASTS_E_ARGUMENT, mtasts_answer_is_same_policy(NULL, answer));
    GIVES(MTASTS_E_ARGUMENT, mtasts_answer_is_same_policy(answer, NULL));
    GIVES(MTASTS_E_ARGUMENT, mtasts_answer_is_same_policy(NULL, NULL));
    GIVES(1, mtasts_answer_is_same_policy(answer, answer));
}

static void answer_enforces(void) {
    GIVES(0, mtasts_answer_enforces(NULL));
    GIVES(1, mtasts_answer_enforces(answer));
}

static void answer_applies(void) {
    GIVES(0, mtasts_answer_applies(NULL));
    GIVES(1, mtasts_answer_applies(answer));
}

static void action_delivers(void) {
    const int32_t others[] = {INT32_MIN, -1, 0, MTASTS_ACTION_SKIP_HOST, MTASTS_ACTION_DEFER, 5, INT32_MAX};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        GIVES(0, mtasts_action_delivers(others[i]));
    GIVES(1, mtasts_action_delivers(MTASTS_ACTION_DELIVER));
    GIVES(1, mtasts_action_delivers(MTASTS_ACTION_DELIVER_AND_REPORT));
}

static void action_defers(void) {
    const int32_t others[] = {INT32_MIN, -1, 0, 1, 2, MTASTS_ACTION_SKIP_HOST, 5, INT32_MAX};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        GIVES(0, mtasts_action_defers(others[i]));
    GIVES(1, mtasts_action_defers(MTASTS_ACTION_DEFER));
}

/* ---- versions and names ---- */

static void version(void) { CHECK(mtasts_version() != NULL); }
static void version_number(void) { CHECK(mtasts_version_number() != 0); }

/* Not in the header and not in a release: a defect on purpose. */
int32_t mtasts_test_panic(void);

static void test_panic(void) {
    GIVES(MTASTS_E_DEFECT, mtasts_test_panic());
    /* And the library goes on. */
    GIVES(MTASTS_E_DEFECT, mtasts_test_panic());
    GIVES(1, mtasts_answer_allows_mx(answer, "mx.enforced.example", MTASTS_NUL_TERMINATED));
}

static void abi_check(void) {
    GIVES(MTASTS_OK, mtasts_abi_check(MTASTS_ABI));
    GIVES(MTASTS_E_ABI, mtasts_abi_check(MTASTS_ABI + 1));
    GIVES(MTASTS_E_ABI, mtasts_abi_check(UINT32_MAX));
}

static const int32_t odd_numbers[] = {INT32_MIN, -1000, -11, 1, 200, 206, 300, 307, INT32_MAX};

static void strerror_(void) {
    for (size_t i = 0; i < sizeof odd_numbers / sizeof *odd_numbers; i++)
        CHECK(strcmp(mtasts_strerror(odd_numbers[i]), "unknown status") == 0);
}

static void result_name(void) {
    for (size_t i = 0; i < sizeof odd_numbers / sizeof *odd_numbers; i++)
        CHECK(mtasts_result_name(odd_numbers[i]) == NULL);
}

/* ---- the completion queue; tests/c/queue.c uses it ---- */

static mtasts_queue *new_queue(void) {
    mtasts_queue *queue = NULL;
    GIVES(MTASTS_OK, mtasts_queue_new(context, &queue, NULL));
    return queue;
}

static void queue_new(void) {
    mtasts_queue *const none = (mtasts_queue *)-1, *out = none;
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(NULL, &out, error));
    CHECK(out == none);
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(context, NULL, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_new(NULL, NULL, error));
}

static void queue_fd(void) { GIVES(MTASTS_E_ARGUMENT, mtasts_queue_fd(NULL)); }

/* A lookup that is complete when it was submitted. */
static void is_complete(mtasts_queue *queue, uint64_t *id) {
    mtasts_completion done = {.size = sizeof done};
    GIVES(1, mtasts_queue_next(queue, &done));
    CHECK(done.id == *id && done.status == MTASTS_OK);
    cannot_have_a_policy(done.answer);
    *id = 77;
}

static void queue_submit(void) {
    mtasts_queue *queue = new_queue();
    uint64_t id = 77;
    ANSWERS_BAD_NAMES(mtasts_queue_submit(queue, name, length, 0, NULL, &id, error), is_complete(queue, &id));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_submit(NULL, "a.example", MTASTS_NUL_TERMINATED, 0, NULL, &id, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_submit(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, NULL, error));
    CHECK(id == 77);
    mtasts_queue_free(queue);
}

static void queue_recheck(void) {
    mtasts_queue *queue = new_queue();
    uint64_t id = 77;
    ANSWERS_BAD_NAMES(mtasts_queue_recheck(queue, name, length, 0, NULL, &id, error), is_complete(queue, &id));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_recheck(NULL, "a.example", MTASTS_NUL_TERMINATED, 0, NULL, &id, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_queue_recheck(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, NULL, error));
    CHECK(id == 77);
    mtasts_queue_free(queue);
}

static void queue_next(void) {
    mtasts_completion done = {.size = sizeof done, .id = 77, .status = 77};
    const size_t sizes[] = {0, sizeof done - 1, 8193, SIZE_MAX};
    mtasts_queue *queue = new_queue();
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(NULL, &done));
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(queue, NULL));
    GIVES(0, mtasts_queue_next(queue, &done));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        done.size = sizes[i];
        GIVES(MTASTS_E_ARGUMENT, mtasts_queue_next(queue, &done));
    }
    CHECK(done.id == 77 && done.status == 77);
    mtasts_queue_free(queue);
}

static void queue_cancel(void) {
    mtasts_queue *queue = new_queue();
    GIVES(MTASTS_E_ARGUMENT, mtasts_queue_cancel(NULL, 1));
    GIVES(0, mtasts_queue_cancel(queue, 0));
    GIVES(0, mtasts_queue_cancel(queue, UINT64_MAX));
    mtasts_queue_free(queue);
}

static void queue_free(void) { mtasts_queue_free(NULL); }

/* ---- Exim ---- */

/* Exim's ERROR is 3 and its FAIL_FORCED 4: a mail may bounce then. Every failure is a DEFER, 1, with a text. */
typedef int exim_function(unsigned char **, int, unsigned char **);

static void defers(exim_function *function, int argc, unsigned char **argv) {
    unsigned char *result = NULL;
    CHECK(function(&result, argc, argv) == 1);
    CHECK(result != NULL && strncmp((char *)result, "mtasts[", 7) == 0);
    for (const unsigned char *c = result; *c; c++)
        CHECK(*c >= 0x20 && *c != 0x7f);
    CHECK(function(NULL, argc, argv) == 1);
}

/* `arguments` is how many the function takes at the most, `least` how many it has to have. */
static void exim_of(exim_function *function, int least, int arguments) {
    unsigned char domain[] = "enforced.example", invalid[] = "\xff\xfe";
    unsigned char *argv[8];
    for (int i = 0; i < 8; i++)
        argv[i] = domain;
    const int counts[] = {-2147483647 - 1, -1, 8, 2147483647};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        defers(function, counts[i], argv);
    for (int count = 0; count <= 7; count++) {
        if ((count < least || count > arguments) && arguments > 0) {
            defers(function, count, argv);
            defers(function, count, NULL);
        }
    }
    /* A domain that is not UTF-8 cannot have a policy. */
    if (arguments > 0) {
        unsigned char *result = NULL;
        argv[0] = invalid;
        CHECK(function(&result, arguments, argv) == 0 && result != NULL);
        const char *text = (const char *)result;
        CHECK(strcmp(text, "enforce") != 0 && strstr(text, "mode=enforce") == NULL && strstr(text, "enforce=yes") == NULL);
        CHECK(strchr(text, '\xff') == NULL);
        argv[0] = domain;
    }
    for (int i = 0; i < arguments; i++) {
        unsigned char *bad[] = {NULL, (unsigned char *)endless};
        for (size_t j = 0; j < sizeof bad / sizeof *bad; j++) {
            argv[i] = bad[j];
            defers(function, arguments, argv);
        }
        argv[i] = domain;
    }
    if (arguments > 0)
        defers(function, arguments, NULL);
}

static void exim(exim_function *function, int arguments) { exim_of(function, arguments, arguments); }

static void exim_lookup(void) { exim_of(mtasts_exim_lookup, 1, 2); }
static void exim_mode(void) { exim(mtasts_exim_mode, 1); }
static void exim_recheck(void) { exim(mtasts_exim_recheck, 1); }
static void exim_check_mx(void) { exim(mtasts_exim_check_mx, 2); }
static void exim_event(void) { exim(mtasts_exim_event, 7); }
static void exim_version(void) { exim(mtasts_exim_version, 0); }

/* ---- TLS reports ---- */

static void tlsrpt_record(void) {
    char buffer[MTASTS_TLSRPT_RECORD_SIZE];
    const size_t nul = MTASTS_NUL_TERMINATED, size = sizeof buffer;
    REFUSES_BAD_NAMES(mtasts_tlsrpt_record(context, name, length, 1, buffer, size, error));
    memset(buffer, 0x5a, size);
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_record(NULL, "enforced.example", nul, 1, buffer, size, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_record(context, "enforced.example", nul, 1, NULL, size, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_record(context, "enforced.example", nul, 1, buffer, size - 1, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_record(context, "enforced.example", nul, 1, buffer, 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_record(NULL, NULL, SIZE_MAX - 1, UINT32_MAX, NULL, SIZE_MAX, error));
    for (size_t i = 0; i < size; i++)
        CHECK(buffer[i] == 0x5a);
}

static void tlsrpt_report(void) {
    mtasts_attempt *attempt = an_attempt();
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_report(NULL, attempt, 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_report(context, NULL, 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_report(NULL, NULL, UINT32_MAX, error));
    GIVES(MTASTS_OK, mtasts_tlsrpt_report(context, attempt, 0, NULL));
    mtasts_attempt_free(attempt);
}

static void tlsrpt_mail(void) {
    mtasts_attempt *attempt = an_attempt();
    const size_t nul = MTASTS_NUL_TERMINATED;
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_mail(NULL, attempt, "", 0, "", 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_mail(context, NULL, "", 0, "", 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_mail(context, attempt, NULL, 0, "", 0, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_mail(context, attempt, "", 0, NULL, nul, error));
    FAILS(MTASTS_E_ARGUMENT, mtasts_tlsrpt_mail(context, attempt, "", SIZE_MAX - 1, "", 0, error));
    GIVES(MTASTS_OK, mtasts_tlsrpt_mail(context, attempt, "\xff\xfe@x", nul, "\0no", 3, NULL));
    mtasts_attempt_free(attempt);
}

/* ---- all of them ---- */

static const struct {
    const char *name;
    void (*try)(void);
} functions[] = {
    {"mtasts_abi_check", abi_check},
    {"mtasts_action_defers", action_defers},
    {"mtasts_action_delivers", action_delivers},
    {"mtasts_answer_allows_mx", answer_allows_mx},
    {"mtasts_answer_applies", answer_applies},
    {"mtasts_answer_defer_until", answer_defer_until},
    {"mtasts_answer_detail", answer_detail},
    {"mtasts_answer_domain", answer_domain},
    {"mtasts_answer_expires", answer_expires},
    {"mtasts_answer_enforces", answer_enforces},
    {"mtasts_answer_explanation", answer_explanation},
    {"mtasts_answer_fetched", answer_fetched},
    {"mtasts_answer_free", answer_free},
    {"mtasts_answer_id", answer_id},
    {"mtasts_answer_is_same_policy", answer_is_same_policy},
    {"mtasts_answer_mode", answer_mode},
    {"mtasts_answer_mx", answer_mx},
    {"mtasts_answer_mx_count", answer_mx_count},
    {"mtasts_answer_policy_key", answer_policy_key},
    {"mtasts_answer_policy_text", answer_policy_text},
    {"mtasts_answer_result", answer_result},
    {"mtasts_answer_source", answer_source},
    {"mtasts_answer_warning", answer_warning},
    {"mtasts_attempt_finish", attempt_finish},
    {"mtasts_hosts_lookup", hosts_lookup},
    {"mtasts_hosts_lookup_cached", hosts_lookup_cached},
    {"mtasts_hosts_free", hosts_free},
    {"mtasts_attempt_new_with_hosts", attempt_new_with_hosts},
    {"mtasts_attempt_judge", attempt_judge},
    {"mtasts_attempt_name", attempt_name},
    {"mtasts_attempt_record", attempt_record},
    {"mtasts_attempt_saw_chain", attempt_saw_chain},
    {"mtasts_attempt_free", attempt_free},
    {"mtasts_attempt_new", attempt_new},
    {"mtasts_attempt_saw", attempt_saw},
    {"mtasts_check_address", check_address},
    {"mtasts_verify_certificate", verify_certificate},
    {"mtasts_tlsrpt_mail", tlsrpt_mail},
    {"mtasts_tlsrpt_record", tlsrpt_record},
    {"mtasts_tlsrpt_report", tlsrpt_report},
    {"mtasts_from_gnutls", from_gnutls},
    {"mtasts_check_name", check_name},
    {"mtasts_from_node", from_node},
    {"mtasts_from_openssl", from_openssl},
    {"mtasts_context_free", context_free},
    {"mtasts_context_ca_file", context_ca_file},
    {"mtasts_context_nameservers", context_nameservers},
    {"mtasts_context_new", context_new},
    {"mtasts_exim_check_mx", exim_check_mx},
    {"mtasts_exim_event", exim_event},
    {"mtasts_exim_lookup", exim_lookup},
    {"mtasts_exim_mode", exim_mode},
    {"mtasts_exim_recheck", exim_recheck},
    {"mtasts_exim_version", exim_version},
    {"mtasts_listing_free", listing_free},
    {"mtasts_listing_new", listing_new},
    {"mtasts_listing_next", listing_next},
    {"mtasts_lookup", lookup},
    {"mtasts_lookup_cached", lookup_cached},
    {"mtasts_purge", purge},
    {"mtasts_queue_cancel", queue_cancel},
    {"mtasts_queue_fd", queue_fd},
    {"mtasts_queue_free", queue_free},
    {"mtasts_queue_new", queue_new},
    {"mtasts_queue_next", queue_next},
    {"mtasts_queue_recheck", queue_recheck},
    {"mtasts_queue_submit", queue_submit},
    {"mtasts_recheck", recheck},
    {"mtasts_result_name", result_name},
    {"mtasts_settings_free", settings_free},
    {"mtasts_settings_new", settings_new},
    {"mtasts_settings_of_host", settings_of_host},
    {"mtasts_settings_read_file", settings_read_file},
    {"mtasts_settings_set", settings_set},
    {"mtasts_settings_set_log", settings_set_log},
    {"mtasts_strerror", strerror_},
    {"mtasts_test_panic", test_panic},
    {"mtasts_verdict_without_host", verdict_without_host},
    {"mtasts_verdict_without_host_of", verdict_without_host_of},
    {"mtasts_version", version},
    {"mtasts_version_number", version_number},
};

int main(int argc, char **argv) {
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;
    CHECK(argc == 2);
    if (!list)
        prepare(argv[1]);
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
        if (list)
            puts(functions[i].name);
        else
            functions[i].try();
    }
    if (!list)
        clean();
    return 0;
}

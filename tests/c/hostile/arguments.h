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

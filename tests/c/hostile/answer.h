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

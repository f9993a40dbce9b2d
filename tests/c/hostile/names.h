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

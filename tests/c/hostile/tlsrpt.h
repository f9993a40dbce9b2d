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

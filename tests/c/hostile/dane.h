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

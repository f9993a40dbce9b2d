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

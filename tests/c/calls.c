/*
 * What each function says where all is well and no network is needed.
 *
 * calls CACHE_DIR OPEN_DIR     the first holds a policy of enforced.example, everyone may write to the second
 */

#include "check.h"

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void versions(void) {
    char text[32];
    CHECK(MTASTS_VERSION_NUMBER == (MTASTS_VERSION_MAJOR << 16 | MTASTS_VERSION_MINOR << 8 | MTASTS_VERSION_PATCH));
    CHECK(mtasts_version_number() == MTASTS_VERSION_NUMBER);
    snprintf(text, sizeof text, "%d.%d.%d", MTASTS_VERSION_MAJOR, MTASTS_VERSION_MINOR, MTASTS_VERSION_PATCH);
    CHECK(strcmp(mtasts_version(), text) == 0);
    GIVES(MTASTS_OK, mtasts_abi_check(MTASTS_ABI));
}

static void names(void) {
    static const struct {
        int32_t result;
        const char *name;
    } results[] = {
        {201, "starttls-not-supported"}, {202, "certificate-host-mismatch"}, {203, "certificate-not-trusted"},
        {204, "certificate-expired"},    {205, "validation-failure"},        {301, "sts-policy-fetch-error"},
        {302, "sts-policy-invalid"},     {303, "sts-webpki-invalid"},        {304, "tlsa-invalid"},
        {305, "dnssec-invalid"},         {306, "dane-required"},
    };
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        CHECK(strcmp(mtasts_result_name(results[i].result), results[i].name) == 0);
    for (int32_t status = MTASTS_E_ABI; status <= MTASTS_OK; status++)
        CHECK(strcmp(mtasts_strerror(status), "unknown status") != 0);
}

static void verdicts(const mtasts_answer *answer) {
    mtasts_error error = {.size = sizeof error};
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_check check = {.size = sizeof check};

    WORKS(judge(answer, "MX.Enforced.Example.", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DELIVER && decision.result == 0 && !decision.reason_code[0]);
    WORKS(judge(answer, "a.backup.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DELIVER);
    WORKS(judge(answer, "evil.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && decision.result == 205);
    CHECK(strcmp(decision.reason_code, "mx-host-not-in-policy") == 0);
    CHECK(strstr(decision.sentence, "evil.example is not in the MTA-STS policy of enforced.example") != NULL);

    seen.kind = MTASTS_SEEN_STARTTLS_NOT_OFFERED;
    WORKS(judge(answer, "mx.enforced.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && decision.result == 201);

    seen.kind = MTASTS_SEEN_CERTIFICATE;
    WORKS(judge(answer, "mx.enforced.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DELIVER && decision.result == 0);
    WORKS(mtasts_from_openssl(10, &check));
    seen.result = check.result;
    seen.reason = check.reason;
    WORKS(judge(answer, "mx.enforced.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && decision.result == 204);
    CHECK(strstr(decision.reason_code, ": ") && strcmp(strstr(decision.reason_code, ": ") + 2, check.reason) == 0);

    WORKS(mtasts_verdict_without_host(answer, MTASTS_NO_HOST_LEFT, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DEFER);
}

/* What was seen is not forgotten, and a session counts once. */
static void attempts(mtasts_answer *answer) {
    mtasts_error error = {.size = sizeof error};
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_peer peer = {.size = sizeof peer, .channel = MTASTS_CHANNEL_TLS, .address = "192.0.2.1"};
    mtasts_event event = {.size = sizeof event};
    mtasts_attempt *attempt = NULL;
    const size_t nul = MTASTS_NUL_TERMINATED;

    WORKS(mtasts_attempt_new(answer, "MX.Enforced.Example.", nul, &attempt, &error));
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    CHECK(mtasts_action_delivers(decision.action));
    seen.kind = MTASTS_SEEN_CERTIFICATE;
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    CHECK(mtasts_action_delivers(decision.action));
    GIVES(1, mtasts_attempt_finish(attempt, &peer, &event, &error));
    CHECK(event.policy_type == MTASTS_POLICY_STS && event.result == 0 && !event.reason_code[0]);
    CHECK(strcmp(event.host, "mx.enforced.example") == 0 && strcmp(event.address, "192.0.2.1") == 0);
    CHECK(!event.local_address[0]);
    GIVES(0, mtasts_attempt_finish(attempt, &peer, &event, &error));
    mtasts_attempt_free(attempt);

    /* A good certificate does not allow a host that the policy does not list. */
    WORKS(mtasts_attempt_new(answer, "m_x.enforced.example", nul, &attempt, &error));
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && decision.result == 205);
    seen.kind = MTASTS_SEEN_NAME;
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST);
    CHECK(strcmp(decision.reason_code, "mx-not-a-host-name") == 0);

    WORKS(mtasts_verdict_without_host(answer, MTASTS_NO_HOST_NXDOMAIN, &decision, &error));
    CHECK(mtasts_action_defers(decision.action));
    CHECK(strstr(decision.sentence, "DNS contradicts the MTA-STS policy of enforced.example") != NULL);

    /* The MX hosts that DNS gave, and what refused each. */
    const char *hosts[] = {"MX.Elsewhere.Example.", "m_x.example"};
    const char *reasons[] = {"mx-host-not-in-policy", NULL};
    WORKS(mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, hosts, reasons, 2, &decision, &error));
    CHECK(mtasts_action_defers(decision.action));
    CHECK(strstr(decision.sentence, "DNS gives: mx.elsewhere.example [mx-host-not-in-policy], \"m_x.example\"") != NULL);
    WORKS(mtasts_verdict_without_host_of(answer, MTASTS_NO_HOST_LEFT, NULL, NULL, 0, &decision, &error));
    CHECK(strstr(decision.sentence, "DNS gives") == NULL);

    /* An attempt outlives its answer. */
    mtasts_answer_free(answer);
    GIVES(1, mtasts_attempt_finish(attempt, NULL, &event, &error));
    CHECK(event.result == 205 && strcmp(event.host, "m_x.enforced.example") == 0 && !event.address[0]);
    mtasts_attempt_free(attempt);
}

/* An attempt at a host that the policy does not list, which is over. */
static mtasts_attempt *counted(const mtasts_context *context) {
    mtasts_error error = {.size = sizeof error};
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_event event = {.size = sizeof event};
    mtasts_answer *answer = NULL;
    mtasts_attempt *attempt = NULL;
    const size_t nul = MTASTS_NUL_TERMINATED;
    WORKS(mtasts_lookup_cached(context, "enforced.example", nul, &answer, &error));
    WORKS(mtasts_attempt_new(answer, "evil.example", nul, &attempt, &error));
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    GIVES(1, mtasts_attempt_finish(attempt, NULL, &event, &error));
    mtasts_answer_free(answer);
    return attempt;
}

/* The same, and the session carries a mail that no report counts. */
static void uncounted(const mtasts_context *context) {
    mtasts_error error = {.size = sizeof error};
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_event event = {.size = sizeof event};
    mtasts_answer *answer = NULL;
    mtasts_attempt *attempt = NULL;
    const size_t nul = MTASTS_NUL_TERMINATED;
    WORKS(mtasts_lookup_cached(context, "enforced.example", nul, &answer, &error));
    WORKS(mtasts_attempt_new(answer, "evil.example", nul, &attempt, &error));
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    WORKS(mtasts_tlsrpt_mail(context, attempt, "user@a.example", nul, "", 0, &error));
    WORKS(mtasts_tlsrpt_mail(context, attempt, "TLSRPT@a.example", nul, "", 0, &error));
    GIVES(0, mtasts_attempt_finish(attempt, NULL, &event, &error));
    WORKS(mtasts_tlsrpt_report(context, attempt, 0, &error));
    mtasts_attempt_free(attempt);
    mtasts_answer_free(answer);
}

/* How often the journal has that. */
static int journal(const char *cache_dir) {
    const char *detail = "\"failure-details\":[{\"c\":205,\"n\":\"evil.example\",\"f\":\"mx-host-not-in-policy\"}]";
    char command[4096], line[4096];
    int lines = 0;
    snprintf(command, sizeof command, "cat '%s'/.report-* 2>&1", cache_dir);
    FILE *files = popen(command, "r");
    CHECK(files != NULL);
    while (fgets(line, sizeof line, files))
        lines += strstr(line, detail) != NULL;
    pclose(files);
    return lines;
}

/* What a report counts goes to the journal, once, also in a child. */
static void reports(const char *cache_dir) {
    const char *const on[] = {"tlsrpt_journal", "on", "tlsrpt_sender", "tlsrpt@a.example", NULL};
    const char *const memory[] = {"tlsrpt_journal", "on", "cache_dir", "", NULL};
    mtasts_error error = {.size = sizeof error};
    mtasts_context *context = new_context(cache_dir, on), *off = new_context(cache_dir, NULL);
    int before = journal(cache_dir);

    mtasts_attempt *attempt = counted(context);
    WORKS(mtasts_tlsrpt_report(off, attempt, 0, &error));
    mtasts_attempt_free(attempt);
    CHECK(journal(cache_dir) == before);

    attempt = counted(context);
    pid_t child = fork();
    CHECK(child != -1);
    WORKS(mtasts_tlsrpt_report(context, attempt, 0, &error));
    WORKS(mtasts_tlsrpt_report(context, attempt, 0, &error));
    if (child == 0)
        _exit(0);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    mtasts_attempt_free(attempt);
    CHECK(journal(cache_dir) == before + 2);
    uncounted(context);
    CHECK(journal(cache_dir) == before + 2);
    mtasts_context_free(off);

    /* A loss is not an error. */
    off = new_context(cache_dir, memory);
    attempt = counted(context);
    GIVES(1, mtasts_tlsrpt_report(off, attempt, 0, &error));
    mtasts_attempt_free(attempt);
    mtasts_context_free(off);
    mtasts_context_free(context);
}

static void cached(const char *cache_dir) {
    mtasts_error error = {.size = sizeof error};
    mtasts_context *context = new_context(cache_dir, NULL);
    mtasts_answer *answer = NULL, *again = NULL;
    uint64_t now = (uint64_t)time(NULL);
    size_t length = 0;

    /* With a length, in another spelling, and straight from memory: the same policy. */
    WORKS(mtasts_lookup(context, "Enforced.EXAMPLE./", 17, 0, &again, &error));
    WORKS(mtasts_lookup(context, "enforced.example", MTASTS_NUL_TERMINATED, 0, &answer, &error));
    GIVES(1, mtasts_answer_is_same_policy(answer, again));
    mtasts_answer_free(again);
    /* An answer outlives its context. */
    mtasts_context_free(context);

    CHECK(mtasts_answer_mode(answer) == MTASTS_MODE_ENFORCE);
    CHECK(mtasts_answer_source(answer) == MTASTS_SOURCE_CACHED);
    CHECK(strcmp(mtasts_answer_domain(answer), "enforced.example") == 0);
    CHECK(strcmp(mtasts_answer_id(answer), "20260101") == 0);
    CHECK(mtasts_answer_fetched(answer) <= now && mtasts_answer_expires(answer) > now);
    CHECK(mtasts_answer_defer_until(answer) == 0);
    CHECK(mtasts_answer_result(answer) == 0 && !*mtasts_answer_detail(answer) && !*mtasts_answer_warning(answer));
    CHECK(mtasts_answer_mx_count(answer) == 2);
    CHECK(strcmp(mtasts_answer_mx(answer, 0), "mx.enforced.example") == 0);
    CHECK(strcmp(mtasts_answer_mx(answer, 1), "*.backup.example") == 0);
    CHECK(strncmp(mtasts_answer_policy_text(answer, &length), "version: STSv1", 14) == 0 && length > 14);
    CHECK(strstr(mtasts_answer_explanation(answer), "enforced.example") != NULL);
    GIVES(1, mtasts_answer_allows_mx(answer, "a.backup.example", MTASTS_NUL_TERMINATED));
    GIVES(0, mtasts_answer_allows_mx(answer, "a.b.backup.example", MTASTS_NUL_TERMINATED));
    GIVES(1, mtasts_answer_enforces(answer));
    GIVES(1, mtasts_answer_applies(answer));
    verdicts(answer);
    attempts(answer);
}

static void unknown(const char *cache_dir) {
    mtasts_error error = {.size = sizeof error};
    mtasts_context *context = new_context(cache_dir, NULL);
    mtasts_answer *answer = NULL;
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};

    WORKS(mtasts_lookup_cached(context, "b\xc3\xbc" "cher.example", MTASTS_NUL_TERMINATED, &answer, &error));
    CHECK(mtasts_answer_source(answer) == MTASTS_SOURCE_COULD_NOT_LEARN);
    CHECK(mtasts_answer_mode(answer) == MTASTS_MODE_NONE);
    CHECK(strcmp(mtasts_answer_domain(answer), "xn--bcher-kva.example") == 0);
    CHECK(!*mtasts_answer_id(answer) && mtasts_answer_fetched(answer) == 0 && mtasts_answer_expires(answer) == 0);
    CHECK(mtasts_answer_mx_count(answer) == 0 && mtasts_answer_mx(answer, 0) == NULL);
    CHECK(mtasts_answer_policy_text(answer, NULL) == NULL);
    CHECK(*mtasts_answer_detail(answer) && *mtasts_answer_explanation(answer));
    WORKS(judge(answer, "mx.example", &seen, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DELIVER);
    mtasts_answer_free(answer);
    mtasts_context_free(context);
}

struct told {
    int lines;
    char last[1024];
};

static void tell(const char *line, void *user) {
    struct told *told = user;
    told->lines++;
    snprintf(told->last, sizeof told->last, "%s", line);
}

/* A line for the administrator, on this thread and with the `user` that was given; none once it is taken back. */
static void logs(const char *open_dir) {
    mtasts_error error = {.size = sizeof error};
    mtasts_settings *settings = NULL;
    struct told told = {0, ""};

    WORKS(mtasts_settings_new(&settings));
    WORKS(mtasts_settings_set(settings, "cache_dir", open_dir, &error));
    WORKS(mtasts_settings_set_log(settings, tell, &told));
    for (int round = 0; round < 2; round++) {
        mtasts_context *context = NULL;
        mtasts_answer *answer = NULL;
        WORKS(mtasts_context_new(settings, &context, &error));
        WORKS(mtasts_lookup_cached(context, "example.org", MTASTS_NUL_TERMINATED, &answer, &error));
        CHECK(strstr(mtasts_answer_warning(answer), "writable by everyone") != NULL);
        CHECK(told.lines == 1 && strncmp(told.last, "mtasts[cache-not-", 17) == 0 && strcmp(strstr(told.last, "]: ") + 3, mtasts_answer_warning(answer)) == 0);
        mtasts_answer_free(answer);
        mtasts_context_free(context);
        WORKS(mtasts_settings_set_log(settings, NULL, NULL));
    }
    mtasts_settings_free(settings);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    versions();
    names();
    cached(argv[1]);
    reports(argv[1]);
    unknown(argv[1]);
    logs(argv[2]);
    return 0;
}

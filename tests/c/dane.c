/*
 * A delivery under DANE: a host with TLSA records, one without, and one that cannot be looked up.
 *
 * dane CACHE_DIR RESOLVER GOOD WRONG     a policy of enforced.example in mode enforce; the name server that is trusted;
 *                                        the self-signed certificate of mx.enforced.example in DER, and another one
 */

#include "check.h"

static mtasts_octets read_file(const char *name) {
    static uint8_t memory[2][4096];
    static size_t used;
    CHECK(used < 2);
    FILE *file = fopen(name, "rb");
    CHECK(file != NULL);
    mtasts_octets octets = {memory[used], fread(memory[used], 1, sizeof memory[used], file)};
    CHECK(octets.length > 0);
    fclose(file);
    used++;
    return octets;
}

static mtasts_answer *answer;
static mtasts_hosts *hosts;
static mtasts_error error = {.size = sizeof error};

static mtasts_attempt *begin(const char *host, int32_t judge, int32_t action) {
    mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
    mtasts_decision decision = {.size = sizeof decision};
    mtasts_attempt *attempt = NULL;
    WORKS(mtasts_attempt_new_with_hosts(answer, hosts, host, MTASTS_NUL_TERMINATED, &attempt, &error));
    GIVES(judge, mtasts_attempt_judge(attempt));
    WORKS(mtasts_attempt_saw(attempt, &seen, &decision, &error));
    CHECK(decision.action == action);
    return attempt;
}

static void ends(mtasts_attempt *attempt, int32_t policy, int32_t result) {
    mtasts_event event = {.size = sizeof event};
    GIVES(1, mtasts_attempt_finish(attempt, NULL, &event, &error));
    CHECK(event.policy_type == policy && event.result == result);
    CHECK(event.policy_domain[0]);
    GIVES(0, mtasts_attempt_finish(attempt, NULL, &event, &error));
    mtasts_attempt_free(attempt);
}

int main(int argc, char **argv) {
    CHECK(argc == 5);
    const char *const pairs[] = {"dane", "trust", "dane_resolver", argv[2], NULL};
    mtasts_context *context = new_context(argv[1], pairs);
    mtasts_octets good = read_file(argv[3]), wrong = read_file(argv[4]), record;
    mtasts_decision decision = {.size = sizeof decision};
    const size_t nul = MTASTS_NUL_TERMINATED;
    const char *const names[] = {"MX.Enforced.Example.", "plain.backup.example", "broken.backup.example", "other.example"};

    WORKS(mtasts_lookup_cached(context, "enforced.example", nul, &answer, &error));
    CHECK(mtasts_answer_enforces(answer));
    GIVES(0, mtasts_hosts_lookup_cached(context, "enforced.example", nul, names, 4, &hosts, &error));
    WORKS(mtasts_hosts_lookup(context, "enforced.example", nul, names, 4, 0, &hosts, &error));
    mtasts_hosts_free(hosts);
    GIVES(1, mtasts_hosts_lookup_cached(context, "enforced.example", nul, names, 4, &hosts, &error));

    /* Self-signed, and it has no name of the host; and a certificate that no record matches. */
    mtasts_attempt *attempt = begin(names[0], MTASTS_JUDGE_DANE, MTASTS_ACTION_DELIVER);
    CHECK(strcmp(mtasts_attempt_name(attempt, 0), "mx.enforced.example") == 0);
    CHECK(strcmp(mtasts_attempt_name(attempt, 1), "enforced.example") == 0 && !mtasts_attempt_name(attempt, 2));
    GIVES(1, mtasts_attempt_record(attempt, 0, &record));
    CHECK(record.length == 35 && memcmp(record.data, "\3\1\1", 3) == 0);
    GIVES(0, mtasts_attempt_record(attempt, 1, &record));
    WORKS(mtasts_attempt_saw_chain(attempt, context, &good, 1, 0, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_DELIVER);
    ends(attempt, MTASTS_POLICY_TLSA, 0);
    attempt = begin(names[0], MTASTS_JUDGE_DANE, MTASTS_ACTION_DELIVER);
    WORKS(mtasts_attempt_saw_chain(attempt, context, &wrong, 1, 0, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST && strncmp(decision.reason_code, "dane: ", 6) == 0);
    ends(attempt, MTASTS_POLICY_TLSA, MTASTS_RESULT_VALIDATION_FAILURE);

    /* Without records the policy asks for a CA. */
    attempt = begin(names[1], MTASTS_JUDGE_STS, MTASTS_ACTION_DELIVER);
    CHECK(mtasts_attempt_name(attempt, 0) == NULL);
    WORKS(mtasts_attempt_saw_chain(attempt, context, &good, 1, 0, &decision, &error));
    CHECK(decision.action == MTASTS_ACTION_SKIP_HOST);
    ends(attempt, MTASTS_POLICY_STS, decision.result);

    /* SERVFAIL, and a host that is not in the MX records for which DNSSEC vouches. */
    for (int at = 2; at < 4; at++)
        ends(begin(names[at], MTASTS_JUDGE_SKIP_HOST, MTASTS_ACTION_SKIP_HOST), MTASTS_POLICY_TLSA,
             MTASTS_RESULT_DNSSEC_INVALID);

    mtasts_hosts_free(hosts);
    mtasts_answer_free(answer);
    mtasts_context_free(context);
    return 0;
}

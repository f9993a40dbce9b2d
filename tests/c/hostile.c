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

/* The functions, by kind. Each part uses what is above it. */
#include "hostile/arguments.h"
#include "hostile/lookup.h"
#include "hostile/settings.h"
#include "hostile/answer.h"
#include "hostile/dane.h"
#include "hostile/certificate.h"
#include "hostile/attempt.h"
#include "hostile/names.h"
#include "hostile/queue.h"
#include "hostile/exim.h"
#include "hostile/tlsrpt.h"

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

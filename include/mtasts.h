/*
 * libmtasts: MTA-STS (RFC 8461) for sending mail servers.
 *
 * A domain can publish a policy: deliver my mail only over TLS, only to these MX hosts, only if their certificate is
 * valid. The sending server has to enforce it. This library does the work inside that server: it looks up the policy of
 * a domain, caches it, and says for each MX host what to do.
 *
 * USE
 *
 *     // Once, at the start. Nothing is opened or started yet.
 *     mtasts_error error = {.size = sizeof error};
 *     mtasts_settings *settings;
 *     mtasts_context *context;
 *     if (mtasts_abi_check(MTASTS_ABI) != MTASTS_OK) ...        // compiled for another version of the library
 *     if (mtasts_settings_of_host(&settings, &error) != MTASTS_OK) ...     // error.message names the setting
 *     mtasts_context_new(settings, &context, &error);
 *     mtasts_settings_free(settings);
 *
 *     // For each recipient domain. Blocks; a hit in the cache does not touch the network.
 *     mtasts_answer *answer;
 *     if (mtasts_lookup(context, domain, MTASTS_NUL_TERMINATED, 0, &answer, &error) != MTASTS_OK)
 *         ...                                                              // defer the mail; log error.message
 *
 *     // For each MX host in order of preference: before you connect ...
 *     mtasts_attempt *attempt;
 *     mtasts_seen seen = {.size = sizeof seen, .kind = MTASTS_SEEN_NAME};
 *     mtasts_decision decision = {.size = sizeof decision};
 *     mtasts_attempt_new(answer, mx_host, MTASTS_NUL_TERMINATED, &attempt, &error);
 *     mtasts_attempt_saw(attempt, &seen, &decision, &error);
 *     // ... and after EHLO or the TLS handshake, with the chain that the host sent:
 *     mtasts_check check = {.size = sizeof check};
 *     mtasts_verify_certificate(context, mx_host, MTASTS_NUL_TERMINATED, chain, count, 0, &check, &error);
 *     seen.kind = MTASTS_SEEN_CERTIFICATE, seen.result = check.result, seen.reason = check.reason;
 *     mtasts_attempt_saw(attempt, &seen, &decision, &error);
 *     // decision.action says what to do. decision.sentence is for the log.
 *     // At the end of the session: what a TLS report counts of it.
 *     mtasts_event event = {.size = sizeof event};
 *     if (mtasts_attempt_finish(attempt, NULL, &event, &error) == 1) ...
 *     mtasts_attempt_free(attempt);
 *     // No host was left, or there was none:
 *     mtasts_verdict_without_host(answer, MTASTS_NO_HOST_LEFT, &decision, &error);
 *
 *     mtasts_answer_free(answer);
 *
 * mtasts_lookup blocks. An event loop uses a queue, which has one descriptor to wait for:
 *
 *     mtasts_queue *queue;
 *     mtasts_queue_new(context, &queue, &error);
 *     mtasts_queue_submit(queue, domain, MTASTS_NUL_TERMINATED, 0, mail, NULL, &error);
 *     // Whenever mtasts_queue_fd(queue) is readable:
 *     mtasts_completion done = {.size = sizeof done};
 *     while (mtasts_queue_next(queue, &done) == 1) ...                     // done.user is mail; done.answer as above
 *
 * If a call fails, defer the mail; never bounce it. If the policy cannot be determined, deliver as usual (RFC 8461
 * 3.3).
 *
 * CONVENTIONS
 *
 * Results. A function that can fail returns MTASTS_OK or another number of 0 or more, or a negative MTASTS_E_*. It
 * writes its results to the last arguments, and only if it succeeds.
 *
 * Pointers. Every pointer argument may be NULL: a function that needs the object then returns MTASTS_E_ARGUMENT, and
 * the functions mtasts_answer_* return an empty value. A pointer that is not NULL has to be valid: a handle was created
 * by this library and is not freed; an array has as many elements as its count says; a struct has its size set; an
 * argument does not change during the call. A handle must not be used after its mtasts_*_free.
 *
 * Texts. A text argument is UTF-8. If it is followed by a length, that is the number of octets, or
 * MTASTS_NUL_TERMINATED. A text that the library returns is one line of UTF-8, closed by a NUL, without control
 * characters. It belongs to the object that lends it.
 *
 * Structs. Structs belong to the caller. Those that begin with size are extensible: a later version of the library may
 * append fields. Set size to the sizeof of the struct and every other field that you do not use to zero, best with
 * {.size = sizeof x}. The library takes fields that your struct does not have as zero, never writes beyond size, and
 * writes zero to fields that it does not know itself. If it reads a struct in which a field is set that it does not
 * know, it returns MTASTS_E_ARGUMENT. So a program works with each library from the version on that it was compiled
 * with, and with an older one as long as it uses no newer field.
 *
 * Enums. The enums name the numbers. Functions and structs have them as int32_t, because a later version may add a
 * number. Treat an action that you do not know as MTASTS_ACTION_DEFER, a status that you do not know as
 * MTASTS_E_UNAVAILABLE.
 *
 * Defects. A defect of the library is MTASTS_E_DEFECT. It prints nothing and does not end the process.
 *
 * Callbacks. The library calls one function of the program, the mtasts_log of the settings. See there what it must not
 * do.
 *
 * Threads. Any number of threads may use a context, an answer or a queue at the same time; settings and a listing are
 * for one thread at a time. No thread of the library outlives a call, except those of a queue: they start with a lookup
 * that needs the network and end after some idle seconds. No signal handler and no function of the program ever runs on
 * a thread of the library.
 *
 * Fork. Every object can be used in a child of the process that created it, at any time and at any depth, whatever
 * threads the parent has. What a child frees stays valid in the parent. The exception is a queue: a child can only free
 * it, and create one of its own.
 *
 * Root. In a process of root a child asks the network after it has become the owner of the cache directory.
 *
 * Environment. Only mtasts_settings_of_host and the functions for Exim read the environment, and never in a privileged
 * process. The library installs no signal handler, sets no alarm, changes no umask, keeps no descriptor open except
 * that of a queue, and writes nothing to stdout, stderr or syslog.
 */

#ifndef MTASTS_H
#define MTASTS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// The length argument for a text that ends with a NUL.
#define MTASTS_NUL_TERMINATED ((size_t)-1)

// ---------------------------------------------------------------------------------------------------------------------
// Handles
// ---------------------------------------------------------------------------------------------------------------------

// Settings for a context. For one thread at a time.
typedef struct mtasts_settings mtasts_settings;

// A context: the settings, the cache, and the access to the network. For any number of threads at the same time, and
// for every child of the process that created it.
typedef struct mtasts_context mtasts_context;

// The answer of a lookup. It never changes, any number of threads may read it at the same time, and it may outlive its
// context. All texts that it lends are valid as long as the answer.
typedef struct mtasts_answer mtasts_answer;

// An attempt to deliver to one MX host. It remembers what was seen there. For one thread at a time; different attempts
// are independent. The answer may be freed before it. It has no descriptor, no thread and no lock: a child that the
// program forks may continue with its copy and has to free it.
typedef struct mtasts_attempt mtasts_attempt;

// What DANE says of the MX hosts of a domain. It never changes; for any number of threads at the same time.
typedef struct mtasts_hosts mtasts_hosts;

// A queue of lookups for an event loop. For any number of threads at the same time, but only in the process that
// created it.
typedef struct mtasts_queue mtasts_queue;

// The domains that were in the cache when the listing was created. For one thread at a time.
typedef struct mtasts_listing mtasts_listing;

// ---------------------------------------------------------------------------------------------------------------------
// Status and errors
// ---------------------------------------------------------------------------------------------------------------------

// What became of a call. A failure is negative.
typedef enum mtasts_status {
    // The call succeeded.
    MTASTS_OK = 0,
    // An argument is NULL or out of range.
    MTASTS_E_ARGUMENT = -1,
    // Not a valid domain or host name (too long, not UTF-8, empty label, bad character).
    MTASTS_E_NAME = -2,
    // The name is an IP address or an address literal.
    MTASTS_E_ADDRESS = -3,
    // A setting or a settings file is wrong. The message names the key and the reason.
    MTASTS_E_SETTINGS = -4,
    // No answer is possible: this host refused what the call needs (a process, a thread, a descriptor, root
    // certificates, a usable cache directory). This says nothing about the domain: defer its mail.
    MTASTS_E_UNAVAILABLE = -5,
    // A defect of this library. This says nothing about the domain: defer its mail, and report the defect.
    MTASTS_E_DEFECT = -6,
    // The program was compiled for another version of the interface.
    MTASTS_E_ABI = -7,
    // The queue belongs to the parent of this process. Make a new queue here.
    MTASTS_E_FORKED = -8,
    // The lookup was cancelled.
    MTASTS_E_CANCELLED = -9,
    // The address is not public and no setting allows it: do not connect to it.
    MTASTS_E_REFUSED = -10,
} mtasts_status;

// The size of `message` in `mtasts_error` and `mtasts_completion`, in octets. The closing NUL is included.
#define MTASTS_MESSAGE_SIZE 508

// Why a call failed. An extensible struct: set `size` before the call.
//
// The library writes it only when the call fails. Wherever a function takes an `mtasts_error`, NULL is allowed. A
// struct whose `size` is wrong is left alone.
typedef struct mtasts_error {
    // `sizeof(mtasts_error)`, set by the caller.
    size_t size;
    // The status that the call returns: one of `MTASTS_E_*`.
    int32_t code;
    // What is wrong and, if there is a remedy, what to do: one line, closed by a NUL.
    char message[MTASTS_MESSAGE_SIZE];
} mtasts_error;


// ---------------------------------------------------------------------------------------------------------------------
// Settings
// ---------------------------------------------------------------------------------------------------------------------

// A function of the program that receives log lines: what the administrator should know now, such as a policy that
// could not be renewed.
//
// `line` is one line of UTF-8 without control characters, closed by a NUL. It is valid until the function returns.
// `user` is the pointer that was given with the function.
//
// The library calls the function on the thread that calls the library, during that call, and never in a child that the
// library has forked. Several threads may call it at the same time if they share a context.
//
// The function has to return. A C++ exception or a `longjmp` out of it is undefined behaviour: the frames above it
// belong to the library and cannot be unwound. It must not call the library with the context, answer or queue of the
// call that it is called from, and must not free them.
typedef void (*mtasts_log)(const char *line, void *user);

// Creates settings from the configuration of this host: the defaults, overridden by the file `/etc/mtasts/mtasts.toml`
// if it exists.
//
// The environment may name another file (`MTASTS_CONFIG`) or another cache directory (`MTASTS_CACHE_DIR`). A
// privileged process (root, or a set-user-ID program) ignores both, because its caller controls them.
//
// `out` receives the settings. Free them with `mtasts_settings_free`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason.
int32_t mtasts_settings_of_host(mtasts_settings **out, mtasts_error *error);

// Creates settings with the defaults and reads no file: cache in `/var/lib/mtasts`, the trust anchors and name servers
// of the system, one minute for a lookup.
//
// `out` receives the settings. Free them with `mtasts_settings_free`.
//
// Returns `MTASTS_OK`, or `MTASTS_E_ARGUMENT` if `out` is NULL.
int32_t mtasts_settings_new(mtasts_settings **out);

// Reads a settings file over the settings: TOML with the keys of `mtasts_settings_set` at the top level.
//
// `path` is UTF-8, closed by a NUL.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason. If it fails,
// nothing has changed.
int32_t mtasts_settings_read_file(mtasts_settings *settings, const char *path, mtasts_error *error);

// Changes one setting. The keys are those of the settings file; mtasts.toml(5) describes each of them:
//
// `cache_dir`                absolute path; empty: keep the cache in memory only
// `user`                     whom a process of root becomes to use the cache and the network: a name or number of
//                            /etc/passwd; empty: the owner of `cache_dir`
// `cache_max`                how many domains the cache may hold
// `cache_max_per_parent`     how many of them below one registered domain
// `ca_file`                  absolute path of a PEM file with trust anchors
// `nameservers`              addresses, with or without a port, separated by spaces
// `timeout`                  1s to 10m: the longest time for one lookup
// `allow_addresses`          addresses or networks at which hosts may be although they are not public
// `nat64_prefixes`           IPv6 prefixes of 32, 40, 48, 56, 64 or 96 bits: an address below one is judged by the
//                            IPv4 address that it contains (RFC 6052)
// `exceptions`               absolute path of a file of domains for which nothing is enforced, with a line
//                            `DOMAIN 2026-12-31 REASON` for each. It is read at once, and again when it has changed.
//                            Empty: none
// `dane`                     whether TLSA records decide about MX hosts (RFC 7672): `off`, `auto` or `trust`, the last
//                            two also with `strict-both`
// `dane_resolver`            the address of the name server whose word on DNSSEC is believed, with or without a port
// `dane_bogus_name`          a name whose signatures are broken on purpose, by which `auto` tests that name server
// `tlsrpt_journal`           `on` or `off`: whether results for TLS reports are kept in `cache_dir` (RFC 8460)
// `tlsrpt_socket`            absolute path of the datagram socket of a collector for TLS reports; empty: none
// `tlsrpt_sender`            mail address from which TLS reports are sent; empty: none
// `fleet`                    Valkey or Redis server by which several hosts share what they fetch: `rediss://`,
//                            `redis://` or `unix:`, and a replica to read from, separated by a space; empty: none
// `fleet_prefix`             how the names of all keys there begin
// `fleet_key_file`           absolute path of the file of the secrets that these hosts have in common
// `fleet_insecure`           `on` or `off`: whether that server may be asked without TLS beyond this host
// `first_contact_defer`, `silence_budget`, `txt_life_min`, `txt_life_max`
//                            times such as `30s`, `5m`, `1h`, `1d`
//
// `key` and `value` are UTF-8, closed by a NUL.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the key and the reason. If it fails, nothing
// has changed.
int32_t mtasts_settings_set(mtasts_settings *settings, const char *key, const char *value, mtasts_error *error);

// Sets the function that receives log lines; see `mtasts_log`. Without one the lines are dropped: the library never
// writes to stderr or syslog by itself.
//
// `user` is passed to the function with each line. A NULL `log` removes the function. Function and `user` have to stay
// valid as long as a context that was created with these settings, and any thread that uses that context may call it.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
int32_t mtasts_settings_set_log(mtasts_settings *settings, mtasts_log log, void *user);

// Frees settings. NULL is allowed. A context keeps its own copy.
void mtasts_settings_free(mtasts_settings *settings);


// ---------------------------------------------------------------------------------------------------------------------
// Context and lookup
// ---------------------------------------------------------------------------------------------------------------------

// Creates a context with a copy of these settings. NULL means the defaults of `mtasts_settings_new`. Nothing is
// opened, read or started before the first lookup. A program needs one context, created at its start.
//
// `out` receives the context. Free it with `mtasts_context_free`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
int32_t mtasts_context_new(const mtasts_settings *settings, mtasts_context **out, mtasts_error *error);

// The trust anchors of this context: the setting `ca_file`, an absolute path, or NULL for those of the system. It is
// for a program whose own TLS library verifies the chain of an MX host and should judge as `mtasts_verify_certificate`
// does.
//
// The text is valid as long as the context. NULL if `context` is NULL.
const char *mtasts_context_ca_file(const mtasts_context *context);

// The name servers of this context: the setting `nameservers`, such as `192.0.2.1:53 [2001:db8::1]:53`, or NULL for
// those of `/etc/resolv.conf`. It is for a program that looks up MX hosts and their addresses by itself and should ask
// the same name servers as a policy lookup does.
//
// The text is valid as long as the context. NULL if `context` is NULL.
const char *mtasts_context_nameservers(const mtasts_context *context);

// Frees a context. NULL is allowed. Answers and queues that were made with it stay valid. No thread may be inside a
// call with the context. In a child process it frees the child's copy only.
void mtasts_context_free(mtasts_context *context);

// Looks up the policy of a domain for a delivery: in the cache, and if that is not enough in DNS and at the policy
// host (RFC 8461 3, 5.1). A hit in the cache does not touch the network.
//
// The call blocks for at most `timeout_ms` or the setting `timeout`, whichever is shorter. 0 means the setting.
//
// `domain` is the domain of the recipient, or of the smart host if all mail goes there (RFC 8461 3.4), as the address
// has it: in any letter case, U-labels or A-labels, or an address literal.
//
// `out` receives the answer. Free it with `mtasts_answer_free`. "The domain has no policy" and "the policy could not
// be determined" are answers, not errors. "The domain cannot have a policy" is one too: for an address, a text that is
// too long for a name or not UTF-8, an empty label or a bad character, the source is `MTASTS_SOURCE_NO_POLICY` and
// mail is delivered as usual.
//
// In a process of root a child does the work after it has become the owner of the cache directory. Root itself does
// not touch the network.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`; `MTASTS_E_UNAVAILABLE` or `MTASTS_E_DEFECT` if no answer is possible:
// then defer the mail.
int32_t mtasts_lookup(const mtasts_context *context,
                      const char *domain,
                      size_t length,
                      uint32_t timeout_ms,
                      mtasts_answer **out,
                      mtasts_error *error);

// Answers from the cache only and does not touch the network. If the cache has no policy in force, the source of the
// answer is `MTASTS_SOURCE_COULD_NOT_LEARN`.
//
// Arguments, ownership and return values are those of `mtasts_lookup`.
int32_t mtasts_lookup_cached(const mtasts_context *context,
                             const char *domain,
                             size_t length,
                             mtasts_answer **out,
                             mtasts_error *error);

// Checks now whether the domain has a newer policy, whatever the cache says. It is for an MTA that is about to bounce
// a mail because of a policy (RFC 8461 5). If `mtasts_answer_is_same_policy` says that the answer differs from the one
// at hand, try to deliver the mail again.
//
// Arguments, ownership and return values are those of `mtasts_lookup`.
int32_t mtasts_recheck(const mtasts_context *context,
                       const char *domain,
                       size_t length,
                       uint32_t timeout_ms,
                       mtasts_answer **out,
                       mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// Answer
// ---------------------------------------------------------------------------------------------------------------------

// What a domain asks of senders (RFC 8461 3.2, 5).
typedef enum mtasts_mode {
    // Nothing: the domain has no policy in force, or a policy in mode none.
    MTASTS_MODE_NONE = 0,
    // Deliver to a host that fails the policy, and report the failure. Also the mode of an enforced policy while an
    // operator's exception for the domain is in force (setting `exceptions`).
    MTASTS_MODE_TESTING = 1,
    // Do not deliver to a host that fails the policy.
    MTASTS_MODE_ENFORCE = 2,
} mtasts_mode;

// Where an answer came from.
typedef enum mtasts_source {
    // The policy was fetched for this answer.
    MTASTS_SOURCE_FRESH = 1,
    // The policy was in the cache. DNS announces no newer one, or need not be asked yet.
    MTASTS_SOURCE_CACHED = 2,
    // The policy was in the cache, and the attempt to renew it failed. It stays in force (RFC 8461 3.3).
    MTASTS_SOURCE_CACHED_AFTER_FAILURE = 3,
    // The domain has no policy: it has no TXT record, or no valid one.
    MTASTS_SOURCE_NO_POLICY = 4,
    // Whether the domain has a policy, or what it says, could not be determined, and the cache holds none. Deliver as
    // usual (RFC 8461 3.3), unless the answer has a time until which mail must wait.
    MTASTS_SOURCE_COULD_NOT_LEARN = 5,
} mtasts_source;

// What a TLS report calls a failure (RFC 8460 4.3). The numbers are those of libtlsrpt, which Postfix uses too.
typedef enum mtasts_result_type {
    // The MX host did not offer STARTTLS, or refused it (RFC 8460 4.3.1).
    MTASTS_RESULT_STARTTLS_NOT_SUPPORTED = 201,
    // The certificate does not name the MX host (RFC 8460 4.3.1).
    MTASTS_RESULT_CERTIFICATE_HOST_MISMATCH = 202,
    // The certificate chains to no trust anchor, or is not valid for this use (RFC 8460 4.3.1).
    MTASTS_RESULT_CERTIFICATE_NOT_TRUSTED = 203,
    // The certificate has expired (RFC 8460 4.3.1).
    MTASTS_RESULT_CERTIFICATE_EXPIRED = 204,
    // Any other failure of the TLS negotiation, and an MX host that the policy does not list (RFC 8460 4.3.1).
    MTASTS_RESULT_VALIDATION_FAILURE = 205,
    // The policy could not be retrieved (RFC 8460 4.3.2.2).
    MTASTS_RESULT_STS_POLICY_FETCH_ERROR = 301,
    // The policy text is not valid (RFC 8460 4.3.2.2).
    MTASTS_RESULT_STS_POLICY_INVALID = 302,
    // The certificate of the policy host is not valid (RFC 8460 4.3.2.2).
    MTASTS_RESULT_STS_WEBPKI_INVALID = 303,
    // DANE: the TLSA records cannot be used (RFC 8460 4.3.2.1).
    MTASTS_RESULT_TLSA_INVALID = 304,
    // DANE: there is no valid DNSSEC answer (RFC 8460 4.3.2.1).
    MTASTS_RESULT_DNSSEC_INVALID = 305,
    // DANE: the sender requires it, and the host has no TLSA records (RFC 8460 4.3.2.1).
    MTASTS_RESULT_DANE_REQUIRED = 306,
} mtasts_result_type;

// What the domain asks for: one of `MTASTS_MODE_*`. `MTASTS_MODE_NONE` also if there is no policy or if `answer` is
// NULL.
int32_t mtasts_answer_mode(const mtasts_answer *answer);

// Where the answer came from: one of `MTASTS_SOURCE_*`, or 0 if `answer` is NULL.
int32_t mtasts_answer_source(const mtasts_answer *answer);

// The policy domain, in A-labels and lower case. Empty if the mail domain is not a domain name: then it cannot have a
// policy. Never NULL.
const char *mtasts_answer_domain(const mtasts_answer *answer);

// The id of the policy: 1 to 32 letters and digits, or an empty text if there is no policy. Never NULL.
const char *mtasts_answer_id(const mtasts_answer *answer);

// When the policy was fetched, in Unix seconds; 0 if there is no policy.
uint64_t mtasts_answer_fetched(const mtasts_answer *answer);

// The last second at which the policy is in force, in Unix seconds; 0 if there is no policy.
uint64_t mtasts_answer_expires(const mtasts_answer *answer);

// Until when mail has to wait, in Unix seconds, or 0 if it need not wait. It has to wait if the policy could not be
// determined and the setting `first_contact_defer` says so. Every verdict takes this into account.
uint64_t mtasts_answer_defer_until(const mtasts_answer *answer);

// The number of MX patterns in the policy; 0 if there is no policy.
size_t mtasts_answer_mx_count(const mtasts_answer *answer);

// The MX pattern with this index, counted from 0: a host name, or `*.` and a host name, in lower case. NULL past the
// last.
const char *mtasts_answer_mx(const mtasts_answer *answer, size_t index);

// The policy text as the policy host sent it, for the policy-string of a report (RFC 8460 4.5). NULL if there is no
// policy.
//
// It is not closed by a NUL: `length` receives the number of octets. It is unchecked text of a stranger. Escape it
// before you print it or pass it on.
const char *mtasts_answer_policy_text(const mtasts_answer *answer, size_t *length);

// The result type of what prevented a current policy (`MTASTS_RESULT_STS_POLICY_FETCH_ERROR`,
// `MTASTS_RESULT_STS_POLICY_INVALID` or `MTASTS_RESULT_STS_WEBPKI_INVALID`), or 0 if nothing did or it is not
// reported.
int32_t mtasts_answer_result(const mtasts_answer *answer);

// What prevented a current policy, or why there is no policy, in plain words. Empty if there is nothing to say. Never
// NULL.
const char *mtasts_answer_detail(const mtasts_answer *answer);

// What is wrong with the cache on this host, in plain words. Empty if nothing is wrong. Never NULL.
const char *mtasts_answer_warning(const mtasts_answer *answer);

// The whole answer in one sentence for the log. Never NULL.
const char *mtasts_answer_explanation(const mtasts_answer *answer);

// Checks whether a pattern of the policy matches an MX host (RFC 8461 4.1).
//
// `host` is the name in the MX record, before any CNAME is followed. For a domain without MX records it is the domain.
//
// Returns 1 or 0 (0 also if there is no policy), `MTASTS_E_ARGUMENT`, or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` if
// `host` is not a host name: no pattern matches it.
int32_t mtasts_answer_allows_mx(const mtasts_answer *answer, const char *host, size_t length);

// 1 if a host that fails the policy gets no mail (the mode is `MTASTS_MODE_ENFORCE`), otherwise 0. If it is 1, a
// session with an MX host needs TLS with a certificate that passes. 0 also if `answer` is NULL.
int32_t mtasts_answer_enforces(const mtasts_answer *answer);

// 1 if a policy asks anything of the MX hosts (the mode is `MTASTS_MODE_ENFORCE` or `MTASTS_MODE_TESTING`), otherwise
// 0. If it is 0, no host is judged. 0 also if `answer` is NULL.
int32_t mtasts_answer_applies(const mtasts_answer *answer);

// Compares two answers for a domain, such as one from before and that of `mtasts_recheck`, by mode, id and MX
// patterns. The fetch time does not count: each refresh changes it. If the policies differ, try to deliver mail that
// was refused under one of them again before you bounce it (RFC 8461 5).
//
// Returns 1 if they are the same, otherwise 0; or `MTASTS_E_ARGUMENT` if one of them is NULL.
int32_t mtasts_answer_is_same_policy(const mtasts_answer *answer, const mtasts_answer *other);

// What `mtasts_answer_is_same_policy` compares, as one line of text of at most 64 KiB. It is for a program that keeps
// refused mail on disk: two answers, also of different processes, have the same policy if and only if these texts are
// equal. Never NULL; empty if `answer` is NULL.
const char *mtasts_answer_policy_key(const mtasts_answer *answer);

// Frees an answer and the texts that it lent. NULL is allowed.
void mtasts_answer_free(mtasts_answer *answer);


// ---------------------------------------------------------------------------------------------------------------------
// Verdict
// ---------------------------------------------------------------------------------------------------------------------

// What the MTA must do.
typedef enum mtasts_action {
    // Deliver to this host, under the MTA's other rules.
    MTASTS_ACTION_DELIVER = 1,
    // Deliver to this host, and report the failure.
    MTASTS_ACTION_DELIVER_AND_REPORT = 2,
    // Send nothing to this host. Try the next one; if none is left, defer the mail (RFC 8461 5).
    MTASTS_ACTION_SKIP_HOST = 3,
    // Keep the mail in the queue and try again later. Never bounce it for this.
    MTASTS_ACTION_DEFER = 4,
} mtasts_action;

// Why there is no MX host to deliver to.
typedef enum mtasts_no_host {
    // There are MX hosts, and each was tried or skipped.
    MTASTS_NO_HOST_LEFT = 0,
    // The MX lookup says that the domain does not exist (NXDOMAIN).
    MTASTS_NO_HOST_NXDOMAIN = 1,
    // The MX lookup says that the domain has no MX record (NODATA). Its only MX host would be the domain itself
    // (RFC 5321 5.1).
    MTASTS_NO_HOST_NODATA = 2,
    // The only MX record is `.`: the domain accepts no mail (RFC 7505).
    MTASTS_NO_HOST_NULL_MX = 3,
    // The MX lookup gives no host that the policy lists: it denies all hosts, or names others. For a program that
    // cannot tell which of the two it is.
    MTASTS_NO_HOST_NOT_LISTED = 4,
} mtasts_no_host;

// The size of a reason in `mtasts_decision` and `mtasts_check`, in octets. The closing NUL is included.
#define MTASTS_REASON_SIZE 508

// The size of the sentence in `mtasts_decision`, in octets. The closing NUL is included.
#define MTASTS_SENTENCE_SIZE 1540

// A verdict: what to do with an MX host. An extensible struct: set `size` before the call.
typedef struct mtasts_decision {
    // `sizeof(mtasts_decision)`, set by the caller.
    size_t size;
    // One of `MTASTS_ACTION_*`.
    int32_t action;
    // The result type for a TLS report, one of `MTASTS_RESULT_*`, or 0 if there is nothing to report.
    int32_t result;
    // The failure-reason-code for the report, closed by a NUL. Empty if there is nothing to report. Up to its first
    // colon it is a token for log watchers, listed in docs/log.md (installed in PREFIX/share/doc/libmtasts).
    char reason_code[MTASTS_REASON_SIZE];
    // One line for the log: what is wrong and what to do about it. Closed by a NUL.
    char sentence[MTASTS_SENTENCE_SIZE];
} mtasts_decision;

// 1 if mail may go to the host (`MTASTS_ACTION_DELIVER`, `MTASTS_ACTION_DELIVER_AND_REPORT`), otherwise 0.
int32_t mtasts_action_delivers(int32_t action);

// 1 if the mail has to wait and no other host of the domain may be tried now (`MTASTS_ACTION_DEFER`), otherwise 0.
int32_t mtasts_action_defers(int32_t action);

// Decides about a mail for which there is no MX host. `why` is one of `MTASTS_NO_HOST_*`.
//
// If every host was skipped (`MTASTS_NO_HOST_LEFT`) and the policy is enforced, the mail waits. If DNS denies the MX
// hosts that an enforced policy lists (NXDOMAIN, NODATA, null MX), one of the two is wrong, and the DNS answer is the
// one that can be forged: the mail waits, and the sentence says what contradicts what. NODATA is no contradiction if
// the policy lists the domain itself. If DANE refused a host (`mtasts_verdict_without_host_of`), the mail waits also
// without a policy. In all other cases the action is one that delivers: do what you do without
// MTA-STS, for example bounce mail to a domain that does not exist. None of this is an event for a report.
//
// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
int32_t mtasts_verdict_without_host(const mtasts_answer *answer,
                                    int32_t why,
                                    mtasts_decision *out,
                                    mtasts_error *error);

// The same as `mtasts_verdict_without_host`, and the sentence names the MX hosts that DNS gave, since a bounce may be
// all that its reader sees.
//
// `hosts` has `count` names as in the MX records, closed by a NUL. Each of `reason_codes` is the `reason_code` of the
// decision that refused the host of the same place, or NULL; `reason_codes` itself may be NULL. Nothing of them is
// kept.
// With `MTASTS_NO_HOST_NOT_LISTED`, if the policy lists one of the hosts, the verdict is that of `MTASTS_NO_HOST_LEFT`.
//
// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
int32_t mtasts_verdict_without_host_of(const mtasts_answer *answer,
                                       int32_t why,
                                       const char *const *hosts,
                                       const char *const *reason_codes,
                                       size_t count,
                                       mtasts_decision *out,
                                       mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// Attempt: one MX host, and what a report counts of it
// ---------------------------------------------------------------------------------------------------------------------

// What the MTA saw at an MX host.
typedef enum mtasts_seen_kind {
    // Only the name of the host so far: the MTA has not connected yet.
    MTASTS_SEEN_NAME = 0,
    // The host's EHLO reply does not offer STARTTLS.
    MTASTS_SEEN_STARTTLS_NOT_OFFERED = 1,
    // The host refused the STARTTLS command, with whatever code.
    MTASTS_SEEN_STARTTLS_REFUSED = 2,
    // The TLS handshake failed for a reason other than the certificate: an alert, a protocol version, a closed
    // connection.
    MTASTS_SEEN_HANDSHAKE_FAILED = 3,
    // The host's certificate was checked for the name in the MX record.
    MTASTS_SEEN_CERTIFICATE = 4,
} mtasts_seen_kind;

// How far the session with an MX host came.
typedef enum mtasts_channel {
    // There was no session: the host was skipped by its name, or did not answer.
    MTASTS_CHANNEL_NONE = 0,
    // The session continued in clear text.
    MTASTS_CHANNEL_CLEAR = 1,
    // The session continued under TLS, whether or not the certificate is good.
    MTASTS_CHANNEL_TLS = 2,
} mtasts_channel;

// The kind of policy that a session is reported under (RFC 8460 4.4, `policy-type`). The numbers are those of
// libtlsrpt.
typedef enum mtasts_policy_type {
    // The TLSA records of an MX host (DANE).
    MTASTS_POLICY_TLSA = 1,
    // An MTA-STS policy. Its text is empty if the domain announces a policy that could not be fetched.
    MTASTS_POLICY_STS = 2,
    // The domain has no policy, or a policy in mode none.
    MTASTS_POLICY_NO_POLICY_FOUND = 9,
} mtasts_policy_type;

// The size of `host` in `mtasts_event`, in octets. The closing NUL is included.
#define MTASTS_HOST_SIZE 256

// The size of an address in `mtasts_event`, in octets. The closing NUL is included.
#define MTASTS_ADDRESS_SIZE 46

// What the MTA saw at an MX host. An extensible struct: set `size`, and set fields that you do not use to zero.
typedef struct mtasts_seen {
    // `sizeof(mtasts_seen)`, set by the caller.
    size_t size;
    // One of `MTASTS_SEEN_*`.
    int32_t kind;
    // For `MTASTS_SEEN_CERTIFICATE` the `result` of the `mtasts_check`: 0 for a good certificate, or one of
    // `MTASTS_RESULT_*`. Otherwise 0.
    int32_t result;
    // For `MTASTS_SEEN_CERTIFICATE` and `MTASTS_SEEN_HANDSHAKE_FAILED`, what is wrong in plain words, closed by a NUL.
    // May be NULL.
    const char *reason;
} mtasts_seen;

// The other side of a session, for the report. An extensible struct: set `size`, and set fields that you do not use to
// zero.
typedef struct mtasts_peer {
    // `sizeof(mtasts_peer)`, set by the caller.
    size_t size;
    // How far the session came: one of `MTASTS_CHANNEL_*`.
    int32_t channel;
    // The IP address of the host as text, closed by a NUL, without brackets and without a zone. May be NULL.
    const char *address;
    // The IP address that the connection came from, likewise. May be NULL.
    const char *local_address;
} mtasts_peer;

// What a TLS report counts of one session (RFC 8460 4.4). An extensible struct: set `size` before the call.
//
// The policy text and the MX patterns for the report are those of the answer, if its mode is not `MTASTS_MODE_NONE`.
typedef struct mtasts_event {
    // `sizeof(mtasts_event)`, set by the caller.
    size_t size;
    // One of `MTASTS_POLICY_*`.
    int32_t policy_type;
    // 0 for a success, otherwise one of `MTASTS_RESULT_*`.
    int32_t result;
    // The MX host, closed by a NUL: a host name in A-labels and lower case, or one clean line if the MX record names
    // something else.
    char host[MTASTS_HOST_SIZE];
    // The address of the host, closed by a NUL; empty if there is none.
    char address[MTASTS_ADDRESS_SIZE];
    // The address that the connection came from, closed by a NUL; empty if there is none.
    char local_address[MTASTS_ADDRESS_SIZE];
    // The failure-reason-code, closed by a NUL; empty for a success. It begins with a token, as in `mtasts_decision`.
    char reason_code[MTASTS_REASON_SIZE];
    // The policy domain, closed by a NUL: the recipient's domain, or under `MTASTS_POLICY_TLSA` the TLSA base domain.
    char policy_domain[MTASTS_HOST_SIZE];
} mtasts_event;

// Begins an attempt to deliver to one MX host. Create one for each host, and a new one for each further session with
// the same host, such as at another of its addresses.
//
// `host` is the name in the MX record, before any CNAME is followed, with or without a root dot. For a domain without
// MX records it is the domain. A name that is not a host name (an IP address, an underscore, octets that are not
// UTF-8) is not an error: the verdicts say what happens with such a host.
//
// `out` receives the attempt. Free it with `mtasts_attempt_free`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
int32_t mtasts_attempt_new(const mtasts_answer *answer,
                           const char *host,
                           size_t length,
                           mtasts_attempt **out,
                           mtasts_error *error);

// Decides what the MTA must do after this sight and all sights before it (RFC 8461 4, 5). Call it with
// `MTASTS_SEEN_NAME` before you connect, then with what the EHLO reply, the STARTTLS reply or the TLS handshake
// showed. Obey each verdict.
//
// After a refusal (skip the host, or defer) every further verdict is that refusal, whatever is seen. If nothing is
// enforced, mail is delivered, and the verdict keeps naming the first failure.
//
// Returns `MTASTS_OK` with the verdict in `out`; or `MTASTS_E_ARGUMENT`, and the sight is ignored.
int32_t mtasts_attempt_saw(mtasts_attempt *attempt,
                           const mtasts_seen *seen,
                           mtasts_decision *out,
                           mtasts_error *error);

// Ends an attempt and says what a TLS report counts of it (RFC 8460 4): at most one event for each policy, a failure or
// a success. Call it when the session is over or the host was skipped. The next call gives the event of another policy
// that was looked at, which only an attempt of `mtasts_attempt_new_with_hosts` has, and then nothing.
//
// * Under a policy: a failure if the host failed it, also by its name only; a success if its certificate was good;
//   nothing for a host that did not answer.
// * If the policy could not be fetched or renewed: a session with a host that did not fail is a failure of the policy.
// * Without a policy: a success if TLS was negotiated; a failure if STARTTLS was not offered or refused, or if the
//   handshake failed.
// * Under TLSA records: a failure if they refused the host, or if none of them is usable; a success if the certificate
//   passed. The policy text for the report is then the records of `mtasts_attempt_record`.
//
// `peer` may be NULL if there was no session.
//
// Returns 1 with the event in `out`; 0 if there is nothing to count; or `MTASTS_E_ARGUMENT`, and the attempt
// continues.
int32_t mtasts_attempt_finish(mtasts_attempt *attempt,
                              const mtasts_peer *peer,
                              mtasts_event *out,
                              mtasts_error *error);

// Frees an attempt. NULL is allowed. An attempt that was not finished is not counted.
void mtasts_attempt_free(mtasts_attempt *attempt);


// ---------------------------------------------------------------------------------------------------------------------
// Checks: certificates and addresses
// ---------------------------------------------------------------------------------------------------------------------

// Octets, such as one certificate in DER. This struct never grows.
typedef struct mtasts_octets {
    // The first octet.
    const uint8_t *data;
    // The number of octets.
    size_t length;
} mtasts_octets;

// The result of a certificate check. An extensible struct: set `size` before the call.
typedef struct mtasts_check {
    // `sizeof(mtasts_check)`, set by the caller.
    size_t size;
    // 0 for a good certificate, otherwise one of `MTASTS_RESULT_*`.
    int32_t result;
    // What is wrong in plain words, closed by a NUL; empty for a good certificate. It may be used as
    // failure-reason-code of a report.
    char reason[MTASTS_REASON_SIZE];
} mtasts_check;

// Verifies the certificate chain of an MX host (RFC 8461 4.2): a path leads to a trust anchor at the time `at`, and
// the DNS names of the subjectAltName include the host's name. A `*` matches the whole left-most label and nothing
// else. The common name and IP addresses do not count.
//
// `host` is the name in the MX record, before any CNAME is followed. `chain` has `count` certificates in DER: the
// host's own first, the others in any order. `at` is in Unix seconds; 0 means now. The first call with a context reads
// the trust anchors.
//
// Returns `MTASTS_OK` with the result in `out`; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
// `MTASTS_E_UNAVAILABLE` if the trust anchors cannot be read.
int32_t mtasts_verify_certificate(const mtasts_context *context,
                                  const char *host,
                                  size_t length,
                                  const mtasts_octets *chain,
                                  size_t count,
                                  uint64_t at,
                                  mtasts_check *out,
                                  mtasts_error *error);

// Checks only the name: whether the DNS names of the subjectAltName include the host's name, by the rule of
// `mtasts_verify_certificate`. It is for a program whose TLS library has verified the path but has a looser rule for
// the name. Many accept the common name if there is no subjectAltName, which RFC 8461 4.2 does not allow.
//
// `host` is the name in the MX record, before any CNAME is followed. `leaf` is the host's own certificate in DER.
//
// Returns `MTASTS_OK` with the result in `out`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
int32_t mtasts_check_name(const char *host,
                          size_t length,
                          const mtasts_octets *leaf,
                          mtasts_check *out,
                          mtasts_error *error);

// Translates OpenSSL's verdict on a certificate. Pass the result of `SSL_get_verify_result` (`X509_V_OK` is 0), with
// host name checking enabled.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
int32_t mtasts_from_openssl(int64_t code, mtasts_check *out);

// Translates GnuTLS's verdict on a certificate. Pass the status of `gnutls_certificate_verify_peers3` (0 is good),
// with the host name given.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
int32_t mtasts_from_gnutls(uint32_t status, mtasts_check *out);

// Translates the error code of a TLS connection that failed in Node.js: `CERT_HAS_EXPIRED`,
// `ERR_TLS_CERT_ALTNAME_INVALID` and the like.
//
// `code` is UTF-8, closed by a NUL.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
int32_t mtasts_from_node(const char *code, mtasts_check *out);

// Checks whether a host may be contacted at an address: at a public address, or at one that the settings allow
// (`allow_addresses`, `nat64_prefixes`).
//
// A domain's owner chooses the addresses of its MX hosts and could otherwise point this program at its own machine or
// network. If your program has no such rule of its own: look up the addresses of the MX host, check each of them, and
// connect to the address that passed, not to the name again. If no address is left, defer the mail. A relay that the
// operator has configured needs no check.
//
// `address` is an IPv4 or IPv6 address as text, without brackets and without a zone.
//
// Returns `MTASTS_OK`; `MTASTS_E_REFUSED` with the reason; or `MTASTS_E_ARGUMENT` if `address` is not an address.
int32_t mtasts_check_address(const mtasts_context *context, const char *address, size_t length, mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// DANE: TLSA records of MX hosts
// ---------------------------------------------------------------------------------------------------------------------

// What decides about the certificate of an MX host (RFC 8461 2, RFC 7672 2.2).
typedef enum mtasts_judge {
    // The policy of the domain. Without one TLS is opportunistic.
    MTASTS_JUDGE_STS = 0,
    // The TLSA records of the host alone (DANE).
    MTASTS_JUDGE_DANE = 1,
    // The TLSA records and the policy: both have to pass.
    MTASTS_JUDGE_BOTH = 2,
    // The host has TLSA records and none is usable: TLS is required, and the certificate is checked only for a policy.
    MTASTS_JUDGE_TLS_WITHOUT_NAME = 3,
    // Nothing: the host cannot be looked up, and gets no mail now.
    MTASTS_JUDGE_SKIP_HOST = 4,
} mtasts_judge;

// Looks up what DANE says of the MX hosts of a domain (RFC 7672), if the setting `dane` is on: their addresses, their
// TLSA records, and whether DNSSEC vouches for those and for the MX records. With `dane = off` nothing is asked.
//
// `domain` is the domain of the recipient. `hosts` has `count` names as in the MX records, closed by a NUL, the first
// to be tried first; without MX records it is the domain itself. With a count of 0 the library uses the MX records.
//
// The call blocks for at most `timeout_ms` or the setting `timeout`, whichever is shorter. 0 means the setting. A host
// that cannot be looked up is not an error: `mtasts_attempt_saw` skips it.
//
// `out` receives the hosts. Free them with `mtasts_hosts_free`. They are good for one delivery: a TTL may be short, and
// the context remembers what may be repeated.
//
// In a process of root a child does the work after it has become another user, as for `mtasts_lookup`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or `MTASTS_E_UNAVAILABLE` or
// `MTASTS_E_DEFECT`: then defer the mail.
int32_t mtasts_hosts_lookup(const mtasts_context *context,
                            const char *domain,
                            size_t length,
                            const char *const *hosts,
                            size_t count,
                            uint32_t timeout_ms,
                            mtasts_hosts **out,
                            mtasts_error *error);

// The hosts of `mtasts_hosts_lookup` if no question is needed: DANE is not used, or they are remembered. It touches no
// network and never blocks, so that an event loop need not leave a thread to it.
//
// Arguments and ownership are those of `mtasts_hosts_lookup`.
//
// Returns 1 with the hosts in `out`; 0 if DNS has to be asked; or `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or
// `MTASTS_E_ADDRESS`.
int32_t mtasts_hosts_lookup_cached(const mtasts_context *context,
                                   const char *domain,
                                   size_t length,
                                   const char *const *hosts,
                                   size_t count,
                                   mtasts_hosts **out,
                                   mtasts_error *error);

// Frees hosts. NULL is allowed. Attempts that were begun with them stay valid.
void mtasts_hosts_free(mtasts_hosts *hosts);

// Begins an attempt as `mtasts_attempt_new`, at a host of which DNS was asked for DANE. If the host has TLSA records
// for which DNSSEC vouches, they decide before the policy does, and `mtasts_attempt_judge` says so. A host that could
// not be looked up is skipped, whatever the policy says (RFC 8461 2).
//
// Arguments, ownership and return values are those of `mtasts_attempt_new`.
int32_t mtasts_attempt_new_with_hosts(const mtasts_answer *answer,
                                      const mtasts_hosts *hosts,
                                      const char *host,
                                      size_t length,
                                      mtasts_attempt **out,
                                      mtasts_error *error);

// What decides about the certificate of the host: one of `MTASTS_JUDGE_*`. `MTASTS_JUDGE_STS` if `attempt` is NULL.
int32_t mtasts_attempt_judge(const mtasts_attempt *attempt);

// A name that the certificate of the host may have under DANE-TA (RFC 7672 3.2.2). The first is the TLSA base domain:
// send it in SNI (RFC 7672 8.1). For a TLS library that checks DANE by itself; `mtasts_attempt_saw_chain` knows them.
//
// The text is valid as long as the attempt. NULL behind the last one, and if TLSA records do not decide.
const char *mtasts_attempt_name(const mtasts_attempt *attempt, size_t index);

// A usable TLSA record of the host, as the octets of its RDATA: usage, selector, matching type and data (RFC 6698 2.1).
//
// The octets are valid as long as the attempt.
//
// Returns 1 with the record in `out`; 0 behind the last one, and if TLSA records do not decide; or `MTASTS_E_ARGUMENT`
// if `out` is NULL.
int32_t mtasts_attempt_record(const mtasts_attempt *attempt, size_t index, mtasts_octets *out);

// Checks the certificate chain of the host as DANE or the policy asks for, and decides what the MTA must do after this
// and all sights before it. It takes the place of `mtasts_verify_certificate` and of `mtasts_attempt_saw` with
// `MTASTS_SEEN_CERTIFICATE`. Where TLSA records decide, what a TLS library says of the chain without them means
// nothing: a self-signed certificate may pass, and one of a public CA may be refused.
//
// `chain` and `at` are those of `mtasts_verify_certificate`.
//
// Returns `MTASTS_OK` with the verdict in `out`; `MTASTS_E_ARGUMENT`, and the sight is ignored; or
// `MTASTS_E_UNAVAILABLE` if the policy decides and the trust anchors cannot be read.
int32_t mtasts_attempt_saw_chain(mtasts_attempt *attempt,
                                 const mtasts_context *context,
                                 const mtasts_octets *chain,
                                 size_t count,
                                 uint64_t at,
                                 mtasts_decision *out,
                                 mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// TLS reports: what becomes of the events
// ---------------------------------------------------------------------------------------------------------------------

// A buffer of this size has room for every record that `mtasts_tlsrpt_record` gives, in octets. The closing NUL is
// included.
#define MTASTS_TLSRPT_RECORD_SIZE 1536

// Looks up the record by which a domain asks for TLS reports: the TXT record at `_smtp._tls.DOMAIN` (RFC 8460 3). It
// waits for DNS up to `timeout_ms`, and five seconds at most; 0 means those. What DNS said is remembered for the
// TTL.
//
// `domain` is the mail domain. `buffer` receives the record, closed by a NUL: as the domain wrote it, or only what a
// report can be sent to, if the record names anything else. `size` is the size of `buffer`, at least
// `MTASTS_TLSRPT_RECORD_SIZE`.
//
// Returns 1 with the record; 0 if the domain asks for no reports; `MTASTS_E_UNAVAILABLE` if DNS did not say, which
// means nothing for the mail; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
int32_t mtasts_tlsrpt_record(const mtasts_context *context,
                             const char *domain,
                             size_t length,
                             uint32_t timeout_ms,
                             char *buffer,
                             size_t size,
                             mtasts_error *error);

// Says which mail a session carries, before `mtasts_attempt_finish`. A session in which a TLS report is sent (from the
// setting `tlsrpt_sender`), or a mail with `TLS-Required: No` (RFC 8689), then has no events: a report about a
// report would cause the next one. Call it once for each mail of the session.
//
// `sender` is the envelope sender, `tls_required` the value of the header field `TLS-Required`. Either may be empty,
// and neither has to be UTF-8. Nothing of them is kept.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
int32_t mtasts_tlsrpt_mail(const mtasts_context *context,
                           mtasts_attempt *attempt,
                           const char *sender,
                           size_t sender_length,
                           const char *tls_required,
                           size_t tls_required_length,
                           mtasts_error *error);

// Hands the events that `mtasts_attempt_finish` has given of this attempt over to what makes TLS reports, as the
// settings `tlsrpt_journal` and `tlsrpt_socket` say. By default neither is set, and the call does nothing. The
// events of one session are handed over in one piece: call this once, after `mtasts_attempt_finish` has returned 0.
// What was handed over, or lost, is not handed over again.
//
// With `tlsrpt_socket` DNS is asked for the record of the mail domain, up to `timeout_ms` and five seconds at most.
// Otherwise the call waits for nothing. It leaves no thread, no descriptor and no memory behind, and may be made in
// a child that the program has forked. In a process of root a child that has become another user does the work.
//
// A session in which a TLS report was sent, or a mail with `TLS-Required: No`, is not for it: `mtasts_tlsrpt_mail`.
//
// Returns `MTASTS_OK`; 1 if events were lost, which was counted in `cache_dir` and means nothing for the mail; or
// `MTASTS_E_ARGUMENT`.
int32_t mtasts_tlsrpt_report(const mtasts_context *context,
                             mtasts_attempt *attempt,
                             uint32_t timeout_ms,
                             mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// Queue: lookups in an event loop
// ---------------------------------------------------------------------------------------------------------------------

// A completed lookup. An extensible struct: set `size` before the call.
typedef struct mtasts_completion {
    // `sizeof(mtasts_completion)`, set by the caller.
    size_t size;
    // The number that `mtasts_queue_submit` or `mtasts_queue_recheck` gave.
    uint64_t id;
    // The `user` that was passed to it.
    void *user;
    // If `status` is `MTASTS_OK`, the answer; free it with `mtasts_answer_free`. Otherwise NULL.
    mtasts_answer *answer;
    // `MTASTS_OK`, `MTASTS_E_CANCELLED`, or `MTASTS_E_UNAVAILABLE`: no answer is possible, defer the mail.
    int32_t status;
    // If `status` is `MTASTS_E_UNAVAILABLE`, what is wrong, closed by a NUL.
    char message[MTASTS_MESSAGE_SIZE];
} mtasts_completion;

// Creates a queue of lookups with this context, which may be freed before the queue. This opens one descriptor.
// Threads are started by the first lookup that needs them.
//
// `out` receives the queue. Free it with `mtasts_queue_free`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_UNAVAILABLE` if there is no descriptor.
int32_t mtasts_queue_new(const mtasts_context *context, mtasts_queue **out, mtasts_error *error);

// The descriptor to wait for, with poll(2), epoll(7) or any event loop. It is readable as long as `mtasts_queue_next`
// has something to do. Do not read, write or close it: the queue closes it. Remove it from an epoll set before that.
//
// Returns the descriptor (0 or more), `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
int32_t mtasts_queue_fd(const mtasts_queue *queue);

// Submits a lookup and returns at once. The lookup is that of `mtasts_lookup`: the same domain, the same time limit
// (from now on), the same answer. A hit in the cache, or a domain that cannot have a policy, is complete when the call
// returns. Otherwise a thread of the queue asks the network: one thread for all pending lookups of a domain, at most
// 256 threads for a queue.
//
// Each lookup completes once, at most a second after its time limit; the answer is then what the cache knows. `user`
// comes back with the completion; the library does not use it. `id` receives the number of the lookup, which is never
// 0; it may be NULL. A pending lookup takes less than 1 KiB of memory and the text of its domain, beside what the
// threads use.
//
// A lookup that ran out of time before anything was known completes with `MTASTS_E_UNAVAILABLE` in a process of root,
// because root does not read the cache itself. The same is true in every process for a lookup that was never started
// because silent names keep all threads busy that its parent domain may use, unless the cache has a policy of the
// domain.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`; `MTASTS_E_UNAVAILABLE` if there is no thread; `MTASTS_E_FORKED` or
// `MTASTS_E_DEFECT`. Only after `MTASTS_OK` there is a completion.
int32_t mtasts_queue_submit(const mtasts_queue *queue,
                            const char *domain,
                            size_t length,
                            uint32_t timeout_ms,
                            void *user,
                            uint64_t *id,
                            mtasts_error *error);

// Submits a check for a newer policy, which is that of `mtasts_recheck`. Time limit, completion, arguments and return
// values are those of `mtasts_queue_submit`.
int32_t mtasts_queue_recheck(const mtasts_queue *queue,
                             const char *domain,
                             size_t length,
                             uint32_t timeout_ms,
                             void *user,
                             uint64_t *id,
                             mtasts_error *error);

// Takes the next completion. When the descriptor is readable, call this until it returns 0. The log function of the
// settings is called from here, and never on a thread of the queue.
//
// Returns 1 with the completion in `completion`, 0 if there is none now, `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
int32_t mtasts_queue_next(const mtasts_queue *queue, mtasts_completion *completion);

// Cancels a lookup. It completes at once with `MTASTS_E_CANCELLED`; take that completion with `mtasts_queue_next`. Its
// thread goes on, and what it finds goes to the cache.
//
// Returns 1; 0 if no such lookup is pending, because its completion is ready or was taken; `MTASTS_E_ARGUMENT` or
// `MTASTS_E_FORKED`.
int32_t mtasts_queue_cancel(const mtasts_queue *queue, uint64_t id);

// Frees a queue and closes its descriptor. NULL is allowed. It does not wait: pending lookups and completions that
// were not taken are dropped, and their `user` does not come back. Threads that still ask the network finish for the
// cache, end at the time limit at the latest, and touch nothing of the program. No thread may be inside a call with
// the queue. In a child process it frees the child's copy only.
void mtasts_queue_free(mtasts_queue *queue);


// ---------------------------------------------------------------------------------------------------------------------
// Cache
// ---------------------------------------------------------------------------------------------------------------------

// Lists the domains of which the cache has an entry, in alphabetical order. Without a cache directory these are the
// domains whose policy is in memory. A file that is not an entry is not listed. A file that this process may not read
// can be an entry, and is listed. The policy may have expired: ask `mtasts_lookup_cached`, which is a use of the
// domain.
//
// In a process of root a child reads the cache after it has become the owner of the cache directory.
//
// `out` receives the listing. Free it with `mtasts_listing_free`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`, or `MTASTS_E_UNAVAILABLE` if the cache directory cannot be used. A cache
// directory that does not exist yet has no domains; for root it is `MTASTS_E_UNAVAILABLE`, because it has no owner to
// become.
int32_t mtasts_listing_new(const mtasts_context *context, mtasts_listing **out, mtasts_error *error);

// The next domain, in A-labels and lower case; NULL after the last one. The text is valid until the next call with
// this listing.
const char *mtasts_listing_next(mtasts_listing *listing);

// Frees a listing and the text that it lent. NULL is allowed.
void mtasts_listing_free(mtasts_listing *listing);

// Removes a domain from the cache, on disk and in the memory of this process. Another process may repeat its answer
// for some seconds.
//
// Until the domain is looked up again, only a DNS record that an attacker may forge protects its mail. Purge an entry
// that is wrong, not one that is old.
//
// In a process of root a child removes the file after it has become the owner of the cache directory.
//
// Returns 1, or 0 if there was nothing to remove; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
// `MTASTS_E_UNAVAILABLE` if the file cannot be removed.
int32_t mtasts_purge(const mtasts_context *context, const char *domain, size_t length, mtasts_error *error);


// ---------------------------------------------------------------------------------------------------------------------
// Exim: functions for dlfunc
// ---------------------------------------------------------------------------------------------------------------------

// For the router's `address_data`: the mode of a domain and the MX hosts that it allows.
//
// One argument: the domain. Or two: the domain, and the names of its MX hosts as `${lookup dnsdb{>; mxh=$domain}}`
// gives them.
//
// Yields `mode=enforce enforce=yes id=ID ignore="LIST" wrong="SENTENCE"`, to be read with
// `${extract{enforce}{$address_data}}` and the like. LIST is for `ignore_target_hosts`: it drops each MX host that the
// policy does not list. SENTENCE is for the log if no host is left: it says that DNS and the policy contradict each
// other, and which MX hosts DNS gives, if they are in the call. Under `mode=testing` and `mode=none` it yields
// `enforce=no`, and there is neither. `log=yes` follows if each host that fails the policy is to be logged, and gets
// the mail anyway.
//
// If LIST is long, `large=yes` comes before it. The list is complete, but Exim reads it for each MX host and does not
// free the memory. Better call the function again with the names of the MX hosts: LIST then matches only those of them
// that the policy allows, and is never long.
//
// While an operator's exception for a domain with an enforced policy is in force, it yields
// `mode=testing enforce=no log=yes id=ID exception="SENTENCE"`.
//
// If the administrator should know something of this host or of the policy, such as that the cache cannot be written,
// ` warning="LINE"` follows, in every mode. It is one line of the log with one token or more.
//
// If no answer is possible (a wrong settings file, no cache directory, `first_contact_defer`), the expansion fails
// with a sentence, and Exim defers the address.
int mtasts_exim_lookup(unsigned char **result, int argc, unsigned char **argv);

// The mode of a domain. One argument: the domain. Yields `enforce`, `testing` or `none`. Fails as `mtasts_exim_lookup`
// does.
int mtasts_exim_mode(unsigned char **result, int argc, unsigned char **argv);

// Checks whether mail for a domain may go to an MX host, by its name only. Two arguments: the domain, and the host as
// the MX record has it. Yields `yes` or `no`. Fails as `mtasts_exim_lookup` does.
int mtasts_exim_check_mx(unsigned char **result, int argc, unsigned char **argv);

// Checks now whether a domain has a newer policy, whatever the cache says. It is for the place where mail would be
// bounced (RFC 8461 5). One argument: the domain.
//
// Yields `changed=yes mode=MODE id=ID` if another policy is in force now: then try to deliver the mail again.
// Otherwise `changed=no mode=MODE id=ID`. Fails as `mtasts_exim_lookup` does.
int mtasts_exim_recheck(unsigned char **result, int argc, unsigned char **argv);

// For `event_action` of the smtp transports. Seven arguments: `$event_name`, `$domain`, `$host`, `$host_address`,
// `$event_data`, `$event_defer_errno`, and facts as `name=value` pairs.
//
// At `tls:cert`, on a transport whose name contains `mtasts`, it yields a refusal if the host's certificate has no DNS
// name in its subjectAltName. Exim's TLS libraries would then accept the common name, which RFC 8461 4.2 does not
// allow. If DANE is in use (`tlsa` is not 0), DANE decides about the certificate. On every transport it yields a
// refusal if there are TLSA records of usage DANE-TA and the certificate has the name neither of the host nor of the
// domain, which Exim with GnuTLS does not ask for. At every other event it yields nothing. The facts are `transport=`,
// `tlsa=` and `cert=`.
//
// With the fact `report=yes` it refuses nothing. What a TLS report counts of the session is handed over at `tcp:close`,
// as the settings `tlsrpt_journal` and `tlsrpt_socket` say, with the address of the fact `local=`. If that is lost it
// yields a line for the log. Each event of the session has to come here. A session with a report, or with a mail that
// needs no TLS, has no such result: `from=` is the envelope sender in base64, and `tlsreq=` the header field
// `TLS-Required`. The other facts are `cv=`, `tlsa=`, `cipher=`, `ocsp=` (`$tls_out_ocsp`), `cert=`, `records=`, which
// are the host's TLSA records as `${lookup dnsdb{>; tlsa=_25._tcp.$host}}` gives them, in base64, and last `hosts=`,
// the names of the MX hosts as `${lookup dnsdb{>; mxh=$domain}}` gives them: Exim's `$host` is the target of a CNAME.
//
// With the fact `mode=testing` it does the same, and at `tcp:close` it also yields a line for the log if the host
// would have failed the policy of the domain were it enforced: its name is not listed, it did not offer STARTTLS, TLS
// failed, or its certificate is not accepted.
//
// With `report=yes` and the event `mtasts:routed`, in a router, it counts the MX hosts that Exim passes over because an
// enforced policy does not list them. `mx=` is what `${lookup dnsdb{>; mx=$domain}}` gives, in base64, and `message=`
// is `$message_exim_id`: they are counted once for a message.
int mtasts_exim_event(unsigned char **result, int argc, unsigned char **argv);

// The version of the library. No arguments. Yields `0.1.0`.
int mtasts_exim_version(unsigned char **result, int argc, unsigned char **argv);


// ---------------------------------------------------------------------------------------------------------------------
// Version
// ---------------------------------------------------------------------------------------------------------------------

// The version of the interface, which is also that of the soname: `libmtasts.so.1`. It is raised only when a program
// that was compiled with an older header would no longer work.
#define MTASTS_ABI 1

// The version that this header belongs to: its major number.
#define MTASTS_VERSION_MAJOR 0

// Its minor number.
#define MTASTS_VERSION_MINOR 1

// Its patch number.
#define MTASTS_VERSION_PATCH 0

// The version as one number: major * 65536 + minor * 256 + patch.
#define MTASTS_VERSION_NUMBER 256

// The version of the library that runs, as text: `0.1.0`. A static text, never NULL.
const char *mtasts_version(void);

// The version of the library that runs, to be compared with `MTASTS_VERSION_NUMBER`.
uint32_t mtasts_version_number(void);

// Checks that this program may use the library that runs. Pass `MTASTS_ABI`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ABI`.
int32_t mtasts_abi_check(uint32_t abi);

// The meaning of a status in a few words. A static text, never NULL, also for an unknown number.
const char *mtasts_strerror(int32_t status);

// The name of a result type as a TLS report has it: `certificate-expired` (RFC 8460 4.3). A static text. NULL if
// `result` is not one of `MTASTS_RESULT_*`.
const char *mtasts_result_name(int32_t result);

#ifdef __cplusplus
}
#endif

#endif

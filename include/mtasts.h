/*
 * libmtasts: MTA-STS (RFC 8461) for sending mail servers.
 *
 * A domain can say: deliver my mail only over TLS, only to these MX hosts, only with a valid certificate. The sending
 * server has to do the work. This library does it inside that server: it looks the domain's policy up, keeps it, and
 * tells for each MX host what to do. The whole use:
 *
 *     // Once, at the start. Nothing is opened or started yet.
 *     mtasts_error error = {sizeof error, 0, ""};
 *     mtasts_settings *settings;
 *     mtasts_context *context;
 *     if (mtasts_abi_check(MTASTS_ABI) != MTASTS_OK) ...        // header and library do not fit
 *     if (mtasts_settings_of_host(&settings, &error) != MTASTS_OK) ...     // error.message says which setting
 *     mtasts_context_new(settings, &context, &error);
 *     mtasts_settings_free(settings);
 *
 *     // For each recipient domain. Blocks; a hit in the cache touches no network.
 *     mtasts_answer *answer;
 *     int status = mtasts_lookup(context, domain, MTASTS_NUL_TERMINATED, 0, &answer, &error);
 *     if (status == MTASTS_E_NAME || status == MTASTS_E_ADDRESS) ...       // can have no policy: deliver as ever
 *     else if (status != MTASTS_OK) ...                                    // let the mail wait; log error.message
 *
 *     // For each MX host in order of preference: before connecting ...
 *     mtasts_seen seen = {sizeof seen, MTASTS_SEEN_NAME, 0, NULL};
 *     mtasts_decision decision = {sizeof decision, 0, 0, "", ""};
 *     mtasts_verdict(answer, mx_host, MTASTS_NUL_TERMINATED, &seen, &decision, &error);
 *     // ... and after EHLO or the TLS handshake, with the chain that the host sent:
 *     mtasts_check check = {sizeof check, 0, ""};
 *     mtasts_check_certificate(context, mx_host, MTASTS_NUL_TERMINATED, chain, count, 0, &check, &error);
 *     seen.kind = MTASTS_SEEN_CERTIFICATE, seen.result = check.result, seen.reason = check.reason;
 *     mtasts_verdict(answer, mx_host, MTASTS_NUL_TERMINATED, &seen, &decision, &error);
 *     // decision.action says what to do: deliver, deliver and report, skip this host, defer.
 *     // decision.sentence is for the log.
 *
 *     mtasts_answer_free(answer);
 *
 * An event loop does not call mtasts_lookup, which blocks, but a queue with one descriptor to wait for:
 *
 *     mtasts_queue *queue;
 *     mtasts_queue_new(context, &queue, &error);
 *     mtasts_queue_submit(queue, domain, MTASTS_NUL_TERMINATED, 0, mail, NULL, &error);
 *     // Whenever mtasts_queue_fd(queue) is readable:
 *     mtasts_completion done = {sizeof done, 0, NULL, NULL, 0, ""};
 *     while (mtasts_queue_next(queue, &done) == 1) ...                     // done.user is mail, done.answer as above
 *
 * Whatever fails defers mail and never bounces it; where no policy can be learnt, mail flows as before (RFC 8461 3.3).
 *
 * Conventions. A function returns MTASTS_OK or a negative MTASTS_E_*; results go to its last arguments and are written
 * only on success. Texts go in as UTF-8 with a length, or with MTASTS_NUL_TERMINATED; they come out closed by a NUL,
 * on one line, without control characters, and belong to the object that lends them. Structs belong to the caller, who
 * sets their size. Every pointer may be NULL: that is an error code and no crash. A defect of the library is
 * MTASTS_E_PANIC, prints nothing, and leaves the process alive. The one function of the program that the library calls,
 * that of mtasts_settings_set_log, must return: no C++ exception and no longjmp may leave it.
 *
 * Threads. A context and an answer may be used by any number of threads at once; settings by one at a time. No thread
 * outlives a call, but for those of a queue: they begin with a lookup that needs the network, and end when they have been
 * idle for some seconds. No signal handler of the program and no function of it ever runs on a thread of ours.
 *
 * Fork. Everything works in a child of the process that made it, at any time and at any depth, whatever threads the
 * parent had. What a child frees stays whole in the parent. Only a queue stays its maker's: a child can free it, and make
 * one of its own.
 *
 * Root. In a process of root the network is asked by a child that has become the owner of the cache directory.
 *
 * The environment is read by mtasts_settings_of_host alone, and never in a privileged process. The library installs no
 * signal handler, sets no alarm, changes no umask, keeps no descriptor but that of a queue, and writes nothing to stdout,
 * stderr or syslog.
 */


#ifndef MTASTS_H
#define MTASTS_H

#include <stddef.h>
#include <stdint.h>

// The length argument for a text that ends with a NUL.
#define MTASTS_NUL_TERMINATED ((size_t)-1)


// The call succeeded.
#define MTASTS_OK 0

// An argument is NULL that may not be, or a number is out of its range.
#define MTASTS_E_ARGUMENT -1

// A domain or a host name is no such name: too long, not UTF-8, a NUL or another bad character inside, an empty label.
// A mail domain that is refused so can have no policy; mail to it is not MTA-STS's business.
#define MTASTS_E_NAME -2

// The name is an IP address or an address literal, for which there is no policy (RFC 8461 3.4).
#define MTASTS_E_ADDRESS -3

// A setting or a settings file is wrong; the message names the key and the reason.
#define MTASTS_E_SETTINGS -4

// The system refused what the call needs: no process, no thread, no roots, no usable cache directory for root. Nothing
// is known of the domain: let its mail wait.
#define MTASTS_E_SYSTEM -5

// A defect of this library (a panic). Nothing is known of the domain: let its mail wait, and report it.
#define MTASTS_E_PANIC -6

// The header and the library do not fit each other.
#define MTASTS_E_ABI -7

// The queue belongs to the process from which this one was forked. Make another one here.
#define MTASTS_E_FORKED -8

// The lookup was cancelled.
#define MTASTS_E_CANCELLED -9

// The address is not of the public Internet, and no setting allows it: do not connect there.
#define MTASTS_E_REFUSED -10

// The size of the message in an `mtasts_error`, with its NUL.
#define MTASTS_MESSAGE_SIZE 512

// The domain asks for nothing: it has no policy that counts, or one of mode none.
#define MTASTS_MODE_NONE 0

// A host that fails the policy is used all the same, and reported. Also where the policy says enforce, but the operator
// has made an exception for the domain (the setting `exceptions`).
#define MTASTS_MODE_TESTING 1

// A host that fails the policy is not used.
#define MTASTS_MODE_ENFORCE 2

// The policy was fetched for this answer.
#define MTASTS_SOURCE_FRESH 1

// The policy was in the cache, and is current as far as it must be known.
#define MTASTS_SOURCE_CACHED 2

// The policy was in the cache, and its refresh failed: it counts all the same.
#define MTASTS_SOURCE_CACHED_AFTER_FAILURE 3

// The domain has no policy.
#define MTASTS_SOURCE_NO_POLICY 4

// It could not be learnt whether the domain has a policy or what it says, and the cache holds none. Mail flows, unless
// `mtasts_answer_defer_until` says until when it waits.
#define MTASTS_SOURCE_COULD_NOT_LEARN 5

// There was no session: the host was passed over by its name, or did not answer.
#define MTASTS_CHANNEL_NONE 0

// The session went on in clear.
#define MTASTS_CHANNEL_CLEAR 1

// The session went on under TLS, whether or not the certificate is good.
#define MTASTS_CHANNEL_TLS 2

// An event under an MTA-STS policy: `sts` in a report.
#define MTASTS_POLICY_STS 2

// An event of a domain without a policy, or with one of mode none: `no-policy-found` in a report.
#define MTASTS_POLICY_NONE 9

// There are MX hosts, and each was tried or passed over.
#define MTASTS_NO_HOST_LEFT 0

// The MX lookup says that the domain does not exist (NXDOMAIN).
#define MTASTS_NO_HOST_NXDOMAIN 1

// The MX lookup says that the domain has no MX record (NODATA).
#define MTASTS_NO_HOST_NODATA 2

// The one MX record is `.`: the domain takes no mail (RFC 7505).
#define MTASTS_NO_HOST_NULL_MX 3

// The size of the name of an MX host in an `mtasts_event`, with its NUL.
#define MTASTS_HOST_SIZE 256

// The size of an IP address in an `mtasts_event`, with its NUL.
#define MTASTS_ADDRESS_SIZE 46

// Deliver to this host, by whatever other rules the MTA has.
#define MTASTS_ACTION_DELIVER 1

// Deliver to this host, and report the failure.
#define MTASTS_ACTION_DELIVER_AND_REPORT 2

// Send nothing to this host; try the next, and where none is left defer the mail.
#define MTASTS_ACTION_SKIP_HOST 3

// Keep the mail in the queue and try again later. Never a bounce.
#define MTASTS_ACTION_DEFER 4

// Nothing yet but the name of the host: before connecting.
#define MTASTS_SEEN_NAME 0

// STARTTLS stands not in the host's answer to EHLO.
#define MTASTS_SEEN_NO_STARTTLS 1

// The host refused the STARTTLS command.
#define MTASTS_SEEN_STARTTLS_REFUSED 2

// The handshake failed, but not over the certificate; `reason` says how.
#define MTASTS_SEEN_HANDSHAKE_FAILED 3

// The certificate was checked for the name of this host; `result` is 0 for a good one or the result type, `reason` says
// what is wrong with it.
#define MTASTS_SEEN_CERTIFICATE 4

// Every host was tried or skipped, and none is left.
#define MTASTS_SEEN_NO_HOST_LEFT 5

// The size of a reason in the structs below, with its NUL.
#define MTASTS_REASON_SIZE 512

// The size of a sentence, with its NUL.
#define MTASTS_SENTENCE_SIZE 1536

// The version of the interface. It is raised when a program built against an older header would no longer work; the
// soname is `libmtasts.so.<it>`.
#define MTASTS_ABI 0

// The major number of the version that this header belongs to.
#define MTASTS_VERSION_MAJOR 0

// The minor number.
#define MTASTS_VERSION_MINOR 1

// The patch number.
#define MTASTS_VERSION_PATCH 0

// The three in one: major * 65536 + minor * 256 + patch.
#define MTASTS_VERSION_NUMBER 256

// The answer of a lookup. It never changes, and any number of threads may read it at once. All texts that it lends are
// UTF-8 on one line, closed by a NUL, free of control characters, and live as long as it does.
typedef struct mtasts_answer mtasts_answer;

// One attempt to deliver to one MX host. It remembers what was seen there. It keeps its answer alive, so the answer may be
// freed before it. One thread at a time may use an attempt; different attempts are independent. It has no descriptor, no
// thread and no lock: a child of `fork` may go on with its copy and must free it, which changes nothing for the parent.
typedef struct mtasts_attempt mtasts_attempt;

// A context: settings, the cache, and the way to the network. For any number of threads at once, and for any child of
// the process that made it.
typedef struct mtasts_context mtasts_context;

// The domains that the cache held when the listing was made. For one thread at a time.
typedef struct mtasts_listing mtasts_listing;

// A queue of lookups for an event loop. For any number of threads at once, but only in the process that made it.
typedef struct mtasts_queue mtasts_queue;

// The settings of a context to be. For one thread at a time.
typedef struct mtasts_settings mtasts_settings;

// What went wrong with a call. The caller's own; set `size` to `sizeof(mtasts_error)` before the call. It is written
// only when the call fails. Wherever a function takes one, NULL is fine.
typedef struct mtasts_error {
    // `sizeof(mtasts_error)`, set by the caller.
    size_t size;
    // One of the `MTASTS_E_*`, the same that the call returns.
    int32_t code;
    // What is wrong, in plain words on one line, closed by a NUL.
    char message[MTASTS_MESSAGE_SIZE];
} mtasts_error;

// What the MTA saw at an MX host. The caller's own; set `size` to `sizeof(mtasts_seen)`.
typedef struct mtasts_seen {
    // `sizeof(mtasts_seen)`, set by the caller.
    size_t size;
    // One of `MTASTS_SEEN_*`.
    int32_t kind;
    // For `MTASTS_SEEN_CERTIFICATE`: 0 or the result type, as in `mtasts_check`. Else 0.
    int32_t result;
    // What is wrong in plain words, NUL-terminated; may be NULL.
    const char *reason;
} mtasts_seen;

// A verdict. The caller's own; set `size` to `sizeof(mtasts_decision)` before the call.
typedef struct mtasts_decision {
    // `sizeof(mtasts_decision)`, set by the caller.
    size_t size;
    // One of `MTASTS_ACTION_*`.
    int32_t action;
    // What a report calls the failure (RFC 8460 4.3), or 0 where there is none to report.
    int32_t result;
    // The failure-reason-code for the report, closed by a NUL; empty where there is none.
    char reason_code[MTASTS_REASON_SIZE];
    // One line for the log: what is wrong and what to do about it. Closed by a NUL.
    char sentence[MTASTS_SENTENCE_SIZE];
} mtasts_decision;

// The other side of a session, for the report. The caller's own; set `size` to `sizeof(mtasts_peer)`.
typedef struct mtasts_peer {
    // `sizeof(mtasts_peer)`, set by the caller.
    size_t size;
    // One of `MTASTS_CHANNEL_*`: how far the session came.
    int32_t channel;
    // The IP address of the host as text, NUL-terminated, without brackets and zone; may be NULL.
    const char *address;
    // The IP address that the connection came from, likewise; may be NULL.
    const char *local_address;
} mtasts_peer;

// What a report counts of one session (RFC 8460 4.4). The caller's own; set `size` to `sizeof(mtasts_event)` before the
// call. The policy's text and its patterns are those of the answer, if its mode is not `MTASTS_MODE_NONE`; else none.
typedef struct mtasts_event {
    // `sizeof(mtasts_event)`, set by the caller.
    size_t size;
    // `MTASTS_POLICY_STS` or `MTASTS_POLICY_NONE`.
    int32_t policy_type;
    // 0 for a success, else the result type of the failure (RFC 8460 4.3).
    int32_t result;
    // The MX host, closed by a NUL: a host name in A-labels and lower case, or one clean line if the MX record names
    // something else.
    char host[MTASTS_HOST_SIZE];
    // The address of the host, closed by a NUL; empty if there is none.
    char address[MTASTS_ADDRESS_SIZE];
    // The address that the connection came from, closed by a NUL; empty if there is none.
    char local_address[MTASTS_ADDRESS_SIZE];
    // The failure-reason-code, closed by a NUL; empty for a success.
    char reason_code[MTASTS_REASON_SIZE];
} mtasts_event;

// Some octets, such as one certificate in DER. The caller's own.
typedef struct mtasts_octets {
    // Where they begin.
    const uint8_t *data;
    // How many there are.
    size_t length;
} mtasts_octets;

// The result of a certificate check. The caller's own; set `size` to `sizeof(mtasts_check)` before the call.
typedef struct mtasts_check {
    // `sizeof(mtasts_check)`, set by the caller.
    size_t size;
    // 0 for a good certificate, else the result type (RFC 8460 4.3).
    int32_t result;
    // What is wrong in plain words, closed by a NUL; empty for a good one. Fit for a failure-reason-code.
    char reason[MTASTS_REASON_SIZE];
} mtasts_check;

// A lookup that is complete. The caller's own; set `size` to `sizeof(mtasts_completion)` before the call.
typedef struct mtasts_completion {
    // `sizeof(mtasts_completion)`, set by the caller.
    size_t size;
    // The number that `mtasts_queue_submit` or `mtasts_queue_recheck` gave.
    uint64_t id;
    // What the caller gave with it.
    void *user;
    // The answer where `status` is `MTASTS_OK`, to be freed with `mtasts_answer_free`; else NULL.
    struct mtasts_answer *answer;
    // `MTASTS_OK`; `MTASTS_E_CANCELLED`; `MTASTS_E_SYSTEM`: nothing is known of the domain, let its mail wait.
    int32_t status;
    // Where `status` is `MTASTS_E_SYSTEM`, what is wrong in plain words; closed by a NUL.
    char message[MTASTS_MESSAGE_SIZE];
} mtasts_completion;

// A log line: what the administrator is to be told now, such as the failed refresh of a policy. `line` is UTF-8 on one
// line without control characters, closed by a NUL, and lives until the function returns.
//
// The function must return: no C++ exception and no `longjmp` may leave it, for the frames above it are the library's
// and cannot be unwound. It may not call the library with the context, answer or queue of the call that it is called
// from, nor free them.
typedef void (*mtasts_log)(const char *line, void *user);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What the domain asks for: one of `MTASTS_MODE_*`. `MTASTS_MODE_NONE` also where there is no policy or `answer` is NULL.
//
// # Safety
// `answer` is NULL or alive.
int32_t mtasts_answer_mode(const struct mtasts_answer *answer);

// Where the answer came from: one of `MTASTS_SOURCE_*`; 0 where `answer` is NULL.
//
// # Safety
// `answer` is NULL or alive.
int32_t mtasts_answer_source(const struct mtasts_answer *answer);

// The policy domain, in A-labels and lower case. Never NULL.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_domain(const struct mtasts_answer *answer);

// The id of the policy: 1 to 32 letters and digits, or an empty text where there is no policy. Never NULL.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_id(const struct mtasts_answer *answer);

// When the policy was fetched, in Unix seconds; 0 where there is none.
//
// # Safety
// `answer` is NULL or alive.
uint64_t mtasts_answer_fetched(const struct mtasts_answer *answer);

// The last second at which the policy counts, in Unix seconds; 0 where there is none.
//
// # Safety
// `answer` is NULL or alive.
uint64_t mtasts_answer_expires(const struct mtasts_answer *answer);

// Until when mail must wait, in Unix seconds, because nothing could be learnt of the domain and the setting
// `first_contact_defer` asks for patience; 0 where it need not. `mtasts_verdict` minds it.
//
// # Safety
// `answer` is NULL or alive.
uint64_t mtasts_answer_defer_until(const struct mtasts_answer *answer);

// How many MX patterns the policy has; 0 where there is none.
//
// # Safety
// `answer` is NULL or alive.
size_t mtasts_answer_mx_count(const struct mtasts_answer *answer);

// The MX pattern of this index, counted from 0: a host name, or `*.` and one, in lower case. NULL past the last.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_mx(const struct mtasts_answer *answer, size_t index);

// The policy text as the policy host sent it, for the policy-string of a report (RFC 8460 4.5). Not closed by a NUL: its
// octets are counted in `length`. Attacker's text: escape it before it goes anywhere. NULL where there is no policy.
//
// # Safety
// `answer` is NULL or alive; `length` is NULL or points to a size_t.
const char *mtasts_answer_policy_text(const struct mtasts_answer *answer,
                                      size_t *length);

// The result type of what stood in the way of a current policy (`sts-policy-fetch-error` 301, `sts-policy-invalid` 302,
// `sts-webpki-invalid` 303), or 0 where nothing did or it is not to be reported.
//
// # Safety
// `answer` is NULL or alive.
int32_t mtasts_answer_result(const struct mtasts_answer *answer);

// What stood in the way of a current policy, or why there is none, in plain words; empty where nothing did. Never NULL.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_detail(const struct mtasts_answer *answer);

// What is wrong with the cache on this host, in plain words; empty where nothing is. Never NULL.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_warning(const struct mtasts_answer *answer);

// The whole answer in one sentence for a log. Never NULL.
//
// # Safety
// `answer` is NULL or alive.
const char *mtasts_answer_explanation(const struct mtasts_answer *answer);

// Whether a pattern of the policy allows this MX host (RFC 8461 4.1): the name in the MX record, before any CNAME; the
// domain itself where it has no MX record. `length` counts the octets of `host`, or is `MTASTS_NUL_TERMINATED`.
//
// Returns 1 or 0 (0 also where there is no policy), `MTASTS_E_ARGUMENT`, or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` for
// what is no host name: no pattern allows that.
//
// # Safety
// `answer` is NULL or alive; `host` is NULL or has `length` octets.
int32_t mtasts_answer_allows(const struct mtasts_answer *answer, const char *host, size_t length);

// Whether a host that fails the policy gets no mail: 1 if the mode is `MTASTS_MODE_ENFORCE`, else 0. A session with an MX
// host then needs TLS with a certificate that passes. 0 also if `answer` is NULL.
//
// # Safety
// `answer` is NULL or alive.
int32_t mtasts_answer_enforces(const struct mtasts_answer *answer);

// Whether a policy asks anything of the MX hosts: 1 if the mode is `MTASTS_MODE_ENFORCE` or `MTASTS_MODE_TESTING`, else 0.
// If not, no host is judged. 0 also if `answer` is NULL.
//
// # Safety
// `answer` is NULL or alive.
int32_t mtasts_answer_applies(const struct mtasts_answer *answer);

// Whether two answers for a domain, such as one before and one of `mtasts_recheck`, say the same: the mode, the id and the
// MX patterns. When the policy was fetched does not count, because a refresh changes that each day. If they differ, mail
// that was refused under one of them deserves another attempt before it is bounced (RFC 8461 5).
//
// Returns 1 or 0, or `MTASTS_E_ARGUMENT` if one of them is NULL.
//
// # Safety
// `answer` and `other` are NULL or alive.
int32_t mtasts_answer_is_same_policy(const struct mtasts_answer *answer,
                                     const struct mtasts_answer *other);

// Frees an answer and all that it lent. NULL is fine.
//
// # Safety
// `answer` is NULL or alive, and is not used again.
void mtasts_answer_free(struct mtasts_answer *answer);

// Begins an attempt to deliver to one MX host. Make one for each host, and a new one for each further session with the
// same host, such as at another of its addresses.
//
// `host` is the name in the MX record, before any CNAME, with or without a root dot; if the domain has no MX record it is
// the domain itself. `length` counts its octets, or is `MTASTS_NUL_TERMINATED`. A name that is not a host name (an IP
// address, an underscore, octets that are not UTF-8) is no error: the verdicts say what happens with such a host.
//
// Returns `MTASTS_OK` with the attempt in `out`, to be freed with `mtasts_attempt_free`; or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `answer` is NULL or alive; `host` is NULL or has `length` octets; `out` is NULL or points to a pointer; `error` is NULL
// or points to an `mtasts_error` whose size is set.
int32_t mtasts_attempt_new(const struct mtasts_answer *answer,
                           const char *host,
                           size_t length,
                           struct mtasts_attempt **out,
                           struct mtasts_error *error);

// Says what the MTA must do after this sight and all before it. Show it `MTASTS_SEEN_NAME` before you connect, then what
// the EHLO reply, the STARTTLS reply or the TLS handshake showed; obey each verdict.
//
// After a refusal (skip the host, or defer) every further verdict is that refusal, whatever is seen. If nothing is
// enforced, mail is delivered, and the verdict keeps naming the first failure.
//
// `seen.kind` is one of `MTASTS_SEEN_*` but `MTASTS_SEEN_NO_HOST_LEFT`, for which there is
// `mtasts_verdict_without_host`.
//
// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`; then the sight does not count.
//
// # Safety
// `attempt` is NULL or alive and not in use by another thread; `seen` is NULL or points to an `mtasts_seen` whose size is
// set; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points to an `mtasts_error`
// whose size is set.
int32_t mtasts_attempt_saw(struct mtasts_attempt *attempt,
                           const struct mtasts_seen *seen,
                           struct mtasts_decision *out,
                           struct mtasts_error *error);

// Ends an attempt: what a TLS report counts of it (RFC 8460 4), at most one event for each attempt, a failure or a
// success. Call it when the session is over, or when the host was passed over; never twice, since the second call gives
// nothing.
//
// * Under a policy: a failure if the host failed it, also by its name alone; a success if its certificate was good;
//   nothing for a host that did not answer.
// * If the policy could not be fetched or renewed, a session with a host that did not fail is a failure of the policy.
// * Without a policy: a success if TLS came about; a failure if STARTTLS was not offered or refused, or the handshake
//   failed.
//
// `peer` may be NULL if there was no session.
//
// Returns 1 with the event in `out`; 0 if there is nothing to count; or `MTASTS_E_ARGUMENT`, and the attempt goes on.
//
// # Safety
// `attempt` is NULL or alive and not in use by another thread; `peer` is NULL or points to an `mtasts_peer` whose size is
// set and whose texts are NULL or NUL-terminated; `out` is NULL or points to an `mtasts_event` whose size is set; `error`
// is NULL or points to an `mtasts_error` whose size is set.
int32_t mtasts_attempt_finish(struct mtasts_attempt *attempt,
                              const struct mtasts_peer *peer,
                              struct mtasts_event *out,
                              struct mtasts_error *error);

// Frees an attempt. NULL is fine. An attempt that was not finished counts nowhere.
//
// # Safety
// `attempt` is NULL or alive, and is not used again.
void mtasts_attempt_free(struct mtasts_attempt *attempt);

// Decides about a mail for which there is no MX host. `why` is one of `MTASTS_NO_HOST_*`.
//
// If every host was passed over (`MTASTS_NO_HOST_LEFT`) and the policy is enforced, the mail waits. If DNS denies the MX
// hosts that an enforced policy lists (NXDOMAIN, NODATA, null MX), one of the two is wrong, and the answer of DNS is the
// one that can be forged: the mail waits, and the sentence says which contradicts which. NODATA is no contradiction if
// the policy lists the domain itself. In all other cases the action is one of the two that deliver: do what you do
// without MTA-STS, such as to bounce mail to a domain that does not exist. None of this is an event for a report.
//
// Returns `MTASTS_OK` with the verdict in `out`, or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `answer` is NULL or alive; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points
// to an `mtasts_error` whose size is set.
int32_t mtasts_verdict_without_host(const struct mtasts_answer *answer,
                                    int32_t why,
                                    struct mtasts_decision *out,
                                    struct mtasts_error *error);

// Lists the domains that the cache holds something of, in alphabetical order; whether that can be read and still counts
// is another matter: ask `mtasts_lookup_cached`, which counts as use of the domain. Without a cache directory, the
// domains whose policy is in memory.
//
// In a process of root a child that has become the owner of the cache directory reads it.
//
// `out` receives a listing to be freed with `mtasts_listing_free`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SYSTEM` where the cache directory cannot be used. Where there is
// none yet, there are no domains; but a process of root has nobody to become then, which is `MTASTS_E_SYSTEM`.
//
// # Safety
// `context` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
// size is set.
int32_t mtasts_listing_new(const struct mtasts_context *context,
                           struct mtasts_listing **out,
                           struct mtasts_error *error);

// Gives the next domain, in A-labels and lower case; NULL after the last. The text lives until the next call with this
// listing.
//
// # Safety
// `listing` is NULL or alive and used by no other thread.
const char *mtasts_listing_next(struct mtasts_listing *listing);

// Frees a listing and the text that it lent. NULL is fine.
//
// # Safety
// `listing` is NULL or alive, and is not used again.
void mtasts_listing_free(struct mtasts_listing *listing);

// Forgets a domain, on disk and in the memory of this process; another process may repeat its answer for some seconds
// more. Until the domain is looked up again, mail for it has no protection but a record in DNS that an attacker may forge:
// purge what is wrong, not what is old.
//
// `domain` and `length` are those of `mtasts_lookup`. In a process of root a child that has become the owner of the cache
// directory removes the file.
//
// Returns 1, or 0 where there was nothing; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
// `MTASTS_E_SYSTEM` where the file cannot be removed.
//
// # Safety
// `context` is NULL or alive; `domain` is NULL or has `length` octets; `error` is NULL or points to an `mtasts_error` whose
// size is set.
int32_t mtasts_purge(const struct mtasts_context *context,
                     const char *domain,
                     size_t length,
                     struct mtasts_error *error);

// Whether mail may go to the host: 1 for `MTASTS_ACTION_DELIVER` and `MTASTS_ACTION_DELIVER_AND_REPORT`, else 0.
int32_t mtasts_action_delivers(int32_t action);

// Whether the mail waits, and no other host of the domain is to be tried now: 1 for `MTASTS_ACTION_DEFER`, else 0.
int32_t mtasts_action_defers(int32_t action);

// Checks the certificate chain of an MX host (RFC 8461 4.2): a path to a trusted root at the time, and the host's name
// among the DNS names of the subjectAltName (never the common name, never an IP address; `*` for the whole left-most
// label alone).
//
// `host` is the name in the MX record, before any CNAME. `chain` has `count` certificates in DER, the host's own first,
// the others in any order. `at` is in Unix seconds; 0 stands for now. The first call of a context reads the roots.
//
// Returns `MTASTS_OK` with the result in `out`; `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`; or
// `MTASTS_E_SYSTEM` where the roots cannot be read.
//
// # Safety
// `context` is NULL or alive; `host` is NULL or has `length` octets; `chain` is NULL or has `count` elements, each of
// which has its octets; `out` is NULL or points to an `mtasts_check` whose size is set; `error` is NULL or points to an
// `mtasts_error` whose size is set.
int32_t mtasts_check_certificate(const struct mtasts_context *context,
                                 const char *host,
                                 size_t length,
                                 const struct mtasts_octets *chain,
                                 size_t count,
                                 uint64_t at,
                                 struct mtasts_check *out,
                                 struct mtasts_error *error);

// Checks the name alone: whether the host's certificate has the name among the DNS names of its subjectAltName, as
// `mtasts_check_certificate` wants it. For a program whose TLS library has verified the path, but by a looser rule for
// the name: many take the common name where there is no subjectAltName, which RFC 8461 4.2 does not know.
//
// `host` is the name in the MX record, before any CNAME; `leaf` is the host's own certificate in DER.
//
// Returns `MTASTS_OK` with the result in `out`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS`.
//
// # Safety
// `host` is NULL or has `length` octets; `leaf` is NULL or points to octets that are there; `out` is NULL or points to
// an `mtasts_check` whose size is set; `error` is NULL or points to an `mtasts_error` whose size is set.
int32_t mtasts_check_name(const char *host,
                          size_t length,
                          const struct mtasts_octets *leaf,
                          struct mtasts_check *out,
                          struct mtasts_error *error);

// Says whether a host may be contacted at an address: at those of the public Internet, and at those that the settings
// allow (`allow_addresses`, `nat64_prefixes`). A domain's owner chooses the addresses of its MX hosts, and could
// otherwise point a program that connects to them at its own machine and network. For a program without such a rule of
// its own: look the addresses of the MX host up, ask about each, and connect to the address, not to the name again. If
// none is left, let the mail wait. A relay that the operator has named needs no such question.
//
// `address` is an IPv4 or IPv6 address as text, without brackets and zone; `length` counts its octets, or is
// `MTASTS_NUL_TERMINATED`.
//
// Returns `MTASTS_OK`; `MTASTS_E_REFUSED` with the reason; or `MTASTS_E_ARGUMENT` for what is no address.
//
// # Safety
// `context` is NULL or alive; `address` is NULL or has `length` octets; `error` is NULL or points to an `mtasts_error`
// whose size is set.
int32_t mtasts_check_address(const struct mtasts_context *context,
                             const char *address,
                             size_t length,
                             struct mtasts_error *error);

// What OpenSSL's verdict on a certificate is called: pass what `SSL_get_verify_result` gives (`X509_V_OK` is 0), with
// host name checking on.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `out` is NULL or points to an `mtasts_check` whose size is set.
int32_t mtasts_check_openssl(int64_t code, struct mtasts_check *out);

// What GnuTLS's verdict on a certificate is called: pass the status of `gnutls_certificate_verify_peers3` (0 is good),
// with the host name given.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `out` is NULL or points to an `mtasts_check` whose size is set.
int32_t mtasts_check_gnutls(uint32_t status, struct mtasts_check *out);

// What Node's error code of a failed TLS connection is called: `CERT_HAS_EXPIRED`, `ERR_TLS_CERT_ALTNAME_INVALID` and
// the like, NUL-terminated.
//
// Returns `MTASTS_OK` with the result in `out`, or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `code` is NULL or NUL-terminated; `out` is NULL or points to an `mtasts_check` whose size is set.
int32_t mtasts_check_node(const char *code, struct mtasts_check *out);

// Decides what the MTA must do with this MX host (RFC 8461 4, 5): the policy and what the MTA saw in, the action, the
// name of the failure and a sentence for the log out. Ask before connecting (`MTASTS_SEEN_NAME`) and again after the
// TLS handshake; where no host is left, once more for the sentence (`MTASTS_SEEN_NO_HOST_LEFT`).
//
// `host` is the name in the MX record, before any CNAME; `length` counts its octets, or is `MTASTS_NUL_TERMINATED`.
//
// Returns `MTASTS_OK` with the verdict in `out`; `MTASTS_E_ARGUMENT`; or `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` for what
// is no host name: under a policy in mode enforce, nothing may be sent to it.
//
// # Safety
// `answer` is NULL or alive; `host` is NULL or has `length` octets; `seen` is NULL or points to an `mtasts_seen` whose
// size is set; `out` is NULL or points to an `mtasts_decision` whose size is set; `error` is NULL or points to an
// `mtasts_error` whose size is set.
int32_t mtasts_verdict(const struct mtasts_answer *answer,
                       const char *host,
                       size_t length,
                       const struct mtasts_seen *seen,
                       struct mtasts_decision *out,
                       struct mtasts_error *error);

// Makes a context of these settings, which it copies; NULL stands for the defaults of `mtasts_settings_new`. Nothing is
// opened, read or started: that happens at the first lookup. A program needs one, made at its start.
//
// `out` receives a context to be freed with `mtasts_context_free`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `settings` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
// size is set.
int32_t mtasts_context_new(const struct mtasts_settings *settings,
                           struct mtasts_context **out,
                           struct mtasts_error *error);

// The roots that count in this context: the setting `ca_file`, an absolute path, or NULL for those of the system. It is
// for programs whose own TLS library verifies the chain of an MX host and is to judge as `mtasts_check_certificate` does.
//
// The text lives as long as the context. NULL where `context` is NULL.
//
// # Safety
// `context` is NULL or alive.
const char *mtasts_context_ca_file(const struct mtasts_context *context);

// Looks the policy of a domain up, as a delivery needs it: in the cache, and where that does not do in DNS and over
// HTTPS (RFC 8461 5.1). Blocks up to `timeout_ms` or the setting `timeout`, whichever is shorter; 0 stands for the
// setting. A hit in the cache touches no network.
//
// `domain` is the recipient's domain, or the smart host's where there is one (RFC 8461 3.4): UTF-8, any letter case,
// U-labels or A-labels; `length` counts its octets, or is `MTASTS_NUL_TERMINATED`. `out` receives an answer to be freed
// with `mtasts_answer_free`. That there is no policy, or that none could be learnt, is an answer and not an error.
//
// In a process of root the work is done by a child that has become the owner of the cache directory; root itself never
// touches the network.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` (no such name can have a policy),
// `MTASTS_E_SYSTEM` or `MTASTS_E_PANIC` (nothing is known: let the mail wait).
//
// # Safety
// `context` is NULL or alive; `domain` is NULL or has `length` octets; `out` is NULL or points to a pointer; `error` is
// NULL or points to an `mtasts_error` whose size is set.
int32_t mtasts_lookup(const struct mtasts_context *context,
                      const char *domain,
                      size_t length,
                      uint32_t timeout_ms,
                      struct mtasts_answer **out,
                      struct mtasts_error *error);

// Answers from the cache alone; the network is not touched, whatever is missing. Where no policy that counts is there,
// the answer is `MTASTS_SOURCE_COULD_NOT_LEARN`.
//
// Arguments, ownership and return values are those of `mtasts_lookup`.
//
// # Safety
// As `mtasts_lookup`.
int32_t mtasts_lookup_cached(const struct mtasts_context *context,
                             const char *domain,
                             size_t length,
                             struct mtasts_answer **out,
                             struct mtasts_error *error);

// Asks whether there is a newer policy now, whatever the cache says: for an MTA that is about to bounce a mail because
// of a policy (RFC 8461 5). Compare id and fetch time of the answer with those of the answer at hand; where they
// differ, the mail deserves another attempt.
//
// Arguments, ownership and return values are those of `mtasts_lookup`.
//
// # Safety
// As `mtasts_lookup`.
int32_t mtasts_recheck(const struct mtasts_context *context,
                       const char *domain,
                       size_t length,
                       uint32_t timeout_ms,
                       struct mtasts_answer **out,
                       struct mtasts_error *error);

// Frees a context. Answers that it gave stay valid. No thread may be inside a call with it. NULL is fine. In a child
// process it frees the child's copy alone.
//
// # Safety
// `context` is NULL or alive, and is not used again.
void mtasts_context_free(struct mtasts_context *context);

// The mode and the allowed MX hosts of a domain, for the router's `address_data`. One argument: the domain; or two, with
// the names of its MX hosts, as `${lookup dnsdb{>; mxh=$domain}}` gives them.
//
// Yields `mode=enforce id=ID ignore="LIST" wrong="SENTENCE"`, made for `${extract{mode}{$address_data}}` and its like:
// LIST is for `ignore_target_hosts` and drops every MX host that the policy does not list, SENTENCE is for the log
// where none is left. A long LIST is announced by `large=yes` in front of it: it is complete, but Exim reads it for each MX
// host and frees nothing, so that it is better to ask again with the names of the MX hosts. LIST then has those alone
// that the policy allows, and is never long. Under `mode=testing` and `mode=none` there is neither. While the operator has made an exception for a
// domain that enforces, it is `mode=testing id=ID exception="SENTENCE"`. Where nothing can be known (a bad settings
// file, no cache directory, `first_contact_defer`) the expansion fails with a sentence, and the address is deferred.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_lookup(unsigned char **result,
                       int argc,
                       unsigned char **argv);

// The mode of a domain: yields `enforce`, `testing` or `none`. One argument: the domain. Fails as
// `mtasts_exim_lookup` does.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_mode(unsigned char **result, int argc, unsigned char **argv);

// Whether mail for a domain may go to an MX host as far as its name tells: yields `yes` or `no`. Two arguments: the
// domain, and the host as it stands in the MX record. Fails as `mtasts_exim_lookup` does.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_check_mx(unsigned char **result, int argc, unsigned char **argv);

// Whether a domain has a newer policy than the cache knew, asked now whatever the cache says: for the place where mail
// would be bounced (RFC 8461 5: "is there a newer policy?"). One argument: the domain. Yields
// `changed=yes mode=MODE id=ID` where another policy counts now, so that the mail deserves another attempt, else
// `changed=no ...`. Fails as `mtasts_exim_lookup` does.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_recheck(unsigned char **result, int argc, unsigned char **argv);

// For `event_action` of the smtp transports. Seven arguments: `$event_name`, `$domain`, `$host`, `$host_address`,
// `$event_data`, `$event_defer_errno`, and the facts as `name=value` pairs: `transport=`, `tlsa=` and `cert=` count.
//
// At `tls:cert`, on a transport whose name contains `mtasts`, it yields a refusal where the host's certificate has no DNS
// name in its subjectAltName: Exim's TLS libraries then fall back to the common name, which RFC 8461 4.2 does not know.
// Where DANE is in use (`tlsa` is not 0) the certificate is DANE's matter. It yields nothing at every other event.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_event(unsigned char **result,
                      int argc,
                      unsigned char **argv);

// The version of the library: yields `0.1.0`. No arguments.
//
// # Safety
// As Exim calls it: `result` points to a pointer, `argv` has `argc` NUL-terminated texts.
int mtasts_exim_version(unsigned char **result, int argc, unsigned char **argv);

// The version of the library that runs, as text: `0.1.0`. Static; never NULL.
const char *mtasts_version(void);

// The version of the library that runs, comparable with `MTASTS_VERSION_NUMBER`.
uint32_t mtasts_version_number(void);

// Whether a program built against this header may use the library that runs: pass `MTASTS_ABI`.
//
// Returns `MTASTS_OK` or `MTASTS_E_ABI`.
int32_t mtasts_abi_check(uint32_t abi);

// What a status means, in a few words. Static; never NULL, also for unknown numbers.
const char *mtasts_strerror(int32_t status);

// The name of a result type as it stands in a TLS report: `certificate-expired` (RFC 8460 4.3). Static; NULL where
// `result` is none of the eleven.
const char *mtasts_result_name(int32_t result);

// Makes a queue of lookups with this context, which may be freed before the queue. It opens one descriptor, and starts
// no thread before the first lookup that needs one.
//
// `out` receives a queue to be freed with `mtasts_queue_free`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SYSTEM`: no descriptor.
//
// # Safety
// `context` is NULL or alive; `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose
// size is set.
int32_t mtasts_queue_new(const struct mtasts_context *context,
                         struct mtasts_queue **out,
                         struct mtasts_error *error);

// The descriptor to wait for, with poll(2), epoll(7) or any event loop: it is readable as long as `mtasts_queue_next` has
// something to do. It is not for reading or writing, and the queue closes it; take it out of an epoll before that.
//
// Returns the descriptor (0 or more), `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
//
// # Safety
// `queue` is NULL or alive.
int32_t mtasts_queue_fd(const struct mtasts_queue *queue);

// Submits a lookup as `mtasts_lookup` does it: the same domain, the same time limit (from now on), the same answer. It
// does not wait. A hit in the cache is complete when it returns; else a thread of the queue asks the network, one for
// all lookups of a domain that are under way, and at most 256 for a queue.
//
// Each lookup completes once, at most a second after its time limit; then the answer is what the cache knows.
// `user` comes back with the completion and is not looked at. `id` receives the number of the lookup, never 0; NULL is
// fine. A lookup under way takes less than 1 KiB of memory and the text of its domain, beside what the 256 threads use.
//
// In a process of root a lookup whose time is over before anything was learnt completes with `MTASTS_E_SYSTEM`, because
// root does not read the cache itself. So does, in any process, one that was never begun because all threads that its
// parent domain may have are busy with silent names, unless a policy of the domain is in the cache.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, `MTASTS_E_NAME` or `MTASTS_E_ADDRESS` (no such name can have a policy),
// `MTASTS_E_SYSTEM` (no thread), `MTASTS_E_FORKED` or `MTASTS_E_PANIC`. Only after `MTASTS_OK` there is a completion.
//
// # Safety
// `queue` is NULL or alive; `domain` is NULL or has `length` octets; `id` is NULL or points to a number; `error` is NULL or
// points to an `mtasts_error` whose size is set.
int32_t mtasts_queue_submit(const struct mtasts_queue *queue,
                            const char *domain,
                            size_t length,
                            uint32_t timeout_ms,
                            void *user,
                            uint64_t *id,
                            struct mtasts_error *error);

// Submits a recheck as `mtasts_recheck` does it: whether there is a newer policy is asked now, whatever the cache says.
// Time limit, completion, arguments and return values are those of `mtasts_queue_submit`.
//
// # Safety
// As `mtasts_queue_submit`.
int32_t mtasts_queue_recheck(const struct mtasts_queue *queue,
                             const char *domain,
                             size_t length,
                             uint32_t timeout_ms,
                             void *user,
                             uint64_t *id,
                             struct mtasts_error *error);

// Takes the next completion. When the descriptor is readable, call this until it returns 0. The log function of the
// settings is called in here, and on no thread of the queue.
//
// Returns 1 and writes `completion`, 0 when there is none now, `MTASTS_E_ARGUMENT` (also where its size is not set) or
// `MTASTS_E_FORKED`.
//
// # Safety
// `queue` is NULL or alive; `completion` is NULL or points to an `mtasts_completion` whose size is set.
int32_t mtasts_queue_next(const struct mtasts_queue *queue, struct mtasts_completion *completion);

// Cancels a lookup: it completes at once with `MTASTS_E_CANCELLED`, and `mtasts_queue_next` gives that completion. What
// its thread still learns goes to the cache.
//
// Returns 1, or 0 where no such lookup is under way: it is complete, and its completion waits or was taken. Else
// `MTASTS_E_ARGUMENT` or `MTASTS_E_FORKED`.
//
// # Safety
// `queue` is NULL or alive.
int32_t mtasts_queue_cancel(const struct mtasts_queue *queue, uint64_t id);

// Frees a queue and closes its descriptor, without waiting for anything. Lookups under way and completions that were not
// taken are dropped; their `user` does not come back. Threads that still ask the network finish for the cache and end,
// at the latest at the time limit, and touch nothing of the caller's. No thread may be inside a call with the queue.
// NULL is fine. In a child process it frees the child's copy alone.
//
// # Safety
// `queue` is NULL or alive, and is not used again.
void mtasts_queue_free(struct mtasts_queue *queue);

// Gives the defaults, without a look at any file: cache in `/var/lib/mtasts`, the system's roots and name servers, one
// minute for a lookup.
//
// `out` receives settings to be freed with `mtasts_settings_free`.
//
// Returns `MTASTS_OK`, or `MTASTS_E_ARGUMENT` where `out` is NULL.
//
// # Safety
// `out` is NULL or points to a pointer.
int32_t mtasts_settings_new(struct mtasts_settings **out);

// Gives the settings of this host: the file `/etc/mtasts/mtasts.toml` where there is one, over the defaults. The
// environment may name another file (`MTASTS_CONFIG`) or cache directory (`MTASTS_CACHE_DIR`), but never in a
// privileged process (root, or a set-uid program): its environment is its caller's.
//
// `out` receives settings to be freed with `mtasts_settings_free`.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason.
//
// # Safety
// `out` is NULL or points to a pointer; `error` is NULL or points to an `mtasts_error` whose size is set.
int32_t mtasts_settings_of_host(struct mtasts_settings **out, struct mtasts_error *error);

// Sets one setting. The keys are those of the settings file: `cache_dir` (absolute path; empty: memory alone),
// `cache_max` and `cache_max_per_parent` (how many domains the cache may hold, in all and below one registered domain),
// `ca_file` (absolute path of a PEM file), `nameservers` (addresses, with or without a port, separated by spaces),
// `timeout` (1s to 10m), `allow_addresses` (addresses or networks in which a policy host may be although they are not
// public), `nat64_prefixes` (IPv6 networks of 32, 40, 48, 56, 64 or 96 bits: an address below one is judged by the IPv4
// address that it carries, RFC 6052), `first_contact_defer`, `silence_budget`, `txt_life_min`, `txt_life_max`
// (times such as `30s`, `5m`, `1h`, `1d`), `exceptions`
// (absolute path of a file of domains for which nothing is enforced, a `DOMAIN 2026-12-31 REASON` on each line; it is
// read at once, and again by a context when it has changed; empty: none).
//
// `key` and `value` are NUL-terminated UTF-8.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the key and the reason; then nothing has
// changed.
//
// # Safety
// `settings` is NULL or alive and used by no other thread; `key` and `value` are NULL or NUL-terminated; `error` is NULL
// or points to an `mtasts_error` whose size is set.
int32_t mtasts_settings_set(struct mtasts_settings *settings,
                            const char *key,
                            const char *value,
                            struct mtasts_error *error);

// Reads a settings file over the settings: TOML with the keys of `mtasts_settings_set` at the top level.
//
// `path` is NUL-terminated UTF-8.
//
// Returns `MTASTS_OK`, `MTASTS_E_ARGUMENT`, or `MTASTS_E_SETTINGS` with the file, the key and the reason; then nothing
// has changed.
//
// # Safety
// As `mtasts_settings_set`.
int32_t mtasts_settings_read_file(struct mtasts_settings *settings, const char *path, struct mtasts_error *error);

// Sets who is told what an administrator should know. Without it nobody is: the library never writes to stderr or to
// syslog by itself. `log` is called on the thread that asks, during the call, and never in a child that the library
// made; `user` comes back with each line. A NULL `log` takes it back. `log` must return: a C++ exception or a `longjmp`
// out of it is undefined (see `mtasts_log`).
//
// Returns `MTASTS_OK` or `MTASTS_E_ARGUMENT`.
//
// # Safety
// `settings` is NULL or alive and used by no other thread. `log` may be called by any thread that asks, and `user` must
// bear that, as long as a context of these settings lives.
int32_t mtasts_settings_set_log(struct mtasts_settings *settings, mtasts_log log, void *user);

// Frees settings. NULL is fine.
//
// # Safety
// `settings` is NULL or alive, and is not used again.
void mtasts_settings_free(struct mtasts_settings *settings);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MTASTS_H */

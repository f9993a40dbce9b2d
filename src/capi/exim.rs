//! The exports shaped for Exim's `dlfunc`.
//!
//! Exim calls `int f(uschar **yield, int argc, uschar **argv)`. What a failure means depends on the option in which
//! Exim calls us, and in most options Exim ignores it. So the one decision is made in the router's `address_data`, in
//! which a failure defers, and every doubt becomes a failure. We never return FAIL_FORCED: in `address_data` that
//! bounces the mail.
//!
//! What we hand to Exim is untainted, whatever went into it. So it is made here of letters, digits, hyphens and dots
//! that were looked at, and of our own words.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::{CString, c_int, c_uchar};
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use once_cell::race::OnceBox;

use super::{c_text, exim_session};
use crate::sender::answer::Answer;
use crate::sender::mta::exim::{Facts, may_be_yielded, plain, readable, refusal};
use crate::sender::mta::exim_answer;
use crate::sender::notice::{self, Notice, Token};
use crate::sender::resolver::Resolver;
use crate::sender::settings::Settings;
use crate::sys::quiet::quietly;

/// Exim's OK: the text in `yield` is the result.
const OK: c_int = 0;
/// Exim's DEFER: the expansion fails, and Exim also writes its panic log. It is for defects of ours and wrong calls.
const DEFER: c_int = 1;
/// Exim's FAIL: the expansion fails, and where `address_data` is expanded the address is deferred.
const FAIL: c_int = 2;
/// More arguments than seven are never given; with eight Exim's own count of them is garbage.
const MAX_ARGUMENTS: usize = 7;
/// The longest argument that is looked at, in octets: a certificate in base64 has room.
const MAX_ARGUMENT: usize = 1 << 20;
thread_local! {
    /// The text that Exim was given last. On success Exim copies it at once, on failure it reads it again later, for
    /// the log: it lives until the next call.
    static YIELD: RefCell<CString> = RefCell::default();
    /// What the administrator should know since the last call: a line each.
    static TOLD: RefCell<Vec<String>> = RefCell::default();
}

/// For the router's `address_data`: the mode of a domain and the MX hosts that it allows.
///
/// One argument: the domain. Or two: the domain, and the names of its MX hosts as `${lookup dnsdb{>; mxh=$domain}}`
/// gives them.
///
/// Yields `mode=enforce enforce=yes id=ID ignore="LIST" wrong="SENTENCE"`, to be read with
/// `${extract{enforce}{$address_data}}` and the like. LIST is for `ignore_target_hosts`: it drops each MX host that the
/// policy does not list. SENTENCE is for the log if no host is left: it says that DNS and the policy contradict each
/// other, and which MX hosts DNS gives, if they are in the call. Under `mode=testing` and `mode=none` it yields
/// `enforce=no`, and there is neither. `log=yes` follows if each host that fails the policy is to be logged, and gets
/// the mail anyway.
///
/// If LIST is long, `large=yes` comes before it. The list is complete, but Exim reads it for each MX host and does not
/// free the memory. Better call the function again with the names of the MX hosts: LIST then matches only those of them
/// that the policy allows, and is never long.
///
/// While an operator's exception for a domain with an enforced policy is in force, it yields
/// `mode=testing enforce=no log=yes id=ID exception="SENTENCE"`.
///
/// If the administrator should know something of this host or of the policy, such as that the cache cannot be written,
/// ` warning="LINE"` follows, in every mode. It is one line of the log with one token or more.
///
/// If no answer is possible (a wrong settings file, no cache directory, `first_contact_defer`), the expansion fails
/// with a sentence, and Exim defers the address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_lookup(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    let policy = |arguments: &[&str]| {
        let (domain, hosts) = match arguments {
            [domain] => (domain, None),
            [domain, hosts] => (domain, Some(hosts)),
            _ => {
                return Err(usage(
                    "mtasts_exim_lookup takes the domain, and optionally its MX hosts",
                ));
            }
        };
        Ok(exim_answer::lookup(ask(domain)?.as_ref(), hosts.copied()))
    };
    let body = |arguments: &[&str]| Ok(policy(arguments)? + &exim_answer::warning(TOLD.take()));
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, body) }
}

/// The mode of a domain. One argument: the domain. Yields `enforce`, `testing` or `none`. Fails as `mtasts_exim_lookup`
/// does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_mode(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    let body = |arguments: &[&str]| {
        let [domain] = arguments else {
            return Err(usage("mtasts_exim_mode takes one argument, the domain"));
        };
        Ok(ask(domain)?.mode().name().into())
    };
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, body) }
}

/// Checks whether mail for a domain may go to an MX host, by its name only. Two arguments: the domain, and the host as
/// the MX record has it. Yields `yes` or `no`. Fails as `mtasts_exim_lookup` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_check_mx(
    result: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
) -> c_int {
    let body = |arguments: &[&str]| {
        let [domain, host] = arguments else {
            return Err(usage(
                "mtasts_exim_check_mx takes two arguments, the domain and the MX host",
            ));
        };
        Ok(exim_answer::check_mx(&ask(domain)?, host).into())
    };
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, body) }
}

/// Checks now whether a domain has a newer policy, whatever the cache says. It is for the place where mail would be
/// bounced (RFC 8461 5). One argument: the domain.
///
/// Yields `changed=yes mode=MODE id=ID` if another policy is in force now: then try to deliver the mail again.
/// Otherwise `changed=no mode=MODE id=ID`. Fails as `mtasts_exim_lookup` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_recheck(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    let body = |arguments: &[&str]| {
        let [domain] = arguments else {
            return Err(usage("mtasts_exim_recheck takes one argument, the domain"));
        };
        let context = context()?;
        let before = context.lookup_cached(domain).map_err(|e| e.notice())?;
        let now = context.recheck(domain, Duration::MAX).map_err(|e| e.notice())?;
        let changed = if now.is_same_policy(&before) { "no" } else { "yes" };
        let id = now.cached().map_or("", |cached| cached.id.as_str());
        Ok(format!("changed={changed} mode={} id={id}", now.mode()))
    };
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, body) }
}

/// For `event_action` of the smtp transports. Seven arguments: `$event_name`, `$domain`, `$host`, `$host_address`,
/// `$event_data`, `$event_defer_errno`, and facts as `name=value` pairs.
///
/// At `tls:cert`, on a transport whose name contains `mtasts`, it yields a refusal if the host's certificate has no DNS
/// name in its subjectAltName. Exim's TLS libraries would then accept the common name, which RFC 8461 4.2 does not
/// allow. If DANE is in use (`tlsa` is not 0), DANE decides about the certificate. On every transport it yields a
/// refusal if there are TLSA records of usage DANE-TA and the certificate has the name neither of the host nor of the
/// domain, which Exim with GnuTLS does not ask for. At every other event it yields nothing. The facts are `transport=`,
/// `tlsa=` and `cert=`.
///
/// With the fact `report=yes` it refuses nothing. What a TLS report counts of the session is handed over at `tcp:close`,
/// as the settings `tlsrpt_journal` and `tlsrpt_socket` say, with the address of the fact `local=`. If that is lost it
/// yields a line for the log. Each event of the session has to come here. A session with a report, or with a mail that
/// needs no TLS, has no such result: `from=` is the envelope sender in base64, and `tlsreq=` the header field
/// `TLS-Required`. The other facts are `cv=`, `tlsa=`, `cipher=`, `ocsp=` (`$tls_out_ocsp`), `cert=`, `records=`, which
/// are the host's TLSA records as `${lookup dnsdb{>; tlsa=_25._tcp.$host}}` gives them, in base64, and last `hosts=`,
/// the names of the MX hosts as `${lookup dnsdb{>; mxh=$domain}}` gives them: Exim's `$host` is the target of a CNAME.
///
/// With the fact `mode=testing` it does the same, and at `tcp:close` it also yields a line for the log if the host
/// would have failed the policy of the domain were it enforced: its name is not listed, it did not offer STARTTLS, TLS
/// failed, or its certificate is not accepted.
///
/// With `report=yes` and the event `mtasts:routed`, in a router, it counts the MX hosts that Exim passes over because an
/// enforced policy does not list them. `mx=` is what `${lookup dnsdb{>; mx=$domain}}` gives, in base64, and `message=`
/// is `$message_exim_id`: they are counted once for a message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_event(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    let body = |arguments: &[&str]| {
        let [event, domain, host, address, data, _errno, facts] = arguments else {
            return Err(usage("mtasts_exim_event takes seven arguments"));
        };
        let facts = &Facts(facts);
        if facts.get("mode") == Some("testing") {
            let line = exim_session::saw(context()?, event, [domain, host, address, data], facts)?;
            return Ok(for_the_log(line));
        }
        // What is counted never fails: it stands beside a refusal, which Exim would lose.
        if facts.get("report") == Some("yes") {
            let saw = || match *event {
                "mtasts:routed" => exim_session::routed(context()?, domain, facts),
                _ => exim_session::saw(context()?, event, [domain, host, address, data], facts).map(drop),
            };
            let _ = quietly(saw);
            return Ok(for_the_log(None));
        }
        // Depth 0 is the host's own certificate.
        if *event != "tls:cert" || *data != "0" {
            return Ok(String::new());
        }
        Ok(refusal(domain, host, facts).unwrap_or_default())
    };
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, body) }
}

/// A line about a host, and that a result is lost. All else was told when the address was routed.
fn for_the_log(line: Option<String>) -> String {
    let lost = notice::line(Token::ReportLost.name(), "");
    let lost = TOLD.take().into_iter().filter(|told| told.starts_with(&lost));
    let lines: Vec<String> = line.into_iter().chain(lost).collect();
    readable(&lines.join("; "))
}

/// The version of the library. No arguments. Yields `0.1.0`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mtasts_exim_version(result: *mut *mut c_uchar, argc: c_int, argv: *mut *mut c_uchar) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { call(result, argc, argv, |_| Ok(env!("CARGO_PKG_VERSION").into())) }
}

/// Runs the body of an export with its arguments, and gives its text or its error to Exim.
///
/// # Safety
/// As Exim calls it.
unsafe fn call(
    result: *mut *mut c_uchar,
    argc: c_int,
    argv: *mut *mut c_uchar,
    body: impl FnOnce(&[&str]) -> Result<String, Notice>,
) -> c_int {
    TOLD.take();
    let done = quietly(|| {
        // SAFETY: the caller's promise.
        let arguments = unsafe { arguments(argc, argv) }?;
        body(&arguments.iter().map(Cow::as_ref).collect::<Vec<_>>())
    });
    let (status, text) = match done {
        Some(Ok(text)) if text.bytes().all(may_be_yielded) => (OK, text),
        Some(Ok(_)) => (DEFER, defect("a character that must not reach Exim")),
        Some(Err(notice)) if notice.token == Token::Usage => (DEFER, notice.to_string()),
        Some(Err(notice)) => (FAIL, notice.to_string()),
        None => (DEFER, defect("a panic")),
    };
    // SAFETY: the caller's promise.
    let Some(place) = (unsafe { result.as_mut() }) else {
        return DEFER;
    };
    YIELD.with_borrow_mut(|last| {
        *last = c_text(&plain(&text));
        *place = last.as_ptr().cast_mut().cast();
    });
    status
}

fn usage(sentence: &str) -> Notice {
    Notice::new(Token::Usage, sentence)
}

fn defect(what: &str) -> String {
    let sentence = format!("libmtasts has a defect ({what}). Please report it.");
    Notice::new(Token::Defect, sentence).to_string()
}

/// The arguments. A domain or a host that is not UTF-8 does not become a name by what replaces it.
///
/// # Safety
/// `argv` has `argc` NUL-terminated texts, unchanged during the call.
unsafe fn arguments<'a>(argc: c_int, argv: *mut *mut c_uchar) -> Result<Vec<Cow<'a, str>>, Notice> {
    let count = usize::try_from(argc).ok().filter(|count| *count <= MAX_ARGUMENTS);
    let count = count.ok_or_else(|| usage("a function of libmtasts takes at most 7 arguments"))?;
    if count == 0 || argv.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the caller's promise.
    let given = unsafe { slice::from_raw_parts(argv, count) };
    let one = |text: &*mut c_uchar| {
        // SAFETY: the caller's promise; the length is bounded.
        match unsafe { super::octets(text.cast_const().cast(), super::MTASTS_NUL_TERMINATED, MAX_ARGUMENT) } {
            Ok(octets) if octets.len() <= MAX_ARGUMENT => Ok(String::from_utf8_lossy(octets)),
            Ok(_) => Err(usage("an argument of a function of libmtasts has at most 1 MiB")),
            Err(fault) => Err(usage(&fault.message)),
        }
    };
    given.iter().map(one).collect()
}

/// Looks a domain up.
fn ask(domain: &str) -> Result<Arc<Answer>, Notice> {
    let answer = context()?.lookup(domain, Duration::MAX).map_err(|e| e.notice())?;
    // An answer from memory was told before, to another message.
    answer.to_tell().for_each(|notice| note(&notice.to_string()));
    match exim_answer::waits(&answer) {
        Some(notice) => Err(notice),
        None => Ok(answer),
    }
}

/// Keeps a line for the log until the end of the call.
fn note(line: &str) {
    TOLD.with_borrow_mut(|told| {
        if !told.iter().any(|other| other == line) {
            told.push(line.to_owned());
        }
    });
}

/// The one context of this process. A bad settings file is looked at again with the next call.
fn context() -> Result<&'static Resolver, Notice> {
    static CONTEXT: OnceBox<Resolver> = OnceBox::new();
    CONTEXT
        .get_or_try_init(|| Settings::of_process().map(|settings| Box::new(Resolver::with_log(settings, note))))
        .map_err(|e| Notice::new(Token::Settings, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_odd_call_is_an_error_text_and_no_crash() {
        let mut out: *mut c_uchar = std::ptr::null_mut();
        let mut invalid = *b"\xff\xfe\0";
        let mut arguments = [invalid.as_mut_ptr(), std::ptr::null_mut()];
        let mut missing = [std::ptr::null_mut()];
        for (argc, argv) in [
            (0, std::ptr::null_mut()),
            (16, arguments.as_mut_ptr()),
            (-1, arguments.as_mut_ptr()),
        ] {
            // SAFETY: if the count is valid, there are that many texts.
            assert_eq!(unsafe { mtasts_exim_lookup(&raw mut out, argc, argv) }, DEFER);
            assert!(!out.is_null());
        }
        // SAFETY: one NUL-terminated text; and no place for the result.
        unsafe {
            assert_eq!(mtasts_exim_lookup(&raw mut out, 1, missing.as_mut_ptr()), DEFER);
            assert_eq!(
                mtasts_exim_version(std::ptr::null_mut(), 0, std::ptr::null_mut()),
                DEFER
            );
            assert_eq!(mtasts_exim_version(&raw mut out, 0, std::ptr::null_mut()), OK);
        }
    }

    #[test]
    fn exim_gets_no_octet_that_quotes_or_expands_anything() {
        // The last look, whatever an export has made of what.
        for (made, status) in [
            ("mode=none", OK),
            ("mode=none id=a\n", DEFER),
            ("${run", DEFER),
            ("\u{e9}", DEFER),
        ] {
            let mut told = std::ptr::null_mut();
            // SAFETY: a place for a pointer, and no arguments.
            let given = unsafe { call(&raw mut told, 0, std::ptr::null_mut(), |_| Ok(made.to_owned())) };
            assert_eq!(given, status, "{made:?}");
            // SAFETY: what `call` yields is a text of this thread that ends with a NUL.
            let told = unsafe { std::ffi::CStr::from_ptr(told.cast_const().cast()) };
            assert!(told.to_bytes().iter().all(|octet| may_be_yielded(*octet)), "{told:?}");
        }
    }
}

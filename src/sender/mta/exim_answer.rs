//! What Exim is told of a domain, whoever carries it: `dlfunc` (`capi/exim.rs`), or the socket of `mtasts serve` where an
//! Exim has none (`exim_line`).

use std::sync::Arc;

use super::exim::{is_large, names, of_hosts, of_patterns, quoted};
use crate::protocol::mx_name::MxName;
use crate::sender::answer::Answer;
use crate::sender::attempt::Attempt;
use crate::sender::notice::{Notice, Token};
use crate::sender::verdict::{NoHost, Seen, verdict_without_host};

/// Why mail for the domain waits, if it waits because nothing is known of it (`first_contact_defer`).
pub(crate) fn waits(answer: &Answer) -> Option<Notice> {
    answer.defer_until()?;
    let sentence = verdict_without_host(answer, NoHost::Left, &[]).sentence;
    Some(Notice::new(Token::Defer, sentence))
}

/// The mode of a domain and the MX hosts that it allows, as `mtasts_exim_lookup` yields them. `hosts` are the names of its
/// MX hosts as `${lookup dnsdb{>; mxh=$domain}}` gives them, if they are known.
pub(crate) fn lookup(answer: &Answer, hosts: Option<&str>) -> String {
    let (Some(domain), Some(cached)) = (answer.domain(), answer.cached()) else {
        return "mode=none enforce=no".into();
    };
    if !answer.enforces() || answer.exception().is_some() {
        // Hosts are judged, though none is refused.
        let log = if answer.applies() { " log=yes" } else { "" };
        let exception = answer.exception().map(|exception| {
            let notice = Notice::new(Token::Exception, format!("{domain}: {exception}"));
            format!(" exception={}", quoted(&notice.to_string()))
        });
        let exception = exception.unwrap_or_default();
        return format!("mode={} enforce=no{log} id={}{exception}", answer.mode(), cached.id);
    }
    let given = names(hosts.unwrap_or_default()).map(|host| (MxName::from_mx(host), String::new()));
    // Exim comes to this sentence if its DNS lookup gives no host, or none that passes the list.
    let wrong = verdict_without_host(answer, NoHost::NotListed, &given.collect::<Vec<_>>()).log_line();
    let ignore = match hosts {
        None => of_patterns(&cached.policy),
        Some(hosts) => of_hosts(&cached.policy, domain, hosts),
    };
    let large = if is_large(&ignore) { " large=yes" } else { "" };
    format!(
        "mode=enforce enforce=yes id={}{large} ignore=\"{ignore}\" wrong={}",
        cached.id,
        quoted(&wrong)
    )
}

/// Whether mail for the domain may go to an MX host, by its name only: `yes` or `no`.
pub(crate) fn check_mx(answer: &Arc<Answer>, host: &str) -> &'static str {
    let verdict = Attempt::new(answer, MxName::from_mx(host)).saw(Seen::Name);
    if verdict.action.delivers() { "yes" } else { "no" }
}

/// Lines for the log as one pair, or nothing. That of an exception has a pair of its own.
pub(crate) fn warning(mut told: Vec<String>) -> String {
    let exception = format!("mtasts[{}]", Token::Exception.name());
    told.retain(|line| !line.starts_with(&exception));
    if told.is_empty() {
        return String::new();
    }
    format!(" warning={}", quoted(&told.join("; ")))
}

//! What must be true of a domain before its policy asks for more: a table, facts -> refusals.
//!
//! In mode `enforce` each of these would cost mail: an MX host that senders cannot use or must not, a record that announces
//! another text. What could not be determined refuses too, because it may be one of these.

use std::fmt;

use crate::exchanges::Stage;
use crate::facts::{Announced, Facts, Fetched, MxHost, Sight};

/// One reason why there is no next step, and what it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// An MX host, a resolver, or the domain's policy host.
    pub about: String,
    /// What is wrong and what to do.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.reason)
    }
}

fn refusal(about: impl fmt::Display, reason: impl Into<String>) -> Refusal {
    Refusal {
        about: about.to_string(),
        reason: reason.into(),
    }
}

/// All reasons against a next step; none if the gates are open.
#[must_use]
pub fn gates(facts: &Facts) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    match &facts.hosts {
        Ok(hosts) => refusals.extend(hosts.iter().flat_map(of_host)),
        Err(why) => refusals.push(refusal("MX", why)),
    }
    refusals.extend(
        facts
            .unused
            .iter()
            .map(|(pattern, stage)| refusal(pattern, of_unused(*stage))),
    );
    let host = &facts.policy_host;
    match &facts.fetched {
        Fetched::Same => {}
        Fetched::Other => refusals.push(refusal(
            host,
            "a fetch gets another text than the one that is served here; let the name lead to this host",
        )),
        Fetched::Failed(why) => refusals.push(refusal(host, format!("the policy cannot be fetched: {why}"))),
    }
    refusals.extend(facts.records.iter().filter_map(of_record));
    // RFC 8460 counts sessions. Nothing is known if no report was read.
    if let Some(failures) = facts.failures.filter(|failures| *failures > 0) {
        let plural = if failures == 1 { "" } else { "s" };
        refusals.push(refusal(
            "reports",
            format!("{failures} session{plural} failed because of the policy in the last days; see the reports"),
        ));
    }
    refusals
}

/// Whether senders in mode `enforce` could use an MX host, were it in the policy.
#[must_use]
pub(crate) fn is_usable(host: &MxHost) -> bool {
    let listed = MxHost {
        listed: true,
        ..host.clone()
    };
    !host.sights.is_empty() && of_host(&listed).is_empty()
}

fn of_host(host: &MxHost) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if !host.listed {
        refusals.push(refusal(
            &host.name,
            "is an MX host in DNS, and not in the policy; add it to mx, or remove its MX record",
        ));
    }
    refusals.extend(host.trouble.iter().map(|why| refusal(&host.name, why)));
    for (address, sight) in &host.sights {
        let reason = match sight {
            Sight::Good => continue,
            // This host may have IPv4 alone. Another address of the MX host has shown its certificate.
            Sight::NoRoute if host.sights.iter().any(|(_, other)| *other == Sight::Good) => continue,
            Sight::NoRoute => "this host has no route to it, and so cannot tell what senders find".to_owned(),
            Sight::Unreached(why) => format!("does not answer at port 25: {why}"),
            Sight::NoStarttls => "does not offer STARTTLS; enable it".to_owned(),
            Sight::NoTls(why) => format!("the TLS handshake fails: {why}"),
            Sight::Untrusted(why) => format!("the certificate is not good: {why}"),
            Sight::Misnamed(why) => format!("the certificate has another name: {why}"),
            Sight::EndsSoon(why) => format!("{why}; renew the certificate first"),
            Sight::Unknown(why) => format!("cannot be judged from here: {why}"),
        };
        refusals.push(refusal(format_args!("{} [{address}]", host.name), reason));
    }
    refusals
}

/// Why a pattern that no MX host in DNS has is in the way. That of a domain on its way to others belongs where it is.
fn of_unused(stage: Option<Stage>) -> &'static str {
    match stage {
        Some(Stage::Added) => {
            "is on its way in, and no MX host in DNS has this name yet; publish its MX record when mtasts host status says so, or take the move \
             back with mtasts host mx"
        }
        Some(Stage::Going | Stage::Adopted | Stage::Proposed | Stage::Dropped) => {
            "is on its way out, and stays in the policy until no sender and no resolver can use it any more; the next step is after that"
        }
        None => "is in the policy, and no MX host in DNS has this name; remove it from mx, or move it to reserve",
    }
}

fn of_record((resolver, announced): &(String, Announced)) -> Option<Refusal> {
    let reason = match announced {
        Announced::Same => return None,
        Announced::Other(id) => {
            format!("the record at _mta-sts has the id {id}, which is not that of the text that is served")
        }
        Announced::Absent(why) => format!("there is no record at _mta-sts: {why}; publish it"),
        Announced::Unknown(why) => format!("the record at _mta-sts cannot be looked up: {why}"),
    };
    Some(refusal(format_args!("resolver {resolver}"), reason))
}

#[cfg(test)]
mod tests;

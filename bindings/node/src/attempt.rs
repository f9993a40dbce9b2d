//! Attempts: one MX host, what was seen there, and what a report counts of it.

use std::net::IpAddr;

use mtasts::report::{Channel, Peer};
use mtasts::{CertificateFailure, MxName, ResultType, Seen, UnixTime};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

use crate::answer::{Answer, Verdict};
use crate::error::{Result, argument, failure, guarded};
use crate::hosts::Hosts;
use crate::resolver::Resolver;

/// One MX host in one attempt to deliver.
#[napi]
pub struct Attempt {
    attempt: mtasts::Attempt,
}

/// What a report counts of one session.
#[napi(object, object_from_js = false, use_nullable = true)]
pub struct ReportEvent {
    /// The kind of policy that the session is counted under.
    pub policy_type: &'static str,
    /// The recipient's domain.
    pub domain: String,
    /// The lines of the policy.
    pub policy_lines: Vec<String>,
    /// The MX patterns of the policy.
    pub patterns: Vec<String>,
    /// The MX host.
    pub host: String,
    /// Its address.
    pub address: Option<String>,
    /// The address that the connection came from.
    pub local_address: Option<String>,
    /// The result type of a failure.
    pub result: Option<&'static str>,
    /// The failure-reason-code.
    pub reason_code: String,
}

impl From<mtasts::report::ReportEvent> for ReportEvent {
    fn from(event: mtasts::report::ReportEvent) -> Self {
        Self {
            policy_type: event.policy_type.name(),
            domain: event.domain.to_string(),
            policy_lines: event.policy_lines,
            patterns: event.patterns,
            host: event.host.to_string(),
            address: event.address.map(|address| address.to_string()),
            local_address: event.local_address.map(|address| address.to_string()),
            result: event.result.map(ResultType::name),
            reason_code: event.reason_code.to_string(),
        }
    }
}

#[napi]
impl Attempt {
    /// Begins an attempt with a host as DNS names it.
    #[napi(constructor)]
    pub fn new(answer: &Answer, host: String) -> Result<Self> {
        guarded(|| {
            let attempt = mtasts::Attempt::new(answer.inner(), MxName::from_mx(&host));
            Ok(Self { attempt })
        })
    }

    /// Begins an attempt with a host of which DNS was asked for DANE.
    #[napi(factory)]
    pub fn with_hosts(answer: &Answer, host: String, hosts: &Hosts) -> Result<Self> {
        guarded(|| {
            let attempt = mtasts::Attempt::with_hosts(answer.inner(), MxName::from_mx(&host), hosts.inner());
            Ok(Self { attempt })
        })
    }

    /// What decides about the certificate.
    #[napi(getter)]
    pub fn judge(&self) -> Result<&'static str> {
        guarded(|| Ok(self.attempt.judge().name()))
    }

    /// Whether the host gets no mail without TLS.
    #[napi(getter)]
    pub fn enforces(&self) -> Result<bool> {
        guarded(|| Ok(self.attempt.enforces()))
    }

    /// Whether anything is asked of the host.
    #[napi(getter)]
    pub fn applies(&self) -> Result<bool> {
        guarded(|| Ok(self.attempt.applies()))
    }

    /// The name for SNI, if DANE decides.
    #[napi(getter)]
    pub fn sni(&self) -> Result<Option<String>> {
        guarded(|| Ok(self.attempt.sni().map(ToString::to_string)))
    }

    /// The usable TLSA records, if they decide.
    #[napi(getter)]
    pub fn records(&self) -> Result<Vec<Uint8Array>> {
        guarded(|| Ok(self.attempt.records().into_iter().map(Uint8Array::from).collect()))
    }

    /// What to do after a chain was seen, which is checked as DANE or the policy asks for.
    #[napi]
    pub fn saw_chain(&mut self, resolver: &Resolver, chain: Vec<Uint8Array>) -> Result<Verdict> {
        guarded(|| {
            let chain: Vec<&[u8]> = chain.iter().map(|der| &**der).collect();
            let verdict = self.attempt.saw_chain(resolver.context()?, &chain, UnixTime::now());
            Ok(verdict.map_err(failure)?.into())
        })
    }

    /// The MX host.
    #[napi(getter)]
    pub fn host(&self) -> Result<String> {
        guarded(|| Ok(self.attempt.host().to_string()))
    }

    /// What to do after this sight.
    #[napi]
    pub fn saw(&mut self, kind: String, result: Option<String>, reason: String) -> Result<Verdict> {
        guarded(|| Ok(self.attempt.saw(seen(&kind, result.as_deref(), reason)?).into()))
    }

    /// Says which mail the session carries.
    #[napi]
    pub fn carries(&mut self, resolver: &Resolver, sender: String, tls_required: String) -> Result<()> {
        guarded(|| {
            self.attempt.carries(resolver.context()?, &sender, &tls_required);
            Ok(())
        })
    }

    /// Ends the attempt.
    #[napi]
    pub fn finish(
        &mut self,
        channel: String,
        address: Option<String>,
        local_address: Option<String>,
    ) -> Result<Option<ReportEvent>> {
        guarded(|| {
            let peer = Peer {
                channel: match channel.as_str() {
                    "none" => Channel::None,
                    "clear" => Channel::Clear,
                    "tls" => Channel::Tls,
                    _ => return Err(argument(&channel, "a channel")),
                },
                address: ip(address)?,
                local_address: ip(local_address)?,
            };
            Ok(self.attempt.finish(peer).map(ReportEvent::from))
        })
    }

    /// Hands over what was counted. False if it is lost already.
    #[napi]
    pub fn report(&mut self, resolver: &Resolver) -> Result<bool> {
        guarded(|| Ok(self.attempt.report_later(resolver.context()?).is_ok()))
    }
}

fn ip(text: Option<String>) -> Result<Option<IpAddr>> {
    text.map(|text| text.parse().map_err(|_| argument(&text, "an IP address")))
        .transpose()
}

/// What JavaScript saw.
fn seen(kind: &str, result: Option<&str>, reason: String) -> Result<Seen> {
    Ok(match kind {
        "name" => Seen::Name,
        "starttls-not-offered" => Seen::StarttlsNotOffered,
        "starttls-refused" => Seen::StarttlsRefused,
        "handshake-failed" => Seen::HandshakeFailed(reason),
        "certificate" => Seen::Certificate(match result {
            None => Ok(()),
            Some(name) => {
                let result = ResultType::from_name(name).ok_or_else(|| argument(name, "a result type"))?;
                Err(CertificateFailure::new(result, reason))
            }
        }),
        _ => return Err(argument(kind, "a kind of what was seen")),
    })
}
